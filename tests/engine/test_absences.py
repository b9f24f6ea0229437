"""The time in which a channel was away from the file."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import absences
from proxy.store import Store, StoreBusy
from tests.engine.poll_world import World, goes_on
from tests.store.facts import fact


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.stop()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "reelgate.db")
    yield store
    await store.close()


async def test_the_time_without_its_channel_does_not_count(store: Store) -> None:
    """A channel leaves the file, the process restarts twice, the channel returns: its videos have the time left that
    they had, one that began meanwhile all of its own, and none is asked for in between."""
    world = World(store)
    live = world.channel("a", goes_on, poll_every=1.0, poll_timeout=100.0)
    old = world.running("a", after=1.0)
    await world.noted()
    await world.advance(60.0)
    asked = len(world.polls[old.id])
    del world.lives["a"]
    await world.advance(2.0)
    await world.noted()
    await world.advance(1000.0)
    await world.stop()
    for _ in range(2):
        before, world = world, World(store, time=world.time + 500.0)
        world.videos = before.videos
        world.poller.add(world.videos[old.id], after=1.0)
        await world.noted()
        await world.advance(300.0)
        assert world.polls[old.id] == []
    young = world.running("a", after=1.0)
    await world.advance(90.0)
    world.channel("a", goes_on, poll_every=1.0, poll_timeout=100.0)
    await world.advance(2.0)
    await world.noted()
    await world.advance(30.0)
    assert asked > 5
    assert world.polls[old.id]
    assert [world.videos[video.id].stage for video in (old, young)] == ["running", "running"]
    assert max(late for _, _, late in world.told) <= 2.0
    await world.advance(15.0)
    assert world.videos[old.id].error_code == "poll_timeout"
    assert world.videos[young.id].stage == "running"
    await world.advance(60.0)
    assert world.videos[young.id].error_code == "poll_timeout"
    assert live.entry.poll_timeout == 100.0
    await world.stop()


async def test_nobody_is_out_of_time_before_the_absences_are_known(world: World) -> None:
    """A store that cannot be written for a moment delays the verdict, not the polls."""
    busy = 3

    async def write(operation: object) -> list[object]:
        nonlocal busy
        busy -= 1
        if busy >= 0:
            raise StoreBusy("the disk is full", retry_after=5)
        return []

    world.store = SimpleNamespace(write=write)
    world.channel("a", goes_on, poll_every=0.5, poll_timeout=100.0)
    video = world.running("a", after=0.0, age=500.0)
    world.poller.watch(video)
    await world.advance(1.8)
    assert len(world.polls[video.id]) >= 2
    assert world.videos[video.id].stage == "running"
    await world.advance(5.0)
    assert world.videos[video.id].error_code == "poll_timeout"


async def test_a_channel_without_running_videos_may_leave_unnoted(store: Store) -> None:
    """Only an absence that somebody waits for is written down."""
    world = World(store)
    world.channel("a", goes_on)
    video = world.running("a")
    await world.noted()
    world.poller.forget(video.id)
    del world.lives["a"]
    await world.advance(5.0)
    await world.noted()
    assert await fact(store, "absent:a") is None
    await world.stop()


async def test_an_absence_that_ended_while_nothing_ran(store: Store) -> None:
    """A channel that is back at the start is away no longer from then on, also where nothing had noted its return."""
    assert await absences.note(store, "a", absent=True, now=100.0) == [(100.0, None)]
    world = World(store)
    world.channel("a", goes_on)
    world.running("a")
    await world.noted()
    stored = await absences.note(store, "a", absent=False, now=world.clock() + 99)
    assert stored == [(100.0, world.clock())]
    await world.stop()


async def test_noting_twice_changes_nothing(store: Store) -> None:
    """Two processes, or one that is not sure, may both note: the first word holds; channels do not mix; a clock that
    stepped back ends no absence before it began."""
    assert await absences.note(store, "a", absent=False, now=1.0) == []
    assert await absences.note(store, "a", absent=True, now=2.0) == [(2.0, None)]
    assert await absences.note(store, "a", absent=True, now=9.0) == [(2.0, None)]
    assert await absences.note(store, "b", absent=False, now=9.0) == []
    assert await absences.note(store, "a", absent=False, now=1.0) == [(2.0, 2.0)]
    assert await absences.note(store, "a", absent=False, now=9.0) == [(2.0, 2.0)]
    assert await absences.note(store, "a", absent=True, now=20.0) == [(2.0, 2.0), (20.0, None)]
    for number in range(3 * absences.MOST):
        await absences.note(store, "a", absent=bool(number % 2), now=30.0 + number)
    kept = await absences.note(store, "a", absent=True, now=1000.0)
    assert len(kept) == absences.MOST
    assert kept[-1] == (30.0 + 3 * absences.MOST - 1, None)
    late = 30.0 + absences.KEPT * 2
    await absences.note(store, "a", absent=False, now=400.0)
    assert await absences.note(store, "a", absent=True, now=late) == [(late, None)]


@given(st.lists(st.integers(0, 100), max_size=8, unique=True).map(sorted), st.integers(0, 100), st.integers(0, 100))
def test_the_part_of_the_time_that_a_channel_was_away(edges: list[int], since: int, length: int) -> None:
    """It is counted second by second."""
    # One edge more or less: the last span is open or not.
    starts = list(map(float, edges))
    ends = [*starts, None][1:]
    spans: list[absences.Span] = [*zip(starts, ends, strict=True)][::2]
    now = since + length
    seconds = [
        second
        for second in range(since, now)
        if any(start <= second and (end is None or second < end) for start, end in spans)
    ]
    assert absences.within(spans, since, now) == len(seconds)
