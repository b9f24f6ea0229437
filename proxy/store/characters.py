"""SQL of the characters."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.records import Character

_INSERT: Final = """
    INSERT INTO characters (id, tenant, channel, upstream_id, name, created_at) VALUES (?, ?, ?, ?, ?, ?)
"""
_FIND: Final = "SELECT id, tenant, channel, upstream_id, name, created_at FROM characters WHERE id = ?"


def insert(db: sqlite3.Connection, character: Character) -> None:
    db.execute(
        _INSERT,
        (
            character.id,
            character.tenant,
            character.channel,
            character.upstream_id,
            character.name,
            character.created_at,
        ),
    )


def find(db: sqlite3.Connection, character_id: str) -> Character | None:
    row = db.execute(_FIND, (character_id,)).fetchone()
    if row is None:
        return None
    id_, tenant, channel, upstream_id, name, created_at = row
    return Character(id=id_, tenant=tenant, channel=channel, upstream_id=upstream_id, name=name, created_at=created_at)
