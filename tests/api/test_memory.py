"""Memory: hostile and large bodies leave the process about as large as it was."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession

MIB = 2**20
BUDGET = 96 * MIB
FILE_BUDGET = 24 * MIB
ROOT = Path(__file__).parents[2]


async def repeated(head: bytes, middle: bytes, count: int, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    block = middle * max(1, 2**16 // len(middle))
    for _ in range(count * len(middle) // len(block)):
        yield block
    yield tail


async def numbered(count: int) -> AsyncIterator[bytes]:
    yield b'{"prompt":"p"'
    for start in range(0, count, 10_000):
        yield "".join(f',"{number}":1' for number in range(start, start + 10_000)).encode()
    yield b"}"


def part(name: str, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()


FORM = "multipart/form-data; boundary=b"
JSON = "application/json"
PROMPT = part("prompt") + b"p\r\n"
CASES: dict[str, tuple[str, Callable[[], AsyncIterator[bytes]], int]] = {
    "a file of 60 MB": (
        FORM,
        lambda: repeated(PROMPT + part("image", '; filename="f"'), b"x", 60 * MIB, b"\r\n--b--\r\n"),
        200,
    ),
    "a file of 100 MB": (
        FORM,
        lambda: repeated(PROMPT + part("image", '; filename="f"'), b"x", 100 * MIB, b"\r\n--b--\r\n"),
        413,
    ),
    "100 MB of JSON": (JSON, lambda: repeated(b'{"prompt":"', b"x", 100 * MIB, b'"}'), 413),
    "a prompt of 60 MB": (JSON, lambda: repeated(b'{"prompt":"', b"x", 60 * MIB, b'"}'), 400),
    "a picture of 60 MB": (JSON, lambda: repeated(b'{"prompt":"p","image":"', b"AAAA", 15 * MIB, b'"}'), 400),
    "twenty million lists": (JSON, lambda: repeated(b'{"prompt":"p","image":[', b"[],", 20 * MIB, b"1]}"), 400),
    "twenty million pictures": (JSON, lambda: repeated(b'{"prompt":"p","images":[', b"[],", 20 * MIB, b"1]}"), 400),
    "objects in unknown fields": (JSON, lambda: repeated(b'{"prompt":"p","x":[', b"{},", 20 * MIB, b"1]}"), 400),
    "two million unknown fields": (JSON, lambda: numbered(2_000_000), 400),
    "a document of spaces": (JSON, lambda: repeated(b"", b" ", 60 * MIB, b"{}"), 400),
    "a text of 60 MB": (FORM, lambda: repeated(part("prompt"), b"x", 60 * MIB, b"\r\n--b--\r\n"), 400),
    "a picture as a text of 60 MB": (FORM, lambda: repeated(PROMPT + part("image"), b"A", 60 * MIB, b"\r\n"), 400),
    "a million parts": (
        FORM,
        lambda: repeated(PROMPT, part("input_reference[0]") + b"1\r\n", 2**19, b"--b--\r\n"),
        400,
    ),
    "a header of 60 MB": (FORM, lambda: repeated(b"--b\r\nX: ", b"x", 60 * MIB, b"\r\n"), 400),
    "a preamble of 60 MB": (FORM, lambda: repeated(b"\r\n", b"\r\n", 30 * MIB, b"--b--\r\n"), 400),
    "a URL-encoded body of 60 MB": (
        "application/x-www-form-urlencoded",
        lambda: repeated(b"prompt=", b"x", 60 * MIB, b""),
        413,
    ),
}


def resident(pid: int, word: str) -> int:
    """What a process has in memory (`VmRSS`), or had at most (`VmHWM`), in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(word):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {word}")


def peak(pid: int) -> int:
    """The largest resident size of a process since its start, in bytes."""
    return resident(pid, "VmHWM")


CROWD = 12
CROWD_BUDGET = 160 * MIB


async def slowly(body: bytes, gathered: asyncio.Barrier) -> AsyncIterator[bytes]:
    """A body of which all but the end is there before the end of any other comes."""
    for start in range(0, len(body) - 1, 2**18):
        yield body[start : min(start + 2**18, len(body) - 1)]
    await gathered.wait()
    yield body[-1:]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
async def test_bodies_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Uploaded files cost next to nothing, the rest less than 96 MiB at the peak of all cases; no file is left."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.api.serving_child", str(tmp_path / "uploads"),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        port = int(await child.stdout.readline())
        async with ClientSession(f"http://127.0.0.1:{port}") as session:

            async def post(media_type: str, data: object) -> int | None:
                headers = {"Authorization": "Bearer anna-secret", "Content-Type": media_type}
                try:
                    async with session.post("/v1/videos", data=data, headers=headers) as response:
                        assert "error" in await response.json() or response.status == 200
                        return response.status
                except ClientConnectionError:
                    return None

            assert await post(JSON, json.dumps({"prompt": "warm"}).encode()) == 200
            before = await asyncio.to_thread(peak, child.pid)
            for name, (media_type, body, status) in CASES.items():
                # A client that does not look while it sends may find the connection closed: that is a refusal too.
                assert await post(media_type, body()) in ((status,) if status == 200 else (status, None)), name
                grown = await asyncio.to_thread(peak, child.pid) - before
                budget = FILE_BUDGET if "file" in name else BUDGET
                assert grown < budget, f"{name}: {grown / MIB:.0f} MiB"
            # Many at once: what waits is on disk.
            picture = base64.b64encode(bytes(12 * MIB))
            whole = b'{"prompt":"p","image":"' + picture + b'","last_frame":{"image_url":"' + picture[::-1] + b'"}}'
            Path(f"/proc/{child.pid}/clear_refs").write_text("5")
            before, gathered = await asyncio.to_thread(resident, child.pid, "VmRSS"), asyncio.Barrier(CROWD)
            assert await asyncio.gather(*(post(JSON, slowly(whole, gathered)) for _ in range(CROWD))) == [200] * CROWD
            grown = await asyncio.to_thread(peak, child.pid) - before
            assert grown < CROWD_BUDGET, f"{grown / MIB:.0f} MiB"
    finally:
        child.stdin.close()
        assert await child.wait() == 0
    assert not await asyncio.to_thread(lambda: list((tmp_path / "uploads").glob("*")))
