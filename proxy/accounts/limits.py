"""What the limits of a key leave it to order now."""

from __future__ import annotations

import ipaddress
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from proxy import money
from proxy.errors import Forbidden, InsufficientQuota, RateLimited, Unauthorized
from proxy.records import Key, Period, Video
from proxy.store import keys, ledger
from proxy.store.room import Allowance

_DAY: Final = 86_400
MINUTE: Final = 60.0
MOST_KEYS: Final = 10_000
"""Keys whose requests are counted at once; the one that asked first is forgotten for another."""


def allowance(key: Key, *, ordered_at: float) -> Allowance | None:
    """What `key` may order in the period of `ordered_at` (unix seconds); None: as much as it likes."""
    limits = key.limits
    if not limits.running and limits.budget is None:
        return None
    return Allowance(key.id, limits.running, limits.budget, since(limits.period, ordered_at))


def since(period: Period, now: float) -> float:
    """When the period of `now` began: at midnight UTC (unix seconds)."""
    if period == "total":
        return 0.0
    if period == "day":
        return now // _DAY * _DAY
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def no_price(model: str, *, unmeasured: bool = False) -> Forbidden:
    """What a key with a budget is told that orders what nobody knows the price of; `unmeasured`: because the length of
    the video that it sent in is not known."""
    if unmeasured:
        return Forbidden(
            "What this costs depends on the length of the video that was sent in, which cannot be measured here, and "
            "this API key has a budget. Ask the operator to install PyAV (pip install 'reelgate[media]')."
        )
    return Forbidden(
        f"The price of the model '{model}' is not known here, and this API key has a budget. Ask the operator to "
        "set the price of this model, or take another model."
    )


def check_dearer(db: sqlite3.Connection, before: Video, after: Video) -> None:
    """Hold a video that goes on at another price than it was accepted at, which the ledger has by now, against the
    budget of its key. `Forbidden` where nobody knows the new price, `InsufficientQuota` where it is too much."""
    if after.price == before.price or (after.price is not None and after.price < before.charge):
        return
    key = keys.by_id(db, after.key_id)
    if key is None or key.limits.budget is None:
        return
    if after.price is None:
        raise no_price(after.model)
    if ledger.spent(db, key.id, since(key.limits.period, after.created_at)) > key.limits.budget:
        raise InsufficientQuota(
            f"This video would cost ${money.shown(after.price)} by now, and the budget of its API key of "
            f"${money.shown(key.limits.budget)} has no room for that."
        )


class Gate:
    """Lets requests of limited keys in. `clock` is monotonic, `now` unix time, both in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._now = now
        self._free_at: dict[str, float] = {}

    def admit(self, key: Key, address: str | None, *, count: bool = True) -> None:
        """Let a request of `key` from the client's `address` in, and `count` it unless it was. `Unauthorized` where the
        key has expired, `Forbidden` from an address that is none of its own, `RateLimited` where it asks too often."""
        limits = key.limits
        if limits.expires_at is not None and self._now() >= limits.expires_at:
            raise Unauthorized("the API key has expired: ask the operator for a new one")
        if limits.addresses is not None and not _is_within(address, limits.addresses):
            raise Forbidden(
                f"This API key may not be used from the address {address or 'that you have'}. Ask the operator to add "
                "it to the key's."
            )
        if count and limits.requests_per_minute:
            self._count(key.id, limits.requests_per_minute)

    def _count(self, key_id: str, per_minute: int) -> None:
        # A bucket that holds a minute's requests, told by when it will be full again.
        now, each = self._clock(), MINUTE / per_minute
        full_at = max(self._free_at.get(key_id, now), now) + each
        wait = full_at - now - MINUTE
        # What adding and taking away left of nothing is no wait.
        if wait > each / 1000:
            raise RateLimited(
                f"This API key may make {per_minute} requests per minute. Please wait before the next one.",
                retry_after=wait,
            )
        if key_id not in self._free_at and len(self._free_at) >= MOST_KEYS:
            del self._free_at[next(iter(self._free_at))]
        self._free_at[key_id] = full_at


def _is_within(address: str | None, networks: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in _network(one) for one in networks)


@lru_cache(maxsize=4096)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)
