"""How long a channel and model usually take, and what that means for when a client should ask again."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

from proxy.records import Video

REMEMBERED: Final = 32
"""Completions of one channel and model that count, the newest ones."""
MOST_MODELS: Final = 1000
"""Pairs of channel and model that are remembered, those that completed last: a client may name any model."""
SHARE: Final = 0.1
"""Of the usual time: how long a client waits before it asks again, so that it learns of the end at most so late."""
SOONEST: Final = 0.05
LATEST: Final = 15.0
"""Seconds that a client is told at least and at most."""


class Usual:
    """The running median over the last completions of each channel and upstream model, in seconds."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], deque[float]] = {}
        self._median: dict[tuple[str, str], float] = {}

    def note(self, channel: str, model: str, seconds: float) -> None:
        """One took so many seconds from the upstream's yes to its completion."""
        pair = (channel, model)
        # Put in again at the end, so that the first is the one that completed nothing for longest.
        taken = self._seconds.pop(pair, None) or deque(maxlen=REMEMBERED)
        taken.append(max(seconds, 0.0))
        self._seconds[pair] = taken
        self._median[pair] = statistics.median(taken)
        if len(self._seconds) > MOST_MODELS:
            oldest = next(iter(self._seconds))
            del self._seconds[oldest], self._median[oldest]

    def of(self, channel: str, model: str) -> float | None:
        """The usual seconds; None where none has completed yet."""
        return self._median.get((channel, model))

    def poll_after(self, video: Video, now: float, pace: float) -> float:
        """Seconds that a client of an unfinished video should wait; `now` in unix seconds.

        `pace` is how often the engine itself asks: a client learns nothing sooner. The official Python SDK waits what
        the first answer says until the end, so this is a constant that suits the whole life of a video, and shorter
        only for one that should be about done.
        """
        wait = pace
        usual = self.of(video.channel, video.upstream_model)
        if usual is not None:
            wait = usual * SHARE
            if video.stage == "running" and now - video.changed_at >= usual - wait:
                wait /= 2
        return min(max(wait, pace, SOONEST), LATEST)
