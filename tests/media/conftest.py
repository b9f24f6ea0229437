"""A scripted upstream on a raw socket, and a server whose one route answers with `content.send`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from proxy.models import Source
from tests.media.wire import Front, PlainOpener, RawUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    raw = RawUpstream()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/result?token=upstream-secret"
    yield raw
    server.close()


@pytest.fixture
async def front(upstream: RawUpstream) -> AsyncIterator[Front]:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=65536, auto_decompress=False) as outbound,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        front = Front(session, PlainOpener(outbound))
        front.source = Source(url=upstream.url)
        app = web.Application()
        app.router.add_get("/", front.handle)
        # Not TestServer, which cancels the handler of a client that left, as the product's server does not.
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        front.port = runner.addresses[0][1]
        front.url = f"http://127.0.0.1:{front.port}/"
        yield front
        await runner.cleanup()
    assert front.failures == []
