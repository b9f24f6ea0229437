"""Archiving on a store and an archive of its own, with upstreams that are scripted and a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from proxy.config import Server
from proxy.engine.archiving import Archiving
from proxy.engine.core import Core
from proxy.media.archive import Archive, key_of
from proxy.media.sources import Body, Opener, opened
from proxy.models import Source, UpstreamJob
from proxy.records import Archived, Video
from proxy.store import Store
from proxy.store import archive as table
from tests.store.conftest import make_video

NO_OPENER = cast("Opener", None)


def film(video_id: str, length: int = 200_000) -> bytes:
    """What the upstream made: another film for every video."""
    return b"\x00\x00\x00\x18ftypmp42" + video_id.encode() * (length // len(video_id))


Scripted = bytes | Exception | asyncio.Event | Source
"""What one reading gives: bytes; an error; nothing until the event, and the film then; any other source."""


class Upstreams:
    """What `Archiving` reads from: the film of each video, or first what `script` says for it."""

    def __init__(self) -> None:
        self.script: defaultdict[str, list[Scripted]] = defaultdict(list)
        self.asked: list[str] = []
        self.open = self.most = 0

    @asynccontextmanager
    async def read(self, video: Video) -> AsyncIterator[Body]:
        self.asked.append(video.id)
        answers = self.script[video.id]
        answer = answers.pop(0) if answers else film(video.id)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, asyncio.Event):
                answer = held(answer, film(video.id))
            source = answer if isinstance(answer, Source) else Source(data=answer)
            async with opened(source, NO_OPENER) as body:
                yield body
        finally:
            self.open -= 1


def held(until: asyncio.Event, data: bytes) -> Source:
    """Half of `data`, and the rest only after `until`."""

    async def stream() -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        await until.wait()
        yield data[len(data) // 2 :]

    return Source(stream=stream, size=len(data))


async def _same(video: Video) -> Video:
    return video


async def _nothing(before: Video, after: Video) -> None:
    pass


class World:
    """One process of `Archiving` and what is around it."""

    def __init__(self, store: Store, archive: Archive, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.upstreams = Upstreams()
        self.now = 2_000_000_000.0
        self.leads = True
        self.core = SimpleNamespace(
            store=store,
            leases=SimpleNamespace(leads=lambda: self.leads, current=lambda: True, alone=True),
            channels={"lumen": object()},
            newest=store.video,
            clock=lambda: self.now,
            server=Server(),
            clean=lambda text, video: text.replace("up-secret", "[id]"),
            track=lambda video: None,
            _film_kept=_same,
            _moved=_nothing,
        )
        self.core.move = partial(Core.move, cast("Core", self.core))
        self.archive = archive
        self.archiving = Archiving(cast("Core", self.core), archive, self.upstreams)

    def again(self) -> World:
        """The next process on the same store."""
        return World(self.store, self.archive, self.folder)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.archiving.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def completed(self, *, tell: bool = True, url_expires_at: float | None = None, **fields: Any) -> str:
        """A video that has just been completed; the id of it."""
        job = UpstreamJob(id="up-secret", status="completed", url_expires_at=url_expires_at)
        video = make_video(**{"stage": "ended", "status": "completed", "job": job} | fields)
        await self.store.accept(video)
        if tell:
            await self.archiving.video_changed(video, "in_progress")
        return video.id

    async def delete(self, video_id: str, *, tell: bool = True) -> None:
        video = await self.store.video(video_id)
        assert video is not None
        video = await self.store.change(msgspec.structs.replace(video, stage="deleted"))
        if tell:
            await self.archiving.video_changed(video, "completed")

    async def row(self, video_id: str) -> Archived | None:
        return await self.store.read(partial(table.of, video_id=video_id))

    async def due(self, video_id: str) -> Archived:
        """The row of a copy that is not made yet."""
        row = await self.row(video_id)
        assert row is not None
        assert row.state == "due"
        return row

    async def until(self, check: Callable[[], Any]) -> Any:
        """What `check`, or what it awaits, says as soon as that is true."""
        async with asyncio.timeout(20):
            while True:
                found = check()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.002)

    async def becomes(self, video_id: str, state: str) -> Archived:
        async def row() -> Archived | None:
            row = await self.row(video_id)
            return row if row is not None and row.state == state else None

        return cast("Archived", await self.until(row))

    async def failed(self, video_id: str, tries: int) -> Archived:
        """The row once so many tries in a row have failed."""

        async def row() -> Archived | None:
            row = await self.row(video_id)
            return row if row is not None and row.tries == tries else None

        return cast("Archived", await self.until(row))

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.archiving.wake()

    async def files(self) -> dict[str, bytes]:
        """What lies in the archive, by key."""

        def look() -> dict[str, bytes]:
            found = {}
            for path in self.folder.rglob("*"):
                # It may leave while it is looked at.
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    found[str(path.relative_to(self.folder))] = path.read_bytes()
            return found

        return await asyncio.to_thread(look)

    async def has(self, *video_ids: str) -> bool:
        """Whether the archive has exactly the films of these videos, and nothing that is not finished."""
        return await self.files() == {key_of(video_id): film(video_id) for video_id in video_ids}
