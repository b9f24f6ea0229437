"""What SQLite does for the queries that run often."""

from __future__ import annotations

import pytest

from proxy.store import idempotency, listing, outbox, videos, workers

SEARCH = listing._values(listing.Filter(tenant="t", text="x")) | {"limit": 5, "stretch": 5}
PLANS = {
    "oldest first": (videos._OLDEST_FIRST, ("t", "", 5), "videos_listed"),
    "newest first": (videos._NEWEST_FIRST, ("t", "~", 5), "videos_listed"),
    "found of a tenant": (listing._MINE_OLDER, SEARCH, "videos_listed (tenant=? AND id>? AND id<?)"),
    "found of all": (listing._ANYONES_NEWER, SEARCH, "sqlite_autoindex_videos_1 (id>? AND id<?)"),
    "end of a stretch": (listing._ANYONES_END, SEARCH, "COVERING INDEX sqlite_autoindex_videos_1 (id>? AND id<?)"),
    "unfinished": (videos._UNFINISHED, (), "videos_unfinished"),
    "unfinished of workers": (videos._UNFINISHED_OF, (b"[1,2]",), "videos_unfinished"),
    "waiting": (videos._WAITING, (), "videos_waiting"),
    "waiting of a key": (videos._WAITING_OF_KEY, ("k",), "videos_waiting (key_id=?)"),
    "at an upstream": (videos._AT_UPSTREAM, ("c",), "videos_at_upstream (channel=?)"),
    "resent": (videos._RESENT, ("k", b"", 0), "videos_unanswered"),
    "one": (videos._FIND, ("v",), "sqlite_autoindex_videos_1"),
    "workers that retire": (workers._RETIRE, ("o",), "videos_unfinished"),
    "keys to forget": (idempotency._FORGET, ("v",), "idempotency_of_video"),
    "keys to prune": (idempotency._PRUNE, (0, 5), "idempotency_by_age"),
    "outbox": (outbox._OLDEST, (5,), "SCAN outbox"),
    "outbox done": (outbox._REMOVE, (5,), "INTEGER PRIMARY KEY (rowid<?)"),
}
PARTIAL = ("videos_unfinished", "videos_waiting")
"""Indexes that hold nothing else than what is asked for: reading the whole of one is no scan of the table."""


@pytest.mark.parametrize("name", PLANS)
async def test_no_hot_query_scans_the_table(store, name):
    """Each query that runs often is served by its index; lists and the outbox are not sorted either."""
    sql, values, wanted = PLANS[name]
    plan = await store.read(lambda db: db.execute("EXPLAIN QUERY PLAN " + sql, values).fetchall())
    words = "; ".join(row[3] for row in plan)
    assert wanted in words
    for index in PARTIAL:
        words = words.replace(f"SCAN videos USING INDEX {index}", "").replace(
            f"SCAN videos USING COVERING INDEX {index}", ""
        )
    assert "SCAN videos" not in words
    assert "TEMP B-TREE" not in words or name == "resent"
