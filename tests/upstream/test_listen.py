"""Websockets of an upstream: what they tell, who they talk to, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import WSCloseCode, web

from proxy.errors import Outcome, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from proxy.reply import Reply
from proxy.upstream import BadTarget, Timeout, Upstream, listen, submission
from proxy.upstream.answers import LARGEST_BODY
from proxy.upstream.http import Http
from tests.upstream.conftest import KEY, QUICK, Handler, Sites, Wires, answering, channel, cut, failure, garbage, hang


def telling(tell: Callable[[web.WebSocketResponse], Awaitable[None]], **options: bool) -> Handler:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(**options)  # type: ignore[arg-type]
        await socket.prepare(request)
        await tell(socket)
        return socket

    return answer


async def heard(upstream: Upstream, path: str = "/ws") -> list[Reply]:
    async with upstream.listen(path) as messages:
        return [reply async for reply in messages]


async def test_messages(http: Http, sites: Sites) -> None:
    """Each text is a reply, previews are passed over, and the upstream's goodbye is the end; our key goes with it."""

    async def tell(socket: web.WebSocketResponse) -> None:
        for told in ({"type": "progress", "data": {"value": 3}}, [7]):
            await socket.send_str(json.dumps(told))
            await socket.send_bytes(bytes(2**21))
        await socket.send_str("NaN of them")

    site = await sites(telling(tell))
    async with channel(http, f"{site.url}/api").listen("/ws", params={"clientId": "a b"}) as messages:
        replies = [reply async for reply in messages]
    assert [reply.get("data.value") for reply in replies] == [3, None, None]
    assert [reply.data for reply in replies[1:]] == [[7], None]
    assert replies[2].text == "NaN of them"
    (request,) = site.requests
    assert (request.path_qs, request.headers["Authorization"]) == ("/api/ws?clientId=a+b", f"Bearer {KEY}")


async def test_only_the_own_origin(http: Http, sites: Sites) -> None:
    """Neither a path nor a redirect leads the key anywhere else."""
    elsewhere = await sites(answering(200))
    site = await sites(answering(302, headers={"Location": f"{elsewhere.url}/ws"}))
    upstream = channel(http, site.url)
    upstream.headers = lambda: {"X-API-Key": KEY}
    for path in (f"{elsewhere.url}/ws", elsewhere.url.replace("http", "ws") + "/ws", "/../ws", "/ws#a"):
        with pytest.raises(BadTarget):
            await heard(upstream, path)
    assert site.requests == []
    error = await failure(heard(upstream))
    assert (type(error), error.message) == (UpstreamError, "The upstream opened no websocket (HTTP 302).")
    assert (len(site.requests), elsewhere.requests) == (1, [])
    upstream.headers = lambda: {"X-API-Key": f"{KEY}\r\nHost: evil"}
    assert "misconfigured" in (await failure(heard(upstream))).message
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
async def test_refusals(http: Http, sites: Sites, status: int) -> None:
    """Where there is no websocket, that is the upstream's fault, never a client's; nothing it said is repeated."""
    site = await sites(answering(status, {"error": {"message": f"no {KEY}"}}))
    with submission():
        error = await failure(heard(channel(http, site.url)))
    assert (type(error), error.message) == (UpstreamError, f"The upstream opened no websocket (HTTP {status}).")
    assert error.outcome is Outcome.REFUSED


async def test_unreachable(http: Http, wires: Wires) -> None:
    """A server that is not there, one that says nothing, and one that speaks something else."""
    gone = channel(http, (wire := await wires(hang)).url)
    await wire.stop()
    assert type(await failure(heard(gone))) is UpstreamUnreachable
    silent = channel(http, (await wires(hang)).url, timeout=Timeout(connect=0.1, first_byte=0.1))
    assert type(await failure(heard(silent))) is UpstreamTimeout
    for script in (garbage, cut):
        error = await failure(heard(channel(http, (await wires(script)).url)))
        assert isinstance(error, UpstreamError)


async def test_what_breaks(http: Http, sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message without bounds, a connection that is cut and a peer that is dead all end it with an error."""

    async def shout(socket: web.WebSocketResponse) -> None:
        await socket.send_str("x" * (LARGEST_BODY + 1))

    error = await failure(heard(channel(http, (await sites(telling(shout))).url)))
    assert error.message == f"A message of the upstream has more than {LARGEST_BODY} bytes."

    async def die(socket: web.WebSocketResponse) -> None:
        transport = socket._req.transport if socket._req else None
        assert transport is not None
        transport.abort()

    error = await failure(heard(channel(http, (await sites(telling(die))).url)))
    assert (type(error), "broke" in error.message) == (UpstreamError, True)

    over = asyncio.Event()

    async def freeze(socket: web.WebSocketResponse) -> None:
        await over.wait()

    monkeypatch.setattr(listen, "HEARTBEAT", 0.05)
    error = await failure(heard(channel(http, (await sites(telling(freeze, autoping=False))).url)))
    assert isinstance(error, UpstreamError)
    over.set()


async def test_it_ends_with_its_listener(http: Http, sites: Sites) -> None:
    """A listener that leaves, fails or is cancelled closes the connection; errors of its own stay what they are."""
    codes: asyncio.Queue[int | None] = asyncio.Queue()

    async def tell(socket: web.WebSocketResponse) -> None:
        await socket.send_str("{}")
        assert (await socket.receive()).type.name == "CLOSE"
        codes.put_nowait(socket.close_code)

    upstream = channel(http, (await sites(telling(tell))).url, timeout=QUICK)
    async with upstream.listen("/ws") as messages:
        assert (await anext(messages)).data == {}
    assert await codes.get() == WSCloseCode.OK

    own = OSError("a file of the plugin")
    with pytest.raises(OSError, match="a file") as caught:
        async with upstream.listen("/ws"):
            raise own
    assert caught.value is own
    assert await codes.get() == WSCloseCode.OK

    first = asyncio.Event()

    async def forever() -> None:
        async with upstream.listen("/ws") as messages:
            async for _ in messages:
                first.set()

    task = asyncio.create_task(forever())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await codes.get() == WSCloseCode.OK
