"""The connections of event streams: heads, heartbeats, many of them, readers that do not read, and stops."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, ClientSession, TCPConnector

from proxy.api import events
from proxy.engine import paces, polling, watching
from proxy.models import UpstreamJob
from proxy.testing import SimulatorServer
from tests.api.eventsource import (
    ONE,
    PLUGINS,
    RARELY,
    Event,
    Parser,
    Stream,
    check_history,
    engine_of,
    reaches,
    retrieved,
    unsigned,
    watch,
)
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

# ---------------------------------------------------------------- the connection


async def test_the_head_of_a_stream(launch: Launch) -> None:
    """What keeps proxies from gathering, changing and keeping it; HEAD has the same and no body."""
    product = await launch(RARELY, plugins=PLUGINS)
    video = await product.create()
    for prefix in ("/v1", ""):
        async with Stream(product.session, f"{product.url}{prefix}/videos/{video['id']}/events") as stream:
            head = stream.response.headers
            assert stream.response.status == 200
        status, body, other = await product.call("HEAD", f"{prefix}/videos/{video['id']}/events")
        assert (status, body) == (200, b"")
        for headers in (head, other):
            found = {name.lower(): value for name, value in headers.items()}
            assert found["content-type"] == "text/event-stream; charset=utf-8"
            assert found["cache-control"] == "private, no-cache, no-transform"
            assert found["x-accel-buffering"] == "no"
            assert found["x-request-id"].startswith("req_")


async def test_an_idle_stream_beats(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments come although nothing happens; they are no events."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(heartbeat=0.02))
    product = await launch(RARELY, plugins=PLUGINS)
    video = await product.create()
    async with watch(product, video["id"]) as stream:
        await stream.next()
        while stream.parser.comments < 5:
            assert await stream.read()
        assert stream.taken() == []


async def test_a_stream_is_one_request(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it lasts, it takes one from its key's requests per minute, and does not break for want of more."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(heartbeat=0.02, look=0.02))
    product = await launch(RARELY, plugins=PLUGINS)
    status, made, _ = await product.call("POST", "/admin/api/keys", json={"name": "x", "requests_per_minute": 3})
    assert status == 200
    video = await product.create(key=made["key"])
    async with watch(product, video["id"], key=made["key"]) as stream:
        await stream.next()
        while stream.parser.comments < 5:
            assert await stream.read()
    path = f"/v1/videos/{video['id']}"
    assert [(await product.call("GET", path, key=made["key"]))[0] for _ in range(2)] == [200, 429]


async def test_who_watches_has_the_video_polled(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stream is open, the video is polled at the channel's pace, as if its client kept asking."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(look=0.02))
    monkeypatch.setattr(polling, "WATCHED_FOR", 0.05)
    # A video that nobody watches is polled once, and then after hours.
    monkeypatch.setattr(paces, "SLOWER", 1e6)
    monkeypatch.setattr(paces, "SLOWEST", 1e6)
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="up-1", status="in_progress")] * 12)
    video = await product.create()
    async with watch(product, video["id"]) as stream:
        assert (await stream.rest())[-1].type == "video.completed"


async def test_many_at_once(launch: Launch) -> None:
    """Two hundred streams of twenty videos: each ends with its video's end, and nothing of them is left."""
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="up-1", status="in_progress", progress=7)] * 100)
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", *[going] * 20)
    ids = [(await product.create())["id"] for _ in range(20)]
    engine = engine_of(product)
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def follow(video_id: str) -> list[Event]:
            async with Stream(session, f"{product.url}/v1/videos/{video_id}/events") as stream:
                return await stream.rest()

        following = [asyncio.create_task(follow(video_id)) for video_id in ids * 10]
        await reaches(lambda: len(engine.watching) == 200)
        going.set_result(UpstreamJob(id="up-1", status="completed"))
        for history in await asyncio.gather(*following):
            check_history(history)
    await reaches(lambda: len(engine.watching) == 0)


async def test_too_many_are_told_to_poll(launch: Launch) -> None:
    """Beyond the bound a stream is a 429 with Retry-After; when one has left, there is room again."""
    product = await launch(RARELY, plugins=PLUGINS)
    engine_of(product).watching.most = 1
    video = await product.create()
    path = f"/v1/videos/{video['id']}/events"
    async with watch(product, video["id"]):
        status, body, headers = await product.call("GET", path)
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(headers["retry-after"]) <= 60
        assert (await product.call("HEAD", path))[0] == 200
    await reaches(lambda: len(engine_of(product).watching) == 0)
    async with watch(product, video["id"]) as stream:
        await stream.next()


def mute_reader(product: Product, video_id: str) -> socket.socket:
    """A client that asks for the events and has not read anything yet."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(("127.0.0.1", product.server.port))
    # To HTTP/1.0 the body comes as it is.
    path = f"/v1/videos/{video_id}/events"
    head = f"Host: 127.0.0.1:{product.server.port}\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
    link.sendall(f"GET {path} HTTP/1.0\r\n{head}\r\n".encode())
    return link


def read_all(link: socket.socket) -> bytes:
    data = b""
    link.settimeout(30)
    try:
        while piece := link.recv(2**20):
            data += piece
    except ConnectionResetError:
        pass
    return data


async def large(product: Product) -> str:
    """A video whose hundred states of 190 kB each are more than the kernel takes for a client."""
    words = [UpstreamJob(id="up-1", status="in_progress", progress=step) for step in range(100)]
    product.channel("a").then("fetch", *words, UpstreamJob(id="up-1", status="completed"))
    video = await product.create(prompt="🚀" * 32_000, metadata={"much": "x" * 60_000})
    return str(video["id"])


async def test_a_slow_reader_gets_the_newest_state(launch: Launch) -> None:
    """What a client did not take in time is not kept for it: it reads a few old states, then the last one."""
    product = await launch(ONE, plugins=PLUGINS)
    video_id = await large(product)
    with await asyncio.to_thread(mute_reader, product, video_id) as link:
        await product.done(video_id)
        data = await asyncio.to_thread(read_all, link)
    seen = Parser().feed(data.partition(b"\r\n\r\n")[2])
    check_history(seen)
    assert 1 < len(seen) < 60
    assert unsigned(seen[-1].video) == unsigned(await retrieved(product, video_id))


async def test_one_that_never_reads_is_dropped(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing loses its connection, which breaks: it is not told that this was the end."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(stall=0.3))
    product = await launch(ONE, plugins=PLUGINS)
    video_id = await large(product)
    with await asyncio.to_thread(mute_reader, product, video_id) as link:
        await product.done(video_id)
        await reaches(lambda: len(engine_of(product).watching) == 0)
        data = await asyncio.to_thread(read_all, link)
    assert b"video.completed" not in data


async def test_one_that_leaves_is_forgotten(launch: Launch) -> None:
    """A client that went away is noticed although nothing happens to its video."""
    product = await launch(RARELY, plugins=PLUGINS)
    video = await product.create()
    async with watch(product, video["id"]) as stream:
        await stream.next()
        assert len(engine_of(product).watching) == 1
    await reaches(lambda: len(engine_of(product).watching) == 0)


# ---------------------------------------------------------------- stopping


async def test_a_stop_ends_all_streams(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """They end cleanly, so that their clients come back; one that does not read is broken off and delays nothing."""
    monkeypatch.setattr(watching, "FAREWELL", 0.05)
    product = await launch(ONE, plugins=PLUGINS)
    stuck = await large(product)
    engine = engine_of(product)
    with await asyncio.to_thread(mute_reader, product, stuck):
        await product.done(stuck)
        product.channel("a").then("fetch", *[UpstreamJob(id="up-1", status="in_progress")] * 10_000)
        video = await product.create()
        async with watch(product, video["id"]) as stream:
            await stream.next()
            assert len(engine.watching) == 2
            async with asyncio.timeout(10):
                await product.server.close()
            assert await stream.rest() == []


async def test_streams_end_before_all_else(launch: Launch) -> None:
    """A stop that still waits for an upstream's word has let its streams go already."""
    product = await launch(ONE, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    creating = asyncio.create_task(product.create())
    while not (listed := (await product.call("GET", "/v1/videos"))[1]["data"]):
        await asyncio.sleep(0.01)
    async with watch(product, listed[0]["id"]) as stream:
        await stream.next()
        stopping = asyncio.create_task(engine_of(product).stop(30))
        assert await stream.rest() == []
        assert not stopping.done()
    word.set_result(UpstreamJob(id="up-1", status="in_progress"))
    await stopping
    await creating


async def test_a_stopping_server_tells_the_state_once(launch: Launch) -> None:
    """An error would end an EventSource for good: while the process stops, a stream says what there is and ends."""
    product = await launch(RARELY, plugins=PLUGINS)
    video = await product.create()
    engine_of(product).watching.close()
    async with watch(product, video["id"]) as stream:
        (event,) = await stream.rest()
        assert stream.parser.retry is not None
    async with watch(product, video["id"], last=event.last_event_id) as stream:
        assert await stream.rest() == []


async def test_a_fault_breaks_the_stream(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that we cannot go on with is a broken transfer, never a clean end."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(look=0.05))
    product = await launch(RARELY, plugins=PLUGINS)
    video = await product.create()

    async def broken(video_id: str) -> None:
        raise RuntimeError("a bug")

    async with watch(product, video["id"]) as stream:
        await stream.next()
        monkeypatch.setattr(engine_of(product).watching, "look", broken)
        with pytest.raises(ClientPayloadError):
            await stream.rest()
    assert len(engine_of(product).watching) == 0


async def test_a_stream_goes_on_in_the_next_process(tmp_path: Path) -> None:
    """SIGTERM ends the stream cleanly and the process at once; the next one tells what is new, and nothing twice."""
    async with SimulatorServer(OpenAISimulator()) as sim, ClientSession() as session:
        sim.automatic = False
        server = ServerProcess(
            tmp_path,
            f"channels: [{{name: up, type: openai, base_url: '{sim.base_url}', api_key: sk-test, models: [sora-2], "
            "poll_every: 0.05}]",
        )
        await server.start()
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            async with session.post(server.base_url + "/videos", json={"prompt": "x"}, headers=headers) as response:
                path = f"/videos/{(await response.json())['id']}/events"
            sim.advance(sim.latest.id)
            seen: list[Event] = []
            async with Stream(session, server.base_url + path, key=KEY) as stream:
                while not seen or seen[-1].type != "video.in_progress":
                    seen.append(await stream.next())
                server.send(signal.SIGTERM)
                async with asyncio.timeout(15):
                    assert await stream.rest() == []
                    assert await server.ended() == 0
            await server.start()
            async with Stream(session, server.base_url + path, key=KEY, last=seen[-1].last_event_id) as stream:
                sim.finish(sim.latest.id)
                seen += await stream.rest()
            check_history(seen)
            assert seen[-1].type == "video.completed"
            async with Stream(session, server.base_url + path, key=KEY, last=seen[-1].last_event_id) as stream:
                assert stream.response.status == 204
        finally:
            await server.stop()
