"""plugins/minimax.py: what it sends, and what its models can do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from plugins._minimax_models import FREE, HAILUO, LOW, MODELS, OTHER
from plugins.minimax import MiniMax, MiniMaxOptions
from proxy import InvalidRequest, Picture, UnsupportedOperation, VideoRequest
from proxy.engine.limits import default_seconds, default_size
from tests.plugins.minimax_wire import KEY, LAST, LAST_URI, PICTURE, TASK, URI, first, opened, second, taking
from tests.plugins.openai_oracle import PNG, PROMPT, Recorder


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, wanted: VideoRequest, **options: Any) -> tuple[str, Any]:
    """The path and the body of a creation."""
    async with opened(recorder, **options) as channel:
        channel.check(wanted)
        job = await channel.create(wanted)
    assert (job.id, job.status, len(recorder.calls)) == (TASK, "queued", 1)
    assert recorder.last.headers["authorization"] == f"Bearer {KEY}"
    assert recorder.last.method == "POST"
    assert job.facts["version"] == recorder.last.target[1:3]
    return recorder.last.target, recorder.last.json


# ---------------------------------------------------------------- V1


async def test_text_on_v1(recorder: Recorder) -> None:
    """A creation of V1 is the model, the prompt, whole seconds and a resolution with a capital P."""
    body = {"model": "MiniMax-Hailuo-02", "prompt": PROMPT, "duration": 6, "resolution": "768P"}
    assert await sent(recorder, first()) == ("/v1/video_generation", body)


async def test_pictures_on_v1(recorder: Recorder) -> None:
    """The first and the last frame are data URIs in fields of their own."""
    _, body = await sent(recorder, first(images=(PICTURE,), last_frame=LAST))
    assert (body["first_frame_image"], body["last_frame_image"]) == (URI, LAST_URI)


async def test_a_subject_on_v1(recorder: Recorder) -> None:
    """The picture of S2V-01 is its subject; what has one length and resolution is not told them."""
    _, body = await sent(recorder, first(model="S2V-01", images=(PICTURE,), size="1280x720"))
    subject = [{"type": "character", "image": [URI]}]
    assert body == {"model": "S2V-01", "prompt": PROMPT, "subject_reference": subject}


@pytest.mark.parametrize("model", ["T2V-01", "T2V-01-Director"])
async def test_old_models_on_v1(recorder: Recorder, model: str) -> None:
    """The old models get a prompt and nothing else."""
    assert (await sent(recorder, first(model=model, size="1280x720")))[1] == {"model": model, "prompt": PROMPT}


@pytest.mark.parametrize(
    ("model", "size", "resolution"),
    [
        ("MiniMax-Hailuo-02", "910x512", "512P"),
        ("MiniMax-Hailuo-02", "720x1280", "768P"),
        ("MiniMax-Hailuo-02", "1080x1920", "1080P"),
        ("MiniMax-Hailuo-2.3", "1280x720", "768P"),
        ("MiniMax-Hailuo-2.3", "1920x1080", "1080P"),
        ("MiniMax-Hailuo-2.3-Fast", "1440x1080", "1080P"),
        ("MiniMax-Hailuo-4", "854x480", "512P"),
    ],
)
async def test_resolutions_of_v1(recorder: Recorder, model: str, size: str, resolution: str) -> None:
    """The short side makes the resolution; the shape is the picture's."""
    _, body = await sent(recorder, first(model=model, size=size, images=(PICTURE,)))
    assert (body["resolution"], body["first_frame_image"]) == (resolution, URI)


# ---------------------------------------------------------------- V2


async def test_text_on_v2(recorder: Recorder) -> None:
    """A creation of V2 has its prompt in a list of contents, and a ratio that is fixed."""
    body = {
        "model": "MiniMax-H3",
        "content": [{"type": "text", "text": PROMPT}],
        "duration": 5,
        "resolution": "768P",
        "ratio": "16:9",
    }
    assert await sent(recorder, second()) == ("/v2/video_generation", body)


@pytest.mark.parametrize(
    ("changes", "roles", "ratio"),
    [
        ({"images": (PICTURE,)}, {URI: "first_frame"}, "adaptive"),
        ({"images": (PICTURE,), "last_frame": LAST}, {URI: "first_frame", LAST_URI: "last_frame"}, "adaptive"),
        ({"images": (PICTURE, LAST)}, {URI: "reference_image", LAST_URI: "reference_image"}, "9:16"),
    ],
)
async def test_pictures_on_v2(recorder: Recorder, changes: Any, roles: dict[str, str], ratio: str) -> None:
    """One picture begins the video and gives it its shape, one may end it; several are references."""
    _, body = await sent(recorder, second(size="768x1366", **changes))
    items = [{"type": "image_url", "image_url": {"url": uri}, "role": role} for uri, role in roles.items()]
    assert (body["content"][1:], body["ratio"]) == (items, ratio)


async def test_the_size_may_give_the_shape(recorder: Recorder) -> None:
    """An entry may order the shape that is asked for although there is a picture."""
    _, body = await sent(recorder, second(size="720x1280", images=(PICTURE,)), image_ratio="size")
    assert (body["ratio"], body["resolution"]) == ("9:16", "768P")


@pytest.mark.parametrize("size", MODELS["MiniMax-H3"].sizes)
async def test_sizes_of_v2(recorder: Recorder, size: str) -> None:
    """Every size has one of the two resolutions, the ratio that it looks like, and the sheet's price."""
    wanted = second(size=size)
    _, body = await sent(recorder, wanted)
    small = min(wanted.dimensions) <= 768
    assert body["resolution"] == ("768P" if small else "2K")
    across, down = (int(side) for side in body["ratio"].split(":"))
    assert abs(across / down / (wanted.width / wanted.height) - 1) < 0.01
    assert MODELS["MiniMax-H3"].price_of(size) == (0.08 if small else 0.13)


# ---------------------------------------------------------------- both


@pytest.mark.parametrize(
    ("model", "options", "path"),
    [
        ("MiniMax-Hailuo-2.3", {}, "/v1/video_generation"),
        ("MiniMax-H3", {}, "/v2/video_generation"),
        ("MiniMax-H4-Fast", {}, "/v2/video_generation"),
        ("a-model-of-tomorrow", {}, "/v1/video_generation"),
        ("a-model-of-tomorrow", {"version": "v2"}, "/v2/video_generation"),
        ("MiniMax-Hailuo-2.3", {"version": "v2"}, "/v2/video_generation"),
        ("MiniMax-H3", {"version": "v1"}, "/v1/video_generation"),
    ],
)
async def test_the_wire(recorder: Recorder, model: str, options: dict[str, str], path: str) -> None:
    """The name of a model decides its wire, unless the entry does; the limits are those of the wire."""
    assert (await sent(recorder, first(model=model), **options))[0] == path
    values = msgspec.convert(options, MiniMaxOptions)
    known = model in MODELS and options == {}
    assert MiniMax.limits(values, model) == (MODELS[model] if known else OTHER["v1" if path[2] == "1" else "v2"])


@pytest.mark.parametrize("wanted", [first, second])
async def test_metadata_is_below_our_own(recorder: Recorder, wanted: Any) -> None:
    """MiniMax's own words pass, and none of them over what the plugin sets."""
    own = {"prompt_optimizer": False, "aigc_watermark": True}
    _, body = await sent(recorder, wanted(metadata={**own, "model": "x", "prompt": "y", "content": [], "duration": 10}))
    assert {name: body[name] for name in own} == own
    assert (body["model"], body["duration"]) in (("MiniMax-Hailuo-02", 6), ("MiniMax-H3", 5))
    assert PROMPT in (body.get("prompt"), body["content"][0]["text"] if body["content"] else "")


def test_priced_metadata() -> None:
    """What adds inputs or calls others back is for the operator to allow, beside what every channel has."""
    assert {"callback_url", "subject_reference", "content", "resolution", "duration", "n"} <= MiniMax.priced_metadata


REFUSED: list[tuple[VideoRequest, type[InvalidRequest], str]] = [
    (first(model="MiniMax-Hailuo-2.3-Fast"), InvalidRequest, "input_reference"),
    (first(model="I2V-01", size="1280x720"), InvalidRequest, "input_reference"),
    (first(model="S2V-01", size="1280x720"), InvalidRequest, "input_reference"),
    (first(size="910x512"), InvalidRequest, "size"),
    (first(size="720x1280"), InvalidRequest, "size"),
    (first(size="1920x1080", seconds=10), InvalidRequest, "seconds"),
    (first(model="MiniMax-Hailuo-2.3", size="1920x1080", seconds=10), InvalidRequest, "seconds"),
    (
        first(model="MiniMax-Hailuo-2.3-Fast", size="1080x1080", seconds=10, images=(PICTURE,)),
        InvalidRequest,
        "seconds",
    ),
    (first(size="910x512", images=(PICTURE,), last_frame=LAST), InvalidRequest, "size"),
    (first(images=(Picture(PNG, "image/png", 1280, 511),)), InvalidRequest, "input_reference"),
    (second(images=(PICTURE,), last_frame=Picture(PNG, "image/png", 400, 1001)), InvalidRequest, "last_frame"),
    (first(prompt="x" * 2001), InvalidRequest, "prompt"),
    (first(last_frame=LAST), UnsupportedOperation, "last_frame"),
    (second(last_frame=LAST), UnsupportedOperation, "last_frame"),
    (second(images=(PICTURE, LAST), last_frame=LAST), UnsupportedOperation, "last_frame"),
    (second(prompt=" \n"), InvalidRequest, "prompt"),
    (second(prompt="x" * 7001), InvalidRequest, "prompt"),
    (second(audio=False), InvalidRequest, "audio"),
]


@pytest.mark.parametrize(("wanted", "kind", "param"), REFUSED)
async def test_what_cannot_be_made_is_refused_before(
    recorder: Recorder, wanted: VideoRequest, kind: type[InvalidRequest], param: str
) -> None:
    """What MiniMax would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(wanted)
    assert (type(caught.value), caught.value.param, recorder.calls) == (kind, param, [])


@pytest.mark.parametrize(
    "wanted",
    [
        first(prompt="x" * 2000, seconds=10),
        first(size="910x512", seconds=10, images=(PICTURE,)),
        first(size="1080x1920", model="MiniMax-Hailuo-2.3-Fast", images=(PICTURE,)),
        second(prompt="x" * 7000, audio=True),
        second(images=(PICTURE,) * 9),
        second(images=(Picture(PNG, "image/png", 1280, 512),), last_frame=Picture(PNG, "image/png", 400, 1000)),
        first(model="a-model-of-tomorrow", size="2160x3840", seconds=30),
    ],
)
async def test_what_can_be_made_passes(recorder: Recorder, wanted: VideoRequest) -> None:
    """The bounds themselves are legal, and a bound of one model is not another's."""
    async with opened(recorder) as channel:
        channel.check(wanted)


def test_what_models_can_do() -> None:
    """Seconds, sizes, inputs and sound are those of the sheet; a request without any gets what a model can make."""
    assert MODELS["MiniMax-Hailuo-2.3"].seconds == (6, 10)
    assert MODELS["MiniMax-H3"].seconds == tuple(range(4, 16))
    assert [name for name, model in MODELS.items() if model.last_frame] == ["MiniMax-Hailuo-02", "MiniMax-H3"]
    assert [name for name, model in MODELS.items() if not model.image] == ["T2V-01", "T2V-01-Director"]
    assert [name for name, model in MODELS.items() if model.audio] == ["MiniMax-H3"]
    assert [name for name, model in MODELS.items() if LOW[0] in model.sizes] == ["MiniMax-Hailuo-02"]
    assert [model.max_images for model in MODELS.values()] == [1] * 9 + [9]
    for name, model in MODELS.items():
        wanted = first(model=name, size=default_size(model), seconds=default_seconds(model))
        assert (wanted.size, wanted.seconds) in (("1366x768", 6), ("1280x720", 6), ("1366x768", 4))
        assert model.price_of("1280x720") == (0.08 if name == "MiniMax-H3" else None)
    assert set(FREE) < set(HAILUO)
    assert all(int(side) % 2 == 0 for model in MODELS.values() for size in model.sizes for side in size.split("x"))


@pytest.mark.parametrize(
    "mistake", [{"version": "v3"}, {"image_ratio": "16:9"}, {"link_life": "1h"}, {"link_life": 0}, {"group_id": "1"}]
)
def test_options_are_checked(mistake: dict[str, Any]) -> None:
    """A wire or a way that there is not is a mistake, and so is an unknown option."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(mistake, MiniMaxOptions)
