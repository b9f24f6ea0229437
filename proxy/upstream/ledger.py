"""What the calls of one submission have shown: whether something may have been paid for already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Submission:
    """What the calls inside a `submission()` have shown so far.

    `taken` is True from the moment that a paid request may have left until the upstream refused it. Whatever fails
    while it is True has the outcome `UNKNOWN`, even a later call that by itself would be a refusal. `before` is a
    plugin's own mistake that was made before it ordered anything: see `Upstream.unpaid`.
    """

    __slots__ = ("before", "taken")

    def __init__(self) -> None:
        self.taken = False
        self.before: Exception | None = None


current: ContextVar[Submission | None] = ContextVar("reelgate_submission", default=None)


@contextmanager
def submission() -> Iterator[Submission]:
    """Mark the calls made inside (also by tasks started inside) as one submission."""
    ledger = Submission()
    token = current.set(ledger)
    try:
        yield ledger
    finally:
        current.reset(token)
