"""A client that costs little, and the CPU time of the process that it asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far (from schedstat, in nanoseconds there)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


async def fire(port: int, requests: Sequence[bytes], *, connections: int = 32) -> list[bytes]:
    """Send each request once over keep-alive connections; answers the bodies. A status other than 200 is an error."""
    todo = iter(requests)
    bodies: list[bytes] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for request in todo:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                found = LENGTH.search(head)
                assert found is not None, head
                body = await reader.readexactly(int(found[1]))
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError((head + body).decode())
                bodies.append(body)
        finally:
            writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return bodies


def get(path: str, key: str) -> bytes:
    """The bytes of a GET as an SDK sends it."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept: application/json\r\n"
        "User-Agent: OpenAI/Python 3.54.0\r\nx-stainless-lang: python\r\nx-stainless-retry-count: 0\r\n\r\n"
    ).encode()


def post(path: str, key: str, body: bytes) -> bytes:
    """The bytes of a JSON POST."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept: application/json\r\n"
        f"User-Agent: OpenAI/Python 3.54.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
