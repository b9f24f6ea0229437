"""The tables, as an append-only list of steps: what was released is never edited, a change is a new step at the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from proxy.errors import StoreError
from proxy.store.errors import primary_code

# Each step ends by writing its own number, counted from 1, into the file. `stage NOT IN (…)` of an index must be
# spelt in a query as it is here, or SQLite does not see that the index serves it.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE videos (
            id TEXT PRIMARY KEY NOT NULL,
            tenant TEXT NOT NULL,
            key_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            model TEXT NOT NULL,
            upstream_model TEXT NOT NULL,
            channel TEXT NOT NULL,
            stage TEXT NOT NULL,
            status TEXT NOT NULL,
            progress INTEGER NOT NULL,
            prompt TEXT NOT NULL,
            seconds INTEGER NOT NULL,
            size TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            completed_at INTEGER,
            expires_at INTEGER,
            source_id TEXT,
            error_code TEXT,
            error_message TEXT,
            metadata BLOB,
            order_json BLOB NOT NULL,
            job_json BLOB,
            attempt_id TEXT,
            fingerprint BLOB NOT NULL,
            answered INTEGER NOT NULL,
            changed_at REAL NOT NULL,
            submit_after REAL NOT NULL,
            version INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX videos_listed ON videos (tenant, id) WHERE stage NOT IN ('refused', 'deleted')",
        """
        CREATE INDEX videos_unfinished ON videos (stage, id)
        WHERE stage IN ('waiting', 'submitting', 'unknown', 'running')
        """,
        "CREATE INDEX videos_unanswered ON videos (key_id, fingerprint) WHERE answered = 0",
        """
        CREATE TABLE attempts (
            id TEXT PRIMARY KEY NOT NULL,
            video_id TEXT NOT NULL REFERENCES videos (id),
            channel TEXT NOT NULL,
            state TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            upstream_id TEXT,
            note TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX attempts_of_video ON attempts (video_id, id)",
        """
        CREATE TABLE idempotency (
            key_id TEXT NOT NULL,
            idempotency_key TEXT NOT NULL,
            fingerprint BLOB NOT NULL,
            video_id TEXT NOT NULL REFERENCES videos (id),
            created_at REAL NOT NULL,
            answer BLOB,
            PRIMARY KEY (key_id, idempotency_key)
        ) STRICT
        """,
        "CREATE INDEX idempotency_of_video ON idempotency (video_id)",
        "CREATE INDEX idempotency_by_age ON idempotency (created_at)",
        """
        CREATE TABLE characters (
            id TEXT PRIMARY KEY NOT NULL,
            tenant TEXT NOT NULL,
            channel TEXT NOT NULL,
            upstream_id TEXT NOT NULL,
            name TEXT NOT NULL,
            created_at INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE keys (
            id TEXT PRIMARY KEY NOT NULL,
            name TEXT NOT NULL,
            tenant TEXT NOT NULL,
            admin INTEGER NOT NULL,
            digest BLOB NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            revoked_at INTEGER,
            last_used_at INTEGER
        ) STRICT
        """,
        "CREATE TABLE settings (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT",
        "PRAGMA user_version = 1",
    ),
)

TABLES: Final = frozenset({"videos", "attempts", "idempotency", "characters", "keys", "settings"})
"""Ours; others in the same file, such as a replication tool's, are left alone."""


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file up to the newest schema, each step in a transaction of its own.

    `StoreError` where the file was written by a newer Reelgate or belongs to another program.
    """
    while (version := _version(db)) < len(MIGRATIONS):
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster.
            if _version(db) == version:
                for statement in MIGRATIONS[version]:
                    db.execute(statement)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if primary_code(error) == sqlite3.SQLITE_ERROR:
                raise StoreError(f"{path} is not a Reelgate store ({error}): choose another data folder") from error
            raise
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer Reelgate (its schema is {version}, this one knows {len(MIGRATIONS)}): "
            "install that version again, or choose another data folder"
        )
    missing = TABLES - {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing:
        raise StoreError(f"{path} is not a Reelgate store (it has no table {min(missing)}): choose another data folder")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
