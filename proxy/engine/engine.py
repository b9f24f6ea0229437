"""The engine's face: what the API and the dashboard may ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

from proxy.channels import LiveChannel
from proxy.config import Server
from proxy.engine import gauges, states
from proxy.engine.archiving import Archiving
from proxy.engine.cards import ModelCard, cards
from proxy.engine.contents import Contents, Found
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.deletion import Deleter
from proxy.engine.dispatch import Dispatcher, Listener
from proxy.engine.follow_ups import FollowUp, follow_ups
from proxy.engine.inbox import Inbox
from proxy.engine.orders import OrderDesk
from proxy.engine.polling import Poller, spread
from proxy.engine.recovery import Recovery
from proxy.engine.replays import Answer, Replays, word
from proxy.engine.reports import Reports
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import Submitter, submission_start
from proxy.engine.switches import Switches
from proxy.engine.waiting import WaitingQueue
from proxy.engine.watching import Watcher, Watching
from proxy.errors import (
    ApiError,
    NotFound,
    Stopping,
    UnsupportedOperation,
    VideoNotFound,
)
from proxy.ids import created_at, new_id
from proxy.inputs import Clip
from proxy.media.archive import Archive
from proxy.models import JobError, Variant
from proxy.records import COPIED, Ask, Attempt, Character, Key, Upload, Video
from proxy.store import StoreBusy

HOUSEKEEPING = 3600.0
"""Seconds between two removals of what has expired in the store."""

_FROM_BACKUP = JobError(
    "outcome_unknown",
    "The video waited when the backup was made that this server was restored from, and may have been ordered since. "
    "The operator can look for it at the provider; order it again if it is not there.",
)

Chore = Callable[[float], Awaitable[object]]
"""Removes what has expired at a time, in unix seconds."""


class Page(NamedTuple):
    """One page of a list, and whether more follow."""

    videos: list[Video]
    has_more: bool


class Engine:
    """The life of videos, from the ask to the bytes. Without an `archive`, nothing is copied."""

    def __init__(self, core: Core, *, born: int, archive: Archive | None = None) -> None:
        self._core = core
        self._born = born
        core.contents = Contents(core)
        self._archiving = None if archive is None else Archiving(core, archive, core.contents)
        core.contents.archiving = self._archiving
        self._submitter = Submitter(core)
        self._queue = WaitingQueue(core, self._submitter)
        self._poller = Poller(core, self._submitter)
        self._recovery = Recovery(core, self._submitter)
        self._desk = OrderDesk(core, self._submitter, self._queue)
        self._replays = Replays(core)
        self._deleter = Deleter(core, self._queue)
        self.inbox = Inbox(core, self._submitter.taken.put_nowait)
        self.reports = Reports(core)
        self.switches = Switches(core)
        self._dispatcher = Dispatcher(core)
        self.watching = Watching(self._look)
        self.chores: list[Chore] = []
        """What else is done once an hour, by the process that leads."""
        core.listeners.append(lambda before, after: self.watching.changed(after))
        self._lives = {live.name: live for live in core.channels}
        self._poller.may_poll = core.leases.current
        self._poller.told = core.metrics.polled
        gauges.follow(core, self._queue)
        if self._archiving is not None:
            self.tell("archive", self._archiving.video_changed)

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the process before left, then work."""
        core = self._core
        core.leases.take_up = self._take_up
        core.leases.changed_elsewhere = self._changed_elsewhere
        await self.switches.read()
        unfinished = await core.store.unfinished(core.leases.held)
        if core.leases.alone:
            # Others may be storing the inputs of a video that is not in the store yet.
            await core.inputs.sweep({video.id for video in unfinished})
        await self._take_up(unfinished)
        for work, name in (
            (core.leases.run(), "leases"),
            (self._poller.run(), "poller"),
            (self._poller.take_over(), "poller: taken"),
            (self._queue.run(), "queue"),
            (self._queue.take_back(), "queue: back"),
            (self._recovery.take_over(), "recovery"),
            (self._dispatcher.run(), "dispatcher"),
            (self._keep_house(), "housekeeping"),
        ):
            core.spawn(work, name)
        if self._archiving is not None:
            core.spawn(self._archiving.run(), "archive")

    async def _take_up(self, unfinished: list[Video]) -> None:
        """Go on with the videos of a process that ended."""
        core = self._core
        running = sum(video.stage == "running" for video in unfinished)
        first_polls = iter(range(running))
        for video in unfinished:
            core.track(video)
            match video.stage:
                case "submitting":
                    await self._interrupted(video)
                case "unknown":
                    self._recovery.add(video)
                case "running":
                    self._poller.add(video, after=spread(running) * next(first_polls) / running)
                case _ if video.attempt_id == COPIED:
                    log.warning(
                        "video %s waited in the backup, and may have been ordered since: look for it at the provider",
                        video.id,
                        extra={"video_id": video.id},
                    )
                    await self._queue.fail(video, _FROM_BACKUP)
                case _:
                    self._queue.add(video)
        if unfinished:
            log.info("%d unfinished videos were taken up", len(unfinished))

    async def _interrupted(self, video: Video) -> None:
        """The process ended while the request may have been on the wire."""
        now = self._core.clock()
        attempt = Attempt(
            id=video.attempt_id or "",
            video_id=video.id,
            channel=video.channel,
            state="unknown",
            started_at=submission_start(video),
            ended_at=now,
            note="the process ended while the request may have been on the wire",
        )
        with contextlib.suppress(IllegalMove):
            self._recovery.add(
                await self._core.move(
                    video.id, lambda current: states.uncertain(current, now=now), attempt=attempt, surely=True
                )
            )

    def _changed_elsewhere(self) -> None:
        self._core.freed.set()
        self._dispatcher.changed_elsewhere()
        self.watching.changed_elsewhere()
        self._core.spawn(self.switches.read(), "switches")

    async def _keep_house(self) -> None:
        while True:
            try:
                if self._core.leases.leads():
                    await self._core.store.prune(self._core.clock())
                    for chore in self.chores:
                        await chore(self._core.clock())
            except StoreBusy as error:
                log.warning("what has expired could not be removed: %s", error)
            except Exception:
                log.exception("what has expired could not be removed")
            await asyncio.sleep(HOUSEKEEPING)

    def refuse(self) -> None:
        """Take no new orders, and submit nothing that waits, from now on."""
        self._core.closing = True

    async def stop(self, grace: float) -> None:
        """Take nothing new, let submissions on the wire have their answers, then stop all work."""
        self.refuse()
        self.watching.close()
        deadline = time.monotonic() + grace
        await self._core.finish_tasks("place ", grace)
        await self._core.finish_tasks("submit ", max(deadline - time.monotonic(), 0.0))
        await self._core.cancel_tasks()
        await self._core.leases.leave()

    def tell(self, name: str, listener: Listener) -> None:
        """Have `listener` told of every change of a video's public status; `name` is what the log calls it."""
        self._dispatcher.listeners.append((name, listener))

    # -- making --------------------------------------------------------------------------------------------------------

    async def order(self, ask: Ask, key: Key, *, idempotency_key: str | None = None, resent: bool = False) -> Answer:
        """Make a video, or find the one that the same request made before.

        Waits up to `submit_wait` for the upstream's word. `resent` says that an SDK marked the request as a repetition.
        """
        if self._core.closing:
            raise Stopping("This server is stopping. Please try again.", retry_after=1)

        async def place() -> Video:
            submission = await self._desk.place(ask, key, idempotency_key)
            return await word(submission, self._core.server.submit_wait)

        # In a task of its own: a client that hangs up changes nothing.
        first = self._replays.first_answer(ask, key, idempotency_key, resent, place)
        return await asyncio.shield(self._core.carry(first, "place a video"))

    async def answered(self, video: Video, body: bytes, idempotency_key: str, key: Key) -> bytes:
        """Keep the answer about to be given, so that the same Idempotency-Key gets the same bytes again; answers what
        is to be given, because another request with the key may have been faster."""
        try:
            return await self._core.store.save_answer(key.id, idempotency_key, body)
        except StoreBusy as error:
            # The video is made and paid for: a 503 would tell its client the contrary.
            log.warning("the answer of video %s could not be kept for replays: %s", video.id, error)
            return body

    def delivered(self, video: Video) -> None:
        """The answer to the POST that made `video` was written in full."""
        self._core.store.mark_answered(video.id)

    # -- reading -------------------------------------------------------------------------------------------------------

    def cached(self, video_id: str) -> Video | None:
        """The video if it is in memory, without waiting; the caller checks the tenant and `listed`."""
        video = self._core.store.cached(video_id)
        if video is not None and video.stage == "running":
            self._poller.watch(video)
        return video

    async def video(self, video_id: str, key: Key | None) -> Video:
        """The video with this id; someone else's is a `VideoNotFound`, as is an unknown one (P5).

        `key` None is a signed link: whoever holds it may see its video.
        """
        video = await self._core.newest(video_id)
        if video is None or not video.listed or (key is not None and video.tenant != key.tenant):
            raise VideoNotFound(f"Video with id '{video_id}' not found.")
        if video.stage == "running":
            self._poller.watch(video)
        return video

    async def videos(self, key: Key, *, after: str | None, limit: int, order: Literal["asc", "desc"]) -> Page:
        """The key's own videos; `after` is the id of the last one already seen."""
        found = await self._core.store.videos(key.tenant, after=after, limit=limit + 1, newest_first=order == "desc")
        return Page(found[:limit], len(found) > limit)

    async def named(self, idempotency_key: str, key: Key) -> Video | None:
        """The video that this Idempotency-Key of the API key stands for. None proves nothing to whoever sent it: the
        request may still be on its way."""
        video_id = await self._replays.named(idempotency_key, key)
        if video_id is None:
            return None
        with contextlib.suppress(VideoNotFound):
            return await self.video(video_id, key)
        return None

    async def watch(self, video_id: str, key: Key) -> Watcher:
        """A look-out for changes of the key's video, to be entered; raises `VideoNotFound`. Entering it raises
        `RateLimited` where too many watch already."""
        # From the file: a client that comes back from another process must not be told what it has had.
        await self._core.store.video(video_id)
        return self.watching.watch(await self.video(video_id, key))

    async def _look(self, video_id: str) -> Video | None:
        video = await self._core.newest(video_id)
        if video is not None and video.stage == "running":
            self._poller.watch(video)
        return video

    def poll_after_ms(self, video: Video) -> int:
        """How long a client should wait before it asks again."""
        pace = self._poller.pace(video)
        return int(self._poller.usual.poll_after(video, self._core.clock(), pace) * 1000)

    def models(self, key: Key) -> list[ModelCard]:
        """What this key may order."""
        return cards(self._core.channels, created=self._born, may=key.limits.allows)

    def follow_ups(self, video: Video) -> list[FollowUp]:
        """What can be made from this video now."""
        return follow_ups(self._core, video)

    async def content(self, video: Video, variant: Variant) -> Found:
        """Where the bytes of a completed video are."""
        return await self._core.contents.find(video, variant)

    async def delete(self, video_id: str, key: Key, *, force: bool) -> None:
        """Delete a video: cancelled when it waits or its channel can cancel, forgotten when `force` says so."""
        await self._deleter.delete(await self.video(video_id, key), force=force)

    # -- characters ----------------------------------------------------------------------------------------------------

    async def create_character(self, name: str, video: Upload, key: Key) -> Character:
        """Make a character at the first channel that has them; it is pinned there."""
        core = self._core
        mine = key.limits.channels
        able = [
            live
            for live in core.channels
            if live.enabled and live.channel.can("character") and (mine is None or live.name in mine)
        ]
        character_id = new_id("char")
        try:
            stored = await core.inputs.clip(video, owner=character_id, tenant=key.tenant)
            live, upstream_id = await self._first_character(able, name, core.inputs.load_clip(stored))
        finally:
            await core.inputs.discard(character_id)
        character = Character(
            id=character_id,
            tenant=key.tenant,
            channel=live.name,
            upstream_id=upstream_id,
            name=name,
            created_at=created_at(character_id),
        )
        await core.store.add_character(character)
        return character

    async def _first_character(self, able: Sequence[LiveChannel], name: str, clip: Clip) -> tuple[LiveChannel, str]:
        for live in able:
            # The options of an entry may say that it has none, although its class has.
            with contextlib.suppress(UnsupportedOperation):
                return live, await self._character(live, name, clip)
        raise UnsupportedOperation("No channel here has characters.")

    async def _character(self, live: LiveChannel, name: str, clip: Clip) -> str:
        try:
            return await live.channel.character(name, clip)
        except ApiError:
            raise
        except Exception as error:
            raise plugin_fault(live, error, "make a character for") from error

    async def character(self, character_id: str, key: Key) -> Character:
        """The character with this id; someone else's is not found."""
        found = await self._core.store.character(character_id)
        if found is None or found.tenant != key.tenant:
            raise NotFound(f"Character with id '{character_id}' not found.")
        return found

    # -- configuration -------------------------------------------------------------------------------------------------

    def reconfigured(self, server: Server) -> None:
        """The file was read again: what waited for a channel may go now."""
        core = self._core
        core.server = server
        core.throttled.clear()
        # A channel that was changed is another one: what its breaker saw of it says nothing any more.
        core.breakers.keep([live.name for live in core.channels if self._lives.get(live.name) is live])
        self._lives = {live.name: live for live in core.channels}
        self._queue.reconfigured()
        if self._archiving is not None:
            self._archiving.wake()
        core.freed.set()
