"""All SQL of the product: SQLite through aiosqlite, with grouped durable commits."""

from proxy.store.database import IDEMPOTENCY_LIFE, Store
from proxy.store.errors import AmbiguousKey, DuplicateKey, StaleVideo, StoreBusy
from proxy.store.lock import ServerLock

__all__ = ["IDEMPOTENCY_LIFE", "AmbiguousKey", "DuplicateKey", "ServerLock", "StaleVideo", "Store", "StoreBusy"]
