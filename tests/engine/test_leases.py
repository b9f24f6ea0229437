"""Leases: who may poll and submit which videos, and how that goes from one process to the next."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.leases import BELIEVED, Leases
from proxy.records import Video
from proxy.store import Store, StoreBusy, workers
from tests.engine.conftest import LASTS, Start


async def test_the_first_process_takes_the_row_that_is_there(start: Start) -> None:
    """Alone on a new store it holds row 1, leads, and renews before a quarter of its time is over."""
    one = await start()
    assert (one.leases.held, one.leases.primary) == (frozenset({1}), 1)
    assert one.leases.alone
    assert one.leases.leads()
    assert await one.everyone() == [workers.Worker(1, one.leases.owner, 1, one.wall + LASTS)]
    one.later(LASTS / 4)
    await one.turn()
    assert (await one.everyone())[0].expires_at == one.wall + LASTS


async def test_each_process_holds_its_own_rows(start: Start) -> None:
    """A second process gets a row of its own; each holds its own videos and only the first one leads."""
    one, two = await start(), await start()
    assert (one.leases.held, two.leases.held) == (frozenset({1}), frozenset({2}))
    mine, theirs = await one.accept(), await two.accept()
    assert [one.leases.holds(mine), one.leases.holds(theirs)] == [True, False]
    assert [two.leases.holds(mine), two.leases.holds(theirs)] == [False, True]
    for process in (one, two):
        await process.turn()
        assert not process.leases.alone
    assert (one.leases.leads(), two.leases.leads()) == (True, False)
    assert (one.taken, two.taken) == ([], [])


async def test_a_newcomer_is_noticed_also_by_one_that_writes_all_the_time(start: Start) -> None:
    """A commit that sees the newcomer first does not hide it from the next look."""
    one = await start()
    two = await start()
    await one.accept()
    told = one.told
    await one.turn()
    assert not one.leases.alone
    assert one.told == told + 1
    assert one.store.cached((await two.accept()).id) is None


async def test_a_newcomer_is_noticed_although_the_store_was_busy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that found something and then failed is not forgotten."""
    one, two = await start(), await start()

    async def busy(function: Any) -> Any:
        raise StoreBusy("locked")

    with monkeypatch.context() as patch, pytest.raises(StoreBusy):
        patch.setattr(one.store, "read", busy)
        await one.turn()
    assert one.leases.alone
    await one.turn()
    assert not one.leases.alone
    await two.turn()


async def test_memory_is_believed_only_by_one_that_looked_just_now(start: Start) -> None:
    """Who has not looked for as long as a newcomer waits reads from the file: it may have company by now."""
    one = await start()
    video = await one.accept()
    assert one.store.cached(video.id) == video
    one.later(BELIEVED)
    assert one.store.cached(video.id) is None
    await one.turn()
    assert one.store.cached(video.id) == video
    two = await start()
    await one.turn()
    assert one.store.cached(video.id) is None
    await one.store.video(video.id)
    assert one.store.cached(video.id) is None
    # Alone again, but what it read in between may be old.
    await two.leases.leave()
    await one.turn()
    assert one.leases.alone
    assert one.store.cached(video.id) is None
    assert await one.store.video(video.id) == one.store.cached(video.id)


async def test_a_killed_process_is_replaced_at_once(start: Start) -> None:
    """Its lock tells that it died: another one goes on with its unfinished videos at its next look, long before the
    lease is over, and then has the store for itself."""
    one, two = await start(), await start()
    running, ended = await one.accept(), await one.accept()
    await one.change(ended, stage="ended", status="completed")
    own = await two.accept()
    told = two.told
    await one.die()
    await two.turn()
    assert two.taken == [running.id]
    assert two.leases.held == {1, 2}
    assert two.leases.holds(running)
    assert two.leases.primary == own.holder == 2
    assert two.leases.alone
    assert two.leases.leads()
    assert two.told > told
    assert [file.name for file in (two.path.parent / "workers").iterdir()] == [f"{two.leases.owner}.lock"]
    assert (await two.change(running, progress=5)).progress == 5
    await two.turn()
    assert two.taken == [running.id]


async def test_a_restart_after_a_kill_goes_on_at_once(start: Start) -> None:
    """The next process on the store holds what the killed one held, without a row more and without waiting."""
    one = await start()
    video = await one.accept()
    await one.die()
    two = await start()
    assert two.leases.held == {1}
    assert two.leases.alone
    assert await two.store.unfinished(two.leases.held) == [video]
    assert [file.name for file in (two.path.parent / "workers").iterdir()] == [f"{two.leases.owner}.lock"]


async def test_a_clean_stop_gives_the_rows_back(start: Start) -> None:
    """Whoever stays goes on with the videos at its next look; what holds nothing vanishes."""
    one, two, three = await start(), await start(), await start()
    video = await one.accept()
    await one.leases.leave()
    await three.leases.leave()
    assert [(worker.id, worker.owner) for worker in await two.everyone()] == [(1, ""), (2, two.leases.owner)]
    await two.turn()
    assert two.taken == [video.id]
    assert two.leases.leads()
    assert not list((two.path.parent / "workers").glob(f"{one.leases.owner}*"))


async def test_after_leaving_nothing_is_held_or_believed(start: Start) -> None:
    """A process that gave its rows back and still answers requests reads from the file; leaving twice is fine."""
    one = await start()
    video = await one.accept()
    assert one.store.cached(video.id) == video
    await one.leases.leave()
    assert one.store.cached(video.id) is None
    assert not one.leases.holds(video)
    assert not one.leases.current()
    assert not one.leases.leads()
    await one.leases.leave()


async def test_a_take_over_that_failed_is_made_up_for(start: Start) -> None:
    """Where taking the videos up raised they are offered again, although the rows have changed hands already."""
    one, two = await start(), await start()
    video = await one.accept()
    await one.die()
    take_up = two.leases.take_up

    async def fails(videos: list[Video]) -> None:
        raise StoreBusy("disk full")

    two.leases.take_up = fails
    with pytest.raises(StoreBusy):
        await two.turn()
    two.leases.take_up = take_up
    await two.turn()
    assert two.taken == [video.id]


async def test_one_of_many_survivors_takes_over(start: Start) -> None:
    """Three processes that see the same death at the same time: one of them gets all the rows, each video once."""
    dead, *living = [await start() for _ in range(4)]
    videos = [await dead.accept() for _ in range(5)]
    await dead.die()
    await asyncio.gather(*(process.turn() for process in living))
    assert sorted(video_id for process in living for video_id in process.taken) == [video.id for video in videos]
    assert sum(1 in process.leases.held for process in living) == 1
    assert not any(process.leases.lost.is_set() for process in living)


async def test_a_lease_is_kept_from_the_start_on(tmp_path: Path) -> None:
    """Rows are renewed while the rest of the process still starts, and a locked store only holds that up."""
    store = await Store.open(tmp_path / "reelgate.db")
    await store._writing.run(lambda db: db.execute("PRAGMA busy_timeout = 10"))
    leases = Leases(store, lasts=0.5)
    await leases.join()

    async def renewed() -> None:
        ((_, _, _, before),) = await store.read(workers.everyone)
        async with asyncio.timeout(20):
            while (await store.read(workers.everyone))[0].expires_at <= before:
                await asyncio.sleep(0.01)

    await renewed()
    foreign = await asyncio.to_thread(
        partial(sqlite3.connect, store.path, isolation_level=None, check_same_thread=False)
    )
    with contextlib.closing(foreign):
        await asyncio.to_thread(foreign.execute, "BEGIN IMMEDIATE")
        async with asyncio.timeout(20):
            while leases.current():
                await asyncio.sleep(0.01)
        assert not leases.leads()
        await asyncio.to_thread(foreign.execute, "ROLLBACK")
    await renewed()
    async with asyncio.timeout(20):
        while not leases.current():
            await asyncio.sleep(0.01)
    await leases.leave()
    await store.close()


async def test_a_newcomer_waits_until_the_others_know(tmp_path: Path) -> None:
    """When `join` returns, every other process has noticed, and none of them took the newcomer for dead."""
    stores = [await Store.open(tmp_path / "reelgate.db") for _ in range(2)]
    one, two = (Leases(store, lasts=0.5) for store in stores)
    await one.join()
    running = asyncio.create_task(one.run())
    await two.join()
    assert not one.alone
    assert not two.alone
    assert not two.lost.is_set()
    assert two.current()
    running.cancel()
    for leases, store in zip((two, one), stores[::-1], strict=True):
        await leases.leave()
        await store.close()
