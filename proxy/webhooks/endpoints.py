"""The endpoints of a tenant: made, changed, and tried out."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from proxy.errors import InvalidRequest, NotFound
from proxy.ids import new_id
from proxy.store import Store
from proxy.store import webhooks as table
from proxy.store.webhooks import DeliveryState, Endpoint, Report
from proxy.webhooks import events, signing
from proxy.webhooks.sending import Sender

MAX_ENDPOINTS: Final = 50
"""Endpoints that a tenant can have."""
OLD_SECRET_LIFE: Final = 24 * 3600.0
"""Seconds for which a secret that was rotated out signs too, where its owner wants that."""

STOPPED: Final = "This webhook endpoint is stopped, because its receiver said that it is gone. Start it again first."


class Endpoints:
    """What a tenant does with its endpoints; somebody else's are as unknown as those that never were.

    `clock` gives unix seconds.
    """

    def __init__(self, store: Store, sender: Sender, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock

    async def create(self, tenant: str, *, name: str, url: str, event_types: Sequence[str]) -> Endpoint:
        """A new endpoint. `InvalidRequest` where the address cannot be used or the tenant has too many."""
        self._sender.check(url)
        now = int(self._clock())
        endpoint = Endpoint(
            id=new_id("we"),
            tenant=tenant,
            name=name,
            url=url,
            event_types=tuple(event_types),
            secret=signing.new_secret(),
            created_at=now,
            updated_at=now,
        )
        if not await self._store.write(partial(table.insert_endpoint, endpoint=endpoint, most=MAX_ENDPOINTS)):
            raise InvalidRequest(f"At most {MAX_ENDPOINTS} webhook endpoints are possible; delete one first.")
        return endpoint

    async def page(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[Endpoint], bool]:
        """The next `limit` endpoints behind the id `after`, and whether there are more."""
        found = await self._store.read(
            partial(table.page, tenant=tenant, after=after, limit=limit + 1, newest_first=newest_first)
        )
        return found[:limit], len(found) > limit

    async def endpoint(self, tenant: str, endpoint_id: str) -> Endpoint:
        """Raises `NotFound`."""
        return _found(
            await self._store.read(partial(table.find_endpoint, tenant=tenant, endpoint_id=endpoint_id)), endpoint_id
        )

    async def update(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
    ) -> Endpoint:
        """Change what is given; a stopped endpoint goes on. Raises `NotFound` and `InvalidRequest`."""
        if url is not None:
            self._sender.check(url)

        def change(known: Endpoint) -> Endpoint:
            new = replace(
                known,
                name=known.name if name is None else name,
                url=known.url if url is None else url,
                event_types=known.event_types if event_types is None else tuple(event_types),
            )
            updated_at = known.updated_at if new == known else int(self._clock())
            return replace(new, updated_at=updated_at, stopped_at=None)

        return await self._change(tenant, endpoint_id, change)

    async def rotate(self, tenant: str, endpoint_id: str, *, keep_old: bool) -> Endpoint:
        """Give the endpoint a new secret; with `keep_old` the one before signs too for a day. Raises `NotFound`."""
        now = self._clock()
        secret = signing.new_secret()

        def change(known: Endpoint) -> Endpoint:
            return replace(
                known,
                secret=secret,
                old_secret=known.secret if keep_old else None,
                old_secret_until=now + OLD_SECRET_LIFE if keep_old else None,
                updated_at=int(now),
            )

        return await self._change(tenant, endpoint_id, change)

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        """Delete it, and what waits for it. Raises `NotFound`."""
        if not await self._store.write(partial(table.delete_endpoint, tenant=tenant, endpoint_id=endpoint_id)):
            raise not_found(endpoint_id)

    async def test(self, tenant: str, endpoint_id: str, event_type: str) -> int:
        """Send an event of a video that does not exist, once and now; the status that the receiver answered, good or
        bad. Raises `NotFound`, and `InvalidRequest` where there was no answer."""
        endpoint = await self.endpoint(tenant, endpoint_id)
        now = self._clock()
        video_id = f"video_test{secrets.token_hex(14)}"
        body = events.body(f"evt_{secrets.token_hex(16)}", event_type, video_id, now)
        answer = await self._sender.post(
            endpoint.url, body, signing.headers(f"wh_{secrets.token_hex(16)}", body, endpoint, now)
        )
        if answer.status is None:
            raise InvalidRequest(
                f"The test event could not be delivered: {answer.note}. Check the endpoint's 'url'.",
                param="url",
                should_retry=False,
            )
        return answer.status

    async def deliveries(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        state: DeliveryState | None = None,
        before: tuple[float, str] | None = None,
        limit: int,
    ) -> tuple[list[Report], bool]:
        """The next `limit` deliveries to an endpoint, newest first, behind that with this `created_at` and id, and
        whether there are more; only those in `state`, where that is given. Raises `NotFound`."""
        await self.endpoint(tenant, endpoint_id)
        read = partial(table.reports, endpoint_id=endpoint_id, state=state, before=before, limit=limit + 1)
        found = await self._store.read(read)
        return found[:limit], len(found) > limit

    async def counts(self, tenant: str) -> dict[tuple[str, DeliveryState], int]:
        """(Id of an endpoint of the tenant, state) -> number of its deliveries; those that ended count for a week."""
        return await self._store.read(partial(table.counts, tenant=tenant))

    async def resend(self, tenant: str, endpoint_id: str, delivery_id: str) -> None:
        """Send a delivery that ended once more, under the same `webhook-id`; one that is pending goes on as it is.

        Where the event is older than its life, a try that fails is the only one. Raises `NotFound`, and
        `InvalidRequest` where the endpoint is stopped.
        """
        now = self._clock()

        def again(db: sqlite3.Connection) -> None:
            endpoint = _found(table.find_endpoint(db, tenant, endpoint_id), endpoint_id)
            if endpoint.stopped_at is not None:
                raise InvalidRequest(STOPPED)
            if not table.send_again(db, endpoint_id, delivery_id, now):
                raise NotFound("There is no such webhook delivery, or it is so old that it was forgotten.")

        await self._store.write(again)

    async def _change(self, tenant: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        step = partial(table.change_endpoint, tenant=tenant, endpoint_id=endpoint_id, change=change)
        return _found(await self._store.write(step), endpoint_id)


def not_found(shown_id: str) -> NotFound:
    """The one 404 for every id that is unknown, foreign or malformed."""
    return NotFound(f"Webhook endpoint with id '{shown_id}' not found.")


def _found(endpoint: Endpoint | None, endpoint_id: str) -> Endpoint:
    if endpoint is None:
        raise not_found(endpoint_id)
    return endpoint
