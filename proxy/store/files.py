"""SQL of the files that clients uploaded. A file whose `expires_at` has come is as good as gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from proxy.records import StoredFile

_SELECT: Final = """
    SELECT id, tenant, key_id, filename, purpose, media_type, size, created_at, expires_at FROM files
"""
_INSERT: Final = """
    INSERT INTO files (id, tenant, key_id, filename, purpose, media_type, size, created_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_USED: Final = "SELECT count(*), coalesce(sum(size), 0) FROM files WHERE tenant = ? AND expires_at > ?"
_FIND: Final = _SELECT + "WHERE tenant = ? AND id = ? AND expires_at > ?"
_OLDEST_FIRST: Final = (
    _SELECT + "WHERE tenant = ? AND id > ? AND expires_at > ? AND purpose = coalesce(?, purpose) ORDER BY id LIMIT ?"
)
_NEWEST_FIRST: Final = (
    _SELECT
    + "WHERE tenant = ? AND id < ? AND expires_at > ? AND purpose = coalesce(?, purpose) ORDER BY id DESC LIMIT ?"
)
_DELETE: Final = "DELETE FROM files WHERE tenant = ? AND id = ? AND expires_at > ?"
_PRUNE: Final = "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE expires_at <= ? LIMIT ?) RETURNING id"
_IDS: Final = "SELECT id FROM files"

_BEHIND_ALL_IDS: Final = "~"


def insert(db: sqlite3.Connection, file: StoredFile, *, most_bytes: int, most_files: int) -> bool:
    """Store a new file; False, and nothing is stored, where its tenant would then have more than `most_bytes` bytes or
    `most_files` files that have not expired when this one was made."""
    count, used = db.execute(_USED, (file.tenant, file.created_at)).fetchone()
    if count >= most_files or used + file.size > most_bytes:
        return False
    db.execute(
        _INSERT,
        (
            *(file.id, file.tenant, file.key_id, file.filename, file.purpose, file.media_type, file.size),
            *(file.created_at, file.expires_at),
        ),
    )
    return True


def find(db: sqlite3.Connection, tenant: str, file_id: str, now: float) -> StoredFile | None:
    """The tenant's file of that id."""
    row = db.execute(_FIND, (tenant, file_id, now)).fetchone()
    return None if row is None else _file(row)


def page(
    db: sqlite3.Connection,
    tenant: str,
    *,
    after: str | None,
    limit: int,
    newest_first: bool,
    purpose: str | None,
    now: float,
) -> list[StoredFile]:
    """The next `limit` files of the tenant behind the id `after`, which may be gone meanwhile; of one purpose, or for
    None of all."""
    if newest_first:
        rows = db.execute(_NEWEST_FIRST, (tenant, after or _BEHIND_ALL_IDS, now, purpose, limit))
    else:
        rows = db.execute(_OLDEST_FIRST, (tenant, after or "", now, purpose, limit))
    return [_file(row) for row in rows]


def delete(db: sqlite3.Connection, tenant: str, file_id: str, now: float) -> bool:
    """Forget the tenant's file; whether there was one."""
    return db.execute(_DELETE, (tenant, file_id, now)).rowcount > 0


def prune(db: sqlite3.Connection, now: float, limit: int) -> list[str]:
    """Forget at most `limit` files that have expired; their ids."""
    return [file_id for (file_id,) in db.execute(_PRUNE, (now, limit)).fetchall()]


def ids(db: sqlite3.Connection) -> set[str]:
    """The ids of all files, whosever they are, expired ones too."""
    return {file_id for (file_id,) in db.execute(_IDS)}


def _file(row: Sequence[Any]) -> StoredFile:
    id_, tenant, key_id, filename, purpose, media_type, size, created_at, expires_at = row
    return StoredFile(
        id=id_,
        tenant=tenant,
        key_id=key_id,
        filename=filename,
        purpose=purpose,
        media_type=media_type,
        size=size,
        created_at=created_at,
        expires_at=expires_at,
    )
