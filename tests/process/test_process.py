"""The server as a process: starts, stops, kills, reloads."""

import asyncio
import re
import signal
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from tests.process.conftest import Spawn
from tests.process.server import KEY, ServerProcess

DEMO = "channels: [{name: demo, type: demo, poll_every: 0.05}]"
SMALL = {"size": "128x72", "seconds": 2}


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No forks of what has imported the product: Python starts as an operator starts it."""
    monkeypatch.setenv("REELGATE_NO_FORKS", "1")


async def call(server: ServerProcess, method: str, path: str, key: str = KEY, **kwargs: Any) -> tuple[int, Any]:
    async with (
        ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        session.request(method, server.base_url + path, **kwargs) as response,
    ):
        return response.status, await response.json()


async def done(server: ServerProcess, video_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            status, video = await call(server, "GET", f"/videos/{video_id}")
            assert status == 200, video
            if video["status"] in ("completed", "failed"):
                return video
            await asyncio.sleep(0.05)


async def states(server: ServerProcess, ids: list[str]) -> list[str]:
    return [(await call(server, "GET", f"/videos/{video_id}"))[1]["status"] for video_id in ids]


@pytest.mark.usefixtures("anew")
async def test_ten_renders_survive_kill_9(spawn: Spawn) -> None:
    """Killed in the middle of ten renders, twice, the server finishes all ten, each of them once."""
    server = spawn(DEMO)
    await server.start()
    ids = []
    for number in range(10):
        status, video = await call(server, "POST", "/videos", json={"prompt": f"number {number}", **SMALL})
        assert status == 200, video
        ids.append(video["id"])
    for _ in range(2):
        while "completed" not in await states(server, ids):
            await asyncio.sleep(0.02)
        await server.kill()
        await server.start()
    for video_id in ids:
        video = await done(server, video_id)
        assert video["status"] == "completed", video
    _, listed = await call(server, "GET", "/videos?order=asc")
    assert [video["id"] for video in listed["data"]] == ids
    assert await server.stop() == 0


async def test_first_start_shows_a_key_and_a_password_once(spawn: Spawn) -> None:
    """With nothing set, the first start makes an admin key and a password and prints them; later starts say how to make
    others."""
    server = spawn(DEMO, environ={})
    await server.start()
    while not any("client.videos.create_and_poll" in line for line in server.output):
        await asyncio.sleep(0.01)
    (key,) = set(re.findall(r"rg_[\w-]+", "\n".join(server.output)))
    (password,) = re.findall(r"password \(shown once\): (\w{20})$", "\n".join(server.output), re.MULTILINE)
    assert (await call(server, "GET", "/videos", key=key))[0] == 200
    assert await server.stop() == 0
    assert key not in "\n".join(server.log)
    assert password not in "\n".join(server.log)
    server.output.clear()
    await server.start()
    assert (await call(server, "GET", "/videos", key=key))[0] == 200
    assert await server.stop() == 0
    text = "\n".join(server.output)
    assert key not in text
    assert password not in text
    assert "keys create NAME" in text
    assert "users passwd admin" in text


@pytest.mark.usefixtures("anew")
async def test_a_stop_answers_what_is_under_way(spawn: Spawn) -> None:
    """SIGTERM: requests under way get their answers, new videos are refused, the process ends with 0."""
    server = spawn(DEMO)
    await server.start()
    status, video = await call(server, "POST", "/videos", json={"prompt": "a [slow] one", **SMALL})
    assert status == 200, video
    server.send(signal.SIGTERM)
    assert await server.ended() == 0
    await server.start()
    assert (await call(server, "GET", f"/videos/{video['id']}"))[1]["status"] in ("queued", "in_progress")
    server.send(signal.SIGTERM)
    server.send(signal.SIGTERM)
    assert await server.ended() in (0, 128 + signal.SIGTERM)


async def test_reload(spawn: Spawn) -> None:
    """SIGHUP applies a changed file without a dropped request; a broken file changes nothing and is logged."""
    server = spawn(DEMO)
    await server.start()
    video = (await call(server, "POST", "/videos", json={"prompt": "x", **SMALL}))[1]
    failures: list[object] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            try:
                status, body = await call(server, "GET", f"/videos/{video['id']}")
                if status != 200:
                    failures.append(body)
            except ClientError as error:
                failures.append(error)

    asking = asyncio.create_task(ask())
    await asyncio.to_thread(server.config.write_text, DEMO.replace("poll_every", "poll_evry"))
    server.send(signal.SIGHUP)
    while not any("poll_evry" in line for line in server.log):
        await asyncio.sleep(0.01)
    assert (await call(server, "GET", "/models/sora-2"))[0] == 200
    await asyncio.to_thread(
        server.config.write_text, "channels: [{name: other, type: demo, models: {film: demo}, poll_every: 0.05}]"
    )
    server.send(signal.SIGHUP)
    while (await call(server, "GET", "/models/film"))[0] != 200:
        await asyncio.sleep(0.01)
    assert (await call(server, "GET", "/models/sora-2"))[0] == 404
    status, body = await call(server, "POST", f"/videos/{video['id']}/remix", json={"prompt": "y"})
    assert body["error"]["code"] in ("channel_unavailable", "video_not_completed")
    # Its channel is gone: the video stays readable, and goes on when the name returns.
    await asyncio.to_thread(server.config.write_text, DEMO)
    server.send(signal.SIGHUP)
    assert (await done(server, video["id"]))["status"] == "completed"
    stop.set()
    await asking
    assert failures == []
