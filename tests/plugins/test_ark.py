"""plugins/ark.py: the laws of every channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import plugins.ark
from plugins._ark_models import BYTEPLUS, VOLCENGINE
from proxy import InvalidRequest, Model, Picture
from proxy.engine.limits import default_seconds
from proxy.testing import ChannelContract, Job, Simulator, SimulatorServer
from proxy.testing.product import ProductLaws
from tests.plugins.ark_wire import KEY, MODEL, SECOND_KEY, opened, request
from tests.plugins.openai_oracle import picture_file
from tests.simulators.ark import ArkSimulator, ModelArkSimulator


class NamingArk(ArkSimulator):
    """Shows the `safety_identifier` of a task at once, as the types of volcengine-python-sdk have it."""

    def task(self, job: Job) -> dict[str, Any]:
        return {**super().task(job), "safety_identifier": job.facts["body"].get("safety_identifier")}


class TestArk(ChannelContract):
    plugin = "ark"
    plugin_file = Path(plugins.ark.__file__)
    simulator = NamingArk
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": [MODEL]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": SECOND_KEY}
    states: ClassVar[Mapping[str, str]] = {
        "queued": "queued",
        "running": "in_progress",
        "succeeded": "completed",
        "failed": "failed",
        "cancelled": "failed",
        "expired": "failed",
    }
    cancels_running = False


class TestModelArk(ProductLaws):
    """The international twin, with a model that makes no videos of videos; fields without a value are null."""

    plugin = TestArk.plugin
    plugin_file = TestArk.plugin_file
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["seedance-1-5-pro-251215"]}
    other_entry = TestArk.other_entry
    cancels_running = False

    def make_simulator(self) -> Simulator:
        sim = ModelArkSimulator(keys={KEY, SECOND_KEY})
        sim.nulls = True
        return sim


def modes(model: Model) -> list[dict[str, Any]]:
    """The pictures that a model may be given."""
    still = Picture(picture_file(640, 360), "image/png", 640, 360)
    one = {"images": (still,)} if model.image else {}
    found = [{}, one]
    found += [{**one, "last_frame": still}] if model.last_frame else []
    return found + ([{"images": (still,) * model.max_images}] if (model.max_images or 1) > 1 else [])


@pytest.mark.parametrize(
    ("simulator", "models"), [(ArkSimulator, VOLCENGINE), (ModelArkSimulator, BYTEPLUS)], ids=["ark", "modelark"]
)
async def test_what_models_promise_is_taken(simulator: type[ArkSimulator], models: Mapping[str, Model]) -> None:
    """Each size and duration of each model, with and without pictures, passes the simulator's strict rules."""
    taken = 0
    async with SimulatorServer(simulator(keys={KEY})) as sim, opened(sim) as channel:
        for name, model in models.items():
            for given in modes(model):
                orders: list[dict[str, Any]] = [{"size": size} for size in model.sizes]
                orders += [{"seconds": seconds} for seconds in model.seconds]
                for order in orders:
                    usual = {"size": model.sizes[-1], "seconds": default_seconds(model), "seed": 7, "prompt": "a kite"}
                    wanted = request(**{**usual, "model": name, "audio": model.audio, **given, **order})
                    try:
                        channel.check(wanted)
                    except InvalidRequest:
                        # It wants a picture, and no 1080p with several.
                        assert "lite-i2v" in name
                    else:
                        await channel.create(wanted)
                        taken += 1
    assert sim.paid == taken > 300


async def test_flags_in_a_prompt_change_nothing() -> None:
    """What the simulator would read as flags reaches it as text."""
    async with SimulatorServer(ArkSimulator(keys={KEY})) as sim, opened(sim) as channel:
        await channel.create(request(prompt="a kite --rs 1080p --dur 15 --rt 1:1 --seed 3 --wm true"))
    assert (sim.latest.facts["flags"], sim.latest.facts["length"]) == ({}, {"duration": 5})


async def test_an_edit_and_an_extension_are_taken() -> None:
    """A result is the source of an edit, a remix and an extension, for the models that make videos of videos."""
    async with SimulatorServer(ArkSimulator(keys={KEY})) as sim, opened(sim) as channel:
        for name in [name for name, model in VOLCENGINE.items() if model.native is None]:
            job = await channel.create(request(model=name))
            sim.finish(job.id)
            source = await channel.fetch(job)
            for kind in ("remix", "edit", "extend"):
                await getattr(channel, kind)(request(model=name, kind=kind), source)
    assert (len(sim.calls("edit")), len(sim.calls("extend"))) == (8, 4)
