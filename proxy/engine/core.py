"""What the parts of the engine share: the rooms below it, the clock, and the one way to move a video."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from proxy.channels import Channels, LiveChannel
from proxy.config import Server
from proxy.engine.states import AT_UPSTREAM, IllegalMove
from proxy.errors import ApiError, UpstreamError
from proxy.media.inputs import Inputs
from proxy.models import JobError
from proxy.records import Attempt, Video
from proxy.store import StaleVideo, Store, StoreBusy
from proxy.upstream.redact import Redactor

log = logging.getLogger("reelgate.engine")

T = TypeVar("T")

WRITE_AGAIN = 0.5
"""Seconds until a write that must not be lost is tried again."""


@dataclass(slots=True)
class Core:
    """The engine's rooms and its live facts.

    `places` counts the videos that each channel's upstream may be working on; `throttled` says until when (unix
    seconds) a channel takes no new submissions. `freed` is set whenever a waiting video may have got a chance.
    """

    store: Store
    channels: Channels
    inputs: Inputs
    server: Server
    redactor: Redactor
    folder: Path
    clock: Callable[[], float] = time.time
    places: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    throttled: dict[str, float] = field(default_factory=dict)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def move(
        self,
        video_id: str,
        step: Callable[[Video], Video],
        *,
        attempt: Attempt | None = None,
        forget_idempotency: bool = False,
        surely: bool = False,
    ) -> Video:
        """Apply `step` to the newest state of the video and make it durable, again where another change came first.

        Raises `IllegalMove` when the video is no longer where the step leads from. `surely` is for what an upstream
        has said: a store that cannot write now (a full disk) is waited for.
        """
        while True:
            video = await self.newest(video_id)
            if video is None:
                raise IllegalMove(f"video {video_id} is not in the store")
            try:
                saved = await self.store.change(step(video), attempt=attempt, forget_idempotency=forget_idempotency)
            except StaleVideo:
                continue
            except StoreBusy as error:
                if not surely:
                    raise
                log.error("video %s cannot be written and is tried again: %s", video_id, error)
                await asyncio.sleep(WRITE_AGAIN)
                continue
            if video.channel != saved.channel:
                self.release(video.channel, video_id)
            self.track(saved)
            if saved.stage in ("ended", "refused", "deleted"):
                await self.inputs.discard(video_id)
            return saved

    async def newest(self, video_id: str) -> Video | None:
        """The video as it is now, whatever its stage, from memory where it is there."""
        return self.store.cached(video_id) or await self.store.video(video_id)

    def track(self, video: Video) -> None:
        """Keep `places` in step with where the video is now."""
        if video.stage in AT_UPSTREAM:
            self.places[video.channel].add(video.id)
        else:
            self.release(video.channel, video.id)

    def reserve(self, live: LiveChannel, video_id: str) -> bool:
        """Take one of the channel's places, if it has room, before anything is awaited."""
        if not self.has_room(live):
            return False
        self.places[live.name].add(video_id)
        return True

    def release(self, channel: str, video_id: str) -> None:
        """Give the place back, so that a waiting video may have it."""
        if video_id in self.places[channel]:
            self.places[channel].discard(video_id)
            self.freed.set()

    def has_room(self, live: LiveChannel) -> bool:
        """Whether a submission to this channel may start now."""
        if self.throttled.get(live.name, 0.0) > self.clock():
            return False
        limit = live.entry.max_running
        return limit is None or len(self.places[live.name]) < limit

    def job_error(self, error: ApiError, video: Video) -> JobError:
        """What the owner of a video reads where its submission was refused after it had been accepted."""
        return JobError(error.code or "upstream_failed", self.clean(error.message, video))

    def clean(self, text: str, video: Video) -> str:
        """A provider's sentence without secrets, addresses and upstream ids."""
        return self.redactor.text(text, ids=(video.job.id,) if video.job else ())

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` on its own; what escapes it is logged, because nobody waits for it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def carry(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` to its end even if the one who awaits it goes away; its error belongs to that one."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._carried)
        return task

    def _carried(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s ended with an error", task.get_name(), exc_info=error)

    async def finish_tasks(self, prefix: str, seconds: float) -> None:
        """Wait up to `seconds` for the tasks whose name starts with `prefix`."""
        tasks = [task for task in self._tasks if task.get_name().startswith(prefix)]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def cancel_tasks(self) -> None:
        """Stop everything that still runs; the store knows enough to go on at the next start."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plugin_fault(live: LiveChannel, error: Exception, doing: str) -> UpstreamError:
    """What a plugin's own mistake becomes: logged with its traceback for the operator, plain words for the client."""
    log.error("the plugin of channel %s failed to %s a video", live.name, doing, exc_info=error)
    return UpstreamError("The channel of this video could not carry out the request.")
