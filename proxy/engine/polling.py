"""Polling: every running video on its own clock, many at once, bounded per channel."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import random
import time
from collections import defaultdict, deque
from dataclasses import dataclass

from msgspec.structs import replace

from proxy.channels import LiveChannel
from proxy.engine import states
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import Submitter, clean_failure
from proxy.errors import ApiError, Throttled, UpstreamError, UpstreamGone
from proxy.models import JobError, UpstreamJob
from proxy.records import Video

AT_ONCE = 16
"""Polls of one channel at the same time, so that an upstream that hangs delays no other."""
WATCHED_FOR = 30.0
"""Seconds for which a video that its client asked for is polled at the channel's own pace."""
SLOWER = 1.15
SLOWEST = 6.0
"""Each poll that nobody watches is this much later than the one before, up to so many times the channel's pace."""
ERROR_WAIT_MOST = 60.0
GONE_TIMES = 5
GONE_SECONDS = 30.0
"""A job that the upstream does not know (404, 410) is believed gone after so many answers over so long."""
ABSENT_WAIT = 1.0
"""Seconds until a video whose channel left the file is looked at again."""


@dataclass(slots=True)
class Clock:
    """What is kept of one running video between two polls; nothing that a restart may not forget.

    Its times are those of `time.monotonic`: a wall clock that is set back must not put a poll off.
    """

    due: float
    polls: int = 0
    errors: int = 0
    gone: int = 0
    gone_since: float = 0.0
    absent_since: float | None = None
    watched: float = -math.inf


class Poller:
    """Asks the upstreams how their jobs are."""

    def __init__(self, core: Core, submitter: Submitter) -> None:
        self._core = core
        self._submitter = submitter
        self._clocks: dict[str, Clock] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._active: defaultdict[str, int] = defaultdict(int)
        self._backlog: defaultdict[str, deque[str]] = defaultdict(deque)
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._clocks)

    def add(self, video: Video, *, after: float | None = None) -> None:
        """Poll a running video, first after `after` seconds (None: after one turn of its channel's pace)."""
        if video.id not in self._clocks:
            delay = self.pace(video) if after is None else after
            self._clocks[video.id] = Clock(due=0.0)
            self._schedule(video.id, delay)

    def watch(self, video: Video) -> None:
        """Somebody wants to know: poll it at the channel's own pace for a while."""
        clock = self._clocks.get(video.id)
        if clock is None:
            return
        now = time.monotonic()
        clock.watched = now
        if clock.errors == 0 and clock.absent_since is None and clock.due - now > (pace := self.pace(video)):
            self._schedule(video.id, pace)

    def pace(self, video: Video) -> float:
        """Seconds between two polls of a video, as its channel has it."""
        live = self._core.channels.get(video.channel)
        if live is None:
            return ABSENT_WAIT
        if live.entry.poll_every is not None:
            return live.entry.poll_every
        if video.job is not None and video.job.poll_after is not None:
            return max(video.job.poll_after, 0.05)
        return live.channel.poll_every

    async def take_over(self) -> None:
        """Poll what the submitter got taken."""
        while True:
            self.add(await self._submitter.taken.get())

    async def run(self) -> None:
        """Poll what is due, for as long as the engine lives."""
        while True:
            self._woken.clear()
            wait = self._start_due()
            # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with the wake-up.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    def _start_due(self) -> float | None:
        """Start every due poll; answers the seconds until the next one, None when there is none."""
        while self._heap:
            due, _, video_id = self._heap[0]
            clock = self._clocks.get(video_id)
            if clock is None or clock.due != due:
                heapq.heappop(self._heap)
                continue
            wait = due - time.monotonic()
            if wait > 0:
                return wait
            heapq.heappop(self._heap)
            self._start(video_id)
        return None

    def _schedule(self, video_id: str, delay: float) -> None:
        clock = self._clocks[video_id]
        clock.due = time.monotonic() + delay
        heapq.heappush(self._heap, (clock.due, next(self._order), video_id))
        self._woken.set()

    def _start(self, video_id: str) -> None:
        video = self._core.store.cached(video_id)
        channel = video.channel if video is not None else ""
        if self._active[channel] >= AT_ONCE:
            self._backlog[channel].append(video_id)
            return
        self._active[channel] += 1
        self._core.spawn(self._turn(video_id, channel), f"poll {video_id}")

    async def _turn(self, video_id: str, channel: str) -> None:
        try:
            await self._poll(video_id)
        except BaseException:
            # Whatever went wrong here (a full disk, say), the video is polled again.
            if video_id in self._clocks:
                self._schedule(video_id, ERROR_WAIT_MOST)
            raise
        finally:
            self._active[channel] -= 1
            if self._backlog[channel]:
                self._start(self._backlog[channel].popleft())

    async def _poll(self, video_id: str) -> None:
        core = self._core
        clock = self._clocks.get(video_id)
        video = await core.newest(video_id)
        if clock is None or video is None or video.stage != "running" or video.job is None:
            self._clocks.pop(video_id, None)
            return
        live = core.channels.get(video.channel)
        if live is None:
            if clock.absent_since is None:
                clock.absent_since = time.monotonic()
                log.warning("video %s waits for its channel %s to return", video_id, video.channel)
            self._schedule(video_id, ABSENT_WAIT)
            return
        if clock.absent_since is not None:
            video = await self._came_back(video, clock)
        try:
            job = await self._fetch(live, video.job)
        except ApiError as error:
            await self._missed(video, live, clock, error)
            return
        clock.errors = clock.gone = 0
        await self._told(video, job, clock)

    async def _fetch(self, live: LiveChannel, known: UpstreamJob | None) -> UpstreamJob:
        assert known is not None
        try:
            job = await live.channel.fetch(known)
        except ApiError:
            raise
        except Exception as error:
            raise plugin_fault(live, error, "poll") from error
        if not isinstance(job, UpstreamJob):
            raise UpstreamError("The channel gave no job for this video.")
        return job

    async def _told(self, video: Video, job: UpstreamJob, clock: Clock) -> None:
        core = self._core
        now = core.clock()

        def step(current: Video) -> Video:
            return clean_failure(core, states.polled(current, job, now=now))

        try:
            after = step(video)
            if replace(after, changed_at=video.changed_at) != video:
                video = await core.move(video.id, step)
        except IllegalMove:
            self._clocks.pop(video.id, None)
            return
        if video.stage != "running":
            self._clocks.pop(video.id, None)
            return
        if await self._timed_out(video, now):
            return
        clock.polls += 1
        self._schedule(video.id, self._interval(video, clock))

    async def _missed(self, video: Video, live: LiveChannel, clock: Clock, error: ApiError) -> None:
        """A poll without an answer: never a verdict on a paid render (P6)."""
        now = self._core.clock()
        clock.errors += 1
        log.info("a poll of video %s on channel %s failed: %s", video.id, live.name, error.message)
        if isinstance(error, UpstreamGone):
            clock.gone_since = clock.gone_since if clock.gone else time.monotonic()
            clock.gone += 1
            if clock.gone >= GONE_TIMES and time.monotonic() - clock.gone_since >= GONE_SECONDS:
                await self._fail(video, JobError("upstream_failed", "The upstream no longer knows this video."))
                return
        else:
            clock.gone = 0
        # The process may have been down for long: only an upstream that keeps failing is out of time.
        if clock.errors >= GONE_TIMES and await self._timed_out(video, now):
            return
        wait = min(self.pace(video) * 2 ** min(clock.errors - 1, 10), ERROR_WAIT_MOST)
        if isinstance(error, Throttled) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        self._schedule(video.id, wait * random.uniform(0.9, 1.1))  # noqa: S311

    def _interval(self, video: Video, clock: Clock) -> float:
        pace = self.pace(video)
        if time.monotonic() - clock.watched > WATCHED_FOR:
            pace *= min(SLOWER**clock.polls, SLOWEST)
        return pace * random.uniform(0.9, 1.1)  # noqa: S311

    async def _came_back(self, video: Video, clock: Clock) -> Video:
        # The time without its channel does not count towards poll_timeout.
        assert clock.absent_since is not None
        away = time.monotonic() - clock.absent_since
        clock.absent_since = None
        return await self._core.move(video.id, lambda current: replace(current, changed_at=current.changed_at + away))

    async def _timed_out(self, video: Video, now: float) -> bool:
        live = self._core.channels.get(video.channel)
        if live is None or now - video.changed_at < live.entry.poll_timeout:
            return False
        await self._fail(video, JobError("poll_timeout", "The upstream did not finish this video in time."))
        return True

    async def _fail(self, video: Video, error: JobError) -> None:
        now = self._core.clock()
        with contextlib.suppress(IllegalMove):
            await self._core.move(video.id, lambda current: states.failed(current, error, now=now))
        self._clocks.pop(video.id, None)
