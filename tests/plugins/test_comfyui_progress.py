"""plugins/comfyui.py: how far a running job is, as the server's websocket tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugins import _comfyui_progress
from plugins.comfyui import Comfyui, job_id_of
from proxy import UpstreamJob
from tests.plugins.comfyui_bench import TEXT, opened, request

JOB = UpstreamJob("7c3f0f6e-2f0c-4c0d-8f43-0d4a8a6f1f11")
"""Its graph is `TEXT`: ten nodes; 7 is the sampler, which stands on 1, 2, 4, 5 and 6."""


class Server:
    """One that says over its websockets what a test has in mind; the jobs of `running` run."""

    def __init__(self) -> None:
        self.running = {JOB.id: {"client_id": "its-client"}}
        self.says: asyncio.Queue[Any] = asyncio.Queue()
        self.status = 101
        self.clients: list[str] = []
        self.tried = 0
        self.gone = asyncio.Semaphore(0)
        self.base_url = ""

    async def answer(self, call: web.Request) -> web.StreamResponse:
        if call.path == "/ws":
            self.tried += 1
            return await self.tell(call) if self.status == 101 else web.Response(status=self.status)
        rows = [[1, name, TEXT, extra, ["10"]] for name, extra in self.running.items()]
        ended = {JOB.id: {"status": {"status_str": "error"}}}
        answers = {"/queue": {"queue_running": rows, "queue_pending": []}, f"/history/{JOB.id}": ended}
        return web.json_response(answers.get(call.path, {}) if call.path == "/queue" or not self.running else {})

    async def tell(self, call: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(call)
        self.clients.append(call.query["clientId"])
        talk = asyncio.create_task(self._talk(socket))
        await socket.receive()
        talk.cancel()
        self.gone.release()
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        while (said := await self.says.get()) is not None:
            await (socket.send_bytes(said) if isinstance(said, bytes) else socket.send_json(said))
        await socket.close()

    def say(self, kind: Any, **data: Any) -> None:
        self.says.put_nowait({"type": kind, "data": {"prompt_id": JOB.id, **data}})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, Comfyui]]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{rest:.*}", server.answer)
    async with TestServer(app, host="127.0.0.1") as http:
        server.base_url = str(http.make_url("/")).rstrip("/")
        async with opened(server, TEXT, None) as channel:
            yield server, channel


async def until(channel: Comfyui, wanted: Callable[[float], bool], job: UpstreamJob = JOB) -> float:
    """Poll until the progress is `wanted`."""
    async with asyncio.timeout(60):
        while True:
            found = await channel.fetch(job)
            assert found.status == "in_progress"
            if wanted(found.progress or 0.0):
                return found.progress or 0.0


async def test_the_whole_job_counts() -> None:
    """Progress is the share of all nodes, those that the running one stands on among the done ones; it never falls."""
    async with serving() as (server, channel):
        for kind, said, expected in (
            ("executing", {"node": "2"}, None),
            ("execution_cached", {"nodes": ["2"]}, 10),
            ("progress", {"node": "7", "value": 5, "max": 20}, 52),
            ("progress", {"node": "7", "value": 1, "max": 20}, None),
            ("progress_state", {"nodes": {"3": {"state": "finished"}}}, 62),
            ("progress_state", {"nodes": {"3": {"state": "finished"}, "7": {"value": 10, "max": 20}}}, 65),
            ("executing", {"node": "8"}, 70),
            ("progress_state", {"nodes": {"8": {"state": "finished", "value": 1, "max": 1}}}, 80),
            ("executed", {"node": "9"}, 90),
            ("executed", {"node": "10"}, 99),
        ):
            server.say(kind, **said)
            if expected is not None:
                await until(channel, lambda found, wanted=expected: found == wanted)  # type: ignore[misc]
        assert server.clients == ["its-client"]


async def test_what_a_server_may_say() -> None:
    """Other jobs, previews and nonsense move nothing and break nothing; a late word without an id is this job's."""
    nodes: list[Any] = [None, 7, [], "7", {"7": None, "99": {"value": 1, "max": 1}, "8": {"value": {}, "max": []}}]
    async with serving() as (server, channel):
        for value in (None, "5", True, -1, 1e308, 10**400, -(10**400), [], {}):
            for most in (None, "20", 0, -3, 10**400, {}):
                server.says.put_nowait({"type": "progress", "data": {"node": "1", "value": value, "max": most}})
        for kind in ("progress_state", "execution_cached", "executing", "executed", "progress", "status", 7, None, {}):
            for some in nodes:
                server.says.put_nowait({"type": kind, "data": {"node": some if some != "7" else [], "nodes": some}})
        for junk in (7, "x", [], {}, {"type": "progress"}, {"data": None}, {"type": "executing", "data": []}):
            server.says.put_nowait(junk)
        server.says.put_nowait(bytes(2**20))
        server.say("executed", prompt_id="another", node="10")
        server.say("executed", prompt_id=None, node="10")
        server.says.put_nowait({"type": "executing", "data": {"node": "9"}})
        # Some of the nonsense names 8, which stands on seven nodes; 9 stands on eight, and nothing of it is done.
        assert await until(channel, lambda found: found > 70) == 80
        assert len(server.clients) == 1


async def test_an_outage_disturbs_no_poll(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a websocket polls go on, one warning says so, and it is tried again later; after a success once more."""

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    async with serving() as (server, channel):
        server.status = 404
        for _ in range(20):
            found = await channel.fetch(JOB)
            assert (found.status, found.progress) == ("in_progress", 0)
        assert server.tried == 1
        assert warnings() == [
            "channel up: its videos have no progress for now: The upstream opened no websocket (HTTP 404)."
        ]
        monkeypatch.setattr(_comfyui_progress, "PAUSES", (1e-6, 1e-6))
        monkeypatch.setattr(channel._progress, "_again", 0.0)
        while server.tried < 4:
            await channel.fetch(JOB)
        server.status = 101
        for goes, node, expected in ((0, "7", 50), (1, "9", 80)):
            server.say("executing", node=node)
            await until(channel, lambda found, wanted=expected: found == wanted)  # type: ignore[misc]
            assert len(warnings()) == 1 + goes
            server.says.put_nowait(None)
            await server.gone.acquire()
        await until(channel, lambda found: len(server.clients) >= 3)
        assert (
            warnings()[1:]
            == ["channel up: its videos have no progress for now: The upstream closed the connection."] * 2
        )


async def test_who_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is listened to while it runs and polls ask, but not any number at once, and no longer when it has ended."""
    async with serving() as (server, channel):
        monkeypatch.setattr(_comfyui_progress, "MOST", 3)
        server.running = {JOB.id: {}, **{f"job-{number}": {} for number in range(5)}}
        for name in server.running:
            await channel.fetch(UpstreamJob(name))
        async with asyncio.timeout(60):
            while len(server.clients) < 3:
                await channel.fetch(JOB)
            assert set(server.clients) == {JOB.id, "job-0", "job-1"}
            earlier = channel._progress._listeners[JOB.id].idle
            await channel.fetch(JOB)
            last = channel._progress._listeners[JOB.id].idle
            assert (earlier.cancelled(), last.cancelled()) == (True, False)
            server.running = {}
            assert (await channel.fetch(JOB)).status == "failed"
            await server.gone.acquire()
            assert last.cancelled()
            server.running = {"job-0": {}, "job-1": {}, "job-2": {}}
            await channel.cancel(UpstreamJob("job-0"))
            await server.gone.acquire()
            await channel.fetch(UpstreamJob("job-2"))
            monkeypatch.setattr(_comfyui_progress, "IDLE", 0.0)
            await channel.fetch(UpstreamJob("job-1"))
            await server.gone.acquire()
            while len(server.clients) < 4:
                await channel.fetch(UpstreamJob("x"))
            assert server.gone.locked()
            await channel.close()
            await server.gone.acquire()
        assert channel._progress._listeners == {}


async def test_an_old_server_makes_the_ids() -> None:
    """A job under an id of the server's own is found again, while it is queued, by the client it was ordered by."""
    async with serving() as (server, channel):
        server.running = {}
        assert await channel.recover(request()) is None
        mine = job_id_of(request())
        server.running = {"theirs": {"client_id": "x"}, JOB.id: {"client_id": mine}}
        found = await channel.recover(request())
        assert found == UpstreamJob(JOB.id)
        server.say("executing", node="9")
        await until(channel, lambda progress: progress == 80)
        assert server.clients == [mine]
