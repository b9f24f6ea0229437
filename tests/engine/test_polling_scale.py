"""Polls of very many videos: who is asked when, who waits for whom, and what it costs the store."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import absences, paces, polling, states
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


# ---------------------------------------------------------------- who waits for whom


async def test_one_channel_that_hangs_and_one_that_breaks_delay_no_other(world: World) -> None:
    """Of 3000 running jobs on 30 channels, with one that hangs and one that errors, no other poll is late by more than
    two intervals, and every job of theirs is asked for at its pace."""

    async def slow(job: UpstreamJob) -> object:
        await world.sleep(0.3)
        return await goes_on(job)

    async def hangs(job: UpstreamJob) -> object:
        return await asyncio.get_running_loop().create_future()

    async def breaks(job: UpstreamJob) -> object:
        raise UpstreamError("HTML")

    for number in range(30):
        world.channel(f"c{number}", {0: hangs, 1: breaks}.get(number, slow))
    jobs = {f"c{number}": [world.running(f"c{number}") for _ in range(100)] for number in range(30)}
    await world.advance(60.0)
    late = [seconds for channel, _, seconds in world.told if channel not in ("c0", "c1")]
    assert max(late) <= 2 * 5.0
    for channel, videos in jobs.items():
        if channel not in ("c0", "c1"):
            assert min(len(world.polls[video.id]) for video in videos) >= 60 / (5.0 * 1.1 + 0.3) - 1
    assert world.under_way["c0"] == world.most_under_way["c0"] == polling.AT_ONCE
    assert {outcome for channel, outcome, _ in world.told if channel == "c1"} == {"missed"}


async def test_a_channel_with_very_many_videos_delays_no_other(world: World) -> None:
    """Channels take turns: one with 20,000 due polls lets one with ten have theirs at once."""
    for name in ("large", "small"):
        world.channel(name, goes_on, poll_every=60.0)
    for _ in range(20_000):
        world.running("large", after=1.0)
    few = [world.running("small", after=1.5) for _ in range(10)]
    await world.advance(2.0)
    assert all(world.polls[video.id] for video in few)
    assert max(seconds for channel, _, seconds in world.told if channel == "small") <= 0.1
    assert max(seconds for channel, _, seconds in world.told if channel == "large") > 0.1


async def test_a_stall_is_followed_by_a_stream(world: World) -> None:
    """Whatever became due at once: no turn of the loop starts more than `BURST` polls, no second more than the rate,
    and none is left out."""
    count = int(polling.MOST_A_SECOND) * 2
    for number in range(40):
        world.channel(f"c{number}", goes_on, poll_every=60.0)
    videos = [world.running(f"c{number % 40}", after=1.0) for number in range(count)]
    await world.advance(3.2)
    starts = sorted(time for video in videos for time in world.polls[video.id])
    assert len(starts) == count
    assert max(Counter(starts).values()) <= polling.BURST
    assert starts[-1] - starts[0] >= count / polling.MOST_A_SECOND - 0.1


async def test_who_is_watched_goes_first_and_starves_nobody(world: World) -> None:
    """Among thousands that wait for their turn, a watched one need not, and the others go on beside many watched."""
    world.channel("a", goes_on, poll_every=60.0)
    many = [world.running("a", after=1.0) for _ in range(6000)]
    world.poller.watch(many[-1])
    await world.advance(1.1)
    assert world.polls[many[-1].id]
    waits = [video for video in many if not world.polls[video.id]]
    world.poller.watch(waits[-1])
    await world.advance(0.1)
    assert world.polls[waits[-1].id]
    # All but 500 are watched, and still those have half of the polls.
    waits = [video for video in waits if not world.polls[video.id]]
    for video in waits[500:]:
        world.poller.watch(video)
    await world.advance(0.5)
    assert sum(len(world.polls[video.id]) for video in waits[:500]) >= 400
    await world.advance(3.0)
    assert {len(world.polls[video.id]) for video in many} == {1}


async def test_a_place_that_a_hanging_poll_holds_is_free_again(world: World) -> None:
    """A `fetch` that never returns, not even when it is cancelled, is a missed poll after the channel's total timeout:
    others get its place, its video is asked for again, and what it answers after all is not looked at."""
    stubborn: list[asyncio.Future[UpstreamJob]] = []

    async def hangs_at_first(job: UpstreamJob) -> object:
        if len(stubborn) >= polling.AT_ONCE:
            return await goes_on(job)
        answer = asyncio.get_running_loop().create_future()
        stubborn.append(answer)
        while not answer.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(answer)
        return answer.result()

    world.channel("a", hangs_at_first, poll_every=20.0)
    videos = [world.running("a", after=0.0) for _ in range(polling.AT_ONCE + 10)]
    await world.advance(300.0)
    assert world.told == []
    await world.advance(50.0)
    assert Counter(outcome for _, outcome, _ in world.told if outcome == "missed") == {"missed": polling.AT_ONCE}
    assert min(len(world.polls[video.id]) for video in videos[: polling.AT_ONCE]) >= 2
    assert min(len(world.polls[video.id]) for video in videos[polling.AT_ONCE :]) >= 1
    told = len(world.told)
    for answer in stubborn:
        answer.set_result(UpstreamJob(id="late", status="completed"))
    await world.quiet()
    assert len(world.told) == told
    assert world.writes == []


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
    video = world.running("a", age=age, after=0.0, advice=advice)
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
    assert world.poller.pace(video) == pytest.approx(max(pace, TICK))


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


# ---------------------------------------------------------------- what a poll changes


jobs = st.builds(
    UpstreamJob,
    id=st.sampled_from(["job", "other"]),
    status=st.sampled_from(["queued", "in_progress", "completed", "failed"]),
    progress=st.one_of(st.none(), st.integers(-5, 120), st.floats(0, 3)),
    url=st.sampled_from([None, "", "https://x.example/1", "https://x.example/2"]),
    error=st.sampled_from([None, "broken"]),
    expires_at=st.one_of(st.none(), st.integers(0, 3)),
    facts=st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), max_size=2),
    poll_after=st.sampled_from([None, 2.0]),
)


@given(known=jobs.filter(lambda job: job.status in ("queued", "in_progress")), told=st.lists(jobs, max_size=6))
def test_what_is_news(known: UpstreamJob, told: list[UpstreamJob]) -> None:
    """An answer is news exactly when it changes what clients see or what later calls to the plugin need."""
    world = World()
    video = states.polled(world.video("a"), known, now=1.0)
    assert video.job is not None
    clock = Clock.of(video, video.job, "a")
    for job in told:
        after = states.polled(video, job, now=2.0)
        assert after.job is not None
        seen = [(v.stage, v.status, v.progress, v.job.id, v.job.url or None) for v in (video, after) if v.job]
        kept = [(v.job.expires_at or None, v.job.facts) for v in (video, after) if v.job]
        assert clock.is_news(job) == (seen[0] != seen[1] or kept[0] != kept[1])
        if after.stage != "running":
            return
        if clock.is_news(job):
            clock.keep(after)
            video = after
        assert (clock.status, clock.progress) == (after.status, after.progress)


async def test_an_answer_without_news_is_not_written(world: World) -> None:
    """Hundreds of the same answers, or of ones that only fall back, are no write; one percent more is one."""
    answers = iter(
        [UpstreamJob(id="up", status="in_progress", progress=40)]
        + [UpstreamJob(id="up", status="queued", progress=number % 40, poll_after=0.5) for number in range(200)]
        + [UpstreamJob(id="up", status="in_progress", progress=41)] * 200
    )

    async def lies(job: UpstreamJob) -> object:
        return next(answers)

    world.channel("a", lies, poll_every=1.0)
    video = world.running("a", after=0.0)
    for _ in range(300):
        world.poller.watch(video)
        await world.advance(1.0)
    assert len(world.polls[video.id]) + len(world.polls["up"]) >= 250
    assert world.writes == [video.id] * 2
    assert world.videos[video.id].progress == 41


async def test_each_poll_is_told(world: World) -> None:
    """A poll is told once, with its channel, what came of it and how late it began."""
    answers = iter([UpstreamError("HTML"), UpstreamGone("404"), None, UpstreamJob(id="x", status="completed")])

    async def varies(job: UpstreamJob) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer or await goes_on(job)

    world.channel("a", varies, poll_every=1.0)
    video = world.running("a", after=0.0)
    await world.advance(0.5)
    world.time += 40.0
    await world.advance(20.0)
    assert [(channel, outcome) for channel, outcome, _ in world.told] == [
        ("a", "missed"),
        ("a", "gone"),
        ("a", "answered"),
        ("a", "ended"),
    ]
    assert 39.0 <= world.told[1][2] <= 41.0
    assert len(world.poller) == 0
    assert world.poller.usual.of("a", "m") == pytest.approx(world.time - 1000.0, abs=20)
    assert world.videos[video.id].status == "completed"


async def test_who_is_changed_elsewhere_is_polled_no_more(world: World) -> None:
    """A video that its owner deleted, or that is forgotten here, is asked for no more; the answer to a poll that is
    under way changes nothing."""
    word = asyncio.get_running_loop().create_future()

    async def waits(job: UpstreamJob) -> object:
        return await word

    world.channel("a", waits, poll_every=1.0)
    deleted, forgotten = world.running("a", after=0.0), world.running("a", after=0.0)
    later = world.running("a", after=30.0)
    await world.advance(0.1)
    assert world.under_way["a"] == 2
    world.put(states.deleted(world.videos[deleted.id], now=world.clock()))
    for video in (forgotten, later):
        world.poller.forget(video.id)
        world.poller.forget(video.id)
    assert len(world.poller) == 0
    word.set_result(UpstreamJob(id="x", status="completed"))
    await world.advance(100.0)
    assert [len(world.polls[video.id]) for video in (deleted, forgotten, later)] == [1, 1, 0]
    assert world.writes == []
    assert world.videos[forgotten.id].stage == "running"


async def test_a_process_that_may_not_polls_nothing(world: World) -> None:
    """Without its lease a process starts no poll, looks again soon, and goes on when it has it."""
    world.channel("a", goes_on, poll_every=1.0)
    video = world.running("a", after=0.0)
    world.poller.may_poll = lambda: False
    await world.advance(30.0)
    assert world.polls[video.id] == []
    assert world.poller.turn() <= 1.0
    world.poller.may_poll = lambda: True
    await world.advance(2.0)
    assert world.polls[video.id]


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


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "reelgate.db")
    yield store
    await store.close()


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
