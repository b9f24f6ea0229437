"""Deleting: what waits is cancelled, what runs is cancelled upstream or forgotten by force, what ended is removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable

from proxy.channels import LiveChannel
from proxy.engine import states
from proxy.engine.core import Core, log, plugin_fault
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import submission_start
from proxy.engine.waiting import WaitingQueue
from proxy.errors import ApiError, ChannelUnavailable, InvalidRequest, VideoNotDeletable, VideoNotFound
from proxy.records import Attempt, Video
from proxy.store import attempts


class Deleter:
    """Deletes videos as their owners ask for it (CONTRACT 3, DELETE)."""

    def __init__(self, core: Core, queue: WaitingQueue) -> None:
        self._core = core
        self._queue = queue

    async def delete(self, video: Video, *, force: bool) -> None:
        """Delete `video`, as its owner just saw it. `VideoNotDeletable` where only `force` would."""
        video_id = video.id
        if video.stage in ("submitting", "unknown") and not force:
            raise VideoNotDeletable(
                f"Video with id '{video_id}' is on its way to its upstream. Wait until it runs, or add ?force=true to "
                "forget it here although it may be made and paid for."
            )
        cancelled = video.stage == "running" and await self._cancel(video, force)
        last = video

        def step(current: Video) -> Video:
            nonlocal last
            last = current
            return self._deleted(current, seen=video, force=force, cancelled=cancelled)

        def doubt(db: sqlite3.Connection) -> None:
            # What is on its way may be taken, and nobody waits for it any more: the inbox shows it until the upstream's
            # word is in, which may be never.
            if last.stage == "submitting":
                attempts.save(db, self._forgotten(last))

        try:
            # Whatever happened to it meanwhile, it is what its owner saw or later: never one that started since.
            await self._core.move(video_id, step, anyones=True, also=doubt)
        except IllegalMove:
            raise VideoNotFound(f"Video with id '{video_id}' not found.") from None
        self._queue.forget(video_id)
        if last.stage == "ended":
            await self._delete_upstream(last)

    def _forgotten(self, video: Video) -> Attempt:
        assert video.attempt_id is not None
        return Attempt(
            id=video.attempt_id,
            video_id=video.id,
            channel=video.channel,
            started_at=submission_start(video),
            state="unknown",
            note="its owner deleted it while it was on its way",
        )

    def _deleted(self, current: Video, *, seen: Video, force: bool, cancelled: bool) -> Video:
        if seen.stage == "waiting" and current.stage in states.AT_UPSTREAM and not force:
            raise VideoNotDeletable(
                f"Video with id '{current.id}' was submitted just now. Wait until it runs, or add ?force=true."
            )
        return states.deleted(current, now=self._core.clock(), cancelled=cancelled)

    async def _cancel(self, video: Video, force: bool) -> bool:
        """Whether its upstream has stopped making it."""
        live = self._core.channels.get(video.channel)
        assert video.job is not None
        try:
            if live is None:
                raise ChannelUnavailable("The channel that makes this video is no longer configured.")
            if not live.channel.able("cancel"):
                raise VideoNotDeletable(
                    f"Video with id '{video.id}' is being made and its channel cannot cancel it. Wait until it ends, "
                    "or add ?force=true to forget it here although it is paid for."
                )
            await _call(live, live.channel.cancel(video.job), "cancel", video.job.id)
        except ApiError as error:
            now = await self._core.newest(video.id)
            if now is not None and now.stage != "running":
                # It ended while its upstream was asked: there is nothing left to cancel.
                return False
            if not isinstance(error, VideoNotDeletable):
                error.message = self._core.clean(error.message, video)
            if force:
                log.warning("video %s is forgotten while it runs: %s", video.id, error.message)
                return False
            if isinstance(error, InvalidRequest) and not isinstance(error, VideoNotDeletable):
                raise VideoNotDeletable(
                    f"Video with id '{video.id}' cannot be cancelled: {error.message} Wait until it ends, or add "
                    "?force=true to forget it here although it is paid for."
                ) from error
            raise
        return True

    async def _delete_upstream(self, video: Video) -> None:
        live = self._core.channels.get(video.channel)
        if live is None:
            log.info("video %s is deleted here only: its channel %s is not in the file", video.id, video.channel)
            return
        if video.job is None or not live.channel.able("delete"):
            return
        try:
            await _call(live, live.channel.delete(video.job), "delete", video.job.id)
        except ApiError as error:
            # It is gone here; what the upstream keeps expires there.
            said = self._core.clean(error.message, video)
            log.warning("video %s was not deleted at channel %s: %s", video.id, live.name, said)


async def _call(live: LiveChannel, work: Awaitable[None], doing: str, upstream_id: str) -> None:
    try:
        await work
    except ApiError:
        raise
    except Exception as error:
        raise plugin_fault(live, error, doing, (upstream_id,)) from error
