"""SQL of the ledger: what videos cost, to whom. It only appends, in the transaction of the change that it follows from.

At any time, the rows of a video add up to its `charge`. A video whose price is not known has none.
"""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, NamedTuple

from proxy.records import Video

Kind = Literal["reserved", "moved", "settled", "refunded"]
"""What a row is:

reserved  the price of what was ordered, when it was accepted
moved     it goes to another channel, or at another price: once what the one gives back, once what the other takes
settled   what the end changed: 0 where all that was ordered was delivered
refunded  it ended without a result, and all goes back
"""

_INSERT: Final = """
    INSERT INTO ledger (at, reserved_at, tenant, key_id, video_id, model, channel, kind, amount)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SPENT: Final = "SELECT COALESCE(SUM(amount), 0) FROM ledger WHERE key_id = ? AND reserved_at >= ? AND amount <> 0"
_OF_VIDEO: Final = """
    SELECT at, reserved_at, key_id, model, channel, kind, amount FROM ledger WHERE video_id = ? ORDER BY seq
"""
_OVER: Final = ("ended", "refused", "deleted")


class Row(NamedTuple):
    """A line of the ledger. `at` and `reserved_at` are unix seconds, `amount` as in `proxy.money`."""

    at: float
    reserved_at: int
    key_id: str
    model: str
    channel: str
    kind: Kind
    amount: int


def note(db: sqlite3.Connection, before: Video | None, after: Video) -> None:
    """Write what the step from `before` (None: it was not there) to `after` changes of the money."""
    ends = after.stage in _OVER and (before is None or before.stage not in _OVER)
    if before is None:
        if after.price is not None:
            _write(db, after, "reserved", after.price)
        rest = after.charge - (after.price or 0)
    elif before.price != after.price or (before.channel != after.channel and after.price is not None):
        if before.price is not None:
            _write(db, before, "moved", -before.charge, at=after.changed_at)
        if after.price is not None:
            _write(db, after, "moved", after.price)
        rest = after.charge - (after.price or 0)
    else:
        rest = after.charge - before.charge
    if after.price is not None and (ends or rest):
        given_back = after.status != "completed" and not after.cost
        _write(db, after, "refunded" if given_back else "settled", rest)


def spent(db: sqlite3.Connection, key_id: str, since: float) -> int:
    """The amount that counts for an API key, of all that it ordered since `since` (unix seconds)."""
    return int(db.execute(_SPENT, (key_id, since)).fetchone()[0])


def of_video(db: sqlite3.Connection, video_id: str) -> list[Row]:
    """The rows of a video, oldest first."""
    return [Row(*row) for row in db.execute(_OF_VIDEO, (video_id,))]


def _write(db: sqlite3.Connection, video: Video, kind: Kind, amount: int, *, at: float | None = None) -> None:
    when = video.changed_at if at is None else at
    owner = (video.tenant, video.key_id, video.id, video.model, video.channel)
    db.execute(_INSERT, (when, video.created_at, *owner, kind, amount))
