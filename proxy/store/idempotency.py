"""SQL of the Idempotency-Keys."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.records import Idempotent
from proxy.store.errors import DuplicateKey

_INSERT: Final = """
    INSERT INTO idempotency (key_id, idempotency_key, fingerprint, video_id, created_at, answer)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key_id, idempotency_key) DO NOTHING
"""
_FIND: Final = """
    SELECT key_id, idempotency_key, fingerprint, video_id, created_at, answer
    FROM idempotency WHERE key_id = ? AND idempotency_key = ?
"""
_SAVE_ANSWER: Final = """
    UPDATE idempotency SET answer = coalesce(answer, ?) WHERE key_id = ? AND idempotency_key = ? RETURNING answer
"""
_FORGET: Final = "DELETE FROM idempotency WHERE video_id = ?"
_PRUNE: Final = """
    DELETE FROM idempotency WHERE (key_id, idempotency_key) IN (
        SELECT key_id, idempotency_key FROM idempotency WHERE created_at <= ? ORDER BY created_at LIMIT ?
    )
"""


def insert(db: sqlite3.Connection, row: Idempotent) -> None:
    """`DuplicateKey` when the API key used this Idempotency-Key already."""
    values = (row.key_id, row.idempotency_key, row.fingerprint, row.video_id, row.created_at, row.answer)
    if db.execute(_INSERT, values).rowcount == 0:
        raise DuplicateKey(f"the Idempotency-Key {row.idempotency_key[:80]!r} was used already")


def find(db: sqlite3.Connection, key_id: str, idempotency_key: str) -> Idempotent | None:
    row = db.execute(_FIND, (key_id, idempotency_key)).fetchone()
    if row is None:
        return None
    owner, name, fingerprint, video_id, created_at, answer = row
    return Idempotent(
        key_id=owner,
        idempotency_key=name,
        fingerprint=fingerprint,
        video_id=video_id,
        created_at=created_at,
        answer=answer,
    )


def save_answer(db: sqlite3.Connection, key_id: str, idempotency_key: str, answer: bytes) -> bytes:
    """The first answer stays; it is what this answers."""
    rows = db.execute(_SAVE_ANSWER, (answer, key_id, idempotency_key)).fetchall()
    return rows[0][0] if rows else answer


def forget(db: sqlite3.Connection, video_id: str) -> None:
    db.execute(_FORGET, (video_id,))


def prune(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Delete at most `limit` rows older than `before` (unix seconds); how many it was."""
    return db.execute(_PRUNE, (before, limit)).rowcount
