"""Who watches which video: a change wakes those who look at it, and nobody else.

Only that something changed is told, never what: whoever is woken looks for itself and finds the newest state, so that a
slow watcher skips what is past and nothing piles up for it. A video that nobody watches takes no memory here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from proxy.errors import RateLimited
from proxy.records import Video

MOST: Final = 1000
MOST_OF_ONE: Final = 500
"""Watchers at the same time, in all and of one tenant: so that one cannot keep all others out."""
TRY_AGAIN: Final = 30.0
"""Seconds after which one that found no room may try again."""
ELSEWHERE: Final = 0.5
"""Seconds between two looks of everybody because another process writes."""
FAREWELL: Final = 1.0
"""Seconds that a watcher has to end by itself when all must end."""

Look = Callable[[str], Awaitable[Video | None]]
"""Finds the newest state of a video, whatever its stage; None when there is none."""


class Watching:
    """All watchers of this process. `look` is asked each time that one of them wants to know."""

    def __init__(self, look: Look, *, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self.look: Final = look
        self.closed = False
        self.most = most
        self.most_of_one = most_of_one
        self._watchers: dict[str, set[Watcher]] = {}
        self._tenants: Counter[str] = Counter()
        self._elsewhere: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many watch now."""
        return self._tenants.total()

    def watch(self, video: Video) -> Watcher:
        """A look-out for changes of `video`, which begins when it is entered."""
        return Watcher(self, video)

    def changed(self, video: Video) -> None:
        """This process has changed `video`."""
        for watcher in self._watchers.get(video.id, ()):
            watcher.wake()

    def changed_elsewhere(self) -> None:
        """Another process has written to the store: whatever is watched may have changed."""
        if self._elsewhere is None and self._watchers:
            self._elsewhere = asyncio.get_running_loop().call_later(ELSEWHERE, self._wake_all)

    def close(self) -> None:
        """Let every watcher end. Who comes now is told the state once. Closing twice is fine."""
        if self.closed:
            return
        self.closed = True
        self._wake_all()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.hurry()

    def _wake_all(self) -> None:
        if self._elsewhere is not None:
            self._elsewhere.cancel()
            self._elsewhere = None
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake()

    def add(self, watcher: Watcher) -> None:
        """Count `watcher` and wake it from now on; `RateLimited` when there is no room."""
        video = watcher.video
        if len(self) >= self.most or self._tenants[video.tenant] >= self.most_of_one:
            raise RateLimited(
                "Too many event streams are open. Close one, or poll the video instead.", retry_after=TRY_AGAIN
            )
        self._tenants[video.tenant] += 1
        self._watchers.setdefault(video.id, set()).add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher that was added."""
        video = watcher.video
        self._tenants[video.tenant] -= 1
        if not self._tenants[video.tenant]:
            del self._tenants[video.tenant]
        self._watchers[video.id].remove(watcher)
        if not self._watchers[video.id]:
            del self._watchers[video.id]


class Watcher:
    """One look-out, as an async context; `video` is what was known when it was asked for.

    When the watching closes, `next` answers at once and `closed` is true; a block that has not ended by itself
    `FAREWELL` seconds later is broken off, without an error, so that one that waits for its client holds up no stop.
    """

    def __init__(self, watching: Watching, video: Video) -> None:
        self.video: Final = video
        self._watching = watching
        self._scope = asyncio.timeout(None)
        self._woken = asyncio.Event()
        # What changed between the look that made this one and its beginning is found by the first `next`.
        self._woken.set()

    @property
    def closed(self) -> bool:
        """Whether it is time to end."""
        return self._watching.closed

    async def __aenter__(self) -> Self:
        self._watching.add(self)
        await self._scope.__aenter__()
        if self.closed:
            self.hurry()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._watching.remove(self)
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False

    async def next(self, seconds: float) -> Video | None:
        """The newest state: at once the first time, then when it may have changed or after `seconds`.

        None when the video is no longer in the store.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        # Before the look, so that a change during it wakes the next one.
        self._woken.clear()
        return await self._watching.look(self.video.id)

    def wake(self) -> None:
        """Let `next` answer."""
        self._woken.set()

    def hurry(self) -> None:
        """Break the block off when it has not ended soon."""
        self._scope.reschedule(asyncio.get_running_loop().time() + FAREWELL)
