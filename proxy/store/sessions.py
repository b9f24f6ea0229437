"""SQL of the sessions of the dashboard: what a cookie says is never stored, only its SHA-256."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from proxy.records import Session

_INSERT: Final = """
    INSERT INTO sessions (digest, id, user_id, created_at, seen_at, address, agent) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_SELECT: Final = "SELECT id, user_id, created_at, seen_at, address, agent FROM sessions "
_FIND: Final = _SELECT + "WHERE digest = ?"
_OF_USER: Final = _SELECT + "WHERE user_id = ? AND created_at > ? AND seen_at > ? ORDER BY seen_at DESC, id DESC"
_TOUCH: Final = "UPDATE sessions SET seen_at = ? WHERE digest = ? AND seen_at < ?"
_DELETE: Final = "DELETE FROM sessions WHERE digest = ?"
_DELETE_ONE: Final = "DELETE FROM sessions WHERE user_id = ? AND id = ?"
_DELETE_ALL: Final = "DELETE FROM sessions WHERE user_id = ? AND id IS NOT ?"
_ANY: Final = "SELECT 1 FROM sessions WHERE user_id = ? LIMIT 1"
_CROWD: Final = """
    DELETE FROM sessions WHERE user_id = ? AND digest NOT IN
        (SELECT digest FROM sessions WHERE user_id = ? ORDER BY seen_at DESC, id DESC LIMIT ?)
"""
_PRUNE: Final = "DELETE FROM sessions WHERE created_at <= ? OR seen_at <= ?"


class Ends(NamedTuple):
    """A session is over that was made, or last used, at these unix seconds or before."""

    created: float
    seen: float


def insert(db: sqlite3.Connection, session: Session, digest: bytes, most: int) -> None:
    """Store a new session; where its user has more than `most`, those that were not used for longest end."""
    db.execute(
        _INSERT,
        (
            *(digest, session.id, session.user_id, session.created_at),
            *(session.seen_at, session.address, session.agent),
        ),
    )
    db.execute(_CROWD, (session.user_id, session.user_id, most))


def find(db: sqlite3.Connection, digest: bytes) -> Session | None:
    """The session of that digest, also one that is over."""
    row = db.execute(_FIND, (digest,)).fetchone()
    return None if row is None else _session(*row)


def of_user(db: sqlite3.Connection, user_id: str, ends: Ends) -> list[Session]:
    """Those that are not over, the last used first."""
    return [_session(*row) for row in db.execute(_OF_USER, (user_id, ends.created, ends.seen))]


def touch(db: sqlite3.Connection, digest: bytes, now: float) -> None:
    db.execute(_TOUCH, (now, digest, now))


def delete(db: sqlite3.Connection, digest: bytes) -> None:
    db.execute(_DELETE, (digest,))


def delete_one(db: sqlite3.Connection, user_id: str, session_id: str) -> bool:
    """End the user's session; whether there was one."""
    return db.execute(_DELETE_ONE, (user_id, session_id)).rowcount > 0


def delete_all(db: sqlite3.Connection, user_id: str, but: str | None = None) -> int:
    """End all sessions of the user, but the one with the id `but`; how many there were."""
    return db.execute(_DELETE_ALL, (user_id, but)).rowcount


def any_of(db: sqlite3.Connection, user_id: str) -> bool:
    """Whether the user has a session."""
    return db.execute(_ANY, (user_id,)).fetchone() is not None


def prune(db: sqlite3.Connection, ends: Ends) -> None:
    """Forget the sessions that are over."""
    db.execute(_PRUNE, (ends.created, ends.seen))


def _session(id_: str, user_id: str, created_at: float, seen_at: float, address: str, agent: str) -> Session:
    return Session(id=id_, user_id=user_id, created_at=created_at, seen_at=seen_at, address=address, agent=agent)
