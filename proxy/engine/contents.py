"""Where the bytes of a completed video are: its copy in the archive, a file kept here, or its upstream."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from yarl import URL

from proxy.channels import LiveChannel
from proxy.engine import states
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.requests import CALLS, SLACK, fetch, own_cancellation
from proxy.engine.states import IllegalMove
from proxy.errors import (
    ApiError,
    ChannelUnavailable,
    ContentExpired,
    NotFound,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamTimeout,
    VideoFailed,
    VideoNotFound,
    VideoNotReady,
)
from proxy.media import frames, pictures, stills
from proxy.media.sources import NO_ADDRESS, Body, Opener, may_have_run_out, opened
from proxy.models import Source, UpstreamJob, Variant
from proxy.records import Video
from proxy.spooled import Spooled
from proxy.store import StoreBusy

if TYPE_CHECKING:
    from proxy.engine.archiving import Archiving

T = TypeVar("T")

COPY_WAIT: Final = 60.0
"""Seconds that a reader of a channel with `content: archive` waits for a copy that is still being made."""
LARGEST_VARIANT: Final = 32 * 2**20
DAMAGED: Final = "The {variant} of this video cannot be used; try again."
TOO_SLOW: Final = "The channel of this video did not answer in time."
SOME_PICTURE: Final = "image/*"


class Found(NamedTuple):
    """The bytes of a video or a variant. `renew` gives the source anew where its address has run out or its file is
    gone; `redirect` is the provider's own address, where the client is to be sent there."""

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
        self._under_way: dict[str, asyncio.Task[Source]] = {}

    # -- for clients ---------------------------------------------------------------------------------------------------

    async def find(self, video: Video, variant: Variant) -> Found:
        """Where the bytes are. Raises a 4xx for a video that has none (any more), and what its upstream does wrong."""
        _check_finished(video)
        if variant != "video":
            return await self._variant(video, variant)
        live = self._core.channels.get(video.channel)
        if live is None or live.entry.content != "redirect":
            return await self._here(video) or await self._upstream(video)
        try:
            found = await self._upstream(video)
        except ApiError:
            if (here := await self._here(video)) is None:
                raise
            return here
        # What may not be handed out is relayed, so that it meets the guard and the log says why.
        if (address := live.channel.upstream.handed_out(found.source)) is not None:
            return found._replace(redirect=address)
        return await self._here(video) or found

    async def _here(self, video: Video, *, patience: float = COPY_WAIT) -> Found | None:
        """The copy in the archive, or the file that was kept, if there is one; `patience` is for a channel whose
        readers wait for their copy."""
        live = self._core.channels.get(video.channel)
        opener = NO_ADDRESS if live is None else live.channel.upstream
        if self.archiving is not None:
            if live is not None and live.entry.content == "archive":
                copy = await self.archiving.wait(video.id, patience)
            else:
                copy = await self.archiving.stored(video.id)
            if copy is not None:
                return Found(self.archiving.source(copy), opener, lambda: self._instead_of_copy(video))
        path = await self._core.kept.find(video.id, "video")
        return None if path is None else Found(Source(path=path), opener, lambda: self._result(video))

    async def _instead_of_copy(self, video: Video) -> Source:
        log.warning("video %s: its copy is not in the archive any more, its upstream is asked", video.id)
        return (await self._upstream(video)).source

    async def keep(self, video_id: str, film: Spooled) -> None:
        """Keep a film that came with its job. One that is none, or cannot be kept, is left to `Channel.content`."""
        try:
            await self._core.kept.make(video_id, "video", lambda to: _put(Source(spooled=film), to))
        except (ApiError, OSError) as error:
            log.warning("video %s: the film that came with its job is not kept: %s", video_id, error)

    # -- the upstream's own --------------------------------------------------------------------------------------------

    async def _upstream(self, video: Video) -> Found:
        self._check_time(video)
        live, job = self._live(video), _job_of(video)
        run_out = job.url_expires_at is not None and job.url_expires_at <= self._core.clock()
        source = await (self._renewed(video) if run_out else self._result(video))
        again = self._renewed if source.path is None else self._result
        return Found(source, live.channel.upstream, lambda: again(video))

    async def _result(self, video: Video) -> Source:
        """The channel's word on where the video is."""
        return await self._shared(f"result {video.id} {video.version}", lambda: self._told(video))

    async def _renewed(self, video: Video) -> Source:
        """The channel's word after its upstream was asked for the job again, for an address that is good."""
        return await self._shared(f"renewed {video.id}", lambda: self._told_anew(video))

    async def _shared(self, name: str, work: Callable[[], Coroutine[Any, Any, Source]]) -> Source:
        """What `work` answers; those who come meanwhile share it. It goes on when they leave: the next one asks again,
        and would pay for it again."""
        task = self._under_way.get(name)
        if task is None:
            task = self._under_way[name] = self._core.carry(work(), name)
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return await asyncio.shield(task)

    async def _told(self, video: Video) -> Source:
        """Where the video is. What the channel gives within an answer is kept on disk, so that the next reader, or the
        next range, does not cost the whole again."""
        path = await self._core.kept.find(video.id, "video")
        if path is not None:
            return Source(path=path)
        source = await self._ask(video, "video")
        if source.spooled is None and source.data is None:
            return source

        async def produce(to: Path) -> None:
            await _put(source, to)
            await self._check_listed(video)

        return Source(path=await self._core.kept.make(video.id, "video", produce))

    async def _told_anew(self, video: Video) -> Source:
        newest = await self._check_listed(video)
        # Whoever read an older state finds the address that another one has asked for.
        if newest.job == video.job:
            newest = await self._keep(newest, await self._fetch(newest))
        return await self._told(newest)

    async def _fetch(self, video: Video) -> UpstreamJob:
        """The job as its upstream tells it now; `UpstreamGone` where it has no result any more."""
        live = self._live(video)
        try:
            async with asyncio.timeout(live.entry.timeout.total + SLACK):
                job = await fetch(live, _job_of(video))
        except TimeoutError as error:
            raise UpstreamTimeout(TOO_SLOW) from error
        except ApiError as error:
            error.message = self._core.clean(error.message, video)
            raise
        if job.status == "failed":
            raise UpstreamGone("The upstream has no result for this video any more.")
        if job.status != "completed":
            # It was completed: an upstream that has lost its memory may find it again.
            raise UpstreamError("The upstream does not have this video at hand; try again later.", should_retry=True)
        return job

    async def _keep(self, video: Video, job: UpstreamJob) -> Video:
        if states.renewed(video, job).job == video.job:
            return video
        try:
            return await self._core.move(video.id, lambda current: states.renewed(current, job), anyones=True)
        except IllegalMove:
            raise _unknown(video) from None
        except StoreBusy as error:
            log.info("video %s: its new address is used once and not kept: %s", video.id, error)
            return states.renewed(video, job)

    async def _ask(self, video: Video, variant: Variant) -> Source:
        live, job = self._live(video), _job_of(video)
        try:
            async with asyncio.timeout(CALLS * live.entry.timeout.total + SLACK) as bound:
                with own_cancellation():
                    source = await live.channel.content(job, variant)
            if not isinstance(source, Source):
                raise TypeError(f"content() answered {type(source).__name__} instead of a Source")
        except ApiError as error:
            error.message = self._core.clean(error.message, video)
            raise
        except Exception as error:
            if bound.expired():
                raise UpstreamTimeout(TOO_SLOW) from error
            raise plugin_fault(live, error, "find the content of", (job.id,)) from error
        return source

    def _check_time(self, video: Video) -> None:
        # The job's: the video's own goes on where there is a copy.
        expires_at = _job_of(video).expires_at
        if expires_at is not None and expires_at <= self._core.clock():
            raise ContentExpired(f"The content of video with id '{video.id}' has expired.")

    async def _check_listed(self, video: Video) -> Video:
        """The video as it is now; a `VideoNotFound` where it was deleted meanwhile."""
        newest = await self._core.newest(video.id)
        if newest is None or not newest.listed:
            raise _unknown(video)
        return newest

    def _live(self, video: Video) -> LiveChannel:
        live = self._core.channels.get(video.channel)
        if live is None:
            raise ChannelUnavailable("The channel that made this video is no longer configured.")
        return live

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

    async def _variant(self, video: Video, variant: Variant) -> Found:
        """A picture of the video: the upstream's, where it has one, else our own; made once and kept."""

        async def produce(to: Path) -> None:
            if not await self._fetched(video, variant, to):
                picture = await self._drawn(video, variant)
                await asyncio.to_thread(to.write_bytes, picture)
            await self._check_listed(video)

        async def again() -> Source:
            return (await self._variant(video, variant)).source

        path = await self._core.kept.make(video.id, variant, produce)
        kind = await asyncio.to_thread(_kind, path)
        if kind is None:
            await self._core.kept.discard(video.id, variant)
            raise UpstreamError(DAMAGED.format(variant=variant), should_retry=True)
        return Found(Source(path=path, media_type=kind), NO_ADDRESS, again)

    async def _drawn(self, video: Video, variant: Variant) -> bytes:
        """The variant, made of the video here."""
        await stills.require("variant")
        make = stills.thumbnail if variant == "thumbnail" else stills.spritesheet
        found = await self._here(video) or await self._upstream(video)

        async def draw(source: Source) -> bytes:
            async with frames.on_disk(source, found.opener, folder=self._core.folder) as file:
                return await make(file)

        return await self._tried(found, draw)

    async def _fetched(self, video: Video, variant: Variant, to: Path) -> bool:
        """Whether the upstream had the variant, which is in the file `to` then."""
        live = self._core.channels.get(video.channel)
        try:
            if live is None:
                return False
            self._check_time(video)
            source = await self._ask(video, variant)
            if not source.media_type.startswith("image/"):
                source = replace(source, media_type=SOME_PICTURE)
            if source.path is None and source.spooled is None:
                async with opened(source, live.channel.upstream, media_type=source.media_type) as body:
                    await _write(body, to, variant)
            else:
                await _put(source, to)
        except (UnsupportedOperation, UpstreamGone, NotFound):
            return False
        except ApiError as error:
            if await self._here(video, patience=0) is None:
                raise
            log.info("video %s: its %s is made here, because its upstream fails: %s", video.id, variant, error.message)
            return False
        return await asyncio.to_thread(_kind, to) is not None


def _check_finished(video: Video) -> None:
    if video.status == "failed":
        raise VideoFailed(f"Video with id '{video.id}' failed and has no content.")
    if video.status != "completed" or video.job is None:
        raise VideoNotReady(f"Video is not ready yet, use GET /v1/videos/{video.id} to check status.")


def _job_of(video: Video) -> UpstreamJob:
    assert video.job is not None
    return video.job


def _unknown(video: Video) -> VideoNotFound:
    return VideoNotFound(f"Video with id '{video.id}' not found.")


async def _put(source: Source, to: Path) -> None:
    """Write what a source has at hand to the file `to`, if it begins as such a file must."""
    # An error page may come as base64 too.
    async with opened(source, NO_ADDRESS, media_type=source.media_type):
        pass
    if source.spooled is not None:
        await asyncio.to_thread(source.spooled.take, to)
    elif source.path is not None:
        await asyncio.to_thread(shutil.copyfile, source.path, to)
    else:
        await asyncio.to_thread(to.write_bytes, source.data or b"")


async def _write(body: Body, to: Path, variant: Variant) -> None:
    size = 0
    with await asyncio.to_thread(to.open, "wb") as file:
        while chunk := await body.read():
            size += len(chunk)
            if size > LARGEST_VARIANT:
                raise UpstreamError(DAMAGED.format(variant=variant))
            await asyncio.to_thread(file.write, chunk)


def _kind(path: Path) -> str | None:
    """What picture the file is; None where it is none, or gone."""
    try:
        with path.open("rb") as file:
            return pictures.media_type(file.read(12))
    except FileNotFoundError:
        return None
