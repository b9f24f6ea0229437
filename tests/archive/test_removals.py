"""Who is told of a copy, who waits for one, and when it goes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.engine import archiving
from proxy.errors import UpstreamError
from proxy.media.archive import ArchiveError
from proxy.store import archive as table
from proxy.store import outbox
from tests.archive.world import World, film


async def stored(world: World, count: int = 1) -> list[str]:
    """So many videos whose copies are in the archive, each a second younger than the one before."""
    found = []
    for _ in range(count):
        found.append(await world.completed())
        await world.becomes(found[-1], "stored")
        world.now += 1
    return found


def bounded(world: World, **bounds: object) -> None:
    """Another file was read."""
    world.core.server = msgspec.structs.replace(world.core.server, **bounds)
    world.archiving.wake()


# ---------------------------------------------------------------- retention


async def test_copies_leave_when_they_are_too_old(world: World) -> None:
    """`archive_max_age` removes what was stored before, a bound that a reload brought too, and nothing younger."""
    async with world.running():
        old, older, young = await stored(world, 3)
        bounded(world, archive_max_age=2.0)
        await world.until(lambda: world.has(young))
        assert [(await world.archiving.stored(video_id)) is None for video_id in (old, older, young)] == [1, 1, 0]
        assert (await world.becomes(old, "removed")).note == "it was older than archive_max_age"
        world.later(10)
        await world.until(world.has)


async def test_the_oldest_copies_make_room(world: World) -> None:
    """With `archive_max_bytes` all copies together are never more than that for long, and the newest stay."""
    async with world.running():
        videos = await stored(world, 4)
        bounded(world, archive_max_bytes=2 * len(film(videos[0])))
        await world.until(lambda: world.has(*videos[2:]))
        videos += await stored(world)
        await world.until(lambda: world.has(*videos[3:]))
        bounded(world, archive_max_bytes=2 * len(film(videos[0])) - 1)
        await world.until(lambda: world.has(*videos[4:]))


async def test_what_is_larger_than_all_may_be_is_not_copied(world: World) -> None:
    """A video that has more bytes than `archive_max_bytes` drives no other copy out."""
    async with world.running():
        (small,) = await stored(world)
        bounded(world, archive_max_bytes=len(film(small)) + 10)
        large = await world.completed(tell=False)
        world.upstreams.script[large] = [film(small) * 2]
        video = await world.store.video(large)
        assert video is not None
        await world.archiving.video_changed(video, "in_progress")
        assert (await world.becomes(large, "lost")).note == "it is larger than archive_max_bytes"
        assert await world.has(small)


async def test_a_removal_that_breaks_off_is_completed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the archive could not remove nobody is sent to any more, and the next process removes it."""
    async with world.running():
        (video_id,) = await stored(world)

        async def failing(key: str) -> None:
            raise ArchiveError("away")

        with monkeypatch.context() as patch:
            patch.setattr(world.archive, "delete", failing)
            bounded(world, archive_max_age=0.5)
            await world.becomes(video_id, "removed")
            assert await world.archiving.stored(video_id) is None
            assert await world.has(video_id)
    after = world.again()
    async with after.running():
        await after.until(after.has)
        await after.until(lambda: forgotten(after, video_id))


async def forgotten(world: World, video_id: str) -> bool:
    """Whether nothing of a removed copy is left to be removed."""
    return (await world.becomes(video_id, "removed")).size is None


# ---------------------------------------------------------------- deletion


async def test_a_deleted_video_leaves_nothing(world: World) -> None:
    """Deleting a video removes its copy and all that is known of it, also when it had left already."""
    async with world.running():
        gone, kept = await stored(world, 2)
        assert await world.archiving.stored(gone)
        await world.delete(gone)
        assert await world.archiving.stored(gone) is None
        await world.until(lambda: world.has(kept))
        await world.until(lambda: nothing(world, gone))
        bounded(world, archive_max_age=0.5)
        await world.until(world.has)
        await world.delete(kept)
        await world.until(lambda: nothing(world, kept))


async def nothing(world: World, video_id: str) -> bool:
    return await world.row(video_id) is None


async def test_deleting_while_it_is_copied_ends_the_copy(world: World) -> None:
    """The transfer from the upstream ends, and nothing of it stays."""
    async with world.running():
        video_id = await world.completed()
        world.upstreams.script[video_id] = [asyncio.Event()]
        await world.until(lambda: world.upstreams.open)
        await world.delete(video_id)
        await world.until(lambda: nothing(world, video_id))
        assert world.upstreams.open == 0
        assert await world.has()


async def test_deleting_just_before_it_is_stored_removes_it(world: World) -> None:
    """A copy that became whole although its video was deleted, and another process had tidied up, is removed again."""
    release = asyncio.Event()
    video_id = await world.completed()
    world.upstreams.script[video_id] = [release]
    async with world.running():
        await world.until(lambda: world.upstreams.open)
        await world.delete(video_id, tell=False)
        await world.store.write(lambda db: table.leave(db, [video_id], "its video was deleted"))
        await world.store.write(lambda db: table.left(db, video_id))
        assert await world.row(video_id) is None
        release.set()
        await world.until(lambda: world.upstreams.open == 0)
        await world.until(world.has)


async def test_a_deletion_that_nobody_told_is_made_up_for(world: World) -> None:
    """What was deleted while there was no archive, or by a process that crashed, leaves at the next start."""
    async with world.running():
        gone, kept = await stored(world, 2)
        due = await world.completed()
        await world.becomes(due, "stored")
    for video_id in (gone, due):
        await world.delete(video_id, tell=False)
    after = world.again()
    async with after.running():
        await after.until(lambda: after.has(kept))
        await after.until(lambda: nothing(after, gone))
    assert after.upstreams.asked == []


# ---------------------------------------------------------------- readers


async def test_a_known_copy_costs_no_look_into_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is alone remembers what is stored and looks again for what is not; one of several remembers
    nothing, as another one may remove it."""
    async with world.running():
        (video_id,) = await stored(world)
        missing = await world.completed(tell=False)
    looks = 0
    read = world.store.read

    async def counting(function: object) -> object:
        nonlocal looks
        looks += 1
        return await read(function)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "read", counting)
    assert (await world.archiving.stored(video_id)) == (await world.archiving.stored(video_id))
    assert looks == 1
    assert [await world.archiving.stored(missing) for _ in range(3)] == [None] * 3
    assert looks == 4
    world.core.leases.alone = False
    row = await world.archiving.stored(video_id)
    assert row is not None
    assert looks == 5
    source = world.archiving.source(row)
    assert source.path is not None
    assert await asyncio.to_thread(source.path.read_bytes) == film(video_id)


async def test_a_reader_waits_for_the_copy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks while the copy is made, or is about to be, gets it as soon as it is stored, without another
    transfer."""
    monkeypatch.setattr(archiving, "WAIT_LOOK", 60.0)
    release = asyncio.Event()
    video_id = await world.completed(tell=False)
    video = await world.store.video(video_id)
    assert video is not None
    before = msgspec.structs.replace(video, status="in_progress")
    await world.store.write(lambda db: outbox.note(db, before, video))
    world.upstreams.script[video_id] = [release]
    async with world.running():
        waits = [asyncio.create_task(world.archiving.wait(video_id, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        await world.archiving.video_changed(video, "in_progress")
        await world.until(lambda: world.upstreams.open)
        assert not any(wait.done() for wait in waits)
        release.set()
        async with asyncio.timeout(20):
            found = await asyncio.gather(*waits)
    assert [row.state for row in found if row is not None] == ["stored"] * 3
    assert world.upstreams.asked == [video_id]


async def test_nobody_waits_for_what_does_not_come(world: World) -> None:
    """Without a copy that is due soon the answer is None at once; after the time that was given it is too."""
    never = await world.completed(tell=False)
    lost = await world.completed(expires_at=1)
    later, slow = await world.completed(), await world.completed()
    world.upstreams.script[later] = [UpstreamError("no")] * 9
    world.upstreams.script[slow] = [asyncio.Event()]
    async with world.running():
        await world.becomes(lost, "lost")
        for tries in range(1, 9):
            row = await world.failed(later, tries)
            world.later(row.next_at - world.now)
        await world.failed(later, 9)
        async with asyncio.timeout(20):
            assert [await world.archiving.wait(video_id, 60) for video_id in (never, lost, later)] == [None] * 3
            assert await world.archiving.wait(slow, 0.05) is None


async def test_a_copy_that_another_process_makes_is_seen(world: World) -> None:
    """A reader of one process gets what the one that leads has stored."""
    video_id = await world.completed()
    reader = world.again()
    wait = asyncio.create_task(reader.archiving.wait(video_id, 60))
    async with world.running():
        row = await wait
    assert row is not None
    assert (row.video_id, row.state) == (video_id, "stored")
