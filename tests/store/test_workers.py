"""The rows of the workers: who holds which videos, and how a row goes from one process to the next."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import pytest

from proxy.store import LeaseLost, Store, workers
from proxy.store.workers import Worker
from tests.store.facts import fact, state


async def join(store, owner, expires_at=100.0):
    return await store.write(partial(workers.join, owner=owner, expires_at=expires_at))


async def adopt(store, dead, owner, expires_at=200.0):
    return await store.write(partial(workers.adopt, dead=dead, owner=owner, expires_at=expires_at))


async def everyone(store):
    return await store.read(workers.everyone)


async def test_a_new_store_has_one_row_that_is_nobodys(store):
    """The first process finds a row to take: it counts as expired, and videos of older versions name it."""
    assert await everyone(store) == [Worker(1, "", 0, 0.0)]
    assert await adopt(store, Worker(1, "", 0, 0.0), "a") == Worker(1, "a", 1, 200.0)
    assert await join(store, "b") == Worker(2, "b", 1, 100.0)
    assert await everyone(store) == [Worker(1, "a", 1, 200.0), Worker(2, "b", 1, 100.0)]


async def test_of_many_that_take_a_row_over_one_gets_it(tmp_path, store):
    """Of 20 simultaneous takeovers by two connections one succeeds, and its fencing number is one higher."""
    other = await Store.open(tmp_path / "reelgate.db")
    dead = await join(store, "dead")
    rivals = [adopt((store, other)[n % 2], dead, f"rival-{n}") for n in range(20)]
    won = [worker for worker in await asyncio.gather(*rivals) if worker is not None]
    assert len(won) == 1
    assert won[0].epoch == dead.epoch + 1
    assert (await everyone(other))[1] == won[0]
    await other.close()


async def test_a_row_that_was_renewed_meanwhile_is_not_taken(store):
    """Who was taken for dead by an old look, but renewed since, keeps its row."""
    seen = await join(store, "slow", expires_at=10.0)
    assert await store.write(partial(workers.renew, owner="slow", expires_at=20.0)) == {seen.id: seen.epoch}
    assert await adopt(store, seen, "hasty") is None
    assert (await everyone(store))[1] == Worker(seen.id, "slow", seen.epoch, 20.0)


async def test_renewing_tells_what_was_taken_away(store):
    """A renewal moves all rows of its owner and no other's, and answers those that are still there."""
    first, second, other = await join(store, "me"), await join(store, "me"), await join(store, "you")
    await adopt(store, first, "you")
    found = await store.write(partial(workers.renew, owner="me", expires_at=300.0))
    assert found == {second.id: second.epoch}
    assert {worker.id: worker.expires_at for worker in await everyone(store)} == {
        1: 0.0, first.id: 200.0, second.id: 300.0, other.id: 100.0,
    }  # fmt: skip


async def test_who_owns_its_rows(store):
    """`owns` is true as long as every row is there, is the owner's and has the epoch that it knows."""
    mine = await join(store, "me")

    async def owns(held):
        return await store.read(partial(workers.owns, owner="me", held=held))

    assert await owns({mine.id: mine.epoch})
    assert await owns({})
    assert not await owns({mine.id: mine.epoch + 1})
    assert not await owns({mine.id: mine.epoch, 1: 0})
    taken = await adopt(store, mine, "you")
    assert not await owns({mine.id: mine.epoch})
    # It comes back to the same owner, whose knowledge is from before.
    await adopt(store, taken, "me")
    assert not await owns({mine.id: mine.epoch})


@pytest.mark.parametrize("stage", ["waiting", "submitting", "unknown", "running"])
async def test_leaving_keeps_the_rows_that_hold_something(store, video_of, stage):
    """A row that holds an unfinished video becomes nobody's; the others vanish, but never the first one."""
    await adopt(store, Worker(1, "", 0, 0.0), "me")
    empty, ended, busy = [await join(store, "me") for _ in range(3)]
    other = await join(store, "you")
    await store.accept(video_of(stage="ended", holder=ended.id))
    await store.accept(video_of(stage="running", holder=other.id))
    await store.accept(video_of(stage=stage, holder=busy.id))
    await store.write(partial(workers.leave, owner="me"))
    assert await everyone(store) == [Worker(1, "", 1, 0.0), Worker(busy.id, "", 1, 0.0), other]


async def test_unfinished_videos_of_some_workers(store, video_of):
    """`unfinished` with holders answers their videos only, oldest first."""
    made = [video_of(stage=stage, holder=holder) for holder in (1, 2, 3) for stage in ("running", "waiting", "ended")]
    for video in reversed(made):
        await store.accept(video)
    assert await store.unfinished({3, 1}) == [made[0], made[1], made[6], made[7]]
    assert await store.unfinished(set()) == []
    assert len(await store.unfinished()) == 6


async def test_the_fence_refuses_changes_of_videos_only(store, video_of):
    """Once the rows are somebody else's nothing changes a video, not even together with others in one commit; what an
    upstream said is still recorded, and so is what has nothing to do with videos."""
    mine = await join(store, "me")
    held = {mine.id: mine.epoch}
    store.guard(lambda db: workers.owns(db, "me", held), lambda: True)
    video = video_of(holder=mine.id)
    await store.accept(video)
    await store.change(msgspec.structs.replace(video, progress=1))
    stored = await store.video(video.id)

    await adopt(store, mine, "you")
    late = video_of(holder=mine.id)

    def breaks(db):
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        store.accept(late),
        store.change(msgspec.structs.replace(stored, progress=99)),
        state(store, "a", "b"),
        store.write(breaks),
        return_exceptions=True,
    )
    # The operation that broke made them run again one by one.
    assert [type(outcome) for outcome in outcomes] == [LeaseLost, LeaseLost, type(None), ZeroDivisionError]
    with pytest.raises(LeaseLost):
        await store.change(msgspec.structs.replace(stored, progress=99))
    assert await store.video(video.id) == stored
    assert await store.video(late.id) is None
    assert store.cached(late.id) is None
    assert await fact(store, "a") == "b"


async def test_memory_is_believed_only_while_nobody_else_writes(tmp_path, store, video_of):
    """A shared store, or one whose lease may be over, answers nothing from memory; another one's commit clears it."""
    believed = True
    store.guard(lambda db: True, lambda: believed)
    video = video_of()
    await store.accept(video)
    assert store.cached(video.id) == video
    believed = False
    assert store.cached(video.id) is None
    believed = True
    store.share(True)
    await store.video(video.id)
    assert store.cached(video.id) is None
    store.share(False)
    # What was read while it was shared may be old.
    assert store.cached(video.id) is None
    assert await store.video(video.id) == store.cached(video.id) == video

    assert not await store.look()
    other = await Store.open(tmp_path / "reelgate.db")
    newer = await other.change(msgspec.structs.replace(video, progress=9))
    assert store.cached(video.id) == video
    assert await store.look()
    assert store.cached(video.id) is None
    assert not await store.look()
    assert await store.video(video.id) == newer
    await other.close()


async def test_a_commit_of_ours_does_not_hide_that_others_wrote(tmp_path, store, video_of):
    """Another one's commit that is first seen by a commit of this store clears the memory before anybody is told of
    that commit, and the next look still reports it."""
    mine, theirs = video_of(), video_of()
    await store.accept(mine)
    await store.accept(theirs)
    other = await Store.open(tmp_path / "reelgate.db")
    await other.change(msgspec.structs.replace(theirs, progress=9))
    changed = await store.change(msgspec.structs.replace(mine, progress=5))
    assert store.cached(theirs.id) is None
    assert store.cached(mine.id) == changed
    assert await store.look()
    assert not await store.look()
    await other.close()
