"""plugins/xai.py: the laws of every channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import plugins.xai
from proxy.testing import ChannelContract, Simulator, SimulatorServer
from proxy.testing.product import ProductLaws
from proxy.testing.submitting import SubmitLaws
from tests.plugins.xai_wire import KEY, PICTURE, opened, request
from tests.simulators.xai import XaiSimulator

SECOND_KEY = "xai-fedcba9876543210fedcba9876543210"


class TestXai(ChannelContract):
    plugin = "xai"
    plugin_file = Path(plugins.xai.__file__)
    simulator = XaiSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["grok-imagine-video-1.5"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": SECOND_KEY}
    states: ClassVar[Mapping[str, str]] = {
        "pending": "queued",
        "done": "completed",
        "failed": "failed",
        "expired": "failed",
    }

    def make_simulator(self) -> Simulator:
        """One whose polls have a body always: the laws spoil it."""
        sim = XaiSimulator(keys={KEY, SECOND_KEY})
        sim.talkative = True
        return sim


class TestSilentXai(SubmitLaws, ProductLaws):
    """The life of a video where a poll that finds no progress is an empty 202, and errors have the shape of a code
    beside a text."""

    plugin = TestXai.plugin
    plugin_file = TestXai.plugin_file
    simulator = XaiSimulator
    entry = TestXai.entry
    other_entry = TestXai.other_entry

    def make_simulator(self) -> Simulator:
        sim = XaiSimulator(keys={KEY, SECOND_KEY})
        sim.shape = "code"
        return sim


async def test_what_models_promise_is_taken() -> None:
    """Each size and duration of each model, with and without pictures, passes the simulator's closed rules."""
    async with SimulatorServer(XaiSimulator(keys={KEY})) as sim, opened(sim) as channel:
        taken = 0
        for name, model in channel.models.items():
            for order in (*({"size": size} for size in model.sizes), *({"seconds": one} for one in model.seconds)):
                for count in (0, 1, 7):
                    wanted = request(**{"model": name, "prompt": "a kite", "images": (PICTURE,) * count, **order})
                    if count == 7 and wanted.resolution == "1080p":
                        continue
                    channel.check(wanted)
                    await channel.create(wanted)
                    taken += 1
            if model.last_frame:
                await channel.create(request(model=name, images=(PICTURE,), last_frame=PICTURE, audio=False))
                taken += 1
    assert sim.paid == taken


async def test_a_chain_of_follow_ups_is_taken() -> None:
    """The simulator takes an extension of a result and a remix of another, and every bound of them."""
    async with SimulatorServer(XaiSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.automatic = False
        for seconds, kind, added in ((2, "extend", 10), (15, "extend", 1), (8, "remix", 8), (1, "edit", 1)):
            job = await channel.create(request(seconds=seconds))
            sim.finish(job.id)
            source = await channel.fetch(job)
            await getattr(channel, kind)(request(kind=kind, seconds=added), source)
    assert [job.kind for job in sim.jobs.values()][1::2] == ["extend", "extend", "edit", "edit"]
    assert [len(sim.calls(kind)) for kind in ("create", "extend", "edit")] == [4, 2, 2]
