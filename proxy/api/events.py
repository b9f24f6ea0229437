"""`GET|HEAD /videos/{id}/events`: the states of a video as server-sent events, until it is finished.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiohttp import hdrs, web

from proxy.api import queries, render
from proxy.api.auth import authenticate
from proxy.api.context import API, Api, trace
from proxy.errors import Forbidden, Unauthorized
from proxy.media.delivery import ClientGone, Delivery
from proxy.records import Video

if TYPE_CHECKING:
    from proxy.engine.watching import Watcher

log = logging.getLogger("reelgate.api")

LAST_EVENT_ID: Final = "Last-Event-ID"
LAST_EVENT_ID_PARAM: Final = "last_event_id"
"""The same for clients that cannot set a header."""

_HEADERS: Final = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "private, no-cache, no-transform",
    # nginx would gather the events until its buffer is full.
    "X-Accel-Buffering": "no",
}
_MARK: Final = re.compile(r"([0-9]{1,15})-([0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The times of a stream, in seconds.

    `heartbeat`: after so long without an event, a comment keeps proxies from closing the connection. `look`: how often
    key, video and client are looked at although nothing was told. `stall`: a client that takes nothing for so long is
    dropped. `retry`: after how long a client whose stream ended comes back.
    """

    heartbeat: float = 15.0
    look: float = 3.0
    stall: float = 30.0
    retry: float = 2.0


RHYTHM: Final = Rhythm()


class Mark(NamedTuple):
    """The id of an event: the video's version, which grows with every change, and a digest of what its owner sees of
    it, because most changes cannot be seen."""

    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.version}-{self.digest}"


class Event(NamedTuple):
    """What a client is told of one state of its video. `last`: nothing follows."""

    mark: Mark
    name: str
    data: bytes
    last: bool

    def encode(self) -> bytes:
        """The event as it is sent. JSON has no line breaks, so `data` is one line."""
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(self.mark).encode(), self.name.encode(), self.data)

    def is_news(self, known: Mark | None) -> bool:
        """Whether it is later than what is `known`, and tells something else."""
        return known is None or (self.mark.version > known.version and self.mark.digest != known.digest)


async def send(request: web.Request) -> web.StreamResponse:
    """Answer with the video's events; 204 where the client has had the last one, so that it does not come back."""
    key = await authenticate(request)
    api = request.app[API]
    watcher = await api.engine.watch(queries.video_id(request), key)
    known = _known(request)
    now = _event(api, request, watcher.video)
    if now.last and known is not None and now.mark.digest == known.digest:
        return web.Response(status=204, headers={hdrs.CACHE_CONTROL: _HEADERS[hdrs.CACHE_CONTROL]})
    response = web.StreamResponse(headers=_HEADERS)
    if request.method == hdrs.METH_HEAD:
        return response
    if known is not None and known.version > now.mark.version:
        # Not from here, or from before a backup was put back: what it stands for is not to be waited for.
        known = None
    try:
        async with (
            watcher,
            Delivery(request, response, stall=RHYTHM.stall, tick=RHYTHM.look, told=lambda count: None) as delivery,
        ):
            await delivery.begin()
            await delivery.write(b"retry: %d\n\n" % round(RHYTHM.retry * 1000))
            await _tell(request, watcher, delivery, known)
            await delivery.end()
    except (ClientGone, ConnectionError) as error:
        log.debug("%s: the client of an event stream left (%s)", trace(request).request_id, type(error).__name__)
    return response


async def _tell(request: web.Request, watcher: Watcher, delivery: Delivery, known: Mark | None) -> None:
    """Send what changes, until nothing more follows. `known` is what the client has had."""
    api = request.app[API]
    clock = asyncio.get_running_loop().time
    written = clock()
    while True:
        video = await watcher.next(min(RHYTHM.look, max(written + RHYTHM.heartbeat - clock(), 0.0)))
        try:
            await authenticate(request)
        except (Unauthorized, Forbidden):
            return
        if video is None:
            return
        event = _event(api, request, video)
        if event.is_news(known):
            await delivery.write(event.encode())
            known, written = event.mark, clock()
        elif clock() - written >= RHYTHM.heartbeat:
            await delivery.write(b":\n\n")
            written = clock()
        if event.last or watcher.closed:
            return


def _event(api: Api, request: web.Request, video: Video) -> Event:
    shown: Any = render.video_object(api, request, video)
    # Signed anew every hour, which is no change.
    seen: Any = msgspec.structs.replace(shown, video_url=msgspec.UNSET)
    name = f"video.{video.status}"
    if not video.listed:
        shown = seen = {"id": video.id, "object": "video.deleted", "deleted": True}
        name = "video.deleted"
    digest = hashlib.blake2b(render.encode(seen), digest_size=6).hexdigest()
    last = not video.listed or video.status in ("completed", "failed")
    return Event(Mark(video.version, digest), name, render.encode(shown), last)


def _known(request: web.Request) -> Mark | None:
    """The id of the last event that the client has had; what cannot be one of ours is none."""
    sent = request.headers.get(LAST_EVENT_ID) or request.query.get(LAST_EVENT_ID_PARAM, "")
    found = _MARK.fullmatch(sent)
    return None if found is None else Mark(int(found[1]), found[2])
