"""What an operator may read: submissions in doubt, all that is known of a video, how the channels stand, the audit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from proxy.channel import OPERATIONS
from proxy.channels import LiveChannel, Offer
from proxy.engine.core import Core
from proxy.engine.requests import offer_of
from proxy.errors import VideoNotFound
from proxy.records import Attempt, Video
from proxy.store import inbox
from proxy.store.inbox import Audited, Dossier


class Story(NamedTuple):
    """A video as it is stored, and what operators did about it, oldest first."""

    dossier: Dossier
    audit: list[Audited]


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
    """How a channel stands. `running` counts the videos that its upstream may be working on; `throttled_until` is in
    unix seconds; `open_for` are the seconds until a tripped channel is tried again."""

    name: str
    type: str
    enabled: bool
    priority: int
    weight: float
    max_running: int | None
    running: int
    throttled_until: float | None
    breaker: str
    why: str
    open_for: float
    offers: tuple[Offer, ...]
    can: tuple[str, ...]


class Reports:
    """Nothing in here changes anything."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def story(self, video_id: str) -> Story:
        """All that is known of a video, whosever it is and whatever became of it. Raises `VideoNotFound`."""
        found = await self._core.store.read(partial(inbox.dossier, video_id=video_id))
        if found is None:
            raise VideoNotFound(f"Video with id '{video_id}' not found.")
        return Story(found, await self._core.store.read(partial(inbox.audit_of, subject=video_id)))

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
            recovers=None if live is None else live.channel.can("recover"),
            grace_ends=video.changed_at + self._core.server.unknown_grace if pending else None,
            price=None if live is None else _price(live, video),
        )

    async def audit(self, *, after: int | None, limit: int) -> tuple[list[Audited], bool]:
        """The next `limit` rows of the audit, newest first, behind the row `after`; and whether there are more."""
        rows = await self._core.store.read(partial(inbox.audit, after=after, limit=limit + 1))
        return rows[:limit], len(rows) > limit

    def channels(self) -> list[ChannelReport]:
        """The configured channels, in the order of the file."""
        return [self._channel(live) for live in self._core.channels]

    def _channel(self, live: LiveChannel) -> ChannelReport:
        core, entry = self._core, live.entry
        until = core.throttled.get(live.name, 0.0)
        breaker = core.breakers.of(live.name)
        return ChannelReport(
            name=live.name,
            type=entry.type,
            enabled=entry.enabled,
            priority=entry.priority,
            weight=entry.weight,
            max_running=entry.max_running,
            running=len(core.places.get(live.name, ())),
            throttled_until=until if until > core.clock() else None,
            breaker=str(breaker.state),
            why=breaker.why,
            open_for=breaker.open_for(),
            offers=tuple(live.offers.values()),
            can=tuple(one for one in OPERATIONS if live.channel.can(one)),
        )


def _price(live: LiveChannel, video: Video) -> float | None:
    per_second = offer_of(live, video).limits.price
    seconds = video.seconds if video.order.extension_seconds is None else video.order.extension_seconds
    return None if per_second is None else round(per_second * seconds, 4)
