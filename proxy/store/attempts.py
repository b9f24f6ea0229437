"""SQL of the attempts."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.records import Attempt

_SAVE: Final = """
    INSERT INTO attempts (id, video_id, channel, state, started_at, ended_at, upstream_id, note)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET state = excluded.state, ended_at = excluded.ended_at, upstream_id = excluded.upstream_id, note = excluded.note
"""
_OF_VIDEO: Final = """
    SELECT id, video_id, channel, state, started_at, ended_at, upstream_id, note
    FROM attempts WHERE video_id = ? ORDER BY id
"""


def save(db: sqlite3.Connection, attempt: Attempt) -> None:
    """Record `attempt`, or how it went where it is recorded already."""
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
        ),
    )


def of_video(db: sqlite3.Connection, video_id: str) -> list[Attempt]:
    """Oldest first."""
    return [
        Attempt(
            id=id_,
            video_id=video,
            channel=channel,
            state=state,
            started_at=started_at,
            ended_at=ended_at,
            upstream_id=upstream_id,
            note=note,
        )
        for id_, video, channel, state, started_at, ended_at, upstream_id, note in db.execute(_OF_VIDEO, (video_id,))
    ]
