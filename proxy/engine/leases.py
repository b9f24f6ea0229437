"""Leases: which videos this process polls and submits, and what becomes of those of a process that died.

A lease is a row of the store's `workers` table. All videos that were accepted under it name it as their `holder`, so
that a lease costs nothing per video. A process joins with a row of its own or with a dead one's, renews its rows before
they expire, and takes over those of others that did not. Each commit that changes a video looks whether the rows are
still this process's (`Store.guard`): one that was paused for longer than its lease lasts writes nothing when it wakes.

Of a process that was killed its lock file tells so at once. Where only the time tells, it may have woken just now,
perhaps together with this one (a suspended machine): it has another moment to renew before it is taken for dead.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from proxy.records import Video
from proxy.store import Store, StoreBusy, workers
from proxy.store.lock import WorkerLock, lives, remove_dead
from proxy.store.workers import Worker

log = logging.getLogger("reelgate.leases")

LOOK_EVERY = 0.25
"""Seconds between two looks whether another process has written."""
BELIEVED = 4 * LOOK_EVERY
"""Seconds after its last look for which a process that is alone believes what it has in memory."""
JOIN_WAIT = BELIEVED
"""Seconds that a process which joins others waits before it does anything, until all of them know of it."""
RENEWALS = 4
"""How often a lease is renewed within the time that it lasts."""


async def _nothing(videos: list[Video]) -> None:
    pass


class Leases:
    """The leases of this process. `lasts` is in seconds; `clock` gives unix seconds, which all processes share; `now`
    is a clock in seconds that is never set back."""

    def __init__(
        self,
        store: Store,
        *,
        lasts: float,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lasts = lasts
        self._clock = clock
        self._now = now
        self._pause = min(LOOK_EVERY, lasts / RENEWALS / 2)
        self.owner = secrets.token_hex(8)
        self._lock = WorkerLock(store.path, self.owner)
        self._held: dict[int, int] = {}
        self._untold: list[int] = []
        """Rows that were taken over, with videos that nobody was told to go on with yet."""
        self._others: Sequence[Worker] = ()
        """The rows that are not this process's, when it last looked."""
        self._expired: dict[Worker, float] = {}
        """Those of them that had expired, and since when that is seen."""
        self._renewed = self._looked = float("-inf")
        self._wrote = False
        self._leads = False
        self._keeping: asyncio.Task[None] | None = None
        self.primary = 0
        """The row that new videos are accepted under."""
        self.alone = True
        """Whether no other process lives on this store."""
        self.lost = asyncio.Event()
        """Set when another process has taken this one's rows over: this one must end."""
        self.take_up: Callable[[list[Video]], Awaitable[None]] = _nothing
        """Called with the unfinished videos of a process that ended; again with all of them where it raised."""
        self.changed_elsewhere: Callable[[], None] = lambda: None
        """Called when another process has written to the store, or this one begins to lead."""

    @property
    def held(self) -> frozenset[int]:
        """The rows of this process."""
        return frozenset(self._held)

    def holds(self, video: Video) -> bool:
        """Whether it is this process's to poll and submit `video`."""
        return video.holder in self._held

    def current(self) -> bool:
        """Whether the leases have certainly not expired, by a clock that nobody sets: asked before money is spent."""
        return not self.lost.is_set() and self._now() - self._renewed < self._lasts

    def leads(self) -> bool:
        """Whether this process does what only one should do, such as delivering webhooks."""
        return self._leads and self.current()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def join(self) -> None:
        """Take what dead processes left, or a new row, and keep it until `leave`. Returns when no other process relies
        on its memory any more."""
        await asyncio.to_thread(self._lock.acquire)
        began = self._now()
        await self._look_around()
        await self._adopt(await self._dead())
        if not self._held:
            self._hold(await self._store.write(partial(workers.join, owner=self.owner, expires_at=self._expiry())))
        self._untold.clear()
        self.primary = min(self._held)
        self._renewed = began
        self._store.guard(self._is_ours, self._up_to_date)
        looked = self._now()
        await self._look_around()
        self._looked = looked
        self._keeping = asyncio.create_task(self._keep(), name="leases")
        if not self.alone:
            log.info("another process works on %s too: each keeps to its own videos", self._store.path.name)
            await asyncio.sleep(JOIN_WAIT)

    async def run(self) -> None:
        """Take over what others left, for as long as the process lives."""
        while not self.lost.is_set():
            try:
                await self._take_over()
            except StoreBusy as error:
                log.warning("the videos of another process could not be taken over, it is tried again: %s", error)
            except Exception:
                log.exception("the videos of another process could not be taken over, it is tried again")
            await asyncio.sleep(self._pause)

    async def leave(self) -> None:
        """Give the rows back, so that another process takes the videos over at once."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        self._held = {}
        self._leads = False
        # From now on it hears of nothing that the others do.
        self._renewed = self._looked = float("-inf")
        if not self.lost.is_set():
            try:
                await self._store.write(partial(workers.leave, owner=self.owner))
            except StoreBusy as error:
                log.warning("the leases could not be given back, they expire: %s", error)
        await asyncio.to_thread(self._lock.release)

    # -- its own rows --------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while not self.lost.is_set():
            await asyncio.sleep(self._pause)
            try:
                await self._turn()
            except StoreBusy as error:
                log.warning("the leases could not be renewed, it is tried again: %s", error)
            except Exception:
                # Without renewals this process would soon do nothing any more.
                log.exception("the leases could not be looked after, it is tried again")

    async def _turn(self) -> None:
        looked = self._now()
        # Kept where something fails below, or nobody would look who it was.
        self._wrote |= await self._store.look()
        if self._now() - self._renewed >= self._lasts / RENEWALS:
            await self._renew()
        if self._wrote or not self.alone:
            await self._look_around()
        self._looked = looked
        if self._wrote:
            self._wrote = False
            self.changed_elsewhere()

    async def _renew(self) -> None:
        began = self._now()
        found = await self._store.write(partial(workers.renew, owner=self.owner, expires_at=self._expiry()))
        if any(found.get(worker_id) != epoch for worker_id, epoch in self._held.items()):
            log.error("another process took this one for dead and goes on with its videos: this one ends now")
            self.lost.set()
            return
        self._renewed = began

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        # In the store's thread: the dict may gain a row meanwhile, which the transaction cannot have lost.
        return workers.owns(db, self.owner, dict(self._held))

    def _up_to_date(self) -> bool:
        """Whether no other process can have changed a video without that this one knows of it."""
        return self._now() - self._looked < BELIEVED and self.current()

    def _hold(self, worker: Worker) -> None:
        self._held[worker.id] = worker.epoch

    def _expiry(self) -> float:
        return self._clock() + self._lasts

    # -- the others ----------------------------------------------------------------------------------------------------

    async def _look_around(self) -> None:
        """See who else is there."""
        found = await self._store.read(workers.everyone)
        self._others = [worker for worker in found if worker.owner != self.owner]
        owned = [worker for worker in self._others if worker.owner]
        alone = not owned
        if alone != self.alone:
            self.alone = alone
            self._store.share(not alone)
        now = self._clock()
        living = [worker.id for worker in owned if worker.expires_at > now]
        led, self._leads = self._leads, bool(self._held) and min(self._held) < min(living, default=1 << 62)
        if self._leads and not led:
            self.changed_elsewhere()

    async def _take_over(self) -> None:
        await self._adopt(await self._dead())
        if self._untold:
            log.warning("another process has ended; its videos go on here")
            await self._look_around()
            await self.take_up(await self._store.unfinished(self._untold))
            self._untold.clear()

    async def _dead(self) -> list[Worker]:
        """The rows of nobody, and of processes that ended or have not renewed them for too long."""
        now, clock, known = self._now(), self._clock(), self._expired
        self._expired = {worker: known.get(worker, now) for worker in self._others if worker.expires_at <= clock}
        expired = {worker.owner for worker in self._expired}
        overdue = {worker.owner for worker, since in self._expired.items() if now - since >= self._lasts / 2}
        owners = {worker.owner for worker in self._others} - {""}
        alive = await asyncio.to_thread(self._alive, owners) if owners else {}
        gone = {"", *overdue}
        gone.update(owner for owner, lives in alive.items() if lives is False or (lives is None and owner in expired))
        return [worker for worker in self._others if worker.owner in gone]

    def _alive(self, owners: set[str]) -> dict[str, bool | None]:
        return {owner: lives(self._store.path, owner) for owner in owners}

    async def _adopt(self, dead: list[Worker]) -> None:
        for worker in dead:
            mine = await self._store.write(partial(self._adopt_one, worker))
            if mine is not None:
                self._hold(mine)
                self._untold.append(mine.id)
        for owner in {worker.owner for worker in dead} - {""}:
            await asyncio.to_thread(remove_dead, self._store.path, owner)

    def _adopt_one(self, dead: Worker, db: sqlite3.Connection) -> Worker | None:
        # Two that take each other for dead must not both lose.
        if not self._is_ours(db):
            return None
        return workers.adopt(db, dead, self.owner, self._expiry())
