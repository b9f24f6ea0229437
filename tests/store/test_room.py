"""Places at a channel and in the queue: counted in the transaction that takes one, over all connections."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.ids import new_id
from proxy.records import STAGES, Attempt
from proxy.store import ChannelFull, QueueFull, Store
from proxy.store.room import Bounds, Cap


async def test_places_at_a_channel_hold_over_two_stores(tmp_path, store, video_of):
    """Of 40 simultaneous submissions by two stores exactly as many are stored as the channel has places."""
    other = await Store.open(tmp_path / "reelgate.db")
    cap = Cap("lumen", 7)
    rivals = [video_of(stage="submitting") for _ in range(40)]
    outcomes = await asyncio.gather(
        *((store, other)[n % 2].accept(video, cap=cap) for n, video in enumerate(rivals)), return_exceptions=True
    )
    assert outcomes.count(None) == 7
    assert {type(outcome) for outcome in outcomes} == {type(None), ChannelFull}
    assert len(await store.unfinished()) == 7
    # Another channel has its own.
    await other.accept(video_of(stage="submitting", channel="other"), cap=Cap("other", 1))
    await other.close()


async def test_a_change_that_takes_a_place_is_counted_too(store, video_of):
    """A waiting video is submitted only where a place is left, and a refused one keeps neither change nor attempt."""
    taken, waits = video_of(stage="running"), video_of()
    await store.accept(taken)
    await store.accept(waits)
    attempt = Attempt(id=new_id("att"), video_id=waits.id, channel="lumen", started_at=1.0)
    began = msgspec.structs.replace(waits, stage="submitting")
    with pytest.raises(ChannelFull, match="all 1 places of channel lumen are taken"):
        await store.change(began, attempt=attempt, cap=Cap("lumen", 1))
    assert await store.video(waits.id) == waits
    assert await store.attempts(waits.id) == []
    await store.change(msgspec.structs.replace(taken, stage="ended"))
    assert (await store.change(began, attempt=attempt, cap=Cap("lumen", 1))).stage == "submitting"


@pytest.mark.parametrize("stage", STAGES)
async def test_which_stages_take_a_place(store, video_of, stage):
    """What may be at the upstream takes one of its places, what waits takes one in the queue, the rest takes none."""
    await store.accept(video_of(stage=stage))
    full = stage in ("submitting", "unknown", "running")
    outcome = await asyncio.gather(
        store.accept(video_of(stage="submitting"), cap=Cap("lumen", 1)), return_exceptions=True
    )
    assert [type(one) for one in outcome] == [ChannelFull if full else type(None)]
    outcome = await asyncio.gather(store.accept(video_of(), bounds=Bounds(1, 1)), return_exceptions=True)
    assert [type(one) for one in outcome] == [QueueFull if stage == "waiting" else type(None)]


async def test_the_queue_is_bounded_over_two_stores(tmp_path, store, video_of):
    """Of 60 simultaneous accepts by two stores and three keys as many wait as the bounds say, not too many of a key."""
    other = await Store.open(tmp_path / "reelgate.db")
    bounds = Bounds(total=10, per_key=4)
    rivals = [video_of(key_id=f"key_{n % 3}") for n in range(60)]
    outcomes = await asyncio.gather(
        *((store, other)[n % 2].accept(video, bounds=bounds) for n, video in enumerate(rivals)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {type(None), QueueFull}
    waiting = await store.unfinished()
    assert len(waiting) == 10
    keys = [video.key_id for video in waiting]
    assert max(keys.count(key) for key in keys) == 4
    await other.close()


async def test_a_full_queue_says_which_bound_and_when_to_come_back(store, video_of):
    """A bound of the key and one of the whole queue have sentences of their own, a 429 and a Retry-After under 60."""
    await store.accept(video_of())
    with pytest.raises(QueueFull, match="of this API key") as own:
        await store.accept(video_of(), bounds=Bounds(5, 1))
    with pytest.raises(QueueFull, match="Too many videos are waiting here") as whole:
        await store.accept(video_of(key_id="key_b"), bounds=Bounds(1, 1))
    for error in (own.value, whole.value):
        assert error.status == 429
        assert 0 < error.retry_after <= 60
    await store.accept(video_of(key_id="key_b"), bounds=Bounds(2, 1))
