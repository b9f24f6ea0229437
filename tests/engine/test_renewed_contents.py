"""Addresses of results that have run out: asked for anew, once for all who read, and no harm to the video."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.errors import InvalidRequest, Throttled, UpstreamError, UpstreamGone
from proxy.models import JobError, Source, UpstreamJob
from proxy.store import StoreBusy
from tests.conftest import Launch, Product
from tests.engine.deleting import PLUGINS, delete, word
from tests.engine.shelves import FILM, SECRET, Shelf, config


def told(url: str, **more: Any) -> UpstreamJob:
    return UpstreamJob(id=SECRET, status="completed", url=url, **more)


def at_its_url(job: UpstreamJob) -> Source:
    assert job.url is not None
    return Source(url=job.url)


class Links:
    """An upstream where only some addresses are good."""

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.refused = 0
        self.status = 403
        app = web.Application()
        app.router.add_get("/{name}", self._answer)
        self.server = TestServer(app)

    def url(self, name: str, *, good: bool = False) -> str:
        if good:
            self.good.add(name)
        return str(self.server.make_url(f"/{name}"))

    async def _answer(self, request: web.Request) -> web.Response:
        if request.match_info["name"] in self.good:
            return web.Response(body=FILM)
        self.refused += 1
        return web.Response(status=self.status)


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    links = Links()
    async with links.server:
        yield links


async def shelf_of(launch: Launch, links: Links, **more: Any) -> Shelf:
    product = await launch(config(str(links.server.make_url("")), **more), plugins=PLUGINS)
    return Shelf(product, video=at_its_url)


async def job_of(product: Product, video_id: str) -> UpstreamJob:
    video = await product.core.store.video(video_id)
    assert video is not None
    assert (video.status, video.stage) == ("completed", "ended")
    assert video.job is not None
    return video.job


@pytest.mark.parametrize("how", [None, 400, 403, 404, 410])
async def test_an_address_that_ran_out_is_renewed_once_for_all(launch: Launch, links: Links, how: int | None) -> None:
    """Readers who come together cost one question, the new address is stored with its time, and later readers cost
    none; a redirect leads to the new one."""
    links.status = how or 403
    shelf = await shelf_of(launch, links)
    run_out = time.time() - 1 if how is None else None
    video = await shelf.film(url=links.url("old"), url_expires_at=run_out)
    going, before = word(), shelf.polled
    shelf.channel.then("fetch", going)
    readers = [asyncio.create_task(shelf.get(video)) for _ in range(5)]
    while shelf.polled == before:
        await asyncio.sleep(0.01)
    going.set_result(told(links.url("new", good=True), url_expires_at=time.time() + 3600))
    assert await asyncio.gather(*readers) == [(200, FILM)] * 5
    assert await shelf.get(video, Range="bytes=-9") == (206, FILM[-9:])
    assert (await shelf.ask(video, method="HEAD"))[0] == 200
    assert shelf.polled == before + 1
    assert (await job_of(shelf.product, video)).url == links.url("new")
    assert links.refused == (0 if how is None else 5)


async def test_a_new_address_in_the_facts_has_its_time(launch: Launch, links: Links) -> None:
    """Where a plugin keeps the address in its facts, its new time counts too: the upstream is asked once."""
    shelf = await shelf_of(launch, links)
    shelf.has["video"] = lambda job: Source(url=job.facts["at"])
    video = await shelf.film(facts={"at": links.url("old")}, url_expires_at=time.time() - 1)
    before = shelf.polled
    new = UpstreamJob(
        id=SECRET, status="completed", facts={"at": links.url("new", good=True)}, url_expires_at=time.time() + 3600
    )
    shelf.channel.then("fetch", new)
    for _ in range(3):
        assert await shelf.get(video) == (200, FILM)
    assert shelf.polled == before + 1
    assert (await job_of(shelf.product, video)).url_expires_at == new.url_expires_at


async def test_who_comes_late_finds_the_new_address(launch: Launch, links: Links) -> None:
    """A reader that is refused an address which another one has renewed meanwhile asks nobody."""
    shelf = await shelf_of(launch, links)
    video = await shelf.product.core.newest(await shelf.film(url=links.url("old")))
    assert video is not None
    late = await shelf.product.core.contents.find(video, "video")
    assert late.renew is not None
    before = shelf.polled
    shelf.channel.then("fetch", told(links.url("new", good=True)))
    assert await shelf.get(video.id) == (200, FILM)
    assert (await late.renew()).url == links.url("new")
    assert shelf.polled == before + 1


async def test_a_redirect_leads_to_the_new_address(launch: Launch, links: Links) -> None:
    """An address whose time is over is not handed out."""
    shelf = await shelf_of(launch, links, channel="content: redirect")
    video = await shelf.film(url=links.url("old"), url_expires_at=time.time() - 1)
    shelf.channel.then("fetch", told(links.url("new"), url_expires_at=time.time() + 3600))
    for _ in range(2):
        status, _, headers = await shelf.ask(video)
        assert (status, headers["location"]) == (302, links.url("new"))


ODD_ANSWERS: list[tuple[object, tuple[int, str]]] = [
    (UpstreamJob(id=SECRET, status="failed", error=JobError("upstream_failed", "No.")), (404, "expired")),
    (UpstreamGone("it is gone"), (404, "expired")),
    (UpstreamJob(id=SECRET, status="in_progress"), (502, "upstream_error")),
    (UpstreamJob(id=SECRET, status="queued"), (502, "upstream_error")),
    (Throttled("slow down", retry_after=3), (429, "rate_limit_exceeded")),
    (UpstreamError(f"job {SECRET} at https://up.example.com/1 is odd"), (502, "upstream_error")),
    (InvalidRequest("The upstream refused the request."), (502, "upstream_error")),
    (ValueError(f"job {SECRET} is odd"), (502, "upstream_error")),
    (asyncio.CancelledError(), (502, "upstream_error")),
    ("not a job", (502, "upstream_error")),
    (UpstreamJob(id=SECRET, status="completed"), (404, "expired")),
]


async def test_whatever_a_renewal_brings_the_video_stays(
    launch: Launch, links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    """A completed video stays just as it was; the client gets a clear error without the upstream's
    id, each reader costs one question, and a later answer is as good as ever."""
    shelf = await shelf_of(launch, links)
    video = await shelf.film(url=links.url("old"))
    known = await shelf.product.core.store.video(video)
    for answer, heard in ODD_ANSWERS:
        before = shelf.polled
        shelf.channel.then("fetch", answer)
        status, body, _ = await shelf.ask(video)
        assert (status, body["error"]["code"]) == heard, answer
        assert shelf.polled == before + 1
        assert await shelf.product.core.store.video(video) == known
        assert SECRET not in str(body) + caplog.text
        assert "up.example.com" not in str(body)
    shelf.channel.then("fetch", told(links.url("new", good=True)))
    assert await shelf.get(video) == (200, FILM)


async def test_a_video_that_is_deleted_meanwhile_is_not_served(launch: Launch, links: Links) -> None:
    """Who waits for the new address of a video that is deleted then gets the 404 of every deleted video."""
    shelf = await shelf_of(launch, links)
    video = await shelf.film(url=links.url("old"))
    going, before = word(), shelf.polled
    shelf.channel.then("fetch", going)
    reader = asyncio.create_task(shelf.get(video))
    while shelf.polled == before:
        await asyncio.sleep(0.01)
    assert await delete(shelf.product, video) == (200, None)
    going.set_result(told(links.url("new", good=True)))
    assert await reader == (404, "video_not_found")


async def test_a_store_that_is_busy_hides_no_film(
    launch: Launch, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the new address cannot be written, it is used all the same."""
    shelf = await shelf_of(launch, links)
    video = await shelf.film(url=links.url("old"))
    shelf.channel.then("fetch", told(links.url("new", good=True)))

    async def busy(*_: object, **__: object) -> None:
        raise StoreBusy("the disk is full")

    monkeypatch.setattr(shelf.product.core.store, "change", busy)
    assert await shelf.get(video) == (200, FILM)


async def test_a_plugin_that_hangs_is_given_up(launch: Launch, links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `content` nor the question for a new address can hold a reader for ever; the next one is served."""
    monkeypatch.setattr("proxy.engine.contents.SLACK", 0.05)
    shelf = await shelf_of(launch, links, channel="timeout: {total: 0.01}")
    video = await shelf.film(url=links.url("old"))
    shelf.channel.then("fetch", word())
    assert await shelf.get(video) == (504, "upstream_timeout")
    shelf.has["video"] = word()
    assert await shelf.get(video) == (504, "upstream_timeout")
    shelf.has["video"] = Source(data=FILM)
    assert await shelf.get(video) == (200, FILM)
