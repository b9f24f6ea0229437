"""Telling what changed: in order, at least once, by the one process that leads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from proxy.app import WIRING
from proxy.channels import Channels
from proxy.config import Server
from proxy.engine import dispatch
from proxy.engine.core import Core
from proxy.engine.dispatch import Dispatcher
from proxy.engine.states import IllegalMove
from proxy.errors import UpstreamRefused
from proxy.models import UpstreamJob
from proxy.records import Video
from proxy.store import StoreBusy, outbox
from proxy.upstream.redact import Redactor
from tests.conftest import Launch
from tests.engine.conftest import Process, Start

PLUGINS = (Path(__file__).parent / "plugins",)
Told = list[tuple[str, str, str]]


class Ear:
    """A process that dispatches: `heard` has the id, the status before and the status of each change."""

    def __init__(self, process: Process) -> None:
        async def discard(owner: str) -> None:
            pass

        self.process = process
        self.heard: Told = []
        self.core = Core(
            store=process.store,
            leases=process.leases,
            channels=Channels.__new__(Channels),
            inputs=SimpleNamespace(discard=discard),  # type: ignore[arg-type]
            server=Server(),
            redactor=Redactor(()),
            folder=process.path.parent,
            kept=SimpleNamespace(discard=discard),  # type: ignore[arg-type]
        )
        self.dispatcher = Dispatcher(self.core)
        self.dispatcher.listeners.append(("the test", self.hear))
        process.leases.changed_elsewhere = self.dispatcher.changed_elsewhere

    async def hear(self, video: Video, before: str) -> None:
        word = "deleted" if video.stage == "deleted" else video.status
        self.heard.append((video.id, before, word))

    def start(self) -> None:
        self.task = asyncio.create_task(self.dispatcher.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def move(self, video: Video, **fields: Any) -> Video:
        return await self.core.move(video.id, lambda current: msgspec.structs.replace(current, **fields))

    async def lives(self) -> tuple[list[Video], Told]:
        """Three videos that were made at the same time, and what must be heard of them."""
        videos = [await self.process.accept() for _ in range(3)]
        for video in videos:
            await self.move(video, status="in_progress")
        for video in videos:
            await self.move(video, stage="ended", status="completed")
        return videos, [(video.id, "queued", "in_progress") for video in videos] + [
            (video.id, "in_progress", "completed") for video in videos
        ]

    async def has_heard(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                await asyncio.sleep(0)

    async def left(self) -> list[outbox.Change]:
        return await self.process.store.read(lambda db: outbox.oldest(db, 1000))

    async def emptied(self) -> None:
        async with asyncio.timeout(20):
            while await self.left():
                await asyncio.sleep(0)


@pytest.fixture
def never_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatcher looks when something told it to, or not at all."""
    monkeypatch.setattr(dispatch, "LOOK_AGAIN", 1000.0)
    monkeypatch.setattr(dispatch, "TRY_AGAIN", 0.0)


pytestmark = pytest.mark.usefixtures("never_by_chance")


async def test_listeners_hear_every_change_in_order(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened before the start and after it is heard once each, in its order, with the status that it had, also
    where more has happened than is read at once; then the outbox is empty."""
    monkeypatch.setattr(dispatch, "AT_ONCE", 2)
    ear = Ear(await start())
    _, first = await ear.lives()
    ear.start()
    await ear.has_heard(len(first))
    videos, second = await ear.lives()
    # A listener is told of a video as it is, and a deleted one is no completed one any more.
    await ear.has_heard(len(first) + len(second))
    await ear.core.move(videos[0].id, lambda video: msgspec.structs.replace(video, stage="deleted"))
    await ear.emptied()
    assert ear.heard == [*first, *second, (videos[0].id, "completed", "deleted")]
    await ear.stop()


async def test_a_broken_listener_holds_up_nobody(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What a listener raises is logged under its name; the other listeners and the next changes are told."""
    ear = Ear(await start())

    async def broken(video: Video, before: str) -> None:
        raise ZeroDivisionError("a bug")

    ear.dispatcher.listeners.insert(0, ("the broken one", broken))
    _, wanted = await ear.lives()
    ear.start()
    await ear.emptied()
    assert ear.heard == wanted
    assert [record.message.partition(" on ")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "the broken one failed"
    ] * len(wanted)
    await ear.stop()


async def test_what_a_busy_store_kept_from_a_listener_is_told_again(start: Start) -> None:
    """A listener that could not write now is not passed over: its change stays in the outbox and comes again, and
    nothing overtakes it."""
    ear = Ear(await start())
    tries = 0

    async def writes(video: Video, before: str) -> None:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise StoreBusy("disk full")
        await ear.hear(video, before)

    ear.dispatcher.listeners[:] = [("the test", writes)]
    _, wanted = await ear.lives()
    ear.start()
    await ear.emptied()
    assert ear.heard == wanted
    await ear.stop()


async def test_a_store_that_cannot_be_read_or_written_is_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with the outbox itself, the dispatcher goes on, and everything is heard at least once."""
    ear = Ear(await start())
    _, wanted = await ear.lives()
    read, write, wrong = ear.core.store.read, ear.core.store.write, [StoreBusy("locked"), KeyError("a bug")]

    async def flaky_read(function: Any) -> Any:
        if wrong:
            raise wrong.pop()
        return await read(function)

    broken = [StoreBusy("disk full"), KeyError("a bug")]

    async def flaky_write(function: Any) -> Any:
        if broken:
            raise broken.pop()
        return await write(function)

    monkeypatch.setattr(ear.core.store, "read", flaky_read)
    monkeypatch.setattr(ear.core.store, "write", flaky_write)
    ear.start()
    await ear.has_heard(3 * len(wanted))
    await ear.stop()
    assert ear.heard == wanted * 3
    assert not broken
    assert not wrong


async def test_only_the_leader_tells(start: Start) -> None:
    """Of two processes the first tells what both did; the second hears nothing."""
    one, two = Ear(await start()), Ear(await start())
    one.start()
    two.start()
    _, theirs = await two.lives()
    await one.process.turn()
    _, own = await one.lives()
    await one.emptied()
    assert one.heard == theirs + own
    await two.process.turn()
    assert two.heard == []
    await one.stop()
    await two.stop()


async def test_what_a_killed_leader_had_not_told_the_next_one_tells(start: Start) -> None:
    """Killed in the middle of a batch, the leader's changes are told by the next one, from the first on, at once."""
    one, two = Ear(await start()), Ear(await start())
    hang = asyncio.Event()

    async def dies_at_the_third(video: Video, before: str) -> None:
        if len(one.heard) == 2:
            await hang.wait()
        await one.hear(video, before)

    one.dispatcher.listeners[:] = [("the test", dies_at_the_third)]
    _, wanted = await one.lives()
    one.start()
    two.start()
    await one.has_heard(2)
    await one.stop()
    await one.process.die()
    assert two.heard == []
    await two.process.turn()
    await two.emptied()
    assert one.heard == wanted[:2]
    assert two.heard == wanted
    await two.stop()


async def test_only_the_holder_moves_a_video(start: Start) -> None:
    """What a process does of itself it does to its own videos; what an owner asked for it does to any. Nobody moves one
    by itself after it gave its rows back."""
    one, two = Ear(await start()), Ear(await start())
    video = await one.process.accept()
    with pytest.raises(IllegalMove, match="held by another process"):
        await two.move(video, status="in_progress")
    await two.core.move(video.id, lambda known: msgspec.structs.replace(known, stage="deleted"), anyones=True)
    other = await one.process.accept()
    await one.process.leases.leave()
    with pytest.raises(IllegalMove, match="held by another process"):
        await one.move(other, status="in_progress")


async def test_a_leader_that_was_paused_tells_no_more(start: Start) -> None:
    """One that wakes after its lease finishes what it is at, and leaves the rest, and the outbox, to others."""
    ear = Ear(await start())

    async def pauses(video: Video, before: str) -> None:
        await ear.hear(video, before)
        ear.process.later(1000.0)

    ear.dispatcher.listeners[:] = [("the test", pauses)]
    _, wanted = await ear.lives()
    ear.start()
    await ear.has_heard(1)
    ear.dispatcher.changed_elsewhere()
    for _ in range(50):
        await asyncio.sleep(0)
    assert ear.heard == wanted[:1]
    assert len(await ear.left()) == len(wanted)
    # Nobody took over: it goes on when it has renewed.
    ear.dispatcher.listeners[:] = [("the test", ear.hear)]
    await ear.process.turn()
    ear.dispatcher.changed_elsewhere()
    await ear.emptied()
    assert ear.heard[1:] == wanted
    await ear.stop()


async def test_the_engine_tells_of_a_whole_life(launch: Launch) -> None:
    """From the POST to the deletion each public step is told, and a refused create is not."""
    product = await launch("channels: [{name: a, type: lookup, models: [sora-2], poll_every: 0.01}]", plugins=PLUGINS)
    engine = product.server.app[WIRING].engine
    assert engine is not None
    heard: list[tuple[str, str]] = []

    async def hear(video: Video, before: str) -> None:
        heard.append((before, "deleted" if video.stage == "deleted" else video.status))

    engine.tell("the test", hear)
    channel = product.channel("a")
    channel.then("create", UpstreamRefused("No."), UpstreamJob(id="up", status="queued"))
    channel.then("fetch", UpstreamJob(id="up", status="in_progress"))
    assert (await product.call("POST", "/v1/videos", json={"prompt": "x"}))[0] == 502
    video = await product.create()
    await product.done(video["id"])
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    async with asyncio.timeout(20):
        while len(heard) < 3:
            await asyncio.sleep(0.01)
    assert heard == [("queued", "in_progress"), ("in_progress", "completed"), ("completed", "deleted")]
