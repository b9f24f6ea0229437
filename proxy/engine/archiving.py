"""Copying finished videos into the archive before their upstreams let them go, and removing what is kept too long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

import msgspec

from proxy.engine import states
from proxy.engine.core import WRITE_AGAIN, Core
from proxy.engine.removals import DELETED, LOOK_AGAIN, Remover
from proxy.engine.requests import own_cancellation
from proxy.engine.states import IllegalMove
from proxy.errors import ApiError, ContentExpired, UpstreamGone, UpstreamTimeout
from proxy.media.archive import Archive, ArchiveError, Read, Stored, key_of
from proxy.media.sources import Body
from proxy.models import Source
from proxy.records import Archived, Video
from proxy.store import StoreBusy
from proxy.store import archive as table

log = logging.getLogger("reelgate.archive")

T = TypeVar("T")

AT_ONCE: Final = 4
"""Copies of one channel under way at the same time: an upstream that is slow holds up no other one's."""
AT_ONCE_IN_ALL: Final = 12

FIRST_WAIT = 1.0
"""Seconds after the first failure; each further wait is twice as long."""
LONGEST_WAIT = 600.0
JITTER: Final = 0.2
CHANNEL_WAIT = 60.0
"""Seconds until a copy is looked at again whose channel is not in the file."""
GONE_TIMES: Final = 5
GONE_SECONDS = 30.0
"""What an upstream does not have any more is believed lost after so many answers in a row over so long."""
LONGEST_HOLD: Final = 60.0
"""Seconds for which nothing is read from any upstream where the archive takes nothing."""
PATIENCE = 120.0
"""Seconds in which an upstream must send the next `LEAST` bytes of a copy."""
LEAST: Final = 2**20

WAIT_LOOK = 0.25
"""Seconds after which a reader that waits looks whether another process has made the copy."""

KNOWN: Final = 20_000
"""Stored copies that are remembered, so that their readers cost no look into the store."""


class Contents(Protocol):
    """Whoever reads a video from its upstream."""

    def read(self, video: Video) -> AbstractAsyncContextManager[Body]:
        """The whole video. Raises an `ApiError`, `UpstreamGone` where the upstream has it no more."""


class _Gone(NamedTuple):
    times: int
    since: float


class Archiving:
    """The copies of all videos, made and removed by the one process that leads, served by all.

    A copy is due from the moment that its video is completed, and stays due over crashes until it is stored, or is
    lost at its upstream. One that must go is first said to be gone and then removed, so that nobody is sent to a file
    that is not there; what a crash leaves in between is removed later.
    """

    def __init__(self, core: Core, archive: Archive, contents: Contents) -> None:
        self._core = core
        self._archive = archive
        self._contents = contents
        self._known: dict[str, Archived] = {}
        self._removals = 0
        self._copies: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._gone: dict[str, _Gone] = {}
        self._changes: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._woken = asyncio.Event()
        self._trouble = 0
        self._hold_until = 0.0
        self._remover = Remover(core, archive, removed=self._removed, break_off=self._break_off)

    # -- for readers ---------------------------------------------------------------------------------------------------

    async def stored(self, video_id: str) -> Archived | None:
        """The copy of a video, if it is in the archive."""
        leases = self._core.leases
        # Only who is alone, and knows it, hears of every removal.
        known = self._known.get(video_id) if leases.alone and leases.current() else None
        if known is not None:
            return known
        removals = self._removals
        row = await self._core.store.read(partial(table.of, video_id=video_id))
        if row is None or row.state != "stored":
            return None
        if leases.alone and removals == self._removals:
            self._remember(row)
        return row

    async def wait(self, video_id: str, seconds: float) -> Archived | None:
        """The copy of a video, waiting up to `seconds` for one that is being made; None where none comes so soon."""
        end = time.monotonic() + seconds
        while True:
            # Before the look, so that no change after it is missed.
            changed = self._changes.setdefault(video_id, asyncio.Event())
            copy = await self.stored(video_id)
            left = end - time.monotonic()
            if copy is not None or left <= 0 or not await self._is_coming(video_id, within=left):
                return copy
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, WAIT_LOOK)):
                    await changed.wait()

    def source(self, row: Archived) -> Source:
        """Where the bytes of a stored copy are."""
        return self._archive.source(key_of(row.video_id), row.size or 0)

    async def _is_coming(self, video_id: str, *, within: float) -> bool:
        # Each range of a player would wait its minute, and get the upstream's bytes in the end.
        if self._hold_until > time.monotonic():
            return False

        def look(db: sqlite3.Connection) -> bool:
            row = table.of(db, video_id)
            if row is None:
                return table.coming(db, video_id)
            return row.state == "stored" or (row.state == "due" and row.next_at <= self._core.clock() + within)

        return await self._core.store.read(look)

    def _remember(self, row: Archived) -> None:
        self._known[row.video_id] = row
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    def _changed(self, video_id: str) -> None:
        changed = self._changes.pop(video_id, None)
        if changed is not None:
            changed.set()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def video_changed(self, video: Video, before: str) -> None:
        """Note what a change of a video means for its copy; durable when this returns. Called again it adds nothing."""
        store = self._core.store
        if video.stage == "deleted":
            if await store.read(partial(table.of, video_id=video.id)) is not None:
                await self._remover.leave((video.id,), DELETED)
        elif video.status == "completed":
            due = partial(table.due, video_id=video.id, channel=video.channel, next_at=self._core.clock())
            await store.write(due)
            self.wake()

    def wake(self) -> None:
        """Look at once for what is due, and for what must go."""
        self._woken.set()
        self._remover.woken.set()

    async def run(self) -> None:
        """Copy and remove, until cancelled; copies that are cut off by that are made again by whoever runs next."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(self._remover.tidy, self._remover.woken), name="archive: tidy")
            await self._follow(partial(self._turn, tasks), self._woken)

    async def _follow(self, step: Callable[[], Awaitable[float]], woken: asyncio.Event) -> None:
        while True:
            woken.clear()
            wait = LOOK_AGAIN
            try:
                wait = await step()
            except StoreBusy as error:
                log.warning("the archive waits, because the store cannot be used: %s", error)
            except Exception:
                log.exception("the archive could not be looked after, it is tried again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await woken.wait()

    # -- copying -------------------------------------------------------------------------------------------------------

    async def _turn(self, tasks: asyncio.TaskGroup) -> float:
        """Start what is due and has a place; answers the seconds until the next look."""
        if not self._core.leases.alone:
            # Others may remove what is remembered here.
            self._known.clear()
        if not self._core.leases.leads():
            # Another process makes them again.
            for copy in self._copies.values():
                copy.cancel()
            return LOOK_AGAIN
        now = self._core.clock()
        while self._has_place() and await self._begin(tasks, now):
            pass
        next_at = await self._core.store.read(table.next_at)
        return LOOK_AGAIN if next_at is None else min(max(next_at - now, 0.01), LOOK_AGAIN)

    def _has_place(self) -> bool:
        return len(self._copies) < AT_ONCE_IN_ALL and self._hold_until <= time.monotonic()

    async def _begin(self, tasks: asyncio.TaskGroup, now: float) -> bool:
        """Start some of what is due; whether there may be more that could be started."""
        # What ends while the store is read looks due in what was read.
        look = partial(
            table.ready,
            now=now,
            limit=AT_ONCE,
            longest=2 * LONGEST_WAIT,
            but=list(self._copies),
            but_of=[channel for channel, copies in self._busy.items() if copies >= AT_ONCE],
        )
        rows = await self._core.store.read(look)
        for row in rows:
            if self._has_place() and self._busy[row.channel] < AT_ONCE:
                copy = tasks.create_task(self._copy(row), name=f"archive {row.video_id}")
                self._copies[row.video_id] = copy
                self._busy[row.channel] += 1
                copy.add_done_callback(partial(self._ended, row))
        return bool(rows)

    def _ended(self, row: Archived, copy: asyncio.Task[None]) -> None:
        del self._copies[row.video_id]
        self._busy[row.channel] -= 1
        if not self._busy[row.channel]:
            del self._busy[row.channel]
        self._woken.set()

    async def _copy(self, row: Archived) -> None:
        core, now = self._core, self._core.clock()
        try:
            video = await core.newest(row.video_id)
            if video is None or not video.listed:
                await self._remover.leave((row.video_id,), DELETED)
            elif video.expires_at is not None and video.expires_at <= now:
                await self._lose(row, "its upstream's time for it ran out before a copy could be made")
            elif core.channels.get(video.channel) is None:
                note = f"its channel {video.channel} is not in the file"
                await self._save(msgspec.structs.replace(row, next_at=now + CHANNEL_WAIT, note=note))
            else:
                with own_cancellation():
                    await self._transfer(row, video)
        except ArchiveError as error:
            self._in_trouble(error)
        except ApiError as error:
            await self._again(row, error.message)
        except Exception:
            log.exception("the copy of video %s failed", row.video_id)
            await self._again(row, "an error of this server: see its log")

    async def _transfer(self, row: Archived, video: Video) -> None:
        try:
            async with self._contents.read(video) as body:
                most = self._core.server.archive_max_bytes
                if most is not None and (body.size or 0) > most:
                    # All others would leave to make room for it, and then itself.
                    await self._lose(row, "it is larger than archive_max_bytes")
                    return
                stored = await self._archive.put(key_of(video.id), _patient(body), body.size)
        except (UpstreamGone, ContentExpired) as error:
            await self._missed(row, self._core.clean(error.message, video))
        except ApiError as error:
            self._gone.pop(video.id, None)
            await self._again(row, self._core.clean(error.message, video), retry_after=error.retry_after)
        else:
            await self._keep(row, stored)

    async def _keep(self, row: Archived, stored: Stored) -> None:
        self._trouble = 0
        self._gone.pop(row.video_id, None)
        core, now = self._core, self._core.clock()
        age = core.server.archive_max_age
        until = None if age is None else now + age
        after = msgspec.structs.replace(
            row, state="stored", size=stored.size, sha256=stored.sha256, stored_at=now, tries=0, note=""
        )

        def save(db: sqlite3.Connection) -> None:
            if not table.save(db, after):
                raise IllegalMove(f"the copy of video {row.video_id} is not wanted any more")

        try:
            # Tried until the store takes it: the bytes are there, and would be fetched again.
            await core.move(
                row.video_id, lambda video: states.archived(video, until=until), anyones=True, surely=True, also=save
            )
        except IllegalMove:
            await self._unwanted(row)
            return
        self._changed(row.video_id)
        log.info("video %s is in the archive: %d bytes", row.video_id, stored.size)
        self._remover.woken.set()

    async def _unwanted(self, row: Archived) -> None:
        """A copy became whole whose video was deleted meanwhile, or that another process has made too."""
        known = await self._core.store.read(partial(table.of, video_id=row.video_id))
        if known is None or known.state != "stored":
            await self._archive.delete(key_of(row.video_id))

    async def _missed(self, row: Archived, reason: str) -> None:
        """The upstream says that it has the video no more."""
        known = self._gone.get(row.video_id) or _Gone(0, time.monotonic())
        known = self._gone[row.video_id] = known._replace(times=known.times + 1)
        if known.times >= GONE_TIMES and time.monotonic() - known.since >= GONE_SECONDS:
            await self._lose(row, reason)
        else:
            await self._again(row, reason)

    async def _again(self, row: Archived, reason: str, *, retry_after: float | None = None) -> None:
        tries = row.tries + 1
        wait = max(_wait(tries), min(retry_after or 0.0, LONGEST_WAIT))
        log.warning(
            "video %s is not in the archive yet, next try (after %d) in %.0f s: %s", row.video_id, tries, wait, reason
        )
        await self._save(msgspec.structs.replace(row, tries=tries, next_at=self._core.clock() + wait, note=reason))

    async def _lose(self, row: Archived, reason: str) -> None:
        self._gone.pop(row.video_id, None)
        if await self._save(msgspec.structs.replace(row, state="lost", note=reason)):
            log.error("video %s cannot be copied into the archive: %s", row.video_id, reason)

    def _in_trouble(self, error: ArchiveError) -> None:
        """No copy can be stored now: nothing is read from any upstream for a while."""
        self._trouble += 1
        wait = min(_wait(self._trouble), LONGEST_HOLD)
        self._hold_until = time.monotonic() + wait
        log.error("the archive cannot be used, next try in %.0f s: %s", wait, error)

    async def _save(self, row: Archived) -> bool:
        """Write what became of a copy; whether it was still wanted."""
        saved = await self._written(partial(table.save, row=row))
        self._changed(row.video_id)
        return saved

    async def _written(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """What `operation` answers, once the store takes it: the bytes are there, and would be fetched again."""
        while True:
            try:
                return await self._core.store.write(operation)
            except StoreBusy as error:
                log.warning("what became of a copy cannot be written, it is tried again: %s", error)
            await asyncio.sleep(WRITE_AGAIN)

    def _removed(self, video_id: str) -> None:
        self._removals += 1
        self._known.pop(video_id, None)
        self._gone.pop(video_id, None)
        self._changed(video_id)

    async def _break_off(self, video_id: str) -> None:
        """End the copy of this video that is under way, if there is one."""
        copy = self._copies.get(video_id)
        if copy is not None:
            copy.cancel()
            await asyncio.wait([copy])


def _wait(tries: int) -> float:
    wait = min(FIRST_WAIT * 2.0 ** min(tries - 1, 30), LONGEST_WAIT)
    return wait * random.uniform(1 - JITTER, 1)  # noqa: S311 - so that not all come at once, no secret


def _patient(body: Body) -> Read:
    """`body.read`, for as long as its upstream sends enough; the time that the archive takes does not count."""
    waited, came = 0.0, 0

    async def read() -> bytes:
        nonlocal waited, came
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE - waited):
                chunk = await body.read()
        except TimeoutError as error:
            raise UpstreamTimeout(
                "The upstream stopped sending, or nearly so, in the middle of the content."
            ) from error
        waited, came = waited + time.monotonic() - began, came + len(chunk)
        if came >= LEAST:
            waited, came = 0.0, 0
        return chunk

    return read
