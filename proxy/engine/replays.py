"""The same request twice is one video: Idempotency-Key, and what the official SDKs re-send without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from proxy.engine.core import Core
from proxy.engine.submissions import Submission
from proxy.errors import IdempotencyKeyReused
from proxy.records import Ask, Key, Video
from proxy.store import IDEMPOTENCY_LIFE, DuplicateKey

RESEND_WINDOW = 900.0
"""Seconds within which a POST that an SDK sends again is recognised."""


LOOK_AGAIN = 0.1
"""Seconds between two looks at what another process does with the same request."""


class Answer(NamedTuple):
    """What a POST is answered with. `body` is the answer first given for an Idempotency-Key, sent again as it was."""

    video: Video
    body: bytes | None = None


class Replays:
    """Finds the first video of a repeated request, also while that one is still being placed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._placing: dict[tuple[str, bytes], list[asyncio.Future[Video | None]]] = {}
        self._keyed: dict[tuple[str, str], asyncio.Future[Video | None]] = {}

    async def first_answer(
        self,
        ask: Ask,
        key: Key,
        idempotency_key: str | None,
        resent: bool,
        place: Callable[[], Awaitable[Video]],
    ) -> Answer:
        """The earlier answer to the same request where there is one, else what `place` makes."""
        if idempotency_key is not None:
            return await self._by_key(ask, key, idempotency_key, place)
        return await self._by_resend(ask, key, resent, place)

    async def named(self, idempotency_key: str, key: Key) -> str | None:
        """The id of the video that an Idempotency-Key stands for."""
        known = await self._core.store.idempotent(key.id, idempotency_key)
        if known is None or self._core.clock() - known.created_at >= IDEMPOTENCY_LIFE:
            return None
        return known.video_id

    async def _by_key(self, ask: Ask, key: Key, idempotency_key: str, place: Callable[[], Awaitable[Video]]) -> Answer:
        name = (key.id, idempotency_key)
        while (first := self._keyed.get(name)) is not None:
            await asyncio.wait([first])
        # No await between the look above and the entry below, so that two at once cannot both be the first.
        mine: asyncio.Future[Video | None] = asyncio.get_running_loop().create_future()
        self._keyed[name] = mine
        try:
            while True:
                # Whether the SDK marked it as sent again does not matter: the key says which request it is.
                if (known := await self._stored(ask, key, idempotency_key)) is not None:
                    return known
                try:
                    return Answer(await place())
                except DuplicateKey:
                    # Another process on this store was faster: its video is the answer, once its upstream has spoken.
                    await self._settled(key, idempotency_key)
        finally:
            del self._keyed[name]
            mine.set_result(None)

    async def _settled(self, key: Key, idempotency_key: str) -> None:
        """Wait until the other process has its upstream's word, as long as it may take itself."""
        deadline = self._core.clock() + self._core.server.submit_wait
        while self._core.clock() < deadline:
            known = await self._core.store.idempotent(key.id, idempotency_key)
            video = None if known is None else await self._core.newest(known.video_id)
            if video is None or video.stage != "submitting":
                return
            await asyncio.sleep(LOOK_AGAIN)

    async def _stored(self, ask: Ask, key: Key, idempotency_key: str) -> Answer | None:
        known = await self._core.store.idempotent(key.id, idempotency_key)
        if known is not None and self._core.clock() - known.created_at >= IDEMPOTENCY_LIFE:
            await self._core.store.prune(self._core.clock())
            return None
        if known is None:
            return None
        if known.fingerprint != ask.fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used with another request body. Use a new key for a new request.",
                param="Idempotency-Key",
            )
        video = await self._core.newest(known.video_id)
        return None if video is None else Answer(video, known.answer)

    async def _by_resend(self, ask: Ask, key: Key, resent: bool, place: Callable[[], Awaitable[Video]]) -> Answer:
        name = (key.id, ask.fingerprint)
        if resent:
            for first in reversed(self._placing.get(name, [])):
                if (video := await asyncio.shield(first)) is not None and not video.answered:
                    return Answer(video)
            since = self._core.clock() - RESEND_WINDOW
            stored = await self._core.store.resent(key.id, ask.fingerprint, since)
            if stored is not None:
                return Answer(stored)
        mine: asyncio.Future[Video | None] = asyncio.get_running_loop().create_future()
        self._placing.setdefault(name, []).append(mine)
        video = None
        try:
            video = await place()
            return Answer(video)
        finally:
            mine.set_result(video)
            self._placing[name].remove(mine)
            if not self._placing[name]:
                del self._placing[name]


async def word(submission: Submission, seconds: float) -> Video:
    """Wait up to `seconds` for the upstream's word on a submission; its refusal is raised, else its video answered."""
    if submission.task is not None:
        await asyncio.wait([submission.task], timeout=seconds)
        if not submission.task.done() and submission.verdict is None:
            submission.detached = True
            return submission.video
        await asyncio.shield(submission.task)
    if submission.verdict is not None:
        raise submission.verdict
    return submission.video
