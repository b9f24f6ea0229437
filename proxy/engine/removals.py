"""What leaves the archive: copies of deleted videos, those that are too old, and the oldest where there is too much."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from proxy.engine import states
from proxy.engine.core import Core
from proxy.engine.states import IllegalMove
from proxy.media.archive import Archive, ArchiveError, key_of
from proxy.records import Archived
from proxy.store import archive as table

log = logging.getLogger("reelgate.archive")

DELETED: Final = "its video was deleted"

LOOK_AGAIN = 1.0
"""Seconds after which the store is looked into although nobody said that something is due."""
TIDY_EVERY: Final = 60.0

_SOME: Final = 100
_TOO_OLD: Final = "it was older than archive_max_age"
_NO_ROOM: Final = "it made room for newer ones (archive_max_bytes)"


class Remover:
    """A copy that must go is first said to be gone and then removed, so that nobody is sent to a file that is not
    there; what a crash leaves in between is removed later.

    `removed` is called with the id of each video that has no copy any more; `break_off` ends the copy under way.
    """

    def __init__(
        self,
        core: Core,
        archive: Archive,
        *,
        removed: Callable[[str], None],
        break_off: Callable[[str], Awaitable[None]],
    ) -> None:
        self._core = core
        self._archive = archive
        self._removed = removed
        self._break_off = break_off
        self.woken = asyncio.Event()
        """Set where something may have to go."""
        self._caught_up = self._swept = False

    async def leave(self, video_ids: Sequence[str], note: str) -> None:
        """Say that these have no copy any more; `tidy` removes the bytes."""
        await self._core.store.write(partial(table.leave, video_ids=video_ids, note=note))
        for video_id in video_ids:
            self._removed(video_id)
        self.woken.set()

    async def tidy(self) -> float:
        """Remove what must go, where this process leads; answers the seconds until the next time."""
        if not self._core.leases.leads():
            self._caught_up = self._swept = False
            return LOOK_AGAIN
        try:
            await self._catch_up()
            await self._retain()
            await self._erase()
        except ArchiveError as error:
            log.warning("what must leave the archive stays for now: %s", error)
        return TIDY_EVERY

    async def _catch_up(self) -> None:
        """Make up for what was missed while nobody led, or there was no archive."""
        if not self._caught_up:
            orphans = await self._core.store.read(table.orphans)
            if orphans:
                await self.leave(orphans, DELETED)
            self._caught_up = True
        # Another process may be writing what looks like a leftover.
        if self._core.leases.alone and not self._swept:
            await self._archive.sweep()
        self._swept = self._core.leases.alone

    async def _retain(self) -> None:
        """Let go of what is too old, and of the oldest where there is too much."""
        store, server = self._core.store, self._core.server
        age, room = server.archive_max_age, server.archive_max_bytes
        if age is not None:
            born = self._core.clock() - age
            while rows := await store.read(partial(table.oldest, before=born, limit=_SOME)):
                await self._let_go(rows, _TOO_OLD)
        if room is not None:
            while (surplus := await store.read(table.total) - room) > 0:
                going: list[Archived] = []
                for row in await store.read(partial(table.oldest, limit=_SOME)):
                    if surplus <= 0:
                        break
                    going.append(row)
                    surplus -= row.size or 0
                await self._let_go(going, _NO_ROOM)

    async def _let_go(self, rows: list[Archived], reason: str) -> None:
        await self.leave([row.video_id for row in rows], reason)
        log.info("%d videos leave the archive: %s", len(rows), reason)

    async def _erase(self) -> None:
        """Remove the bytes of what has left."""
        store = self._core.store
        while video_ids := await store.read(partial(table.leaving, limit=_SOME)):
            for video_id in video_ids:
                await self._break_off(video_id)
                await self._date(video_id)
                await self._archive.delete(key_of(video_id))
                await store.write(partial(table.left, video_id=video_id))

    async def _date(self, video_id: str) -> None:
        """Have a video that has lost its copy end when its upstream lets it go."""
        video = await self._core.newest(video_id)
        if video is not None and video.stage == "ended" and states.unarchived(video) != video:
            with contextlib.suppress(IllegalMove):
                await self._core.move(video_id, states.unarchived, anyones=True)
