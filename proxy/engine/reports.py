"""What an operator may read: submissions in doubt, all that is known of a video, how the channels stand, the audit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from proxy import money
from proxy.channel import OPERATIONS
from proxy.channels import LiveChannel
from proxy.engine.core import Core
from proxy.engine.routing import pin_of, waiting_placements
from proxy.errors import VideoNotFound
from proxy.plans import Offer
from proxy.records import Attempt, Video
from proxy.store import inbox
from proxy.store.inbox import Audited, Dossier

T = TypeVar("T")


class Story(NamedTuple):
    """A video as it is stored, and what operators did about it, oldest first.

    `decided`: its channel is the one that makes it; before that, it is only the first that came into question.
    `waits_for` says why each channel that may make a waiting video has not begun, by their names; None for any other.
    """

    dossier: Dossier
    audit: list[Audited]
    decided: bool
    waits_for: dict[str, str] | None


class Doubt(NamedTuple):
    """One attempt in doubt, and its evidence.

    `late`: the upstream took the job when the video could not have it any more. `recovers`: its channel can look
    submissions up; None where the channel is not configured. `grace_ends` (unix seconds) is when a pending video fails
    by itself, None for one that is not pending. `price` is an estimate in US dollars, where the model has one.
    """

    attempt: Attempt
    dossier: Dossier
    late: bool
    recovers: bool | None
    grace_ends: float | None
    price: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReport:
    """How a channel stands. `running` counts the videos that its upstream may be working on, over all processes;
    `throttled_for` are the seconds for which it takes no new ones, `open_for` those until it is tried again after it
    tripped, and `why` is the reason of that. `switched` is what an operator said over the file, None for nothing."""

    name: str
    type: str
    enabled: bool
    switched: bool | None
    priority: int
    weight: float
    max_running: int | None
    running: int
    throttled_for: float
    breaker: str
    why: str
    open_for: float
    offers: tuple[Offer, ...]
    can: tuple[str, ...]


class Offered(NamedTuple):
    """The names that the configured channels have: their own, and those of their models."""

    channels: frozenset[str]
    models: frozenset[str]


class Reports:
    """Nothing in here changes anything."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` of the store reads."""
        return await self._core.store.read(function)

    async def story(self, video_id: str) -> Story:
        """All that is known of a video, whosever it is and whatever became of it. Raises `VideoNotFound`."""
        found = await self._core.store.read(partial(inbox.dossier, video_id=video_id))
        if found is None:
            raise VideoNotFound(f"Video with id '{video_id}' not found.")
        audit = await self._core.store.read(partial(inbox.audit_of, subject=video_id))
        video = found.video
        waits = video.stage == "waiting"
        decided = pin_of(video) is not None or (not waits and bool(found.attempts))
        return Story(found, audit, decided, self._waits_for(video) if waits else None)

    def _waits_for(self, video: Video) -> dict[str, str]:
        core = self._core
        placements, reasons = waiting_placements(core, video)
        wait = video.submit_after - core.clock()
        free = f"has room: tried again in {wait:.0f} s" if wait > 0 else "has room: its turn comes"
        full = {placement.live.name: core.why_not(placement.live) or free for placement in placements}
        return dict(sorted((reasons | full).items()))

    async def doubts(self, *, after: str | None, limit: int) -> tuple[list[Doubt], bool]:
        """The next `limit` attempts in doubt, newest first, behind the attempt `after`; and whether there are more."""
        found = await self._core.store.read(partial(inbox.page, after=after, limit=limit + 1))
        doubts = [
            self._doubt(dossier, attempt)
            for attempt_id, dossier in found[:limit]
            for attempt in dossier.attempts
            if attempt.id == attempt_id
        ]
        return doubts, len(found) > limit

    def _doubt(self, dossier: Dossier, attempt: Attempt) -> Doubt:
        video = dossier.video
        live = self._core.channels.get(attempt.channel)
        pending = video.stage == "unknown"
        return Doubt(
            attempt=attempt,
            dossier=dossier,
            late=attempt.state == "taken",
            recovers=None if live is None else live.channel.able("recover"),
            grace_ends=video.changed_at + self._core.server.unknown_grace if pending else None,
            price=None if video.price is None else float(money.dollars(video.price)),
        )

    async def audit(self, *, after: int | None, limit: int) -> tuple[list[Audited], bool]:
        """The next `limit` rows of the audit, newest first, behind the row `after`; and whether there are more."""
        rows = await self._core.store.read(partial(inbox.audit, after=after, limit=limit + 1))
        return rows[:limit], len(rows) > limit

    async def channels(self) -> tuple[list[ChannelReport], dict[str, int]]:
        """The configured channels, in the order of the file; and those that left it although videos that only they can
        make or finish are not finished, each with how many its upstream may be working on."""
        running = await self._core.store.read(inbox.unfinished)
        found = [self._channel(live, running.pop(live.name, 0)) for live in self._core.channels]
        return found, dict(sorted(running.items()))

    def offered(self) -> Offered:
        """The channels of the file, the disabled ones too, and their models."""
        live = list(self._core.channels)
        return Offered(frozenset(one.name for one in live), frozenset(name for one in live for name in one.offers))

    def _channel(self, live: LiveChannel, running: int) -> ChannelReport:
        core, entry = self._core, live.entry
        breaker = core.breakers.of(live.name)
        return ChannelReport(
            name=live.name,
            type=entry.type,
            enabled=live.enabled,
            switched=live.switched,
            priority=entry.priority,
            weight=entry.weight,
            max_running=entry.max_running,
            running=running,
            throttled_for=core.throttled_for(live.name),
            breaker=breaker.state,
            why="" if breaker.state == "closed" else breaker.why,
            open_for=breaker.open_for(),
            offers=tuple(live.offers.values()),
            can=tuple(one for one in OPERATIONS if live.channel.able(one)),
        )
