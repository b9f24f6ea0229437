"""plugins/kling.py: remixes, edits and extensions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy import Clip, InvalidRequest, Outcome, UpstreamJob
from proxy.errors import ContentExpired
from proxy.upstream import submission
from tests.plugins.kling_wire import FILM, TASK, opened, refused, request, taking
from tests.plugins.openai_oracle import PROMPT, Recorder

COMMON = {"model_name": "kling-v1-6", "prompt": PROMPT, "mode": "std", "external_task_id": "attempt_1"}
SOURCE = UpstreamJob(TASK, "completed", url=FILM, facts={"kind": "text2video", "film": "vid-1", "seconds": 5.1})


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def followed(recorder: Recorder, kind: str, source: UpstreamJob | None, **changes: Any) -> tuple[str, Any]:
    async with opened(recorder) as channel:
        wanted = request(kind=kind, **changes)
        channel.check(wanted)
        job = await getattr(channel, kind)(wanted, source)
    made = recorder.last.json
    facts = {"kind": recorder.last.target.removeprefix("/v1/videos/"), "model": made.get("model_name", wanted.model)}
    assert (job.id, job.facts) == (TASK, facts)
    return str(job.facts["kind"]), made


@pytest.mark.parametrize("kind", ["remix", "edit"])
@pytest.mark.parametrize(
    ("changes", "fields", "film"),
    [
        ({}, {}, {}),
        ({"audio": True, "size": "1920x1080"}, {"mode": "pro"}, {"keep_original_sound": "yes"}),
        ({"audio": False, "model": "kling-v3", "size": "3840x2160"}, {"mode": "pro"}, {"keep_original_sound": "no"}),
        (
            {"model": "kling-v3-omni", "size": "3840x2160", "metadata": {"element_list": []}},
            {"model_name": "kling-v3-omni", "mode": "4k", "element_list": []},
            {},
        ),
    ],
)
async def test_edits(recorder: Recorder, kind: str, changes: Any, fields: Any, film: Any) -> None:
    """A film is edited by its address, by its own model or the one that the entry names; its length and shape stay."""
    list_of_one = [{"video_url": FILM, "refer_type": "base", **film}]
    assert await followed(recorder, kind, SOURCE, **changes) == (
        "omni-video",
        {**COMMON, "model_name": "kling-video-o1", "video_list": list_of_one, **fields},
    )


async def test_an_uploaded_clip_is_edited_by_its_link(recorder: Recorder) -> None:
    """A clip goes as a signed link."""
    clip = Clip(Path("clip.mp4"), url="https://video.example.com/inputs/clip.mp4?sig=1")
    _, body = await followed(recorder, "edit", None, video=clip)
    assert body["video_list"] == [{"video_url": clip.url, "refer_type": "base"}]


@pytest.mark.parametrize(
    ("facts", "legal"), [({"seconds": 2.9}, False), ({"seconds": 15.1}, False), ({"seconds": 10.1}, True), ({}, True)]
)
async def test_length_of_an_edited_film(recorder: Recorder, facts: dict[str, Any], legal: bool) -> None:
    """What is known to be too short or too long is refused before anything is sent."""
    source = UpstreamJob(TASK, "completed", url=FILM, facts={"kind": "text2video", **facts})
    if legal:
        await followed(recorder, "remix", source)
        return
    with pytest.raises(InvalidRequest) as caught:
        await followed(recorder, "remix", source)
    assert (caught.value.param, recorder.calls) == ("video", [])


async def test_extensions(recorder: Recorder) -> None:
    """An extension names the film's own id, not its task; model, mode and length are not asked for."""
    changes = {"negative_prompt": "rain", "metadata": {"cfg_scale": 0.3, "video_id": "no"}}
    kind, body = await followed(recorder, "extend", SOURCE, **changes)
    assert (kind, body) == (
        "video-extend",
        {
            "video_id": "vid-1",
            "prompt": PROMPT,
            "negative_prompt": "rain",
            "cfg_scale": 0.3,
            "external_task_id": "attempt_1",
        },
    )


@pytest.mark.parametrize(
    "facts",
    [
        None,
        {},
        {"kind": "text2video", "seconds": 5.0},
        {"kind": "omni-video", "film": "vid-1"},
        {"kind": "multi-image2video", "film": "vid-1"},
        {"kind": "video-extend", "film": "vid-1", "seconds": 178.2},
    ],
)
async def test_what_cannot_be_extended(recorder: Recorder, facts: dict[str, Any] | None) -> None:
    """An uploaded clip, the film of another kind and one of three minutes are refused before anything is sent."""
    source = None if facts is None else UpstreamJob(TASK, "completed", url=FILM, facts=facts)
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            await channel.extend(request(kind="extend"), source)
    assert (caught.value.param, recorder.calls) == ("video", [])


async def test_another_model_extends_nothing(recorder: Recorder) -> None:
    """An extension is made, and paid for, as the source was: one by another model is refused before it is sent."""
    source = UpstreamJob(TASK, "completed", url=FILM, facts={**SOURCE.facts, "model": "kling-v1-6"})
    with pytest.raises(InvalidRequest) as caught:
        await followed(recorder, "extend", source, model="kling-v1")
    assert (caught.value.param, recorder.calls) == ("model", [])
    await followed(recorder, "extend", source)


async def test_a_film_that_is_gone_is_extended_once_at_most(recorder: Recorder) -> None:
    """After thirty days nothing is ordered; one that Kling lost before is refused for good, not tried again."""
    with pytest.raises(ContentExpired):
        await followed(recorder, "extend", replace(SOURCE, expires_at=time.time() - 1))
    assert recorder.calls == []
    recorder.say(refused(1203, "video_id does not exist"), 404)
    with pytest.raises(InvalidRequest, match="does not exist") as caught, submission():
        await followed(recorder, "extend", SOURCE)
    assert (caught.value.param, caught.value.outcome) == ("video", Outcome.CLIENT)
