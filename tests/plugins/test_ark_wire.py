"""plugins/ark.py: what it sends, and what its models can do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from plugins._ark_models import BYTEPLUS, VOLCENGINE
from plugins.ark import Ark, ArkOptions
from proxy import (
    Clip,
    InvalidRequest,
    Outcome,
    Picture,
    UpstreamError,
    UpstreamJob,
)
from tests.plugins.ark_wire import (
    FILM,
    KEY,
    LAST,
    LAST_URI,
    MODEL,
    PICTURE,
    TASK,
    TASKS,
    URI,
    image,
    opened,
    request,
    taking,
    task,
)
from tests.plugins.openai_oracle import PROMPT, Recorder

TEXT = {"type": "text", "text": PROMPT}
PRO_15, LITE = "doubao-seedance-1-5-pro-251215", "doubao-seedance-1-0-lite-i2v-250428"


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, **changes: Any) -> Any:
    """The body of a creation, without what marks the attempt."""
    async with opened(recorder, name_attempts=False) as channel:
        channel.check(request(**{"seed": 7, **changes}))
        job = await channel.create(request(**{"seed": 7, **changes}))
    assert (job.id, job.status) == (TASK, "queued")
    assert (recorder.last.method, recorder.last.target) == ("POST", TASKS)
    assert recorder.last.headers["authorization"] == f"Bearer {KEY}"
    return recorder.last.json


async def test_text(recorder: Recorder) -> None:
    """A creation is a list of contents beside resolution, ratio, an int duration, seed and sound."""
    assert await sent(recorder) == {
        "model": MODEL,
        "content": [TEXT],
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "seed": 7,
        "generate_audio": True,
    }


@pytest.mark.parametrize(
    ("changes", "content", "ratio"),
    [
        ({"images": (PICTURE,)}, [image(URI, "first_frame")], "adaptive"),
        (
            {"images": (PICTURE,), "last_frame": LAST},
            [image(URI, "first_frame"), image(LAST_URI, "last_frame")],
            "adaptive",
        ),
        (
            {"images": (PICTURE, LAST)},
            [image(URI, "reference_image"), image(LAST_URI, "reference_image")],
            "16:9",
        ),
    ],
)
async def test_pictures(recorder: Recorder, changes: dict[str, Any], content: list[Any], ratio: str) -> None:
    """A picture is the first frame, one more may be the last, several are references; a frame has its own shape."""
    body = await sent(recorder, **changes)
    assert (body["content"], body["ratio"]) == ([TEXT, *content], ratio)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("864x496", ("480p", "16:9")),
        ("640x640", ("480p", "1:1")),
        ("960x416", ("480p", "21:9")),
        ("1120x832", ("720p", "4:3")),
        ("960x960", ("720p", "1:1")),
        ("1470x630", ("720p", "21:9")),
        ("1248x1664", ("1080p", "3:4")),
        ("1088x1920", ("1080p", "9:16")),
        ("2160x3840", ("4k", "9:16")),
        ("854x480", ("480p", "16:9")),
        ("1024x1792", ("1080p", "9:16")),
        ("720x720", ("480p", "1:1")),
        ("3840x3840", ("4k", "1:1")),
    ],
)
async def test_sizes(recorder: Recorder, size: str, shape: tuple[str, str]) -> None:
    """A size is a resolution and a ratio; one that no model has goes by its number of pixels."""
    body = await sent(recorder, size=size, model="ep-20260101000000-abcde")
    assert (body["resolution"], body["ratio"]) == shape
    assert "generate_audio" not in body


@pytest.mark.parametrize(
    ("model", "audio", "expected"),
    [
        (MODEL, None, True),
        (PRO_15, False, False),
        (PRO_15, True, True),
        ("doubao-seedance-1-0-pro-250528", None, None),
        ("doubao-seedance-1-0-pro-250528", False, None),
        ("ep-1", None, None),
        ("ep-1", False, False),
        ("ep-1", True, True),
    ],
)
async def test_sound(recorder: Recorder, model: str, audio: bool | None, expected: bool | None) -> None:
    """Sound is said to the models that make some, which is their default; an endpoint is told what the client says."""
    assert (await sent(recorder, model=model, audio=audio)).get("generate_audio") is expected


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a kite --duration 12", "a kite —duration 12"),
        ("a kite\n--resolution 1080p --rt 1:1", "a kite\n—resolution 1080p —rt 1:1"),
        ("--dur 12", "—dur 12"),
        ("a kite,---wm true", "a kite,—wm true"),
        ("a kite -- dur 12", "a kite — dur 12"),
        ("a kite --RS 1080p\u3000\uff0d\uff0ddur 12", "a kite —RS 1080p\u3000—dur 12"),
        ("a kite -\ufe63dur 12", "a kite —dur 12"),
        ("a well-known kite - red", "a well-known kite - red"),
    ],
)
async def test_flags_in_a_prompt(recorder: Recorder, prompt: str, text: str) -> None:
    """No two hyphens of any width reach Ark in a prompt, where they would begin a parameter that changes the price."""
    assert (await sent(recorder, prompt=prompt))["content"] == [{"type": "text", "text": text}]


async def test_metadata_is_passed_on_below_our_own(recorder: Recorder) -> None:
    """Ark's own words pass; callbacks, foreign words, and what the plugin sets do not."""
    own = {"watermark": True, "camera_fixed": True, "safety_identifier": "u-1", "return_last_frame": True}
    foreign = {"callback_url": "https://x.example", "user": "u-1", "duration": 12, "content": [], "draft_task": TASK}
    body = await sent(recorder, metadata={**own, **foreign})
    assert {name: body[name] for name in own} == own
    assert (body["duration"], body["content"]) == (5, [TEXT])
    assert not {"callback_url", "user", "draft_task"} & body.keys()


def test_what_is_priced() -> None:
    """Whatever changes the price, the number of films or who is told of them is the operator's to allow."""
    words = "draft frames tools priority service_tier callback_url resolution ratio duration generate_audio content"
    assert set(words.split()) <= Ark.priced_metadata
    assert not {"watermark", "camera_fixed", "safety_identifier", "return_last_frame"} & Ark.priced_metadata


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"seed": 2**32}, "seed"),
        ({"seed": -2}, "seed"),
        ({"last_frame": LAST}, "last_frame"),
        ({"images": (PICTURE, LAST), "last_frame": LAST}, "last_frame"),
        ({"model": LITE}, "input_reference"),
        ({"model": LITE, "images": (PICTURE, LAST), "size": "1920x1088"}, "size"),
        ({"images": (Picture(b"", "image/png", 2500, 1000),)}, "input_reference"),
        ({"images": (PICTURE,), "last_frame": Picture(b"", "image/png", 400, 1000)}, "last_frame"),
        ({"metadata": {"draft": True}}, "size"),
        ({"kind": "remix", "seconds": 20}, "video"),
        ({"kind": "edit", "seconds": 30}, "video"),
        ({"kind": "edit", "video": Clip(Path("clip.mp4"))}, "video"),
        ({"kind": "extend", "video": Clip(Path("clip.mp4"))}, "video"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(recorder: Recorder, changes: dict[str, Any], param: str) -> None:
    """What Ark would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(request(**changes))
        channel.check(request(seed=-1, images=(PICTURE,), last_frame=LAST))
        channel.check(request(model=PRO_15, size="864x496", metadata={"draft": True}))
        channel.check(request(kind="edit", model="ep-1", seconds=30))
    assert caught.value.param == param
    assert recorder.calls == []


# ---------------------------------------------------------------- regions, prices


@pytest.mark.parametrize(
    ("base_url", "here", "there"),
    [
        ("", VOLCENGINE, BYTEPLUS),
        ("https://ark.cn-beijing.volces.com/api/v3", VOLCENGINE, BYTEPLUS),
        ("https://ark.ap-southeast.bytepluses.com/api/v3", BYTEPLUS, VOLCENGINE),
        ("https://gateway.example.com", {**VOLCENGINE, **BYTEPLUS}, {}),
    ],
)
def test_the_address_decides_on_the_models(base_url: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    """A model of the other region cannot be had; behind an address of one's own there may be any."""
    options = ArkOptions(base_url=base_url)
    assert [Ark.limits(options, name) for name in here] == list(here.values())
    assert {Ark.limits(options, name) for name in there} <= {None}
    assert Ark.limits(options, "ep-1") is Ark.default_model


async def test_the_version_may_stand_in_the_address(recorder: Recorder) -> None:
    """An address with and without /api/v3 is the same."""
    async with opened(recorder, base_url=f"{recorder.base_url}/api/v3") as channel:
        await channel.create(request())
    assert recorder.last.target == TASKS


def test_prices() -> None:
    """The one price in dollars is by the tokens of a second; what the sheet does not say is not known."""
    model = BYTEPLUS["dreamina-seedance-2-0-260128"]
    assert [model.price_of(size) for size in ("1280x720", "864x496", "1920x1080")] == [0.1512, 0.0703, None]
    priced = [name for name, model in {**VOLCENGINE, **BYTEPLUS}.items() if model.price or model.prices]
    assert priced == ["dreamina-seedance-2-0-260128"]


# ---------------------------------------------------------------- edits


@pytest.mark.parametrize("kind", ["remix", "edit", "extend"])
async def test_films_of_films(recorder: Recorder, kind: str) -> None:
    """A source goes by its address as a reference, with the word for what is to be done."""
    source = UpstreamJob(TASK, "completed", url=FILM, expires_at=time.time() + 86_400)
    async with opened(recorder, name_attempts=False) as channel:
        await getattr(channel, kind)(request(kind=kind, seconds=8, size="720x1280", seed=7), source)
    body = recorder.last.json
    film = {"type": "video_url", "video_url": {"url": FILM}, "role": "reference_video"}
    assert body["content"] == [TEXT, film]
    assert (body["duration"], body["ratio"], body["resolution"]) == (8, "adaptive", "720p")
    assert body["omni_reference_task_type"] == ("extend" if kind == "extend" else "edit")
    assert len(recorder.calls) == 1


async def test_an_address_that_runs_out_is_asked_for_anew(recorder: Recorder) -> None:
    """A source whose address is about to end is looked at first; what fails there has ordered nothing."""
    source = UpstreamJob(TASK, "completed", url="https://old.example/x.mp4", url_expires_at=time.time() + 60)
    answers = iter([task("succeeded", content={"video_url": FILM}), {"id": TASK}])
    recorder.answer = lambda: web.json_response(next(answers))
    async with opened(recorder) as channel:
        await channel.edit(request(kind="edit"), source)
        assert recorder.last.json["content"][1]["video_url"] == {"url": FILM}
        recorder.say({"error": {"code": "InternalServiceError", "message": "No."}}, 500)
        with pytest.raises(UpstreamError) as caught:
            await channel.edit(request(kind="edit"), source)
        assert caught.value.outcome is Outcome.REFUSED
        recorder.say(task("running"))
        with pytest.raises(UpstreamError) as caught:
            await channel.edit(request(kind="edit"), source)
        assert caught.value.outcome is Outcome.REFUSED


async def test_uploads_go_by_their_address(recorder: Recorder) -> None:
    """An uploaded clip is a signed link."""
    async with opened(recorder) as channel:
        clip = Clip(Path("clip.mp4"), url="https://gateway.example.com/clip")
        await channel.edit(request(kind="edit", video=clip), None)
        assert recorder.last.json["content"][1]["video_url"] == {"url": "https://gateway.example.com/clip"}
