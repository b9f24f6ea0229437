"""Issue 2, "Bad input", as a whole: one server process, everything that a hostile client can think of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import SimulatorServer
from tests.process.conftest import Spawn
from tests.process.hostile import ALL, MIB, Hostile
from tests.process.server import KEY, ServerProcess
from tests.process.test_process import call
from tests.simulators.openai import OpenAISimulator

BUDGET = 96 * MIB
UPSTREAM_KEY = "sk-upstream-secret-81c4"


def config(sim: OpenAISimulator) -> str:
    upstream = {"name": "up", "type": "openai", "base_url": sim.base_url, "api_key": UPSTREAM_KEY}
    demo = {"name": "demo", "type": "demo", "models": ["demo"], "poll_every": 0.05}
    return json.dumps({"channels": [{**upstream, "models": ["sora-2"], "poll_every": 0.05}, demo]})


def memory(pid: int, name: str) -> int:
    """A line of the process's status, in bytes: VmRSS is its size, VmHWM the largest that it had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name}")


def start_measuring(pid: int) -> int:
    """Forget the largest size so far; answers the size now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")


async def send(port: int, hostile: Hostile) -> tuple[int, dict[str, str], Any]:
    """Send a request while reading its answer, as a client that looks: a refusal may come before the body is out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"{hostile.method} /v1{hostile.path} HTTP/1.1", "Host: h", f"Authorization: Bearer {KEY}"]
    head += ["Connection: close", *(f"{name}: {value}" for name, value in hostile.headers.items())]
    if hostile.media_type is not None:
        head.append(f"Content-Type: {hostile.media_type}")
    if hostile.length is not None:
        head.append(f"Content-Length: {hostile.length}")
    elif hostile.body is not None:
        head.append("Transfer-Encoding: chunked")
    writer.write(("\r\n".join(head) + "\r\n\r\n").encode())

    async def pour() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in hostile.body() if hostile.body else ():
                if piece:
                    writer.write(piece if hostile.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
            if hostile.body is not None and hostile.length is None:
                writer.write(b"0\r\n\r\n")
                await writer.drain()

    pouring = asyncio.create_task(pour())
    try:
        async with asyncio.timeout(60):
            status = (await reader.readline()).decode()
            headers = {}
            while line := (await reader.readline()).decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers["content-length"]))
    finally:
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return int(status.split()[1]), headers, json.loads(body)


def faults(hostile: Hostile, status: int, headers: dict[str, str], body: Any) -> Iterator[str]:
    """What is wrong with a refusal."""
    if not 400 <= status < 500:
        yield f"status {status}"
    if not isinstance(body, dict) or set(body.get("error", ())) != {"message", "type", "param", "code"}:
        yield f"no envelope: {str(body)[:200]}"
        return
    error = body["error"]
    if not (isinstance(error["message"], str) and 0 < len(error["message"]) < 600 and error["message"].isprintable()):
        yield f"message {error['message'][:200]!r}"
    if error["type"] != "invalid_request_error" or not isinstance(error["code"], str):
        yield f"type {error['type']!r}, code {error['code']!r}"
    blamed = None if error["param"] is None else error["param"].partition(".")[0].partition("[")[0]
    if hostile.param != "*" and blamed != hostile.param:
        yield f"blames {error['param']!r} ({error['message'][:100]})"
    if "x-request-id" not in headers:
        yield "no x-request-id"


async def attack(server: ServerProcess, hostiles: Iterator[Hostile], before: int) -> list[str]:
    """Send them one after the other; answers what is wrong with the refusals, and what memory they cost."""
    found = []
    highest = await asyncio.to_thread(memory, server.process.pid, "VmHWM")
    for hostile in hostiles:
        try:
            wrong = list(faults(hostile, *await send(server.port, hostile)))
        except (TimeoutError, EOFError, ConnectionError, LookupError, ValueError) as error:
            wrong = [f"no answer ({error!r})"]
        found += [f"{hostile.name[:90]}: {one}" for one in wrong]
        peak = await asyncio.to_thread(memory, server.process.pid, "VmHWM")
        if peak > highest and peak - before > BUDGET:
            found.append(f"{hostile.name[:90]}: {(peak - before) / MIB:.0f} MiB more than at the start")
        highest = max(highest, peak)
    return found


def rows(data: Path) -> int:
    """How many videos the store has, the refused ones too."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'reelgate.db'}?mode=ro", uri=True)) as store:
        return int(store.execute("SELECT count(*) FROM videos").fetchone()[0])


def left(data: Path) -> list[str]:
    """Files of inputs that are still there."""
    folders = ("uploads", "inputs", "work")
    return [str(file) for folder in folders for file in (data / folder).rglob("*") if file.is_file()]


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
async def test_bad_input(spawn: Spawn, tmp_path: Path) -> None:
    """Each is a 4xx in the envelope that blames what is to blame; the process grows by at most 96 MiB over all of
    them; nothing is stored, listed, left on disk or sent upstream; and the server still works."""
    async with SimulatorServer(OpenAISimulator(keys={UPSTREAM_KEY})) as sim:
        server = spawn(config(sim))
        await server.start()
        for model in ("sora-2", "demo"):
            body = {"prompt": "p", "model": model, "seconds": "4", "size": "720x1280"}
            status, video = await call(server, "POST", "/videos", json=body)
            assert status == 200, video
            assert (await call(server, "DELETE", f"/videos/{video['id']}?force=true"))[0] == 200
        async with asyncio.timeout(60):
            while len(sim.requests) == (heard := len(sim.requests)) and sim.paid != 1:
                await asyncio.sleep(0.01)
        stored = await asyncio.to_thread(rows, tmp_path / "data")
        before = await asyncio.to_thread(start_measuring, server.process.pid)

        found: list[str] = []
        for family in ALL:
            found += await attack(server, family(), before)
        assert found == [], "\n".join(found)

        assert (await call(server, "GET", "/videos"))[1]["data"] == []
        assert [request.path for request in sim.requests[heard:]] == []
        assert await asyncio.to_thread(rows, tmp_path / "data") == stored
        assert await asyncio.to_thread(left, tmp_path / "data") == []
        assert not [line for line in server.log if "Traceback" in line or "ERROR" in line]
        status, video = await call(server, "POST", "/videos", json={"prompt": "p", "seconds": "4"})
        assert (status, sim.paid) == (200, 2), video
        assert await server.stop() == 0
