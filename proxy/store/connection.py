"""Connections to the SQLite file: one function in SQLite's own thread is one hop."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, cast

import aiosqlite

from proxy.errors import Stopping, StoreError
from proxy.store.errors import primary_code, translated

T = TypeVar("T")

BUSY_TIMEOUT: Final = 5.0
"""Seconds that a statement waits for another process to let go of the file."""


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs whole functions: cursor calls one by one cost a hop between threads each."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], path: Path) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self.path = path
        # A process that dies of an exception must end although nobody closed its store; the file stands a kill.
        self._thread.daemon = True
        self._closing = False

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """`function(connection)` in the connection's thread, after all that was queued before it.

        SQLite's errors come out as `StoreBusy` or `StoreError` where they are the disk's or the file's; `Stopping`
        after the connection was closed.
        """
        if self._closing or self._connection is None:
            raise Stopping("the server is stopping; try again in a moment")
        try:
            return cast(T, await self._execute(function, self._connection))  # type: ignore[no-untyped-call]
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    async def close(self) -> None:
        """Close after all that was queued. Closing twice is fine."""
        self._closing = True
        await super().close()


async def connect(path: Path, *, query_only: bool = False) -> Connection:
    """Open `path`; with `query_only` writing is refused. `StoreError` says why the file cannot be used."""
    connection = Connection(lambda: _open(path, query_only), path)
    try:
        await connection
    except BaseException as error:
        # The thread still has a word to say to this loop, which may close right after us.
        await asyncio.to_thread(connection._thread.join)
        if isinstance(error, sqlite3.Error):
            raise unusable(path, error) from error
        raise
    return connection


def create_file(path: Path) -> None:
    """Make an empty store at `path`, and the folder it lies in, readable by us alone; what is there stays.

    Blocks; `StoreError` where the place cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _forbidden(path, error) from error


def find_file(path: Path) -> None:
    """`StoreError` where there is no store at `path` or it cannot be looked for. Blocks."""
    try:
        there = path.is_file()
    except OSError as error:
        raise _forbidden(path, error) from error
    if not there:
        raise StoreError(f"there is no store at {path}: start the server once, or name its folder with --data")


def _forbidden(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot write the store ({error.strerror}): check the folder's owner and permissions, "
        "or name another one with --data"
    )


def _open(path: Path, query_only: bool) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        if query_only:
            db.execute("PRAGMA query_only = ON")
        else:
            _to_wal(db, path)
            # A video is acknowledged when its commit is on the disk (P1), which NORMAL does not wait for.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        db.close()
        raise
    return db


def _to_wal(db: sqlite3.Connection, path: Path) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait here by itself when two processes open a new file at once.
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(f"{path}: the file system cannot hold a write-ahead log: keep the data folder on a local disk")


def unusable(path: Path, error: sqlite3.Error) -> StoreError:
    """Why the store cannot be opened, and what to do."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError(
            f"{path} is not a Reelgate store (it is no SQLite file): move it away or choose another --data"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"{path}: cannot write the store ({error}): check the owner and permissions of file and folder"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(
            f"{path}: the disk is full: free some space, or name a data folder on another one with --data"
        )
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"{path} is locked by another process: stop it, or try again")
    reason = translated(error, path)
    return reason if isinstance(reason, StoreError) else StoreError(f"{path}: cannot use the store ({error})")
