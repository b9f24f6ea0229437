"""plugins/fal.py: which endpoint it asks, and with what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy import ApiError, InvalidRequest, Outcome, UnsupportedOperation, UpstreamError
from tests.plugins.fal_wire import (
    FILM,
    JOB,
    KEY,
    OTHER,
    OTHER_URI,
    PICTURE,
    URI,
    addresses,
    job,
    opened,
    request,
    say_in_turn,
    taken,
    taking,
)
from tests.plugins.openai_oracle import PROMPT, Recorder

VEO = {"prompt": PROMPT, "duration": "8s", "aspect_ratio": "16:9", "resolution": "720p"}
KLING = "fal-ai/kling-video/v3/pro"
OMNI = "google/gemini-omni-flash"
SEEDANCE = "bytedance/seedance-2.0"


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, **changes: Any) -> tuple[str, Any]:
    """The path and the body of a creation."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))
        made = await channel.create(request(**changes))
    assert (made.id, made.status, made.facts) == (JOB, "queued", addresses(recorder.base_url))
    assert (recorder.last.method, len(recorder.calls)) == ("POST", 1)
    assert recorder.last.headers["authorization"] == f"Key {KEY}"
    return recorder.last.target, recorder.last.json


@pytest.mark.parametrize(
    ("changes", "path", "body"),
    [
        ({}, "", VEO),
        (
            {"size": "2160x3840", "seconds": 4},
            "",
            {**VEO, "duration": "4s", "aspect_ratio": "9:16", "resolution": "4k"},
        ),
        ({"images": (PICTURE,)}, "/image-to-video", {**VEO, "image_url": URI}),
        (
            {"images": (PICTURE,), "last_frame": OTHER},
            "/first-last-frame-to-video",
            {**VEO, "first_frame_url": URI, "last_frame_url": OTHER_URI},
        ),
        ({"images": (PICTURE, OTHER)}, "/reference-to-video", {**VEO, "image_urls": [URI, OTHER_URI]}),
        (
            {"seed": 7, "audio": False, "negative_prompt": "rain"},
            "",
            {**VEO, "seed": 7, "generate_audio": False, "negative_prompt": "rain"},
        ),
        ({"metadata": {"auto_fix": False, "prompt": "other", "duration": "4s"}}, "", {**VEO, "auto_fix": False}),
    ],
)
async def test_veo(recorder: Recorder, changes: dict[str, Any], path: str, body: dict[str, Any]) -> None:
    """The base model turns into the sibling that takes the pictures; metadata goes along, below our own fields."""
    assert await sent(recorder, **changes) == (f"/fal-ai/veo3.1{path}", body)


@pytest.mark.parametrize(
    ("model", "changes", "endpoint", "fields"),
    [
        (f"{KLING}/text-to-video", {}, f"{KLING}/text-to-video", {"duration": "8", "aspect_ratio": "16:9"}),
        (
            f"{KLING}/text-to-video",
            {"images": (PICTURE,), "last_frame": OTHER, "audio": True, "seed": 7},
            f"{KLING}/image-to-video",
            {"duration": "8", "start_image_url": URI, "end_image_url": OTHER_URI, "generate_audio": True},
        ),
        (
            "fal-ai/kling-video/v3/turbo/pro/text-to-video",
            {"images": (PICTURE,)},
            "fal-ai/kling-video/v3/turbo/pro/image-to-video",
            {"duration": "8", "image_url": URI},
        ),
        (
            f"{SEEDANCE}/text-to-video",
            {"images": (PICTURE, OTHER), "size": "1120x480"},
            f"{SEEDANCE}/reference-to-video",
            {"duration": "8", "aspect_ratio": "21:9", "resolution": "480p", "image_urls": [URI, OTHER_URI]},
        ),
        (
            "xai/grok-imagine-video/text-to-video",
            {"images": (PICTURE, OTHER)},
            "xai/grok-imagine-video/reference-to-video",
            {"duration": 8, "aspect_ratio": "16:9", "resolution": "720p", "reference_image_urls": [URI, OTHER_URI]},
        ),
        (
            OMNI,
            {"images": (PICTURE,), "seed": 7},
            "google/gemini-omni-flash/image-to-video",
            {"duration": 8, "aspect_ratio": "16:9", "image_url": URI},
        ),
        (
            "fal-ai/ltx-2.3/text-to-video/fast",
            {"images": (PICTURE,), "size": "3840x2160", "seconds": 20},
            "fal-ai/ltx-2.3/image-to-video/fast",
            {"duration": 20, "aspect_ratio": "16:9", "resolution": "2160p", "image_url": URI},
        ),
        (
            "minimax/h3/text-to-video",
            {"size": "2560x1440"},
            "minimax/h3/text-to-video",
            {"duration": 8, "aspect_ratio": "16:9", "resolution": "2K"},
        ),
        (
            "fal-ai/minimax/hailuo-2.3/pro/text-to-video",
            {"seconds": 6, "images": (PICTURE,)},
            "fal-ai/minimax/hailuo-2.3/pro/image-to-video",
            {"image_url": URI},
        ),
        (
            "fal-ai/pixverse/v6/text-to-video",
            {"images": (PICTURE,), "last_frame": OTHER, "audio": False, "seed": 7},
            "fal-ai/pixverse/v6/transition",
            {
                "duration": 8,
                "aspect_ratio": "16:9",
                "resolution": "720p",
                "first_image_url": URI,
                "end_image_url": OTHER_URI,
                "generate_audio_switch": False,
                "seed": 7,
            },
        ),
        (
            "fal-ai/luma-dream-machine/ray-2-flash",
            {"seconds": 9, "size": "540x960"},
            "fal-ai/luma-dream-machine/ray-2-flash",
            {"duration": "9s", "aspect_ratio": "9:16", "resolution": "540p"},
        ),
        (
            "wan/v2.6/image-to-video",
            {"images": (PICTURE,), "seconds": 10},
            "wan/v2.6/image-to-video",
            {
                "duration": "10",
                "resolution": "720p",
                "image_url": URI,
            },
        ),
        (
            "fal-ai/veo3.1/reference-to-video",
            {"images": (PICTURE,)},
            "fal-ai/veo3.1/reference-to-video",
            {"duration": "8s", "aspect_ratio": "16:9", "resolution": "720p", "image_urls": [URI]},
        ),
        (
            "someone/new-model",
            {"images": (PICTURE,), "seed": 7, "audio": True},
            "someone/new-model",
            {
                "duration": 8,
                "aspect_ratio": "16:9",
                "resolution": "720p",
                "image_url": URI,
                "seed": 7,
                "generate_audio": True,
            },
        ),
    ],
)
async def test_other_models(
    recorder: Recorder, model: str, changes: dict[str, Any], endpoint: str, fields: dict[str, Any]
) -> None:
    """Each model gets its own names for the fields, its form of the seconds, and nothing that it does not have."""
    assert await sent(recorder, model=model, **changes) == (f"/{endpoint}", {"prompt": PROMPT, **fields})


@pytest.mark.parametrize(
    ("kind", "model", "changes", "endpoint", "fields"),
    [
        ("extend", "fal-ai/veo3.1/fast", {"seconds": 7}, "fal-ai/veo3.1/fast/extend-video", {"duration": "7s"}),
        (
            "extend",
            "xai/grok-imagine-video/image-to-video",
            {"seconds": 6},
            "xai/grok-imagine-video/extend-video",
            {"duration": 6},
        ),
        ("remix", OMNI, {}, "google/gemini-omni-flash/edit", {}),
        ("edit", "fal-ai/kling-video/o3/pro/text-to-video", {}, "fal-ai/kling-video/o3/pro/video-to-video/edit", {}),
        (
            "edit",
            "fal-ai/wan/v2.7/text-to-video",
            {"seed": 7, "size": "1920x1080"},
            "fal-ai/wan/v2.7/edit-video",
            {"resolution": "1080p", "seed": 7},
        ),
    ],
)
async def test_follow_ups(
    recorder: Recorder, kind: Any, model: str, changes: dict[str, Any], endpoint: str, fields: dict[str, Any]
) -> None:
    """Remix, edit and extension go to the model's own endpoint for it, with the address of the source's film."""
    wanted = request(kind=kind, model=model, **changes)
    async with opened(recorder) as channel:
        channel.check(wanted)
        await getattr(channel, kind)(wanted, job(recorder, "completed", url=FILM))
    assert (recorder.last.target, recorder.last.json) == (
        f"/{endpoint}",
        {"prompt": PROMPT, "video_url": FILM, **fields},
    )


async def test_a_source_without_an_address_is_asked_for_it(recorder: Recorder) -> None:
    """A source whose address is not known is looked up first."""
    say_in_turn(recorder, {"video": {"url": FILM}}, taken(recorder.base_url))
    async with opened(recorder) as channel:
        await channel.remix(request(kind="remix", model=OMNI), job(recorder, "completed"))
    assert recorder.calls[0].target == f"/fal-ai/veo3.1/requests/{JOB}"
    assert recorder.last.json["video_url"] == FILM


@pytest.mark.parametrize("answer", [(404, {"detail": "x"}), (503, b"<html>"), {"video": None}, (422, {"detail": "x"})])
async def test_a_source_that_is_gone_orders_nothing(recorder: Recorder, answer: Any) -> None:
    """Where the source has no film any more, nothing was ordered, and the error says so."""
    say_in_turn(recorder, answer)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError) as caught:
            await channel.extend(request(kind="extend", seconds=7), job(recorder, "completed"))
    assert caught.value.outcome is Outcome.REFUSED
    assert len(recorder.calls) == 1


@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"last_frame": OTHER}, UnsupportedOperation, "last_frame"),
        ({"images": (PICTURE, OTHER), "last_frame": OTHER}, UnsupportedOperation, "last_frame"),
        (
            {"model": OMNI, "images": (PICTURE,), "last_frame": OTHER},
            UnsupportedOperation,
            "last_frame",
        ),
        ({"images": (PICTURE, OTHER), "seconds": 4}, InvalidRequest, "seconds"),
        ({"model": "fal-ai/veo3.1/lite", "images": (PICTURE, OTHER)}, UnsupportedOperation, "input_reference"),
        ({"model": "fal-ai/veo3.1/image-to-video"}, InvalidRequest, "input_reference"),
        ({"model": "someone/new-model", "images": (PICTURE, OTHER)}, UnsupportedOperation, "input_reference"),
        ({"model": "minimax/h3/text-to-video", "audio": False}, UnsupportedOperation, "audio"),
        ({"model": f"{KLING}/text-to-video", "kind": "edit"}, UnsupportedOperation, None),
        ({"model": "someone/new-model", "kind": "extend"}, UnsupportedOperation, None),
        ({"kind": "extend", "seconds": 8}, InvalidRequest, "seconds"),
        ({"kind": "extend", "seconds": 7, "images": (PICTURE,)}, UnsupportedOperation, "input_reference"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(
    recorder: Recorder, changes: dict[str, Any], error: type[ApiError], param: str | None
) -> None:
    """What fal would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(error) as caught:
            channel.check(request(**changes))
    assert (caught.value.param, recorder.calls) == (param, [])


async def test_an_endpoint_stays_on_its_origin(recorder: Recorder) -> None:
    """The name of a model cannot lead to another place than an endpoint of the queue."""
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError):
            await channel.create(request(model="fal-ai/../account"))
        await channel.create(request(model="fal-ai/x?y#z"))
    assert [call.target for call in recorder.calls] == ["/fal-ai/x%3Fy%23z"]
