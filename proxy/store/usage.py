"""SQL of the usage: how many videos were ordered, and what they cost, by day, model, channel and key.

Videos count from the table of videos, money from the ledger; both go by the day (UTC) of the order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Dimension = Literal["day", "model", "channel", "key", "tenant"]
DIMENSIONS: Final[tuple[Dimension, ...]] = ("day", "model", "channel", "key")
"""What clients may ask for."""

_ALL: Final[tuple[Dimension, ...]] = (*DIMENSIONS, "tenant")

# What is not asked for is one group for all. A refused order is none, and the ledger gives back what it reserved.
_TOTALS: Final = """
    SELECT day, model, channel, key, owner, SUM(videos), SUM(completed), SUM(failed), SUM(seconds), SUM(amount) FROM (
        SELECT CASE WHEN :by_day THEN created_at / 86400 * 86400 END AS day,
               CASE WHEN :by_model THEN model END AS model, CASE WHEN :by_channel THEN channel END AS channel,
               CASE WHEN :by_key THEN key_id END AS key, CASE WHEN :by_tenant THEN tenant END AS owner,
               1 AS videos, completed_at IS NOT NULL AS completed, status = 'failed' AS failed,
               CASE WHEN completed_at IS NOT NULL THEN seconds ELSE 0 END AS seconds, 0 AS amount
        FROM videos
        WHERE created_at >= :since AND created_at < :until AND stage <> 'refused'
            AND (:tenant IS NULL OR tenant = :tenant) AND (:key_id IS NULL OR key_id = :key_id)
        UNION ALL
        SELECT CASE WHEN :by_day THEN reserved_at / 86400 * 86400 END, CASE WHEN :by_model THEN model END,
               CASE WHEN :by_channel THEN channel END, CASE WHEN :by_key THEN key_id END,
               CASE WHEN :by_tenant THEN tenant END, 0, 0, 0, 0, amount
        FROM ledger
        WHERE reserved_at >= :since AND reserved_at < :until AND amount <> 0
            AND (:tenant IS NULL OR tenant = :tenant) AND (:key_id IS NULL OR key_id = :key_id)
    ) GROUP BY day, model, channel, key, owner HAVING SUM(videos) > 0 LIMIT :limit
"""


class Usage(NamedTuple):
    """What was ordered within a `group` (a value for each dimension asked for; a day is the unix second of its
    midnight): numbers of videos, seconds of the completed ones, and the amount (see `proxy.money`) that counts."""

    group: tuple[str | int, ...]
    videos: int
    completed: int
    failed: int
    seconds: int
    amount: int


def totals(
    db: sqlite3.Connection,
    *,
    since: float,
    until: float,
    by: Sequence[Dimension] = (),
    tenant: str | None = None,
    key_id: str | None = None,
    limit: int = 10_000,
) -> list[Usage]:
    """The usage of what was ordered from `since` to before `until` (unix seconds), in the order of the groups; of one
    tenant or key, None: of all."""
    wanted = {f"by_{one}": one in by for one in _ALL}
    values = {"since": since, "until": until, "tenant": tenant, "key_id": key_id, "limit": limit}
    places = [_ALL.index(one) for one in by]
    found = [
        Usage(tuple(row[place] for place in places), *row[len(_ALL) :]) for row in db.execute(_TOTALS, wanted | values)
    ]
    return sorted(found, key=lambda one: one.group)
