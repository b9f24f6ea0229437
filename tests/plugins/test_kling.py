"""plugins/kling.py: the laws of every channel."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

import plugins.kling
from proxy import Picture
from proxy.models import Kind
from proxy.testing import ChannelContract, Simulator, SimulatorServer
from proxy.testing.product import ProductLaws
from proxy.testing.submitting import SubmitLaws
from tests.plugins.kling_wire import KEY, opened, request
from tests.simulators.kling import KlingSimulator

SECOND_KEY = "ak_TEST_fedcba0987654321|sk_TEST_1234567890abcdef"
ONE_KEY, OTHER_KEY = "kling-0123456789abcdef0123456789abcdef", "kling-fedcba9876543210fedcba9876543210"
STATES = {"submitted": "queued", "processing": "in_progress", "succeed": "completed", "failed": "failed"}


def still(number: int) -> Picture:
    """A picture that Kling takes."""
    file = io.BytesIO()
    Image.new("RGB", (640, 360), (40, 90, 10 * number)).save(file, "PNG")
    return Picture(file.getvalue(), "image/png", 640, 360)


class TestKling(ChannelContract):
    plugin = "kling"
    plugin_file = Path(plugins.kling.__file__)
    simulator = KlingSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["kling-v1"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": SECOND_KEY}
    states: ClassVar[Mapping[str, str]] = STATES


class TestKlingOfTwoFields(SubmitLaws, ProductLaws):
    """The life of a video of an omni model, with the pair in two options, where errors come within a 200."""

    plugin = TestKling.plugin
    plugin_file = TestKling.plugin_file
    simulator = KlingSimulator
    entry: ClassVar[Mapping[str, Any]] = {
        **dict(zip(("access_key", "secret_key"), KEY.split("|"), strict=True)),
        "models": ["kling-v3-omni"],
    }
    other_entry: ClassVar[Mapping[str, Any]] = dict(
        zip(("access_key", "secret_key"), SECOND_KEY.split("|"), strict=True)
    )

    def paid_operations(self) -> list[Kind]:
        # Kling extends no video of such a model.
        return ["create", "remix", "edit"]

    def second_entry(self) -> dict[str, Any]:
        return {**self.entry, **self.other_entry}

    def make_simulator(self) -> Simulator:
        sim = KlingSimulator(keys={KEY, SECOND_KEY})
        sim.errors_in_200 = True
        return sim


class TestKlingOfOneKey(ProductLaws):
    """The life of a video with the newer single key, which is all that differs."""

    plugin = TestKling.plugin
    plugin_file = TestKling.plugin_file
    simulator = KlingSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": ONE_KEY, "models": ["kling-v1-6"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": OTHER_KEY}


async def test_what_models_promise_is_taken() -> None:
    """Each size, duration and number of pictures of each model passes the simulator's rules, with and without sound."""
    async with SimulatorServer(KlingSimulator(keys={KEY})) as sim, opened(sim) as channel:
        taken = 0
        for name, model in channel.models.items():
            orders: list[dict[str, Any]] = [
                *({"size": size} for size in model.sizes),
                *({"seconds": one} for one in model.seconds),
                *({"images": tuple(map(still, range(count)))} for count in range(1, (model.max_images or 1) + 1)),
                {"audio": False, "negative_prompt": "rain"},
            ]
            if model.audio:
                orders += [{"audio": True, "size": size} for size in ("1920x1080", "1080x1920")]
            if model.last_frame:
                ends = {"last_frame": still(9), "size": "1920x1080" if "1920x1080" in model.sizes else model.sizes[0]}
                orders += [{"images": (still(1),), **ends}]
            for order in orders:
                pictures = {} if model.image and name not in ("kling-v1-5", "kling-v2-1") else {"images": (still(1),)}
                taken += 1
                wanted = request(**{"model": name, "attempt_id": f"attempt_{taken}", **pictures, **order})
                channel.check(wanted)
                await channel.create(wanted)
    assert sim.paid == taken
    assert not any(job.facts["ignored"] for job in sim.jobs.values())


async def test_a_chain_of_follow_ups_is_taken() -> None:
    """The simulator takes an extension of an extension, and edits of results by models of both houses."""
    async with SimulatorServer(KlingSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.automatic = False
        numbers = iter(range(100))

        async def made(kind: str, source: Any = None, **changes: Any) -> Any:
            wanted = request(kind=kind, attempt_id=f"attempt_{next(numbers)}", **changes)
            channel.check(wanted)
            job = await (channel.create(wanted) if source is None else getattr(channel, kind)(wanted, source))
            sim.finish(job.id)
            return await channel.fetch(job)

        film = await made("create", images=(still(1),))
        longer = await made("extend", film)
        longest = await made("extend", longer)
        assert longest.facts["seconds"] > longer.facts["seconds"] > film.facts["seconds"]
        await made("remix", film)
        await made("edit", film, model="kling-v3-omni")
        assert [call.json["model_name"] for call in sim.calls("edit")] == ["kling-video-o1", "kling-v3-omni"]
    assert sim.paid == 5
    assert not any(job.facts["ignored"] for job in sim.jobs.values())
