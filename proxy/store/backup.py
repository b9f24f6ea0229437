"""A copy of the store as it was at one moment, taken while servers write."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from proxy.errors import StoreError
from proxy.records import COPIED
from proxy.store import workers
from proxy.store.connection import BUSY_TIMEOUT, find_file
from proxy.store.errors import primary_code, translated
from proxy.store.lock import lives
from proxy.store.schema import MIGRATIONS

_PAGES: Final = 4096
"""Pages that are copied in one go; between two, an interrupt is heard."""
# The first release of each table that is counted or changed here: a copy must also be had of what is about to be
# upgraded.
_WORKERS_SINCE: Final = 2
_USERS_SINCE: Final = 4
_VIDEOS: Final = "SELECT count(*) FROM videos WHERE stage NOT IN ('refused', 'deleted')"
_UNFINISHED: Final = "SELECT count(*) FROM videos WHERE stage IN ('waiting', 'submitting', 'unknown', 'running')"
_KEYS: Final = "SELECT count(*) FROM keys WHERE revoked_at IS NULL"
_USERS: Final = "SELECT count(*) FROM users"


class Held(NamedTuple):
    """What a copy holds: videos that are listed, those of them that are not finished, keys that are not revoked, users,
    and the version of the schema."""

    videos: int
    unfinished: int
    keys: int
    users: int
    schema: int


class Snapshot:
    """The store as it is when this is made; made by `snapshot`. Blocks."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path: Final = path
        self._db = db
        db.execute("BEGIN")
        # Only a read begins the transaction; from now on, what others commit is not seen.
        self.schema: Final = int(db.execute("PRAGMA user_version").fetchone()[0])
        found = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'videos'").fetchone()
        if self.schema < 1 or not found[0]:
            raise StoreError(f"{path} is not a Reelgate store: name the server's data folder with --data")
        if self.schema > len(MIGRATIONS):
            raise StoreError(
                f"{path} was written by a newer Reelgate (its schema is {self.schema}, this one knows "
                f"{len(MIGRATIONS)}): back it up with that version"
            )

    def in_use(self) -> bool:
        """Whether a server is at work on the store, or may be."""
        if self.schema < _WORKERS_SINCE:
            return False
        now = time.time()
        for worker in workers.everyone(self._db):
            alive = lives(self.path, worker.owner) if worker.owner else False
            if alive or (alive is None and worker.expires_at > now):
                return True
        return False

    def copy(self, to: Path, *, moving: bool = False) -> Held:
        """Write the store into the empty file `to`, and check it whole. The leases in it are nobody's. Unless the store
        is `moving`, what waits is marked: a server that goes on with the store, now or later, may submit it.

        `StoreError` where the store is damaged, `OSError` where there is no room for the copy or a disk fails.
        """
        with closing(sqlite3.connect(to, isolation_level=None)) as copy:
            try:
                # It goes on in this connection's transaction: a step that began its own would begin from the first page
                # again whenever a server has written.
                self._db.backup(copy, pages=_PAGES, sleep=0)
                # One file, without a log beside it. The server makes it a WAL again.
                copy.execute("PRAGMA journal_mode = DELETE")
                self._disown(copy, moving)
                self._check(copy)
                return self._count(copy)
            except sqlite3.Error as error:
                number = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}.get(primary_code(error))
                if number is not None:
                    raise OSError(number, os.strerror(number)) from error
                raise translated(error, self.path) from error

    def _disown(self, copy: sqlite3.Connection, moving: bool) -> None:
        if self.schema >= _WORKERS_SINCE:
            # They would stand for processes of another machine, whose clock may be ahead.
            copy.execute("UPDATE workers SET owner = '', expires_at = 0")
        if not moving:
            # Video by video, and not by a time: the clock of the machine that starts from the copy may be behind.
            copy.execute("UPDATE videos SET attempt_id = ? WHERE stage = 'waiting'", (COPIED,))

    def _check(self, copy: sqlite3.Connection) -> None:
        (said,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if said == "ok" and copy.execute("PRAGMA foreign_key_check").fetchone() is not None:
            said = "a row names another one that is not there"
        if said != "ok":
            # It may speak in several lines.
            said = " ".join(said.split())
            raise StoreError(f"{self.path} is damaged ({said}): stop the server and put an earlier backup in its place")

    def _count(self, copy: sqlite3.Connection) -> Held:
        (videos,) = copy.execute(_VIDEOS).fetchone()
        (unfinished,) = copy.execute(_UNFINISHED).fetchone()
        (keys,) = copy.execute(_KEYS).fetchone()
        (users,) = copy.execute(_USERS).fetchone() if self.schema >= _USERS_SINCE else (0,)
        return Held(videos, unfinished, keys, users, self.schema)


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """The store in the file `path`, which is not changed, as it is now: held until the end of the block.

    `StoreError` where it is not there, cannot be read, or is not a store of this version or an earlier one.
    """
    find_file(path)
    db = None
    try:
        # Read-only, so that not even the last one to close it writes its log back. as_uri quotes what a name may have.
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
        )
        held = Snapshot(path, db)
    except sqlite3.Error as error:
        if db is not None:
            db.close()
        code = primary_code(error)
        if code == sqlite3.SQLITE_NOTADB:
            raise StoreError(f"{path} is not a Reelgate store (it is no SQLite file)") from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise StoreError(f"{path}: cannot read the store ({error}): run this as the user of the server") from error
        raise translated(error, path) from error
    except BaseException:
        if db is not None:
            db.close()
        raise
    with closing(db):
        yield held
