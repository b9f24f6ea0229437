"""Copies beside each other: a channel, a plugin, a process or a clock that goes wrong harms no other copy."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from proxy.engine import archiving
from proxy.models import Source, UpstreamJob
from proxy.store import archive as table
from tests.archive.world import World, film


async def test_a_slow_channel_holds_up_no_other(world: World) -> None:
    """However many copies of one channel make no progress, at most four have a place, and another channel's are made,
    also behind very many of the slow one's."""
    world.core.channels["other"] = object()
    held = asyncio.Event()
    for _ in range(6):
        world.upstreams.script[await world.completed()] = [held]

    def many(db: object) -> None:
        for number in range(600):
            table.due(db, f"video_{number:032x}", "lumen", 0.0)  # type: ignore[arg-type]

    async with world.running():
        await world.until(lambda: world.upstreams.open == 4)
        await world.store.write(many)
        good = await world.completed(channel="other")
        await world.becomes(good, "stored")
        assert world.upstreams.open == world.upstreams.most - 1 == 4


async def test_an_upstream_that_drips_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer that comes byte by byte keeps its place no longer than one that stands still."""
    monkeypatch.setattr(archiving, "PATIENCE", 0.1)
    video_id = await world.completed()

    async def drip() -> AsyncIterator[bytes]:
        for place in itertools.count():
            yield film(video_id)[place : place + 1]
            await asyncio.sleep(0.01 if place > 12 else 0)

    world.upstreams.script[video_id] = [Source(stream=drip)]
    async with world.running():
        assert "stopped sending" in (await world.failed(video_id, 1)).note


async def test_an_archive_that_is_slow_is_not_the_upstreams_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that writing takes does not count against the upstream."""
    monkeypatch.setattr(archiving, "PATIENCE", 0.05)
    carry = world.archive._carry  # type: ignore[attr-defined]

    async def slowly(*work: object) -> object:
        await asyncio.sleep(0.08)
        return await carry(*work)

    monkeypatch.setattr(world.archive, "_carry", slowly)
    video_id = await world.completed()
    made = film(video_id, 1_500_000)

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(made), 200_000):
            await asyncio.sleep(0)
            yield made[start : start + 200_000]

    world.upstreams.script[video_id] = [Source(stream=stream)]
    async with world.running():
        await world.becomes(video_id, "stored")


async def test_a_plugin_that_cancels_itself_is_a_failure_like_any_other(world: World) -> None:
    """A `CancelledError` out of a channel is waited for as every other error is, not asked again at once."""
    video_id = await world.completed()

    async def broken() -> AsyncIterator[bytes]:
        yield film(video_id)[:100]
        raise asyncio.CancelledError

    world.upstreams.script[video_id] = [Source(stream=broken)]
    async with world.running():
        row = await world.failed(video_id, 1)
        assert row.next_at > world.now
        assert world.upstreams.asked == [video_id]


async def test_a_second_copy_does_not_remove_the_first(world: World) -> None:
    """Where another process took the lead and stored the copy meanwhile, the one that comes late leaves it there."""
    release = asyncio.Event()
    video_id = await world.completed()
    world.upstreams.script[video_id] = [release]
    other = world.again()
    async with world.running():
        await world.until(lambda: world.upstreams.open)
        async with other.running():
            await other.becomes(video_id, "stored")
            release.set()
            await world.until(lambda: not world.archiving._copies)
    assert await world.has(video_id)


async def test_who_leads_no_more_ends_its_copies(world: World) -> None:
    """A process that another one has replaced does not fetch any further."""
    video_id = await world.completed()
    world.upstreams.script[video_id] = [asyncio.Event()]
    async with world.running():
        await world.until(lambda: world.upstreams.open)
        world.leads = False
        world.archiving.wake()
        await world.until(lambda: not world.upstreams.open)
    assert (await world.due(video_id)).tries == 0


async def test_a_clock_that_was_set_back_holds_nothing_up(world: World) -> None:
    """A copy that was to be made at a time that lies far ahead now is made at once; one that waits its turn waits."""
    ahead = await world.completed()
    world.now -= 1e6
    waits = await world.completed()
    await world.store.write(
        lambda db: db.execute("UPDATE archive SET next_at = ? WHERE video_id = ?", (world.now + 600, waits))
    )
    async with world.running():
        await world.becomes(ahead, "stored")
        await world.due(waits)


async def test_what_others_removed_is_not_remembered(world: World) -> None:
    """A process that was not alone for a while sends nobody to a copy that another one has removed in that time."""
    video_id = await world.completed()
    async with world.running():
        await world.becomes(video_id, "stored")
        assert await world.archiving.stored(video_id) is not None
        world.core.leases.alone = False
        world.archiving.wake()
        await world.store.write(lambda db: table.leave(db, [video_id], "gone"))
        await world.until(lambda: not world.archiving._known)
        world.core.leases.alone = True
        assert await world.archiving.stored(video_id) is None


@pytest.mark.parametrize(
    ("upstreams", "age", "then"), [(3600, None, None), (3600, 9000, 9000), (3600, 60, 3600), (None, 60, None)]
)
async def test_a_video_lasts_as_long_as_its_copy(
    world: World, upstreams: int | None, age: int | None, then: int | None
) -> None:
    """With its copy, a video's `expires_at` is the end of the longer of both; once the copy is gone, its upstream's."""
    world.core.server = type(world.core.server)(archive_max_age=age)
    now = int(world.now)
    told = None if upstreams is None else now + upstreams
    job = UpstreamJob(id="up-secret", status="completed", expires_at=told)
    video_id = await world.completed(job=job, expires_at=told, completed_at=now)

    async def end() -> int | None:
        video = await world.store.video(video_id)
        assert video is not None
        assert video.status == "completed"
        return video.expires_at

    async with world.running():
        await world.becomes(video_id, "stored")
        assert await end() == (None if then is None else now + then)
        await world.store.write(lambda db: table.leave(db, [video_id], "gone"))
        world.archiving.wake()
        await world.until(lambda: told_again(world, video_id))
        assert await end() == told


async def told_again(world: World, video_id: str) -> bool:
    row = await world.row(video_id)
    assert row is not None
    return row.size is None
