"""Content beside its floors: CPU per GB, memory per slow reader, and what slow readers do to a retrieve.

usage: python -m benchmarks.content [--readers N] [--rounds N] [--seconds S]

The server under test has one core; the upstream (a sparse 200 MB file, sent with sendfile), the readers and the client
the other. The relay's floor is a bare aiohttp handler (`readany`, the same read buffer as ours), the file's a bare
`FileResponse`. A ratio is the median over the rounds of (product / floor), each pair measured back to back. A slow
reader takes 100 kB a second of a whole file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import tempfile
import time
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

from benchmarks.__main__ import KEY, ROOT, Measure, process
from benchmarks.load import LENGTH, cpu_seconds, fire, get, post
from benchmarks.polling import looks, quantile

SIZE = 200_000_000
CLIENTS = 4
"""Fast clients at the same time, each with one whole file, in one measurement of CPU."""
SIP = 50_000
RATE = 100_000
"""Bytes that a slow reader takes at a time, and in a second."""
JOB = {"id": "video_1", "object": "video", "model": "sora-2", "status": "completed", "progress": 100, "seconds": "4"}


# ---------------------------------------------------------------- the floors, and the upstream behind them


async def upstream(file: Path, _: int) -> web.Server:
    """An OpenAI upstream whose jobs are finished at once."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.FileResponse(file) if request.path.endswith("/content") else web.json_response(JOB)

    return web.Server(answer, access_log=None)


async def relay(_: Path, upstream_port: int) -> web.Server:
    """Relays each `…/content` and answers all else itself."""
    session = ClientSession(
        connector=TCPConnector(limit=0),
        cookie_jar=DummyCookieJar(),
        read_bufsize=64 * 1024,
        auto_decompress=False,
        timeout=ClientTimeout(total=None, sock_read=60),
    )

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.endswith("/content"):
            return web.json_response(JOB)
        async with session.get(f"http://127.0.0.1:{upstream_port}/v1/videos/video_1/content") as found:
            response = web.StreamResponse(headers={"Content-Length": found.headers["Content-Length"]})
            await response.prepare(request)
            while chunk := await found.content.readany():
                await response.write(chunk)
            await response.write_eof()
            return response

    return web.Server(answer, access_log=None)


async def file(path: Path, _: int) -> web.Server:
    """A bare FileResponse."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.FileResponse(path)

    return web.Server(answer, access_log=None)


async def serve(kind: str, path: Path, upstream_port: int) -> None:
    """Run one of the servers above and print its port."""
    runner = web.ServerRunner(await {"upstream": upstream, "relay": relay, "file": file}[kind](path, upstream_port))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


# ---------------------------------------------------------------- readers


def begin(port: int, path: str, *, buffer: int | None = None) -> tuple[socket.socket, int]:
    """A connection on which the content was asked for, and how many bytes of its body are still to come."""
    link = socket.socket()
    if buffer is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    link.connect(("127.0.0.1", port))
    link.sendall(get(path, KEY))
    head = b""
    while b"\r\n\r\n" not in head:
        head += link.recv(4096)
    head, _, body = head.partition(b"\r\n\r\n")
    found = LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200") or found is None or int(found[1]) != SIZE:
        raise RuntimeError(head.decode())
    return link, SIZE - len(body)


def read_whole(port: int, path: str) -> None:
    """Read a whole file as fast as it comes, without copying it out of the kernel."""
    link, left = begin(port, path)
    sink = bytearray(2**20)
    with link:
        while left:
            taken = link.recv_into(sink, flags=socket.MSG_TRUNC)
            if not taken:
                raise RuntimeError(f"broken off {left} bytes before the end")
            left -= taken


def read_slowly(port: int, path: str, count: int) -> None:
    """Be `count` slow readers until somebody ends this process; prints their number when all of them are served."""
    links = [begin(port, path, buffer=2 * SIP)[0] for _ in range(count)]
    print(count, flush=True)
    sink = bytearray(SIP)
    due = time.monotonic()
    while True:
        for link in links:
            due += SIP / RATE / count
            time.sleep(max(due - time.monotonic(), 0))
            if not link.recv_into(sink, flags=socket.MSG_TRUNC):
                raise RuntimeError("broken off")


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


# ---------------------------------------------------------------- measurements


def per_gigabyte(pid: int, port: int, path: str) -> Measure:
    """CPU seconds of a server for each GB that fast clients read."""

    async def run() -> float:
        before = cpu_seconds(pid)
        await asyncio.gather(*(asyncio.to_thread(read_whole, port, path) for _ in range(CLIENTS)))
        return (cpu_seconds(pid) - before) / (CLIENTS * SIZE / 1e9)

    return run


async def compare(name: str, floor: Measure, product: Measure, rounds: int) -> None:
    """Measure both in alternation and print one line."""
    await floor()
    await product()
    pairs = [(await floor(), await product()) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in pairs)
    print(
        f"{name:<28} {statistics.median(ratios):5.2f} x its floor   (rounds {ratios[0]:.2f} to {ratios[-1]:.2f};"
        f" floor {min(a for a, _ in pairs):.2f} s, product {min(b for _, b in pairs):.2f} s of CPU per GB)",
        flush=True,
    )


async def slow_readers(name: str, pid: int, port: int, content: str, video: str, count: int, seconds: float) -> None:
    """Print what `count` slow readers cost a server that has served before."""
    await asyncio.to_thread(read_whole, port, content)
    await looks(port, [video], 1)
    quiet = await looks(port, [video], seconds)
    before = resident(pid)
    readers = ("-m", "benchmarks.content", "--read", str(port), "--path", content, "--readers", str(count))
    async with process(1, *readers):
        # The first sips are larger: the buffers of the kernel and of the transports fill up.
        await asyncio.sleep(2)
        early = resident(pid)
        busy = await looks(port, [video], seconds)
        late = resident(pid)
    print(
        f"{name:<28} {(late - before) / count / 2**20:5.2f} MiB for each of {count} slow readers"
        f" ({(early - before) / count / 2**20:.2f} after 2 s, {(late - before) / count / 2**20:.2f} after"
        f" {2 + seconds:.0f} s); a GET of a video, p50 / p99: {quantile(quiet, 0.5) * 1e3:.2f} /"
        f" {quantile(quiet, 0.99) * 1e3:.2f} ms without them, {quantile(busy, 0.5) * 1e3:.2f} /"
        f" {quantile(busy, 0.99) * 1e3:.2f} ms with them",
        flush=True,
    )


async def finished(port: int, model: str) -> str:
    """The path of a new video that is finished."""
    order = json.dumps({"model": model, "prompt": "a paper plane"}).encode()
    path = f"/v1/videos/{json.loads((await fire(port, [post('/v1/videos', KEY, order)], connections=1))[0])['id']}"
    while json.loads((await fire(port, [get(path, KEY)], connections=1))[0])["status"] != "completed":
        await asyncio.sleep(0.05)
    return path


async def main(readers: int, rounds: int, seconds: float) -> None:
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        video = folder / "video.mp4"
        with video.open("wb") as sparse:
            sparse.write(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42")
            sparse.truncate(SIZE)
        own = ("-m", "benchmarks.content", "--file", str(video), "--serve")
        _, far = await stack.enter_async_context(process(1, *own, "upstream"))
        entries = [
            {"name": "far", "type": "openai", "base_url": f"http://127.0.0.1:{far}", "api_key": "k", "models": ["far"]},
            {"name": "near", "type": "shelf", "file": str(video), "models": ["near"]},
        ]
        server = {"plugins": [str(ROOT / "benchmarks" / "plugins")]}
        (folder / "channels.yaml").write_text(json.dumps({"server": server, "channels": entries}))
        args = ["-m", "proxy", "serve", "--config", str(folder / "channels.yaml"), "--data", str(folder / "data")]
        pid, port = await stack.enter_async_context(process(0, *args, "--port", "0"))
        bare_pid, bare_port = await stack.enter_async_context(process(0, *own, "relay", "--upstream", str(far)))
        relayed, local = await finished(port, "far"), await finished(port, "near")
        away, here = f"{relayed}/content", f"{local}/content"
        await slow_readers("bare relay", bare_pid, bare_port, away, relayed, readers, seconds)
        await slow_readers("product, relay", pid, port, away, relayed, readers, seconds)
        await slow_readers("product, local file", pid, port, here, relayed, readers, seconds)
        await compare("relay", per_gigabyte(bare_pid, bare_port, away), per_gigabyte(pid, port, away), rounds)
        plain = await stack.enter_async_context(process(0, *own, "file"))
        await compare("local file (sendfile)", per_gigabyte(*plain, here), per_gigabyte(pid, port, here), rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.content", description=__doc__)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--upstream", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve, arguments.file, arguments.upstream))
    elif arguments.read is not None:
        read_slowly(arguments.read, arguments.path, arguments.readers)
    else:
        asyncio.run(main(arguments.readers, arguments.rounds, arguments.seconds))
