"""Processes on one store, of which only the leases are there: the test moves them and their clocks by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.engine import leases
from proxy.engine.leases import Leases
from proxy.records import Video
from proxy.store import Store, workers
from tests.store.conftest import make_video

LASTS = 10.0
"""Seconds of a lease."""


class Process:
    """The part of a process that has to do with leases. Its time passes only when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall = 1_000_000.0
        self.awake = 0.0
        self.taken: list[str] = []
        self.told = 0

    async def start(self) -> Process:
        """Join, by hand from then on."""
        self.store = await Store.open(self.path)
        self.leases = Leases(self.store, lasts=LASTS, clock=lambda: self.wall, now=lambda: self.awake)
        self.leases.take_up = self._take_up
        self.leases.changed_elsewhere = self._changed
        await self.leases.join()
        await self.stop_keeping()
        return self

    async def stop_keeping(self) -> None:
        assert self.leases._keeping is not None
        self.leases._keeping.cancel()
        await asyncio.wait([self.leases._keeping])

    async def _take_up(self, videos: list[Video]) -> None:
        self.taken += [video.id for video in videos]

    def _changed(self) -> None:
        self.told += 1

    async def turn(self) -> None:
        """One look at its own rows and one at those of the others."""
        await self.leases._turn()
        if not self.leases.lost.is_set():
            await self.leases._take_over()

    def later(self, seconds: float, *, awake: bool = True) -> None:
        """Time passes; not `awake`: the machine sleeps, of which one of the clocks knows nothing."""
        self.wall += seconds
        self.awake += seconds if awake else 0.0

    async def accept(self, **fields: Any) -> Video:
        """A video that is accepted here."""
        video = make_video(stage="running", holder=self.leases.primary, **fields)
        await self.store.accept(video)
        return video

    async def change(self, video: Video, **fields: Any) -> Video:
        return await self.store.change(msgspec.structs.replace(video, **fields), before=video)

    async def everyone(self) -> list[workers.Worker]:
        return await self.store.read(workers.everyone)

    async def die(self) -> None:
        """kill -9: the operating system opens the lock, the file stays."""
        lock = self.leases._lock
        assert lock._fd is not None
        os.close(lock._fd)
        lock._fd = None
        await self.store.close()


Start = Callable[[], Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a process on the test's store; nobody waits for the others, who look when the test says so."""
    assert leases.JOIN_WAIT >= leases.BELIEVED
    monkeypatch.setattr(leases, "JOIN_WAIT", 0.0)
    made: list[Process] = []

    async def one() -> Process:
        made.append(await Process(tmp_path / "reelgate.db").start())
        await made[-1].turn()
        return made[-1]

    yield one
    for process in made:
        if process.leases._lock._fd is not None:
            await process.leases.leave()
            await process.store.close()
