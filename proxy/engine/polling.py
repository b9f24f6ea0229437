"""Polling: every running video on its own clock, many at once, bounded per channel.

A clock that is due leaves the wheel and waits in the lane of its channel. `Poller.turn` starts polls from the lanes,
the channels by turns, each at most `AT_ONCE` at the same time and all of them at most `MOST_A_SECOND`. So an upstream
that hangs, or one with very many videos, delays no other; and after a stall the polls come back as a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from proxy.channels import LiveChannel
from proxy.engine import absences, paces, states
from proxy.engine.clocks import TICK, Asked, Clock, Lane, Wheel
from proxy.engine.core import Core, log
from proxy.engine.requests import SLACK, fetch
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import Submitter, clean_failure
from proxy.engine.usual import Usual
from proxy.errors import ApiError, Throttled, UpstreamGone, UpstreamTimeout
from proxy.logs import log_context
from proxy.models import JobError, UpstreamJob
from proxy.records import Video
from proxy.store import LeaseLost, StoreBusy

Outcome = Literal["answered", "ended", "missed", "gone"]
"""answered: it goes on; ended: the video is not polled any more; missed: no usable answer; gone: a 404 or 410."""

AT_ONCE: Final = 64
"""Polls of one channel at the same time. At the usual 0.1 to 0.3 s of a poll these are 200 to 600 a second, more than
any provider allows; an upstream that hangs holds no more sockets than these."""
MOST_A_SECOND: Final = 2000.0
"""Polls of all channels together: about half a core when they go over HTTP, the rest is for those who ask us."""
BURST: Final = 32
"""Polls that start in one turn of the loop, so that a request waits for a few milliseconds at most."""
WATCHED_FOR: Final = 30.0
"""Seconds for which a video that somebody asked for is polled at its channel's own pace."""
ERROR_WAIT_MOST = 60.0
"""Seconds between two polls of a video whose polls fail, at most."""
GONE_TIMES: Final = 5
GONE_SECONDS = 30.0
"""A job that the upstream does not know (404, 410) is believed gone after so many answers over so long."""
LOOK_AGAIN: Final = 1.0
"""Seconds between two looks at what nobody tells: channels that left or came back, the lease."""


def spread(count: int) -> float:
    """The seconds over which the first polls of `count` videos are spread after a start: half of what is possible."""
    return 2 * count / MOST_A_SECOND


class Poller:
    """Asks the upstreams how their jobs are.

    `may_poll` says whether this process may start polls now: False where its lease is lost or may be. `told` hears of
    each poll: the channel, what came of it, and by how many seconds it began late. `now` is a clock in seconds that is
    never set back: a wall clock that is must not put a poll off.
    """

    def __init__(self, core: Core, submitter: Submitter, *, now: Callable[[], float] = time.monotonic) -> None:
        self.may_poll: Callable[[], bool] = lambda: True
        self.told: Callable[[str, Outcome, float], None] = lambda channel, outcome, late: None
        self.usual: Final = Usual()
        self._core = core
        self._submitter = submitter
        self._now = now
        self._clocks: dict[str, Clock] = {}
        self._wheel = Wheel()
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        """The lanes in which something waits, the one whose turn it is first."""
        self._allowed = float(BURST)
        self._allowed_at = self._looked_at = now()
        self._asleep_until = -math.inf
        self._woken = asyncio.Event()
        core.listeners.append(self._heard)

    def __len__(self) -> int:
        return len(self._clocks)

    # -- what the engine says ------------------------------------------------------------------------------------------

    def add(self, video: Video, *, after: float | None = None) -> None:
        """Poll a running video, first after `after` seconds (None: after one turn of its channel's pace)."""
        if video.id in self._clocks or video.job is None:
            return
        delay = self.pace(video) if after is None else after
        lane = self._lanes.get(video.channel)
        if lane is None:
            lane = self._lanes[video.channel] = Lane(video.channel)
            # Soon, not within a second: an absence may have begun or ended while no process ran.
            self._looked_at = -math.inf
        lane.size += 1
        clock = self._clocks[video.id] = Clock.of(video, video.job, lane.name)
        self._schedule(clock, delay)

    def forget(self, video_id: str) -> None:
        """Poll a video no more; what a poll that is under way brings is not looked at."""
        clock = self._clocks.get(video_id)
        if clock is not None:
            self._drop(clock)

    def watch(self, video: Video) -> None:
        """Somebody wants to know: poll it at the channel's own pace for a while."""
        clock = self._clocks.get(video.id)
        if clock is None:
            return
        now = self._now()
        watched, clock.watched = clock.watched, now
        if now - watched <= WATCHED_FOR or clock.errors:
            return
        if clock.state == "due":
            self._lanes[clock.channel].put(clock, watched=True)
        elif clock.state == "set" and clock.tick * TICK - now > (pace := self.pace(video)):
            self._schedule(clock, pace)

    def pace(self, video: Video) -> float:
        """Seconds between two polls of a video that is watched."""
        live = self._core.channels.get(video.channel)
        if live is None:
            return paces.DEFAULT
        return paces.pace(live, None if video.job is None else video.job.poll_after)

    async def take_over(self) -> None:
        """Poll what the submitter got taken."""
        while True:
            video = await self._submitter.taken.get()
            try:
                self.add(video)
            except Exception:
                # One plugin's odd facts must not end the polls of all others.
                log.exception("video %s cannot be polled as its channel has it; it is soon", video.id)
                self.add(video, after=LOOK_AGAIN)

    # -- whose turn it is ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Poll what is due, for as long as the engine lives."""
        while True:
            self._woken.clear()
            wait = self.turn() - TICK
            if wait > 0:
                self._asleep_until = self._now() + wait
                # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with the wake-up.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
                self._asleep_until = -math.inf
            # In any case, so that many that become due one by one are looked at together.
            await asyncio.sleep(TICK)

    def turn(self) -> float:
        """Start the polls whose turn it is, and answer the seconds until the next turn at most."""
        if not self.may_poll():
            return LOOK_AGAIN
        now = self._now()
        if now - self._looked_at >= LOOK_AGAIN:
            self._looked_at = now
            self._look_for_absent_channels(now)
            self._look_for_hanging_polls(now)
        for clock in self._wheel.take(now):
            self._queue(clock, now)
        self._allowed = min(self._allowed + (now - self._allowed_at) * MOST_A_SECOND, BURST)
        self._allowed_at = now
        if self._start_polls(now):
            return TICK
        return min(self._wheel.next() - now, LOOK_AGAIN)

    def _queue(self, clock: Clock, now: float) -> None:
        lane = self._lanes[clock.channel]
        lane.put(clock, watched=now - clock.watched <= WATCHED_FOR)
        if not lane.ready:
            lane.ready = True
            self._ready.append(lane)

    def _start_polls(self, now: float) -> bool:
        """Start what waits in the lanes, by turns; True where only their number held some back."""
        passed = 0
        while passed < len(self._ready):
            if self._allowed < 1:
                return True
            lane = self._ready.popleft()
            live = self._core.channels.get(lane.name)
            if live is None or lane.absent or len(lane.asked) >= AT_ONCE:
                self._ready.append(lane)
                passed += 1
                continue
            clock = lane.take()
            if clock is None:
                lane.ready = False
                continue
            self._ready.append(lane)
            passed = 0
            self._allowed -= 1
            late = max(now - max(clock.tick * TICK, lane.back), 0.0)
            clock.state = "asked"
            clock.tick = int(now / TICK)
            task = self._core.spawn(self._poll(clock, lane, live), f"poll {clock.video_id}")
            lane.asked[task] = Asked(clock, late)
        return False

    def _schedule(self, clock: Clock, delay: float) -> None:
        due = self._now() + delay
        self._wheel.put(clock, due)
        if due < self._asleep_until:
            self._woken.set()

    def _drop(self, clock: Clock) -> None:
        if clock.state != "dropped":
            clock.state = "dropped"
            del self._clocks[clock.video_id]
            self._lanes[clock.channel].size -= 1

    # -- one poll ------------------------------------------------------------------------------------------------------

    async def _poll(self, clock: Clock, lane: Lane, live: LiveChannel) -> None:
        task = asyncio.current_task()
        assert task is not None
        outcome: Outcome = "missed"
        asked: Asked | None = None
        log_context(video_id=clock.video_id)
        try:
            try:
                job = await fetch(live, clock.job)
            finally:
                # From here on nobody takes it for hanging: what the upstream said is not cut off in its commit.
                asked = lane.asked.pop(task, None)
            if asked is not None:
                outcome = await self._told(clock, live, job)
        except ApiError as error:
            if asked is not None:
                outcome = await self._missed(clock, live, error)
        finally:
            if asked is not None:
                self._over(asked, lane, outcome)

    async def _give_up(self, asked: Asked, lane: Lane, live: LiveChannel) -> None:
        outcome: Outcome = "missed"
        try:
            error = UpstreamTimeout("The channel did not answer in time.")
            outcome = await self._missed(asked.clock, live, error)
        finally:
            self._over(asked, lane, outcome)

    def _over(self, asked: Asked, lane: Lane, outcome: Outcome) -> None:
        if asked.clock.state == "asked":
            # Whatever went wrong here (a full disk, say), the video is polled again.
            self._schedule(asked.clock, ERROR_WAIT_MOST)
        if lane.waits:
            # Its place may be another's.
            self._woken.set()
        self.told(lane.name, outcome, asked.late)

    async def _told(self, clock: Clock, live: LiveChannel, job: UpstreamJob) -> Outcome:
        try:
            return await self._answered(clock, live, job)
        except StoreBusy as error:
            # It could not be written, so it is as if it had not been said: it is asked again soon.
            return await self._missed(clock, live, error)

    async def _answered(self, clock: Clock, live: LiveChannel, job: UpstreamJob) -> Outcome:
        if clock.state == "dropped":
            return "ended"
        core = self._core
        now = core.clock()
        clock.errors = clock.gone = 0
        clock.advice = job.poll_after
        if clock.is_news(job):
            try:
                video = await core.move(
                    clock.video_id, lambda current: clean_failure(core, states.polled(current, job, now=now))
                )
            except (IllegalMove, LeaseLost):
                self._drop(clock)
                return "ended"
            if video.stage != "running":
                self._drop(clock)
                return "ended"
            clock.keep(video)
        if await self._timed_out(clock, live, now):
            return "ended"
        self._go_on(clock, self._interval(clock, live, now))
        return "answered"

    async def _missed(self, clock: Clock, live: LiveChannel, error: ApiError) -> Outcome:
        """A poll without an answer: never a verdict on a paid render (P6)."""
        if clock.state == "dropped":
            return "ended"
        clock.errors += 1
        if clock.errors & (clock.errors - 1) == 0 and log.isEnabledFor(logging.INFO):
            # The first, and ever fewer after it: an upstream that is away for an hour has thousands of them.
            message = self._core.redactor.text(error.message, (clock.job.id,))
            log.info("poll %d of video %s on channel %s failed: %s", clock.errors, clock.video_id, live.name, message)
        if isinstance(error, UpstreamGone):
            clock.gone_since = clock.gone_since if clock.gone else self._now()
            clock.gone += 1
            if clock.gone >= GONE_TIMES and self._now() - clock.gone_since >= GONE_SECONDS:
                await self._fail(clock, JobError("upstream_failed", "The upstream no longer knows this video."))
                return "ended"
        else:
            clock.gone = 0
        # The process may have been down for long: only an upstream that keeps failing is out of time.
        if clock.errors >= GONE_TIMES and await self._timed_out(clock, live, self._core.clock()):
            return "ended"
        retry_after = error.retry_after if isinstance(error, Throttled) else None
        pace = paces.pace(live, clock.advice)
        self._go_on(clock, paces.after_misses(pace, clock.errors, ERROR_WAIT_MOST, retry_after))
        return "gone" if isinstance(error, UpstreamGone) else "missed"

    def _go_on(self, clock: Clock, wait: float) -> None:
        if clock.state == "asked":
            self._schedule(clock, paces.jittered(wait))

    def _interval(self, clock: Clock, live: LiveChannel, now: float) -> float:
        pace = paces.pace(live, clock.advice)
        if self._now() - clock.watched <= WATCHED_FOR:
            return pace
        age = self._age(clock, now)
        return paces.unwatched(pace, age, live.entry.poll_timeout - age)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _heard(self, before: Video, after: Video) -> None:
        """A video was changed, here or by its owner."""
        clock = self._clocks.get(after.id)
        if clock is None or after.stage == "running":
            return
        if after.status == "completed":
            self.usual.note(after.channel, after.upstream_model, self._age(clock, after.changed_at))
        self._drop(clock)

    async def _timed_out(self, clock: Clock, live: LiveChannel, now: float) -> bool:
        """Fail a video that is out of time; called when its upstream was asked just now and did not say it is done."""
        # Without a word on when its channel was away there is no judging; the next poll has it.
        if self._age(clock, now) < live.entry.poll_timeout or self._lanes[clock.channel].spans is None:
            return False
        await self._fail(clock, JobError("poll_timeout", "The upstream did not finish this video in time."))
        return True

    async def _fail(self, clock: Clock, error: JobError) -> None:
        now = self._core.clock()
        with contextlib.suppress(IllegalMove, LeaseLost):
            await self._core.move(clock.video_id, lambda current: states.failed(current, error, now=now))
        self._drop(clock)

    def _age(self, clock: Clock, now: float) -> float:
        """The seconds since a video began to run, without those in which its channel was away from the file."""
        age = max(now - clock.began, 0.0)
        spans = self._lanes[clock.channel].spans
        return age - absences.within(spans, clock.began, now) if spans else age

    # -- channels that are away ----------------------------------------------------------------------------------------

    def _look_for_hanging_polls(self, now: float) -> None:
        """Take their places from polls whose plugin does not come back, even after it was cancelled."""
        for lane in self._lanes.values():
            live = self._core.channels.get(lane.name)
            if live is None:
                continue
            bound = live.entry.timeout.total + SLACK
            # The oldest come first.
            while lane.asked:
                task, asked = next(iter(lane.asked.items()))
                if now - asked.clock.tick * TICK < bound:
                    break
                del lane.asked[task]
                task.cancel()
                self._core.spawn(self._give_up(asked, lane, live), f"poll {asked.clock.video_id}: given up")

    def _look_for_absent_channels(self, now: float) -> None:
        for lane in self._lanes.values():
            absent = self._core.channels.get(lane.name) is None
            if absent is lane.absent or not lane.size:
                continue
            if absent:
                log.warning("channel %s is not in the file: %d running videos wait for it", lane.name, lane.size)
            elif lane.absent:
                log.info("channel %s is back: its running videos go on", lane.name)
                lane.back = now
            lane.absent = absent
            self._core.spawn(self._note_absence(lane, absent), f"absence of {lane.name}")

    async def _note_absence(self, lane: Lane, absent: bool) -> None:
        try:
            lane.spans = await absences.note(self._core.store, lane.name, absent=absent, now=self._core.clock())
        except StoreBusy as error:
            log.warning("the absence of channel %s could not be noted and is tried again: %s", lane.name, error)
            lane.absent = None
