"""Where the bytes of a completed video come from: the archive, the files kept here, the upstream."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from proxy.errors import UpstreamError, UpstreamUnreachable, VideoNotFound
from proxy.models import Source, Variant
from tests.conftest import Launch
from tests.engine.deleting import PLUGINS, delete, word
from tests.engine.shelves import FILM, PICTURE, SECRET, Shelf, config, forms, origin, sends
from tests.media.conftest import upstream as upstream
from tests.media.wire import RawUpstream

RANGES = {"bytes=0-99": FILM[:100], "bytes=1000-1999": FILM[1000:2000], "bytes=-7": FILM[-7:], "bytes=5-": FILM[5:]}
WITHIN_AN_ANSWER = ("data", "spooled")


@pytest.mark.parametrize("mode", ["proxy", "redirect", "archive"])
async def test_every_form_comes_out_of_every_mode(
    launch: Launch, upstream: RawUpstream, tmp_path: Path, mode: str
) -> None:
    """Whole, in parts, by HEAD and for many at once the bytes are the film's, with one ETag, whatever the form of the
    source; what came within an answer is asked for once; only an address without a key is handed out."""
    upstream.script = sends
    server = f"archive: '{tmp_path}/archive'" if mode == "archive" else ""
    product = await launch(config(origin(upstream), server=server, channel=f"content: {mode}"), plugins=PLUGINS)
    for form, source in forms(upstream, tmp_path / "shelf").items():
        shelf = Shelf(product, video=source)
        video = await shelf.film()
        if mode == "redirect" and form == "url":
            for method in ("GET", "HEAD"):
                status, _, headers = await shelf.ask(video, method=method)
                assert (status, headers["location"]) == (302, upstream.url)
            continue
        whole, head, *parts = await asyncio.gather(
            shelf.ask(video), shelf.ask(video, method="HEAD"), *(shelf.ask(video, Range=wish) for wish in RANGES)
        )
        assert whole[:2] == (200, FILM), form
        assert head[:2] == (200, b"")
        assert [answer[:2] for answer in parts] == [(206, part) for part in RANGES.values()]
        assert {answer[2]["etag"] for answer in (whole, head, *parts)} == {f'"{video}"'}
        if form != "stream":
            assert head[2]["content-length"] == str(len(FILM))
        if mode == "archive" or form in WITHIN_AN_ANSWER:
            assert shelf.asked == ["video"], form
            shelf.has["video"] = UpstreamUnreachable("away")
            assert await shelf.get(video) == (200, FILM)


async def test_many_readers_wait_for_one_answer(launch: Launch) -> None:
    """Readers who come while the channel is asked share its answer, and its failure, and do not ask one by one."""
    product = await launch(config(), plugins=PLUGINS)
    for answer, told in ((Source(data=FILM), (200, FILM)), (UpstreamError("no"), (502, "upstream_error"))):
        going = word()
        shelf = Shelf(product, video=going)
        video = await shelf.film()
        readers = [asyncio.create_task(shelf.get(video)) for _ in range(5)]
        while not shelf.asked:
            await asyncio.sleep(0.01)
        going.set_result(answer)  # type: ignore[arg-type]
        assert await asyncio.gather(*readers) == [told] * 5
        assert shelf.asked == ["video"]


async def test_an_error_page_within_an_answer_is_not_kept(launch: Launch) -> None:
    """What does not begin as a film does is an upstream's error, is not kept, and the next reader gets the film."""
    product = await launch(config(), plugins=PLUGINS)
    for page in (b"<html>Sorry.</html>", b"", b'{"error": "no"}' * 10):
        shelf = Shelf(product, video=Source(data=page))
        video = await shelf.film()
        assert await shelf.get(video) == (502, "upstream_error")
        shelf.has["video"] = Source(data=FILM)
        assert await shelf.get(video) == (200, FILM)


async def test_an_odd_plugin_is_a_clear_error(launch: Launch, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever `content` answers or raises, the client gets a 502 without the upstream's id or address, and so does the
    next one."""
    product = await launch(config(), plugins=PLUGINS)
    for odd in (
        None,
        "https://result.example.com/x",
        ValueError(f"no {SECRET} at https://up.example.com/x"),
        asyncio.CancelledError(),
        UpstreamError(f"no {SECRET} at https://up.example.com/x"),
    ):
        shelf = Shelf(product, video=odd)
        video = await shelf.film(url="https://up.example.com/x")
        for _ in range(2):
            status, body, _ = await shelf.ask(video)
            assert (status, body["error"]["code"]) == (502, "upstream_error")
            assert SECRET not in str(body)
            assert "up.example.com" not in str(body)
    assert SECRET not in caplog.text
    assert "up.example.com" not in caplog.text


async def test_a_channel_that_left_leaves_its_copies(launch: Launch, upstream: RawUpstream, tmp_path: Path) -> None:
    """What is in the archive, and what was kept here, is served although its channel is not in the file any more;
    without either the answer says that the channel is gone."""
    upstream.script = sends
    text = config(origin(upstream), server=f"archive: '{tmp_path}/archive'")
    product = await launch(text, plugins=PLUGINS)
    shelf = Shelf(product, video=Source(url=upstream.url), thumbnail=Source(data=PICTURE, media_type="image/webp"))
    archived = await shelf.film()
    await shelf.copied(archived)
    assert await shelf.get(archived, "thumbnail") == (200, PICTURE)
    going = word()
    shelf.has["video"] = going
    other = await shelf.film()
    await product.reload(text.replace("name: a", "name: b"))
    assert await shelf.get(archived) == (200, FILM)
    assert await shelf.get(archived, "thumbnail") == (200, PICTURE)
    assert await shelf.get(other) == (503, "channel_unavailable")
    assert await shelf.get(other, "thumbnail") == (503, "channel_unavailable")


async def test_an_expired_video_lives_on_in_the_archive(
    launch: Launch, upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its upstream's time, a video with a copy is served, also where it was to be redirected; one without is
    `expired`, and its upstream is not asked."""
    upstream.script = sends
    server = f"archive: '{tmp_path}/archive'"
    product = await launch(config(origin(upstream), server=server, channel="content: redirect"), plugins=PLUGINS)
    shelf = Shelf(product, video=Source(url=upstream.url))
    kept = await shelf.film(expires_at=time.time() + 3600)
    await shelf.copied(kept)
    going = word()
    shelf.has["video"] = going
    shelf.asked.clear()
    gone = await shelf.film(expires_at=time.time() + 3600)
    async with asyncio.timeout(60):
        while not shelf.asked:
            # The archive asks for it, too, and never gets it.
            await asyncio.sleep(0.01)
    monkeypatch.setattr(product.core, "clock", lambda: time.time() + 7200)
    shelf.asked.clear()
    assert await shelf.get(kept) == (200, FILM)
    assert await shelf.get(gone) == (404, "expired")
    assert await shelf.get(gone, "thumbnail") == (404, "expired")
    assert shelf.asked == []
    going.set_result(Source(url=upstream.url))  # type: ignore[arg-type]


async def test_a_redirect_that_cannot_be_had_is_served_from_here(
    launch: Launch, upstream: RawUpstream, tmp_path: Path
) -> None:
    """Where the channel of a redirected video fails, its copy is served; an address that must not be handed out is
    relayed or refused, and its channel asked once."""
    upstream.script = sends
    server = f"archive: '{tmp_path}/archive'"
    product = await launch(config(origin(upstream), server=server, channel="content: redirect"), plugins=PLUGINS)
    shelf = Shelf(product, video=Source(url=upstream.url))
    video = await shelf.film()
    await shelf.copied(video)
    assert (await shelf.ask(video))[0] == 302
    for failure in (UpstreamUnreachable("away"), UpstreamError("no"), ValueError("odd")):
        shelf.has["video"] = failure
        assert await shelf.get(video) == (200, FILM)
    product.core.contents.archiving = None
    shelf.has["video"] = UpstreamUnreachable("away")
    assert await shelf.get(video) == (502, "upstream_error")
    for odd in ("http://10.0.0.1/x", "http://localhost/x", "file:///etc/passwd", "javascript:alert(1)", "", "http://["):
        shelf.has["video"] = Source(url=odd)
        shelf.asked.clear()
        assert await shelf.get(video) == (502, "upstream_error"), odd
        assert shelf.asked == ["video"], odd


async def test_nothing_of_a_deleted_video_is_kept(launch: Launch, tmp_path: Path) -> None:
    """A video that is deleted while its channel is asked for it answers 404, and nothing of it lies here afterwards."""
    product = await launch(config(), plugins=PLUGINS)
    results: tuple[tuple[Variant, Source], ...] = (
        ("video", Source(data=FILM)),
        ("thumbnail", Source(data=PICTURE, media_type="image/webp")),
    )
    for variant, made in results:
        going = word()
        shelf = Shelf(product, **{variant: going})
        video = await shelf.film()
        reader = asyncio.create_task(shelf.get(video, variant))
        while not shelf.asked:
            await asyncio.sleep(0.01)
        assert await delete(product, video) == (200, None)
        going.set_result(made)  # type: ignore[arg-type]
        assert await reader == (404, "video_not_found")
        assert [*(tmp_path / "data" / "kept").glob("*")] == []
        deleted = await product.core.newest(video)
        assert deleted is not None
        with pytest.raises(VideoNotFound):
            # As read by a request a moment before.
            await product.core.contents.find(deleted, variant)
        assert [*(tmp_path / "data" / "kept").glob("*")] == []
