"""A film that comes within the answer to a poll or to a submission."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.models import UpstreamJob
from proxy.spooled import Spooled
from tests.conftest import Launch, Product

CHANNELS = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01}]"
PLUGINS = (Path(__file__).parent / "plugins",)
FILM = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40


def spooled(product: Product, film: bytes = FILM) -> Spooled:
    """`film` as `Upstream` puts it aside out of an answer."""
    path = product.core.folder / "spooled"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(film)
    return Spooled(path, len(film))


async def content(product: Product, video_id: str) -> tuple[int, bytes]:
    status, body, _ = await product.call("GET", f"/v1/videos/{video_id}/content")
    return status, body


@pytest.mark.parametrize("when", ["create", "fetch"])
async def test_it_is_kept_and_not_asked_for_again(launch: Launch, when: str) -> None:
    """A film within the answer is what the client downloads; the channel is never asked where the content is, and
    nothing but that one file is left."""
    product = await launch(CHANNELS, plugins=PLUGINS)
    channel = product.channel("a")
    done = UpstreamJob(id="up-1", status="completed", film=await asyncio.to_thread(spooled, product))
    if when == "create":
        channel.then("create", done)
    else:
        channel.then("create", UpstreamJob(id="up-1", status="in_progress"))
        channel.then("fetch", done)
    del done
    video = await product.done((await product.create())["id"])
    assert await content(product, video["id"]) == (200, FILM)
    assert channel.asked("content") == []
    assert not (product.core.folder / "spooled").exists()
    stored = await product.core.store.video(video["id"])
    assert stored is not None
    assert stored.job is not None
    assert stored.job.film is None
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    assert await product.core.kept.find(video["id"], "video") is None


async def test_what_is_no_film_is_not_kept(launch: Launch) -> None:
    """An error page in place of a film does not fail a paid video: its channel is asked for the content."""
    product = await launch(CHANNELS, plugins=PLUGINS)
    channel = product.channel("a")
    page = await asyncio.to_thread(spooled, product, b"<html>busy</html>")
    channel.then("create", UpstreamJob(id="up-1", status="completed", film=page))
    video = await product.done((await product.create())["id"])
    assert video["status"] == "completed"
    await content(product, video["id"])
    assert len(channel.asked("content")) == 1
