"""The durable queue: videos that no channel had room for, submitted in their order when one has."""

from __future__ import annotations

import asyncio
import contextlib

from proxy.engine import states
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.limits import settle
from proxy.engine.requests import Placement, offer_of
from proxy.engine.routing import ranked
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import Submission, Submitter, record_attempt
from proxy.errors import ApiError, StoreError
from proxy.models import JobError
from proxy.records import Video
from proxy.store import StoreBusy

LOOK_AGAIN = 1.0
"""Seconds after which the queue looks again although nothing told it to: a channel may have come back."""


class WaitingQueue:
    """First come, first served; a video that cannot go now does not hold up those behind it."""

    def __init__(self, core: Core, submitter: Submitter) -> None:
        self._core = core
        self._submitter = submitter
        self._waiting: dict[str, Video] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, video: Video) -> None:
        """Queue a video that is durably `waiting`, unless it has changed since."""
        known = self._core.store.cached(video.id)
        if known is not None and known.version > video.version and known.stage != "waiting":
            return
        self._waiting[video.id] = video
        self._core.freed.set()

    def forget(self, video_id: str) -> None:
        """Let a video go that its owner deleted, or that ended."""
        self._waiting.pop(video_id, None)
        self._submitter.forget(video_id)

    async def take_back(self) -> None:
        """Queue again what the submitter hands back."""
        while True:
            self.add(await self._submitter.requeued.get())

    async def run(self) -> None:
        """Submit what may go, for as long as the engine lives."""
        while True:
            self._core.freed.clear()
            try:
                wait = await self._pass()
            except Exception:
                # A store that cannot write now (a full disk) must not end the queue.
                log.exception("the queue could not be worked off; it is tried again")
                wait = LOOK_AGAIN
            # Not `wait_for`: that of Python 3.11 loses a cancellation that comes together with the wake-up.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._core.freed.wait()

    async def _pass(self) -> float:
        """Try every waiting video once; answers the seconds until the next one may become due."""
        soonest = LOOK_AGAIN
        for video_id in sorted(self._waiting):
            if self._core.closing:
                return LOOK_AGAIN
            video = self._waiting.get(video_id)
            if video is None:
                continue
            now = self._core.clock()
            if now - video.created_at >= self._core.server.queue_timeout:
                await self._give_up(video)
            elif video.changed_at <= now < video.submit_after:
                # Before its own last change only a clock that was set back can be: its wait cannot be told then.
                soonest = min(soonest, video.submit_after - now)
            elif (places := self._places(video)) is not None:
                await self._submit(video, *places)
        return max(soonest, 0.01)

    def _places(self, video: Video) -> tuple[Placement, list[Placement]] | None:
        """A placement with room, reserved for the video, and the others that it may move on to."""
        found = self._placements(video)
        for index, placement in enumerate(found):
            if self._core.reserve(placement.live, video.id):
                return placement, found[:index] + found[index + 1 :]
        return None

    def _placements(self, video: Video) -> list[Placement]:
        core = self._core
        if video.kind != "create" or video.order.characters:
            live = core.channels.get(video.channel)
            if live is None or not live.entry.enabled:
                return []
            offer = offer_of(live, video)
            kept = settle(None, None, type(offer.limits)(), "strict")._replace(seconds=video.seconds, size=video.size)
            return [Placement(live, offer, kept)]
        found = []
        for live in core.channels:
            offered = live.offers.get(video.model)
            if offered is None or not live.entry.enabled or (video.order.images and not offered.limits.image):
                continue
            with contextlib.suppress(ApiError):
                settled = settle(video.seconds, video.size, offered.limits, "strict")
                found.append(Placement(live, offered, settled))
        return ranked(found)

    async def _submit(self, video: Video, placement: Placement, others: list[Placement]) -> None:
        core = self._core
        try:
            current = await core.newest(video.id)
            if current is None or current.stage != "waiting":
                raise IllegalMove(f"video {video.id} waits no more")
            began, ready = await record_attempt(core, current, placement)
        except (StoreBusy, StoreError):
            core.release(placement.live.name, video.id)
            raise
        except IllegalMove:
            core.release(placement.live.name, video.id)
            self._waiting.pop(video.id, None)
            return
        except Exception as error:
            core.release(placement.live.name, video.id)
            told = error if isinstance(error, ApiError) else plugin_fault(placement.live, error, "check")
            await self._fail(video, core.job_error(told, video))
            self.forget(video.id)
            return
        self._waiting.pop(video.id, None)
        self._submitter.start(Submission(began, detached=True), ready, [placement, *others])

    async def _give_up(self, video: Video) -> None:
        log.warning("video %s waited too long for a channel that serves %s", video.id, video.model)
        await self._fail(
            video, JobError("queue_timeout", "No channel had room for this video in time. Nothing was paid.")
        )
        self.forget(video.id)

    async def _fail(self, video: Video, error: JobError) -> None:
        now = self._core.clock()
        with contextlib.suppress(IllegalMove):
            await self._core.move(video.id, lambda current: states.failed(current, error, now=now))
