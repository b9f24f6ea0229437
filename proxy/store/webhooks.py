"""SQL of the webhook endpoints and of what is to be delivered to them."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

DeliveryState = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address to which a tenant wants events sent.

    `old_secret` signs too until `old_secret_until`. `stopped_at` is when the receiver said that it is gone for good
    (HTTP 410): nothing is sent there since. Times are in unix seconds.
    """

    id: str
    tenant: str
    name: str
    url: str = field(repr=False)
    event_types: tuple[str, ...]
    secret: str = field(repr=False)
    old_secret: str | None = field(default=None, repr=False)
    old_secret_until: float | None = None
    created_at: int
    updated_at: int
    stopped_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint that is still to be delivered.

    `id` is the `webhook-id` of every try, of which there were `tries`; the next one is due at `next_at`.
    """

    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    video_id: str
    created_at: float
    tries: int = 0
    next_at: float


class Report(NamedTuple):
    """A delivery as its owner is shown it, also one that ended. `last_status` is what the receiver answered last, None
    where it gave no answer; `note` is a sentence about that; times are in unix seconds."""

    id: str
    event_type: str
    video_id: str
    created_at: float
    state: DeliveryState
    tries: int
    next_at: float
    ended_at: float | None
    last_status: int | None
    note: str


_SELECT: Final = """
    SELECT id, tenant, name, url, event_types, secret, old_secret, old_secret_until, created_at, updated_at, stopped_at
    FROM webhook_endpoints
"""
_INSERT: Final = """
    INSERT INTO webhook_endpoints (
        id, tenant, name, url, event_types, secret, old_secret, old_secret_until, created_at, updated_at, stopped_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_UPDATE: Final = """
    UPDATE webhook_endpoints
    SET name = ?, url = ?, event_types = ?, secret = ?, old_secret = ?, old_secret_until = ?, updated_at = ?,
        stopped_at = ?
    WHERE id = ?
"""
_COUNT: Final = "SELECT count(*) FROM webhook_endpoints WHERE tenant = ?"
_FIND: Final = _SELECT + "WHERE tenant = ? AND id = ?"
_OLDEST_FIRST: Final = _SELECT + "WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?"
_NEWEST_FIRST: Final = _SELECT + "WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?"
# Where the tenant is a key by itself, nobody can read its videos any more once that is revoked; that of the first admin
# key is the user admin's too.
_FORSAKEN: Final = """
    keys.revoked_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM users WHERE users.tenant = keys.id)
    AND NOT EXISTS (SELECT 1 FROM keys AS others WHERE others.tenant = keys.id AND others.revoked_at IS NULL)
"""
_LISTENING: Final = (
    _SELECT  # noqa: S608 - all parts are constants
    + "WHERE tenant = ? AND created_at <= ? AND stopped_at IS NULL AND NOT EXISTS"
    + "(SELECT 1 FROM keys WHERE keys.id = webhook_endpoints.tenant AND "
    + _FORSAKEN
    + ") ORDER BY id"
)
_REVOKED_OF: Final = (
    "SELECT id FROM keys WHERE id IN (SELECT value FROM json_each(?)) AND "  # noqa: S608 - both parts are constants
    + _FORSAKEN
)
_DELETE: Final = "DELETE FROM webhook_endpoints WHERE tenant = ? AND id = ?"
_STOP: Final = "UPDATE webhook_endpoints SET stopped_at = ? WHERE id = ? AND url = ?"

_ADD: Final = """
    INSERT INTO deliveries (
        id, endpoint_id, event_id, event_type, video_id, created_at, state, tries, next_at, note
    ) VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?, '')
    ON CONFLICT (id) DO NOTHING
"""
# For each endpoint by itself: one with a long backlog must neither hide the others nor cost more than they do.
_DUE: Final = """
    SELECT d.id, d.endpoint_id, d.event_id, d.event_type, d.video_id, d.created_at, d.tries, d.next_at,
        e.id, e.tenant, e.name, e.url, e.event_types, e.secret, e.old_secret, e.old_secret_until, e.created_at,
        e.updated_at, e.stopped_at
    FROM webhook_endpoints AS e JOIN deliveries AS d ON d.id IN (
        SELECT id FROM deliveries WHERE endpoint_id = e.id AND state = 'pending' AND next_at <= ?
        ORDER BY next_at LIMIT ?
    )
    ORDER BY d.next_at, d.id LIMIT ?
"""
_FIRST: Final = "SELECT min(next_at) FROM deliveries WHERE state = 'pending'"
_NEXT: Final = "SELECT min(next_at) FROM deliveries WHERE state = 'pending' AND next_at > ?"
# A try that was overtaken, by a process that took over or by the end of the endpoint, changes nothing.
_SETTLE: Final = """
    UPDATE deliveries SET state = ?, tries = tries + 1, next_at = ?, ended_at = ?, last_status = ?, note = ?
    WHERE id = ? AND state = 'pending' AND tries = ?
"""
_HOLD: Final = "UPDATE deliveries SET next_at = ? WHERE endpoint_id = ? AND state = 'pending' AND next_at < ?"
_GIVE_UP: Final = """
    UPDATE deliveries SET state = 'failed', ended_at = ?, last_status = ?, note = ?
    WHERE endpoint_id = ? AND state = 'pending'
"""
_REPORTS: Final = """
    SELECT id, event_type, video_id, created_at, state, tries, next_at, ended_at, last_status, note FROM deliveries
    WHERE endpoint_id = ?1 AND (?2 IS NULL OR state = ?2) AND (created_at, id) < (?3, ?4)
    ORDER BY created_at DESC, id DESC LIMIT ?5
"""
_COUNTS: Final = """
    SELECT deliveries.endpoint_id, deliveries.state, count(*)
    FROM webhook_endpoints JOIN deliveries ON deliveries.endpoint_id = webhook_endpoints.id
    WHERE webhook_endpoints.tenant = ? GROUP BY 1, 2
"""
_STATE: Final = "SELECT state FROM deliveries WHERE id = ? AND endpoint_id = ?"
_AGAIN: Final = """
    UPDATE deliveries SET state = 'pending', next_at = ?, ended_at = NULL WHERE id = ? AND state <> 'pending'
"""
_PRUNE: Final = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE ended_at < ? LIMIT ?)"

_BEHIND_ALL_IDS: Final = "~"
_ENDPOINT_COLUMNS: Final = 11


# ---------------------------------------------------------------- endpoints


def insert_endpoint(db: sqlite3.Connection, endpoint: Endpoint, most: int) -> bool:
    """Store a new endpoint; False, and nothing is stored, where its tenant has `most` already."""
    if db.execute(_COUNT, (endpoint.tenant,)).fetchone()[0] >= most:
        return False
    db.execute(
        _INSERT,
        (
            *(endpoint.id, endpoint.tenant, endpoint.name, endpoint.url, _joined(endpoint.event_types)),
            *(endpoint.secret, endpoint.old_secret, endpoint.old_secret_until),
            *(endpoint.created_at, endpoint.updated_at, endpoint.stopped_at),
        ),
    )
    return True


def find_endpoint(db: sqlite3.Connection, tenant: str, endpoint_id: str) -> Endpoint | None:
    """The tenant's endpoint of that id."""
    row = db.execute(_FIND, (tenant, endpoint_id)).fetchone()
    return None if row is None else _endpoint(row)


def page(db: sqlite3.Connection, tenant: str, after: str | None, limit: int, newest_first: bool) -> list[Endpoint]:
    """The next `limit` endpoints of the tenant behind the id `after`, which may be gone meanwhile."""
    if newest_first:
        rows = db.execute(_NEWEST_FIRST, (tenant, after or _BEHIND_ALL_IDS, limit))
    else:
        rows = db.execute(_OLDEST_FIRST, (tenant, after or "", limit))
    return [_endpoint(row) for row in rows]


def change_endpoint(
    db: sqlite3.Connection, tenant: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]
) -> Endpoint | None:
    """The tenant's endpoint as `change` made it, stored; None where there is none. `id`, `tenant` and `created_at`
    stay what they are."""
    known = find_endpoint(db, tenant, endpoint_id)
    if known is None:
        return None
    changed = change(known)
    if changed != known:
        db.execute(
            _UPDATE,
            (
                *(changed.name, changed.url, _joined(changed.event_types)),
                *(changed.secret, changed.old_secret, changed.old_secret_until),
                *(changed.updated_at, changed.stopped_at, known.id),
            ),
        )
    return changed


def delete_endpoint(db: sqlite3.Connection, tenant: str, endpoint_id: str) -> bool:
    """Delete the tenant's endpoint with all its deliveries; whether there was one."""
    return db.execute(_DELETE, (tenant, endpoint_id)).rowcount > 0


def listening(db: sqlite3.Connection, tenant: str, event_type: str, since: float) -> list[Endpoint]:
    """The tenant's endpoints that want events of this type and were made at `since` or before; none where the tenant is
    a revoked key."""
    found = [_endpoint(row) for row in db.execute(_LISTENING, (tenant, since))]
    return [endpoint for endpoint in found if event_type in endpoint.event_types]


# ---------------------------------------------------------------- deliveries


def add(db: sqlite3.Connection, delivery: Delivery) -> bool:
    """Store a delivery; False where it is known already, however it went."""
    values = (
        *(delivery.id, delivery.endpoint_id, delivery.event_id, delivery.event_type, delivery.video_id),
        *(delivery.created_at, delivery.tries, delivery.next_at),
    )
    return db.execute(_ADD, values).rowcount > 0


def due(
    db: sqlite3.Connection, now: float, each: int, most: int
) -> tuple[list[tuple[Delivery, Endpoint]], float | None]:
    """What is due at `now`, the longest waiting first, at most `each` for one endpoint and `most` in all; and when the
    next one will be."""
    first_at: float | None = db.execute(_FIRST).fetchone()[0]
    if first_at is None or first_at > now:
        return [], first_at
    found = [
        (_delivery(row[:-_ENDPOINT_COLUMNS]), _endpoint(row[-_ENDPOINT_COLUMNS:]))
        for row in db.execute(_DUE, (now, each, most))
    ]
    return found, db.execute(_NEXT, (now,)).fetchone()[0]


def settle(
    db: sqlite3.Connection,
    delivery: Delivery,
    state: DeliveryState,
    *,
    now: float,
    status: int | None,
    note: str,
    next_at: float | None = None,
) -> bool:
    """Write how a try went; False where the delivery is not what it was before the try. `next_at` is for a delivery
    that stays pending, `status` the receiver's, `note` a sentence for the operator."""
    ended_at = None if state == "pending" else now
    values = (state, now if next_at is None else next_at, ended_at, status, note, delivery.id, delivery.tries)
    return db.execute(_SETTLE, values).rowcount > 0


def hold(db: sqlite3.Connection, endpoint_id: str, until: float) -> None:
    """Send nothing that waits for this endpoint before `until`."""
    db.execute(_HOLD, (until, endpoint_id, until))


def stop(db: sqlite3.Connection, endpoint: Endpoint, now: float, status: int, note: str) -> int:
    """Send no more to an endpoint, and give up what waits for it; how many deliveries that were.

    Nothing happens where its address is another one meanwhile: it was the old one that answered.
    """
    if db.execute(_STOP, (now, endpoint.id, endpoint.url)).rowcount == 0:
        return 0
    return db.execute(_GIVE_UP, (now, status, note, endpoint.id)).rowcount


def revoked(db: sqlite3.Connection, tenants: Collection[str]) -> set[str]:
    """Those of `tenants` that are an API key by itself which was revoked."""
    return {tenant for (tenant,) in db.execute(_REVOKED_OF, (json.dumps(list(tenants)),))}


def give_up(db: sqlite3.Connection, endpoint_id: str, now: float, note: str) -> int:
    """Fail all that waits for an endpoint, without another try; how many deliveries that were."""
    return db.execute(_GIVE_UP, (now, None, note, endpoint_id)).rowcount


def reports(
    db: sqlite3.Connection,
    endpoint_id: str,
    *,
    state: DeliveryState | None,
    before: tuple[float, str] | None,
    limit: int,
) -> list[Report]:
    """The next `limit` deliveries of an endpoint, newest first, behind that with this `created_at` and id; only those
    in `state`, where that is given."""
    values = (endpoint_id, state, *(before or (math.inf, _BEHIND_ALL_IDS)), limit)
    return [Report(*row) for row in db.execute(_REPORTS, values)]


def counts(db: sqlite3.Connection, tenant: str) -> dict[tuple[str, DeliveryState], int]:
    """How many deliveries the tenant's endpoints have in which state: (id of an endpoint, state) -> number."""
    return {(endpoint_id, state): number for endpoint_id, state, number in db.execute(_COUNTS, (tenant,))}


def send_again(db: sqlite3.Connection, endpoint_id: str, delivery_id: str, now: float) -> bool:
    """Let a delivery that ended be due at `now`; one that is still pending stays as it is. False where the endpoint has
    none of that id."""
    if db.execute(_STATE, (delivery_id, endpoint_id)).fetchone() is None:
        return False
    db.execute(_AGAIN, (now, delivery_id))
    return True


def prune(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Delete at most `limit` deliveries that ended before `before`; how many it was."""
    return db.execute(_PRUNE, (before, limit)).rowcount


def _joined(event_types: Sequence[str]) -> str:
    return " ".join(event_types)


def _endpoint(row: Sequence[Any]) -> Endpoint:
    id_, tenant, name, url, types, secret, old_secret, old_secret_until, created_at, updated_at, stopped_at = row
    return Endpoint(
        id=id_,
        tenant=tenant,
        name=name,
        url=url,
        event_types=tuple(types.split(" ")),
        secret=secret,
        old_secret=old_secret,
        old_secret_until=old_secret_until,
        created_at=created_at,
        updated_at=updated_at,
        stopped_at=stopped_at,
    )


def _delivery(row: Sequence[Any]) -> Delivery:
    id_, endpoint_id, event_id, event_type, video_id, created_at, tries, next_at = row
    return Delivery(
        id=id_,
        endpoint_id=endpoint_id,
        event_id=event_id,
        event_type=event_type,
        video_id=video_id,
        created_at=created_at,
        tries=tries,
        next_at=next_at,
    )
