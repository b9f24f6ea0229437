"""plugins/vidu.py: the laws of every channel, and what the simulator makes of what models promise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import plugins.vidu
from plugins._vidu_models import MODELS
from proxy import InvalidRequest, JobError, Model, Picture, UpstreamGone, UpstreamJob
from proxy.engine.limits import default_seconds
from proxy.testing import ChannelContract, SimulatorServer
from proxy.testing.bench import failure_of
from tests.plugins.openai_oracle import picture_file
from tests.plugins.vidu_wire import KEY, MODEL, SECOND_KEY, opened, request
from tests.simulators.vidu import ViduSimulator

STILL = Picture(picture_file(640, 360), "image/png", 640, 360)


class TestVidu(ChannelContract):
    plugin = "vidu"
    plugin_file = Path(plugins.vidu.__file__)
    simulator = ViduSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": [MODEL]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": SECOND_KEY}
    states: ClassVar[Mapping[str, str]] = {
        "created": "queued",
        "queueing": "queued",
        "processing": "in_progress",
        "success": "completed",
        "failed": "failed",
    }
    cancels_running: ClassVar[bool] = False


class TestViduWithoutPayloads(TestVidu):
    """The same where a list of tasks does not tell the payload: then each task of the prompt is asked for it."""

    def make_simulator(self) -> ViduSimulator:
        sim = super().make_simulator()
        assert isinstance(sim, ViduSimulator)
        sim.lists_payload, sim.talkative, sim.fresh_links = False, True, True
        return sim


def modes(model: Model) -> list[dict[str, Any]]:
    """The pictures that a model may be given."""
    found: list[dict[str, Any]] = [{}, {"images": (STILL,)}]
    found += [{"images": (STILL,), "last_frame": STILL}] if model.last_frame else []
    found += [{"images": (STILL,), "metadata": {"action": "reference2video"}}]
    return found + [{"images": (STILL,) * count} for count in (2, 3, 7) if count <= (model.max_images or 0)]


@pytest.mark.parametrize("name", MODELS)
async def test_what_models_promise_is_taken(name: str) -> None:
    """Each size and duration of each model, with and without pictures, passes the simulator's strict rules."""
    model, taken, refused = MODELS[name], 0, set()
    async with SimulatorServer(ViduSimulator(keys={KEY})) as sim, opened(sim) as channel:
        for given in modes(model):
            orders: list[dict[str, Any]] = [{"size": size} for size in model.sizes]
            for order in [*orders, *({"seconds": seconds} for seconds in model.seconds)]:
                usual = {"size": model.sizes[0], "seconds": default_seconds(model), "seed": 7, "prompt": "a kite"}
                wanted = request(**{**usual, "model": name, "audio": model.audio, **given, **order})
                try:
                    channel.check(wanted)
                except InvalidRequest as error:
                    refused.add(error.param)
                else:
                    await channel.create(wanted)
                    taken += 1
    assert sim.paid == taken >= 2 * len(model.sizes)
    second = name.startswith("viduq2-")
    assert "seconds" not in refused or second
    assert ("input_reference" in refused) == (second or name == "vidu2.0")
    assert ("metadata.action" in refused) == (second or name.startswith("viduq3"))


async def test_what_the_models_refuse_is_refused_by_vidu() -> None:
    """What `check` refuses is what the simulator refuses too: nothing legal is kept from a client."""
    still = {"images": (STILL,)}
    for changes in (
        {"model": "viduq2-pro"},
        {"model": "vidu2.0", "seconds": 4},
        {"model": "viduq3-pro", **still, "metadata": {"action": "reference2video"}},
        {"model": "viduq2-turbo", "images": (STILL,) * 3},
        {"model": "viduq2-pro", **still, "last_frame": STILL, "seconds": 9},
        {"model": "vidu1.5", "seconds": 8, "size": "1920x1080"},
        {"model": "viduq3-pro", **still, "last_frame": Picture(picture_file(640, 640), "image/png", 640, 640)},
        {"model": "viduq3-pro", "images": (Picture(picture_file(50, 300), "image/png", 50, 300),)},
    ):
        async with SimulatorServer(ViduSimulator(keys={KEY})) as sim, opened(sim) as channel:
            with pytest.raises(InvalidRequest):
                channel.check(request(**changes))
            with pytest.raises(InvalidRequest):
                await channel.create(request(**changes))
            assert (sim.paid, len(sim.calls("create"))) == (0, 1)


async def test_a_film_is_extended() -> None:
    """A result of any model is extended by its own id, in a resolution that extensions have; one of another account
    is not there."""
    async with SimulatorServer(ViduSimulator(keys={KEY, SECOND_KEY})) as sim, opened(sim) as channel:
        job = await channel.create(request(model="vidu1.5", seconds=4, size="640x360"))
        sim.finish(job.id)
        source = await channel.fetch(job)
        longer = request(model="vidu1.5", seconds=7, size="640x360", kind="extend")
        made = await channel.extend(longer, source)
        assert sim.jobs[made.id].facts["fields"]["resolution"] == "540p"
        # A source of before, whose facts are not known.
        await channel.extend(longer, UpstreamJob(job.id, status="completed"))
        assert sim.paid == 3
        async with opened(sim, api_key=SECOND_KEY) as other:
            with pytest.raises(UpstreamGone):
                await other.extend(longer, source)
    assert sim.paid == 3


async def test_moderation_before_and_after() -> None:
    """A prompt that is refused costs nothing; a film that is held back is a failed video."""
    async with SimulatorServer(ViduSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.forbidden = "boat"
        error = await failure_of(channel.create(request(prompt="a boat")))
        assert (error.code, sim.paid) == ("moderation_blocked", 0)
        job = await channel.create(request(prompt="a kite"))
        sim.moderate(job.id)
        found = (await channel.fetch(job)).error
    assert found == JobError("moderation_blocked", "The upstream says CreationPolicyViolation.")


async def test_recovery_turns_pages() -> None:
    """A task is found among many, and a stranger's payload is none of ours."""
    async with SimulatorServer(ViduSimulator(keys={KEY, SECOND_KEY})) as sim, opened(sim) as channel:
        lost = await channel.create(request(attempt_id="attempt_lost"))
        for number in range(230):
            await channel.create(request(attempt_id=f"attempt_{number}"))
        found = await channel.recover(request(attempt_id="attempt_lost"))
        assert found is not None
        assert found.id == lost.id
        assert len(sim.calls("list")) == 3
        assert await channel.recover(request(attempt_id="attempt_never")) is None
        async with opened(sim, api_key=SECOND_KEY) as other:
            assert await other.recover(request(attempt_id="attempt_lost")) is None
