"""Files that should be here and are not: the upstream is asked instead, as long as it has the film."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.media.archive import key_of
from proxy.models import Source
from tests.conftest import Launch
from tests.engine.deleting import PLUGINS
from tests.engine.shelves import FILM, Shelf, config

ASKED: tuple[dict[str, str], ...] = ({}, {"Range": "bytes=5-9"})


@pytest.mark.parametrize("mode", ["proxy", "archive"])
async def test_a_copy_that_is_gone_comes_from_the_upstream(
    launch: Launch, tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy whose file somebody removed is relayed from the upstream, which the log tells, and stays known: a disk
    that is away for a moment costs no copy. Once the upstream's time is over too, the video is `expired`."""
    product = await launch(config(server=f"archive: '{tmp_path}/archive'", channel=f"content: {mode}"), plugins=PLUGINS)

    async def stream() -> AsyncIterator[bytes]:
        yield FILM

    shelf = Shelf(product, video=Source(stream=stream, size=len(FILM)))
    video = await shelf.film(expires_at=time.time() + 3600)
    await shelf.copied(video)
    file = tmp_path / "archive" / key_of(video)
    away = file.rename(file.with_suffix(".away"))
    for headers in ASKED:
        status, body, head = await shelf.ask(video, **headers)
        assert (status, body) == ((206, FILM[5:10]) if headers else (200, FILM))
        assert head["etag"] == f'"{video}"'
    assert (await shelf.ask(video, method="HEAD"))[0] == 200
    assert "not in the archive any more" in caplog.text
    assert shelf.asked == ["video"] * 4
    away.rename(file)
    assert await shelf.get(video) == (200, FILM)
    assert shelf.asked == ["video"] * 4
    file.unlink()
    monkeypatch.setattr(product.core, "clock", lambda: time.time() + 7200)
    assert await shelf.get(video) == (404, "expired")


async def test_a_kept_file_that_is_trimmed_just_now_is_made_again(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film or a picture that goes between being found and being opened is asked for again, and the client hears of
    nothing."""
    product = await launch(config(), plugins=PLUGINS)
    shelf = Shelf(product, video=Source(data=FILM))
    video = await shelf.film()
    assert await shelf.get(video) == (200, FILM)
    kept = product.core.kept
    find = kept.find

    async def trimmed(*name: str) -> Path | None:
        monkeypatch.undo()
        path = await find(*name)
        assert path is not None
        await asyncio.to_thread(path.unlink)
        return path

    monkeypatch.setattr(kept, "find", trimmed)
    assert await shelf.get(video) == (200, FILM)
    assert shelf.asked == ["video"] * 2
