"""Leases of processes that were paused, and clocks that were set."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from proxy.app import WIRING
from proxy.engine.leases import Leases
from proxy.models import UpstreamJob
from proxy.store import LeaseLost
from tests.conftest import Launch, Product
from tests.engine.conftest import LASTS, Start

PLUGINS = (Path(__file__).parent / "plugins",)
ONE = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01}]"


async def test_a_paused_process_is_taken_over_and_ends(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """One that lives but does not renew loses its videos after its lease and half of one more; it starts nothing when
    it wakes, writes nothing to videos, and knows that it must end."""
    one, two = await start(), await start()
    video = await one.accept()
    for _ in range(14):
        two.later(1.0)
        await two.turn()
        assert two.taken == []
    two.later(1.0)
    await two.turn()
    assert two.taken == [video.id]
    adopted = await two.change(video, progress=30)

    one.later(16.0)
    assert not one.leases.current()
    assert not one.leases.leads()
    assert one.store.cached(video.id) is None
    with pytest.raises(LeaseLost):
        await one.change(adopted, progress=99)
    with pytest.raises(LeaseLost):
        await one.accept()
    assert not one.leases.lost.is_set()
    await one.turn()
    assert one.leases.lost.is_set()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "another process took this one for dead and goes on with its videos: this one ends now"
    ]
    await one.leases.leave()
    assert await two.store.video(video.id) == adopted
    assert two.leases.held == {1, 2}
    await two.turn()
    assert not two.leases.lost.is_set()


async def test_a_pause_that_nobody_noticed_does_no_harm(start: Start) -> None:
    """Where nobody took over meanwhile it does nothing until it has renewed, and goes on then."""
    one = await start()
    video = await one.accept()
    one.later(3 * LASTS)
    assert not one.leases.current()
    await one.turn()
    assert one.leases.current()
    assert (await one.change(video, progress=9)).progress == 9


async def test_a_take_over_that_came_too_late_takes_nothing(start: Start) -> None:
    """A process that renews between another one's look and its take-over keeps its videos."""
    one, two = await start(), await start()
    await one.accept()
    for _ in range(16):
        two.later(1.0)
        await two.leases._turn()
    two.leases._expired = dict.fromkeys(two.leases._others, two.awake - LASTS)
    one.later(16.0)
    await one.turn()
    await two.leases._take_over()
    assert two.taken == []
    await one.turn()
    assert not one.leases.lost.is_set()


@pytest.mark.parametrize("awake", [True, False], ids=["paused", "suspended"])
@pytest.mark.parametrize("first", [0, 1])
async def test_processes_that_wake_together_leave_each_other_alone(start: Start, awake: bool, first: int) -> None:
    """After all of them were paused, or the machine slept, nobody is taken for dead, whoever looks first."""
    both = [await start(), await start()]
    for process in both:
        await process.accept()
        await process.turn()
        process.later(100_000.0, awake=awake)
    for _ in range(40):
        for process in (both[first], both[1 - first]):
            await process.turn()
            process.later(0.25)
    assert [process.leases.lost.is_set() for process in both] == [False, False]
    assert [process.taken for process in both] == [[], []]


async def test_two_that_take_each_other_for_dead_do_not_both_lose(start: Start) -> None:
    """Who has lost its own rows takes none of another."""
    both = [await start(), await start()]
    for process in both:
        await process.accept()
        await process.turn()
        process.later(100_000.0)
        await process.leases._look_around()
        process.leases._expired = dict.fromkeys(process.leases._others, 0.0)
    await asyncio.gather(*(process.leases._take_over() for process in both))
    for process in both:
        await process.leases._turn()
    assert sorted(process.leases.lost.is_set() for process in both) == [False, True]


async def test_a_clock_that_was_set_back_keeps_no_dead_process_alive(start: Start) -> None:
    """A kill is seen by the lock, whatever the time in the row says."""
    one, two = await start(), await start()
    video = await one.accept()
    await one.die()
    two.wall -= 1_000_000.0
    await two.turn()
    assert two.taken == [video.id]


async def test_without_the_lock_file_only_the_time_tells(start: Start) -> None:
    """A process whose file somebody removed is believed until its lease is over, and not longer."""
    one, two = await start(), await start()
    video = await one.accept()
    one.leases._lock.path.unlink()
    await one.die()
    two.later(LASTS - 0.5)
    await two.turn()
    assert two.taken == []
    two.later(0.5)
    await two.turn()
    assert two.taken == [video.id]


async def test_who_leads(start: Start) -> None:
    """The lowest row that lives leads: exactly one process, and another one when that one does not renew or is gone."""
    one, two, three = await start(), await start(), await start()

    async def leaders() -> list[int]:
        for process in (one, two, three):
            if process.leases._lock._fd is not None:
                await process.turn()
        return [number for number, process in enumerate((one, two, three), 1) if process.leases.leads()]

    assert await leaders() == [1]
    await one.leases.leave()
    assert await leaders() == [2]
    for process in (two, three):
        process.later(LASTS)
    # Three looks first, and two has not renewed.
    await three.turn()
    assert [two.leases.leads(), three.leases.leads()] == [False, True]
    assert await leaders() == [2]


async def out_of_lease(product: Product) -> Leases:
    """The leases of a product, which are over by its own clock and are not renewed."""
    leases = product.server.app[WIRING].leases
    assert leases is not None
    assert leases._keeping is not None
    leases._keeping.cancel()
    await asyncio.wait([leases._keeping])
    leases._now = lambda: time.monotonic() + 1000.0
    return leases


async def test_without_a_lease_nothing_is_sent(launch: Launch) -> None:
    """A process that was paused before it sent what it had recorded sends nothing: the video waits, and is submitted
    once when the lease holds again."""
    product = await launch(ONE, plugins=PLUGINS)
    leases = await out_of_lease(product)
    channel = product.channel("a")
    video = await product.create()
    assert video["status"] == "queued"
    assert channel.asked("create") == []
    leases._now = time.monotonic
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(channel.asked("create")) == 1


async def test_without_a_lease_nothing_is_polled(launch: Launch) -> None:
    """A process that was paused starts no poll until its lease holds again; the video is none the worse for it."""
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 3)
    hanging = asyncio.get_running_loop().create_future()
    channel.then("fetch", hanging)
    video = await product.create()
    while len(channel.asked("fetch")) < 4:
        await asyncio.sleep(0)
    leases = await out_of_lease(product)
    hanging.set_result(UpstreamJob(id="x", status="in_progress", progress=50))
    while (await product.call("GET", f"/v1/videos/{video['id']}"))[1]["progress"] != 50:
        await asyncio.sleep(0)
    poller = product.server.app[WIRING].engine._poller  # type: ignore[union-attr]
    # A turn when the next poll is long due.
    poller._now = lambda: time.monotonic() + 60.0
    poller.turn()
    await asyncio.sleep(0)
    assert len(channel.asked("fetch")) == 4
    leases._now = time.monotonic
    assert (await product.done(video["id"]))["status"] == "completed"
