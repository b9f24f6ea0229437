"""Pictures of videos: the provider's where it has them, else our own, made once."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from proxy.errors import AccountRefused, NotFound, Throttled, UnsupportedOperation, UpstreamError, UpstreamGone
from proxy.media import stills
from proxy.models import Source
from tests.conftest import Launch
from tests.engine.deleting import PLUGINS
from tests.engine.shelves import FILM, PICTURE, Shelf, config, forms
from tests.media.conftest import upstream as upstream
from tests.media.videos import clip
from tests.media.wire import Exchange, RawUpstream

OWN = b"\xff\xd8\xff\xe0" + bytes(40)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What our own pictures were made of; they need no decoder here."""
    files: list[Any] = []

    async def draw(file: Any) -> bytes:
        files.append(file)
        return OWN

    for make in ("thumbnail", "spritesheet"):
        monkeypatch.setattr(stills, make, draw)
    return files


async def test_five_at_once_cost_one(launch: Launch, drawn: list[Any]) -> None:
    """Five who ask at once, and all later ones, cost one question to the channel and one picture of our own."""
    shelf = Shelf(await launch(config(), plugins=PLUGINS), video=Source(data=FILM))
    video = await shelf.film()
    assert await asyncio.gather(*(shelf.get(video, "thumbnail") for _ in range(5))) == [(200, OWN)] * 5
    status, body, headers = await shelf.ask(video, "thumbnail", method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(OWN)))
    assert headers["content-type"] == "image/jpeg"
    assert await shelf.get(video, "thumbnail", Range="bytes=-7") == (206, OWN[-7:])
    assert (shelf.asked, len(drawn)) == (["thumbnail", "video"], 1)


async def test_every_form_of_a_picture(launch: Launch, upstream: RawUpstream, tmp_path: Path, drawn: list[Any]) -> None:
    """The provider's own picture is served in whatever form the channel gives it, also where it does not say that it is
    one; it is asked for once."""

    async def sends(exchange: Exchange) -> None:
        await exchange.ranged(PICTURE)

    upstream.script = sends
    origin = upstream.url.partition("/result")[0]
    product = await launch(config(origin), plugins=PLUGINS)
    video = await Shelf(product).film()
    for form, source in forms(upstream, tmp_path / "shelf", PICTURE).items():
        shelf = Shelf(product, spritesheet=source)
        for _ in range(2):
            assert await shelf.get(video, "spritesheet") == (200, PICTURE), form
        assert shelf.asked == ["spritesheet"]
        await product.core.kept.discard(video)
    assert drawn == []


@pytest.mark.parametrize("copy", [True, False])
async def test_what_the_upstream_does_wrong(launch: Launch, tmp_path: Path, drawn: list[Any], copy: bool) -> None:
    """What the upstream does not have is made here; where it fails, it is made here too if the film is at hand, and
    else the client is told, and served when the upstream is well again."""
    server = f"archive: '{tmp_path}/archive'" if copy else ""
    product = await launch(config(server=server), plugins=PLUGINS)

    async def film_stream() -> Any:
        yield FILM

    shelf = Shelf(product, video=Source(stream=film_stream))
    lacking = [
        UnsupportedOperation("none"),
        UpstreamGone("gone"),
        NotFound("none"),
        Source(data=FILM),
        Source(path=tmp_path / "missing"),
    ]
    failing = [
        UpstreamError("down"),
        AccountRefused("no"),
        Throttled("slow down"),
        ValueError("odd"),
        Source(data=b"<html>", media_type="image/webp"),
    ]
    video = await shelf.film()
    if copy:
        await shelf.copied(video)
    for answer in (*lacking, *failing):
        await product.core.kept.discard(video)
        shelf.has["thumbnail"] = answer
        status, body = await shelf.get(video, "thumbnail")
        if copy or answer in lacking:
            assert (status, body) == (200, OWN), answer
        else:
            assert (status, body) in ((502, "upstream_error"), (429, "rate_limit_exceeded"))
            shelf.has["thumbnail"] = Source(data=PICTURE)
            assert await shelf.get(video, "thumbnail") == (200, PICTURE)


async def test_a_picture_that_vanished_is_made_again(launch: Launch, tmp_path: Path, drawn: list[Any]) -> None:
    """What was trimmed, or damaged on the disk, costs at most one failure that says to try again, and no film."""
    shelf = Shelf(await launch(config(), plugins=PLUGINS), video=Source(data=FILM))
    video = await shelf.film()
    assert await shelf.get(video, "thumbnail") == (200, OWN)
    kept = tmp_path / "data" / "kept" / f"{video}.thumbnail"
    await asyncio.to_thread(kept.unlink)
    assert await shelf.get(video, "thumbnail") == (200, OWN)
    await asyncio.to_thread(kept.write_bytes, b"")
    status, _, headers = await shelf.ask(video, "thumbnail")
    assert (status, headers["x-should-retry"]) == (502, "true")
    assert await shelf.get(video, "thumbnail") == (200, OWN)
    assert shelf.asked.count("video") == 1


async def test_pictures_and_frames_come_out_of_the_archive(launch: Launch, tmp_path: Path) -> None:
    """With its channel gone, a video in the archive still gives its thumbnail and the first frame that a new video
    starts from; one that cannot be decoded is a clear 400."""
    film = await asyncio.to_thread(clip)
    text = config(server=f"archive: '{tmp_path}/archive'")
    product = await launch(text, plugins=PLUGINS)
    shelf = Shelf(product, video=Source(data=film))
    good = await shelf.film()
    await shelf.copied(good)
    shelf.has["video"] = Source(data=FILM)
    bad = await shelf.film()
    await shelf.copied(bad)
    await product.reload(text.replace("name: a", "name: b"))
    video = await product.core.newest(good)
    assert video is not None
    status, thumbnail = await shelf.get(good, "thumbnail")
    frame = await product.core.contents.frame(video, "first")
    assert status == 200
    assert [Image.open(BytesIO(picture)).format for picture in (thumbnail, frame)] == ["WEBP", "PNG"]
    assert await shelf.get(bad, "thumbnail") == (400, "unsupported_operation")
