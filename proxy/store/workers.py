"""SQL of the workers: who polls and submits which videos.

A row is a lease on all the videos whose `holder` it is. It belongs to one process at a time, its `owner`; `epoch` is
the fencing number, which grows whenever the row goes to another one, so that a process which was taken for dead cannot
write what it thinks (`owns`). One row for many videos: a lease costs nothing per video, however many there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final, NamedTuple

_ALL: Final = "SELECT id, owner, epoch, expires_at FROM workers ORDER BY id"
_JOIN: Final = "INSERT INTO workers (owner, epoch, expires_at) VALUES (?, 1, ?) RETURNING id, owner, epoch, expires_at"
_ADOPT: Final = """
    UPDATE workers SET owner = ?, epoch = epoch + 1, expires_at = ? WHERE id = ? AND epoch = ? AND expires_at = ?
    RETURNING id, owner, epoch, expires_at
"""
_RENEW: Final = "UPDATE workers SET expires_at = ? WHERE owner = ? RETURNING id, epoch"
_OWNED: Final = "SELECT id, epoch FROM workers WHERE owner = ?"
# The first row stays, so that there is always one to take.
_RETIRE: Final = """
    DELETE FROM workers WHERE owner = ? AND id <> 1 AND NOT EXISTS (
        SELECT 1 FROM videos
        WHERE stage IN ('waiting', 'submitting', 'unknown', 'running') AND videos.holder = workers.id
    )
"""
_LEAVE: Final = "UPDATE workers SET owner = '', expires_at = 0 WHERE owner = ?"


class Worker(NamedTuple):
    """A row: `owner` is a process's token, empty for nobody's; `expires_at` is in unix seconds."""

    id: int
    owner: str
    epoch: int
    expires_at: float


def everyone(db: sqlite3.Connection) -> list[Worker]:
    """All rows, the lowest id first."""
    return [Worker(*row) for row in db.execute(_ALL)]


def join(db: sqlite3.Connection, owner: str, expires_at: float) -> Worker:
    """A new row for `owner`."""
    return Worker(*db.execute(_JOIN, (owner, expires_at)).fetchone())


def adopt(db: sqlite3.Connection, dead: Worker, owner: str, expires_at: float) -> Worker | None:
    """The row `dead`, now `owner`'s; None when another process was faster, or its own one has renewed it since."""
    row = db.execute(_ADOPT, (owner, expires_at, dead.id, dead.epoch, dead.expires_at)).fetchone()
    return None if row is None else Worker(*row)


def renew(db: sqlite3.Connection, owner: str, expires_at: float) -> dict[int, int]:
    """Hold on to all rows of `owner`; answers their epochs by id: what is missing was taken away."""
    return dict(db.execute(_RENEW, (expires_at, owner)).fetchall())


def owns(db: sqlite3.Connection, owner: str, held: Mapping[int, int]) -> bool:
    """Whether `owner` still has all rows that it thinks it has, each with the epoch that it knows."""
    found = dict(db.execute(_OWNED, (owner,)).fetchall())
    return all(found.get(worker_id) == epoch for worker_id, epoch in held.items())


def leave(db: sqlite3.Connection, owner: str) -> None:
    """Give all rows of `owner` back; those that hold nothing unfinished vanish."""
    db.execute(_RETIRE, (owner,))
    db.execute(_LEAVE, (owner,))
