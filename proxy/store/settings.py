"""SQL of the facts of the installation."""

from __future__ import annotations

import sqlite3
from typing import Final

_FIND: Final = "SELECT value FROM settings WHERE name = ?"
_SAVE: Final = """
    INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


def find(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute(_FIND, (name,)).fetchone()
    return None if row is None else str(row[0])


def save(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute(_SAVE, (name, value))
