"""plugins/dashscope.py: the laws of every channel, and lives of videos before the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import plugins.dashscope
from proxy import Clip, InvalidRequest, Outcome, Picture, UnsupportedOperation, UpstreamGone
from proxy.engine.limits import default_seconds, settle
from proxy.media.forms import formed
from proxy.testing import ChannelContract, SimulatorServer
from proxy.testing.bench import failure_of
from tests.plugins.dashscope_wire import KEY, OTHER, PICTURE, opened, request
from tests.plugins.openai_oracle import picture_file
from tests.simulators.dashscope import DashScopeSimulator


class TestDashScope(ChannelContract):
    plugin = "dashscope"
    plugin_file = Path(plugins.dashscope.__file__)
    simulator = DashScopeSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "models": ["wan2.6-t2v"]}
    other_entry: ClassVar[Mapping[str, Any]] = {"api_key": "sk-fedcba9876543210fedcba9876543210"}
    states: ClassVar[Mapping[str, str]] = {
        "PENDING": "queued",
        "SUSPENDED": "queued",
        "RUNNING": "in_progress",
        "SUCCEEDED": "completed",
        "FAILED": "failed",
        "CANCELED": "failed",
    }
    cancels_running: ClassVar[bool] = False


async def test_what_models_promise_is_taken() -> None:
    """Each size and duration of each model, with the pictures that it needs, passes the simulator's closed rules."""
    async with SimulatorServer(DashScopeSimulator(keys={KEY})) as sim, opened(sim) as channel:
        taken = 0
        for name, model in channel.models.items():
            if "edit" in name:
                continue
            pictures: list[dict[str, Any]] = [{"images": (PICTURE,)}] if model.image else [{}]
            if model.last_frame:
                pictures = [{"images": (PICTURE,), "last_frame": OTHER}, *([] if "kf2v" in name else pictures)]
            if model.image and model.max_images is None:
                pictures += [{"images": (PICTURE, OTHER)}]
            shapes = [settle(None, size, model, "strict").size for size in model.sizes]
            orders = [{"size": size, "seconds": default_seconds(model)} for size in shapes]
            orders += [{"size": shapes[0], "seconds": seconds} for seconds in model.seconds]
            wishes = {"seed": 7, "negative_prompt": "rain", "audio": model.audio}
            for given in pictures:
                for order in orders:
                    wanted = request(**{"model": name, "prompt": "a kite", **wishes, **given, **order})
                    channel.check(wanted)
                    await channel.create(wanted)
                    taken += 1
    assert sim.paid == taken


async def test_pictures_of_any_size_are_taken() -> None:
    """A photograph and a thumbnail are brought between the bounds that DashScope has for the sides of a picture."""
    async with SimulatorServer(DashScopeSimulator(keys={KEY})) as sim, opened(sim) as channel:
        for width, height in ((2400, 1800), (120, 90)):
            picture = Picture(picture_file(width, height), "image/png", width, height)
            with pytest.raises(InvalidRequest):
                await channel.create(request(model="wan2.6-i2v", images=(picture,)))
            picture = await formed(picture, channel.picture_form)
            await channel.create(request(model="wan2.6-i2v", images=(picture,)))
    assert sim.paid == 2


async def test_a_chain_of_follow_ups_is_taken(tmp_path: Path) -> None:
    """The simulator takes a remix of a result, an extension of another, and an edit of a client's file."""
    async with SimulatorServer(DashScopeSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.automatic = False
        job = await channel.create(request(prompt="a kite"))
        sim.finish(job.id)
        source = await channel.fetch(job)
        longer = await channel.extend(request(kind="extend", prompt="and on", seconds=10), source)
        assert sim.latest.facts["seconds"] == 15
        sim.finish(longer.id)
        with pytest.raises(InvalidRequest, match="at most 15") as caught:
            await channel.extend(request(kind="extend", seconds=1), await channel.fetch(longer))
        assert caught.value.param == "seconds"
        await channel.remix(request(kind="remix", prompt="at night"), source)
        film = tmp_path / "clip.mp4"
        await asyncio.to_thread(film.write_bytes, sim.video_bytes)
        await channel.edit(request(kind="edit", prompt="in snow", video=Clip(film)), None)
        with pytest.raises(UnsupportedOperation):
            await channel.extend(request(kind="extend", video=Clip(film)), None)
        sim.expire(source.id)
        stale = await failure_of(channel.remix(request(kind="remix"), replace(source, url_expires_at=1)))
        assert (type(stale), stale.outcome) == (UpstreamGone, Outcome.REFUSED)
    assert [len(sim.calls(kind)) for kind in ("create", "extend", "edit")] == [1, 1, 2]
    assert sim.paid == 4


async def test_a_task_that_vanishes() -> None:
    """A task that is UNKNOWN is gone, whether it runs or is finished: the core believes it when it goes on and on."""
    async with SimulatorServer(DashScopeSimulator(keys={KEY})) as sim, opened(sim) as channel:
        sim.automatic = False
        job = await channel.create(request())
        sim.advance(job.id)
        job = await channel.fetch(job)
        sim.put(job.id, "UNKNOWN")
        with pytest.raises(UpstreamGone):
            await channel.fetch(job)
        sim.finish(job.id)
        done = await channel.fetch(job)
        assert (done.status, done.facts) == ("completed", {"seconds": 5})
        sim.expire(job.id)
        with pytest.raises(UpstreamGone):
            await channel.fetch(done)
        async with channel.upstream.open(await channel.content(done, "video")) as response:
            assert response.status == 403
