"""A receiver of webhooks on a real port, a clock that a test moves, and the parts that deliver, put together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.ids import new_id
from proxy.records import Video
from proxy.store import Store
from proxy.store.webhooks import Endpoint
from proxy.upstream import Http
from proxy.upstream.guard import Allowance
from proxy.webhooks import EVENT_TYPES, Deliveries, Endpoints, Sender

LOCAL = Allowance(None, ["127.0.0.1"])


class Clock:
    """Unix seconds that stand still until a test moves them."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Heard(NamedTuple):
    """One request as the receiver got it, at the clock's time."""

    headers: dict[str, str]
    body: bytes
    at: float
    request: web.Request

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = Callable[[Heard], Awaitable[web.StreamResponse]]


class Receiver:
    """Answers each webhook as `answer` says (200 at first); `heard` is all that came, `most` how many at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.heard: list[Heard] = []
        self.most = 0
        self.answer: Answer = self.fine
        self._clock = clock
        self._now = 0
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/hook"

    def ids(self) -> list[str]:
        return [heard.id for heard in self.heard]

    def videos(self) -> list[str]:
        return [heard.event["data"]["id"] for heard in self.heard]

    async def fine(self, heard: Heard) -> web.StreamResponse:
        return web.Response()

    def always(self, status: int, **headers: str) -> None:
        async def answer(heard: Heard) -> web.StreamResponse:
            return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

        self.answer = answer

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        heard = Heard(headers, await request.read(), self._clock(), request)
        self.heard.append(heard)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self.answer(heard)
        finally:
            self._now -= 1


class Post:
    """What delivers, on a store of its own. `outcomes` counts what it told of its tries."""

    def __init__(self, file: Path, clock: Clock, http: Http) -> None:
        self.file = file
        self.clock = clock
        self.http = http
        self.outcomes: Counter[str] = Counter()
        self.leads = True
        self.sender = Sender(http, allowance=LOCAL)
        self.store: Store
        self.endpoints: Endpoints
        self.deliveries: Deliveries
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the store anew, as a process does that starts."""
        self.store = await Store.open(self.file)
        self.endpoints = Endpoints(self.store, self.sender, clock=self.clock)
        self.deliveries = Deliveries(
            self.store,
            self.sender,
            clock=self.clock,
            leads=lambda: self.leads,
            delivered=lambda outcome: self.outcomes.update([outcome]),
        )

    def start(self) -> None:
        self._task = asyncio.create_task(self.deliveries.run())

    async def stop(self) -> None:
        """Cut everything off, as the end of a process does."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def restart(self) -> None:
        await self.stop()
        await self.store.close()
        await self.open()
        self.start()

    async def close(self) -> None:
        await self.stop()
        await self.store.close()

    async def endpoint(
        self, receiver: Receiver | str, tenant: str = "anna", event_types: tuple[str, ...] = EVENT_TYPES
    ) -> Endpoint:
        url = receiver if isinstance(receiver, str) else receiver.url
        return await self.endpoints.create(tenant, name="hook", url=url, event_types=event_types)

    def video(self, tenant: str = "anna", **fields: Any) -> Video:
        """A video that has just ended, well if nothing else is said."""
        plain: dict[str, Any] = {
            "id": new_id("video"),
            "tenant": tenant,
            "key_id": "key_a",
            "model": "lumen-1",
            "upstream_model": "lumen-1",
            "channel": "lumen",
            "prompt": "secret words",
            "seconds": 4,
            "size": "1280x720",
            "stage": "ended",
            "status": "completed",
            "created_at": int(self.clock()),
            "changed_at": self.clock(),
        }
        return Video(**{**plain, **fields})

    async def ended(self, tenant: str = "anna", **fields: Any) -> Video:
        """A video ends, and the one who must know hears of it."""
        video = self.video(tenant, **fields)
        await self.deliveries.video_changed(video, "in_progress")
        return video

    async def rows(self) -> list[dict[str, Any]]:
        """All deliveries, as the store has them."""

        def read(db: sqlite3.Connection) -> list[dict[str, Any]]:
            cursor = db.execute("SELECT * FROM deliveries ORDER BY created_at, id")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

        return await self.store.read(read)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.002)

    async def quiet(self) -> list[dict[str, Any]]:
        """Wait until nothing is due or under way any more; answers all deliveries."""
        async with asyncio.timeout(30):
            while True:
                self.deliveries.wake()
                rows = await self.rows()
                due = any(row["state"] == "pending" and row["next_at"] <= self.clock() for row in rows)
                if not due and not self.deliveries._under_way:
                    return rows
                await asyncio.sleep(0.002)

    async def skip(self) -> float:
        """Move the clock to the next due time; answers by how much."""
        before = self.clock.now
        self.clock.now = min(row["next_at"] for row in await self.quiet() if row["state"] == "pending")
        self.deliveries.wake()
        return self.clock.now - before

    async def next(self) -> float:
        """The same, and wait until nothing is due then."""
        moved = await self.skip()
        await self.quiet()
        return moved
