"""How long the poller waits between two polls of one video. All in seconds."""

from __future__ import annotations

import random
from typing import Final

from proxy.channels import LiveChannel
from proxy.engine.clocks import TICK

DEFAULT: Final = 5.0
"""Where the channel is not there to say."""
ADVICE_MOST: Final = 600.0
"""Of an upstream's advice, or of its Retry-After, so much is believed."""
SLOWER: Final = 0.05
SLOWEST: Final = 60.0
"""A video that nobody watches is asked for after this part of its age, but at least so often: its end is noticed late
by a twentieth of the time that it took."""
JITTER: Final = 0.1
"""The part that chance adds, so that videos of one moment do not stay together."""


def pace(live: LiveChannel, advice: float | None) -> float:
    """Between two polls of a video that is watched.

    It is the upstream's `advice` for the job, or the channel's general one. The entry's `poll_every` is a lower bound
    of the former and stands in place of the latter.
    """
    bound = live.entry.poll_every
    if advice is None and bound is None:
        own: object = live.channel.poll_every
        # One plugin's odd attribute must not end the polls of all others.
        return max(own, TICK) if isinstance(own, int | float) else DEFAULT
    if advice is None:
        return max(bound or 0.0, TICK)
    return max(min(advice, ADVICE_MOST), TICK if bound is None else bound)


def unwatched(pace: float, age: float, left: float) -> float:
    """Between two polls of a video that runs for `age` and has `left` until its `poll_timeout` (not beyond that)."""
    wait = min(age * SLOWER, SLOWEST)
    return max(min(wait, left) if left > 0 else wait, pace)


def after_misses(pace: float, misses: int, most: float, retry_after: float | None) -> float:
    """After so many polls in a row without an answer: twice as long each time, up to `most`."""
    wait: float = min(pace * 2.0 ** min(misses - 1, 10), most)
    told = 0.0 if retry_after is None else min(retry_after, ADVICE_MOST)
    return max(wait, pace, told)


def jittered(wait: float) -> float:
    """A little more than `wait`."""
    return wait * (1 + JITTER * random.random())  # noqa: S311
