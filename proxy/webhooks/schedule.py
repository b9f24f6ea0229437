"""When a delivery that failed is tried again."""

from __future__ import annotations

import random
from typing import Final

FIRST: Final = 5.0
"""Seconds after the first try; each further wait is twice as long."""
LONGEST: Final = 6 * 3600.0
"""Seconds: the waits grow no longer."""
LIFE: Final = 72 * 3600.0
"""Seconds after the event up to which it is tried again."""
MOST_ASKED: Final = 3600.0
"""Seconds that a receiver's Retry-After can ask for."""
JITTER: Final = 0.1


def next_try(tries: int, *, now: float, created_at: float, retry_after: float | None = None) -> float | None:
    """When a delivery is tried again whose try number `tries` (from 1) failed at `now`; None: never.

    `created_at` is when the event was made, in unix seconds as `now`; `retry_after` the seconds that the receiver
    asked for. The last try is made when the life of the event ends.
    """
    end = created_at + LIFE
    if now >= end:
        return None
    wait = min(FIRST * 2.0 ** min(tries - 1, 30), LONGEST)
    wait *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - so that not all come at once, no secret
    if retry_after is not None:
        wait = max(wait, min(retry_after, MOST_ASKED))
    return min(now + wait, end)
