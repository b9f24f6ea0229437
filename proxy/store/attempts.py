"""SQL of the attempts."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.records import Attempt
from proxy.store import jobs

_SAVE: Final = """
    INSERT INTO attempts (id, video_id, channel, state, started_at, ended_at, upstream_id, note, decision, job_json)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET state = CASE WHEN excluded.state = 'unknown' AND state <> 'recorded' THEN state ELSE excluded.state END,
        ended_at = coalesce(ended_at, excluded.ended_at),
        upstream_id = coalesce(excluded.upstream_id, upstream_id),
        note = CASE
            WHEN excluded.note = '' THEN note
            WHEN note IN ('', excluded.note) THEN excluded.note
            ELSE note || '; ' || excluded.note
        END,
        job_json = coalesce(excluded.job_json, job_json),
        settled = CASE WHEN excluded.job_json IS NULL OR settled = 'attached' THEN settled END
"""
_OF_VIDEO: Final = """
    SELECT id, video_id, channel, state, started_at, ended_at, upstream_id, note, decision, settled, job_json
    FROM attempts WHERE video_id = ? ORDER BY id
"""
_UNSETTLED: Final = "SELECT COUNT(*) FROM attempts WHERE state = 'unknown' AND settled IS NULL"
_FIELDS: Final = (
    *("id", "video_id", "channel", "state", "started_at", "ended_at", "upstream_id", "note", "decision", "settled"),
)


def save(db: sqlite3.Connection, attempt: Attempt) -> None:
    """Record `attempt`, or how it went where it is recorded already.

    Why it was made stays as it was recorded, and what is known of it is not forgotten: a note is added to the ones
    before it, and an outcome that somebody learned does not become unknown again.
    """
    db.execute(
        _SAVE,
        (
            attempt.id,
            attempt.video_id,
            attempt.channel,
            attempt.state,
            attempt.started_at,
            attempt.ended_at,
            attempt.upstream_id,
            attempt.note,
            attempt.decision,
            None if attempt.job is None else jobs.encode(attempt.job),
        ),
    )


def unsettled(db: sqlite3.Connection) -> int:
    """How many have an unknown outcome that nobody has settled."""
    return int(db.execute(_UNSETTLED).fetchone()[0])


def of_video(db: sqlite3.Connection, video_id: str) -> list[Attempt]:
    """Oldest first."""
    return [
        Attempt(**dict(zip(_FIELDS, plain, strict=True)), job=None if job_json is None else jobs.decode(job_json))
        for *plain, job_json in db.execute(_OF_VIDEO, (video_id,))
    ]
