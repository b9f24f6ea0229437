"""SQL of the outbox: what changed, written in the change's own transaction, until all who must hear of it have."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

import msgspec

from proxy.records import Video

_INSERT: Final = "INSERT INTO outbox (video_id, before, after, at) VALUES (?, ?, ?, ?)"
_OLDEST: Final = "SELECT seq, video_id, before, after, at FROM outbox ORDER BY seq LIMIT ?"
_REMOVE: Final = "DELETE FROM outbox WHERE seq <= ?"


class Change(NamedTuple):
    """A change of a video's public status from `before` to `after`; `after` is "deleted" where its owner deleted it.
    `at` is in unix seconds."""

    seq: int
    video_id: str
    before: str
    after: str
    at: float


def note(db: sqlite3.Connection, before: Video, after: Video) -> None:
    """Write down the step from `before` to `after`, where others can see it."""
    if after.stage == "refused" or before.stage == "deleted":
        return
    word = "deleted" if after.stage == "deleted" else after.status
    if word != before.status:
        db.execute(_INSERT, (after.id, before.status, word, after.changed_at))


def as_of(video: Video, change: Change) -> Video:
    """`video` with the status that `change` gave it, where it has gone on since."""
    if change.after == "deleted" or video.status == change.after:
        return video
    return msgspec.structs.replace(video, status=change.after)


def oldest(db: sqlite3.Connection, limit: int) -> list[Change]:
    """The first `limit` changes, in the order in which they happened."""
    return [Change(*row) for row in db.execute(_OLDEST, (limit,))]


def remove(db: sqlite3.Connection, up_to: int) -> None:
    """Everybody has heard of the changes up to the number `up_to`."""
    db.execute(_REMOVE, (up_to,))
