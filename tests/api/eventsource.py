"""An EventSource for tests, written from https://html.spec.whatwg.org/multipage/server-sent-events.html, the law that
every history of a video keeps, and an upstream that says one word after the other."""

from __future__ import annotations

import asyncio
import codecs
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from proxy.app import WIRING
from proxy.engine import Engine
from proxy.models import JobError, UpstreamJob
from proxy.records import Video
from tests.conftest import ADMIN_KEY, Product

PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
ONE = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01}]"
RARELY = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 60}]"

LAST = ("video.completed", "video.failed", "video.deleted")


class Event(NamedTuple):
    """An event as it was dispatched."""

    type: str
    data: str
    last_event_id: str

    @property
    def video(self) -> dict[str, Any]:
        return json.loads(self.data)


class Parser:
    """Bytes -> events (section 9.2.5 and 9.2.6). `comments` and `retry` say what else was read."""

    def __init__(self) -> None:
        self.comments = 0
        self.retry: int | None = None
        self.last_event_id = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._began = False
        self._type = self._data = self._id = ""

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete."""
        self._text += self._decode(data)
        if not self._began and self._text:
            self._began = True
            self._text = self._text.removeprefix("\ufeff")
        events = []
        # A CR at the end may be half of a CRLF.
        while found := re.search(r"\r\n|\n|\r(?=.)", self._text, re.DOTALL):
            line, self._text = self._text[: found.start()], self._text[found.end() :]
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        return events

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.retry = int(value)

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        type_, data = self._type or "message", self._data
        self._type = self._data = ""
        return Event(type_, data.removesuffix("\n"), self.last_event_id) if data else None


class Stream:
    """One connection to a video's events: an async context over the product at `url`."""

    def __init__(
        self, session: ClientSession, url: str, *, key: str | None = ADMIN_KEY, last: str | None = None
    ) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        if last:
            self._headers["Last-Event-ID"] = last
        self._waiting: list[Event] = []
        self.parser = Parser()
        self.response: ClientResponse

    async def __aenter__(self) -> Self:
        timeout = ClientTimeout(total=None, sock_read=60)
        self.response = await self._session.get(self._url, headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.response.close()

    async def read(self, most: int = 2**16) -> bool:
        """Take at most so many bytes in; False at the clean end of the stream."""
        data = await self.response.content.read(most)
        self._waiting += self.parser.feed(data)
        return bool(data)

    def taken(self) -> list[Event]:
        """The events that have come and were not taken."""
        events, self._waiting = self._waiting, []
        return events

    async def next(self) -> Event:
        """The next event."""
        async with asyncio.timeout(60):
            while not self._waiting:
                assert await self.read(), "the stream ended"
        return self._waiting.pop(0)

    async def rest(self) -> list[Event]:
        """All events until the clean end."""
        async with asyncio.timeout(60):
            while await self.read():
                pass
        return self.taken()


def version(event: Event) -> int:
    """What grows with each event."""
    return int(event.last_event_id.partition("-")[0])


def check_history(events: Sequence[Event], *, ended: bool = True) -> None:
    """States and progress only move forward, no two events in a row say the same, and only the last one is final."""
    states = [
        (["video.queued", "video.in_progress"].index(event.type), event.video["progress"])
        for event in events
        if event.type not in LAST
    ]
    assert states == sorted(states)
    assert [version(event) for event in events] == sorted({version(event) for event in events})
    assert all(one.data != other.data for one, other in itertools.pairwise(events))
    assert [event.type in LAST for event in events] == [False] * (len(events) - 1) + [ended]


class Upstream:
    """What the upstream says of the next video, each time to one poll; a poll waits for it."""

    def __init__(self, product: Product) -> None:
        self._channel = product.channel("a")
        self._next = self._future()

    def _future(self) -> asyncio.Future[UpstreamJob]:
        future: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
        self._channel.then("fetch", future)
        return future

    def says(self, status: str, progress: int | None = None, error: JobError | None = None) -> None:
        said, self._next = self._next, self._future()
        # The facts make each word another version of the row, which no client sees.
        facts = {"turn": id(said)}
        said.set_result(UpstreamJob(id="up-1", status=status, progress=progress, error=error, facts=facts))


def engine_of(product: Product) -> Engine:
    engine = product.server.app[WIRING].engine
    assert engine is not None
    return engine


def watch(product: Product, video_id: str, **options: Any) -> Stream:
    return Stream(product.session, f"{product.url}/v1/videos/{video_id}/events", **options)


async def current(product: Product, video_id: str) -> Video:
    """The row of a video as it is now."""
    video = await product.core.store.video(video_id)
    assert video is not None
    return video


async def retrieved(product: Product, video_id: str) -> dict[str, Any]:
    status, video, _ = await product.call("GET", f"/v1/videos/{video_id}")
    assert status == 200
    return video


def unsigned(video: dict[str, Any]) -> dict[str, Any]:
    """The video without its link, whose signature changes with the hour."""
    return {name: value for name, value in video.items() if name != "video_url"}


async def reaches(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():
            await asyncio.sleep(0.01)
