"""The group-commit writer: whatever waits when a commit ends goes into the next one, as one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from proxy.errors import Stopping
from proxy.store.connection import Connection
from proxy.store.errors import LeaseLost, translated

T = TypeVar("T")

MAX_BATCH: Final = 500
"""Operations in one transaction; larger ones hold the lock and the interpreter for too long."""
IDLE_FLUSH: Final = 0.25
"""Seconds after which what nobody waits for is written although nothing else is."""
MAX_QUEUED: Final = 10_000
"""Operations in the queue above which one that nobody waits for is dropped."""

log = logging.getLogger("reelgate.store")


Fence = Callable[[sqlite3.Connection], bool]
"""Whether this process still holds the leases that it thinks it holds, looked up inside of a transaction."""


class _Entry(NamedTuple):
    operation: Callable[[sqlite3.Connection], Any]
    then: Callable[[Any], None] | None
    future: asyncio.Future[Any] | None
    fenced: bool = False


class _Done(NamedTuple):
    result: Any
    error: Exception | None


class _Batch(NamedTuple):
    done: list[_Done]
    version: int
    """`PRAGMA data_version` of the connection: another number than before means that somebody else wrote."""


class Writer:
    """Runs operations on the one connection that writes, in the order they were given.

    An operation is a function of the `sqlite3.Connection` that neither begins nor commits. It is atomic: one that
    raises leaves nothing behind, and the others of its transaction are committed all the same.
    """

    def __init__(self, connection: Connection, *, foreign: Callable[[], None] = lambda: None) -> None:
        """`foreign` is called when another process turns out to have written, before anything of ours is told."""
        self._connection = connection
        self._foreign = foreign
        self._version: int | None = None
        self._unlooked = False
        self.fence: Fence | None = None
        """Set once this process holds leases."""
        self._queue: deque[_Entry] = deque()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.commits = 0
        self.operations = 0
        """Transactions that were committed, and the operations in them."""

    async def do(
        self,
        operation: Callable[[sqlite3.Connection], T],
        then: Callable[[T], None] | None = None,
        *,
        fenced: bool = False,
    ) -> T:
        """What `operation` returns, once it is on the disk; or what it raised.

        `then` is called with the result in the order of the commits, also when the caller was cancelled meanwhile.
        `StoreBusy` when the transaction failed, of which nothing was kept then; `Stopping` after `close`. A `fenced`
        operation is not carried out, but raises `LeaseLost`, once the `fence` says no.
        """
        if self._closed:
            raise Stopping("the server is stopping; try again in a moment")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Entry(operation, then, future, fenced))
        self._start()
        return await future

    async def look(self) -> bool:
        """Whether another process has written since the last look, be it that a commit of ours has seen it."""
        self._seen(await self._connection.run(_data_version))
        unlooked, self._unlooked = self._unlooked, False
        return unlooked

    def _seen(self, version: int) -> None:
        known, self._version = self._version, version
        if known is not None and known != version:
            self._unlooked = True
            self._foreign()

    def later(self, operation: Callable[[sqlite3.Connection], None]) -> None:
        """Run `operation` with the next commit, soon in any case; nobody is told.

        It is tried again until the store can be written, but dropped where very much waits already.
        """
        if self._closed or len(self._queue) >= MAX_QUEUED:
            return
        self._queue.append(_Entry(operation, None, None))
        self._wind()

    async def close(self) -> None:
        """Write all that waits. Afterwards nothing more is taken."""
        self._closed = True
        self._start()
        if self._task is not None:
            await self._task

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._queue:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    def _wind(self) -> None:
        if self._task is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_FLUSH, self._start)

    async def _drain(self) -> None:
        try:
            # There is no linger timer: the commit that runs is the window in which the next batch gathers.
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
                if not await self._write(batch) and not any(entry.future for entry in self._queue):
                    break
        finally:
            self._task = None
        if self._queue and not self._closed:
            self._wind()

    async def _write(self, batch: list[_Entry]) -> bool:
        operations = [(entry.operation, entry.fenced) for entry in batch]
        try:
            done, version = await self._connection.run(partial(_commit, operations, self.fence))
        except asyncio.CancelledError:
            for entry in (*batch, *self._queue):
                if entry.future is not None:
                    entry.future.cancel()
            raise
        except Exception as error:
            log.error("a commit of %d operations failed: %s", len(batch), error)
            self._fail(batch, error)
            return False
        self._seen(version)
        self.commits += 1
        self.operations += len(batch)
        for entry, (result, failure) in zip(batch, done, strict=True):
            if failure is None:
                if entry.then is not None:
                    entry.then(result)
                if entry.future is not None and not entry.future.done():
                    entry.future.set_result(result)
            elif entry.future is None:
                log.error("an operation that nobody waits for failed: %s", failure)
            elif not entry.future.done():
                entry.future.set_exception(translated(failure, self._connection.path))
        return True

    def _fail(self, batch: list[_Entry], error: Exception) -> None:
        # Each caller gets an exception of its own: one that is raised in many tasks would gather all their tracebacks.
        cause = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
        for entry in batch:
            if entry.future is not None and not entry.future.done():
                entry.future.set_exception(translated(cause, self._connection.path))
        # At the end: in front they would hold up those who wait for an answer.
        self._queue.extend(entry for entry in batch if entry.future is None)


_Operations = Sequence[tuple[Callable[[sqlite3.Connection], Any], bool]]


def _commit(operations: _Operations, fence: Fence | None, db: sqlite3.Connection) -> _Batch:
    """Run all operations in one transaction.

    Nearly always all of them succeed, and then a savepoint for each would be a third of the work; so the first try has
    none, and only when one fails is everything rolled back and run again with them.
    """
    if db.in_transaction:
        # A rollback that failed, on a disk that was away, is made up for.
        db.execute("ROLLBACK")
    try:
        db.execute("BEGIN IMMEDIATE")
        version = _data_version(db)
        lost = fence is not None and any(fenced for _, fenced in operations) and not fence(db)
        try:
            done = [_refused() if lost and fenced else _Done(operation(db), None) for operation, fenced in operations]
        except Exception:
            if not db.in_transaction:
                # SQLite gave the whole transaction up, as it does when the disk is full.
                raise
            db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            lost = fence is not None and not fence(db)
            done = [_refused() if lost and fenced else _isolated(operation, db) for operation, fenced in operations]
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise
    return _Batch(done, version)


def _data_version(db: sqlite3.Connection) -> int:
    # https://www.sqlite.org/pragma.html#pragma_data_version: it changes with the commits of other connections only.
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _refused() -> _Done:
    return _Done(None, LeaseLost("this process was taken for dead, and another one goes on with its videos"))


def _isolated(operation: Callable[[sqlite3.Connection], Any], db: sqlite3.Connection) -> _Done:
    db.execute("SAVEPOINT operation")
    try:
        done = _Done(operation(db), None)
    except Exception as error:
        if not db.in_transaction:
            raise
        db.execute("ROLLBACK TO operation")
        done = _Done(None, error)
    db.execute("RELEASE operation")
    return done
