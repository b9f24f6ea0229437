"""Unknown outcomes: looked up where the provider allows it, never submitted again, failed after a grace time."""

from __future__ import annotations

import asyncio
import contextlib

from proxy.channels import LiveChannel
from proxy.engine import states
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.requests import SLACK, build, offer_of, own_cancellation
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import Submitter, clean_failure
from proxy.errors import ApiError
from proxy.logs import log_context
from proxy.models import ABSENT, Absent, JobError, UpstreamJob
from proxy.records import Attempt, AttemptState, Video
from proxy.store import LeaseLost

FIRST_WAIT = 1.0
MOST_WAIT = 60.0
"""Seconds between two look-ups: the first time, and at most."""


class Recovery:
    """Settles videos whose submission has an unknown outcome, one task each."""

    def __init__(self, core: Core, submitter: Submitter) -> None:
        self._core = core
        self._submitter = submitter
        self._settling: set[str] = set()

    async def take_over(self) -> None:
        """Look after what the submitter is uncertain of."""
        while True:
            self.add(await self._submitter.uncertain.get())

    def add(self, video: Video) -> None:
        """Look after a video in stage `unknown`, unless somebody does already."""
        if video.id not in self._settling:
            self._settling.add(video.id)
            self._core.spawn(self._look_after(video.id), f"recover {video.id}")

    async def _look_after(self, video_id: str) -> None:
        log_context(video_id=video_id)
        try:
            while True:
                try:
                    await self._settle(video_id)
                    return
                except Exception:
                    # A store that cannot be read now, say: the video must not be left alone for that.
                    log.exception("video %s could not be looked after; it is tried again", video_id)
                    await asyncio.sleep(FIRST_WAIT)
        finally:
            self._settling.discard(video_id)

    async def _settle(self, video_id: str) -> None:
        core = self._core
        wait = FIRST_WAIT
        while True:
            video = await core.newest(video_id)
            if video is not None:
                # Whoever ended it: its place is free then.
                core.track(video)
            if video is None or video.stage != "unknown":
                if video is not None and video.stage == "running":
                    # An operator who asked another process attached it to its job.
                    self._submitter.taken.put_nowait(video)
                return
            if await self._known_already(video):
                return
            live = core.channels.get(video.channel)
            left = video.changed_at + core.server.unknown_grace - core.clock()
            if live is not None:
                found = await self._look_up(live, video)
                if found is not None:
                    await self._found(video, found)
                    return
            if left <= 0:
                await self._give_up(video)
                return
            await asyncio.sleep(min(wait, left))
            wait = min(wait * 2, MOST_WAIT)

    async def _known_already(self, video: Video) -> bool:
        """Settle it by what its upstream said after all, to a process that no longer held it and could only keep it."""
        attempts = await self._core.store.attempts(video.id)
        attempt = next((one for one in attempts if one.id == video.attempt_id), None)
        if attempt is not None and attempt.state == "taken" and attempt.job is not None:
            await self._found(video, attempt.job)
            return True
        if attempt is not None and attempt.state == "refused":
            refused = JobError("upstream_failed", "The upstream did not take this video; nothing was paid.")
            await self._end(video, refused, "refused", attempt.note)
            return True
        return False

    async def _look_up(self, live: LiveChannel, video: Video) -> UpstreamJob | Absent | None:
        if not live.channel.able("recover") or video.attempt_id is None:
            return None
        try:
            ready = await build(self._core, live, offer_of(live, video).limits, video, video.attempt_id)
            async with asyncio.timeout(live.entry.timeout.total + SLACK):
                with own_cancellation():
                    found = await live.channel.recover(ready.request)
            if found is None or found is ABSENT or isinstance(found, UpstreamJob):
                return found
            raise TypeError(f"recover() answered {type(found).__name__}, not a job, ABSENT or None")
        except ApiError as error:
            said = self._core.clean(error.message, video)
            log.info("looking up video %s on channel %s failed: %s", video.id, live.name, said)
        except Exception as error:
            plugin_fault(live, error, "recover")
        return None

    async def _found(self, video: Video, found: UpstreamJob | Absent) -> None:
        core = self._core
        now = core.clock()
        if found is ABSENT:
            error = JobError(
                "upstream_failed", "The upstream never took this video; nothing was paid. Please ask again."
            )
            await self._end(video, error, "absent", "the upstream proved that it has no such job")
            return
        log.info("video %s was found at channel %s", video.id, video.channel)
        with contextlib.suppress(IllegalMove, LeaseLost):
            moved = await core.move(
                video.id,
                lambda current: clean_failure(core, states.taken(current, found, now=now)),
                attempt=self._attempt(video, now, "taken", "found by a look-up", found.id),
                surely=True,
            )
            if moved.stage == "running":
                self._submitter.taken.put_nowait(moved)

    async def _give_up(self, video: Video) -> None:
        log.warning("video %s on channel %s: what became of its submission stays unknown", video.id, video.channel)
        error = JobError(
            "outcome_unknown",
            "The upstream did not say whether it took this video, and that could not be found out. It was not sent "
            "again.",
        )
        await self._end(video, error, "unknown", "the grace time passed")

    async def _end(self, video: Video, error: JobError, state: AttemptState, note: str) -> None:
        now = self._core.clock()
        with contextlib.suppress(IllegalMove, LeaseLost):
            await self._core.move(
                video.id,
                lambda current: states.failed(current, error, now=now),
                attempt=self._attempt(video, now, state, note, None),
                surely=True,
            )

    def _attempt(self, video: Video, now: float, state: AttemptState, note: str, upstream_id: str | None) -> Attempt:
        return Attempt(
            id=video.attempt_id or "",
            video_id=video.id,
            channel=video.channel,
            state=state,
            started_at=video.changed_at,
            ended_at=now,
            upstream_id=upstream_id,
            note=note,
        )
