"""SQL of the API keys: a key itself is never stored, only its SHA-256."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from proxy.records import Key
from proxy.store.errors import AmbiguousKey

_SELECT: Final = "SELECT id, name, tenant, admin, created_at, revoked_at, last_used_at, chooses_channel FROM keys "
_INSERT: Final = """
    INSERT INTO keys (id, name, tenant, admin, digest, created_at, revoked_at, last_used_at, chooses_channel)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ALL: Final = _SELECT + "ORDER BY created_at, id"
_BY_ID: Final = _SELECT + "WHERE id = ?"
_BY_NAME: Final = _SELECT + "WHERE name = ? ORDER BY created_at DESC, id DESC"
_BY_DIGEST: Final = _SELECT + "WHERE digest = ?"
_REVOKE: Final = "UPDATE keys SET revoked_at = ? WHERE id = ?"
_TOUCH: Final = "UPDATE keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)"


def insert(db: sqlite3.Connection, key: Key, digest: bytes) -> None:
    db.execute(
        _INSERT,
        (
            *(key.id, key.name, key.tenant, key.admin, digest),
            *(key.created_at, key.revoked_at, key.last_used_at, key.chooses_channel),
        ),
    )


def all_keys(db: sqlite3.Connection) -> list[Key]:
    """Oldest first, the revoked ones too."""
    return [_key(row) for row in db.execute(_ALL)]


def by_digest(db: sqlite3.Connection, digest: bytes) -> Key | None:
    row = db.execute(_BY_DIGEST, (digest,)).fetchone()
    return None if row is None else _key(row)


def revoke(db: sqlite3.Connection, name_or_id: str, now: int) -> Key | None:
    """The key as it is now; one that was revoked before stays as it was. None: there is none.

    `AmbiguousKey` when several live keys have the name: revoking all could end more than was meant.
    """
    rows = db.execute(_BY_ID, (name_or_id,)).fetchall() or db.execute(_BY_NAME, (name_or_id,)).fetchall()
    found = [_key(row) for row in rows]
    live = [key for key in found if key.revoked_at is None]
    if len(live) > 1:
        raise AmbiguousKey(name_or_id, [key.id for key in live])
    if not live:
        return found[0] if found else None
    db.execute(_REVOKE, (now, live[0].id))
    return _key(db.execute(_BY_ID, (live[0].id,)).fetchone())


def touch(db: sqlite3.Connection, key_id: str, now: int) -> None:
    db.execute(_TOUCH, (now, key_id, now))


def _key(row: Sequence[Any]) -> Key:
    id_, name, tenant, admin, created_at, revoked_at, last_used_at, chooses_channel = row
    return Key(id_, name, tenant, bool(admin), created_at, revoked_at, last_used_at, bool(chooses_channel))
