"""Whoever hands us an address, by whatever door: the whole corpus of hostile ones leads nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.models import Source
from proxy.upstream.guard import Allowance, UnusableUrl
from proxy.upstream.http import Http
from tests.conftest import Launch, Product
from tests.upstream.canary import Canary, canary
from tests.upstream.hostile_urls import CONTROLS, FORMS, HOSTS, NAMES, URLS

PUPPET = Path(__file__).parents[1] / "engine" / "plugins"
CHANNELS = """
channels:
  - {name: a, type: puppet, models: [sora-2], base_url: "http://127.0.0.1:9"}
  - {name: b, type: puppet, models: [sora-3], base_url: "http://127.0.0.1:9", content: redirect}
"""
TIMEOUT = aiohttp.ClientTimeout(total=20)
AT_ONCE = 20
NO_TEXT = "\ud800"
"""What no JSON can hold, so that the whole body is refused."""


@pytest.fixture
async def bird(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Canary]:
    async with canary(monkeypatch) as bird:
        yield bird


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http()
    await http.start()
    yield http
    await http.close()


@pytest.fixture
async def product(launch: Launch, bird: Canary) -> Product:
    return await launch(CHANNELS, plugins=(PUPPET,))


async def let_through(
    bird: Canary, attempt: Callable[[str], Awaitable[object]], *, at_once: int = AT_ONCE
) -> dict[str, object]:
    """What `attempt` answered for each URL of the corpus for which it answered anything but None."""
    places = asyncio.Semaphore(at_once)

    async def one(url: str) -> object:
        async with places:
            return await attempt(url.replace("{port}", str(bird.port)))

    outcomes = await asyncio.gather(*map(one, URLS))
    return {url: outcome for url, outcome in zip(URLS, outcomes, strict=True) if outcome is not None}


def port_of(product: Product) -> int:
    return product.server.port or 0


def test_the_corpus_is_large() -> None:
    """It has at least 150 different URLs, and each says why it is there."""
    assert len(URLS) == len(HOSTS) + len(NAMES) + len(FORMS) + len(CONTROLS) >= 150
    assert all(why.strip() for why in URLS.values())


async def test_the_canary_can_be_reached(bird: Canary, http: Http) -> None:
    """The control: where the operator allows it, the same fetch reaches the canary by address, name and IPv6."""
    for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "localhost", "[::1]", "localtest.me", "0x7f.1"):
        allowance = Allowance(allow_hosts=[host])
        with pytest.raises(aiohttp.ClientConnectionError):
            async with http.fetch(f"http://{host}:{bird.port}/", timeout=TIMEOUT, allowance=allowance):
                pass
    # aiohttp asks once more where a connection was closed at once.
    assert bird.connections == len(bird.dialled) >= 7


async def test_fetches(bird: Canary, http: Http) -> None:
    """A fetch dials nothing at all for any of them, and says so with an `UnusableUrl` or a name that is unknown."""

    async def attempt(url: str) -> object:
        try:
            async with http.fetch(url, timeout=TIMEOUT) as response:
                return response.status
        except (UnusableUrl, aiohttp.ClientConnectorDNSError):
            return None

    assert await let_through(bird, attempt) == {}
    assert (bird.dialled, bird.connections) == ([], 0)


async def test_redirects(bird: Canary, http: Http) -> None:
    """As the target of a redirect they lead nowhere, or, where they are paths, back to the redirecting server."""

    sent_away = 0

    async def away(request: web.Request) -> web.StreamResponse:
        nonlocal sent_away
        if "location" not in request.query:
            return web.Response()
        sent_away += 1
        # A line break cannot be sent: what remains is still no address.
        location = request.query["location"].translate({10: None, 13: None, 0: None})
        return web.Response(status=302, headers={"Location": location})

    app = web.Application(handler_args={"max_line_size": 65536})
    app.router.add_get("/{rest:.*}", away)
    async with TestServer(app, host="127.0.0.1") as entry:
        assert entry.port
        trust = Allowance(allow_hosts=[f"127.0.0.1:{entry.port}"])

        async def attempt(url: str) -> object:
            start = entry.make_url("/").update_query(location=url.encode("utf-8", "replace").decode())
            try:
                async with http.fetch(str(start), timeout=TIMEOUT, allowance=trust) as response:
                    return None if response.url.port == entry.port else response.status
            except (UnusableUrl, aiohttp.ClientConnectorDNSError, aiohttp.ClientResponseError):
                return None

        assert await let_through(bird, attempt) == {}
        assert sent_away >= len(URLS)
        assert bird.elsewhere(entry.port) == []
    assert bird.connections == 0


async def test_pictures(bird: Canary, product: Product) -> None:
    """As the address of an input picture each is a 400 that blames it and does not say where it leads."""

    async def attempt(url: str) -> object:
        status, body, _ = await product.call(
            "POST", "/v1/videos", json={"prompt": "x", "model": "sora-2", "input_reference": {"image_url": url}}
        )
        error = body["error"]
        leads = next((leads for name, leads in NAMES.items() if f"/{name}:" in url), ())
        if status == 400 and (str(error["param"]).startswith("input_reference") or NO_TEXT in url):
            return next((lead for lead in leads if lead in error["message"]), None)
        return status, error

    assert await let_through(bird, attempt) == {}
    assert bird.elsewhere(port_of(product)) == []
    assert bird.connections == 0


@pytest.mark.parametrize("model", ["sora-2", "sora-3"])
async def test_results(bird: Canary, product: Product, model: str) -> None:
    """As the address of a result each is a 502, and where clients are sent to the provider, nobody is sent there."""
    video = await product.create(model=model)
    await product.done(video["id"])
    path = f"/v1/videos/{video['id']}/content"

    async def attempt(url: str) -> object:
        async def content(job: object, variant: str) -> Source:
            return Source(url=url)

        product.channel("a").content = product.channel("b").content = content
        status, _, headers = await product.call("GET", path, allow_redirects=False)
        return None if (status, headers.get("location")) == (502, None) else (status, headers.get("location"))

    if model == "sora-3":
        # A name is not looked up for a client that is sent away: it is the client that goes there.
        names = {url for url in URLS if any(f"/{name}:" in url for name in NAMES)}
        names |= {"http://example.com#@127.0.0.1:{port}/%00", "http://http://127.0.0.1:{port}/"}
        names |= {"http://-:{port}/", "http://١٢٧.٠.٠.١:{port}/"}
        assert set(await let_through(bird, attempt, at_once=1)) == names
    else:
        assert await let_through(bird, attempt, at_once=1) == {}
    assert bird.elsewhere(port_of(product)) == []
    assert bird.connections == 0


async def test_webhooks(bird: Canary, product: Product) -> None:
    """As the address of a webhook each is refused, or its delivery fails without a connection."""
    made = []
    for _ in range(AT_ONCE):
        fields = {"name": "n", "url": "https://hooks.example/", "event_types": ["video.completed"]}
        status, endpoint, _ = await product.call("POST", "/v1/webhook_endpoints", json=fields)
        assert status == 200
        made.append(f"/v1/webhook_endpoints/{endpoint['id']}")

    async def attempt(url: str) -> object:
        path = made.pop()
        try:
            status, body, _ = await product.call("POST", path, json={"url": url})
            if status == 200:
                status, body, _ = await product.call("POST", f"{path}/test", json={"event_type": "video.completed"})
            refused = status == 400 and (body["error"]["param"] == "url" or NO_TEXT in url)
            return None if refused else (status, body)
        finally:
            made.append(path)

    assert await let_through(bird, attempt) == {}
    assert bird.elsewhere(port_of(product)) == []
    assert bird.connections == 0
