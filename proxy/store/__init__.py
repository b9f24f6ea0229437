"""All SQL of the product: SQLite through aiosqlite, with grouped durable commits."""

from proxy.store.database import IDEMPOTENCY_LIFE, Store
from proxy.store.errors import (
    AmbiguousKey,
    ChannelFull,
    DuplicateKey,
    LeaseLost,
    QueueFull,
    StaleVideo,
    StoreBusy,
)

__all__ = [
    "IDEMPOTENCY_LIFE",
    "AmbiguousKey",
    "ChannelFull",
    "DuplicateKey",
    "LeaseLost",
    "QueueFull",
    "StaleVideo",
    "Store",
    "StoreBusy",
]
