"""plugins/runway.py: remixes, edits and extensions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import plugins.runway
from plugins._runway_models import EDITORS
from proxy import ApiError, Clip, InvalidRequest, Outcome, Throttled, UpstreamError, UpstreamGone, UpstreamJob
from proxy.testing import SimulatorServer
from tests.plugins.openai_oracle import PROMPT, Recorder, recording
from tests.plugins.runway_wire import FILM, KEY, TASK, WISHES, opened, request, say_in_turn, taking, task
from tests.simulators.runway import RunwaySimulator


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


def source(*, left: float = 7200.0, url: str | None = FILM) -> UpstreamJob:
    return UpstreamJob("task-of-the-source", "completed", url=url, url_expires_at=time.time() + left)


async def test_remix_and_edit_give_aleph_the_address(recorder: Recorder) -> None:
    """A remix or edit is one video_to_video of aleph2 with the source's address; length and shape follow the input."""
    async with opened(recorder) as channel:
        for job in (
            await channel.remix(request(kind="remix", seed=3, metadata={"keyframes": []}), source()),
            await channel.edit(request(kind="edit", seed=3, metadata={"keyframes": []}), source()),
        ):
            assert (job.id, job.status) == (TASK, "queued")
    body = {"model": "aleph2", "promptText": PROMPT, "videoUri": FILM, "seed": 3, "keyframes": []}
    assert [(call.target, call.json) for call in recorder.calls] == [("/v1/video_to_video", body)] * 2


@pytest.mark.parametrize(
    ("options", "model", "fields"),
    [
        ({}, "aleph2", {"model": "aleph2"}),
        ({}, "gemini_omni_flash", {"model": "gemini_omni_flash"}),
        ({}, "gemini_omni_flash_1.1", {"model": "gemini_omni_flash_1.1", "mode": "edit"}),
        ({}, "kling_4", {"model": "kling_4"}),
        ({}, "veo3.1", {"model": "aleph2"}),
        ({"edit_model": "gemini_omni_flash_1.1"}, "gen4.5", {"model": "gemini_omni_flash_1.1", "mode": "edit"}),
        ({"edit_model": "gemini_omni_flash_1.1"}, "aleph2", {"model": "aleph2"}),
    ],
)
async def test_who_edits(recorder: Recorder, options: dict[str, str], model: str, fields: dict[str, str]) -> None:
    """A model that can edit does so itself, the others leave it to the entry's `edit_model`."""
    async with opened(recorder, **options) as channel:
        await channel.edit(request(kind="edit", model=model), source())
    assert recorder.last.json == {"promptText": PROMPT, "videoUri": FILM, **fields}


async def test_seedance_edits_in_its_own_words(recorder: Recorder) -> None:
    """Seedance 2.5 calls its source otherwise, wants the length left to it, and has a seed and sound."""
    async with opened(recorder) as channel:
        await channel.edit(request(kind="edit", model="seedance2_5", **WISHES), source())
    fields = {"model": "seedance2_5", "mode": "edit", "duration": "auto", "promptVideo": FILM}
    assert recorder.last.json == {"promptText": PROMPT, "seed": 7, "audio": False, **fields}


async def test_an_extension_names_the_seconds_to_add(recorder: Recorder) -> None:
    """An extension is a video_to_video of Gemini Omni 1.1 in its mode `extend`."""
    async with opened(recorder) as channel:
        await channel.extend(request(kind="extend", seconds=6), source())
    assert (recorder.last.target, recorder.last.json) == (
        "/v1/video_to_video",
        {
            "model": "gemini_omni_flash_1.1",
            "promptText": PROMPT,
            "mode": "extend",
            "duration": 6,
            "videoUri": FILM,
        },
    )


@pytest.mark.parametrize("stale", [{"left": -1.0}, {"left": 60.0}, {"url": None}])
async def test_a_stale_address_is_asked_for_anew(recorder: Recorder, stale: dict[str, Any]) -> None:
    """An address that has run out, or soon will, is fetched again before the submission."""
    say_in_turn(recorder, task("SUCCEEDED", output=["https://cdn.example.com/fresh.mp4"]), {"id": TASK})
    async with opened(recorder) as channel:
        await channel.remix(request(kind="remix"), source(**stale))
    first, second = recorder.calls
    assert (first.method, first.target) == ("GET", "/v1/tasks/task-of-the-source")
    assert (second.method, second.json["videoUri"]) == ("POST", "https://cdn.example.com/fresh.mp4")


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        ({"error": "Not found"}, 404, UpstreamGone),
        ({"error": "Later"}, 429, Throttled),
        ({"error": "Broken"}, 503, UpstreamError),
        (task("DAYDREAMING"), 200, UpstreamError),
        (task("SUCCEEDED", output=[]), 200, UpstreamError),
        (task("SUCCEEDED", output=[7]), 200, UpstreamError),
        (task("RUNNING"), 200, UpstreamError),
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


def clip(folder: Path) -> Clip:
    file = folder / "clip.mp4"
    file.write_bytes(bytes(range(256)) * 16)
    return Clip(file, "video/mp4", "Anna", "https://here.example.com/clip")


def place(store: Recorder, **changes: Any) -> dict[str, Any]:
    """What Runway answers who wants to upload."""
    fields = {"key": "k", "Policy": "p"}
    return {"uploadUrl": f"{store.base_url}/bucket", "fields": fields, "runwayUri": "runway://1", **changes}


@pytest.mark.parametrize("kind", ["edit", "extend"])
async def test_an_uploaded_clip_is_put_up_first(recorder: Recorder, tmp_path: Path, kind: Any) -> None:
    """A client's file goes where Runway says: the signed fields, then the file, without the key; the order names what
    Runway calls it. The client's name for it stays here: Runway refuses one without an ending."""
    film = await asyncio.to_thread(clip, tmp_path)
    async with recording() as store:
        say_in_turn(recorder, place(store), {"id": TASK})
        async with opened(recorder, allow_hosts=[store.base_url.partition("//")[2]]) as channel:
            await (channel.edit if kind == "edit" else channel.extend)(request(kind=kind, video=film), None)
    first, second = recorder.calls
    assert (first.target, first.json) == ("/v1/uploads", {"filename": "video.mp4", "type": "ephemeral"})
    assert (second.target, second.json["videoUri"]) == ("/v1/video_to_video", "runway://1")
    (upload,) = store.calls
    assert (upload.method, upload.target, KEY in str(upload.headers)) == ("POST", "/bucket", False)
    assert [(part.name, part.filename) for part in upload.parts] == [
        ("key", None),
        ("Policy", None),
        ("file", "video.mp4"),
    ]
    assert upload.parts[2].data == bytes(range(256)) * 16


async def test_a_clip_that_is_too_large_is_refused(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file above Runway's bound is the client's affair, and nothing is sent."""
    monkeypatch.setattr(plugins.runway, "LARGEST_UPLOAD", 4095)
    film = await asyncio.to_thread(clip, tmp_path)
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest, match="more than 4095 bytes") as caught:
            await channel.edit(request(kind="edit", video=film), None)
    assert (caught.value.param, recorder.calls) == ("video", [])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"uploadUrl": "http://127.0.0.1:9/bucket"},
        {"uploadUrl": "bucket"},
        {"uploadUrl": None},
        {"uploadUrl": 7},
        {"fields": ["key"]},
        {"fields": None},
        {"runwayUri": None},
    ],
)
async def test_a_bad_place_for_an_upload_orders_nothing(
    recorder: Recorder, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """A place for an upload that is private, odd or broken is the upstream's fault, and nothing was ordered."""
    film = await asyncio.to_thread(clip, tmp_path)
    async with recording() as store:
        store.say({}, 503)
        recorder.say(place(store, **changes))
        async with opened(recorder, allow_hosts=[store.base_url.partition("//")[2]]) as channel:
            with pytest.raises(UpstreamError) as caught:
                await channel.edit(request(kind="edit", video=film), None)
    assert caught.value.outcome is Outcome.REFUSED
    assert [call.target for call in recorder.calls] == ["/v1/uploads"]
    assert len(store.calls) == (not changes)


async def test_a_chain_of_follow_ups_is_taken(tmp_path: Path) -> None:
    """The simulator takes a remix of a result whose links ran out, an extension of that, and a client's file for each
    model that edits."""
    async with SimulatorServer(RunwaySimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.automatic = False
        job = await channel.create(request(prompt="a kite"))
        sim.finish(job.id)
        first = await channel.fetch(job)
        sim.expire_links()
        made_from = UpstreamJob(first.id, "completed", url=first.url, url_expires_at=time.time())
        second = await channel.remix(request(kind="remix", prompt="at night"), made_from)
        sim.finish(second.id)
        await channel.extend(request(kind="extend", prompt="and on"), await channel.fetch(second))
        film = tmp_path / "clip.mp4"
        await asyncio.to_thread(film.write_bytes, sim.video_bytes)
        for model in ("gen4.5", *EDITORS):
            await channel.edit(request(kind="edit", model=model, prompt="in snow", video=Clip(film), **WISHES), None)
        await channel.extend(request(kind="extend", prompt="and on", video=Clip(film)), None)
    assert sim.paid == 5 + len(EDITORS)
    assert [upload.data for upload in sim.uploads.values()] == [sim.video_bytes] * (2 + len(EDITORS))
    routes = [job.facts["route"] for job in sim.jobs.values()]
    assert routes == ["text_to_video"] + ["video_to_video"] * (4 + len(EDITORS))
