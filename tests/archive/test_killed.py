"""Real processes that are killed while they copy: nothing partial, nothing missing, nothing twice at once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, web

from proxy.media.archive import key_of
from proxy.models import UpstreamJob
from proxy.testing import SimulatorServer
from proxy.testing.faults import Act, Stage
from proxy.testing.simulator import Job
from tests.process.conftest import Spawn
from tests.process.conftest import spawn as spawn
from tests.process.pair import Pair, Upstream

VIDEOS = 8
KILLS = 3
STATES = "SELECT state, count(*) FROM archive GROUP BY state"
COPIES = "SELECT videos.id, job_json, archive.size, sha256 FROM videos JOIN archive ON video_id = videos.id"


class SlowUpstream(Upstream):
    """Makes another film of 1 to 2 MB for every job. Of those whose number `holds` says so, only a part is sent until
    `going` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.running_polls = 0
        self.sending: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.holds: Callable[[int], bool] = lambda number: number % 2 == 0
        self.going = asyncio.Event()
        self.at_once = 0
        """How often one film was on its way at the same time."""

    def content_of(self, job: Job) -> bytes:
        chance = random.Random(job.id)
        return b"\x00\x00\x00\x18ftypmp42" + chance.randbytes(chance.randrange(10**6, 2 * 10**6))

    def _next_act(self, operation: str) -> Act | None:
        return self._slowly if operation == "content" else super()._next_act(operation)

    async def _slowly(self, stage: Stage) -> web.StreamResponse:
        answer, job_id = await stage.run(), stage.request.match_info["id"]
        response = web.StreamResponse(headers=answer.all_headers)
        response.content_length = len(answer.payload)
        self.sending[job_id] += 1
        self.at_once = max(self.at_once, self.sending[job_id])
        try:
            with contextlib.suppress(ConnectionError):
                await response.prepare(stage.request)
                part = random.randrange(len(answer.payload)) if self.holds(list(self.jobs).index(job_id)) else 0
                await response.write(answer.payload[:part])
                if part:
                    await self._until_going(stage.request)
                await response.write(answer.payload[part:])
                self.sent[job_id] += 1
        finally:
            self.sending[job_id] -= 1
        return response

    async def _until_going(self, request: web.Request) -> None:
        """Wait, but not for a process that was killed meanwhile."""
        while not self.going.is_set():
            if request.transport is None:
                raise ConnectionError
            await asyncio.sleep(0.01)


@pytest.fixture
async def pair(spawn: Spawn) -> AsyncIterator[Pair]:
    """Two servers with one archive, which are not started yet."""
    async with SimulatorServer(SlowUpstream()) as sim, ClientSession() as session:
        text = (
            "server: {archive: videos, lease: 600}\n"
            "channels: [{name: up, type: openai, models: [sora-2], poll_every: 0.05, content: archive, "
            f"base_url: '{sim.base_url}', api_key: '${{WHO}}'}}]\n"
        )
        yield Pair(spawn, sim, session, text)


def slow(pair: Pair) -> SlowUpstream:
    assert isinstance(pair.sim, SlowUpstream)
    return pair.sim


async def all_stored(pair: Pair, count: int) -> None:
    async with asyncio.timeout(60):
        while await pair.in_store(STATES) != [("stored", count)]:
            await asyncio.sleep(0.05)


async def check(pair: Pair) -> None:
    """The archive has exactly the films that the upstream made, and the store their lengths and hashes."""
    wanted, known = {}, {}
    for video_id, job_json, size, sha256 in await pair.in_store(COPIES):
        job_id = msgspec.json.decode(job_json, type=UpstreamJob).id
        film = slow(pair).content_of(slow(pair).jobs[job_id])
        wanted[key_of(video_id)] = (len(film), hashlib.sha256(film).hexdigest())
        known[key_of(video_id)] = (size, sha256)
    assert known == wanted
    assert await asyncio.to_thread(found, pair.one.folder / "videos") == wanted


def found(folder: Path) -> dict[str, tuple[int, str]]:
    films = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {key: (len(film), hashlib.sha256(film).hexdigest()) for key, film in films.items()}


async def test_kills_in_the_middle_of_copies(pair: Pair) -> None:
    """A process that is killed again and again while it copies leaves, in the end, every film whole under its name, and
    no leftovers."""
    chance = random.Random(4)
    await pair.one.start()
    await asyncio.gather(*(pair.create(pair.one, f"number {n}") for n in range(VIDEOS)))
    for _ in range(KILLS):
        enough = chance.randrange(1, 5)
        await pair.until(lambda: slow(pair).sending.total() >= enough)
        await pair.kill(pair.one)
        await pair.until(lambda: not slow(pair).sending.total())
        await pair.one.start()
    slow(pair).going.set()
    await all_stored(pair, VIDEOS)
    # The next start, or the one before it, has removed what the kills left.
    await pair.until(lambda: not list((pair.one.folder / "videos" / ".partial").iterdir()))
    await check(pair)
    assert slow(pair).at_once == 1


async def test_two_processes_copy_each_video_once(pair: Pair) -> None:
    """Of two processes one copies, whichever made the video; when it is killed the other one goes on, and a reader of
    either gets the film without another transfer."""
    slow(pair).holds = lambda number: number > 3
    await pair.start()
    first = await asyncio.gather(*(pair.create(next(pair.turns), f"number {n}") for n in range(4)))
    await all_stored(pair, 4)
    assert set(slow(pair).sent.values()) == {1}
    second = await asyncio.gather(*(pair.create(pair.two, f"late {n}") for n in range(2)))
    await pair.until(lambda: slow(pair).sending.total() == 2)
    await pair.kill(pair.one)
    await pair.until(lambda: not slow(pair).sending.total())
    slow(pair).going.set()
    bodies = await asyncio.gather(*(body(pair, video_id) for video_id in (*first, *second)))
    await all_stored(pair, 6)
    await check(pair)
    assert {hashlib.sha256(film).hexdigest() for film in bodies} == {
        sha256 for *_, sha256 in await pair.in_store(COPIES)
    }
    assert slow(pair).at_once == 1
    assert set(slow(pair).sent.values()) == {1}


async def body(pair: Pair, video_id: str) -> bytes:
    headers = {"Authorization": f"Bearer {pair.two.environ['REELGATE_ADMIN_KEY']}"}
    async with pair.session.get(f"{pair.two.base_url}/videos/{video_id}/content", headers=headers) as response:
        assert response.status == 200
        return await response.read()
