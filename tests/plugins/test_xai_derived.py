"""plugins/xai.py: remixes, edits and extensions."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy import (
    ApiError,
    Clip,
    InvalidRequest,
    Outcome,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)
from tests.plugins.openai_oracle import PROMPT, Recorder
from tests.plugins.xai_wire import FILM, TASK, done, opened, request, taking


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


def source(*, left: float = 7200.0, url: str | None = FILM, seconds: Any = 8) -> UpstreamJob:
    return UpstreamJob(
        "of-the-source", "completed", url=url, url_expires_at=time.time() + left, facts={"seconds": seconds}
    )


@pytest.mark.parametrize("kind", ["remix", "edit"])
@pytest.mark.parametrize(("options", "model"), [({}, "grok-imagine-video"), ({"edit_model": "grok-9"}, "grok-9")])
async def test_remixes_and_edits(recorder: Recorder, kind: Any, options: dict[str, str], model: str) -> None:
    """A remix is an edit: model, prompt and the source's address, without length and shape, which are the source's."""
    wanted = request(kind=kind, model="grok-imagine-video", metadata={"user": "u-1", "video": 7})
    async with opened(recorder, **options) as channel:
        job = await getattr(channel, kind)(wanted, source())
    assert (job.id, job.status, recorder.last.target) == (TASK, "queued", "/v1/videos/edits")
    assert recorder.last.json == {"model": model, "prompt": PROMPT, "video": {"url": FILM}, "user": "u-1"}


async def test_extensions(recorder: Recorder) -> None:
    """An extension names the seconds to add."""
    async with opened(recorder) as channel:
        await channel.extend(request(kind="extend", seconds=6), source())
    body = {"model": "grok-imagine-video-1.5", "prompt": PROMPT, "duration": 6, "video": {"url": FILM}}
    assert (recorder.last.target, recorder.last.json) == ("/v1/videos/extensions", body)


@pytest.mark.parametrize(
    ("kind", "seconds", "words"),
    [
        ("remix", 9, "at most 8.7"),
        ("edit", 8.8, "at most 8.7"),
        ("extend", 1, "2 to 30"),
        ("extend", 31, "2 to 30"),
        ("edit", 8.7, ""),
        ("edit", None, ""),
        ("extend", 2, ""),
        ("extend", 30, ""),
    ],
)
async def test_lengths_of_sources(recorder: Recorder, kind: str, seconds: Any, words: str) -> None:
    """A source that is known to be too long or too short is refused before anything is asked."""
    async with opened(recorder) as channel:
        work = getattr(channel, kind)(request(kind=kind), source(seconds=seconds))
        if not words:
            await work
            return
        with pytest.raises(InvalidRequest, match=words) as caught:
            await work
    assert (caught.value.param, recorder.calls) == ("video", [])


@pytest.mark.parametrize("stale", [{"left": -1.0}, {"left": 60.0}, {"url": None}])
async def test_a_stale_address_is_asked_for_anew(recorder: Recorder, stale: dict[str, Any]) -> None:
    """An address that has run out, or soon will, is asked for before the submission."""
    answers = iter([done(url="https://vidgen.x.ai/fresh.mp4"), {"request_id": TASK}])
    recorder.answer = lambda: web.json_response(next(answers))
    async with opened(recorder) as channel:
        await channel.remix(request(kind="remix"), source(**stale))
    first, second = recorder.calls
    assert (first.method, first.target) == ("GET", "/v1/videos/of-the-source")
    assert second.json["video"] == {"url": "https://vidgen.x.ai/fresh.mp4"}


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        ({"error": "Not found"}, 404, UpstreamGone),
        ({"error": "Later"}, 429, Throttled),
        ({"error": "Broken"}, 503, UpstreamError),
        ({"status": "dreaming"}, 200, UpstreamError),
        ({"status": "expired"}, 200, UpstreamError),
        (b"", 202, UpstreamError),
        ({"status": "done"}, 200, UpstreamError),
    ],
)
async def test_a_source_without_an_address_orders_nothing(
    recorder: Recorder, data: Any, status: int, kind: type[ApiError]
) -> None:
    """Where the source's address cannot be had, nothing was ordered, and the error says so."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind) as caught:
            await channel.remix(request(kind="remix"), source(left=-1))
    assert caught.value.outcome is Outcome.REFUSED
    assert [call.method for call in recorder.calls] == ["GET"]


@pytest.mark.parametrize("kind", ["edit", "extend"])
async def test_clips(recorder: Recorder, tmp_path: Path, kind: Any) -> None:
    """An uploaded clip goes as its link, or within the body where the entry says so; without either it is refused."""
    file = tmp_path / "clip.mp4"
    await asyncio.to_thread(file.write_bytes, b"film" * 99)
    linked, bare = Clip(file, url="https://here.example.com/clip"), Clip(file)
    async with opened(recorder) as channel:
        await getattr(channel, kind)(request(kind=kind, video=linked), None)
        assert recorder.last.json["video"] == {"url": "https://here.example.com/clip"}
        with pytest.raises(UnsupportedOperation, match="public address") as caught:
            await getattr(channel, kind)(request(kind=kind, video=bare), None)
        with pytest.raises(ValueError, match="a source or an uploaded clip"):
            await getattr(channel, kind)(request(kind=kind), None)
    assert (caught.value.param, len(recorder.calls)) == ("video", 1)
    async with opened(recorder, clips="data_uri") as channel:
        await getattr(channel, kind)(request(kind=kind, video=linked), None)
    data = f"data:video/mp4;base64,{base64.b64encode(b'film' * 99).decode()}"
    assert recorder.last.json["video"] == {"url": data}
