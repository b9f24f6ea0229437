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
    (
        # A lease: whoever owns a worker's row polls and submits the videos that it holds. `epoch` is the fencing
        # number: it grows whenever the row gets another owner.
        """
        CREATE TABLE workers (
            id INTEGER PRIMARY KEY NOT NULL,
            owner TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            expires_at REAL NOT NULL
        ) STRICT
        """,
        "INSERT INTO workers (id, owner, epoch, expires_at) VALUES (1, '', 0, 0)",
        "ALTER TABLE videos ADD COLUMN holder INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE videos ADD COLUMN replaces_id TEXT",
        "ALTER TABLE videos ADD COLUMN replaced_by_id TEXT",
        "CREATE INDEX videos_at_upstream ON videos (channel) WHERE stage IN ('submitting', 'unknown', 'running')",
        "CREATE INDEX videos_waiting ON videos (key_id) WHERE stage = 'waiting'",
        "ALTER TABLE attempts ADD COLUMN decision TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE attempts ADD COLUMN job_json BLOB",
        "ALTER TABLE attempts ADD COLUMN settled TEXT",
        "CREATE INDEX attempts_unsettled ON attempts (id) WHERE state = 'unknown' AND settled IS NULL",
        """
        CREATE INDEX attempts_late ON attempts (id)
        WHERE state = 'taken' AND job_json IS NOT NULL AND settled IS NULL
        """,
        "ALTER TABLE keys ADD COLUMN chooses_channel INTEGER NOT NULL DEFAULT 0",
        # What changed, written with the change and read by those who must hear of it at least once.
        """
        CREATE TABLE outbox (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            video_id TEXT NOT NULL,
            before TEXT NOT NULL,
            after TEXT NOT NULL,
            at REAL NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE webhook_endpoints (
            id TEXT PRIMARY KEY NOT NULL,
            tenant TEXT NOT NULL,
            name TEXT NOT NULL,
            url TEXT NOT NULL,
            event_types TEXT NOT NULL,
            secret TEXT NOT NULL,
            old_secret TEXT,
            old_secret_until REAL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            stopped_at REAL
        ) STRICT
        """,
        "CREATE INDEX webhook_endpoints_of_tenant ON webhook_endpoints (tenant, id)",
        """
        CREATE TABLE deliveries (
            id TEXT PRIMARY KEY NOT NULL,
            endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
            event_id TEXT NOT NULL,
            event_type TEXT NOT NULL,
            video_id TEXT NOT NULL,
            created_at REAL NOT NULL,
            state TEXT NOT NULL,
            tries INTEGER NOT NULL,
            next_at REAL NOT NULL,
            ended_at REAL,
            last_status INTEGER,
            note TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'pending'",
        "CREATE INDEX deliveries_of_endpoint ON deliveries (endpoint_id, state, next_at)",
        "CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL",
        """
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            subject TEXT NOT NULL,
            details TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX audit_of_subject ON audit (subject, id)",
        "PRAGMA user_version = 2",
    ),
    (
        """
        CREATE TABLE files (
            id TEXT PRIMARY KEY NOT NULL,
            tenant TEXT NOT NULL,
            key_id TEXT NOT NULL,
            filename TEXT NOT NULL,
            purpose TEXT NOT NULL,
            media_type TEXT NOT NULL,
            size INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX files_of_tenant ON files (tenant, id)",
        "CREATE INDEX files_expiring ON files (expires_at)",
        """
        CREATE TABLE archive (
            video_id TEXT PRIMARY KEY NOT NULL,
            channel TEXT NOT NULL,
            state TEXT NOT NULL,
            size INTEGER,
            sha256 TEXT,
            tries INTEGER NOT NULL,
            next_at REAL NOT NULL,
            stored_at REAL,
            note TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX archive_due ON archive (next_at) WHERE state = 'due'",
        "CREATE INDEX archive_stored ON archive (stored_at, size) WHERE state = 'stored'",
        "CREATE INDEX archive_leaving ON archive (video_id) WHERE state = 'removed' AND size IS NOT NULL",
        "PRAGMA user_version = 3",
    ),
    (
        # Amounts are whole billionths of a dollar (proxy/money.py): `price` of what was ordered, `cost` in the end.
        "ALTER TABLE videos ADD COLUMN price INTEGER",
        "ALTER TABLE videos ADD COLUMN cost INTEGER",
        "CREATE INDEX videos_by_time ON videos (created_at)",
        "CREATE INDEX videos_active ON videos (key_id) WHERE stage IN ('waiting', 'submitting', 'unknown', 'running')",
        "CREATE INDEX videos_from ON videos (source_id) WHERE source_id IS NOT NULL",
        # `reserved_at` is when the video was ordered: what is given back, is given back to the budget of that time.
        """
        CREATE TABLE ledger (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            reserved_at INTEGER NOT NULL,
            tenant TEXT NOT NULL,
            key_id TEXT NOT NULL,
            video_id TEXT NOT NULL,
            model TEXT NOT NULL,
            channel TEXT NOT NULL,
            kind TEXT NOT NULL,
            amount INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX ledger_of_key ON ledger (key_id, reserved_at, amount) WHERE amount <> 0",
        "CREATE INDEX ledger_of_video ON ledger (video_id, seq)",
        "CREATE INDEX ledger_by_time ON ledger (reserved_at) WHERE amount <> 0",
        """
        CREATE TRIGGER ledger_stays BEFORE UPDATE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger only appends'); END
        """,
        """
        CREATE TRIGGER ledger_keeps BEFORE DELETE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger only appends'); END
        """,
        # The limits of a key, as JSON.
        "ALTER TABLE keys ADD COLUMN limits BLOB",
        "CREATE INDEX keys_of_tenant ON keys (tenant, created_at)",
        """
        CREATE TABLE users (
            id TEXT PRIMARY KEY NOT NULL,
            name TEXT NOT NULL UNIQUE COLLATE NOCASE,
            role TEXT NOT NULL,
            tenant TEXT NOT NULL UNIQUE,
            password TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            password_at INTEGER NOT NULL,
            disabled_at INTEGER,
            last_login_at INTEGER
        ) STRICT
        """,
        # `digest` is the SHA-256 of what the cookie says.
        """
        CREATE TABLE sessions (
            digest BLOB PRIMARY KEY NOT NULL,
            id TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            created_at REAL NOT NULL,
            seen_at REAL NOT NULL,
            address TEXT NOT NULL,
            agent TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX sessions_of_user ON sessions (user_id, created_at)",
        # Failed logins, by account and by address: see proxy/accounts/logins.py.
        """
        CREATE TABLE login_failures (
            subject TEXT NOT NULL,
            at REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX login_failures_of_subject ON login_failures (subject, at)",
        # What is sent to an endpoint, newest first.
        "CREATE INDEX deliveries_by_time ON deliveries (endpoint_id, created_at, id)",
        # What an operator switched off or on over channels.yaml.
        """
        CREATE TABLE channel_switches (
            channel TEXT PRIMARY KEY NOT NULL,
            enabled INTEGER NOT NULL,
            at REAL NOT NULL,
            actor TEXT NOT NULL
        ) STRICT
        """,
        "PRAGMA user_version = 4",
    ),
)

TABLES: Final = frozenset(
    {
        *("videos", "attempts", "idempotency", "characters", "keys", "settings"),
        *("workers", "outbox", "webhook_endpoints", "deliveries", "audit"),
        *("files", "archive"),
        *("ledger", "users", "sessions", "login_failures", "channel_switches"),
    }
)
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
