"""SQL of the API keys: a key itself is never stored, only its SHA-256."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from proxy.records import UNLIMITED, Key, KeyLimits
from proxy.store.errors import AmbiguousKey

_encode: Final = msgspec.json.Encoder().encode
_limits: Final = msgspec.json.Decoder(KeyLimits).decode

_SELECT: Final = """
    SELECT id, name, tenant, admin, created_at, revoked_at, last_used_at, chooses_channel, limits FROM keys
"""
_INSERT: Final = """
    INSERT INTO keys (id, name, tenant, admin, digest, created_at, revoked_at, last_used_at, chooses_channel,
                      limits)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ALL: Final = _SELECT + "ORDER BY created_at, id"
_BY_ID: Final = _SELECT + "WHERE id = ?"
_BY_NAME: Final = _SELECT + "WHERE name = ? ORDER BY created_at DESC, id DESC"
_BY_DIGEST: Final = _SELECT + "WHERE digest = ?"
_OF_TENANT: Final = _SELECT + "WHERE tenant = ? ORDER BY created_at, id"
# The id of an operator's own admin key is no time, so the pages go by both.
_PAGE: Final = (
    _SELECT  # noqa: S608 - both parts are constants
    + """
    WHERE (:tenant IS NULL OR tenant = :tenant)
        AND (:after IS NULL OR (created_at, id) < (SELECT created_at, id FROM keys WHERE id = :after))
    ORDER BY created_at DESC, id DESC LIMIT :limit
    """
)
_UPDATE: Final = "UPDATE keys SET name = ?, chooses_channel = ?, limits = ? WHERE id = ? AND revoked_at IS NULL"
_OWNER_DISABLED: Final = "SELECT disabled_at IS NOT NULL FROM users WHERE tenant = ?"
_REVOKE: Final = "UPDATE keys SET revoked_at = ? WHERE id = ?"
_TOUCH: Final = "UPDATE keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)"


def insert(db: sqlite3.Connection, key: Key, digest: bytes) -> None:
    db.execute(
        _INSERT,
        (
            *(key.id, key.name, key.tenant, key.admin, digest),
            *(key.created_at, key.revoked_at, key.last_used_at, key.chooses_channel),
            _limits_json(key),
        ),
    )


def update(db: sqlite3.Connection, key: Key) -> bool:
    """Write the name and what the key may do; False where there is no live key of its id."""
    return db.execute(_UPDATE, (key.name, key.chooses_channel, _limits_json(key), key.id)).rowcount > 0


def is_disabled(db: sqlite3.Connection, key: Key) -> bool:
    """Whether the user whose key it is may do nothing at the moment."""
    row = db.execute(_OWNER_DISABLED, (key.tenant,)).fetchone()
    return row is not None and bool(row[0])


def by_id(db: sqlite3.Connection, key_id: str) -> Key | None:
    row = db.execute(_BY_ID, (key_id,)).fetchone()
    return None if row is None else _key(row)


def of_tenant(db: sqlite3.Connection, tenant: str) -> list[Key]:
    """Oldest first, the revoked ones too."""
    return [_key(row) for row in db.execute(_OF_TENANT, (tenant,))]


def page(db: sqlite3.Connection, tenant: str | None, after: str | None, limit: int) -> list[Key]:
    """The next `limit` keys of the tenant (None: of all), newest first, behind the key with the id `after`."""
    return [_key(row) for row in db.execute(_PAGE, {"tenant": tenant, "after": after, "limit": limit})]


def all_keys(db: sqlite3.Connection) -> list[Key]:
    """Oldest first, the revoked ones too."""
    return [_key(row) for row in db.execute(_ALL)]


def by_digest(db: sqlite3.Connection, digest: bytes) -> Key | None:
    row = db.execute(_BY_DIGEST, (digest,)).fetchone()
    return None if row is None else _key(row)


def named(db: sqlite3.Connection, name_or_id: str) -> Key | None:
    """The key of that id, or else the live one of that name; where only revoked ones have it, the newest of them.

    `AmbiguousKey` when several live keys have the name: ending all could end more than was meant.
    """
    rows = db.execute(_BY_ID, (name_or_id,)).fetchall() or db.execute(_BY_NAME, (name_or_id,)).fetchall()
    found = [_key(row) for row in rows]
    live = [key for key in found if key.revoked_at is None]
    if len(live) > 1:
        raise AmbiguousKey(name_or_id, [key.id for key in live])
    return next(iter(live or found), None)


def revoke(db: sqlite3.Connection, name_or_id: str, now: int) -> Key | None:
    """The key as it is now; one that was revoked before stays as it was. None: there is none. `AmbiguousKey`."""
    key = named(db, name_or_id)
    if key is None or key.revoked_at is not None:
        return key
    db.execute(_REVOKE, (now, key.id))
    return by_id(db, key.id)


def touch(db: sqlite3.Connection, key_id: str, now: int) -> None:
    db.execute(_TOUCH, (now, key_id, now))


def _limits_json(key: Key) -> bytes | None:
    return None if key.limits == UNLIMITED else _encode(key.limits)


def _key(row: Sequence[Any]) -> Key:
    id_, name, tenant, admin, created_at, revoked_at, last_used_at, chooses_channel, limits = row
    return Key(
        *(id_, name, tenant, bool(admin), created_at, revoked_at, last_used_at, bool(chooses_channel)),
        limits=UNLIMITED if limits is None else _limits(limits),
    )
