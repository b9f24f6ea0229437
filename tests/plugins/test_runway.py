"""plugins/runway.py: the laws of every channel, and what it sends and reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import plugins.runway
from plugins._runway_models import MODELS, shape
from plugins.runway import Runway
from proxy import InvalidRequest, Picture, UpstreamJob
from proxy.engine.limits import default_seconds, default_size, settle
from proxy.testing import ChannelContract, SimulatorServer
from tests.plugins.openai_oracle import PROMPT, Recorder
from tests.plugins.runway_wire import (
    FILM,
    KEY,
    LAST,
    LAST_URI,
    PICTURE,
    TASK,
    URI,
    WISHES,
    opened,
    request,
    taking,
    task,
)
from tests.simulators.runway import RunwaySimulator
from tests.simulators.runway_models import IMAGE, OLD_MODELS, RULES, TEXT

FIRST = {"uri": URI, "position": "first"}
STATES = {
    "PENDING": "queued",
    "THROTTLED": "queued",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "failed",
}


class TestRunway(ChannelContract):
    plugin = "runway"
    plugin_file = Path(plugins.runway.__file__)
    simulator = RunwaySimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["gen4.5"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": "key_" + "fedcba9876543210" * 8}
    states: ClassVar[Mapping[str, str]] = STATES


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(recorder: Recorder, **changes: Any) -> tuple[str, Any]:
    """The path and the body of a creation."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))
        job = await channel.create(request(**changes))
    assert (job.id, job.status) == (TASK, "queued")
    assert recorder.last.method == "POST"
    return recorder.last.target, recorder.last.json


async def test_text_goes_to_its_own_route(recorder: Recorder) -> None:
    """A creation without a picture is text_to_video with model, promptText, ratio in pixels and an int duration."""
    assert await sent(recorder) == (
        "/v1/text_to_video",
        {"model": "gen4.5", "promptText": PROMPT, "ratio": "1280:720", "duration": 5},
    )


async def test_a_picture_goes_to_image_to_video(recorder: Recorder) -> None:
    """A creation with a picture is image_to_video, and the picture the first frame, as a data URI."""
    body = {"model": "gen4.5", "promptText": PROMPT, "ratio": "1104:832", "duration": 5, "promptImage": [FIRST]}
    assert await sent(recorder, images=(PICTURE,), size="1104x832") == ("/v1/image_to_video", body)


async def test_a_last_frame_makes_a_list_of_positions(recorder: Recorder) -> None:
    """Two ends are two items of promptImage, each with its position."""
    path, body = await sent(recorder, model="veo3.1", seconds=8, images=(PICTURE,), last_frame=LAST)
    assert path == "/v1/image_to_video"
    assert body["promptImage"] == [FIRST, {"uri": LAST_URI, "position": "last"}]


async def test_every_call_has_key_and_version(recorder: Recorder) -> None:
    """The key goes as a bearer beside the version of the API, which an entry may change."""
    await sent(recorder)
    assert recorder.last.headers["authorization"] == f"Bearer {KEY}"
    assert recorder.last.headers["x-runway-version"] == "2024-11-06"
    recorder.say(task("PENDING"))
    async with opened(recorder, version="2027-01-01") as channel:
        await channel.fetch(UpstreamJob(TASK))
    assert recorder.last.headers["x-runway-version"] == "2027-01-01"


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gen4.5", {"seed": 7}),
        ("veo3.1", {"seed": 7, "audio": False, "negativePrompt": "rain"}),
        ("veo3.1_fast", {"seed": 7, "audio": False, "negativePrompt": "rain"}),
        ("kling2.5_turbo_pro", {}),
        ("kling3.0_pro", {"audio": False}),
        ("klingO3_4k", {"audio": False}),
        ("seedance2", {"seed": 7, "audio": False}),
        ("seedance2_5", {"seed": 7, "audio": False}),
        ("gemini_omni_flash", {}),
        ("hailuo3", {"resolution": "768p"}),
        ("a-model-of-tomorrow", {"seed": 7, "audio": False, "negativePrompt": "rain"}),
    ],
)
async def test_a_model_gets_the_fields_that_it_has(recorder: Recorder, model: str, fields: dict[str, Any]) -> None:
    """Seed, sound and negative prompt go to the models that have them: Runway refuses fields that it does not know."""
    _, body = await sent(recorder, model=model, **WISHES)
    usual = {"model": model, "promptText": PROMPT, "ratio": "16:9" if model == "hailuo3" else "1280:720", "duration": 5}
    assert body == {**usual, **fields}


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"model": "hailuo3", "size": "720x1280"}, {"ratio": "9:16", "resolution": "768p"}),
        ({"model": "hailuo3", "size": "3360x1440"}, {"ratio": "21:9", "resolution": "2k"}),
        ({"model": "kling2.5_turbo_pro", "size": "720x720"}, {"ratio": "720:720"}),
        ({"model": "kling2.5_turbo_pro", "images": (PICTURE,)}, {}),
        ({"model": "seedance2", "size": "2206x946"}, {"ratio": "2206:946"}),
        ({"model": "gen4_turbo", "size": "960x960", "images": (PICTURE,)}, {"ratio": "960:960"}),
        ({"model": "kling_4", "size": "2200x940"}, {"ratio": "2200:940"}),
        ({"model": "kling_4", "size": "1460x624", "images": (PICTURE,)}, {"ratio": "auto_720p"}),
        ({"model": "kling_4", "size": "2200x940", "images": (PICTURE,)}, {"ratio": "auto_1080p"}),
        ({"model": "grok_imagine_1_5", "size": "1080x1080"}, {"ratio": "1:1", "resolution": "1080p"}),
        ({"model": "grok_imagine_1_5", "size": "720x960", "images": (PICTURE,)}, {"resolution": "720p"}),
        ({"model": "grok_imagine_1_5", "size": "848x480"}, {"ratio": "16:9", "resolution": "480p"}),
        ({"model": "grok_imagine_1_5_lite", "size": "1744x1152"}, {"ratio": "1744:1152"}),
        ({"model": "grok_imagine_1_5_lite", "size": "480x720", "images": (PICTURE,)}, {"ratio": "auto_480p"}),
        ({"model": "happyhorse_1_0", "size": "1108x832"}, {"ratio": "1108:832"}),
        ({"model": "happyhorse_1_0", "size": "1662x1248", "images": (PICTURE,)}, {"resolution": "1080p"}),
        ({"model": "wan3", "size": "720x544"}, {"ratio": "720:544"}),
        ({"model": "wan3_prime", "size": "1104x832", "images": (PICTURE,)}, {"ratio": "auto_720p"}),
        ({"model": "h3_max", "size": "480x854"}, {"resolution": "480p"}),
        ({"model": "h3_max", "size": "1280x720", "images": (PICTURE,)}, {"resolution": "768p"}),
    ],
)
async def test_sizes_in_the_words_of_the_model(
    recorder: Recorder, changes: dict[str, Any], shape: dict[str, str]
) -> None:
    """A size is pixels with a colon, a ratio and a resolution, or left to the picture."""
    _, body = await sent(recorder, **changes)
    assert {name: body[name] for name in ("ratio", "resolution") if name in body} == shape


async def test_metadata_is_passed_on_below_our_own(recorder: Recorder) -> None:
    """Runway's own words pass; what it does not know, and what the plugin sets, do not."""
    own = {"contentModeration": {"publicFigureThreshold": "low"}, "cfgScale": 0.4}
    foreign = {"user": "u-1", "promptText": "other", "videoUri": FILM, "outputFormat": "prores", "draftTaskId": TASK}
    _, body = await sent(recorder, metadata={**own, **foreign})
    assert body == {
        "model": "gen4.5",
        "promptText": PROMPT,
        "ratio": "1280:720",
        "duration": 5,
        "contentModeration": {"publicFigureThreshold": "low"},
        "cfgScale": 0.4,
    }


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "aleph2"}, "model"),
        ({"model": "gen4_turbo"}, "input_reference"),
        ({"model": "gen4.5", "size": "960x960"}, "size"),
        ({"model": "veo3.1", "last_frame": LAST}, "last_frame"),
        ({"seed": 2**32}, "seed"),
        ({"seed": -1}, "seed"),
        ({"prompt": "🪁" * 501}, "prompt"),
        ({"model": "veo3.1", "prompt": "x" * 1001}, "prompt"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(recorder: Recorder, changes: dict[str, Any], param: str) -> None:
    """What Runway would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(request(**changes))
    assert caught.value.param == param
    assert recorder.calls == []


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "🪁" * 500, "seed": 2**32 - 1},
        {"prompt": "x" * 2000, "model": "seedance2", "seed": 0},
        {"kind": "edit", "model": "aleph2", "prompt": "x" * 1001},
        {"size": "960x960", "images": (PICTURE,)},
    ],
)
async def test_what_can_be_made_passes(recorder: Recorder, changes: dict[str, Any]) -> None:
    """The bounds themselves are legal, and a bound of one model is not another's."""
    async with opened(recorder) as channel:
        channel.check(request(**changes))


PRICES = [
    ("gen4.5", "1280x720", None, 0.12),
    ("gen4_turbo", "960x960", None, 0.05),
    ("aleph2", "1280x720", None, 0.28),
    ("veo3.1", "1920x1080", None, 0.40),
    ("veo3.1", "1280x720", True, 0.40),
    ("veo3.1", "1280x720", False, 0.20),
    ("veo3.1_fast", "1280x720", None, 0.15),
    ("veo3.1_fast", "1080x1920", False, 0.10),
    ("seedance2", "640x640", None, 0.36),
    ("seedance2", "1280x720", False, 0.36),
    ("seedance2", "2206x946", None, 0.40),
    ("seedance2", "3840x1646", None, 1.50),
    ("seedance2_5", "480x854", None, 0.20),
    ("seedance2_5", "1470x630", None, 0.30),
    ("seedance2_5", "1920x1080", None, 0.68),
    ("hailuo3", "1280x720", None, 0.10),
    ("hailuo3", "720x720", None, 0.10),
    ("hailuo3", "2560x1440", None, 0.15),
    ("gemini_omni_flash", "1280x720", None, 0.10),
    ("gemini_omni_flash_1.1", "1280x720", None, None),
    ("klingO3_pro", "1920x1080", None, None),
]


@pytest.mark.parametrize(("name", "size", "audio", "price"), PRICES)
def test_prices(name: str, size: str, audio: bool | None, price: float | None) -> None:
    """A second costs what the sheet says, by the size and the sound; what it does not say is not known."""
    assert MODELS[name].price_of(size, audio=audio) == price


def test_every_model_of_the_api_is_known() -> None:
    """What the simulator's table has, which is held to the SDK's types, the plugin's table has too."""
    made = {model for route, model in RULES if route in (IMAGE, TEXT)} - set(OLD_MODELS)
    assert made | {"aleph2"} == MODELS.keys()


def test_what_follows_its_picture_gets_one_of_the_right_shape() -> None:
    """Where Runway takes no shape beside a picture, the core gives the picture the shape that was ordered."""
    shapeless = {
        name
        for name, model in MODELS.items()
        if model.image and "auto" in shape(request(model=name, images=(PICTURE,))).get("ratio", "auto")
    }
    assert shapeless == {name for name, model in MODELS.items() if model.exact_image} | {"h3_max"}


def test_what_hailuo_costs_is_sure() -> None:
    """Each size of a model that has two finenesses is one of the two, with its own price."""
    model = MODELS["hailuo3"]
    ordered = {(shape(request(model="hailuo3", size=size))["resolution"], model.price_of(size)) for size in model.sizes}
    assert ordered == {("768p", 0.10), ("2k", 0.15)}
    with pytest.raises(InvalidRequest):
        settle(None, "640x360", model, "strict")


def test_what_models_can_do() -> None:
    """Durations, sizes and inputs are those of the sheet, and every video can be extended by three to ten seconds."""
    assert MODELS["gen4.5"].sizes == ("1280x720", "720x1280", "1104x832", "960x960", "832x1104", "1584x672")
    assert MODELS["veo3.1"].sizes == ("1280x720", "720x1280", "1920x1080", "1080x1920")
    assert MODELS["klingO3_4k"].sizes == ("3840x2160", "2160x3840", "2880x2880")
    seconds = {name: MODELS[name].seconds for name in ("gen4.5", "veo3.1", "kling2.5_turbo_pro", "gemini_omni_flash")}
    assert list(seconds.values()) == [tuple(range(2, 11)), (4, 6, 8), (5, 10), tuple(range(3, 11))]
    assert [name for name, model in MODELS.items() if not model.image] == ["aleph2"]
    assert MODELS["veo3.1"].last_frame
    assert not MODELS["gen4.5"].last_frame
    for model in (*MODELS.values(), Runway.default_model):
        assert model.lengths("extend") == tuple(range(3, 11))
        assert default_size(model) in model.sizes or not model.sizes or ":" in model.sizes[0]


def test_a_picture_fits_into_a_data_uri() -> None:
    """The largest picture that the core lets through has a data URI of less than 5 MB."""
    most = Runway.picture_form.max_bytes
    assert most
    assert 4_900_000 < len(Picture(bytes(most), "image/jpeg", 1, 1).data_uri) <= 5_000_000


@pytest.mark.parametrize("name", [name for name in MODELS if name != "aleph2"])
async def test_what_models_promise_is_taken(name: str) -> None:
    """Each size and duration of a model, with and without pictures, passes the simulator's closed rules."""
    model = MODELS[name]
    wishes = {"seed": 7, "audio": model.audio, "negative_prompt": "rain", "prompt": "a kite"}
    asked = [settle(None, size, model, "strict").size for size in model.sizes or (None,)]
    pictures: list[Mapping[str, Any]] = [{}, {"images": (PICTURE,)}]
    pictures += [{"images": (PICTURE,), "last_frame": PICTURE}] if model.last_frame else []
    async with SimulatorServer(RunwaySimulator(keys={KEY})) as sim, opened(sim) as channel:
        for given in pictures:
            orders = [{"size": size, "seconds": default_seconds(model)} for size in asked]
            for order in [*orders, *({"size": asked[0], "seconds": seconds} for seconds in model.seconds)]:
                wanted = request(model=name, **wishes, **given, **order)
                try:
                    channel.check(wanted)
                except InvalidRequest:
                    assert name in ("gen4.5", "gen4_turbo")
                    assert not given
                else:
                    await channel.create(wanted)
    assert sim.paid >= len(model.sizes)
