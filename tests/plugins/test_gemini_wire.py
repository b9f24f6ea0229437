"""plugins/gemini.py: what it sends, field by field, in both shapes, and what it refuses to send."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins._gemini_models import OMNI, VEO
from plugins.gemini import Gemini, GeminiOptions
from proxy import Clip, InvalidRequest, Model, UnsupportedOperation, UpstreamJob
from proxy.engine.limits import default_seconds, settle
from proxy.models import Kind
from proxy.testing import SimulatorServer
from proxy.testing.bench import picture
from tests.plugins.gemini_wire import (
    DATA,
    KEY,
    LAST,
    LAST_DATA,
    OPERATION,
    PICTURE,
    TASK,
    URI,
    opened,
    request,
    taking,
    veo,
)
from tests.plugins.openai_oracle import PROMPT, Recorder
from tests.simulators.gemini import GeminiSimulator

USUAL = {"type": "video", "aspect_ratio": "16:9", "resolution": "720p", "duration": "8s", "delivery": "uri"}
SETTINGS = {"sampleCount": 1, "durationSeconds": 8, "aspectRatio": "16:9", "resolution": "720p"}
IMAGE = {"type": "image", "data": DATA, "mime_type": "image/png"}
END = {"type": "image", "data": LAST_DATA, "mime_type": "image/jpeg"}
VEO_IMAGE = {"bytesBase64Encoded": DATA, "mimeType": "image/png"}
SOURCE = UpstreamJob("v1_before", "completed", facts={"uri": URI})
OLD_SOURCE = UpstreamJob(OPERATION, "completed", facts={"uri": URI})


def step(*parts: dict[str, str]) -> list[dict[str, Any]]:
    """An input of several parts, as the SDK sends it."""
    return [{"type": "user_input", "content": [*parts]}]


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def sent(
    recorder: Recorder, kind: Kind = "create", source: UpstreamJob | None = None, *, of: Any = request, **changes: Any
) -> Any:
    """The body of a submission; `of` makes the request, and with it says the shape."""
    async with opened(recorder, shape="predict" if of is veo else "interactions") as channel:
        wanted = of(kind=kind, **changes)
        channel.check(wanted)
        if kind == "create":
            job = await channel.create(wanted)
        elif kind == "remix":
            assert source is not None
            job = await channel.remix(wanted, source)
        else:
            job = await (channel.edit if kind == "edit" else channel.extend)(wanted, source)
    (call,) = recorder.calls
    path = f"/v1beta/models/{wanted.model}:predictLongRunning" if of is veo else "/v1beta/interactions"
    assert (call.method, call.target) == ("POST", path)
    assert call.headers["x-goog-api-key"] == KEY
    assert "authorization" not in call.headers
    assert (job.id, job.status) == (OPERATION if of is veo else TASK, "queued")
    return call.json


# ---------------------------------------------------------------- interactions


async def test_a_plain_interaction(recorder: Recorder) -> None:
    """A create is the sheet's own body, made in the background, with its film as a file."""
    assert await sent(recorder, prompt="a paper boat") == {
        "model": "gemini-omni-1.2-flash",
        "input": "a paper boat",
        "response_format": USUAL,
        "background": True,
    }


async def test_inline_delivery_is_an_option(recorder: Recorder) -> None:
    """An entry may have its films within the answer."""
    async with opened(recorder, delivery="inline") as channel:
        await channel.create(request())
    assert recorder.last.json["response_format"]["delivery"] == "inline"


@pytest.mark.parametrize(
    ("size", "ratio", "word"),
    [
        ("640x360", "16:9", "360p"),
        ("720x1280", "9:16", "720p"),
        ("1920x1080", "16:9", "1080p"),
        ("2160x3840", "9:16", "4k"),
    ],
)
async def test_sizes_become_words(recorder: Recorder, size: str, ratio: str, word: str) -> None:
    """A size is a ratio and a resolution, the seconds a text."""
    shape = (await sent(recorder, size=size, seconds=15))["response_format"]
    assert shape == {**USUAL, "aspect_ratio": ratio, "resolution": word, "duration": "15s"}


@pytest.mark.parametrize(
    ("changes", "parts", "text", "task"),
    [
        ({"images": (PICTURE,)}, [IMAGE], f"<FIRST_FRAME> {PROMPT}", "image_to_video"),
        (
            {"images": (PICTURE,), "last_frame": LAST},
            [IMAGE, END],
            f"<FIRST_FRAME> <LAST_FRAME> {PROMPT}",
            "image_to_video",
        ),
        (
            {"images": (PICTURE, LAST)},
            [IMAGE, END],
            f"[# References <IMAGE_REF_0>@Image1 <IMAGE_REF_1>@Image2] {PROMPT}",
            "reference_to_video",
        ),
    ],
)
async def test_pictures_have_their_part_told(
    recorder: Recorder, changes: dict[str, Any], parts: list[Any], text: str, task: str
) -> None:
    """Tags in the prompt say which picture is the first frame, the last one, or shows what the video is about."""
    body = await sent(recorder, **changes)
    assert body["input"] == step(*parts, {"type": "text", "text": text})
    assert body["generation_config"] == {"video_config": {"task": task}}


@pytest.mark.parametrize("prompt", ["a woman <IMAGE_REF_0> walks", "[# Sources <FIRST_FRAME>@Image1] a walk"])
async def test_a_prompt_with_tags_says_it_itself(recorder: Recorder, prompt: str) -> None:
    """A client that binds its pictures by tags of its own is not contradicted."""
    body = await sent(recorder, prompt=prompt, images=(PICTURE,))
    assert body["input"] == step(IMAGE, {"type": "text", "text": prompt})
    assert "generation_config" not in body


async def test_seed_and_what_is_not_wanted(recorder: Recorder) -> None:
    """A seed has a field, what is not wanted a sentence, as Google says; sound is there by itself."""
    body = await sent(recorder, prompt="a walk", seed=0, negative_prompt="rain", audio=True)
    assert body["input"] == "a walk\nDo not show: rain"
    assert body["generation_config"] == {"seed": 0}


async def test_metadata_is_passed_on_below_our_own(recorder: Recorder) -> None:
    """Further fields pass, also beside ours inside of objects, and nothing that the plugin sets is changed."""
    metadata = {
        "safety_settings": [{"type": "x"}],
        "model": "gemini-omni-9",
        "background": False,
        "input": "another",
        "response_format": {"resolution": "4k", "extra": 1},
        "generation_config": {"seed": 1, "thinking_summaries": "none", "video_config": "odd"},
    }
    body = await sent(recorder, images=(PICTURE,), seed=7, metadata=metadata)
    assert body["safety_settings"] == [{"type": "x"}]
    assert (body["model"], body["background"]) == ("gemini-omni-1.2-flash", True)
    assert body["input"][0]["content"][0] == IMAGE
    assert body["response_format"] == {**USUAL, "extra": 1}
    assert body["generation_config"] == {
        "seed": 7,
        "thinking_summaries": "none",
        "video_config": {"task": "image_to_video"},
    }


def test_what_costs_or_leads_elsewhere_is_refused() -> None:
    """Storage, webhooks, tools, other interactions and all that changes a price are for the operator to allow."""
    assert Gemini.priced_metadata >= {
        *("store", "stream", "background", "delivery", "gcs_uri", "webhook_config", "webhookconfig", "labels", "tools"),
        *("storage_uri", "pubsub_topic", "numberofvideos", "candidatecount"),
        *("previous_interaction_id", "task", "storageuri", "samplecount", "resolution", "duration", "service_tier"),
    }


@pytest.mark.parametrize(("kind", "task"), [("remix", "edit"), ("edit", "edit"), ("extend", "extend")])
async def test_what_comes_after_names_its_interaction(recorder: Recorder, kind: Kind, task: str) -> None:
    """A remix, an edit and an extension go on from the interaction; only an extension has a length."""
    body = await sent(recorder, kind, SOURCE, seconds=5)
    shape = {name: value for name, value in USUAL.items() if name != "duration"}
    assert body == {
        "model": "gemini-omni-1.2-flash",
        "input": PROMPT,
        "previous_interaction_id": "v1_before",
        "response_format": {**shape, "duration": "5s"} if kind == "extend" else shape,
        "generation_config": {"video_config": {"task": task}},
        "background": True,
    }


@pytest.mark.parametrize(("kind", "own", "googles"), [("edit", "mp4", "mp4"), ("extend", "quicktime", "mov")])
async def test_an_uploaded_clip_is_a_part(
    recorder: Recorder, tmp_path: Path, kind: Kind, own: str, googles: str
) -> None:
    """A clip goes along as base64 with Google's word for its type; a picture beside it is a reference."""
    clip = Clip(tmp_path / "clip", f"video/{own}")
    await asyncio.to_thread(clip.path.write_bytes, b"a film")
    body = await sent(recorder, kind, video=clip, images=(PICTURE,))
    part = {"type": "video", "data": base64.b64encode(b"a film").decode(), "mime_type": f"video/{googles}"}
    text = {"type": "text", "text": f"[# References <IMAGE_REF_0>@Image1] {PROMPT}"}
    assert body["input"] == step(part, IMAGE, text)
    assert body["generation_config"] == {"video_config": {"task": kind}}
    assert "previous_interaction_id" not in body


async def test_a_film_of_the_other_shape_is_a_part(recorder: Recorder) -> None:
    """What an operation made has no interaction, but a file."""
    body = await sent(recorder, "edit", OLD_SOURCE)
    assert body["input"][0]["content"][0] == {"type": "video", "uri": URI, "mime_type": "video/mp4"}
    assert "previous_interaction_id" not in body


# ---------------------------------------------------------------- predictLongRunning


async def test_a_plain_prediction(recorder: Recorder) -> None:
    """A create in the older shape is one instance and one video's parameters."""
    assert await sent(recorder, of=veo) == {"instances": [{"prompt": PROMPT}], "parameters": SETTINGS}


async def test_everything_that_a_prediction_may_have(recorder: Recorder) -> None:
    """Pictures, seed and negative prompt have their fields; metadata joins the parameters, never over ours."""
    metadata = {"personGeneration": "allow_adult", "sampleCount": 4, "durationSeconds": 4}
    wishes = {"images": (PICTURE,), "last_frame": PICTURE, "seed": 3, "negative_prompt": "blur", "audio": True}
    assert await sent(recorder, of=veo, size="1080x1920", metadata=metadata, **wishes) == {
        "instances": [{"prompt": PROMPT, "image": VEO_IMAGE, "lastFrame": VEO_IMAGE}],
        "parameters": {
            "personGeneration": "allow_adult",
            "sampleCount": 1,
            "durationSeconds": 8,
            "aspectRatio": "9:16",
            "resolution": "1080p",
            "seed": 3,
            "negativePrompt": "blur",
        },
    }


async def test_several_pictures_are_references_of_any_ratio(recorder: Recorder) -> None:
    """References are assets, and go with 9:16 here."""
    body = await sent(recorder, of=veo, images=(PICTURE, PICTURE), size="720x1280")
    assert body["instances"][0]["referenceImages"] == [{"image": VEO_IMAGE, "referenceType": "asset"}] * 2


async def test_sound_is_asked_of_unknown_models_only(recorder: Recorder) -> None:
    """A gateway's own model is told about sound; Veo always makes it."""
    body = await sent(recorder, of=veo, model="veo-9", audio=False)
    assert body["parameters"]["generateAudio"] is False


async def test_a_silent_model_may_be_silent(recorder: Recorder) -> None:
    """Veo 2 makes no sound, so that silence is nothing to ask for."""
    body = await sent(recorder, of=veo, model="veo-2.0-generate-001", audio=False)
    assert body["parameters"] == SETTINGS


async def test_an_extension_names_its_film(recorder: Recorder, tmp_path: Path) -> None:
    """An extension names the film as the upstream did, whose length is its own."""
    body = await sent(recorder, "extend", OLD_SOURCE, of=veo, seconds=7)
    assert body["instances"] == [{"prompt": PROMPT, "video": {"uri": URI}}]
    assert body["parameters"] == {name: value for name, value in SETTINGS.items() if name != "durationSeconds"}


async def test_an_extension_of_a_clip(recorder: Recorder, tmp_path: Path) -> None:
    """An uploaded clip is encoded."""
    clip = Clip(tmp_path / "clip.mp4")
    await asyncio.to_thread(clip.path.write_bytes, b"a film")
    body = await sent(recorder, "extend", of=veo, seconds=7, video=clip)
    encoded = {"encodedVideo": base64.b64encode(b"a film").decode(), "encoding": "video/mp4"}
    assert body["instances"] == [{"prompt": PROMPT, "video": encoded}]


# ---------------------------------------------------------------- what is not sent


@pytest.mark.parametrize(("shape", "has", "has_not"), [("interactions", OMNI, VEO), ("predict", VEO, OMNI)])
def test_a_shape_has_its_own_models(shape: str, has: Mapping[str, Model], has_not: Mapping[str, Model]) -> None:
    """What the other shape makes is not offered, and a model that nobody knows can be extended at least."""
    options = GeminiOptions(shape=shape)
    assert {name: Gemini.limits(options, name) for name in has} == has
    assert [name for name in has_not if Gemini.limits(options, name) is not None] == []
    unknown = Gemini.limits(options, "new")
    assert unknown is not None
    assert unknown.native == (None if shape == "interactions" else ("extend",))


@pytest.mark.parametrize(
    ("shape", "changes", "param"),
    [
        ("interactions", {"last_frame": LAST}, "last_frame"),
        ("interactions", {"last_frame": LAST, "images": (PICTURE, PICTURE)}, "last_frame"),
        ("interactions", {"audio": False}, "audio"),
        ("interactions", {"seed": 2**31}, "seed"),
        ("predict", {"seed": -1}, "seed"),
        ("predict", {"seed": 2**32}, "seed"),
        ("predict", {"last_frame": LAST}, "last_frame"),
        ("predict", {"kind": "extend", "video": Clip(Path("clip.mov"), "video/quicktime")}, "video"),
        ("predict", {"audio": False}, "audio"),
        ("predict", {"size": "1920x1080", "seconds": 6}, "seconds"),
        ("predict", {"size": "3840x2160", "seconds": 4}, "seconds"),
        ("predict", {"images": (PICTURE, PICTURE), "seconds": 6}, "seconds"),
        ("predict", {"kind": "extend", "size": "1920x1080"}, "size"),
    ],
)
async def test_what_cannot_be_made_is_refused_before(
    recorder: Recorder, shape: str, changes: dict[str, Any], param: str
) -> None:
    """What Google would refuse is refused with the field to blame, and nothing is sent."""
    async with opened(recorder, shape=shape) as channel:
        wanted = (request if shape == "interactions" else veo)(**changes)
        with pytest.raises(InvalidRequest) as caught:
            channel.check(wanted)
    assert caught.value.param == param
    assert recorder.calls == []


async def test_a_shape_that_cannot(recorder: Recorder) -> None:
    """The older shape edits and cancels nothing, and no film goes on from a source without a file."""
    lost = UpstreamJob(OPERATION, "completed")
    async with opened(recorder, shape="predict") as old, opened(recorder) as new:
        for work in (
            old.remix(veo(kind="remix"), OLD_SOURCE),
            old.edit(veo(kind="edit"), OLD_SOURCE),
            old.extend(veo(kind="extend"), UpstreamJob("v1_inline", "completed")),
            old.cancel(OLD_SOURCE),
            new.edit(request(kind="edit"), lost),
        ):
            with pytest.raises(UnsupportedOperation):
                await work
    assert recorder.calls == []


@pytest.mark.parametrize("wrong", [{"shape": "generate"}, {"delivery": "gcs"}])
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    """A wrong word is told when the file is checked."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, GeminiOptions)


def test_what_models_can_do() -> None:
    """Prices, durations, sizes and inputs are those of the sheet."""
    assert [OMNI[name].seconds[-1] for name in OMNI] == [15, 10]
    assert OMNI["gemini-omni-1.1-flash"].extend_seconds == tuple(range(3, 11))
    prices = {
        name: [model.price_of(size) for size in ("1280x720", "1920x1080", "3840x2160")] for name, model in VEO.items()
    }
    assert list(prices.values())[:3] == [[0.40, 0.40, 0.60], [0.10, 0.12, 0.30], [0.05, 0.08, 0.05]]
    assert all(price is None for name in list(prices)[3:] for price in prices[name])
    assert OMNI["gemini-omni-1.2-flash"].price_of("1280x720") == 0.10
    assert OMNI["gemini-omni-1.2-flash"].price_of("1920x1080") is None
    assert VEO["veo-2.0-generate-001"].seconds == (5, 6, 8)
    assert VEO["veo-3.0-generate-001"].sizes == ("1280x720", "720x1280", "1920x1080")
    assert [name for name, model in VEO.items() if model.native == ("extend",)] == list(VEO)[:3]


@pytest.mark.parametrize("name", [*OMNI, *VEO])
async def test_what_models_promise_is_taken(name: str) -> None:
    """Each size and duration of a model, with as many pictures as it takes, passes the simulator's rules."""
    model = {**OMNI, **VEO}[name]
    image = await asyncio.to_thread(picture, "640x360")
    pictures: list[dict[str, Any]] = [{}, {"images": (image,)}]
    pictures += [{"images": (image,), "last_frame": image}] if model.last_frame else []
    pictures += [{"images": (image,) * model.max_images}] if model.max_images and model.max_images > 1 else []
    sizes = [settle(None, size, model, "strict").size for size in model.sizes]
    orders = [{"size": size, "seconds": default_seconds(model)} for size in sizes]
    orders += [{"size": sizes[0], "seconds": seconds} for seconds in model.seconds]
    shape = "interactions" if name in OMNI else "predict"
    async with SimulatorServer(GeminiSimulator(keys={KEY})) as sim, opened(sim, shape=shape) as channel:
        for given in pictures:
            for order in orders:
                wanted = request(model=name, seed=7, negative_prompt="rain", **given, **order)
                try:
                    channel.check(wanted)
                except InvalidRequest:
                    assert (order["seconds"], shape) != (8, "interactions")
                else:
                    await channel.create(wanted)
    assert sim.paid >= len(model.sizes)
