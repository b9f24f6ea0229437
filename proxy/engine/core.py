"""What the parts of the engine share: the rooms below it, the clock, and the one way to move a video."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from proxy.channels import Channels, LiveChannel
from proxy.config import Server
from proxy.config.rules import Breaker as BreakerRule
from proxy.engine.breakers import Breaker, Breakers, Trial
from proxy.engine.leases import Leases
from proxy.engine.states import AT_UPSTREAM, IllegalMove
from proxy.errors import AccountRefused, ApiError, Outcome, Throttled, UpstreamError, UpstreamGone, UpstreamRefused
from proxy.media.inputs import Inputs
from proxy.media.kept import Kept
from proxy.metrics import Metrics
from proxy.models import JobError
from proxy.records import Attempt, Video
from proxy.store import StaleVideo, Store, StoreBusy
from proxy.store.database import Also
from proxy.store.room import Cap
from proxy.upstream.redact import Redactor

if TYPE_CHECKING:
    from proxy.engine.contents import Contents

log = logging.getLogger("reelgate.engine")

T = TypeVar("T")

WRITE_AGAIN = 0.5
"""Seconds until a write that must not be lost is tried again."""
FULL_WAIT = 0.25
"""Seconds until a channel whose places other processes have is tried again."""


class NotSent(UpstreamRefused):
    """Nothing was sent, for a reason of our own."""


Heard = Callable[[Video, Video], None]
"""Called with a video as it was and as it is, after each change that this process made."""


@dataclass(slots=True)
class Core:
    """The engine's rooms and its live facts.

    `places` counts the videos that each channel's upstream may be working on; `throttled` says until when a
    channel takes no new submissions, `full` until when other processes have its places (both in seconds of
    `time.monotonic`: a clock that is set back must not lengthen them). `freed` is set whenever a waiting video may have
    got a chance.
    """

    store: Store
    leases: Leases
    channels: Channels
    inputs: Inputs
    server: Server
    redactor: Redactor
    folder: Path
    kept: Kept
    clock: Callable[[], float] = time.time
    places: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    throttled: dict[str, float] = field(default_factory=dict)
    full: dict[str, float] = field(default_factory=dict)
    breakers: Breakers = field(init=False)
    contents: Contents = field(init=False)
    """Set by the engine: it stands on this."""
    metrics: Metrics = field(default_factory=Metrics)
    listeners: list[Heard] = field(default_factory=list)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False
    _trials: dict[tuple[str, str], Trial] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.breakers = Breakers(self._breaker)

    def _breaker(self, name: str) -> Breaker:
        live = self.channels.get(name)
        rule = (live.entry.breaker if live is not None else None) or BreakerRule()
        return Breaker(time.monotonic, failures=rule.failures, error_rate=rule.error_rate, pause=rule.pause)

    async def move(
        self,
        video_id: str,
        step: Callable[[Video], Video],
        *,
        attempt: Attempt | None = None,
        forget_idempotency: bool = False,
        surely: bool = False,
        anyones: bool = False,
        cap: Cap | None = None,
        also: Also | None = None,
    ) -> Video:
        """Apply `step` to the newest state of the video and make it durable, again where another change came first.

        Raises `IllegalMove` when the video is no longer where the step leads from, or another process holds it (but not
        for `anyones` moves, which a client or an operator asked for); `ChannelFull` where `cap` leaves no place.
        `surely` is for what an upstream has said: a store that cannot write now (a full disk) is waited for. `also`
        writes more in the same transaction.
        """
        while True:
            try:
                video = await self.newest(video_id)
                if video is None:
                    raise IllegalMove(f"video {video_id} is not in the store")
                if not (anyones or self.leases.holds(video)):
                    raise IllegalMove(f"video {video_id} is held by another process")
                try:
                    after = step(video)
                except IllegalMove:
                    # Another process may have ended it: its place here is free.
                    self.track(video)
                    raise
                after = await self._film_kept(after)
                saved = await self.store.change(
                    after,
                    before=video,
                    attempt=attempt,
                    forget_idempotency=forget_idempotency,
                    cap=cap,
                    also=also,
                )
            except StaleVideo:
                continue
            except StoreBusy as error:
                if not surely:
                    raise
                log.error("video %s cannot be written and is tried again: %s", video_id, error)
                await asyncio.sleep(WRITE_AGAIN)
                continue
            await self._moved(video, saved)
            return saved

    async def _film_kept(self, video: Video) -> Video:
        """The video without the film that came with its job, which is on disk from now on."""
        if video.job is None or video.job.film is None:
            return video
        if video.status == "completed":
            await self.contents.keep(video.id, video.job.film)
        return msgspec.structs.replace(video, job=replace(video.job, film=None))

    async def keep(self, attempt: Attempt) -> None:
        """Record how an attempt went although its video cannot be moved any more: it may have been paid for."""
        while True:
            try:
                await self.store.save_attempt(attempt)
                return
            except StoreBusy as error:
                log.error("attempt %s cannot be written and is tried again: %s", attempt.id, error)
                await asyncio.sleep(WRITE_AGAIN)

    async def _moved(self, before: Video, after: Video) -> None:
        if before.channel != after.channel:
            self.release(before.channel, after.id)
        self.track(after)
        for heard in self.listeners:
            heard(before, after)
        if after.stage in ("ended", "refused", "deleted"):
            await self.inputs.discard(after.id)
        if after.stage == "deleted":
            await self.kept.discard(after.id)

    async def newest(self, video_id: str) -> Video | None:
        """The video as it is now, whatever its stage, from memory where it is there."""
        return self.store.cached(video_id) or await self.store.video(video_id)

    def track(self, video: Video) -> None:
        """Keep `places` in step with where the video is now."""
        if video.stage in AT_UPSTREAM and self.leases.holds(video):
            self.places[video.channel].add(video.id)
        else:
            self.release(video.channel, video.id)

    def reserve(self, live: LiveChannel, video_id: str) -> bool:
        """Take one of the channel's places, if it has room, before anything is awaited."""
        if not self.has_room(live):
            return False
        self.places[live.name].add(video_id)
        if live.entry.breaker is not None and (trial := self.breakers.of(live.name).admit()) is not None:
            self._trials[live.name, video_id] = trial
        return True

    def concluded(self, live: LiveChannel, video_id: str, error: ApiError | None) -> None:
        """A submission that `reserve` made room for has ended, for the channel's breaker; None: it was taken."""
        trial = self._trials.pop((live.name, video_id), None)
        if trial is None:
            return
        breaker = self.breakers.of(live.name)
        before = breaker.openings
        clear = Throttled | AccountRefused | UpstreamGone | NotSent
        if error is None:
            trial.succeeded()
        elif error.outcome is Outcome.CLIENT or isinstance(error, clear):
            # A clear word on this request or this account, perhaps our own: it says little about the upstream.
            trial.abandoned()
        else:
            trial.failed(error.message)
        if breaker.openings > before:
            log.warning("channel %s is left alone for %.0f s: %s", live.name, breaker.open_for(), breaker.why)
        elif breaker.openings < before:
            log.info("channel %s works again", live.name)
        if trial.probe:
            # Whatever came of it, the next one may have a chance now.
            self.freed.set()

    def abandoned(self, channel: str, video_id: str) -> None:
        """The submission ended without a word that the channel's breaker could go by."""
        trial = self._trials.pop((channel, video_id), None)
        if trial is not None:
            trial.abandoned()

    def release(self, channel: str, video_id: str) -> None:
        """Give the place back, so that a waiting video may have it."""
        self.abandoned(channel, video_id)
        if video_id in self.places[channel]:
            self.places[channel].discard(video_id)
            self.freed.set()

    def throttle(self, channel: str, seconds: float) -> None:
        """The channel's upstream wants no new submissions for so long."""
        self.throttled[channel] = time.monotonic() + seconds

    def throttled_for(self, channel: str) -> float:
        """Seconds for which the channel takes no new submissions, because its upstream said so."""
        return max(self.throttled.get(channel, 0.0) - time.monotonic(), 0.0)

    def filled(self, channel: str, video_id: str) -> None:
        """Another process took the channel's last place, before this one could: look again in a moment."""
        self.full[channel] = time.monotonic() + FULL_WAIT
        self.release(channel, video_id)

    def has_room(self, live: LiveChannel) -> bool:
        """Whether a submission to this channel may start now."""
        return self.why_not(live) is None

    def why_not(self, live: LiveChannel) -> str | None:
        """Why no submission to this channel may start now, in words for the operator; None where one may."""
        wait = self.throttled_for(live.name)
        if wait > 0:
            return f"throttled by its upstream for {wait:.0f} s more"
        if live.entry.breaker is not None and not (breaker := self.breakers.of(live.name)).allows():
            return f"tripped ({breaker.why}), tried again in {breaker.open_for():.0f} s"
        if self.full.get(live.name, 0.0) > time.monotonic():
            return "full: another process on this store has its last place"
        limit, taken = live.entry.max_running, len(self.places[live.name])
        if limit is not None and taken >= limit:
            return f"full: {taken} of {limit} places are taken"
        return None

    def cap(self, live: LiveChannel) -> Cap | None:
        """What the store counts inside of the transaction that takes a place: other processes take some too."""
        limit = live.entry.max_running
        return None if limit is None else Cap(live.name, limit)

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


def plugin_fault(live: LiveChannel, error: Exception, doing: str, ids: Iterable[str] = ()) -> UpstreamError:
    """What a plugin's own mistake becomes: logged for the operator, plain words for the client.

    The log has where it happened, and its words without the upstream's `ids`: they may be in the text of anything.
    """
    words = live.channel.upstream.redactor.text(f"{type(error).__name__}: {error}", ids)
    # Without the lines of the source, which would be read from the disk here.
    frames = "".join(
        f'\n  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}'
        for frame, line in traceback.walk_tb(error.__traceback__)
    )
    log.error("the plugin of channel %s failed to %s a video: %s%s", live.name, doing, words, frames)
    return UpstreamError("The channel of this video could not carry out the request.")
