"""SQL of the users of the dashboard. A user is never deleted: its name, its videos and its keys stay its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from proxy.errors import InvalidRequest, Unauthorized
from proxy.records import Role, User
from proxy.store import sessions

_SELECT: Final = """
    SELECT id, name, role, tenant, password, created_at, password_at, disabled_at, last_login_at FROM users
"""
_INSERT: Final = """
    INSERT INTO users (id, name, role, tenant, password, created_at, password_at, disabled_at, last_login_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_BY_ID: Final = _SELECT + "WHERE id = ?"
_BY_NAME: Final = _SELECT + "WHERE name = ?"
_BY_TENANT: Final = _SELECT + "WHERE tenant = ?"
_ALL: Final = _SELECT + "ORDER BY created_at, id"
_PASSWORD: Final = "UPDATE users SET password = ?, password_at = ? WHERE id = ?"  # noqa: S105 - SQL
_REHASH: Final = "UPDATE users SET password = ? WHERE id = ? AND password = ?"
_ROLE: Final = "UPDATE users SET role = ? WHERE id = ?"
_DISABLED: Final = "UPDATE users SET disabled_at = ? WHERE id = ?"
_LOGGED_IN: Final = "UPDATE users SET last_login_at = ? WHERE id = ?"
_OTHER_ADMIN: Final = "SELECT 1 FROM users WHERE role = 'admin' AND disabled_at IS NULL AND id <> ? LIMIT 1"


class NameTaken(InvalidRequest):
    """Another user has the name, in whatever case; `param` is `name`."""


class LastAdmin(InvalidRequest):
    """Nobody could manage the users any more."""


def insert(db: sqlite3.Connection, user: User) -> None:
    """Store a new user; `NameTaken` where another one has its name or its tenant."""
    values = (
        *(user.id, user.name, user.role, user.tenant, user.password),
        *(user.created_at, user.password_at, user.disabled_at, user.last_login_at),
    )
    if db.execute(_INSERT, values).rowcount == 0:
        raise NameTaken(f"There is a user '{user.name}' already: take another name.", param="name")


def by_id(db: sqlite3.Connection, user_id: str) -> User | None:
    return _found(db.execute(_BY_ID, (user_id,)))


def by_name(db: sqlite3.Connection, name: str) -> User | None:
    """The user of that name, in whatever case."""
    return _found(db.execute(_BY_NAME, (name,)))


def by_tenant(db: sqlite3.Connection, tenant: str) -> User | None:
    """The user whose tenant it is."""
    return _found(db.execute(_BY_TENANT, (tenant,)))


def all_users(db: sqlite3.Connection) -> list[User]:
    """Oldest first, the disabled ones too."""
    return [_user(row) for row in db.execute(_ALL)]


def set_password(db: sqlite3.Connection, user_id: str, hashed: str, now: int, keep: str | None) -> None:
    """Change the password, and end all sessions of the user but the one with the id `keep`; `Unauthorized` where that
    has ended: then somebody else was faster, and meant it."""
    db.execute(_PASSWORD, (hashed, now, user_id))
    sessions.delete_all(db, user_id, keep)
    if keep is not None and not sessions.any_of(db, user_id):
        raise Unauthorized("Your session has ended meanwhile, so the password was not changed. Log in again.")


def rehash(db: sqlite3.Connection, user_id: str, before: str, hashed: str) -> None:
    """Put another hash of the same password in the place of `before`, unless that has changed meanwhile."""
    db.execute(_REHASH, (hashed, user_id, before))


def set_role(db: sqlite3.Connection, user_id: str, role: Role) -> None:
    """Change the role; `LastAdmin` where no enabled admin would be left."""
    if role != "admin":
        _keep_an_admin(db, user_id)
    db.execute(_ROLE, (role, user_id))


def set_disabled(db: sqlite3.Connection, user_id: str, disabled_at: int | None) -> None:
    """Disable the user and end its sessions, or for None enable it; `LastAdmin` where no enabled admin would stay."""
    if disabled_at is not None:
        _keep_an_admin(db, user_id)
        sessions.delete_all(db, user_id)
    db.execute(_DISABLED, (disabled_at, user_id))


def logged_in(db: sqlite3.Connection, user_id: str, now: int) -> None:
    db.execute(_LOGGED_IN, (now, user_id))


def _keep_an_admin(db: sqlite3.Connection, user_id: str) -> None:
    found = by_id(db, user_id)
    if found is None or found.role != "admin" or found.disabled_at is not None:
        return
    if db.execute(_OTHER_ADMIN, (user_id,)).fetchone() is None:
        raise LastAdmin(
            f"'{found.name}' is the only admin who can log in: make another user an admin first, "
            "or nobody could manage the users any more."
        )


def _found(rows: sqlite3.Cursor) -> User | None:
    row = rows.fetchone()
    return None if row is None else _user(row)


def _user(row: Sequence[Any]) -> User:
    id_, name, role, tenant, password, created_at, password_at, disabled_at, last_login_at = row
    return User(
        id=id_,
        name=name,
        role=role,
        tenant=tenant,
        password=password,
        created_at=created_at,
        password_at=password_at,
        disabled_at=disabled_at,
        last_login_at=last_login_at,
    )
