"""The group-commit writer: atomic operations, shared commits, and what happens when the disk says no."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from proxy.errors import Stopping
from proxy.records import Attempt
from proxy.store import Store, StoreBusy, attempts, videos, writer


async def pragma(store, sql):
    return (await store._writing.run(lambda db: db.execute(sql).fetchone()))[0]


def count_commits(monkeypatch):
    """A list that gets the number of operations of each transaction from now on."""
    commits, commit = [], writer._commit

    def counting(operations, fence, db):
        commits.append(len(operations))
        return commit(operations, fence, db)

    monkeypatch.setattr(writer, "_commit", counting)
    return commits


async def test_the_writer_waits_for_the_disk(store):
    """The writing connection holds WAL, FULL, foreign keys and the busy timeout; the reading one is query-only."""
    assert await pragma(store, "PRAGMA journal_mode") == "wal"
    assert await pragma(store, "PRAGMA synchronous") == 2
    assert await pragma(store, "PRAGMA foreign_keys") == 1
    assert await pragma(store, "PRAGMA busy_timeout") == 5000
    assert await store._reading.run(lambda db: db.execute("PRAGMA query_only").fetchone()) == (1,)


async def test_one_failing_operation_leaves_the_others(store, video_of, monkeypatch):
    """In one commit of 50 operations one that fails half-way leaves nothing behind, and the other 49 are stored."""
    commits = count_commits(monkeypatch)
    kept = [video_of() for _ in range(49)]
    half = video_of()

    def breaks(db):
        videos.insert(db, half)
        raise ZeroDivisionError("in the middle")

    jobs = [store.accept(video) for video in kept]
    jobs.insert(25, store._writer.do(breaks))
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert commits == [50]
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [ZeroDivisionError]
    assert isinstance(outcomes[25], ZeroDivisionError)
    assert await store.unfinished() == kept


async def test_waiting_operations_share_commits(store, video_of, monkeypatch):
    """1,200 simultaneous accepts take few transactions, none of more than 500 operations, and keep their order."""
    commits = count_commits(monkeypatch)
    order = []
    many = [video_of() for _ in range(1200)]

    async def accept(video):
        await store.accept(video)
        order.append(video.id)

    await asyncio.gather(*map(accept, many))
    assert sum(commits) == 1200
    assert max(commits) <= 500
    assert len(commits) <= 4
    assert order == [video.id for video in many]
    assert len(await store.unfinished()) == 1200


async def test_a_cancelled_caller_does_not_undo_its_operation(store, video_of):
    """What a caller that went away had given in is committed all the same, and the cache knows of it."""
    video = video_of()
    task = asyncio.create_task(store.accept(video))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.accept(video_of())
    assert store.cached(video.id) == video
    assert await store.video(video.id) == video


async def test_a_foreign_lock_is_a_503_and_heals(tmp_path, store, video_of):
    """While another process holds the write lock each write raises StoreBusy; reads go on; afterwards all works."""
    before = video_of()
    await store.accept(before)
    await store._writing.run(lambda db: db.execute("PRAGMA busy_timeout = 0"))
    foreign = await asyncio.to_thread(
        sqlite3.connect, tmp_path / "reelgate.db", isolation_level=None, check_same_thread=False
    )
    await asyncio.to_thread(foreign.execute, "BEGIN IMMEDIATE")
    refused = [video_of() for _ in range(20)]
    store.mark_answered(before.id)
    outcomes = await asyncio.gather(*map(store.accept, refused), return_exceptions=True)
    assert all(isinstance(outcome, StoreBusy) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 20
    error = outcomes[0]
    assert (error.status, error.should_retry, error.retry_after) == (503, None, 5.0)
    assert "locked" in str(error)
    assert str(tmp_path) not in str(error)
    assert isinstance(error.__cause__, sqlite3.OperationalError)
    assert all(store.cached(video.id) is None for video in refused)
    assert await store.unfinished() == [before]

    await asyncio.to_thread(foreign.execute, "ROLLBACK")
    await asyncio.to_thread(foreign.close)
    await asyncio.gather(*map(store.accept, refused))
    # The mark that could not be written was kept for this commit.
    assert (await store.video(before.id)).answered
    assert len(await store.unfinished()) == 21


async def test_marks_never_hold_up_those_who_wait(store, video_of):
    """While the store cannot be written, more marks than one commit takes do not keep a caller from its error."""
    video = video_of()
    await store.accept(video)
    await store._writing.run(lambda db: db.execute("PRAGMA query_only = ON"))
    for _ in range(3 * writer.MAX_BATCH):
        store.mark_answered(video.id)
    with pytest.raises(StoreBusy):
        await store.accept(video_of())
    for _ in range(writer.MAX_QUEUED):
        store.mark_answered(video.id)
    assert len(store._writer._queue) == writer.MAX_QUEUED
    await store._writing.run(lambda db: db.execute("PRAGMA query_only = OFF"))
    await store.accept(video_of())


async def test_a_full_disk_is_a_503_and_heals(store, video_of):
    """Where no page can be added a write raises StoreBusy and keeps nothing; with room again the writer goes on."""
    pages = await pragma(store, "PRAGMA page_count")
    # SQLite's own limit answers as a full disk does.
    await store._writing.run(lambda db, n=pages + 1: db.execute("PRAGMA max_page_count = " + str(n)))
    large = [video_of(prompt="x" * 30_000) for _ in range(5)]
    outcomes = await asyncio.gather(*map(store.accept, large), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreBusy}
    assert "full" in str(outcomes[0])
    assert await store.unfinished() == []
    await store._writing.run(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
    await asyncio.gather(*map(store.accept, large))
    assert await store.unfinished() == large


async def test_sqlite_giving_up_the_transaction_fails_the_whole_batch(store, video_of):
    """Where SQLite rolled the transaction back by itself nobody of that commit is told that it was stored."""

    def gives_up(db):
        db.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    first, second = video_of(), video_of()
    outcomes = await asyncio.gather(
        store.accept(first), store._writer.do(gives_up), store.accept(second), return_exceptions=True
    )
    assert all(isinstance(outcome, sqlite3.OperationalError) for outcome in outcomes)
    assert await store.unfinished() == []
    await store.accept(first)
    assert await store.unfinished() == [first]


async def test_a_commit_that_fails_lets_go_of_the_lock(tmp_path, store, video_of):
    """Where the commit itself fails nobody is told that it was stored, and other processes can write at once."""

    def breaks_at_commit(db):
        db.execute("PRAGMA defer_foreign_keys = ON")
        attempts.save(db, Attempt(id="att_1", video_id="video_none", channel="c", started_at=0.0))

    video = video_of()
    outcomes = await asyncio.gather(store.accept(video), store._writer.do(breaks_at_commit), return_exceptions=True)
    assert all(isinstance(outcome, sqlite3.IntegrityError) for outcome in outcomes)
    assert store.cached(video.id) is None
    with closing(sqlite3.connect(tmp_path / "reelgate.db", isolation_level=None, timeout=0)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
    await store.accept(video)
    assert await store.unfinished() == [video]


async def test_a_transaction_left_open_is_made_up_for(store, video_of):
    """A rollback that failed does not block the next commit, and what it left is not committed with it."""
    stray, good = video_of(), video_of()

    def leave_open(db):
        db.execute("BEGIN IMMEDIATE")
        videos.insert(db, stray)

    await store._writing.run(leave_open)
    await store.accept(good)
    assert await store.unfinished() == [good]


async def test_close_writes_what_waits_and_then_takes_nothing(tmp_path, video_of):
    """Operations given in before a close are stored; later ones raise Stopping; closing twice is fine."""
    store = await Store.open(tmp_path / "reelgate.db")
    many = [video_of() for _ in range(30)]
    tasks = [asyncio.create_task(store.accept(video)) for video in many]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    await store.close()
    for late in (store.accept(video_of()), store.video(many[0].id)):
        with pytest.raises(Stopping):
            await late
    store.mark_answered(many[0].id)
    again = await Store.open(tmp_path / "reelgate.db")
    assert await again.unfinished() == many
    await again.close()
