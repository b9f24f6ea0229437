"""What is wrong with the store, and what waits in it. It is only read, also where a server writes it meanwhile."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import quote

from proxy.doctor.findings import Finding
from proxy.store import inbox, lock, schema, switches, videos, workers

CHECKED_WITHIN: Final = 20.0
"""Seconds that the check of the file's pages may take."""
MANY: Final = 1000

_ARCHIVED: Final = "SELECT coalesce(sum(size), 0) FROM archive WHERE state = 'stored'"
_STEPS: Final = 10_000
"""Of SQLite's machine between two looks at the clock."""


class Stored(NamedTuple):
    """`switched`: which channels an operator has switched on or off over the file; `pins`: how many videos each channel
    has; `archived`: the bytes of all copies
    in the archive; `served`: whether a server works on the store."""

    findings: list[Finding]
    switched: Mapping[str, bool] = MappingProxyType({})
    pins: Mapping[str, int] = MappingProxyType({})
    archived: int = 0
    served: bool = False


def look(path: Path, channels: Collection[str] | None) -> Stored:
    """Look at the store in the file `path`; `channels` are the names in channels.yaml, None where they are not known
    for sure. Blocks."""
    try:
        if not path.exists():
            return Stored([Finding("ok", "store", f"{path} is not there yet: the first start makes it")])
        if not _in_use(path):
            found = _read(path, channels, "immutable=1")
            # Unless a server has begun to write meanwhile.
            if not _in_use(path):
                return found
        return _read(path, channels, "mode=ro")
    except (sqlite3.Error, OSError) as error:
        return Stored([_wrong(f"{path} cannot be read ({error}): check its owner, or restore the newest backup")])


def _in_use(path: Path) -> bool:
    """Whether a log lies beside the store. Where none does, reading it as usual would leave one behind."""
    return path.with_name(f"{path.name}-wal").exists()


def _read(path: Path, channels: Collection[str] | None, how: str) -> Stored:
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, timeout=2.0)) as db:
        return _look(db, path, channels)


def _look(db: sqlite3.Connection, path: Path, channels: Collection[str] | None) -> Stored:
    newest = len(schema.MIGRATIONS)
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        said = f"{path} was written by a newer Reelgate (schema {version}, this one knows {newest}): install that again"
        return Stored([_wrong(said)])
    if version < newest:
        said = f"{path} has schema {version} of {newest}: the next start brings it up to date; make a backup before"
        return Stored([Finding("?", "store", said)])
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing := schema.TABLES - names:
        return Stored(
            [_wrong(f"{path} is no Reelgate store (it has no table {min(missing)}): name another --data")], {}
        )
    served = any(one.owner and lock.lives(path, one.owner) for one in workers.everyone(db))
    findings = [_whole(db, path, served), *_doubts(db)]
    pins = videos.pins(db)
    if channels is not None:
        findings += _orphans(pins, channels)
    (archived,) = db.execute(_ARCHIVED).fetchone()
    return Stored(findings, switches.every(db), pins, int(archived), served)


def _whole(db: sqlite3.Connection, path: Path, served: bool) -> Finding:
    deadline = time.monotonic() + CHECKED_WITHIN
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return Finding(
            "?", "store", f"{path} is too big to be checked in {CHECKED_WITHIN:.0f} s; as far as that, it is whole"
        )
    finally:
        db.set_progress_handler(None, 0)
    if said != "ok":
        return _wrong(f"{path} is damaged ({said}): stop the server and restore the newest backup")
    return Finding("ok", "store", f"{path} is whole" + ("; a server works on it" if served else ""))


def _doubts(db: sqlite3.Connection) -> Iterator[Finding]:
    found = len(inbox.page(db, None, MANY))
    if found:
        number = f"{MANY} or more" if found == MANY else str(found)
        said = f"{number} {'video waits' if found == 1 else 'videos wait'} for an answer: reelgate videos unknown"
        yield Finding("?", "unknown outcomes", said)
    else:
        yield Finding("ok", "unknown outcomes", "none")


def _orphans(pins: Mapping[str, int], channels: Collection[str]) -> Iterator[Finding]:
    for name, number in sorted(pins.items()):
        if name not in channels:
            belong = "1 video belongs" if number == 1 else f"{number} videos belong"
            said = (
                f"{belong} to it, but it is not in channels.yaml: what needs its upstream waits until the name is back"
            )
            yield Finding("?", f"channel {name}", said)


def _wrong(said: str) -> Finding:
    return Finding("wrong", "store", said)
