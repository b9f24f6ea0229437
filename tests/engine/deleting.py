"""What the tests of deletions share: a channel that can cancel and one that cannot, what is gone, and held commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.models import JobError, UpstreamJob
from proxy.records import Video
from tests.conftest import ADMIN_KEY, Product

PLUGINS = (Path(__file__).parent / "plugins",)

CAN = "channels: [{name: a, type: lookup, models: [sora-2], max_running: 1, poll_every: 0.01}]"
CANNOT = "channels: [{name: a, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}]"
EMPTY = "channels: [{name: b, type: puppet, models: [sora-2]}]"

RUNNING = UpstreamJob(id="up-1", status="in_progress")
COMPLETED = UpstreamJob(id="up-1", status="completed")
FAILED = UpstreamJob(id="up-1", status="failed", error=JobError("upstream_failed", "No."))

Word = asyncio.Future[UpstreamJob]


def word() -> Word:
    return asyncio.get_running_loop().create_future()


async def reaches(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():
            await asyncio.sleep(0.01)


async def delete(product: Product, video_id: str, **options: Any) -> tuple[int, str | None]:
    """Status and error code; a 200 is OpenAI's `video.deleted`."""
    force = "?force=true" if options.pop("force", False) else ""
    status, body, _ = await product.call("DELETE", f"/v1/videos/{video_id}{force}", **options)
    if status == 200:
        assert body == {"id": video_id, "object": "video.deleted", "deleted": True}
        return 200, None
    return status, body["error"]["code"]


async def check_gone(product: Product, video: dict[str, Any]) -> None:
    """The video answers 404 on every route, and stands in no list."""
    path = f"/v1/videos/{video['id']}"
    routes = [("GET", path), ("GET", path + "/content"), ("POST", path + "/remix"), ("GET", path + "/events")]
    routes += [("DELETE", path), ("DELETE", path + "?force=true")]
    routes += [("GET", f"/v1/video/generations/{video['id']}")]
    if "video_url" in video:
        routes.append(("GET", video["video_url"].removeprefix(product.url)))
    for method, route in routes:
        body = {"json": {"prompt": "again"}} if method == "POST" else {}
        status, answer, _ = await product.call(method, route, key=None if "sig=" in route else ADMIN_KEY, **body)
        assert (status, answer["error"]["code"]) == (404, "video_not_found"), f"{method} {route}"
    assert video["id"] not in [one["id"] for one in (await product.call("GET", "/v1/videos"))[1]["data"]]


async def listed(product: Product) -> list[str]:
    return [video["id"] for video in (await product.call("GET", "/v1/videos"))[1]["data"]]


async def blocked(product: Product) -> tuple[Word, dict[str, Any]]:
    """A video that runs and takes the channel's only place until the word is given, and one that waits for it."""
    going = word()
    product.channel("a").then("fetch", going)
    await product.create(prompt="first")
    return going, await product.create(prompt="waiting")


def asked_for(product: Product, prompt: str) -> int:
    """How many submissions of this prompt the upstream has seen."""
    return [request.prompt for request in product.channel("a").asked("create")].count(prompt)


async def running(product: Product) -> dict[str, Any]:
    """A video that its upstream works on for as long as the test lasts."""
    product.channel("a").then("fetch", *[RUNNING] * 10_000)
    return await product.create(prompt="x")


class Commits:
    """Holds the commits of one video back, so that a test decides in which order they come."""

    def __init__(self, product: Product, video_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: dict[str, asyncio.Event] = {stage: asyncio.Event() for stage in ("submitting", "deleted")}
        self.go: dict[str, asyncio.Event] = {stage: asyncio.Event() for stage in ("submitting", "deleted")}
        store = product.core.store
        change = store.change

        async def held(video: Video, **kwargs: Any) -> Video:
            if video.id == video_id and video.stage in self.at:
                self.at[video.stage].set()
                await self.go[video.stage].wait()
            return await change(video, **kwargs)

        monkeypatch.setattr(store, "change", held)
