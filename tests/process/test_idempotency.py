"""What was answered once is answered again, byte for byte, whatever became of the process in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.testing import SimulatorServer
from tests.process.conftest import Spawn
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

BEARER = {"Authorization": f"Bearer {KEY}"}
EACH = 10
"""Keys of each kind of paid POST."""
REPLAYS = 5
"""How often each is sent again after each start."""
KINDS = ("create", "remix", "edit", "extend")


class Answer(NamedTuple):
    """An answer to a POST, byte for byte."""

    status: int
    body: bytes


def channels(sim: OpenAISimulator) -> str:
    return (
        f"server: {{unknown_grace: 600}}\nchannels:\n  - {{name: up, type: openai, base_url: '{sim.base_url}', "
        "api_key: sk-test, models: [sora-2], poll_every: 0.05}\n"
    )


def ask(kind: str, source: str, number: int) -> tuple[str, dict[str, Any]]:
    """Path and body of the paid POST `number` of its kind."""
    prompt = f"{kind} {number}"
    path = {"create": "", "remix": f"/{source}/remix", "edit": "/edits", "extend": "/extensions"}[kind]
    more: dict[str, dict[str, Any]] = {
        "edit": {"video": {"id": source}},
        "extend": {"video": {"id": source}, "seconds": "4"},
    }
    return f"/videos{path}", {"prompt": prompt, **more.get(kind, {})}


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(45):
        while not await what():
            await asyncio.sleep(0.02)


async def post(session: ClientSession, server: ServerProcess, path: str, body: Any, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.post(server.base_url + path, json=body, headers=sent) as response:
        return Answer(response.status, await response.read())


async def completed(session: ClientSession, server: ServerProcess) -> bool:
    """Whether all videos are done, a hundred at most."""
    async with session.get(server.base_url + "/videos?limit=100") as response:
        return {video["status"] for video in (await response.json())["data"]} == {"completed"}


async def test_replays_over_three_restarts(spawn: Spawn) -> None:
    """After a kill, a stop and another kill, some six hundred replays of creates, remixes, edits and extensions give
    the first answers, byte for byte; another body is refused as before, and nothing is made anew."""
    async with (
        SimulatorServer(OpenAISimulator()) as sim,
        ClientSession(headers=BEARER, timeout=ClientTimeout(total=60), connector=TCPConnector(limit=50)) as session,
    ):
        server = spawn(channels(sim))
        await server.start()
        made = await post(session, server, "/videos", {"prompt": "source"}, Idempotency_Key="source")
        await until(lambda: completed(session, server))
        async with session.get(server.base_url + "/videos") as response:
            source = (await response.json())["data"][0]["id"]
        asks = {f"{kind} {number}": ask(kind, source, number) for kind in KINDS for number in range(EACH)}

        async def all_of_them() -> dict[str, Answer]:
            answers = await asyncio.gather(
                *(post(session, server, *one, Idempotency_Key=name) for name, one in asks.items())
            )
            return dict(zip(asks, answers, strict=True))

        first = await all_of_them()
        assert {answer.status for answer in first.values()} == {200}
        assert len({answer.body for answer in first.values()}) == len(asks)
        paid = sim.paid
        assert paid == len(asks) + 1
        await until(lambda: completed(session, server))
        for stop in (server.kill, server.stop, server.kill):
            await stop()
            await server.start()
            for again in await asyncio.gather(*(all_of_them() for _ in range(REPLAYS))):
                assert again == first
            assert await post(session, server, "/videos", {"prompt": "source"}, Idempotency_Key="source") == made
            path, body = asks["remix 0"]
            other = await post(session, server, path, {**body, "prompt": "x"}, Idempotency_Key="remix 0")
            assert (other.status, b"idempotency_key_reused" in other.body) == (400, True)
        assert sim.paid == paid
        assert await server.stop() == 0


async def test_a_kill_while_the_upstream_thinks(spawn: Spawn) -> None:
    """POSTs that were at the upstream when the server was killed, sent again to the next process with their
    Idempotency-Key or as the SDK marks it, are the same videos; nothing is sent to the upstream a second time."""
    async with (
        SimulatorServer(OpenAISimulator()) as sim,
        ClientSession(headers=BEARER, timeout=ClientTimeout(total=60), connector=TCPConnector(limit=0)) as session,
    ):
        server = spawn(channels(sim))
        await server.start()
        sim.fault("hang", on="create", times=None)
        bodies = [{"prompt": f"call {number}"} for number in range(20)]

        async def lost(number: int) -> None:
            keyed = {"Idempotency_Key": f"{number}"} if number % 2 else {}
            with contextlib.suppress(ClientError, OSError):
                await post(session, server, "/videos", bodies[number], **keyed)
                raise AssertionError("an answer came")

        calling = [asyncio.create_task(lost(number)) for number in range(20)]

        async def all_came() -> bool:
            return len(sim.calls("create")) == 20

        await until(all_came)
        await server.kill()
        await asyncio.gather(*calling)
        sim.calm()
        await server.start()

        async def again(number: int) -> Answer:
            mark = {"Idempotency_Key": f"{number}"} if number % 2 else {"x_stainless_retry_count": "1"}
            return await post(session, server, "/videos", bodies[number], **mark)

        answers = await asyncio.gather(*(again(number) for number in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 20
        async with session.get(server.base_url + "/videos?limit=100") as response:
            assert len((await response.json())["data"]) == 20
        # What had a key is answered with the same bytes from now on.
        assert [await again(number) for number in range(1, 20, 2)] == answers[1::2]
        assert len(sim.calls("create")) == sim.paid == 20
        assert await server.stop() == 0
