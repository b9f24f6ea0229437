"""SQL of families: which videos were remixed, edited or extended from which, within one tenant."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Final

import msgspec

from proxy.records import Video
from proxy.store import videos

# The plus keeps SQLite from going through all videos of the tenant, for it takes that index to be the better one.
_CHILDREN: Final = """
    SELECT source_id, COUNT(*) FROM videos
    WHERE source_id IN (SELECT value FROM json_each(?)) AND +tenant = ? AND stage NOT IN ('refused', 'deleted')
    GROUP BY source_id
"""
# Deleted ones are gone through, or a family would fall apart with the first of it. A source is older than what was made
# from it, so neither direction has an end to miss; the bounds are for what somebody remixes over and over.
_ROOT: Final = """
    WITH RECURSIVE above (id, source_id, height) AS (
        SELECT id, source_id, 0 FROM videos WHERE id = ?1 AND tenant = ?2
        UNION ALL
        SELECT videos.id, videos.source_id, height + 1 FROM videos JOIN above ON videos.id = above.source_id
        WHERE tenant = ?2 AND height < ?3
    )
    SELECT id FROM above ORDER BY height DESC LIMIT 1
"""
_BELOW: Final = """
    WITH RECURSIVE below (id) AS (
        SELECT ?1
        UNION ALL
        SELECT videos.id FROM videos JOIN below ON videos.source_id = below.id WHERE tenant = ?2 AND stage <> 'refused'
    )
    SELECT id FROM below LIMIT ?3
"""
HEIGHT: Final = 50
"""Generations that are looked back."""

_encode: Final = msgspec.json.Encoder().encode


def children(db: sqlite3.Connection, video_ids: Collection[str], tenant: str) -> dict[str, int]:
    """How many listed videos of `tenant` were made from each of these; those without any are left out."""
    return dict(db.execute(_CHILDREN, (_encode(sorted(video_ids)), tenant)).fetchall())


def family(db: sqlite3.Connection, video_id: str, tenant: str, limit: int) -> list[Video]:
    """The video that all began with, and at most `limit` in all of what came from it, parents before children; deleted
    ones are among them. Empty where `tenant` has no such video."""
    root = db.execute(_ROOT, (video_id, tenant, HEIGHT)).fetchone()
    if root is None:
        return []
    ids = [found for (found,) in db.execute(_BELOW, (root[0], tenant, limit)).fetchall()]
    return [video for found in ids if (video := videos.find(db, found)) is not None]
