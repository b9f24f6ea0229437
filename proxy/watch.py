"""Notices that a file has changed, however it was changed: written in place, replaced, or behind a link that moved."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

EVERY = 1.0
"""Seconds between two looks at the file."""

AWAY = 5
"""Looks that find no file until the log says so: an editor may put it away for a moment."""

log = logging.getLogger("reelgate")

Identity = tuple[int, ...]


class Watch:
    """Looks at `file` every so many seconds. A change counts once two looks in a row found the same, so that a file is
    not read while it is being written; a file that is away for a while, or not there yet, is waited for."""

    def __init__(self, file: Path, *, every: float = EVERY) -> None:
        self._file = file
        self._every = every
        self._known: Identity | None = None
        self._asked = asyncio.Event()

    async def begin(self) -> None:
        """Take the file as known as it is now. To be called before the file is read, or a change may be missed."""
        self._known = await asyncio.to_thread(_identity, self._file)

    def ask(self) -> None:
        """Let `change` return although nothing has changed."""
        self._asked.set()

    async def change(self) -> None:
        """Return when the file is no longer as it was known, or `ask` was called; it is known then as it is now."""
        before = self._known
        looks = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._asked.wait()
            now = await asyncio.to_thread(_identity, self._file)
            if self._asked.is_set() or (now == before and now not in (None, self._known)):
                self._asked.clear()
                self._known = now
                return
            before = now
            looks = looks + 1 if now is None else 0
            if looks == AWAY and self._known is not None:
                log.error("%s is not there any more: nothing changes until it is back", self._file)


def _identity(file: Path) -> Identity | None:
    """What differs between two versions of a file; None while there is none. Links are followed."""
    try:
        found = file.stat()
    except OSError:
        return None
    # The time of a change of the inode too: a tool may keep the other one, and the size.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
