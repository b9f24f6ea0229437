"""SQL of the archive: which completed videos are to be copied, which are, and which copies must go."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from proxy.records import Archived

_SELECT: Final = "SELECT video_id, channel, state, size, sha256, tries, next_at, stored_at, note FROM archive "
_DUE: Final = """
    INSERT INTO archive (video_id, channel, state, tries, next_at, note) VALUES (?, ?, 'due', 0, ?, '')
    ON CONFLICT (video_id) DO NOTHING
"""
# Only the longest waiting are ordered by when their upstream lets them go: of very many due, all would be joined at
# each look. What a job tells of its address is a BLOB of JSON text.
_READY: Final = """
    WITH waiting AS (
        SELECT * FROM archive
        WHERE state = 'due' AND (next_at <= ? OR next_at > ?)
        AND video_id NOT IN (SELECT value FROM json_each(?)) AND channel NOT IN (SELECT value FROM json_each(?))
        ORDER BY next_at LIMIT 500
    )
    SELECT waiting.video_id, waiting.channel, waiting.state, waiting.size, waiting.sha256, waiting.tries,
           waiting.next_at, waiting.stored_at, waiting.note
    FROM waiting LEFT JOIN videos ON videos.id = waiting.video_id
    ORDER BY min(
        coalesce(videos.expires_at, 9e18),
        coalesce(json_extract(CAST(videos.job_json AS TEXT), '$.url_expires_at'), 9e18)
    ), waiting.next_at
    LIMIT ?
    """
_NEXT: Final = "SELECT min(next_at) FROM archive WHERE state = 'due'"
_OF: Final = _SELECT + "WHERE video_id = ?"
_COMING: Final = "SELECT 1 FROM outbox WHERE video_id = ? AND after = 'completed'"
_SAVE: Final = """
    UPDATE archive SET state = ?, size = ?, sha256 = ?, tries = ?, next_at = ?, stored_at = ?, note = ?
    WHERE video_id = ? AND state = 'due'
"""
_OLDEST: Final = _SELECT + "WHERE state = 'stored' AND stored_at <= ? ORDER BY stored_at LIMIT ?"
_TOTAL: Final = "SELECT coalesce(sum(size), 0) FROM archive WHERE state = 'stored'"
# `size` stays until the bytes are gone as well.
_LEAVE: Final = """
    UPDATE archive SET state = 'removed', size = coalesce(size, 0), note = ?
    WHERE video_id IN (SELECT value FROM json_each(?))
"""
_LEAVING: Final = "SELECT video_id FROM archive WHERE state = 'removed' AND size IS NOT NULL LIMIT ?"
_FORGET: Final = """
    DELETE FROM archive WHERE video_id = ? AND state = 'removed'
    AND NOT EXISTS (SELECT 1 FROM videos WHERE id = video_id AND stage <> 'deleted')
"""
_LEFT: Final = "UPDATE archive SET size = NULL, sha256 = NULL WHERE video_id = ? AND state = 'removed'"
_ORPHANS: Final = """
    SELECT video_id FROM archive
    WHERE NOT EXISTS (SELECT 1 FROM videos WHERE id = video_id AND stage <> 'deleted')
"""


def due(db: sqlite3.Connection, video_id: str, channel: str, next_at: float) -> None:
    """A copy of this video is to be made at `next_at`; nothing where its copy is known already."""
    db.execute(_DUE, (video_id, channel, next_at))


def ready(
    db: sqlite3.Connection,
    now: float,
    limit: int,
    *,
    longest: float = math.inf,
    but: Collection[str] = (),
    but_of: Collection[str] = (),
) -> list[Archived]:
    """The first `limit` that are due at `now`: those first whose upstream, or its address, lets them go first.

    What would wait for more than `longest` seconds is due too: the clock was set back. The videos `but`, and those of
    the channels `but_of`, are left out.
    """
    values = (now, now + longest, json.dumps(list(but)), json.dumps(list(but_of)), limit)
    return _rows(db.execute(_READY, values))


def next_at(db: sqlite3.Connection) -> float | None:
    """When the next one is due; None where none is."""
    found = db.execute(_NEXT).fetchone()[0]
    return None if found is None else float(found)


def of(db: sqlite3.Connection, video_id: str) -> Archived | None:
    """The copy of a video, whatever its state."""
    return next(iter(_rows(db.execute(_OF, (video_id,)))), None)


def coming(db: sqlite3.Connection, video_id: str) -> bool:
    """Whether the end of a video waits in the outbox to be told, so that its copy is about to be due."""
    return db.execute(_COMING, (video_id,)).fetchone() is not None


def save(db: sqlite3.Connection, row: Archived) -> bool:
    """Write what became of a copy that was due; whether it was still wanted."""
    values = (row.state, row.size, row.sha256, row.tries, row.next_at, row.stored_at, row.note, row.video_id)
    return db.execute(_SAVE, values).rowcount > 0


def oldest(db: sqlite3.Connection, limit: int, before: float = math.inf) -> list[Archived]:
    """The first `limit` of what was stored up to `before`, oldest first."""
    return _rows(db.execute(_OLDEST, (before, limit)))


def total(db: sqlite3.Connection) -> int:
    """The bytes of all that is stored."""
    return int(db.execute(_TOTAL).fetchone()[0])


def leave(db: sqlite3.Connection, video_ids: Sequence[str], note: str) -> None:
    """From now on these have no copy; their bytes are to be removed (`leaving`) and then forgotten (`left`)."""
    db.execute(_LEAVE, (note, json.dumps(list(video_ids))))


def leaving(db: sqlite3.Connection, limit: int) -> list[str]:
    """The ids of videos whose bytes may still lie in the archive although they have no copy any more."""
    return [video_id for (video_id,) in db.execute(_LEAVING, (limit,))]


def left(db: sqlite3.Connection, video_id: str) -> None:
    """The bytes are gone. Of a video that is deleted nothing is kept here."""
    if db.execute(_FORGET, (video_id,)).rowcount == 0:
        db.execute(_LEFT, (video_id,))


def orphans(db: sqlite3.Connection) -> list[str]:
    """The ids of videos that were deleted, perhaps while there was no archive, and are still in this table. It reads
    the whole of it."""
    return [video_id for (video_id,) in db.execute(_ORPHANS)]


def _rows(found: Iterable[Sequence[Any]]) -> list[Archived]:
    return [
        Archived(
            video_id=video_id,
            channel=channel,
            state=state,
            size=size,
            sha256=sha256,
            tries=tries,
            next_at=next_at,
            stored_at=stored_at,
            note=note,
        )
        for video_id, channel, state, size, sha256, tries, next_at, stored_at, note in found
    ]
