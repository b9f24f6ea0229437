"""What a fetch is beside its address: nothing decoded, nothing kept, one budget of time, threads of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.upstream.guard import NOTHING, Allowance
from proxy.upstream.http import Http
from tests.upstream.conftest import Sites, answering

TIMEOUT = aiohttp.ClientTimeout(total=20)


async def get(http: Http, url: str, allowance: Allowance = NOTHING) -> str:
    async with http.fetch(url, timeout=TIMEOUT, allowance=allowance) as response:
        return await response.text()


async def test_nothing_is_kept_between_fetches(
    http: Http, sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cookies, other services that a server names, and a password in a netrc file play no part in a fetch."""
    site = await sites(answering(200, text="x", headers={"Set-Cookie": "a=b", "Alt-Svc": 'http/1.1="127.0.0.1:9"'}))
    netrc = tmp_path / "netrc"
    await asyncio.to_thread(netrc.write_text, "machine 127.0.0.1 login canary password canary\n", "utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    for _ in range(2):
        assert await get(http, site.url + "/", Allowance(site.url)) == "x"
    assert [set(request.headers) & {"Cookie", "Authorization"} for request in site.requests] == [set(), set()]


async def test_slow_names_hold_up_names_only(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names whose servers never answer take no thread from the work with files."""
    released = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        released.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    fetches = [asyncio.create_task(get(http, f"http://tarpit{n}.example/")) for n in range(64)]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(len, "file") == 4
    finally:
        released.set()
        outcomes = await asyncio.gather(*fetches, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {aiohttp.ClientConnectorDNSError}


async def test_bodies_are_not_decoded(http: Http) -> None:
    """What the server sends is what is read, also when it says that it is compressed."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"not gzip at all", headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        async with http.fetch(url, timeout=TIMEOUT, allowance=Allowance(url)) as response:
            assert await response.read() == b"not gzip at all"


async def test_total_covers_all_hops(http: Http) -> None:
    """`total` is one budget for the redirects and the body together."""
    gate = asyncio.Event()

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/hang"})

    async def hang(_: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/away", away)
    app.router.add_get("/hang", hang)
    async with TestServer(app) as server:
        url = str(server.make_url("/away"))
        with pytest.raises(TimeoutError):
            async with http.fetch(url, timeout=aiohttp.ClientTimeout(total=0.2), allowance=Allowance(url)):
                pass
        gate.set()


async def test_sessions_need_a_start() -> None:
    """Before start and after close, a use says so."""
    http = Http()
    with pytest.raises(RuntimeError, match="not started"):
        await get(http, "http://example.com/")
    await http.start()
    await http.close()
    with pytest.raises(RuntimeError, match="closed"):
        await get(http, "http://example.com/")
