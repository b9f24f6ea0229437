"""Deadlines: each phase of a paid POST has its own, and what comes after a deadline of ours is still delivered."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from proxy.errors import UpstreamTimeout
from proxy.models import UpstreamJob
from proxy.testing import SimulatorServer
from tests.conftest import Launch, Product
from tests.simulators.openai import OpenAISimulator
from tests.upstream.conftest import Wire, hang

PLUGINS = (Path(__file__).parent / "plugins",)
LONG = {"connect": 60.0, "first_byte": 60.0, "total": 60.0}
JOB = json.dumps({"id": "video_up", "object": "video", "status": "queued", "progress": 0}).encode()


def entry(name: str, url: str, *models: str, **timeout: float) -> str:
    seconds = ", ".join(f"{phase}: {value}" for phase, value in {**LONG, **timeout}.items())
    named = ", ".join(f"{model}: sora-2" for model in models or (name,))
    return (
        f"  - {{name: {name}, type: openai, base_url: '{url}', api_key: sk-test, models: {{{named}}}, "
        f"timeout: {{{seconds}}}, priority: {0 if name == 'good' else 9}, poll_every: 60}}\n"
    )


def channels(sim: OpenAISimulator, *entries: str) -> str:
    good = entry("good", sim.base_url, "slow", "silent", "dripping", "deaf", "late")
    return "server: {submit_wait: 60, unknown_grace: 0.2}\nchannels:\n" + "".join((*entries, good))


async def drip(writer: asyncio.StreamWriter) -> None:
    """An answer of 1.6 seconds, without a pause of more than a tenth."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (len(JOB) + 16))
    for _ in range(16):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.write(JOB)


async def drip_for_ever(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def late(writer: asyncio.StreamWriter) -> None:
    """An answer after 1.6 seconds."""
    await asyncio.sleep(1.6)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(JOB) + JOB)


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    async with SimulatorServer(OpenAISimulator()) as simulator:
        yield simulator


Wires = Callable[[Callable[[asyncio.StreamWriter], Awaitable[None]]], Awaitable[Wire]]


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    started: list[Wire] = []

    async def start(script: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Wire:
        started.append(Wire(script))
        await started[-1].start()
        return started[-1]

    yield start
    for wire in started:
        await wire.stop()


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server whose queue of connections is full: the next one is neither taken nor refused."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_a_deadline_for_each_phase(launch: Launch, sim: OpenAISimulator, wires: Wires, deaf: str) -> None:
    """`connect`, `first_byte` and `total` each end a call that stalls in their phase, while the others are far away:
    the first is a refusal, so that the next channel makes the video; after the others nobody knows, and it is not sent
    again."""
    silent, dripping = await wires(hang), await wires(drip_for_ever)
    text = channels(
        sim,
        entry("deaf", deaf, connect=0.4),
        entry("silent", silent.url, first_byte=0.4),
        entry("dripping", dripping.url, total=0.6),
    )
    product = await launch(text)
    async with asyncio.timeout(30):
        models = ("deaf", "silent", "dripping")
        made = dict(zip(models, await asyncio.gather(*(product.create(model=model) for model in models)), strict=True))
        assert [call.fields["model"] for call in sim.calls("create")] == ["sora-2"]
        assert sim.paid == 1
        for model, wire in (("silent", silent), ("dripping", dripping)):
            assert (await product.done(made[model]["id"]))["error"]["code"] == "outcome_unknown"
            assert len(wire.received) == wire.connections == 1
    attempts = {
        model: [(one.channel, one.state) for one in await product.core.store.attempts(video["id"])]
        for model, video in made.items()
    }
    assert attempts == {
        "deaf": [("deaf", "refused"), ("good", "taken")],
        "silent": [("silent", "unknown")],
        "dripping": [("dripping", "unknown")],
    }
    assert sim.paid == 1


async def test_a_deadline_cuts_no_other_phase(launch: Launch, sim: OpenAISimulator, wires: Wires) -> None:
    """A time to connect says nothing about an answer that takes longer, nor one until the first byte about an answer
    that takes longer but keeps coming."""
    slow, dripping = await wires(late), await wires(drip)
    text = channels(sim, entry("late", slow.url, connect=1.0), entry("slow", dripping.url, first_byte=1.0))
    product = await launch(text)
    videos = await asyncio.gather(*(product.create(model=model) for model in ("late", "slow")))
    for video in videos:
        (attempt,) = await product.core.store.attempts(video["id"])
        assert (attempt.state, attempt.upstream_id) == ("taken", "video_up")
    assert sim.calls("create") == []


# ---------------------------------------------------------------- a success after a deadline of ours


async def delivered(product: Product, video_id: str) -> None:
    """The video is completed, and its bytes can be had."""
    assert (await product.done(video_id))["status"] == "completed"
    status, body, _ = await product.call("GET", f"/v1/videos/{video_id}/content")
    assert (status, body[4:8]) == (200, b"ftyp")


def one(server: str, kind: str = "puppet", **entry: float) -> str:
    more = "".join(f", {name}: {value}" for name, value in entry.items())
    return f"server: {{{server}}}\nchannels: [{{name: a, type: {kind}, models: [sora-2], poll_every: 0.02{more}}}]"


async def passed(seconds: float) -> None:
    """A deadline of so many seconds is over, by the clock that the engine goes by."""
    await asyncio.sleep(2 * seconds)


async def test_taken_after_the_client_was_answered(launch: Launch) -> None:
    """An upstream that takes a job after submit_wait, and after queue_timeout, has its video delivered."""
    product = await launch(one("submit_wait: 0.05, queue_timeout: 0.1"), plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    video = await product.create()
    await passed(0.1)
    assert (await product.call("GET", f"/v1/videos/{video['id']}"))[1]["status"] == "queued"
    word.set_result(UpstreamJob(id="up-1", status="in_progress"))
    await delivered(product, video["id"])


async def test_completed_after_poll_timeout(launch: Launch) -> None:
    """A poll that was asked before poll_timeout and is answered after it with a result delivers it."""
    product = await launch(one("submit_wait: 5", poll_timeout=0.2), plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", word)
    video = await product.create()
    async with asyncio.timeout(10):
        while not product.channel("a").asked("fetch"):
            await asyncio.sleep(0.01)
    await passed(0.2)
    word.set_result(UpstreamJob(id="up-1", status="completed"))
    await delivered(product, video["id"])


async def test_found_after_the_grace(launch: Launch) -> None:
    """A look-up that began before the end of unknown_grace and finds the job after it delivers it."""
    product = await launch(one("unknown_grace: 0.2", "lookup"), plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", UpstreamTimeout("Too slow."))
    product.channel("a").then("recover", word)
    video = await product.create()
    async with asyncio.timeout(10):
        while not product.channel("a").asked("recover"):
            await asyncio.sleep(0.01)
    await passed(0.2)
    word.set_result(UpstreamJob(id="up-1", status="in_progress"))
    await delivered(product, video["id"])
    assert len(product.channel("a").asked("create")) == 1
