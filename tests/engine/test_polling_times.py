"""When each video is asked for, and when its polls end it, in a time that the tests move."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import paces, polling
from proxy.engine.clocks import TICK, Clock, Wheel
from proxy.errors import Throttled, UpstreamError, UpstreamGone
from proxy.models import UpstreamJob
from proxy.store import Store
from tests.engine.poll_world import World, gaps, goes_on

SLACK = 2 * TICK
"""A poll begins in the step of the wheel after its time, and the poller looks once in a step."""


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


# ---------------------------------------------------------------- when each is asked for


@given(
    age=st.floats(0, 10**6),
    bound=st.one_of(st.none(), st.floats(0.05, 4000)),
    advice=st.one_of(st.none(), st.floats(-10, 10**9)),
    watched=st.booleans(),
)
async def test_intervals(age: float, bound: float | None, advice: float | None, watched: bool) -> None:
    """Never sooner than the entry says or, where it says nothing, the channel advises; a watched one then, another
    one later by at most a twentieth of its age and a minute, chance adding a tenth."""
    world = World()

    async def advises(job: UpstreamJob) -> object:
        return UpstreamJob(id=job.id, status="in_progress", poll_after=advice)

    world.channel("a", advises, poll_every=bound, poll_timeout=10**7)
    video = world.running("a", age=age, after=0.0)
    if watched:
        world.poller.watch(video)
    world.poller.turn()
    await world.quiet()
    world.time += TICK
    world.poller.turn()
    await world.quiet()
    assert len(world.polls[video.id]) == 1
    clock = world.poller._clocks[video.id]
    wait = clock.tick * TICK - world.time
    general = 3.0 if bound is None else bound
    pace = general if advice is None else max(min(advice, paces.ADVICE_MOST), bound or TICK)
    slowest = pace if watched else max(pace, min(age / 20, 60.0))
    assert slowest - 1e-6 <= wait <= slowest * 1.1 + SLACK + 0.01
    assert world.poller.pace(world.video("a", advice=advice)) == pytest.approx(max(pace, TICK))


async def test_a_poll_is_not_put_off_beyond_the_end_of_the_time(world: World) -> None:
    """However slowly an old video is asked for, it is asked for when its time is up."""
    world.channel("a", goes_on, poll_every=1.0, poll_timeout=3600.0)
    video = world.running("a", age=3590.0, after=0.0)
    await world.advance(0.1)
    clock = world.poller._clocks[video.id]
    assert clock.tick * TICK - world.time <= 10.0 * 1.1 + SLACK


async def test_watching_brings_the_next_poll_near(world: World) -> None:
    """A video that somebody starts to ask for is polled within its channel's pace, for as long as they ask."""
    world.channel("a", goes_on, poll_every=2.0)
    video = world.running("a", age=7200.0, after=50.0)
    world.poller.watch(video)
    for _ in range(20):
        await world.advance(1.0)
        world.poller.watch(video)
    seen = world.polls[video.id]
    assert len(seen) >= 8
    assert max(gaps(seen)) <= 2.0 * 1.1 + 2 * SLACK
    await world.advance(200.0)
    assert max(gaps(seen)) > 50.0


async def test_watching_over_and_over_costs_nothing(world: World) -> None:
    """Only the first look of somebody puts a clock anew; a thousand more leave the wheel as it is."""
    world.channel("a", goes_on)
    video = world.running("a", age=7200.0, after=50.0)
    world.poller.watch(video)
    steps = {tick: len(clocks) for tick, clocks in world.poller._wheel._steps.items()}
    for _ in range(1000):
        world.poller.watch(video)
    assert {tick: len(clocks) for tick, clocks in world.poller._wheel._steps.items()} == steps
    assert sum(steps.values()) == 2


async def test_what_began_together_does_not_stay_together(world: World) -> None:
    """Chance adds to each interval, so that videos that were polled in one moment are not polled in one again."""
    world.channel("a", goes_on, poll_every=10.0)
    videos = [world.running("a", after=0.0) for _ in range(30)]
    await world.advance(15.0)
    first, second = zip(*(world.polls[video.id] for video in videos), strict=True)
    assert max(first) - min(first) <= SLACK
    assert max(second) - min(second) >= 0.3


async def test_errors_back_off(world: World) -> None:
    """While the polls of a video fail, each waits twice as long as the one before, at most a minute, never less than
    the pace, also while it is watched; one answer, and it is polled at its pace again."""
    bad = True

    async def breaks(job: UpstreamJob) -> object:
        if bad:
            raise UpstreamError("HTML")
        return await goes_on(job)

    world.channel("a", breaks, poll_every=2.0)
    video = world.running("a", after=0.0)
    for _ in range(300):
        await world.advance(1.0)
        world.poller.watch(video)
    waits = gaps(world.polls[video.id])
    for wait, wanted in zip(waits, (2, 4, 8, 16, 32, 60, 60), strict=False):
        assert wanted <= wait <= wanted * 1.1 + SLACK
    late = world.running("a", after=0.0)
    await world.advance(40.0)
    asked = len(world.polls[late.id])
    world.poller.watch(late)
    await world.advance(5.0)
    assert len(world.polls[late.id]) == asked
    bad = False
    for _ in range(80):
        await world.advance(1.0)
        world.poller.watch(video)
    assert gaps(world.polls[video.id])[-1] <= 2.0 * 1.1 + 2 * SLACK
    # The next error is the first again.
    bad = True
    asked = len(world.polls[video.id])
    await world.advance(8.0)
    assert len(world.polls[video.id]) >= asked + 2


async def test_a_slow_channel_is_not_hurried_by_errors(world: World) -> None:
    """A pace above the longest wait after an error stays the lower bound, and so does an upstream's Retry-After."""

    async def breaks(job: UpstreamJob) -> object:
        raise Throttled("busy", retry_after=200.0) if job.id == throttled.id else UpstreamError("HTML")

    world.channel("a", breaks, poll_every=100.0)
    throttled, broken = world.running("a", after=0.0), world.running("a", after=0.0)
    await world.advance(1000.0)
    assert min(gaps(world.polls[throttled.id])) >= 200.0
    assert min(gaps(world.polls[broken.id])) >= 100.0


def test_the_first_polls_after_a_start_are_spread() -> None:
    """In proportion to their number: a few at once, very many at no more than half of the rate."""
    assert polling.spread(0) == 0
    assert polling.spread(10) < 0.1
    assert 100_000 / polling.spread(100_000) <= polling.MOST_A_SECOND / 2


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 10)), max_size=40))
def test_the_wheel(puts: list[tuple[int, float]]) -> None:
    """Each clock comes out once, at its last place, not before it is due and in the step after at the latest."""
    wheel = Wheel()
    job = UpstreamJob(id="x")
    clocks = [
        Clock(video_id=f"{n}", channel="a", job=job, status="queued", progress=0, began=0.0, advice=None)
        for n in range(6)
    ]
    due: dict[str, float] = {}
    for number, seconds in puts:
        wheel.put(clocks[number], seconds)
        due[f"{number}"] = seconds
    out: dict[str, float] = {}
    now = 0.0
    for _ in range(1100):
        for clock in wheel.take(now):
            assert clock.video_id not in out
            clock.state = "asked"
            out[clock.video_id] = now
        now += TICK
    assert out.keys() == due.keys()
    assert all(due[name] <= out[name] <= due[name] + SLACK for name in due)
    assert wheel.next() == float("inf")


# ---------------------------------------------------------------- when polls end a video


async def test_gone_counts_after_five_in_a_row_over_half_a_minute(world: World) -> None:
    """Fewer 404s, or as many in a shorter time, or with another answer in between, end nothing."""
    answers: list[Any] = []

    async def scripted(job: UpstreamJob) -> object:
        answer = answers.pop(0) if answers else UpstreamGone("404")
        if isinstance(answer, Exception):
            raise answer
        return answer

    world.channel("a", scripted, poll_every=0.5)
    # Five are there after 7.5 s, and the first after half a minute is the seventh.
    quick = world.running("a", after=0.0)
    await world.advance(29.0)
    assert len(world.polls[quick.id]) >= 5
    assert world.videos[quick.id].stage == "running"
    await world.advance(40.0)
    assert world.videos[quick.id].error_code == "upstream_failed"
    # Four over more than half a minute, then another word, then the count begins anew.
    world.channel("b", scripted, poll_every=20.0)
    for between in (UpstreamError("500"), UpstreamJob(id="up", status="in_progress")):
        answers += [UpstreamGone("404")] * 4 + [between]
    answers += [UpstreamGone("404")] * 4
    slow = world.running("b", after=0.0)
    while answers:
        await world.advance(1.0)
    assert world.videos[slow.id].stage == "running"
    await world.advance(70.0)
    assert world.videos[slow.id].error_code == "upstream_failed"


async def test_out_of_time_only_when_asked_again(store: Store) -> None:
    """Past `poll_timeout` a video that its upstream says is done is done, one that it says goes on fails, and one that
    it says nothing of fails only when it keeps saying nothing."""
    world = World(store)
    misses: dict[str, int] = {}

    async def answers(job: UpstreamJob) -> object:
        if job.id in done:
            return UpstreamJob(id=job.id, status="completed")
        if misses.get(job.id, 0) > 0:
            misses[job.id] -= 1
            raise UpstreamError("HTML")
        return UpstreamJob(id=job.id, status="completed" if job.id in misses else "in_progress")

    world.channel("a", answers, poll_every=1.0, poll_timeout=100.0)
    done = {world.running("a", after=1.0, age=5000.0).id}
    pending = world.running("a", after=1.0, age=5000.0).id
    young = world.running("a", after=1.0, age=50.0).id
    flickers, silent = (world.running("a", after=1.0, age=5000.0).id for _ in range(2))
    misses.update({flickers: 4, silent: 1000})
    await world.noted()
    await world.advance(40.0)
    assert world.videos[done.pop()].status == world.videos[flickers].status == "completed"
    assert world.videos[pending].error_code == world.videos[silent].error_code == "poll_timeout"
    assert len(world.polls[pending]) == 1
    assert world.videos[young].stage == "running"
    await world.advance(20.0)
    assert world.videos[young].error_code == "poll_timeout"
    await world.stop()
