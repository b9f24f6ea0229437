"""Polls of very many videos: who waits for whom, and what it costs the store."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.engine import polling, states
from proxy.engine.clocks import TICK, Clock
from proxy.errors import UpstreamError, UpstreamGone
from proxy.models import UpstreamJob
from tests.engine.poll_world import World, goes_on

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
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(answer)
        return await answer

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


# Most answers say little: beside them, ones that say everything at once would hide what each part does.
short = st.builds(
    UpstreamJob, id=st.just("job"), status=st.sampled_from(["queued", "in_progress"]), progress=st.integers(0, 2)
)


@settings(max_examples=400)
@given(
    known=short | jobs.filter(lambda job: job.status in ("queued", "in_progress")),
    told=st.lists(short | jobs, max_size=6),
)
def test_what_is_news(known: UpstreamJob, told: list[UpstreamJob]) -> None:
    """An answer is news exactly when it changes what clients see or what later calls to the plugin need."""
    world = World()
    video = states.polled(replace(world.video("a"), status="queued"), known, now=1.0)
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


async def test_what_is_forgotten_in_the_middle_of_a_poll_stays_forgotten(world: World) -> None:
    """Neither a bad answer that comes after it, nor a write that was under way, brings a video back or fails it."""
    word = asyncio.get_running_loop().create_future()

    async def breaks(job: UpstreamJob) -> object:
        if len(world.polls[job.id]) == polling.GONE_TIMES:
            return await word
        raise UpstreamError("HTML")

    world.channel("a", breaks, poll_every=1.0, poll_timeout=1.0)
    video = world.running("a", after=0.0)
    await world.advance(30.0)
    assert world.under_way["a"] == 1
    world.poller.forget(video.id)
    word.set_exception(UpstreamError("HTML"))
    await world.advance(100.0)
    assert world.writes == []

    async def rises(job: UpstreamJob) -> object:
        return UpstreamJob(id=job.id, status="in_progress", progress=50)

    world.channel("b", rises, poll_every=1.0)
    world.listeners.append(lambda before, after: world.poller.forget(after.id))
    other = world.running("b", after=0.0)
    await world.advance(100.0)
    assert len(world.polls[other.id]) == len(world.writes) == 1


async def test_a_video_has_one_clock(world: World) -> None:
    """However often it is added, it is polled at its pace."""
    world.channel("a", goes_on, poll_every=5.0)
    video = world.running("a", after=1.0)
    for _ in range(3):
        world.poller.add(video, after=1.0)
    await world.advance(3.0)
    assert len(world.poller) == len(world.polls[video.id]) == 1


async def test_the_poller_wakes_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sleeps while there is nothing to do, and what is added, or waits for a place that gets free, wakes it."""
    monkeypatch.setattr(polling, "LOOK_AGAIN", 3600.0)
    monkeypatch.setattr(polling, "AT_ONCE", 1)
    word = asyncio.get_running_loop().create_future()

    async def waits(job: UpstreamJob) -> object:
        return await word

    world.channel("a", waits, poll_every=3600.0)
    world.poller._now = time.monotonic
    world.spawn(world.poller.run(), "poller")
    async with asyncio.timeout(10):
        while world.poller._asleep_until < 0:
            await asyncio.sleep(0)
        videos = [world.running("a", after=0.0) for _ in range(2)]
        while not world.polls[videos[0].id]:
            await asyncio.sleep(0)
        while world.poller._asleep_until < 0:
            await asyncio.sleep(0)
        assert world.polls[videos[1].id] == []
        word.set_result(UpstreamJob(id="x", status="completed"))
        while not world.polls[videos[1].id]:
            await asyncio.sleep(0)


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
