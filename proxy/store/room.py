"""How much room there is, counted inside of the transaction that takes some: over every process on the store."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from proxy.store import videos
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
