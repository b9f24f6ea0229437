"""SQL of how channels did lately: what waits for them and runs, how much of it went well, how long it took, and what it
came to."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

# What was ordered since a time. A blocked prompt says nothing about the channel. What videos count for is what the
# ledger adds up to (see `proxy.store.ledger`), and their table has an index by time.
_ORDERED: Final = """
    SELECT channel, COUNT(*), SUM(completed_at IS NOT NULL),
           SUM(status = 'failed' AND error_code IS NOT 'moderation_blocked'), SUM(COALESCE(cost, price, 0))
    FROM videos INDEXED BY videos_by_time WHERE created_at >= ? AND stage <> 'refused' GROUP BY channel
"""
# From the submission that was taken to the end, so that a wait for room does not count.
_MEDIANS: Final = """
    SELECT channel, AVG(took) FROM (
        SELECT videos.channel AS channel, videos.completed_at - attempts.started_at AS took,
               ROW_NUMBER() OVER (
                   PARTITION BY videos.channel ORDER BY videos.completed_at - attempts.started_at
               ) AS place,
               COUNT(*) OVER (PARTITION BY videos.channel) AS number
        FROM videos INDEXED BY videos_by_time JOIN attempts ON attempts.id = videos.attempt_id
        WHERE videos.created_at >= ? AND videos.completed_at IS NOT NULL
    ) WHERE place IN ((number + 1) / 2, (number + 2) / 2) GROUP BY channel
"""
_UNFINISHED: Final = """
    SELECT channel, SUM(stage = 'waiting'), SUM(stage <> 'waiting') FROM videos
    WHERE stage IN ('waiting', 'submitting', 'unknown', 'running') GROUP BY channel
"""


class ChannelStats(NamedTuple):
    """A channel now: videos that `wait` for it (or for another one, where it is only the first that came into question)
    and that its upstream may be working on (`running`). Of what was ordered since the time asked for: how many videos,
    how many of them are `completed` and `failed` (not counting blocked prompts), the median of the seconds from
    submission to the end (None where none ended), and the amount that counts for all of them."""

    waiting: int = 0
    running: int = 0
    videos: int = 0
    completed: int = 0
    failed: int = 0
    median: float | None = None
    amount: int = 0

    @property
    def success(self) -> float | None:
        """The part of the ended videos that went well, from 0 to 1; None where none ended."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else None


def by_channel(db: sqlite3.Connection, since: float) -> dict[str, ChannelStats]:
    """Channel -> how it does, of what was ordered since `since` (unix seconds); those without a video are left out."""
    found = {
        channel: ChannelStats(videos=videos, completed=completed, failed=failed, amount=amount)
        for channel, videos, completed, failed, amount in db.execute(_ORDERED, (since,))
    }
    for channel, median in db.execute(_MEDIANS, (since,)):
        # A completion is known to the second only.
        found[channel] = found[channel]._replace(median=max(median, 0.0))
    for channel, waiting, running in db.execute(_UNFINISHED):
        found[channel] = found.get(channel, ChannelStats())._replace(waiting=waiting, running=running)
    return found
