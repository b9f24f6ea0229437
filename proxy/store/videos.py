"""SQL of the videos."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from proxy.records import Order, Video
from proxy.store import jobs
from proxy.store.errors import StaleVideo

_SELECT: Final = """
    SELECT id, tenant, key_id, kind, model, upstream_model, channel, stage, status, progress, prompt, seconds, size,
           created_at, completed_at, expires_at, source_id, error_code, error_message, metadata, attempt_id,
           fingerprint, changed_at, submit_after, version, holder, replaces_id, replaced_by_id, price, cost, answered,
           order_json, job_json
    FROM videos
"""
_INSERT: Final = """
    INSERT INTO videos (
        id, tenant, key_id, kind, model, upstream_model, channel, stage, status, progress, prompt, seconds, size,
        created_at, completed_at, expires_at, source_id, error_code, error_message, metadata, attempt_id,
        fingerprint, changed_at, submit_after, version, holder, replaces_id, replaced_by_id, price, cost, answered,
        order_json, job_json
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FIELDS: Final = (
    *("id", "tenant", "key_id", "kind", "model", "upstream_model", "channel", "stage", "status", "progress", "prompt"),
    *("seconds", "size", "created_at", "completed_at", "expires_at", "source_id", "error_code", "error_message"),
    *("metadata", "attempt_id", "fingerprint", "changed_at", "submit_after", "version", "holder", "replaces_id"),
    *("replaced_by_id", "price", "cost"),
)
"""The columns above, in their order, that are kept as they are; `answered`, `order_json` and `job_json` follow."""

# `answered` is not among the columns: an older video in a caller's hands must not undo `mark_answered`.
_UPDATE: Final = """
    UPDATE videos
    SET model = ?, upstream_model = ?, channel = ?, stage = ?, status = ?, progress = ?, prompt = ?, seconds = ?,
        size = ?, completed_at = ?, expires_at = ?, source_id = ?, error_code = ?, error_message = ?, metadata = ?,
        order_json = ?, job_json = ?, attempt_id = ?, changed_at = ?, submit_after = ?, replaced_by_id = ?,
        price = ?, cost = ?, version = version + 1
    WHERE id = ? AND version = ?
    RETURNING version, answered
"""
# What most changes touch. What was ordered stays, and need not be written again.
_ADVANCE: Final = """
    UPDATE videos
    SET stage = ?, status = ?, progress = ?, completed_at = ?, expires_at = ?, error_code = ?, error_message = ?,
        job_json = ?, attempt_id = ?, changed_at = ?, submit_after = ?, cost = ?, version = version + 1
    WHERE id = ? AND version = ?
    RETURNING version, answered
"""
_ORDERED: Final = (
    *("model", "upstream_model", "channel", "prompt", "seconds", "size", "source_id", "metadata", "order"),
    *("replaced_by_id", "price"),
)
"""The fields that `_UPDATE` writes and `_ADVANCE` leaves."""
_MARK_ANSWERED: Final = "UPDATE videos SET answered = 1 WHERE id = ? AND answered = 0"
_FIND: Final = _SELECT + "WHERE id = ?"
_OLDEST_FIRST: Final = (
    _SELECT + "WHERE tenant = ? AND stage NOT IN ('refused', 'deleted') AND id > ? ORDER BY id LIMIT ?"
)
_NEWEST_FIRST: Final = (
    _SELECT + "WHERE tenant = ? AND stage NOT IN ('refused', 'deleted') AND id < ? ORDER BY id DESC LIMIT ?"
)
_UNFINISHED: Final = _SELECT + "WHERE stage IN ('waiting', 'submitting', 'unknown', 'running')"
_UNFINISHED_OF: Final = (
    _SELECT  # noqa: S608 - both parts are constants
    + """
    WHERE stage IN ('waiting', 'submitting', 'unknown', 'running') AND holder IN (SELECT value FROM json_each(?))
    """
)
_WAITING: Final = "SELECT COUNT(*) FROM videos WHERE stage = 'waiting'"
_WAITING_OF_KEY: Final = "SELECT COUNT(*) FROM videos WHERE stage = 'waiting' AND key_id = ?"
_ACTIVE: Final = """
    SELECT COUNT(*) FROM videos WHERE key_id = ? AND stage IN ('waiting', 'submitting', 'unknown', 'running')
"""
_AT_UPSTREAM: Final = """
    SELECT COUNT(*) FROM videos WHERE channel = ? AND stage IN ('submitting', 'unknown', 'running')
"""
_RESENT: Final = (
    _SELECT
    + """
    WHERE key_id = ? AND fingerprint = ? AND answered = 0 AND created_at >= ? AND stage <> 'refused'
    ORDER BY id DESC LIMIT 1
    """
)
_PINS: Final = "SELECT channel, COUNT(*) FROM videos WHERE stage NOT IN ('refused', 'deleted') GROUP BY channel"

_BEFORE_ALL: Final = ""
_AFTER_ALL: Final = "~"
"""Sort before and after every id of ours."""

_encode: Final = msgspec.json.Encoder().encode
_order: Final = msgspec.json.Decoder(Order).decode


def insert(db: sqlite3.Connection, video: Video) -> None:
    db.execute(
        _INSERT,
        (*(getattr(video, field) for field in _FIELDS), video.answered, _encode(video.order), _job_json(video)),
    )


def update(db: sqlite3.Connection, video: Video, before: Video | None = None) -> Video:
    """The video as it is stored now; `StaleVideo` when its row is not of `video.version`.

    `before` is that version, where it is known: then only what is no longer the same is written.
    """
    rows = _advance(db, video) if before is not None and _same_order(video, before) else _rewrite(db, video)
    if not rows:
        raise StaleVideo(video.id)
    version, answered = rows[0]
    return msgspec.structs.replace(video, version=version, answered=bool(answered))


def _same_order(video: Video, before: Video) -> bool:
    # By identity: a move copies the struct, and what it did not touch is the same object.
    return before.version == video.version and all(
        getattr(video, field) is getattr(before, field) for field in _ORDERED
    )


def _advance(db: sqlite3.Connection, video: Video) -> list[Any]:
    return db.execute(
        _ADVANCE,
        (
            video.stage,
            video.status,
            video.progress,
            video.completed_at,
            video.expires_at,
            video.error_code,
            video.error_message,
            _job_json(video),
            video.attempt_id,
            video.changed_at,
            video.submit_after,
            video.cost,
            video.id,
            video.version,
        ),
    ).fetchall()


def _rewrite(db: sqlite3.Connection, video: Video) -> list[Any]:
    return db.execute(
        _UPDATE,
        (
            video.model,
            video.upstream_model,
            video.channel,
            video.stage,
            video.status,
            video.progress,
            video.prompt,
            video.seconds,
            video.size,
            video.completed_at,
            video.expires_at,
            video.source_id,
            video.error_code,
            video.error_message,
            video.metadata,
            _encode(video.order),
            _job_json(video),
            video.attempt_id,
            video.changed_at,
            video.submit_after,
            video.replaced_by_id,
            video.price,
            video.cost,
            video.id,
            video.version,
        ),
    ).fetchall()


def mark_answered(db: sqlite3.Connection, video_id: str) -> None:
    db.execute(_MARK_ANSWERED, (video_id,))


def find(db: sqlite3.Connection, video_id: str) -> Video | None:
    return _first(db.execute(_FIND, (video_id,)).fetchall())


def page(db: sqlite3.Connection, tenant: str, after: str | None, limit: int, newest_first: bool) -> list[Video]:
    """The next `limit` listed videos of `tenant` behind the id `after`, which need not exist any more."""
    if newest_first:
        return _videos(db.execute(_NEWEST_FIRST, (tenant, after or _AFTER_ALL, limit)))
    return _videos(db.execute(_OLDEST_FIRST, (tenant, after or _BEFORE_ALL, limit)))


def unfinished(db: sqlite3.Connection, holders: Collection[int] | None = None) -> list[Video]:
    """Oldest first: those that the workers `holders` hold, None: all."""
    found = db.execute(_UNFINISHED) if holders is None else db.execute(_UNFINISHED_OF, (_encode(sorted(holders)),))
    # Sorted here: SQLite would carry whole rows through its sorter.
    return sorted(_videos(found), key=lambda video: video.id)


def waiting(db: sqlite3.Connection, key_id: str | None = None) -> int:
    """How many wait for their submission, in all or of one API key."""
    found = db.execute(_WAITING) if key_id is None else db.execute(_WAITING_OF_KEY, (key_id,))
    return int(found.fetchone()[0])


def active(db: sqlite3.Connection, key_id: str) -> int:
    """How many videos of an API key are not finished."""
    return int(db.execute(_ACTIVE, (key_id,)).fetchone()[0])


def at_upstream(db: sqlite3.Connection, channel: str) -> int:
    """How many videos the upstream of `channel` may be working on."""
    return int(db.execute(_AT_UPSTREAM, (channel,)).fetchone()[0])


def resent(db: sqlite3.Connection, key_id: str, fingerprint: bytes, since: float) -> Video | None:
    return _first(db.execute(_RESENT, (key_id, fingerprint, since)).fetchall())


def pins(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute(_PINS).fetchall())


def _job_json(video: Video) -> bytes | None:
    return None if video.job is None else jobs.encode(video.job)


def _video(row: Sequence[Any]) -> Video:
    *plain, answered, order_json, job_json = row
    return Video(
        **dict(zip(_FIELDS, plain, strict=True)),
        answered=bool(answered),
        order=_order(order_json),
        job=None if job_json is None else jobs.decode(job_json),
    )


def _videos(rows: Iterable[Sequence[Any]]) -> list[Video]:
    return [_video(row) for row in rows]


def _first(rows: list[Sequence[Any]]) -> Video | None:
    return _video(rows[0]) if rows else None
