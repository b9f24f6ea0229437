"""plugins/vidu.py: what it sends, beside what Vidu's official client does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins._vidu_models import EXTENDERS, MODELS, OTHER
from plugins.vidu import Vidu, ViduOptions
from proxy import (
    Clip,
    InvalidRequest,
    Outcome,
    Picture,
    UnsupportedOperation,
    UpstreamJob,
    UpstreamRefused,
)
from proxy.engine.limits import default_seconds, default_size
from tests.plugins.openai_oracle import PNG, PROMPT, Recorder
from tests.plugins.vidu_wire import (
    CREATION,
    FILM,
    KEY,
    LAST,
    LAST_URI,
    PICTURE,
    TASK,
    URI,
    done,
    opened,
    request,
    say_in_turn,
    taking,
    task,
)

USUAL = {"model": "viduq3-pro", "prompt": PROMPT, "duration": 5, "resolution": "720p", "payload": "attempt_1"}
REFERENCE = {"action": "reference2video"}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, **changes: Any) -> tuple[str, Any]:
    """The path and the body of a creation."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))
        job = await channel.create(request(**changes))
    assert (job.id, job.status, job.facts) == (TASK, "queued", {"credits": 20})
    assert recorder.last.method == "POST"
    assert recorder.last.headers["authorization"] == f"Token {KEY}"
    return recorder.last.target, recorder.last.json


# ---------------------------------------------------------------- what is sent


async def test_text(recorder: Recorder) -> None:
    """A creation without a picture has the ratio, an int duration, and our own id as its payload."""
    assert await sent(recorder) == ("/ent/v2/text2video", {**USUAL, "aspect_ratio": "16:9"})
    more = {"seed": 7, "audio": False}
    _, body = await sent(recorder, size="1080x1440", negative_prompt="rain", **more)
    assert body == {**USUAL, "aspect_ratio": "3:4", "resolution": "1080p", **more}


@pytest.mark.parametrize(
    ("changes", "path", "images"),
    [
        ({"images": (PICTURE,)}, "img2video", [URI]),
        ({"images": (PICTURE,), "last_frame": LAST}, "start-end2video", [URI, LAST_URI]),
        ({"images": (PICTURE, LAST)}, "start-end2video", [URI, LAST_URI]),
        ({"images": (PICTURE, LAST, PICTURE), "model": "viduq1"}, "reference2video", [URI, LAST_URI, URI]),
        ({"images": (PICTURE,), "model": "viduq2"}, "reference2video", [URI]),
        ({"images": (PICTURE, LAST), "model": "viduq2"}, "reference2video", [URI, LAST_URI]),
        ({"images": (PICTURE,), "model": "vidu2.0", "metadata": REFERENCE}, "reference2video", [URI]),
        ({"images": (PICTURE, LAST), "model": "a-later-one", "metadata": {"action": "referenceGenerate"}}, "", []),
    ],
)
async def test_pictures_choose_the_path(
    recorder: Recorder, changes: dict[str, Any], path: str, images: list[str]
) -> None:
    """One picture begins, two begin and end, more show things; things alone have a ratio, and frames their own."""
    target, body = await sent(recorder, **changes)
    assert target == f"/ent/v2/{path or 'reference2video'}"
    assert body["images"] == (images or [URI, LAST_URI])
    assert ("aspect_ratio" in body) == (target == "/ent/v2/reference2video")
    assert "action" not in body


@pytest.mark.parametrize(
    ("size", "resolution", "ratio"),
    [
        ("640x360", "360p", "16:9"),
        ("540x960", "540p", "9:16"),
        ("848x480", "540p", "16:9"),
        ("1024x1792", "1080p", "9:16"),
        ("720x720", "720p", "1:1"),
        ("3840x2160", "1080p", "16:9"),
        ("1680x720", "720p", "16:9"),
    ],
)
async def test_sizes(recorder: Recorder, size: str, resolution: str, ratio: str) -> None:
    """A size of an unlisted model becomes the resolution that has its short side, and the nearest ratio."""
    _, body = await sent(recorder, model="a-later-one", size=size)
    assert (body["resolution"], body["aspect_ratio"]) == (resolution, ratio)


async def test_metadata_is_passed_on_below_our_own(recorder: Recorder) -> None:
    """Vidu's own words pass; what it does not know, and what the plugin sets, do not."""
    own = {"movement_amplitude": "small", "style": "anime", "meta_data": "{}"}
    foreign = {"user": "u-1", "prompt": "other", "payload": "other", "images": [FILM], "subjects": []}
    _, body = await sent(recorder, metadata={**own, **foreign})
    assert body == {**USUAL, "aspect_ratio": "16:9", **own}
    priced = {"audio", "bgm", "voice_id", "is_rec", "off_peak", "callback_url", "duration", "resolution", "n"}
    assert priced | {"watermark", "wm_url", "aspect_ratio"} <= Vidu.priced_metadata


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "viduq2-pro"}, "input_reference"),
        ({"model": "vidu2.0", "seconds": 4}, "input_reference"),
        ({"last_frame": LAST}, "last_frame"),
        ({"images": (PICTURE, PICTURE), "last_frame": LAST}, "last_frame"),
        ({"images": (PICTURE,), "last_frame": Picture(PNG, "image/png", 900, 720)}, "last_frame"),
        ({"images": (PICTURE, Picture(PNG, "image/png", 1600, 1200))}, "input_reference"),
        ({"images": (PICTURE,), "model": "viduq2-pro", "seconds": 9, "last_frame": LAST}, "seconds"),
        ({"images": (PICTURE,), "metadata": REFERENCE}, "metadata.action"),
        ({"images": (PICTURE,), "metadata": {"action": "upscale"}}, "metadata.action"),
        ({"images": (PICTURE,) * 3}, "input_reference"),
        ({"images": (Picture(PNG, "image/png", 100, 400),)}, "input_reference"),
        ({"images": (PICTURE,), "last_frame": Picture(PNG, "image/png", 4000, 900)}, "last_frame"),
        ({"images": (Picture(bytes(5_000_000), "image/png", 9, 9),) * 3, "model": "viduq1"}, "input_reference"),
        ({"model": "vidu1.5", "seconds": 8, "size": "640x360"}, "size"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(recorder: Recorder, changes: dict[str, Any], param: str) -> None:
    """What Vidu would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(request(**changes))
    assert caught.value.param == param
    assert recorder.calls == []


@pytest.mark.parametrize(
    "changes",
    [
        {"images": (PICTURE,), "last_frame": Picture(PNG, "image/png", 1280, 900)},
        {"images": (PICTURE,), "last_frame": Picture(PNG, "image/png", 1280, 576)},
        {"images": (PICTURE,), "model": "viduq2-pro", "seconds": 10},
        {"images": (Picture(bytes(Vidu.picture_form.max_bytes or 0), "image/png", 9, 9),) * 2},
        {"model": "vidu1.5", "seconds": 8, "size": "720x1280"},
        {"kind": "extend", "model": "vidu2.0", "seconds": 8},
    ],
)
async def test_what_can_be_made_passes(recorder: Recorder, changes: dict[str, Any]) -> None:
    """The bounds themselves are legal."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))


def test_what_models_can_do() -> None:
    """Durations, sizes and inputs are those of the sheet; every film can be extended by one to seven seconds."""
    seconds = {name: model.seconds for name, model in MODELS.items()}
    assert seconds["viduq3-pro"] == tuple(range(1, 17))
    assert seconds["viduq2"] == tuple(range(1, 11))
    assert (seconds["viduq1"], seconds["vidu2.0"]) == ((5,), (4, 8))
    shorts = {name: {min(map(int, size.split("x"))) for size in model.sizes} for name, model in MODELS.items()}
    assert shorts["viduq2-pro-fast"] == {720, 1080}
    assert shorts["vidu1.5"] == {360, 720, 1080}
    assert shorts["viduq2"] == {540, 720, 1080}
    assert "960x720" in MODELS["viduq2"].sizes
    assert "1440x1080" not in MODELS["viduq1"].sizes
    usual = {name: (default_seconds(model), default_size(model)) for name, model in MODELS.items()}
    assert usual["viduq3-pro"] == (5, "1280x720")
    assert usual["viduq1"] == (5, "1920x1080")
    assert usual["vidu2.0"] == (4, "1280x720")
    for model in (*MODELS.values(), OTHER):
        assert (model.lengths("extend"), model.native, model.price) == (tuple(range(1, 8)), None, None)


@pytest.mark.parametrize(
    "mistake", [{"extend_model": "viduq3-pro"}, {"link_seconds": "long"}, {"link_seconds": 0}, {"tokens": "x"}]
)
def test_options_are_checked(mistake: dict[str, Any]) -> None:
    """An `extend_model` that cannot extend is a mistake, and so is a link that never lives or an unknown option."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(mistake, ViduOptions)
    assert [msgspec.convert({"extend_model": name}, ViduOptions).extend_model for name in EXTENDERS] == [*EXTENDERS]


# ---------------------------------------------------------------- extensions


@pytest.mark.parametrize(
    ("model", "extender", "by"),
    [
        ("viduq2-pro", "viduq2-turbo", "viduq2-pro"),
        ("viduq3-pro", "viduq2-turbo", "viduq2-turbo"),
        ("x", "viduq2-pro", "viduq2-pro"),
    ],
)
async def test_an_extension_names_its_source(recorder: Recorder, model: str, extender: str, by: str) -> None:
    """The film is named by its own id; a model that cannot extend leaves it to the one of the entry."""
    source = UpstreamJob(TASK, status="completed", facts={"creation": CREATION})
    async with opened(recorder, extend_model=extender) as channel:
        await channel.extend(request(model=model, kind="extend", seconds=3), source)
    assert recorder.last.target == "/ent/v2/extend"
    assert recorder.last.json == {**USUAL, "model": by, "duration": 3, "video_creation_id": CREATION}
    assert len(recorder.calls) == 1


async def test_an_extension_may_end_in_a_picture(recorder: Recorder) -> None:
    """A last frame is the one picture of an extension, and 360p, which extensions do not have, becomes 540p."""
    source = UpstreamJob(TASK, status="completed", facts={"creation": CREATION})
    async with opened(recorder) as channel:
        await channel.extend(request(kind="extend", size="640x360", last_frame=LAST), source)
    assert (recorder.last.json["images"], recorder.last.json["resolution"]) == ([LAST_URI], "540p")


async def test_an_unknown_creation_is_asked_for(recorder: Recorder) -> None:
    """A source whose facts lack the id of its film is polled first; where there is none, nothing is ordered."""
    source = UpstreamJob(TASK, status="completed")
    async with opened(recorder) as channel:
        numbered = task("success", creations=[{"id": int(CREATION), "url": FILM}])
        for answer in (numbered, done()):
            recorder.calls.clear()
            say_in_turn(recorder, answer, {"task_id": TASK})
            await channel.extend(request(kind="extend"), source)
            assert recorder.last.json["video_creation_id"] == CREATION
        assert [call.method for call in recorder.calls] == ["GET", "POST"]
        say_in_turn(recorder, task("failed", err_code="UserCancelled"))
        with pytest.raises(UpstreamRefused) as caught:
            await channel.extend(request(kind="extend"), source)
    assert caught.value.outcome is Outcome.REFUSED
    assert len(recorder.calls) == 3


async def test_an_uploaded_clip_is_extended_by_its_address(recorder: Recorder) -> None:
    """A clip goes as a link to this server; without a public address it is refused before it is stored."""
    async with opened(recorder) as channel:
        clip = Clip(Path("x.mp4"), url="https://video.example.com/f/1")
        await channel.extend(request(kind="extend", video=clip), None)
        assert recorder.last.json["video_url"] == clip.url
        channel.check(request(kind="extend", video=clip))
        with pytest.raises(UnsupportedOperation) as caught:
            channel.check(request(kind="extend", video=Clip(Path("x.mp4"))))
    assert caught.value.param == "video"
    assert len(recorder.calls) == 1
