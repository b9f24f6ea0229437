"""A store as the first schema had it, for tests of the upgrade."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from proxy.records import Attempt, Video
from proxy.store import schema

ENCODED = ("order_json", "job_json")


def write_first_version(path: Path, videos: Iterable[Video], attempts: Iterable[Attempt] = ()) -> None:
    """Make the file `path` with these rows; what the first schema does not know of them is left out. Blocks."""
    encode = msgspec.json.encode
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in schema.MIGRATIONS[0]:
            db.execute(statement)
        for video in videos:
            job = None if video.job is None else encode(video.job)
            _insert(db, "videos", video, order_json=encode(video.order), job_json=job)
        for attempt in attempts:
            _insert(db, "attempts", attempt)


def _insert(db: sqlite3.Connection, table: str, record: Video | Attempt, **encoded: bytes | None) -> None:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    values = [encoded[name] if name in ENCODED else getattr(record, name) for name in columns]
    db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", values)
