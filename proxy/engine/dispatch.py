"""Telling what happened: the outbox is read in its order, and all who must hear of a change do, at least once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from proxy.engine.core import Core, log
from proxy.records import Video
from proxy.store import StoreBusy, outbox

Listener = Callable[[Video, str], Awaitable[None]]
"""Told of a video as it is now, and of its public status before the change; perhaps more than once."""

AT_ONCE = 100
LOOK_AGAIN = 5.0
"""Seconds after which the outbox is looked at although this process changed nothing: others may have."""
TRY_AGAIN = 1.0


class Dispatcher:
    """Reads the outbox, in the one process that leads, and calls the listeners one after the other.

    What a listener raises is logged and its change counts as heard, so that one that is broken holds up no other.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._woken = asyncio.Event()
        self.listeners: list[tuple[str, Listener]] = []
        """Each with the name that the log gives it."""
        core.listeners.append(self._wake)

    def _wake(self, before: Video, after: Video) -> None:
        if before.status != after.status or after.stage == "deleted":
            self._woken.set()

    def changed_elsewhere(self) -> None:
        """Another process has written: there may be something to tell."""
        self._woken.set()

    async def run(self) -> None:
        """Dispatch for as long as the engine lives."""
        while True:
            self._woken.clear()
            wait = LOOK_AGAIN
            try:
                while self._core.leases.leads() and await self._some():
                    pass
            except StoreBusy as error:
                log.warning("what changed could not be told yet: %s", error)
                wait = TRY_AGAIN
            except Exception:
                log.exception("what changed could not be told; it is tried again")
                wait = TRY_AGAIN
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _some(self) -> bool:
        store = self._core.store
        changes = await store.read(partial(outbox.oldest, limit=AT_ONCE))
        for change in changes:
            if not self._core.leases.leads():
                # Another process tells the rest.
                return False
            video = await self._core.newest(change.video_id)
            if video is not None:
                await self._tell(video, change)
        if changes:
            await store.write(partial(outbox.remove, up_to=changes[-1].seq))
        return len(changes) == AT_ONCE

    async def _tell(self, video: Video, change: outbox.Change) -> None:
        # A video may have gone on since: each change is told as it was.
        video = outbox.as_of(video, change)
        for name, listener in self.listeners:
            try:
                await listener(video, change.before)
            except StoreBusy:
                raise
            except Exception:
                log.exception("%s failed on a change of video %s", name, video.id)
