"""What the tests of contents share: a channel whose results are scripted, and requests for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from proxy.errors import UnsupportedOperation
from proxy.models import Source, UpstreamJob
from proxy.records import Archived
from proxy.spooled import Spooled
from proxy.store import archive as table
from tests.conftest import Product
from tests.engine.deleting import COMPLETED
from tests.media.wire import Exchange, RawUpstream, video_of

FILM = video_of(50_000)
PICTURE = b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(40)
SECRET = "task-secretid-1"

Scripted = Source | BaseException | asyncio.Future[Any] | object
Script = Callable[[UpstreamJob], Scripted]


def config(origin: str = "", *, server: str = "", channel: str = "") -> str:
    """One channel `a`, which may fetch from `origin`."""
    host = f", base_url: '{origin}'" if origin else ""
    return (
        f"server: {{{server}}}\n"
        f"channels: [{{name: a, type: lookup, models: [sora-2], poll_every: 0.01{host}, {channel}}}]\n"
    )


class Shelf:
    """Answers `content` of the channel `a` by what `has` says for the variant."""

    def __init__(self, product: Product, **has: Script | Scripted) -> None:
        self.product = product
        self.has = has
        self.asked: list[str] = []
        self.channel = product.channel("a")
        self.channel.content = self.content

    async def content(self, job: UpstreamJob, variant: str) -> Any:
        self.asked.append(variant)
        found = self.has.get(variant, UnsupportedOperation("no such variant"))
        answer = found(job) if callable(found) else found
        if isinstance(answer, asyncio.Future):
            answer = await asyncio.shield(answer)
        elif asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def polled(self) -> int:
        return len(self.channel.asked("fetch"))

    async def film(self, **job: Any) -> str:
        """A completed video; `job` is what its upstream says of it."""
        self.channel.then("fetch", UpstreamJob(id=SECRET, status="completed", **job) if job else COMPLETED)
        video = await self.product.done((await self.product.create())["id"])
        assert video["status"] == "completed"
        return str(video["id"])

    async def get(
        self, video_id: str, variant: str = "video", *, method: str = "GET", **headers: str
    ) -> tuple[Any, Any]:
        """Status and body; of an error its code."""
        status, body, _ = await self.ask(video_id, variant, method=method, **headers)
        return status, body["error"]["code"] if isinstance(body, dict) else body

    async def ask(
        self, video_id: str, variant: str = "video", *, method: str = "GET", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        path = f"/v1/videos/{video_id}/content?variant={variant}"
        return await self.product.call(method, path, headers=headers, allow_redirects=False)

    async def row(self, video_id: str) -> Archived | None:
        return await self.product.core.store.read(partial(table.of, video_id=video_id))

    async def copied(self, video_id: str, state: str = "stored") -> Archived:
        async with asyncio.timeout(20):
            while (row := await self.row(video_id)) is None or row.state != state:
                await asyncio.sleep(0.005)
        return row


def forms(upstream: RawUpstream, folder: Path, film: bytes = FILM) -> dict[str, Script]:
    """Each form that a source may have."""

    async def pieces(first: int = 0, size: int = len(film)) -> AsyncIterator[bytes]:
        for start in range(first, first + size, 7000):
            yield film[start : min(start + 7000, first + size)]

    async def spooled(job: UpstreamJob) -> Source:
        path = folder / f"spool-{time.monotonic_ns()}"
        await asyncio.to_thread(path.write_bytes, film)
        return Source(spooled=Spooled(path, len(film)))

    folder.mkdir()
    (folder / "film.mp4").write_bytes(film)
    return {
        "url": lambda job: Source(url=upstream.url),
        "url with a key": lambda job: Source(url=upstream.url, headers={"Authorization": "Bearer k"}),
        "path": lambda job: Source(path=folder / "film.mp4"),
        "data": lambda job: Source(data=film),
        "spooled": spooled,
        "stream": lambda job: Source(stream=pieces),
        "read": lambda job: Source(read=pieces, size=len(film)),
    }


def origin(upstream: RawUpstream) -> str:
    return upstream.url.partition("/result")[0]


async def sends(exchange: Exchange) -> None:
    await exchange.ranged(FILM)
