"""channels.yaml is changed under a running server: what changed is applied, and nobody notices but who asks for it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.testing import SimulatorServer
from proxy.watch import EVERY
from tests.process.conftest import Spawn
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

BEARER = {"Authorization": f"Bearer {KEY}"}
ONE = "channels:\n  - {name: one, type: demo, models: {film: demo}, poll_every: 0.05}\n"
TWO = "  - {name: two, type: demo, models: {movie: demo}, poll_every: 0.05}\n"
SMALL = {"prompt": "a paper plane", "size": "128x72", "seconds": 1}
RELOADS = 20
BROKEN = (
    "channels: [{name: live, type: openai",
    "channels: [{name: live, type: nobody}]",
    "channels: [{name: live, type: demo, weigth: 3}]",
    "",
)


async def call(server: ServerProcess, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    async with (
        ClientSession(headers=BEARER) as session,
        session.request(method, server.base_url + path, **kwargs) as response,
    ):
        return response.status, await response.json()


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await what():
            await asyncio.sleep(0.02)


async def serves(server: ServerProcess, model: str, *, status: int = 200) -> None:
    """Wait until the server has a model, or has it no more."""

    async def found() -> bool:
        return (await call(server, "GET", f"/models/{model}"))[0] == status

    await until(found)


async def film(server: ServerProcess, model: str) -> dict[str, Any]:
    """A completed video."""
    status, video = await call(server, "POST", "/videos", json={**SMALL, "model": model})
    assert status == 200, video

    async def completed() -> bool:
        return (await call(server, "GET", f"/videos/{video['id']}"))[1]["status"] == "completed"

    await until(completed)
    return video


async def write(server: ServerProcess, text: str) -> None:
    """Replace the file, as an editor does: the server never finds half of it."""
    other = server.config.with_suffix(".new")
    await asyncio.to_thread(other.write_text, text, "utf-8")
    await asyncio.to_thread(other.replace, server.config)


def told(server: ServerProcess, words: str) -> list[str]:
    return [line for line in server.log if words in line]


async def says(server: ServerProcess, words: str, times: int = 1) -> None:
    """Wait until so many lines of the log have these words."""

    async def found() -> bool:
        return len(told(server, words)) >= times

    await until(found)


async def looks() -> None:
    """The server has looked at its file a few times."""
    await asyncio.sleep(3.5 * EVERY)


async def test_a_changed_file_is_applied_by_itself(spawn: Spawn) -> None:
    """A new channel serves without a signal or a restart; the video of a removed one stays readable, what needs the
    channel says that it is gone, and all goes on when it returns. A start applies the file once."""
    server = spawn(ONE)
    await server.start()
    await looks()
    assert told(server, "reloaded") == []
    await write(server, ONE + TWO)
    await serves(server, "movie")
    first, second = await film(server, "film"), await film(server, "movie")
    await write(server, ONE)
    await serves(server, "movie", status=404)
    for video in (first, second):
        status, found = await call(server, "GET", f"/videos/{video['id']}")
        assert (status, found["status"]) == (200, "completed")
    remix = f"/videos/{second['id']}/remix"
    status, refused = await call(server, "POST", remix, json={"prompt": "again"})
    assert (status, refused["error"]["code"]) == (503, "channel_unavailable")
    await write(server, ONE + TWO)
    await serves(server, "movie")
    status, again = await call(server, "POST", remix, json={"prompt": "again"})
    assert (status, again.get("remixed_from_video_id")) == (200, second["id"])
    assert await server.stop() == 0
    assert len(told(server, "reloaded")) == 3


async def test_a_broken_file_is_told_once_and_the_next_one_is_tried(spawn: Spawn) -> None:
    """Each broken version is logged once and changes nothing; the one after it is applied. A file that is away for a
    while is neither. SIGHUP tries again at once, also what has not changed."""
    server = spawn(ONE)
    await server.start()
    await write(server, ONE.replace("poll_every", "poll_evry"))
    await says(server, "poll_evry")
    await looks()
    assert len(told(server, "not reloaded")) == 1
    await write(server, ONE.replace("type: demo", "type: dmeo"))
    await says(server, "dmeo")
    assert (await call(server, "GET", "/models/film"))[0] == 200
    server.send(signal.SIGHUP)
    await says(server, "dmeo", times=2)
    await asyncio.to_thread(server.config.unlink)
    await looks()
    assert len(told(server, "not reloaded")) == 3
    await write(server, ONE + TWO)
    await serves(server, "movie")
    assert len(told(server, "not reloaded")) == 3
    assert len(told(server, ": reloaded")) == 1
    assert await server.stop() == 0
    assert told(server, "Traceback") == []


async def test_a_config_map_that_is_swapped_is_applied(spawn: Spawn, tmp_path: Path) -> None:
    """The file may be a link through a folder that is a link itself, as Kubernetes mounts them."""

    def mount(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "channels.yaml").write_text(text, "utf-8")
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    server = spawn(ONE)
    await asyncio.to_thread(mount, "first", ONE)
    server.config.symlink_to("..data/channels.yaml")
    await server.start()
    await asyncio.to_thread(mount, "second", ONE + TWO)
    await serves(server, "movie")
    assert await server.stop() == 0


async def test_what_needs_a_restart_is_named(spawn: Spawn) -> None:
    """One line of the log says which settings under server: wait for the next start; the others hold at once, and the
    channels are applied."""
    server = spawn(ONE)
    await server.start()
    await write(server, ONE + TWO + "server: {database: 'sqlite:///other.db', max_body: 1KiB}\n")
    await serves(server, "movie")
    await says(server, "take effect at the next start")
    assert told(server, "take effect at the next start")[0].endswith("next start: database")
    assert (await call(server, "POST", "/videos", json={**SMALL, "prompt": "p" * 2000}))[0] == 413
    assert await server.stop() == 0


class Clients:
    """Who uses the server meanwhile: each answer that is not the one that a client counts on is a complaint."""

    def __init__(self, server: ServerProcess, session: ClientSession, known: str) -> None:
        self._server = server
        self._session = session
        self._known = known
        self.complaints: list[object] = []
        self.created: list[str] = []
        self.looked = 0
        self.enough = asyncio.Event()

    async def ask(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            async with self._session.request(method, self._server.base_url + path, **kwargs) as response:
                answer = await response.json()
                if response.status != 200:
                    self.complaints.append((method, path, response.status, answer))
                return answer
        except (ClientError, TimeoutError) as error:
            self.complaints.append((method, path, error))
            return {}

    async def create(self) -> None:
        while not self.enough.is_set():
            video = await self.ask("POST", "/videos", json={"prompt": "a paper plane", "model": "sora-2"})
            self.created.append(video.get("id", ""))
            await asyncio.sleep(0.02)

    async def look(self) -> None:
        while not self.enough.is_set():
            await self.ask("GET", f"/videos/{self._known}")
            self.looked += 1
            await asyncio.sleep(0.01)


async def test_twenty_reloads_drop_nothing(spawn: Spawn) -> None:
    """While the file changes twenty times, some of them broken, by signal and by itself, the channel that serves is
    built anew and another one comes and goes: each create is taken and completed, each look answered, and a download
    from the channel that goes arrives whole. Nothing is paid for twice."""
    async with (
        SimulatorServer(OpenAISimulator()) as sim,
        ClientSession(timeout=ClientTimeout(total=90), connector=TCPConnector(limit=0), headers=BEARER) as session,
    ):

        def text(number: int) -> str:
            common = f"type: openai, base_url: '{sim.base_url}', api_key: sk-test"
            live = f"  - {{name: live, {common}, models: [sora-2], poll_every: 0.05, weight: {number + 1}}}\n"
            away = f"  - {{name: away, {common}, models: {{old: sora-2}}, poll_every: 0.05}}\n"
            return "channels:\n" + live + ("" if number % 3 == 1 else away)

        server = spawn(text(0))
        await server.start()
        status, old = await call(server, "POST", "/videos", json={"prompt": "long", "model": "old"})
        assert status == 200, old

        async def completed() -> bool:
            return (await call(server, "GET", f"/videos/{old['id']}"))[1]["status"] == "completed"

        await until(completed)
        whole = sim.video_bytes + os.urandom(24 * 2**20)
        sim.latest.content = whole
        begun, resume = asyncio.Event(), asyncio.Event()

        async def download() -> bytes:
            async with session.get(f"{server.base_url}/videos/{old['id']}/content") as response:
                assert response.status == 200, await response.text()
                first = await response.content.readexactly(1000)
                begun.set()
                await resume.wait()
                return first + await response.content.read()

        downloading = asyncio.create_task(download())
        await begun.wait()
        clients = Clients(server, session, old["id"])
        using = [asyncio.create_task(one()) for one in (clients.create, clients.create, clients.look)]
        for number in range(1, RELOADS + 1):
            before = len(told(server, "reloaded"))
            if number % 4 == 0:
                await write(server, BROKEN[number // 4 % len(BROKEN)])
            else:
                await write(server, text(number))
            if number % 5:
                server.send(signal.SIGHUP)
            await says(server, "reloaded", before + 1)
        clients.enough.set()
        await asyncio.gather(*using)
        resume.set()
        assert await downloading == whole
        assert clients.complaints == []
        assert min(len(clients.created), clients.looked) >= RELOADS
        assert [len(told(server, words)) for words in ("not reloaded", ": 1 channels", ": 2 channels")] == [5, 5, 10]
        await write(server, text(0))
        await serves(server, "old")
        for video_id in clients.created:

            async def ended(video_id: str = video_id) -> bool:
                video = (await call(server, "GET", f"/videos/{video_id}"))[1]
                assert video["status"] != "failed", video
                return video["status"] == "completed"

            await until(ended)
        assert sim.paid == len(clients.created) + 1
        assert await server.stop() == 0
        assert told(server, "Traceback") == []
