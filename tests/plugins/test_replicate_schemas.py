"""plugins/replicate.py: what it reads out of the schemas of models that it does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

import plugins.replicate
from proxy import ApiError, Outcome, UnsupportedOperation
from proxy.testing import SimulatorServer
from tests.plugins.fal_wire import say_in_turn
from tests.plugins.openai_oracle import PROMPT, Recorder, recording
from tests.plugins.replicate_bench import KEY, LAST, PICTURE, VERSION, opened, prediction, request, schema
from tests.simulators.replicate import ReplicateSimulator


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        recorder.say(prediction("starting"), 201)
        yield recorder


TEXTUAL = {"type": "string", "enum": ["5s", "8s"]}


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (schema({"prompt": {}, "start_image": {}}), {"prompt": PROMPT, "start_image": PICTURE.data_uri}),
        (schema({"prompt": {}, "image": {}, "start_image": {}}), {"prompt": PROMPT, "image": PICTURE.data_uri}),
        (schema({"prompt": {}, "images": {}}), {"prompt": PROMPT, "images": [PICTURE.data_uri]}),
        (
            schema({"text_prompt": {}, "first_frame_image": {}, "resolution": {}, "duration": {"type": "integer"}}),
            {"text_prompt": PROMPT, "first_frame_image": PICTURE.data_uri, "resolution": "720p", "duration": 8},
        ),
        (
            schema({"prompt": {}, "image": {}, "seconds": {"type": "string"}, "seed": {}}),
            {"prompt": PROMPT, "image": PICTURE.data_uri, "seconds": "8", "seed": 3},
        ),
        (
            schema({"prompt": {}, "image": {}, "duration": {"allOf": []}, "camera": {}}, duration=TEXTUAL),
            {"prompt": PROMPT, "image": PICTURE.data_uri, "duration": "8s", "camera": "still"},
        ),
    ],
)
async def test_a_model_is_asked_for_its_inputs(recorder: Recorder, inputs: Any, given: dict[str, Any]) -> None:
    """The schema of an unlisted model says how its inputs are called; what it does not have is not sent."""
    say_in_turn(recorder, inputs, prediction("starting"), prediction("starting"))
    wanted = request(model="acme/film", images=(PICTURE,), seed=3, metadata={"camera": "still", "user": "u"})
    if "camera" not in given:
        wanted = request(model="acme/film", images=(PICTURE,), seed=3, metadata={"user": "u"})
    async with opened(recorder) as channel:
        for _ in range(2):
            channel.check(wanted)
            await channel.create(wanted)
    # Asked once, for both.
    first, second, third = recorder.calls
    assert (first.method, first.target) == ("GET", "/v1/models/acme/film")
    assert (second.target, second.json) == ("/v1/models/acme/film/predictions", {"input": given})
    assert third.json == second.json


ODD: tuple[Any, ...] = (
    {},
    [],
    schema({}),
    schema({"image": {}}),
    {"latest_version": None},
    {"latest_version": {"openapi_schema": {"components": {"schemas": {"Input": {"properties": ["prompt"]}}}}}},
)


@pytest.mark.parametrize(("data", "status"), [*((data, 200) for data in ODD), ({}, 404), ({}, 500), (b"<html>", 200)])
async def test_without_a_schema_the_usual_names_are_sent(recorder: Recorder, data: Any, status: int) -> None:
    """A schema that cannot be read holds up no prediction, and is not asked for again at once."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(ApiError):
            await channel.create(request(model="acme/film", images=(PICTURE,)))
        recorder.say(prediction("starting"))
        await channel.create(request(model="acme/film", images=(PICTURE,)))
    usual = {"prompt": PROMPT, "duration": 8, "aspect_ratio": "16:9", "image": PICTURE.data_uri}
    assert [call.method for call in recorder.calls] == ["GET", "POST", "POST"]
    assert [call.json for call in recorder.calls[1:]] == [{"input": usual}] * 2


async def test_a_schema_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that keeps silent about a model still takes its prediction."""
    monkeypatch.setattr(plugins.replicate, "PATIENCE", 0.05)
    async with SimulatorServer(ReplicateSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.fault("hang", on="model", times=None)
        await channel.create(request(model="bytedance/seedance-1-pro"))
        assert sim.paid == 1


async def test_a_schema_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema is asked for again after its time, and after a failure sooner."""
    clock = [1000.0]
    monkeypatch.setattr(plugins.replicate, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    wanted = request(model="bytedance/seedance-1-pro")
    async with SimulatorServer(ReplicateSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.then(status=500, on="model")
        for later, asked in ((0, 1), (59, 1), (2, 2), (3599, 2), (2, 3)):
            clock[0] += later
            await channel.create(wanted)
            assert len(sim.calls("model")) == asked


async def test_an_old_schema_is_better_than_none(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a schema cannot be read again, its names still count: under others, a picture would be left out."""
    clock = [1000.0]
    monkeypatch.setattr(plugins.replicate, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    wanted = request(model="acme/film", images=(PICTURE,))
    known = schema({"prompt": {}, "start_image": {}})
    broken: Any = (503, {"detail": "Later"})
    taken = prediction("starting")
    say_in_turn(recorder, known, taken, broken, taken, taken, broken, taken, known, taken)
    async with opened(recorder) as channel:
        for later in (0, 3601, 59, 2, 61):
            clock[0] += later
            await channel.create(wanted)
    assert [call.method for call in recorder.calls] == "GET POST GET POST POST GET POST GET POST".split()  # noqa: SIM905
    bodies = [call.json for call in recorder.calls if call.method == "POST"]
    assert bodies == [{"input": {"prompt": PROMPT, "start_image": PICTURE.data_uri}}] * 5


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"images": (PICTURE,)}, "input_reference"),
        ({"audio": True}, "audio"),
    ],
)
async def test_what_the_schema_lacks_is_refused(recorder: Recorder, changes: dict[str, Any], param: str) -> None:
    """Pictures and sound that a model has no input for are refused before the order, the second time without asking."""
    recorder.say(schema({"prompt": {}, "seed": {}}))
    wanted = request(model="acme/film", **changes)
    async with opened(recorder) as channel:
        channel.check(wanted)
        with pytest.raises(UnsupportedOperation) as caught:
            await channel.create(wanted)
        with pytest.raises(UnsupportedOperation):
            channel.check(wanted)
    assert (caught.value.param, caught.value.outcome) == (param, Outcome.CLIENT)
    assert [call.method for call in recorder.calls] == ["GET"]


@pytest.mark.parametrize(
    ("model", "asked"),
    [(f"acme/film:{VERSION}", ["start_image"]), (f"acme/film:{VERSION[::-1]}", ["image"]), (VERSION, None)],
)
async def test_a_version_has_the_schema_of_the_latest_one(
    recorder: Recorder, model: str, asked: list[str] | None
) -> None:
    """A version is read with its model's schema where it is the latest, and with the usual names otherwise."""
    answers = [schema({"prompt": {}, "start_image": {}})] if asked else []
    say_in_turn(recorder, *answers, prediction("starting"))
    async with opened(recorder) as channel:
        await channel.create(request(model=model, images=(PICTURE,)))
    assert [call.target for call in recorder.calls] == ["/v1/models/acme/film"] * bool(asked) + ["/v1/predictions"]
    assert recorder.last.json["version"] == model
    assert asked is None or asked[0] in recorder.last.json["input"]


async def test_an_entry_wins_over_the_schema(recorder: Recorder) -> None:
    """Names of the entry are laid over those of the schema."""
    say_in_turn(recorder, schema({"prompt": {}, "image": {}, "tail": {}}), prediction("starting"))
    async with opened(recorder, fields={"acme/film": {"last_frame": "tail"}}) as channel:
        await channel.create(request(model="acme/film", images=(PICTURE,), last_frame=LAST))
    given = {"prompt": PROMPT, "image": PICTURE.data_uri, "tail": LAST.data_uri}
    assert recorder.last.json == {"input": given}


@pytest.mark.parametrize("model", ["bytedance/seedance-1-pro", "minimax/hailuo-02", "acme/flipbook:latest"])
async def test_real_schemas_are_taken(model: str) -> None:
    """What is made of the schemas of unlisted models passes them, closed as they may be."""
    async with SimulatorServer(ReplicateSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.closed_inputs = True
        model = model.replace("latest", sim.models["acme/flipbook"].version)
        size = "1366x768" if "hailuo" in model else "1280x720"
        pictured = request(model=model, images=(PICTURE,), seconds=6, size=size, seed=4, metadata={"user": "u"})
        await channel.create(pictured)
        assert sim.paid == 1
        assert not sim.latest.facts["ignored"]
