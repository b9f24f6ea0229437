"""What is kept of a running video between two polls, the wheel that says when it is due, and the lane it waits in."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from proxy.models import UpstreamJob
from proxy.records import Video

TICK: Final = 0.01
"""Seconds of one step of the wheel: what is due within one step is looked at together."""

ClockState = Literal["set", "due", "asked", "dropped"]
"""set: in the wheel; due: in its channel's lane; asked: its upstream is being asked; dropped: not polled any more."""

_NOTHING: Final = object()


# There are as many as running videos, so it has only what a poll needs: an answer that brings no news is known as such
# without a read of the store. Nothing in it refers back to it, so that the garbage collector need not look at it.
class Clock(msgspec.Struct, eq=False, gc=False):
    """One running video, as its poller knows it.

    `began` is in unix seconds (the `changed_at` of the stage), `tick` a step of the wheel, `watched` and `gone_since`
    seconds of the poller's own clock. `advice` is what the upstream said last of when to ask again, in seconds.
    """

    video_id: str
    channel: str
    job: UpstreamJob
    status: str
    progress: int
    began: float
    advice: float | None
    state: ClockState = "set"
    tick: int = 0
    watched: float = -math.inf
    errors: int = 0
    gone: int = 0
    gone_since: float = 0.0

    @classmethod
    def of(cls, video: Video, job: UpstreamJob, channel: str) -> Clock:
        """The clock of `video`, which runs as `job`. `channel` is its channel's name, one object for all its clocks."""
        return cls(
            video_id=video.id,
            channel=channel,
            job=job,
            status=video.status,
            progress=video.progress,
            began=video.changed_at,
            advice=job.poll_after,
        )

    def keep(self, video: Video) -> None:
        """Know `video` as it was stored now."""
        assert video.job is not None
        self.job = video.job
        self.status = video.status
        self.progress = video.progress
        self.began = video.changed_at

    def is_news(self, job: UpstreamJob) -> bool:
        """Whether an answer changes anything that a client sees or a later call to the plugin needs.

        False: `states.polled` would at most note the upstream's passing words (its own progress where that fell, its
        advice), which are not worth a write.
        """
        known = self.job
        return (
            job.status in ("completed", "failed")
            or (job.status == "in_progress" and self.status == "queued")
            or (job.progress is not None and job.progress > self.progress)
            or job.id != known.id
            or (bool(job.url) and job.url != known.url)
            or (bool(job.expires_at) and job.expires_at != known.expires_at)
            or (job.facts != known.facts and _adds(job, known))
        )


def _adds(job: UpstreamJob, known: UpstreamJob) -> bool:
    facts: Any = known.facts
    return any(facts.get(name, _NOTHING) != value for name, value in job.facts.items())


class Wheel:
    """Clocks by the step of time that they are due in. A clock that was put in again counts at its last place only."""

    __slots__ = ("_steps", "_ticks")

    def __init__(self) -> None:
        self._steps: dict[int, list[Clock]] = {}
        self._ticks: list[int] = []

    def put(self, clock: Clock, due: float) -> None:
        """Let `clock` be due at `due` seconds, at the end of that step."""
        tick = int(due / TICK) + 1
        clock.tick = tick
        clock.state = "set"
        step = self._steps.get(tick)
        if step is None:
            self._steps[tick] = [clock]
            heapq.heappush(self._ticks, tick)
        else:
            step.append(clock)

    def take(self, now: float) -> Iterator[Clock]:
        """Take out what is due at `now`, earliest first."""
        present = now / TICK
        while self._ticks and self._ticks[0] <= present:
            tick = heapq.heappop(self._ticks)
            for clock in self._steps.pop(tick):
                if clock.tick == tick and clock.state == "set":
                    yield clock

    def next(self) -> float:
        """The second at which something may be due; infinite where nothing is in."""
        return self._ticks[0] * TICK if self._ticks else math.inf


class Asked(NamedTuple):
    """A poll under way: the clock (its `tick` is the step in which it began) and by how many seconds it began late."""

    clock: Clock
    late: float


class Lane:
    """The polls of one channel: what is due and, in `asked`, what is under way, the oldest first.

    `size` counts its clocks. `absent` says whether the channel was away from the file when it was last noted (None: not
    noted yet), `back` when it returned (seconds of the poller's clock), `spans` when it was away (see `absences`; None:
    not known yet).
    """

    __slots__ = ("_others", "_turn", "_watched", "absent", "asked", "back", "name", "ready", "size", "spans")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.size = 0
        self.asked: dict[asyncio.Task[None], Asked] = {}
        self.ready = False
        self.absent: bool | None = None
        self.back = -math.inf
        self.spans: list[tuple[float, float | None]] | None = None
        self._watched: deque[Clock] = deque()
        self._others: deque[Clock] = deque()
        self._turn = False

    def put(self, clock: Clock, *, watched: bool) -> None:
        """Let a due clock wait here, before the others where somebody watches its video; it may be put in twice."""
        clock.state = "due"
        (self._watched if watched else self._others).append(clock)

    def take(self) -> Clock | None:
        """The next clock, None where none waits. The watched ones and the others take turns, so that neither starve."""
        while self._watched or self._others:
            self._turn = not self._turn
            queue = self._watched if self._watched and (self._turn or not self._others) else self._others
            clock = queue.popleft()
            if clock.state == "due":
                return clock
        return None

    @property
    def waits(self) -> bool:
        """Whether a clock may wait here."""
        return bool(self._watched or self._others)
