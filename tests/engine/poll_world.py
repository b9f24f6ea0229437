"""A poller whose time a test moves by hand, over channels that answer from memory."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from proxy.engine.clocks import TICK
from proxy.engine.polling import Poller
from proxy.engine.states import IllegalMove
from proxy.models import UpstreamJob
from proxy.records import Video
from proxy.store import Store
from proxy.upstream.redact import Redactor

Fetch = Callable[[UpstreamJob], Awaitable[object]]

_numbers = itertools.count()


async def _unwritten(operation: object) -> list[object]:
    return []


class World:
    """What a poller has of the engine (`Core`), and a clock. Times are seconds; `unix` and `time` go on together."""

    def __init__(self, store: Store | None = None, *, time: float = 1000.0) -> None:
        self.time = time
        # Without a store, no absence is ever noted.
        self.store = store or SimpleNamespace(write=_unwritten)
        self.redactor = Redactor()
        self.listeners: list[Callable[[Video, Video], None]] = []
        self.videos: dict[str, Video] = {}
        self.lives: dict[str, Any] = {}
        self.channels = SimpleNamespace(get=self.lives.get)
        self.polls: dict[str, list[float]] = defaultdict(list)
        """When each upstream job was asked for."""
        self.under_way: Counter[str] = Counter()
        self.most_under_way: Counter[str] = Counter()
        self.told: list[tuple[str, str, float]] = []
        self.writes: list[str] = []
        self._alarms: list[tuple[float, int, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.poller = Poller(self, SimpleNamespace(), now=lambda: self.time)  # type: ignore[arg-type]
        self.poller.told = lambda channel, outcome, late: self.told.append((channel, outcome, late))

    # -- what the poller calls -----------------------------------------------------------------------------------------

    def clock(self) -> float:
        return 1_700_000_000.0 + self.time

    async def move(self, video_id: str, step: Callable[[Video], Video]) -> Video:
        before = self.videos.get(video_id)
        if before is None:
            raise IllegalMove(video_id)
        after = step(before)
        self.put(after)
        self.writes.append(video_id)
        return after

    def clean(self, text: str, video: Video) -> str:
        return text

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- what a test does ----------------------------------------------------------------------------------------------

    def channel(self, name: str, fetch: Fetch, *, poll_every: float | None = 5.0, poll_timeout: float = 86400.0) -> Any:
        """Have a channel of this name in the file."""

        async def counted(job: UpstreamJob) -> object:
            self.polls[job.id].append(self.time)
            self.under_way[name] += 1
            self.most_under_way[name] = max(self.most_under_way[name], self.under_way[name])
            try:
                return await fetch(job)
            finally:
                self.under_way[name] -= 1

        timeout = SimpleNamespace(total=300.0)
        entry = SimpleNamespace(poll_every=poll_every, poll_timeout=poll_timeout, timeout=timeout)
        live = SimpleNamespace(name=name, entry=entry, channel=SimpleNamespace(fetch=counted, poll_every=3.0))
        self.lives[name] = live
        return live

    def video(self, channel: str, *, age: float = 0.0, advice: float | None = None, model: str = "m") -> Video:
        """A running video that the poller does not know of yet; its upstream job has the same id."""
        video_id = f"video_{next(_numbers)}"
        video = Video(
            id=video_id,
            tenant="t",
            key_id="k",
            model=model,
            upstream_model=model,
            channel=channel,
            stage="running",
            status="in_progress",
            prompt="p",
            seconds=4,
            size="1280x720",
            created_at=int(self.clock() - age),
            changed_at=self.clock() - age,
            job=UpstreamJob(id=video_id, status="in_progress", poll_after=advice),
        )
        self.videos[video_id] = video
        return video

    def put(self, video: Video) -> None:
        """Change a video, whoever does."""
        before = self.videos[video.id]
        self.videos[video.id] = replace(video, version=before.version + 1)
        for heard in self.listeners:
            heard(before, video)

    def running(self, channel: str, *, after: float | None = None, **values: Any) -> Video:
        """A running video that the poller has."""
        video = self.video(channel, **values)
        self.poller.add(video, after=after)
        return video

    async def sleep(self, seconds: float) -> None:
        """Until the test has moved the time by so much."""
        alarm = asyncio.get_running_loop().create_future()
        heapq.heappush(self._alarms, (self.time + seconds, next(_numbers), alarm))
        await alarm

    async def advance(self, seconds: float) -> None:
        """Let so much time go by, and all happen that happens in it."""
        end = self.time + seconds
        while True:
            wait = max(self.poller.turn(), TICK)
            await self.quiet()
            if self._alarms:
                wait = min(wait, self._alarms[0][0] - self.time)
            if self.time + wait > end:
                self.time = end
                self._ring()
                await self.quiet()
                return
            self.time += wait
            self._ring()

    async def quiet(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(6):
            await asyncio.sleep(0)

    async def noted(self) -> None:
        """Until everything is in the store that is on its way there."""
        self.poller.turn()
        while tasks := [task for task in self._tasks if task.get_name().startswith("absence")]:
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """End what is under way."""
        while self._tasks:
            for task in list(self._tasks):
                task.cancel()
            await self.quiet()

    def _ring(self) -> None:
        while self._alarms and self._alarms[0][0] <= self.time:
            alarm = heapq.heappop(self._alarms)[2]
            if not alarm.done():
                alarm.set_result(None)


async def goes_on(job: UpstreamJob) -> UpstreamJob:
    """What an upstream answers that is at work."""
    return UpstreamJob(id=job.id, status="in_progress")


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]
