"""A store that cannot be written for a while, locked by somebody else or full: nothing is sent that is not recorded."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from proxy.engine import polling
from proxy.errors import AccountRefused
from proxy.models import UpstreamJob
from proxy.records import Video
from proxy.store import StoreBusy
from proxy.testing import SimulatorServer
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.process.conftest import Spawn
from tests.process.server import KEY
from tests.simulators.openai import OpenAISimulator

PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
PAIR = """
server: {submit_wait: 0.05}
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10, poll_every: 0.02}
  - {name: b, type: puppet, models: [sora-2], poll_every: 0.02}
"""
RECORDED = "SELECT COUNT(*) FROM attempts JOIN videos ON videos.id = video_id WHERE prompt = ?"


class Witness(OpenAISimulator):
    """An upstream that looks into the store whether the attempt is recorded of each create that it gets, and answers
    those that are called slow when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.database = Path()
        self.unrecorded: list[str] = []

    async def reference(self, call: Any, *args: Any) -> None:
        prompt = call.fields["prompt"]
        if not await asyncio.to_thread(self.recorded, prompt):
            self.unrecorded.append(prompt)
        if prompt.startswith("slow"):
            await self.go.wait()
        await super().reference(call, *args)

    def recorded(self, prompt: str) -> int:
        with closing(sqlite3.connect(self.database)) as db:
            return int(db.execute(RECORDED, (prompt,)).fetchone()[0])


@pytest.fixture
async def sim() -> AsyncIterator[Witness]:
    async with SimulatorServer(Witness()) as simulator:
        yield simulator


class Orders:
    """A client that orders videos by their prompts."""

    def __init__(self, session: ClientSession, base_url: str, key: str, sim: Witness) -> None:
        self.session = session
        self.base_url = base_url
        self.headers = {"Authorization": f"Bearer {key}"}
        self.sim = sim

    async def __call__(self, prompt: str) -> tuple[int, dict[str, str], Any]:
        async with self.session.post(
            self.base_url + "/videos", json={"prompt": prompt}, headers=self.headers
        ) as response:
            return response.status, dict(response.headers), await response.json()

    async def listed(self) -> dict[str, str]:
        """Prompt -> status."""
        async with self.session.get(self.base_url + "/videos?limit=100", headers=self.headers) as response:
            assert response.status == 200
            return {video["prompt"]: video["status"] for video in (await response.json())["data"]}

    async def through(self, trouble: Callable[[], Any]) -> None:
        """Order before, during and after `trouble`, a context in which the store cannot be written; hold the laws."""
        assert (await self("before"))[0] == 200
        await self.completed()
        slow = [asyncio.create_task(self(f"slow {number}")) for number in range(5)]
        await self.reaches(lambda: len(self.sim.calls("create")) == 6)
        with trouble():
            # The upstream takes them now; that cannot be written, and they are not answered with an error.
            self.sim.go.set()
            await self.reaches(lambda: self.sim.paid == 6)
            refused = await asyncio.gather(*(self(f"during {number}") for number in range(10)))
            assert {status for status, _, _ in refused} == {503}
            for _, headers, body in refused:
                assert 0 < int(headers["Retry-After"]) <= 60
                assert headers.get("x-should-retry") != "false"
                assert headers["x-reelgate-not-taken"] == "true"
                assert body["error"]["code"] == "internal_error"
            # Reads go on.
            assert set(await self.listed()) == {"before", *(f"slow {number}" for number in range(5))}
            assert len(self.sim.calls("create")) == 6
            assert not [task for task in slow if task.done() and task.result()[0] != 200]
        assert {status for status, _, _ in await asyncio.gather(*slow)} == {200}
        again = await asyncio.gather(*(self(f"during {number}") for number in range(10)))
        assert {status for status, _, _ in again} == {200}
        await self.completed()
        assert len(await self.listed()) == self.sim.paid == len(self.sim.calls("create")) == 16
        assert self.sim.unrecorded == []

    async def completed(self) -> None:
        async with asyncio.timeout(45):
            while set((await self.listed()).values()) != {"completed"}:
                await asyncio.sleep(0.02)

    async def reaches(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not what():
                await asyncio.sleep(0.01)


def channels(sim: OpenAISimulator) -> str:
    return (
        f"channels:\n  - {{name: up, type: openai, base_url: '{sim.base_url}', api_key: sk-test, models: [sora-2], "
        "poll_every: 0.05}\n"
    )


async def test_a_full_disk(spawn: Spawn, sim: Witness) -> None:
    """A process whose files cannot grow answers orders with a 503 and a time, sends none of them, loses nothing of what
    its upstream took meanwhile, and goes on by itself when there is room again."""
    server = spawn(channels(sim))
    await server.start()
    sim.database = server.folder / "data" / "reelgate.db"
    pid, unlimited = server.process.pid, resource.RLIM_INFINITY

    @contextmanager
    def full() -> Iterator[None]:
        # To the operating system a limit on the size of files is a disk that has no room.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))

    async with ClientSession(timeout=ClientTimeout(total=60), connector=TCPConnector(limit=0)) as session:
        await Orders(session, server.base_url, KEY, sim).through(full)
    assert await server.stop() == 0


async def patient(product: Product, milliseconds: int) -> None:
    """How long the store waits for somebody else's lock."""
    await product.core.store._writing.run(lambda db: db.execute(f"PRAGMA busy_timeout = {milliseconds}"))


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[sqlite3.Connection]]]:
    """Somebody else's connection to the store."""
    made: list[sqlite3.Connection] = []

    async def connect() -> sqlite3.Connection:
        file = tmp_path / "data" / "reelgate.db"
        made.append(await asyncio.to_thread(sqlite3.connect, file, isolation_level=None, check_same_thread=False))
        return made[-1]

    yield connect
    for connection in made:
        await asyncio.to_thread(connection.close)


async def test_a_foreign_lock(launch: Launch, sim: Witness, foreign: Any) -> None:
    """While somebody else holds the write lock for longer than the store waits, orders get a 503 and a time, nothing is
    sent that is not recorded, and what was on its way is answered when the lock is gone."""
    product = await launch(channels(sim))
    sim.database = product.core.store.path
    await patient(product, 100)
    other = await foreign()

    @contextmanager
    def locked() -> Iterator[None]:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")

    await Orders(product.session, product.url + "/v1", ADMIN_KEY, sim).through(locked)


async def test_a_short_foreign_lock_is_waited_for(launch: Launch, foreign: Any) -> None:
    """An order that meets a lock which is released soon is carried out, and sent only then."""
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2]}]", plugins=PLUGINS)
    await patient(product, 30_000)
    other = await foreign()
    other.execute("BEGIN IMMEDIATE")
    ordering = [asyncio.create_task(product.create(prompt=f"{number}")) for number in range(5)]
    status, page, _ = await product.call("GET", "/v1/videos")
    assert (status, page["data"]) == (200, [])
    await asyncio.wait(ordering, timeout=0.3)
    assert not any(task.done() for task in ordering)
    assert product.channel("a").asked("create") == []
    other.execute("ROLLBACK")
    for video in await asyncio.gather(*ordering):
        assert (await product.done(video["id"]))["status"] == "completed"
    assert len(product.channel("a").asked("create")) == 5


@pytest.mark.parametrize("waits", [True, False], ids=["its client waits", "its client has its answer"])
async def test_the_way_to_the_next_channel(launch: Launch, monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """A video that a channel refused, and whose next attempt cannot be recorded now, waits for its turn: what passes by
    itself fails no accepted video."""
    product = await launch(PAIR.replace("0.05", "30") if waits else PAIR, plugins=PLUGINS)
    store, change = product.core.store, product.core.store.change
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    ordering = asyncio.create_task(product.create())
    if not waits:
        await ordering
    async with asyncio.timeout(10):
        while not product.channel("a").asked("create"):
            await asyncio.sleep(0.01)
    busy: list[Video] = []

    async def full(video: Video, **options: Any) -> Video:
        if video.channel == "b" and not busy:
            busy.append(video)
            raise StoreBusy("the disk is full", retry_after=5)
        return await change(video, **options)

    monkeypatch.setattr(store, "change", full)
    word.set_exception(AccountRefused("No money."))
    product.channel("a").then("create", *[AccountRefused("No money.")] * 10)
    video = await ordering
    done = await product.done(video["id"])
    assert (done["status"], done["error"]) == ("completed", None)
    assert len(busy) == len(product.channel("b").asked("create")) == 1


async def test_a_result_that_could_not_be_written(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that a poll has brought, and which cannot be written now, is asked for again at the channel's pace, and
    not only when an upstream that fails for long would be asked again."""
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2]}]", plugins=PLUGINS)
    store, change = product.core.store, product.core.store.change
    busy: list[Video] = []

    async def full(video: Video, **options: Any) -> Video:
        if video.status == "completed" and not busy:
            busy.append(video)
            raise StoreBusy("the disk is full", retry_after=5)
        return await change(video, **options)

    monkeypatch.setattr(store, "change", full)
    video = await product.create()
    async with asyncio.timeout(polling.ERROR_WAIT_MOST / 4):
        assert (await product.done(video["id"]))["status"] == "completed"
    assert len(busy) == 1
