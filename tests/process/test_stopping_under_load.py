"""SIGTERM in the middle of everything: two hundred orders, a large download, an upload half way, videos that wait."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.serve import GRACE
from proxy.testing import SimulatorServer
from tests.process.conftest import Spawn
from tests.process.server import KEY
from tests.simulators.openai import OpenAISimulator

BEARER = {"Authorization": f"Bearer {KEY}"}
CREATES = 200
WAITING = 5
FILM = 50 * 2**20
THINKS = 2.0
"""Seconds that the upstream takes to answer a create."""


class Thinking(OpenAISimulator):
    """An upstream that takes its time over each create, once it is told to."""

    slow = False

    async def reference(self, *args: Any) -> None:
        if self.slow:
            await asyncio.sleep(THINKS)
        await super().reference(*args)


def channels(sim: OpenAISimulator) -> str:
    common = f"type: openai, base_url: '{sim.base_url}', api_key: sk-test, poll_every: 0.05"
    return (
        f"channels:\n  - {{name: wide, {common}, models: [sora-2]}}\n"
        f"  - {{name: narrow, {common}, models: {{narrow: sora-2}}, max_running: 1}}\n"
    )


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(45):
        while not await what():
            await asyncio.sleep(0.01)


async def test_sigterm_in_the_middle_of_everything(spawn: Spawn) -> None:
    """Each of two hundred creates on a slow upstream has its 200, a download of 50 MB is whole, an upload that was half
    way has a 503 and a time, and those who look are answered until then: no connection is reset. /readyz is down at
    once, the process ends well within its grace, and after the next start no video is lost or paid twice."""
    async with (
        SimulatorServer(Thinking()) as sim,
        ClientSession(headers=BEARER, timeout=ClientTimeout(total=60), connector=TCPConnector(limit=0)) as session,
    ):
        server = spawn(channels(sim))
        await server.start()
        videos, ready = server.base_url + "/videos", server.base_url.removesuffix("/v1") + "/readyz"

        async def create(prompt: str, model: str = "sora-2") -> str:
            async with session.post(videos, json={"prompt": prompt, "model": model}) as response:
                assert response.status == 200, await response.text()
                return str((await response.json())["id"])

        async def listed() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            while True:
                after = {"after": found[-1]["id"]} if found else {}
                async with session.get(videos, params={"limit": "100", **after}) as response:
                    page = await response.json()
                found += page["data"]
                if not page["has_more"]:
                    return found

        async def completed() -> bool:
            return {video["status"] for video in await listed()} == {"completed"}

        film_id = await create("film")
        await until(completed)
        sim.latest.content = film = sim.video_bytes + os.urandom(FILM)
        # One runs, the others wait; nothing moves on before the next start.
        sim.automatic = False
        waiting = [await create(f"narrow {number}", "narrow") for number in range(1 + WAITING)]
        sim.slow = True

        begun, answered = asyncio.Event(), asyncio.Event()

        async def download() -> bytes:
            async with session.get(f"{videos}/{film_id}/content") as response:
                assert response.status == 200
                got = bytearray(await response.content.readexactly(100_000))
                begun.set()
                # A reader that is slower than the orders.
                await answered.wait()
                return bytes(got + await response.content.read())

        stopped = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'{"prompt": '
            await stopped.wait()
            yield b'"half way"}'

        async def upload() -> tuple[int, bool]:
            headers = {"Content-Type": "application/json"}
            async with session.post(videos, data=body(), headers=headers) as response:
                await response.read()
                return response.status, "Retry-After" in response.headers

        async def look() -> int:
            looks = 0
            while not answered.is_set():
                try:
                    async with session.get(f"{videos}/{film_id}") as response:
                        assert response.status == 200
                        looks += 1
                except ClientError:
                    # All orders are answered: the door closes.
                    assert answered.is_set()
                await asyncio.sleep(0.05)
            return looks

        downloading, uploading = asyncio.create_task(download()), asyncio.create_task(upload())
        creating = [asyncio.create_task(create(f"number {number}")) for number in range(CREATES)]
        looking = [asyncio.create_task(look()) for _ in range(5)]

        async def all_came() -> bool:
            return len(sim.calls("create")) == 2 + CREATES

        await until(all_came)
        await begun.wait()
        server.send(signal.SIGTERM)
        sent = time.monotonic()
        status = 200
        while status == 200:
            async with session.get(ready) as response:
                status = response.status
        assert time.monotonic() - sent < 0.5
        assert status == 503
        stopped.set()
        assert await uploading == (503, True)
        ids = await asyncio.gather(*creating)
        answered.set()
        assert await downloading == film
        assert min(await asyncio.gather(*looking)) > 0
        assert await server.ended() == 0
        assert time.monotonic() - sent < GRACE

        assert len(set(ids)) == CREATES
        assert sim.paid == 2 + CREATES
        sim.automatic, sim.slow = True, False
        await server.start()
        assert {video["id"] for video in await listed()} == {film_id, *waiting, *ids}
        await until(completed)
        assert sim.paid == 2 + CREATES + WAITING
        assert set(Counter(job.facts["prompt"] for job in sim.jobs.values()).values()) == {1}
        assert await server.stop() == 0
