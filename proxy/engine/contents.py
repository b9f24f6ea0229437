"""Where the bytes of a completed video are: its copy in the archive, a file kept here, or its upstream."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from yarl import URL

from proxy.channels import LiveChannel
from proxy.engine import states
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.requests import fetch
from proxy.engine.states import IllegalMove
from proxy.errors import (
    ApiError,
    ChannelUnavailable,
    ContentExpired,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    VideoFailed,
    VideoNotReady,
)
from proxy.media import frames, pictures, stills
from proxy.media.sources import Body, Opener, may_have_run_out, open_file, opened
from proxy.models import Source, UpstreamJob, Variant
from proxy.records import Video
from proxy.store import StoreBusy

if TYPE_CHECKING:
    from proxy.engine.archiving import Archiving

T = TypeVar("T")

COPY_WAIT: Final = 60.0
"""Seconds that a reader of a channel with `content: archive` waits for a copy that is still being made."""
LARGEST_VARIANT: Final = 32 * 2**20
DAMAGED: Final = "The upstream's {variant} of this video cannot be used."


class Found(NamedTuple):
    """The bytes of a video or a variant. `renew` gives the source anew where its address has expired; `redirect` is the
    provider's own address, where the client is to be sent there."""

    source: Source
    opener: Opener
    renew: Callable[[], Awaitable[Source]] | None = None
    redirect: URL | None = None


class Contents:
    """Finds content for clients, for the archive and for the frames that a new video starts from.

    `archiving` is None where there is no archive.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.archiving: Archiving | None = None
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # -- for clients ---------------------------------------------------------------------------------------------------

    async def find(self, video: Video, variant: Variant) -> Found:
        """Where the bytes are. Raises a 4xx for a video that has none (any more), and what its upstream does wrong."""
        _check_finished(video)
        if variant != "video":
            return Found(await self._variant(video, variant), _NOTHING_TO_OPEN)
        live = self._core.channels.get(video.channel)
        if live is not None and live.entry.content == "redirect" and not self._expired(video):
            found = await self._upstream(video)
            # What may not be handed out is relayed, so that it meets the guard and the log says why.
            if (address := live.channel.upstream.handed_out(found.source)) is not None:
                return found._replace(redirect=address)
        return await self._here(video) or await self._upstream(video)

    async def _here(self, video: Video) -> Found | None:
        """The copy in the archive, or the file that was kept, if there is one."""
        if self.archiving is not None:
            live = self._core.channels.get(video.channel)
            if live is not None and live.entry.content == "archive":
                copy = await self.archiving.wait(video.id, COPY_WAIT)
            else:
                copy = await self.archiving.stored(video.id)
            if copy is not None:
                return Found(self.archiving.source(copy), _NOTHING_TO_OPEN)
        path = await self._core.kept.find(video.id, "video")
        return None if path is None else Found(Source(path=path), _NOTHING_TO_OPEN)

    def _expired(self, video: Video) -> bool:
        return video.expires_at is not None and video.expires_at <= self._core.clock()

    # -- the upstream's own --------------------------------------------------------------------------------------------

    async def _upstream(self, video: Video) -> Found:
        if self._expired(video):
            raise ContentExpired(f"The content of video with id '{video.id}' has expired.")
        live = self._live(video)
        job = _job_of(video)
        if job.url_expires_at is not None and job.url_expires_at <= self._core.clock():
            source = await self._renewed(video)
        else:
            source = await self._result(live, video)
        if source.path is not None:
            return Found(source, live.channel.upstream)
        return Found(source, live.channel.upstream, lambda: self._renewed(video))

    async def _result(self, live: LiveChannel, video: Video) -> Source:
        """The channel's word on where the video is. What it gives within an answer is kept on disk, so that the next
        reader, or the next range, does not cost the whole again."""
        async with self._turn(video.id):
            path = await self._core.kept.find(video.id, "video")
            if path is not None:
                return Source(path=path)
            source = await _ask(live, _job_of(video), "video")
            if source.spooled is None and source.data is None:
                return source
            kept = await self._core.kept.make(video.id, "video", lambda to: _put(source, to))
            return Source(path=kept)

    async def _renewed(self, video: Video) -> Source:
        """The source after its upstream was asked for the job again, for an address that is good; `UpstreamGone` where
        it has no result any more."""
        live = self._live(video)
        async with self._turn(f"renew {video.id}"):
            newest = await self._core.newest(video.id) or video
            if newest.job == video.job:
                job = await fetch(live, _job_of(video))
                if job.status != "completed":
                    raise UpstreamGone("The upstream has no result for this video any more.")
                newest = await self._keep(video, job)
        return await self._result(live, newest)

    async def _keep(self, video: Video, job: UpstreamJob) -> Video:
        try:
            return await self._core.move(video.id, lambda current: states.renewed(current, job), anyones=True)
        except (IllegalMove, StoreBusy) as error:
            log.info("video %s: its new address is used once and not kept: %s", video.id, error)
            return states.renewed(video, job)

    def _live(self, video: Video) -> LiveChannel:
        live = self._core.channels.get(video.channel)
        if live is None:
            raise ChannelUnavailable("The channel that made this video is no longer configured.")
        return live

    def _turn(self, name: str) -> asyncio.Lock:
        lock = self._turns.get(name)
        if lock is None:
            lock = self._turns[name] = asyncio.Lock()
        return lock

    # -- for the archive and for frames --------------------------------------------------------------------------------

    @asynccontextmanager
    async def read(self, video: Video) -> AsyncIterator[Body]:
        """The whole video from its upstream, for the archive; see `sources.Body`."""
        found = await self._upstream(video)
        async with AsyncExitStack() as stack:
            yield await self._tried(found, lambda source: stack.enter_async_context(opened(source, found.opener)))

    async def frame(self, video: Video, which: Literal["first", "last"]) -> bytes:
        """The first or the last frame of a completed video as a PNG."""
        _check_finished(video)
        found = await self._here(video) or await self._upstream(video)
        folder, last = self._core.folder, which == "last"
        return await self._tried(found, lambda source: frames.frame(source, found.opener, folder=folder, last=last))

    async def _tried(self, found: Found, way: Callable[[Source], Awaitable[T]]) -> T:
        """What `way` makes of the source, or of a new one where its address may have run out."""
        try:
            return await way(found.source)
        except ApiError as error:
            if found.renew is None or not may_have_run_out(found.source, error):
                raise
        return await way(await found.renew())

    # -- variants ------------------------------------------------------------------------------------------------------

    async def _variant(self, video: Video, variant: Variant) -> Source:
        """A picture of the video: the upstream's, where it has one, else our own; made once and kept."""

        async def produce(to: Path) -> None:
            if not await self._fetched(video, variant, to):
                await stills.require("variant")
                make = stills.thumbnail if variant == "thumbnail" else stills.spritesheet
                found = await self._here(video) or await self._upstream(video)
                async with AsyncExitStack() as stack:
                    file = await self._tried(
                        found,
                        lambda source: stack.enter_async_context(
                            frames.on_disk(source, found.opener, folder=self._core.folder)
                        ),
                    )
                    picture = await make(file)
                await asyncio.to_thread(to.write_bytes, picture)

        path = await self._core.kept.make(video.id, variant, produce)
        kind = pictures.media_type(await asyncio.to_thread(_head, path))
        if kind is None:
            await self._core.kept.discard(video.id)
            raise UpstreamError(DAMAGED.format(variant=variant))
        return Source(path=path, media_type=kind)

    async def _fetched(self, video: Video, variant: Variant, to: Path) -> bool:
        """Whether the upstream had the variant, which is in the file `to` then."""
        live = self._core.channels.get(video.channel)
        if live is None or self._expired(video):
            return False
        try:
            source = await _ask(live, _job_of(video), variant)
            if source.path is None and source.spooled is None:
                async with opened(source, live.channel.upstream, media_type=source.media_type) as body:
                    await _write(body, to, variant)
            else:
                await _put(source, to, source.media_type)
        except (UnsupportedOperation, UpstreamGone):
            return False
        return pictures.media_type(await asyncio.to_thread(_head, to)) is not None


class _NothingToOpen:
    def open(self, source: Source, *, range: str | None = None) -> object:
        raise RuntimeError("this source has no address")


_NOTHING_TO_OPEN: Final[Opener] = _NothingToOpen()  # type: ignore[assignment]


def _check_finished(video: Video) -> None:
    if video.status == "failed":
        raise VideoFailed(f"Video with id '{video.id}' failed and has no content.")
    if video.status != "completed" or video.job is None:
        raise VideoNotReady(f"Video is not ready yet, use GET /v1/videos/{video.id} to check status.")


def _job_of(video: Video) -> UpstreamJob:
    assert video.job is not None
    return video.job


async def _ask(live: LiveChannel, job: UpstreamJob, variant: Variant) -> Source:
    try:
        return await live.channel.content(job, variant)
    except ApiError:
        raise
    except Exception as error:
        raise plugin_fault(live, error, "find the content of", (job.id,)) from error


async def _put(source: Source, to: Path, media_type: str = "video/mp4") -> None:
    """Write what a source has at hand to the file `to`, if it begins as such a file must."""
    if source.data is None:
        # An error page may come as base64 too.
        await asyncio.to_thread(_check, source, media_type)
    if source.spooled is not None:
        await asyncio.to_thread(source.spooled.take, to)
    elif source.path is not None:
        await asyncio.to_thread(shutil.copyfile, source.path, to)
    else:
        await asyncio.to_thread(to.write_bytes, source.data or b"")


def _check(source: Source, media_type: str) -> None:
    open_file(source, media_type)[0].close()


async def _write(body: Body, to: Path, variant: Variant) -> None:
    size = 0
    with await asyncio.to_thread(to.open, "wb") as file:
        while chunk := await body.read():
            size += len(chunk)
            if size > LARGEST_VARIANT:
                raise UpstreamError(DAMAGED.format(variant=variant))
            await asyncio.to_thread(file.write, chunk)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)
