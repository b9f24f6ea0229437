"""SQL of the switches: which channels an operator has switched off or on over channels.yaml."""

from __future__ import annotations

import sqlite3
from typing import Final

_ALL: Final = "SELECT channel, enabled FROM channel_switches"
_SAVE: Final = """
    INSERT INTO channel_switches (channel, enabled, at, actor) VALUES (?, ?, ?, ?)
    ON CONFLICT (channel) DO UPDATE SET enabled = excluded.enabled, at = excluded.at, actor = excluded.actor
"""
_FORGET: Final = "DELETE FROM channel_switches WHERE channel = ?"


def every(db: sqlite3.Connection) -> dict[str, bool]:
    """Channel name -> whether it takes new videos."""
    return {channel: bool(enabled) for channel, enabled in db.execute(_ALL)}


def save(db: sqlite3.Connection, channel: str, enabled: bool | None, *, at: float, actor: str) -> None:
    """Switch a channel off or on at `at` (unix seconds); None: it goes by the file again."""
    if enabled is None:
        db.execute(_FORGET, (channel,))
    else:
        db.execute(_SAVE, (channel, enabled, at, actor))
