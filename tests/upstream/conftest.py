"""Servers to call, well-behaved and raw, and an upstream of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.errors import (
    ApiError,
)
from proxy.upstream import Timeout, Upstream
from proxy.upstream.http import Http

KEY = "canary-provider-key-31337"
QUICK = Timeout(connect=5, first_byte=0.2, total=5)


class Wire:
    """A raw server: what it answers is a script, and it counts connections, requests and their bytes."""

    def __init__(self, script: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.script = script
        self.connections = 0
        self.received: list[bytes] = []
        self.gone = asyncio.Event()
        self.server: asyncio.Server
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.received.append(head + await reader.readexactly(length))
                await self.script(writer)
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self.gone.set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http()
    await http.start()
    yield http
    await http.close()


Wires = Callable[[Callable[[asyncio.StreamWriter], Awaitable[None]]], Awaitable[Wire]]


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    started: list[Wire] = []

    async def start(script: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Wire:
        wire = Wire(script)
        await wire.start()
        started.append(wire)
        return wire

    yield start
    for wire in started:
        await wire.stop()


class Site:
    """An HTTP server with one handler for everything."""

    def __init__(self, server: TestServer, requests: list[web.Request]) -> None:
        self.url = str(server.make_url("/")).rstrip("/")
        self.requests = requests


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Sites = Callable[[Handler], Awaitable[Site]]


@pytest.fixture
async def sites() -> AsyncIterator[Sites]:
    started: list[TestServer] = []

    async def start(handler: Handler) -> Site:
        requests: list[web.Request] = []

        async def keep(request: web.Request) -> web.StreamResponse:
            requests.append(request)
            return await handler(request)

        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{rest:.*}", keep)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        started.append(server)
        return Site(server, requests)

    yield start
    for server in started:
        await server.close()


def channel(http: Http, url: str, **options: Any) -> Upstream:
    upstream = Upstream(http, name="lumen-eu", base_url=url, **options)
    upstream.headers = lambda: {"Authorization": f"Bearer {KEY}"}
    return upstream


def answering(status: int, body: Any = None, headers: dict[str, str] | None = None, text: str | None = None) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        if text is not None:
            return web.Response(status=status, text=text, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


async def failure(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "x"}')
    writer.close()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 SSH-2.0-nonsense\r\n\r\n")


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found
