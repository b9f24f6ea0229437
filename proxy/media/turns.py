"""Turns: however much one tenant sends in at once, the others do not wait behind all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from proxy.errors import RateLimited

MOST: Final = 500
"""What one tenant may have under way, most of it in line; each may be 64 MiB on disk or in memory."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Line:
    turn: asyncio.Semaphore
    count: int = 0


class Turns:
    """Lets each tenant do `each` things at once, first come, first served."""

    def __init__(self, each: int) -> None:
        self._each = each
        # A line lives as long as somebody stands in it.
        self._lines: WeakValueDictionary[str | None, _Line] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, tenant: str | None) -> AsyncIterator[None]:
        """Wait for a turn of `tenant` and hold it. Raises `RateLimited` where too much of the tenant waits already."""
        line = self._lines.setdefault(tenant, _Line(asyncio.Semaphore(self._each)))
        if line.count >= MOST:
            raise RateLimited(
                f"{MOST} pictures and videos of this account are being read at the moment. Please try again.",
                retry_after=1,
            )
        line.count += 1
        try:
            async with line.turn:
                yield
        finally:
            line.count -= 1
