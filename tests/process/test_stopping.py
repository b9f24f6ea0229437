"""SIGTERM while creates and a download are under way."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.testing import Call, SimulatorServer
from tests.process.conftest import Spawn
from tests.process.server import KEY
from tests.simulators.openai import OpenAISimulator

BEARER = {"Authorization": f"Bearer {KEY}"}
CREATES = 50


class SlowSimulator(OpenAISimulator):
    """An upstream that answers a create only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def reference(self, call: Call, value: object, size: str) -> None:
        await self.go.wait()
        await super().reference(call, value, size)


def channels(sim: OpenAISimulator) -> str:
    return (
        f"server: {{submit_wait: 20}}\nchannels:\n  - {{name: up, type: openai, base_url: '{sim.base_url}', "
        "api_key: sk-test, models: [sora-2], poll_every: 0.05}\n"
    )


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await what():
            await asyncio.sleep(0.01)


async def test_sigterm_lets_all_that_is_under_way_finish(spawn: Spawn) -> None:
    """Fifty creates on a slow upstream and a slow download: all answered whole, /readyz down at once, exit 0."""
    async with (
        SimulatorServer(SlowSimulator()) as sim,
        ClientSession(timeout=ClientTimeout(total=60), connector=TCPConnector(limit=0), headers=BEARER) as session,
    ):
        server = spawn(channels(sim))
        await server.start()
        ready = server.base_url.removesuffix("/v1") + "/readyz"
        sim.go.set()
        async with session.post(server.base_url + "/videos", json={"prompt": "long"}) as response:
            long = (await response.json())["id"]

        async def completed() -> bool:
            async with session.get(f"{server.base_url}/videos/{long}") as response:
                return (await response.json())["status"] == "completed"

        await until(completed)
        film = sim.video_bytes + os.urandom(24 * 2**20)
        sim.latest.content = film
        sim.go.clear()

        begun, resume = asyncio.Event(), asyncio.Event()

        async def download() -> bytes:
            async with session.get(f"{server.base_url}/videos/{long}/content") as response:
                assert response.status == 200, await response.text()
                first = await response.content.readexactly(1000)
                begun.set()
                await resume.wait()
                return first + await response.content.read()

        async def create(number: int) -> int:
            async with session.post(server.base_url + "/videos", json={"prompt": f"number {number}"}) as response:
                video = await response.json()
                assert response.status == 200, video
                return response.status

        downloading = asyncio.create_task(download())
        creating = [asyncio.create_task(create(number)) for number in range(CREATES)]

        async def all_sent() -> bool:
            return len(sim.calls("create")) == CREATES + 1

        await until(all_sent)
        await begun.wait()
        server.send(signal.SIGTERM)
        sent = time.monotonic()
        down = None
        while down is None:
            async with session.get(ready) as response:
                if response.status != 200:
                    down = time.monotonic() - sent
        assert down < 0.5
        # A new order is told to come again, not dropped.
        async with session.post(server.base_url + "/videos", json={"prompt": "late"}) as response:
            assert response.status == 503
            assert "retry-after" in response.headers
            assert response.headers.get("x-should-retry") != "false"
        sim.go.set()
        assert await asyncio.gather(*creating) == [200] * CREATES
        resume.set()
        assert await downloading == film
        assert await server.ended() == 0
        assert sim.paid == CREATES + 1
        await server.start()
        async with session.get(server.base_url + "/videos?limit=100") as response:
            assert len((await response.json())["data"]) == CREATES + 1
        assert await server.stop() == 0


async def test_a_second_sigterm_ends_at_once(spawn: Spawn) -> None:
    """The first one waits for the upstream; the second does not, and what was sent is known after the next start."""
    async with SimulatorServer(SlowSimulator()) as sim, ClientSession(headers=BEARER) as session:
        server = spawn(channels(sim).replace("submit_wait", "unknown_grace: 0.2, submit_wait"))
        await server.start()

        async def create() -> None:
            with pytest.raises(ClientError):
                async with session.post(server.base_url + "/videos", json={"prompt": "x"}):
                    pass

        creating = asyncio.create_task(create())

        async def sent() -> bool:
            return bool(sim.calls("create"))

        await until(sent)
        server.send(signal.SIGTERM)

        async def told() -> bool:
            return any("stopping" in line for line in server.log)

        await until(told)
        assert server.process.returncode is None
        server.send(signal.SIGTERM)
        began = time.monotonic()
        assert await server.ended() != 0
        assert time.monotonic() - began < 1
        await creating
        await server.start()

        async def failed() -> bool:
            async with session.get(server.base_url + "/videos") as response:
                (video,) = (await response.json())["data"]
                return video["status"] == "failed" and video["error"]["code"] == "outcome_unknown"

        await until(failed)
        sim.go.set()
        assert len(sim.calls("create")) == 1
        assert await server.stop() == 0
