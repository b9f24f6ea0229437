"""A scripted upstream on a raw socket, and a server whose one route answers with `content.send`."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
from aiohttp import web

from proxy.errors import ApiError, RangeNotSatisfiable
from proxy.media import content
from proxy.models import Source

MODIFIED = 1_700_000_000.0
ETAG = "abc"


def video_of(size: int) -> bytes:
    """`size` bytes that start as an MP4 does, no two places alike."""
    head = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42"
    return (head + random.Random(size).randbytes(max(size - len(head), 0)))[:size]


class Exchange:
    """One request at the scripted upstream, and the raw answer to it."""

    def __init__(
        self, method: str, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.method = method
        self.headers = headers
        self._reader = reader
        self._writer = writer
        self.taken = 0
        """Bytes that the other side's kernel has room for, or took."""
        self.finished = asyncio.Event()

    async def head(self, status: str = "200 OK", **headers: Any) -> None:
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
        await self.body(f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode())

    async def body(self, data: bytes) -> None:
        for start in range(0, len(data), 65536):
            piece = data[start : start + 65536]
            self._writer.write(piece)
            await self._writer.drain()
            self.taken += len(piece)

    async def chunk(self, data: bytes) -> None:
        await self.body(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def ranged(self, data: bytes, **headers: Any) -> None:
        """Answer as a good server does."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if asked is None:
            await self.head(Content_Length=len(data), **headers)
            await self.body(data)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if first > last:
            await self.head("416 Range Not Satisfiable", Content_Range=f"bytes */{len(data)}", Content_Length=0)
            return
        await self.head(
            "206 Partial Content",
            Content_Range=f"bytes {first}-{last}/{len(data)}",
            Content_Length=last - first + 1,
            **headers,
        )
        await self.body(data[first : last + 1])

    def reset(self) -> None:
        link = self._writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def hung_up(self) -> None:
        """Wait until the other side has closed the connection."""
        assert await self._reader.read(1) == b""


Script = Callable[[Exchange], Awaitable[None]]


class RawUpstream:
    """A server that answers every request by `script`, then closes the connection."""

    def __init__(self) -> None:
        self.script: Script | None = None
        self.exchanges: list[Exchange] = []
        self.url = ""
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = None
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = text.split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            exchange = Exchange(first.split()[0], headers, reader, writer)
            self.exchanges.append(exchange)
            self.arrived.set()
            assert self.script is not None
            await self.script(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if exchange is not None:
                exchange.finished.set()
            writer.close()


class PlainOpener:
    """An `Opener` without a guard."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.opened: list[str | None] = []

    def open(self, source: Source, *, range: str | None = None) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert source.url is not None
        self.opened.append(range)
        sent = {**source.headers, "Accept-Encoding": "identity"} | ({"Range": range} if range else {})
        return self.session.get(source.url, headers=sent, auto_decompress=False)


class Front:
    """A server whose route `/` answers with the current `source`."""

    def __init__(self, session: aiohttp.ClientSession, opener: PlainOpener) -> None:
        self.session = session
        self.opener = opener
        self.source = Source(data=b"")
        self.options: dict[str, Any] = {}
        self.url = ""
        self.port = 0
        self.left = asyncio.Event()
        """Set when a handler has returned or raised."""
        self.transport: asyncio.Transport | None = None
        self.waiting = 0
        """Bytes that the last answer left behind in the server, for the kernel to take."""
        self.failures: list[Exception] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        options = {"etag": ETAG, "filename": "video.mp4", "modified": MODIFIED} | self.options
        try:
            return await content.send(request, self.source, opener=self.opener, **options)
        except ApiError as error:
            headers = {"Content-Range": f"bytes */{error.size}"} if isinstance(error, RangeNotSatisfiable) else {}
            return web.json_response(
                {"message": error.message, "class": type(error).__name__}, status=error.status, headers=headers
            )
        except Exception as error:
            self.failures.append(error)
            raise
        finally:
            self.transport = request.transport
            self.waiting = self.transport.get_write_buffer_size() if self.transport else 0
            self.left.set()

    async def ask(self, method: str = "GET", query: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, lower-case headers and body; a `ClientPayloadError` where the transfer was broken off."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + query, headers=sent) as response:
            body = await response.read()
            return response.status, {name.lower(): value for name, value in response.headers.items()}, body


SIZE = 300_000
DATA = video_of(SIZE)


async def good(exchange: Exchange) -> None:
    """Ranges and lengths, as it should be."""
    await exchange.ranged(DATA)


async def ignoring(exchange: Exchange) -> None:
    await exchange.head(Content_Length=SIZE)
    await exchange.body(DATA)


async def chunked(exchange: Exchange) -> None:
    await exchange.head(Transfer_Encoding="chunked")
    for start in range(0, SIZE, 7_001):
        await exchange.chunk(DATA[start : start + 7_001])
    await exchange.body(b"0\r\n\r\n")


async def closing(exchange: Exchange) -> None:
    await exchange.head(Connection="close")
    await exchange.body(DATA)
