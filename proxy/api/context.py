"""What the surface is given by `app.py`, and what it needs of the rooms below it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from aiohttp import web

from proxy import hops
from proxy.accounts.limits import Gate
from proxy.api.access import Access, log_line
from proxy.api.receipts import Receipts
from proxy.config import Server
from proxy.metrics import Metrics
from proxy.models import Variant
from proxy.records import Ask, Character, Key, Upload, Video

if TYPE_CHECKING:
    from proxy.accounts.administration import Administration
    from proxy.accounts.keys import Authenticator
    from proxy.accounts.sessions import Sessions
    from proxy.engine.cards import ModelCard
    from proxy.engine.contents import Found
    from proxy.engine.inbox import Inbox
    from proxy.engine.reports import Reports
    from proxy.engine.switches import Switches
    from proxy.engine.watching import Watcher
    from proxy.media.inputs import Inputs
    from proxy.media.library import Library
    from proxy.webhooks import Endpoints


class Engine(Protocol):
    """The life of a video, as far as the surface asks for it."""

    inbox: Inbox
    reports: Reports
    switches: Switches

    async def order(
        self, ask: Ask, key: Key, *, idempotency_key: str | None = None, resent: bool = False
    ) -> tuple[Video, bytes | None]:
        """Accept `ask`; the bytes are the first answer of the same Idempotency-Key, to be sent again as they are."""

    async def answered(self, video: Video, body: bytes, idempotency_key: str, key: Key) -> bytes:
        """Keep the answer about to be given for replays of its Idempotency-Key; answers the one to give."""

    def delivered(self, video: Video) -> None:
        """The answer to a POST seems to have reached its client."""

    def cached(self, video_id: str) -> Video | None:
        """The video, when it is in memory; whosever it is."""

    async def video(self, video_id: str, key: Key | None) -> Video:
        """The video that `key` may see, or for None (a signed link) any that is not deleted. Raises `VideoNotFound`."""

    async def watch(self, video_id: str, key: Key) -> Watcher:
        """A look-out for changes of the key's video. Raises `VideoNotFound`, and `RateLimited` when it is entered."""

    async def videos(
        self, key: Key, *, after: str | None, limit: int, order: Literal["asc", "desc"]
    ) -> tuple[Sequence[Video], bool]:
        """One page of the key's videos, and whether there are more."""

    async def named(self, idempotency_key: str, key: Key) -> Video | None:
        """The video that this Idempotency-Key of `key` stands for."""

    async def delete(self, video_id: str, key: Key, *, force: bool) -> None:
        """Delete a video. Raises `VideoNotFound` and `VideoNotDeletable`."""

    async def content(self, video: Video, variant: Variant) -> Found:
        """Where the bytes of a video are."""

    async def create_character(self, name: str, video: Upload, key: Key) -> Character:
        """Make a character from an uploaded clip."""

    async def character(self, character_id: str, key: Key) -> Character:
        """A character of the key's tenant. Raises `NotFound`."""

    def models(self, key: Key) -> Sequence[ModelCard]:
        """The models that `key` may use."""

    def poll_after_ms(self, video: Video) -> int:
        """Milliseconds after which another look at an unfinished video is worth it."""


@dataclass(slots=True, kw_only=True)
class Api:
    """The surface's surroundings. `secret` signs links; uploaded parts wait in the folder `uploads`, which is made
    when it is needed; `public_url` is the address that clients see, None for what their `Host` header says. What needs
    the store is put in when the application starts."""

    engine: Engine
    authenticator: Authenticator
    administration: Administration
    webhooks: Endpoints
    library: Library
    inputs: Inputs
    settings: Server
    secret: bytes
    uploads: Path
    public_url: str | None = None
    sessions: Sessions | None = None
    """The logins of the dashboard; None where that is off."""
    access: Callable[[Access], None] = log_line
    """Writes the lines of the access log."""
    metrics: Metrics = field(default_factory=Metrics)
    receipts: Receipts = field(default_factory=Receipts)
    gate: Gate = field(default_factory=Gate)
    hop: str = field(default_factory=hops.word)
    """The word of this process in the hop header."""


class Ready(Protocol):
    """Whether this process takes requests: false while it starts and from the moment it is told to stop."""

    @property
    def ready(self) -> bool: ...


_chance: Final = random.Random()  # noqa: S311 - names, not keys


class Trace:
    """What is known of one request: for its log lines, and for the id in its answer. Made at the first look."""

    __slots__ = ("key_id", "request_id", "video_id")

    def __init__(self) -> None:
        # No secret, only unlike any other: this costs a quarter of asking the system for chance each time.
        self.request_id = f"req_{_chance.getrandbits(128):032x}"
        self.key_id: str | None = None
        self.video_id: str | None = None


def trace(request: web.Request) -> Trace:
    """The trace of this request."""
    try:
        return request[TRACE]
    except KeyError:
        request[TRACE] = made = Trace()
        return made


API: Final = web.AppKey("API", Api)
READY: Final = web.AppKey("READY", Ready)
TRACE: Final = web.RequestKey("TRACE", Trace)
ACTING: Final = web.RequestKey[Callable[[], Awaitable[Key]]]("ACTING")
"""Tells whose a request is that did not come with a key, but was let in by the dashboard. It is asked anew while a
stream lasts, and raises `Unauthorized` once the session has ended."""
