"""Copying finished videos: each once, whole, in time, and again until it worked."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator

import pytest

from proxy.engine import archiving
from proxy.errors import ContentExpired, Throttled, UpstreamError, UpstreamGone
from proxy.media.archive import ArchiveError, key_of
from proxy.models import Source
from proxy.store import StoreBusy
from tests.archive.world import World, film

BROKEN = UpstreamError("The upstream broke off.")
GONE = [UpstreamGone("it is gone"), ContentExpired("it is gone")] * 3


async def test_a_completed_video_is_copied_once(world: World) -> None:
    """The archive gets the very bytes, the store their length and SHA-256, and telling it twice changes nothing."""
    async with world.running():
        video_id = await world.completed()
        row = await world.becomes(video_id, "stored")
        video = await world.store.video(video_id)
        assert video is not None
        await world.archiving.video_changed(video, "in_progress")
        other = await world.completed()
        await world.becomes(other, "stored")
    made = film(video_id)
    assert (row.size, row.sha256, row.stored_at) == (len(made), hashlib.sha256(made).hexdigest(), world.now)
    assert await world.has(video_id, other)
    assert world.upstreams.asked == [video_id, other]


async def test_what_did_not_complete_is_not_copied(world: World) -> None:
    """A failed video is nothing to copy, and neither is one that was deleted before its end was told."""
    failed = await world.completed(status="failed")
    deleted = await world.completed(tell=False)
    await world.delete(deleted)
    assert [await world.row(video_id) for video_id in (failed, deleted)] == [None, None]


async def test_a_broken_copy_is_made_again_later(world: World) -> None:
    """Each failure waits about twice as long as the one before it, is durable, and stores nothing; success ends it."""
    video_id = await world.completed()
    made = film(video_id)

    async def short() -> AsyncIterator[bytes]:
        yield made[:5000]

    world.upstreams.script[video_id] = [
        UpstreamError("The upstream up-secret broke off."),
        Source(stream=short, size=len(made)),
        b"<html>Sorry, we are busy.</html>",
        b"",
    ]
    async with world.running():
        for tries in (1, 2, 3, 4):
            row = await world.failed(video_id, tries)
            assert row.state == "due"
            assert 0.8 * 2 ** (tries - 1) <= row.next_at - world.now <= 2 ** (tries - 1)
            assert await world.files() == {}
            assert "up-secret" not in row.note
            world.later(row.next_at - world.now)
        assert (await world.becomes(video_id, "stored")).tries == 0
    assert await world.has(video_id)
    assert len(world.upstreams.asked) == 5


def test_waits_grow_up_to_ten_minutes() -> None:
    """No wait is longer than ten minutes, however often it failed."""
    waits = [archiving._wait(tries) for tries in (10, 11, 100, 10_000)]
    assert 0.8 * 512 <= waits[0] <= 512
    assert all(0.8 * 600 <= wait <= 600 for wait in waits[1:])


async def test_a_throttling_upstream_is_left_alone(world: World) -> None:
    """A `Retry-After` is waited for."""
    video_id = await world.completed()
    world.upstreams.script[video_id] = [Throttled("slow down", retry_after=90)]
    async with world.running():
        assert (await world.failed(video_id, 1)).next_at == world.now + 90


async def test_a_silent_upstream_is_given_up_and_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer in which nothing comes any more does not keep its place for ever."""
    monkeypatch.setattr(archiving, "PATIENCE", 0.05)
    video_id = await world.completed()
    world.upstreams.script[video_id] = [asyncio.Event()]
    async with world.running():
        assert "stopped sending" in (await world.failed(video_id, 1)).note
        assert await world.files() == {}


@pytest.mark.parametrize(
    ("script", "seconds", "state"),
    [
        (GONE[:5], 0.0, "lost"),
        (GONE, 30.0, "stored"),
        ([*GONE[:4], BROKEN, *GONE[:4]], 0.0, "stored"),
    ],
    ids=["five times", "within a moment", "not in a row"],
)
async def test_what_the_upstream_has_no_more_is_lost_in_the_end(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: list[Exception],
    seconds: float,
    state: str,
) -> None:
    """Five answers in a row that it is gone are believed, but not within a moment, and not with another error between
    them; the operator is told of what is lost."""
    caplog.set_level(logging.INFO, "reelgate.archive")
    monkeypatch.setattr(archiving, "GONE_SECONDS", seconds)
    video_id = await world.completed()
    world.upstreams.script[video_id] = [*script]
    async with world.running():
        for tries in range(1, len(script) + (state == "stored")):
            row = await world.failed(video_id, tries)
            world.later(row.next_at - world.now)
        await world.becomes(video_id, state)
        await world.until(lambda: caplog.records[-1].levelno == (logging.ERROR if state == "lost" else logging.INFO))
    assert len(world.upstreams.asked) == len(script) + (state == "stored")
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == (state == "lost")


async def test_an_expired_video_is_lost_at_once(world: World) -> None:
    """What the upstream keeps no longer is not asked for."""
    video_id = await world.completed(expires_at=int(world.now))
    async with world.running():
        assert "ran out" in (await world.becomes(video_id, "lost")).note
    assert world.upstreams.asked == []


async def test_a_channel_that_is_away_is_waited_for(world: World) -> None:
    """The copy of a video whose channel left the file waits without counting failures, and is made when it is back."""
    lumen = world.core.channels.pop("lumen")
    video_id = await world.completed()
    async with world.running():
        row = await world.due(video_id)
        while not row.note:
            await asyncio.sleep(0.01)
            row = await world.due(video_id)
        assert (row.tries, row.next_at) == (0, world.now + archiving.CHANNEL_WAIT)
        world.core.channels["lumen"] = lumen
        world.later(archiving.CHANNEL_WAIT)
        await world.becomes(video_id, "stored")


async def test_few_at_once_and_the_most_urgent_first(world: World) -> None:
    """At most four are copied at once; those go first whose upstream, or its address, lets them go first."""
    never = await world.completed()
    late = await world.completed(expires_at=int(world.now) + 9000)
    soon = await world.completed(expires_at=int(world.now) + 60)
    links = [await world.completed(url_expires_at=world.now + 100 + n) for n in range(4)]
    gates = {video_id: asyncio.Event() for video_id in (never, late, soon, *links)}
    for video_id, gate in gates.items():
        world.upstreams.script[video_id] = [gate]
    async with world.running():
        await world.until(lambda: world.upstreams.open == 4)
        assert set(world.upstreams.asked) == {soon, *links[:3]}
        gates[soon].set()
        await world.until(lambda: len(world.upstreams.asked) == 5)
        world.archiving.wake()
        await world.due(never)
        for gate in gates.values():
            gate.set()
        await world.becomes(never, "stored")
        await world.until(lambda: world.upstreams.open == 0)
    assert world.upstreams.most == 4
    assert world.upstreams.asked[4:] == [links[3], late, never]


async def test_only_the_one_that_leads_copies(world: World) -> None:
    """Of several processes one copies, and another one goes on as soon as it leads."""
    world.leads = False
    video_id = await world.completed()
    async with world.running():
        other = world.again()
        async with other.running():
            await other.becomes(video_id, "stored")
            world.leads, other.leads = True, False
            second = await other.completed()
            world.archiving.wake()
            await world.becomes(second, "stored")
    assert (other.upstreams.asked, world.upstreams.asked) == ([video_id], [second])


async def test_what_a_process_began_the_next_one_completes(world: World) -> None:
    """A copy that the end of its process cut off leaves nothing behind, stays due, and is made by the next one."""
    video_id = await world.completed()
    world.upstreams.script[video_id] = [asyncio.Event()]
    async with world.running():
        await world.until(lambda: world.upstreams.open)
    assert await world.files() == {}
    await world.due(video_id)
    await asyncio.to_thread((world.folder / ".partial" / "left").write_bytes, film(video_id))
    after = world.again()
    async with after.running():
        await after.becomes(video_id, "stored")
        await after.until(lambda: after.has(video_id))


async def test_an_archive_in_trouble_costs_no_transfers(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the archive takes nothing, no upstream is asked over and over, no video is blamed, no reader waits,
    and it goes on later."""
    put, broken = world.archive.put, [ArchiveError("the disk is full")] * 2

    async def failing(key: str, read: object, size: int | None) -> object:
        if broken:
            raise broken.pop()
        return await put(key, read, size)  # type: ignore[arg-type]

    monkeypatch.setattr(world.archive, "put", failing)
    video_id = await world.completed()
    async with world.running():
        for failures in (1, 2):
            await world.until(lambda: len(caplog.records) == failures)
            for _ in range(5):
                world.archiving.wake()
                assert (await world.due(video_id)).tries == 0
            assert len(world.upstreams.asked) == failures
            # Nobody waits for a copy that cannot be made now.
            async with asyncio.timeout(10):
                assert await world.archiving.wait(video_id, 60.0) is None
            # The pause is over.
            world.archiving._hold_until = 0.0
            world.archiving.wake()
        await world.becomes(video_id, "stored")
    assert len(world.upstreams.asked) == 3
    assert [record.getMessage().split(", ")[0] for record in caplog.records if record.levelno == logging.ERROR] == [
        "the archive cannot be used"
    ] * 2


async def test_a_busy_store_costs_no_second_transfer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store cannot be written, what was stored is kept in mind until it can."""
    monkeypatch.setattr(archiving, "WRITE_AGAIN", 0.01)
    video_id = await world.completed()
    write, failures = world.store.write, [StoreBusy("disk full")] * 2

    async def failing(operation: object) -> object:
        if failures:
            raise failures.pop()
        return await write(operation)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "write", failing)
    async with world.running():
        await world.becomes(video_id, "stored")
    assert world.upstreams.asked == [video_id]
    assert await world.has(video_id)
    assert key_of(video_id) in await world.files()
