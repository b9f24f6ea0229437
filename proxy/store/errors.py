"""What the store raises, beside `StoreError` for a store that cannot be used at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from proxy.errors import ApiError, Outcome, RateLimited, ReelgateError, StoreError


class StoreBusy(ApiError):
    """The store cannot do this now (locked by another process, disk full); nothing of it was kept.

    Raised before anything is paid for, so that another try is safe and may help.
    """

    status = 503
    outcome = Outcome.CLIENT


class LeaseLost(ApiError):
    """Another process took over what this one held: nothing was written, and this process must end.

    A client may try again: it reaches another process.
    """

    status = 503
    outcome = Outcome.CLIENT


class ChannelFull(ReelgateError):
    """All places of a channel are taken, counted over every process on this store."""


class QueueFull(RateLimited):
    """The queue of waiting videos is full, as a whole or for this key."""


class StaleVideo(ReelgateError):
    """A change was made from an older version of a video than the store has: read it again and decide anew."""

    def __init__(self, video_id: str) -> None:
        super().__init__(f"video {video_id} has changed in the meantime: read it again before changing it")
        self.video_id = video_id


class DuplicateKey(ReelgateError):
    """The Idempotency-Key of this API key already stands for a video: look it up with `Store.idempotent`."""


class AmbiguousKey(ReelgateError):
    """Several live API keys have the name; `ids` are theirs."""

    def __init__(self, name: str, ids: list[str]) -> None:
        super().__init__(f"{len(ids)} keys are called {name!r}: say which one by its id ({', '.join(ids)})")
        self.ids = ids


# https://www.sqlite.org/rescode.html: what heals when the disk has room again or another process lets go.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

RETRY_AFTER: Final = 5.0
"""Seconds after which a client may try again."""


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code of `error`, 0 where it has none."""
    # The upper bits of an extended code only say more about the same trouble.
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def translated(error: Exception, path: Path) -> Exception:
    """`error` in the product's words where it is SQLite's trouble with the disk, a lock or the file; else itself."""
    code = primary_code(error)
    if code in _PASSING:
        busy = StoreBusy(f"the store cannot be used at the moment ({error}); try again", retry_after=RETRY_AFTER)
        busy.__cause__ = error
        return busy
    if code in _DAMAGED:
        damaged = StoreError(f"{path} is damaged ({error}): stop the server and put a backup in its place")
        damaged.__cause__ = error
        return damaged
    return error
