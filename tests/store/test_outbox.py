"""The outbox: what changed is written with the change, in order, and stays until it was told."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import pytest

from proxy.store import LeaseLost, StaleVideo, Store, outbox
from proxy.store.outbox import Change, as_of
from tests.store.facts import state

replace = msgspec.structs.replace


async def step(store, video, **fields):
    """Change a video as the engine does; answers it as stored."""
    return await store.change(replace(video, **fields), before=video)


async def noted(store, limit=100):
    return await store.read(partial(outbox.oldest, limit=limit))


async def words(store):
    return [(change.video_id, change.before, change.after) for change in await noted(store)]


async def test_every_change_of_the_public_status_is_noted_once(store, video_of):
    """Queued, in progress, completed, deleted: a row for each step of the status, none for what clients cannot see."""
    video = video_of()
    await store.accept(video)
    video = await step(store, video, stage="submitting")
    video = await step(store, video, stage="running", status="queued")
    assert await words(store) == []
    video = await step(store, video, status="in_progress", changed_at=11.5)
    video = await step(store, video, progress=50)
    video = await step(store, video, stage="ended", status="completed", changed_at=12.5)
    await step(store, video, stage="deleted", changed_at=13.5)
    assert await noted(store) == [
        Change(1, video.id, "queued", "in_progress", 11.5),
        Change(2, video.id, "in_progress", "completed", 12.5),
        Change(3, video.id, "completed", "deleted", 13.5),
    ]


async def test_a_refused_create_is_nobodys_business(store, video_of):
    """A video whose create was refused was never there for its owner: nothing is noted of it."""
    video = video_of(stage="submitting")
    await store.accept(video)
    await step(store, video, stage="refused", status="failed")
    assert await words(store) == []


async def test_a_change_that_fails_notes_nothing(store, video_of):
    """Note and change are one transaction: a stale change, a lost lease and a broken neighbour leave no note behind."""
    video = video_of(stage="running")
    await store.accept(video)
    with pytest.raises(StaleVideo):
        await step(store, replace(video, version=5), status="in_progress")

    def breaks(db):
        raise ZeroDivisionError

    held = True
    store.guard(lambda db: held, lambda: True)
    outcomes = await asyncio.gather(
        store.change(replace(video, status="failed"), before=video, also=breaks),
        state(store, "a", "b"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], ZeroDivisionError)
    held = False
    with pytest.raises(LeaseLost):
        await step(store, video, status="in_progress")
    assert await words(store) == []
    assert await store.video(video.id) == video


async def test_changes_of_two_stores_stay_in_the_order_of_their_commits(tmp_path, store, video_of):
    """Whoever writes, the numbers grow in the order in which the changes became durable, and are never used again."""
    other = await Store.open(tmp_path / "reelgate.db")
    video = video_of(stage="running")
    await store.accept(video)
    await step(other, await step(store, video, status="in_progress"), stage="ended", status="completed")
    assert await words(other) == [(video.id, "queued", "in_progress"), (video.id, "in_progress", "completed")]
    await store.write(partial(outbox.remove, up_to=(await noted(store))[-1].seq))
    assert await noted(other) == []
    late = video_of(stage="running")
    await other.accept(late)
    await step(other, late, stage="deleted")
    assert await noted(store) == [Change(3, late.id, "queued", "deleted", late.changed_at)]
    await other.close()


async def test_what_was_told_goes_and_the_rest_stays(store, video_of):
    """The oldest come first, as many as wanted, and only those up to the number are removed."""
    made = [video_of(stage="running") for _ in range(5)]
    for video in made:
        await store.accept(video)
        await step(store, video, status="in_progress")
    first = await noted(store, limit=3)
    assert [change.video_id for change in first] == [video.id for video in made[:3]]
    await store.write(partial(outbox.remove, up_to=first[1].seq))
    assert [change.video_id for change in await noted(store)] == [video.id for video in made[2:]]


async def test_notes_survive_a_restart(tmp_path, store, video_of):
    """What was not told before the process ended is there for the next one."""
    video = video_of(stage="running")
    await store.accept(video)
    await step(store, video, status="in_progress")
    await store.close()
    again = await Store.open(tmp_path / "reelgate.db")
    assert await words(again) == [(video.id, "queued", "in_progress")]
    await again.close()


def test_a_change_is_told_as_it_was(video_of):
    """A video that went on since has the status of the change that is told; what is newest or deleted is as it is."""
    done = video_of(stage="ended", status="completed")
    assert as_of(done, Change(1, done.id, "queued", "in_progress", 0.0)).status == "in_progress"
    assert as_of(done, Change(2, done.id, "in_progress", "completed", 0.0)) is done
    gone = replace(done, stage="deleted")
    assert as_of(gone, Change(3, done.id, "completed", "deleted", 0.0)) is gone
