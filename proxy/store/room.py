"""How much room there is, counted inside of the transaction that takes some: over every process on the store."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from proxy import money
from proxy.errors import InsufficientQuota, RateLimited
from proxy.store import ledger, videos
from proxy.store.errors import ChannelFull, QueueFull

FULL_WAIT = 30.0
"""Seconds after which a client that found the queue full may try again."""


class Cap(NamedTuple):
    """The `max_running` of a channel."""

    channel: str
    places: int

    def check(self, db: sqlite3.Connection) -> None:
        """`ChannelFull` where no place is left."""
        if videos.at_upstream(db, self.channel) >= self.places:
            raise ChannelFull(f"all {self.places} places of channel {self.channel} are taken")


class Bounds(NamedTuple):
    """How many videos may wait, in all and of one API key."""

    total: int
    per_key: int

    def check(self, db: sqlite3.Connection, key_id: str) -> None:
        """`QueueFull` where one more would be too many."""
        if videos.waiting(db) >= self.total:
            raise QueueFull("Too many videos are waiting here. Please try again later.", retry_after=FULL_WAIT)
        if videos.waiting(db, key_id) >= self.per_key:
            raise QueueFull(
                "Too many videos of this API key are waiting. Please try again later.", retry_after=FULL_WAIT
            )


class Allowance(NamedTuple):
    """What one API key may still order: `running` unfinished videos at once (0: any number), and `budget` (see
    `proxy.money`; None: any amount) of what it ordered since `since` (unix seconds)."""

    key_id: str
    running: int = 0
    budget: int | None = None
    since: float = 0.0

    def check(self, db: sqlite3.Connection, price: int | None) -> None:
        """`RateLimited` where one video more, `InsufficientQuota` where its `price` would be too much."""
        if self.running and videos.active(db, self.key_id) >= self.running:
            raise RateLimited(
                f"This API key may have {self.running} unfinished videos at once. Please wait until one has ended.",
                retry_after=FULL_WAIT,
            )
        if self.budget is None:
            return
        left = max(self.budget - ledger.spent(db, self.key_id, self.since), 0)
        if (price or 0) > left:
            raise InsufficientQuota(
                f"This video costs ${money.shown(price or 0)}, and ${money.shown(left)} of the budget of this API key "
                f"of ${money.shown(self.budget)} are left."
            )
