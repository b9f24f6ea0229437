"""When a channel was away from the file: time that does not count towards `poll_timeout` (CONTRACT 2).

One row of the settings for each channel that ever was away, instead of a write for each of its videos; so it holds
across restarts, and a video that began in between counts only its own part.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from proxy.store import Store, settings

Span = tuple[float, float | None]
"""From and to, in unix seconds; None: it is still away."""

KEPT: Final = 30 * 86_400.0
"""Seconds after which a span is forgotten."""
MOST: Final = 100
"""Spans that are kept of one channel, the newest ones."""

_decode: Final = msgspec.json.Decoder(list[Span]).decode


async def note(store: Store, channel: str, *, absent: bool, now: float) -> list[Span]:
    """Note that a channel is away from the file, or that it is not; answers all its spans, oldest first.

    Noting the same again, also by another process or after a restart, changes nothing. `StoreBusy` as any write.
    """
    return await store.write(partial(_note, channel=channel, absent=absent, now=now))


def within(spans: Sequence[Span], since: float, now: float) -> float:
    """The seconds between `since` and `now` that lie in `spans`."""
    return sum(
        max(min(now if end is None else end, now) - max(start, since), 0.0) for start, end in spans if start < now
    )


def _note(db: sqlite3.Connection, channel: str, absent: bool, now: float) -> list[Span]:
    name = f"absent:{channel}"
    stored = settings.find(db, name)
    spans = [] if stored is None else _decode(stored)
    is_open = bool(spans) and spans[-1][1] is None
    if is_open == absent:
        return spans
    if absent:
        recent = [span for span in spans if span[1] is not None and span[1] > now - KEPT]
        spans = [*recent[1 - MOST :], (now, None)]
    else:
        # A clock that stepped back must not end it before it began.
        spans[-1] = (spans[-1][0], max(now, spans[-1][0]))
    settings.save(db, name, msgspec.json.encode(spans).decode())
    return spans
