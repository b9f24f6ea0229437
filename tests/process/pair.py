"""Two servers on one store, an upstream that tells them apart, and a client that asks both."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from proxy.testing import Answer, Call, operation
from tests.process.conftest import Spawn
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

RANK = {"queued": 0, "in_progress": 1, "completed": 2, "failed": 2}


class Upstream(OpenAISimulator):
    """One account, asked by several processes that each have a key of their own, by which they can be told apart.

    An answer to a poll takes a moment, so that two at the same time can be seen.
    """

    def __init__(self) -> None:
        super().__init__(keys=("sk-one", "sk-two"))
        self.running_polls = 3
        self.askers: dict[str, list[str]] = defaultdict(list)
        """Which processes polled a job, in order; the same one in a row counts once."""
        self.asking: dict[str, set[str]] = defaultdict(set)
        self.twice: list[tuple[str, ...]] = []
        """Polls of one job by two processes at the same time."""
        self.dead: set[str] = set()
        """Processes that were killed: what they had asked nobody waits for."""
        self.most = 0
        """How many jobs were under way at the same time."""
        self.gate: asyncio.Event | None = None
        """Set: a create is answered only when this is."""
        self.held = 0

    def authenticate(self, call: Call) -> str | None:
        return "the account" if super().authenticate(call) else None

    @operation("create", "POST", "/v1/videos")
    async def create(self, call: Call) -> Answer:
        answer = await super().create(call)
        self.most = max(self.most, sum(job.state in ("queued", "in_progress") for job in self.jobs.values()))
        if self.gate is not None:
            self.held += 1
            await self.gate.wait()
        return answer

    @operation("fetch", "GET", "/v1/videos/{id}")
    async def fetch(self, call: Call) -> Answer:
        job_id, who = call.match["id"], call.headers["authorization"].removeprefix("Bearer ")
        if self.asking[job_id] - self.dead - {who}:
            self.twice.append((job_id, who, *self.asking[job_id]))
        if self.askers[job_id][-1:] != [who]:
            self.askers[job_id].append(who)
        self.asking[job_id].add(who)
        try:
            await asyncio.sleep(0.02)
            return await super().fetch(call)
        finally:
            self.asking[job_id].discard(who)


class Pair:
    """Two servers on one store, and a client of both."""

    def __init__(self, spawn: Spawn, sim: Upstream, session: ClientSession, text: str) -> None:
        self.sim = sim
        self.session = session
        self.one, self.two = (
            spawn(text, environ={"REELGATE_ADMIN_KEY": KEY, "WHO": who}) for who in ("sk-one", "sk-two")
        )
        self.turns = itertools.cycle((self.one, self.two))
        self.seen: dict[str, tuple[int, int]] = {}

    @property
    def database(self) -> Path:
        return self.one.folder / "data" / "reelgate.db"

    async def start(self) -> None:
        await self.one.start()
        await self.two.start()

    async def call(self, server: ServerProcess, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {KEY}", **kwargs.pop("headers", {})}
        async with self.session.request(method, server.base_url + path, headers=headers, **kwargs) as response:
            return response.status, await response.json()

    async def create(self, server: ServerProcess, prompt: str = "a paper plane") -> str:
        status, video = await self.call(server, "POST", "/videos", json={"prompt": prompt})
        assert status == 200, video
        self.saw(video)
        return str(video["id"])

    def saw(self, video: dict[str, Any]) -> None:
        """No video goes back, whichever process is asked (P6)."""
        now = (RANK[video["status"]], video["progress"])
        before = self.seen.get(video["id"], (0, 0))
        assert now >= before, video
        assert now[0] < 2 or before[0] < 2 or now == before, video
        self.seen[video["id"]] = now

    async def look(self, servers: Iterable[ServerProcess], ids: Iterable[str]) -> list[str]:
        """The status of each video: one by one from each server by turns, and from the list of each."""
        statuses = []
        for video_id, server in zip(ids, itertools.cycle(servers), strict=False):
            status, video = await self.call(server, "GET", f"/videos/{video_id}")
            assert status == 200, video
            self.saw(video)
            statuses.append(video["status"])
        for server in servers:
            _, page = await self.call(server, "GET", "/videos?limit=100")
            for video in page["data"]:
                self.saw(video)
        return statuses

    async def done(self, ids: list[str], *servers: ServerProcess) -> list[str]:
        """Look at the videos through the servers until all of them have ended; answers how."""
        servers = servers or (self.one, self.two)
        async with asyncio.timeout(60):
            while True:
                # By turns, so that each video is asked for at each server.
                servers = (*servers[1:], servers[0])
                statuses = await self.look(servers, ids)
                if all(RANK[status] == 2 for status in statuses):
                    return statuses

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.01)

    def rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as db:
            return db.execute(sql).fetchall()

    async def in_store(self, sql: str) -> list[Any]:
        return await asyncio.to_thread(self.rows, sql)

    async def kill(self, server: ServerProcess) -> None:
        """kill -9."""
        self.sim.dead.add(server.environ["WHO"])
        await server.kill()

    async def pause(self, server: ServerProcess) -> None:
        """SIGSTOP, but not in the middle of a commit, in which nobody could write."""

        def free() -> bool:
            with closing(sqlite3.connect(self.database, timeout=0, isolation_level=None)) as db:
                try:
                    db.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    return False
                return True

        async with asyncio.timeout(60):
            while True:
                server.send(signal.SIGSTOP)
                if await asyncio.to_thread(free):
                    return
                server.send(signal.SIGCONT)
                await asyncio.sleep(0.01)
