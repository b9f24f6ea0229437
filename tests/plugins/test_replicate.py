"""plugins/replicate.py: the laws of every channel, and what it sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

import plugins.replicate
from plugins._replicate_models import TABLE
from plugins.replicate import Replicate, ReplicateOptions
from proxy import InvalidRequest
from proxy.engine.limits import default_seconds, settle
from proxy.plans import survey
from proxy.testing import ChannelContract, SimulatorServer
from tests.plugins.openai_oracle import PROMPT, Recorder, recording
from tests.plugins.replicate_bench import KEY, LAST, PICTURE, PREDICTION, VERSION, opened, prediction, request
from tests.simulators.replicate import HOUR, ReplicateSimulator

VEO = {"prompt": PROMPT, "duration": 8, "aspect_ratio": "16:9", "resolution": "720p"}
ANY = {"prompt": PROMPT, "duration": 8, "aspect_ratio": "16:9"}


class TestReplicate(ChannelContract):
    plugin = "replicate"
    plugin_file = Path(plugins.replicate.__file__)
    simulator = ReplicateSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": {"veo": "google/veo-3.1"}}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": "r8_" + "zyxwvutsrqponmlkjihgfedcba9876543210A"}
    states: ClassVar[Mapping[str, str]] = {
        "starting": "queued",
        "processing": "in_progress",
        "succeeded": "completed",
        "failed": "failed",
        "canceled": "failed",
        "aborted": "failed",
    }

    @pytest.mark.parametrize("early", [True, False])
    async def test_a_result_that_vanished_is_expired(self, tmp_path: Path, early: bool) -> None:
        """A video that is asked for after its hour, or whose result went before, is `expired` and stays completed."""
        async with self.product(tmp_path) as product:
            video_id = await product.made()
            job = product.sim.latest
            product.sim.finish(job.id)
            if not early:
                # Nothing but the clock says so.
                product.sim.result_seconds = 10 * HOUR
                job.completed_at = (job.completed_at or 0) - HOUR
            await product.until(video_id, "completed")
            if early:
                product.sim.vanish(job.id)
            content = await product.call("GET", f"/v1/videos/{video_id}/content")
            assert (content.status, content.code) == (404, "expired")
            assert (await product.call("GET", f"/v1/videos/{video_id}")).json["status"] == "completed"

    async def test_the_archive_has_what_vanished(self, tmp_path: Path) -> None:
        """The archive copies a result at once, so that it is there after its hour."""
        async with self.product(tmp_path, {**self.entry, "content": "archive"}, archive=str(tmp_path / "a")) as product:
            video_id = await product.completed()
            whole = product.sim.content_of(product.sim.latest)
            await product.call("GET", f"/v1/videos/{video_id}/content")
            product.sim.vanish(product.sim.latest.id)
            assert (await product.call("GET", f"/v1/videos/{video_id}/content")).body == whole


class Strict(ReplicateSimulator):
    """Refuses inputs that a model does not have; the flipbook, whose output is a list, has become official and takes a
    picture for the end."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.closed_inputs = True
        card = self.models["acme/flipbook"]
        inputs = {**card.inputs, "last_image": card.inputs["image"]}
        self.models[card.name] = replace(card, official=True, inputs=inputs)


class TestReplicateBySchema(TestReplicate):
    """The laws hold too where the names of the inputs come from the model's schema."""

    simulator = Strict
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": {"flip": "acme/flipbook"}}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        recorder.say(prediction("starting"), 201)
        yield recorder


async def sent(recorder: Recorder, options: Mapping[str, Any] | None = None, **changes: Any) -> tuple[str, Any]:
    """The path and the body of a creation."""
    async with opened(recorder, read_schema=False, **(options or {})) as channel:
        channel.check(request(**changes))
        job = await channel.create(request(**changes))
    assert (job.id, job.status) == (PREDICTION, "queued")
    assert recorder.last.method == "POST"
    return recorder.last.target, recorder.last.json


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("acme/film", "/v1/models/acme/film/predictions", {}),
        ("acme-2/film_v1.5", "/v1/models/acme-2/film_v1.5/predictions", {}),
        ("deployments/acme/film", "/v1/deployments/acme/film/predictions", {}),
        (f"acme/film:{VERSION}", "/v1/predictions", {"version": f"acme/film:{VERSION}"}),
        (VERSION, "/v1/predictions", {"version": VERSION}),
    ],
)
async def test_each_kind_of_model_has_its_route(
    recorder: Recorder, model: str, path: str, version: dict[str, str]
) -> None:
    """Official models and deployments have routes of their own, versions are named in the body."""
    assert await sent(recorder, model=model) == (path, {**version, "input": ANY})


@pytest.mark.parametrize("model", ["film", "a/b/c", "acme/", f"{VERSION}0", "acme/film:xyz", "acme/fi?lm", ""])
async def test_what_is_no_model_is_refused(recorder: Recorder, model: str) -> None:
    """A name that Replicate cannot have is refused before anything is sent."""
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest, match="no model of Replicate") as caught:
            channel.check(request(model=model))
    assert (caught.value.param, recorder.calls) == ("model", [])


async def test_a_creation_never_waits(recorder: Recorder) -> None:
    """The key goes as a bearer; there is no Prefer, and a Cancel-After only where the entry has one."""
    await sent(recorder)
    headers = recorder.last.headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert not {"prefer", "cancel-after"} & headers.keys()
    await sent(recorder, {"cancel_after": "5m"})
    assert recorder.last.headers["cancel-after"] == "5m"
    assert "prefer" not in recorder.last.headers


URI, LAST_URI = PICTURE.data_uri, LAST.data_uri
WISHES: Mapping[str, Any] = {"seed": 7, "audio": False, "negative_prompt": "rain"}


@pytest.mark.parametrize(
    ("model", "changes", "given"),
    [
        ("google/veo-3.1", {}, VEO),
        ("google/veo-3.1", WISHES, {**VEO, "seed": 7, "generate_audio": False, "negative_prompt": "rain"}),
        ("google/veo-3.1", {"size": "1080x1920"}, {**VEO, "aspect_ratio": "9:16", "resolution": "1080p"}),
        ("google/veo-3.1", {"images": (PICTURE,)}, {**VEO, "image": URI}),
        (
            "google/veo-3.1",
            {"images": (PICTURE,), "last_frame": LAST},
            {**VEO, "image": URI, "last_frame": LAST_URI},
        ),
        ("google/veo-3.1", {"images": (PICTURE, LAST)}, {**VEO, "reference_images": [URI, LAST_URI]}),
        (
            "kwaivgi/kling-v2.6",
            {"images": (PICTURE,), "audio": True},
            {**ANY, "start_image": URI, "generate_audio": True},
        ),
        ("kwaivgi/kling-v2.5-turbo-pro", WISHES, {**ANY, "negative_prompt": "rain"}),
        (
            "luma/ray-flash-2-720p",
            {"images": (PICTURE,), "last_frame": LAST, **WISHES},
            {**ANY, "start_image": URI, "end_image": LAST_URI},
        ),
        (
            "pixverse/pixverse-v5",
            {"images": (PICTURE,), "last_frame": LAST, "size": "960x540"},
            {**ANY, "quality": "540p", "image": URI, "last_frame_image": LAST_URI},
        ),
        (
            "deployments/acme/film",
            {**WISHES, "images": (PICTURE,)},
            {**ANY, "image": URI, "seed": 7, "generate_audio": False, "negative_prompt": "rain"},
        ),
    ],
)
async def test_each_model_has_its_own_words(
    recorder: Recorder, model: str, changes: dict[str, Any], given: dict[str, Any]
) -> None:
    """The parts of a request have the names of the model; what it has no input for is not sent."""
    assert (await sent(recorder, model=model, **changes))[1] == {"input": given}


FIELDS: Mapping[str, Any] = {
    "acme/film": {
        "prompt": "text",
        "image": None,
        "images": "stills",
        "last_frame": "",
        "duration": "length",
        "duration_form": "seconds",
        "resolution": "quality",
        "seed": "",
    },
    "google/veo-3.1": {"duration_form": "text"},
}


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        (
            {"model": "acme/film", "seed": 7},
            {"text": PROMPT, "length": "8s", "aspect_ratio": "16:9", "quality": "720p"},
        ),
        (
            {"model": "acme/film", "images": (PICTURE,)},
            {"text": PROMPT, "length": "8s", "aspect_ratio": "16:9", "quality": "720p", "stills": [URI]},
        ),
        ({}, {**VEO, "duration": "8"}),
        ({"model": "deployments/acme/film"}, ANY),
    ],
)
async def test_an_entry_may_name_the_fields(recorder: Recorder, changes: dict[str, Any], given: dict[str, Any]) -> None:
    """What `fields` says of a model wins over the table and over habit; the rest stays."""
    assert (await sent(recorder, {"fields": FIELDS}, **changes))[1] == {"input": given}


async def test_metadata_is_passed_on_below_our_own(recorder: Recorder) -> None:
    """Inputs of the model's own go along; what the plugin sets stays."""
    metadata = {"camera_fixed": True, "prompt": "other", "duration": 60, "seed": 1, "image": "https://a.example/b.png"}
    _, body = await sent(recorder, metadata=metadata, images=(PICTURE,), seed=2)
    assert body == {"input": {**VEO, "camera_fixed": True, "seed": 2, "image": URI}}


def test_what_may_cost_more() -> None:
    """Who is told of a prediction, its version and its work are no client's affair, and all that changes a price."""
    keys = {"webhook", "webhook_events_filter", "stream", "version", "num_inference_steps", "num_outputs", "resolution"}
    assert keys <= Replicate.priced_metadata
    # Whatever a model calls its sound.
    assert {"generate_audio", "enable_audio", "with_audio"} <= Replicate.priced_metadata


@pytest.mark.parametrize(
    ("model", "options", "can"),
    [
        ("google/veo-3.1", {}, (True, 3, True)),
        ("google/veo-3.1", {"fields": {"google/veo-3.1": {"images": "", "last_frame": ""}}}, (True, 1, False)),
        ("kwaivgi/kling-v2.6", {"fields": {"kwaivgi/kling-v2.6": {"last_frame": "end"}}}, (True, 1, True)),
        ("luma/ray-flash-2-720p", {"fields": {"luma/ray-flash-2-720p": {"images": "stills"}}}, (True, None, True)),
        ("acme/film", {}, (True, None, True)),
        ("acme/film", {"read_schema": False}, (True, 1, False)),
        ("deployments/acme/film", {}, (True, 1, False)),
        (VERSION, {"fields": {VERSION: {"image": ""}}}, (False, 1, False)),
    ],
)
def test_what_a_model_can_do(model: str, options: dict[str, Any], can: tuple[bool, int | None, bool]) -> None:
    """A model is offered with the pictures that it has inputs for, as far as that is known without its schema."""
    limits = Replicate.limits(msgspec.convert(options, ReplicateOptions), model)
    assert limits is not None
    assert (limits.image, limits.max_images, limits.last_frame) == can


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"images": (PICTURE, LAST), "last_frame": LAST}, "last_frame"),
        ({"last_frame": LAST}, "last_frame"),
        ({"model": "kwaivgi/kling-v2.6", "last_frame": LAST, "images": (PICTURE,)}, "last_frame"),
        ({"model": "kwaivgi/kling-v2.6", "images": (PICTURE, LAST)}, "input_reference"),
        ({"model": "kwaivgi/kling-v2.5-turbo-pro", "audio": True}, "audio"),
        ({"model": "acme/still", "images": (PICTURE,)}, "input_reference"),
        ({"model": VERSION, "images": (PICTURE, LAST)}, "input_reference"),
    ],
)
async def test_nothing_is_left_out_in_silence(recorder: Recorder, changes: dict[str, Any], param: str) -> None:
    """Pictures and sound that a model has no input for are refused, and nothing is sent."""
    async with opened(recorder, read_schema=False, fields={"acme/still": {"image": ""}}) as channel:
        with pytest.raises(InvalidRequest) as caught:
            channel.check(request(**changes))
    assert (caught.value.param, recorder.calls) == (param, [])


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        ({"fields": {"acme/film": {"imge": "x"}}}, "fields of acme/film: imge is no part; there are prompt, image"),
        ({"fields": {"acme/film": {"duration_form": "int"}}}, "duration_form must be one of number, text, seconds"),
        ({"fields": {"acme/film": {"prompt": ""}}}, "prompt is empty"),
        ({"fields": {"acme/film": {"image": ["x"]}}}, "image (channel r): must be a text, not a list"),
        ({"fields": ["acme/film"]}, "fields (channel r): must be a mapping"),
        ({"fields": {"film": {"image": "x"}}}, "fields of film: 'film' is no model of Replicate: the operator"),
        ({"fields": {"acme/film": {"image": "prompt"}}}, "fields of acme/film: image and prompt have the same name"),
        ({"fields": {"acme/film": {"image": "x", "images": "x"}}}, "fields of acme/film: images and image have the"),
        ({"models": ["film"]}, "has the model film"),
        ({"models": ["https://replicate.com/acme/film"]}, "has the model https://replicate.com/acme/film"),
        ({"cancel_after": "soon"}, "cancel_after must look like 90s or 5m"),
        ({"field": {}}, "did you mean fields?"),
    ],
)
def test_options_are_checked(tmp_path: Path, mistake: dict[str, Any], why: str) -> None:
    """`reelgate check` finds what is wrong with the options, and says it with the line."""
    file = tmp_path / "channels.yaml"
    entry = {"name": "r", "type": "replicate", "api_key": "k", "models": ["acme/film"], **mistake}
    file.write_text(json.dumps({"channels": [entry]}))
    (found,) = survey(file, {}, [Path(plugins.replicate.__file__).parent]).mistakes
    assert why in found
    assert str(file) in found


@pytest.mark.parametrize("model", TABLE)
async def test_what_models_promise_is_taken(model: str) -> None:
    """Each size and duration of a model passes the simulator's schema of it, with and without pictures."""
    can = TABLE[model][0]
    async with SimulatorServer(Strict(keys={KEY})) as sim, opened(sim) as channel:
        if model not in sim.models:
            pytest.skip("the simulator has no schema of it")
        asked = [settle(None, size, can, "strict").size for size in can.sizes]
        orders = [{"size": size, "seconds": default_seconds(can)} for size in asked]
        orders += [{"size": asked[0], "seconds": seconds} for seconds in can.seconds]
        for order in orders:
            for pictures in ({}, {"images": (PICTURE,)}):
                wanted = request(model=model, negative_prompt="rain", audio=can.audio, **order, **pictures)
                channel.check(wanted)
                await channel.create(wanted)
        assert sim.calls("model") == []
        assert sim.paid == 2 * len(orders)
