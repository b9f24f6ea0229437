"""Our own ids: a prefix, the time in milliseconds, and chance; they sort by the time that they were made.

`video_0199c7a1b2c3…`: 12 hexadecimal digits of unix milliseconds, then 20 that nobody can guess. Time-ordered ids keep
the newest rows side by side in the store's indexes and make the id itself the cursor of a list.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

ID_PATTERN: Final = re.compile(r"[a-z]{2,16}_[0-9a-f]{32}", re.ASCII)
"""The form of every id of ours; use `fullmatch`."""

_COUNTER_BITS: Final = 16
_CHANCE_BITS: Final = 64


class Sequence:
    """Makes ids that strictly increase, also inside one millisecond and when the clock steps back.

    `clock` gives unix nanoseconds. Safe to use from several threads.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0

    def next(self, prefix: str) -> str:
        """A new id that begins with `prefix` and an underscore."""
        with self._lock:
            now = self._clock() // 1_000_000
            if now > self._millisecond:
                self._millisecond = now
                # The upper half stays free, so that a burst has room to count up.
                self._counter = secrets.randbits(_COUNTER_BITS - 1)
            else:
                self._counter += 1
                if self._counter >> _COUNTER_BITS:
                    self._millisecond += 1
                    self._counter = 0
            millisecond, counter = self._millisecond, self._counter
        return f"{prefix}_{millisecond:012x}{counter:04x}{secrets.randbits(_CHANCE_BITS):016x}"


_sequence: Final = Sequence(time.time_ns)


def new_id(prefix: str) -> str:
    """A new id: `prefix`, an underscore, 32 hexadecimal digits. Later calls in this process give greater ids."""
    return _sequence.next(prefix)


def created_at(id_: str) -> int:
    """The unix seconds at which `id_` was made; `ValueError` where it is no id of ours."""
    if ID_PATTERN.fullmatch(id_) is None:
        raise ValueError(f"{id_[:80]!r} is no id of ours")
    return int(id_.partition("_")[2][:12], 16) // 1000
