"""plugins/minimax.py: the laws of every channel, on both of its wires."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import plugins.minimax
from plugins._minimax_models import MODELS
from plugins.minimax import STATES_V1, STATES_V2
from proxy import AccountRefused, InvalidRequest, JobError, ModerationBlocked, Picture, UnsupportedOperation
from proxy.testing import ChannelContract, Simulator, SimulatorServer
from proxy.testing.bench import failure_of, law
from tests.plugins.minimax_wire import KEY, first, opened
from tests.plugins.openai_oracle import picture_file
from tests.simulators.minimax import MinimaxSimulator, MinimaxV2Simulator

SECOND_KEY = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.other.fedcba9876543210"


class TestMiniMaxV1(ChannelContract):
    """V1 has no call that cancels or deletes."""

    plugin = "minimax"
    plugin_file = Path(plugins.minimax.__file__)
    simulator: ClassVar[type[Simulator]] = MinimaxSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["MiniMax-Hailuo-02"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": SECOND_KEY}
    states: ClassVar[Mapping[str, str]] = STATES_V1
    cancels_running: ClassVar[bool] = False

    @law
    async def test_cancel_stops_the_job(self, tmp_path: Path) -> None:
        """A running job cannot be cancelled, which is said without a call."""
        async with self.bench(tmp_path) as bench:
            job = await bench.submit()
            calls = len(bench.sim.requests)
            assert isinstance(await failure_of(bench.channel.cancel(job)), UnsupportedOperation)
            assert len(bench.sim.requests) == calls

    @law
    async def test_delete_removes_the_result(self, tmp_path: Path) -> None:
        """A finished job cannot be deleted, which is said without a call."""
        async with self.bench(tmp_path) as bench:
            job = await bench.completed()
            calls = len(bench.sim.requests)
            assert isinstance(await failure_of(bench.channel.delete(job)), UnsupportedOperation)
            assert len(bench.sim.requests) == calls

    @law
    async def test_product_delete(self, tmp_path: Path) -> None:
        """A deleted video is gone for the client; the upstream keeps its own."""
        async with self.product(tmp_path) as product:
            video_id = await product.completed()
            assert (await product.call("DELETE", f"/v1/videos/{video_id}")).status == 200
            assert (await product.call("GET", f"/v1/videos/{video_id}")).status == 404
            assert not product.sim.latest.removed


class TestMiniMaxV2(ChannelContract):
    """V2 cancels what waits, and nothing that runs."""

    plugin = "minimax"
    plugin_file = Path(plugins.minimax.__file__)
    simulator: ClassVar[type[Simulator]] = MinimaxV2Simulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["MiniMax-H3"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": SECOND_KEY}
    states: ClassVar[Mapping[str, str]] = STATES_V2
    cancels_running: ClassVar[bool] = False


async def test_what_models_promise_is_taken() -> None:
    """Each size and duration of each model, with and without pictures, passes the simulator's closed rules."""
    still = Picture(picture_file(640, 360), "image/png", 640, 360)
    given: tuple[dict[str, Any], ...] = (
        {},
        {"images": (still,)},
        {"images": (still,), "last_frame": still},
        {"images": (still,) * 9},
    )
    async with SimulatorServer(MinimaxSimulator(keys={KEY})) as sim, opened(sim) as channel:
        taken = 0
        for name, model in MODELS.items():
            orders = [{"size": size, "seconds": seconds} for size in model.sizes for seconds in model.seconds[:2]]
            orders += [{"size": model.sizes[0], "seconds": seconds} for seconds in model.seconds]
            for pictures in given:
                count = len(pictures.get("images", ()))
                if count > (model.max_images or 0) * model.image or ("last_frame" in pictures and not model.last_frame):
                    continue
                for order in orders:
                    wanted = first(model=name, prompt="a kite", **order, **pictures)
                    try:
                        channel.check(wanted)
                    except InvalidRequest:
                        continue
                    await channel.create(wanted)
                    taken += 1
    assert sim.paid == taken > 300


@pytest.mark.parametrize(("model", "path"), [("MiniMax-Hailuo-2.3", "v1"), ("MiniMax-H3", "v2")])
async def test_ends_are_told(model: str, path: str) -> None:
    """Late moderation, a refused prompt and an empty account are told apart on either wire."""
    async with SimulatorServer(MinimaxSimulator(keys={KEY})) as sim, opened(sim) as channel:
        job = await channel.create(first(model=model))
        assert sim.latest.call.path == f"/{path}/video_generation"
        sim.moderate(job.id)
        assert (await channel.fetch(job)).error == JobError("moderation_blocked", "output new_sensitive")
        sim.forbidden = "kite"
        with pytest.raises(ModerationBlocked, match="input new_sensitive"):
            await channel.create(first(model=model))
        sim.forbidden, sim.penniless = "", True
        with pytest.raises(AccountRefused):
            await channel.create(first(model=model))
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(first(model=model, seconds=99))
        assert (caught.value.param, sim.paid) == ("seconds", 1)
