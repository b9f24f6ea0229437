"""Every event reaches its endpoints at least once: written down, then sent until the receiver takes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, TypeVar

from proxy.records import Video
from proxy.store import Store
from proxy.store import webhooks as table
from proxy.store.webhooks import Delivery, Endpoint
from proxy.webhooks import events, schedule, signing
from proxy.webhooks.endpoints import MAX_ENDPOINTS
from proxy.webhooks.sending import Answer, Sender

log = logging.getLogger("reelgate.webhooks")

T = TypeVar("T")

Outcome = Literal["delivered", "retried", "failed"]

# A receiver that hangs holds its places for as long as it may take to answer. So those of one endpoint and of one
# tenant are few, and all together so many that the slow ones leave enough for the others.
AT_ONCE: Final = 64
PER_TENANT: Final = 8
PER_ENDPOINT: Final = 2

LOOK_AGAIN: Final = 1.0
"""Seconds after which the store is looked into although nobody said that something is there: another process may have
written it."""
KEPT: Final = 7 * 24 * 3600.0
"""Seconds for which deliveries that ended are kept."""

PRUNE_EVERY: Final = 3600.0

_GONE: Final = 410
_PRUNED_AT_ONCE: Final = 500
_WRITE_WAIT: Final = 1.0
_WRITE_WAIT_MOST: Final = 60.0

# Of what an endpoint has due, some may be under way and still look due; those of endpoints and tenants whose places
# are taken must not hide the others.
_EACH: Final = 2 * PER_ENDPOINT
_MOST: Final = AT_ONCE // PER_TENANT * MAX_ENDPOINTS * _EACH + AT_ONCE


class Deliveries:
    """Sends what is due, while `leads` says that this process is the one to do it.

    `clock` gives unix seconds; `delivered` is told the outcome of each try.
    """

    def __init__(
        self,
        store: Store,
        sender: Sender,
        *,
        clock: Callable[[], float] = time.time,
        leads: Callable[[], bool] = lambda: True,
        delivered: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._leads = leads
        self._delivered = delivered
        self._woken = asyncio.Event()
        self._prune_at = 0.0
        self._under_way: set[str] = set()
        self._of_tenant: Counter[str] = Counter()
        self._of_endpoint: Counter[str] = Counter()

    async def video_changed(self, video: Video, before: str) -> None:
        """Write down what the end of a video means for the endpoints of its tenant; durable when this returns.

        Called again for the same video it adds nothing. An endpoint that was made after the end gets nothing.
        """
        event_type = events.EVENT_OF.get(video.status)
        if event_type is None or before in events.EVENT_OF or video.stage == "refused":
            return
        ended_at = video.changed_at if video.completed_at is None else video.completed_at
        find = partial(table.listening, tenant=video.tenant, event_type=event_type, since=ended_at)
        # Most tenants have no endpoints, and a look costs much less than a commit.
        if not await self._store.read(find):
            return
        now = self._clock()

        def add(db: sqlite3.Connection) -> None:
            for endpoint in find(db):
                table.add(db, _delivery(video.id, event_type, endpoint, now))

        await self._store.write(add)
        self.wake()

    def wake(self) -> None:
        """Look at once for what is due."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver, until cancelled; tries that are cut off by that are made again by whoever runs next."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                wait = await self._turn(tasks)
                # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with the wake-up.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()

    async def prune(self, now: float) -> None:
        """Forget the deliveries that ended more than a week before `now`."""
        step = partial(table.prune, before=now - KEPT, limit=_PRUNED_AT_ONCE)
        while await self._store.write(step) == _PRUNED_AT_ONCE:
            pass

    async def _turn(self, tasks: asyncio.TaskGroup) -> float:
        """Start what is due and has a place; answers the seconds until the next look."""
        if not self._leads():
            return LOOK_AGAIN
        now = self._clock()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_EVERY
            tasks.create_task(self._tidy(now), name="webhooks: prune")
        # What ends while the store is read looks due in what was read.
        under_way = set(self._under_way)
        try:
            found, next_at = await self._store.read(partial(table.due, now=now, each=_EACH, most=_MOST))
            tenants = {endpoint.tenant for _, endpoint in found}
            revoked = await self._store.read(partial(table.revoked, tenants=tenants)) if tenants else set()
        except Exception as error:
            log.warning("webhooks wait, because the store cannot be read: %s", error)
            return LOOK_AGAIN
        for delivery, endpoint in found:
            if delivery.id not in under_way and self._has_place(endpoint):
                self._under_way.add(delivery.id)
                self._of_tenant[endpoint.tenant] += 1
                self._of_endpoint[endpoint.id] += 1
                work = self._carry(delivery, endpoint, revoked=endpoint.tenant in revoked)
                tasks.create_task(work, name=f"webhook {delivery.id}")
        return LOOK_AGAIN if next_at is None else min(LOOK_AGAIN, max(next_at - now, 0.0))

    async def _tidy(self, now: float) -> None:
        try:
            await self.prune(now)
        except Exception as error:
            log.warning("old webhook deliveries could not be removed: %s", error)

    def _has_place(self, endpoint: Endpoint) -> bool:
        return (
            len(self._under_way) < AT_ONCE
            and self._of_tenant[endpoint.tenant] < PER_TENANT
            and self._of_endpoint[endpoint.id] < PER_ENDPOINT
        )

    async def _carry(self, delivery: Delivery, endpoint: Endpoint, *, revoked: bool) -> None:
        try:
            if revoked:
                await self._drop(endpoint)
                return
            now = self._clock()
            body = events.body(delivery.event_id, delivery.event_type, delivery.video_id, delivery.created_at)
            headers = signing.headers(delivery.id, body, endpoint, now)
            await self._settle(delivery, endpoint, await self._sender.post(endpoint.url, body, headers))
        finally:
            self._under_way.discard(delivery.id)
            for counter, name in ((self._of_tenant, endpoint.tenant), (self._of_endpoint, endpoint.id)):
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]
            self.wake()

    async def _drop(self, endpoint: Endpoint) -> None:
        note = "the API key that the endpoint belongs to was revoked"
        given_up = await self._written(partial(table.give_up, endpoint_id=endpoint.id, now=self._clock(), note=note))
        self._count("failed", given_up)
        if given_up:
            log.info("%d webhooks to endpoint %s are given up: %s", given_up, endpoint.id, note)

    async def _settle(self, delivery: Delivery, endpoint: Endpoint, answer: Answer) -> None:
        now = self._clock()
        told = partial(table.settle, delivery=delivery, now=now, status=answer.status, note=answer.note)
        if answer.good:
            self._count("delivered", await self._written(partial(told, state="delivered")))
            return
        if answer.status == _GONE:
            note = f"{answer.note}: the endpoint is stopped until it is updated"
            stop = partial(table.stop, endpoint=endpoint, now=now, status=_GONE, note=note)
            given_up = await self._written(stop)
            self._count("failed", given_up)
            if given_up:
                log.info("webhook endpoint %s is stopped: its receiver answered HTTP 410", endpoint.id)
            return
        next_at = schedule.next_try(
            delivery.tries + 1, now=now, created_at=delivery.created_at, retry_after=answer.retry_after
        )
        if next_at is None:
            self._count("failed", await self._written(partial(told, state="failed")))
            log.info("webhook %s to endpoint %s is given up: %s", delivery.id, endpoint.id, answer.note)
            return

        def again(db: sqlite3.Connection) -> bool:
            if answer.retry_after is not None:
                table.hold(db, endpoint.id, now + min(answer.retry_after, schedule.MOST_ASKED))
            return told(db, state="pending", next_at=next_at)

        if await self._written(again):
            self._count("retried", 1)
            log.info(
                "webhook %s to endpoint %s failed: %s, next try in %.0f s",
                *(delivery.id, endpoint.id, answer.note, next_at - now),
            )

    async def _written(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """What `operation` answers, once the store takes it: an event whose delivery is not written down would be sent
        again at once, over and over."""
        wait = _WRITE_WAIT
        while True:
            try:
                return await self._store.write(operation)
            except Exception as error:
                log.warning("the outcome of a webhook cannot be written, next try in %d s: %s", wait, error)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _WRITE_WAIT_MOST)

    def _count(self, outcome: Outcome, times: int) -> None:
        for _ in range(times):
            self._delivered(outcome)


def _delivery(video_id: str, event_type: str, endpoint: Endpoint, now: float) -> Delivery:
    return Delivery(
        id=events.delivery_id(video_id, event_type, endpoint.id),
        endpoint_id=endpoint.id,
        event_id=events.event_id(video_id, event_type),
        event_type=event_type,
        video_id=video_id,
        created_at=now,
        next_at=now,
    )
