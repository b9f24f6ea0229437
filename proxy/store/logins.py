"""SQL of the throttle of logins: failures of a subject, and as a subject of its own the last success of one at one
address, so that all of it stands a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

KNOWN: Final = "known:"
"""Begins a subject whose row is a success."""

_FAILURES: Final = """
    SELECT count(*), max(at) FROM (SELECT at FROM login_failures WHERE subject = ? AND at > ? ORDER BY at DESC LIMIT ?)
"""
_INSERT: Final = "INSERT INTO login_failures (subject, at) VALUES (?, ?)"
_DELETE: Final = "DELETE FROM login_failures WHERE subject = ?"
_DELETE_ROW: Final = "DELETE FROM login_failures WHERE rowid = ?"
_KNOWN: Final = "SELECT 1 FROM login_failures WHERE subject = ? AND at > ? LIMIT 1"
# The word is that of `KNOWN`.
_PRUNE: Final = "DELETE FROM login_failures WHERE at <= CASE WHEN substr(subject, 1, 6) = 'known:' THEN ? ELSE ? END"


class Rule(NamedTuple):
    """Of `subject`, `free` failures since `since` (unix seconds) go through; then one try in `every` seconds."""

    subject: str
    free: int
    since: float
    every: float


def admit(db: sqlite3.Connection, rules: Sequence[Rule], now: float) -> list[int] | float:
    """Note one failure for every rule and answer the rows, or note none and answer the seconds to wait.

    The failure is noted before the password is looked at: of many tries at once, no more go through.
    """
    wait = max(_wait(db, rule, now) for rule in rules)
    if wait > 0:
        return wait
    return [_row(db.execute(_INSERT, (rule.subject, now))) for rule in rules]


def known(db: sqlite3.Connection, subject: str, since: float) -> bool:
    """Whether there was a success of `subject` since then."""
    return db.execute(_KNOWN, (KNOWN + subject, since)).fetchone() is not None


def withdraw(db: sqlite3.Connection, admitted: Sequence[int]) -> None:
    """The tries `admitted` were none."""
    for row in admitted:
        db.execute(_DELETE_ROW, (row,))


def succeeded(db: sqlite3.Connection, subject: str, admitted: Sequence[int], now: float) -> None:
    """Note a success of `subject`, forget its failures, and that the tries `admitted` seemed to be some."""
    withdraw(db, admitted)
    db.execute(_DELETE, (subject,))
    db.execute(_DELETE, (KNOWN + subject,))
    db.execute(_INSERT, (KNOWN + subject, now))


def prune(db: sqlite3.Connection, successes: float, failures: float) -> None:
    """Forget what is as old as these unix seconds."""
    db.execute(_PRUNE, (successes, failures))


def _wait(db: sqlite3.Connection, rule: Rule, now: float) -> float:
    count, newest = db.execute(_FAILURES, (rule.subject, rule.since, rule.free)).fetchone()
    # After a step of the clock, a failure of the future must not close the door for long.
    return 0.0 if count < rule.free else min(newest + rule.every - now, rule.every)


def _row(done: sqlite3.Cursor) -> int:
    assert done.lastrowid is not None
    return done.lastrowid
