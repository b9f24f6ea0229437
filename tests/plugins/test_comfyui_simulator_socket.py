"""What the ComfyUI simulator says over its websocket, to whom, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.comfyui_calls import FILM, GRAPH, graph, made, seen
from tests.simulators.comfyui import ComfyUISimulator

Heard = list[tuple[str, Any]]


@pytest.fixture
async def sim() -> AsyncIterator[ComfyUISimulator]:
    async with SimulatorServer(ComfyUISimulator()) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: ComfyUISimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url) as session:
        yield session


async def heard(socket: aiohttp.ClientWebSocketResponse, until: str = "") -> Heard:
    """What is said up to a message of the type `until`, or to the end; a picture is of the type "preview"."""
    found: Heard = []
    async with asyncio.timeout(60):
        while not found or found[-1][0] != until:
            message = await socket.receive()
            if message.type == aiohttp.WSMsgType.BINARY:
                found.append(("preview", message.data))
            elif message.type == aiohttp.WSMsgType.TEXT:
                data = json.loads(message.data)
                found.append((data["type"], data["data"]))
            else:
                assert not until, f"no {until}, but the end after {found}"
                break
    return found


def kinds(found: Heard, *names: str) -> list[str]:
    """The types of what was heard: those of `names`, or all but the two that come again and again."""
    told = [kind for kind, _ in found]
    return [kind for kind in told if (kind in names if names else kind not in ("status", "progress_state"))]


def nodes(found: Heard) -> list[str | None]:
    return [data["node"] for kind, data in found if kind == "executing"]


async def test_a_job(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A job's client hears each node begin, the steps of one node, pictures between them, the outputs, the end."""
    async with http.ws_connect("/ws?clientId=mine") as socket:
        job_id = await made(http, client_id="mine")
        begun = await heard(socket, "status") + await heard(socket, "status")
        idle, waiting = ({"exec_info": {"queue_remaining": count}} for count in (0, 1))
        assert begun == [("status", {"status": idle, "sid": "mine"}), ("status", {"status": waiting})]
        sim.advance(job_id)
        sim.progress(job_id, 5, 20, preview=True)
        begun = await heard(socket, "preview")
        assert kinds(begun)[:3] == ["execution_start", "execution_cached", "executing"]
        assert kinds(begun)[-3:] == ["executing", "progress", "preview"]
        assert (begun[-2][1], begun[-1][1][:8]) == (
            {"value": 5, "max": 20, "prompt_id": job_id, "node": "7"},
            b"\x00\x00\x00\x01\x00\x00\x00\x01",
        )
        # All that the sampler stands on, each after what it stands on itself.
        assert nodes(begun) == ["1", "2", "4", "5", "6", "7"]
        steps = {name: (state["value"], state["max"], state["state"]) for name, state in begun[-3][1]["nodes"].items()}
        assert steps == {**dict.fromkeys("12456", (1, 1, "finished")), "7": (5, 20, "running")}
        sim.finish(job_id)
        done = await heard(socket, "execution_success")
        assert nodes(done) == ["3", "8", "9", "10"]
        told = {"node": "10", "display_node": "10", "output": {"images": [FILM], "animated": [True]}}
        assert done[-2] == ("executed", {**told, "prompt_id": job_id})
        assert await heard(socket, "executing") == [
            ("status", {"status": idle}),
            ("executing", {"node": None, "prompt_id": job_id}),
        ]


async def test_steps_of_several_nodes(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Steps are those of one node: a second sampler counts anew, and nodes that are cached never begin."""
    sim.cached = {"1", "2"}
    second = {**GRAPH["7"], "inputs": {**GRAPH["7"]["inputs"], "latent_image": ["7", 0]}}
    async with http.ws_connect("/api/ws?clientId=mine") as socket:
        job_id = await made(http, graph("8", {"samples": ["11", 0]}, n11=second), client_id="mine")
        for node in ("7", "11"):
            for value in (1, 2):
                sim.progress(job_id, value, 2, node=node)
        sim.fail(job_id, code="torch.OutOfMemoryError", message="Allocation on device")
        found = await heard(socket, "execution_error")
    assert dict(found)["execution_cached"]["nodes"] == ["1", "2"]
    assert nodes(found) == ["4", "5", "6", "7", "11"]
    assert [(data["node"], data["value"]) for kind, data in found if kind == "progress"] == [
        ("7", 1),
        ("7", 2),
        ("11", 1),
        ("11", 2),
    ]
    error = found[-1][1]
    assert (error["node_id"], error["executed"]) == ("11", ["4", "5", "6", "7"])


async def test_who_hears(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Only the client that ordered a job hears of it, everybody of the queue; of a nameless order, of its steps."""
    async with http.ws_connect("/ws?clientId=mine") as mine, http.ws_connect("/ws") as other:
        sim.finish(await made(http, client_id="mine"))
        interrupted = await made(http, client_id="mine")
        sim.advance(interrupted)
        sim.interrupt(interrupted)
        ends = ("execution_success", "execution_interrupted")
        assert kinds(await heard(mine, ends[1]), *ends) == list(ends)
        nameless = await made(http)
        sim.progress(nameless, 1, 2, preview=True)
        sim.interrupt(nameless)
        sim.finish(await made(http))
        sim.hang_up()
        loud = ["progress", "preview", "execution_interrupted"]
        # The first is the end of the job before.
        assert kinds(await heard(mine)) == ["executing", *loud]
        found = await heard(other)
        assert kinds(found) == loud
        assert [data["status"]["exec_info"]["queue_remaining"] for kind, data in found if kind == "status"] == [
            0,
            *(1, 1, 0) * 4,
        ]


async def test_late_listener(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Who comes during a run hears of the node at work, without the job's name, and then only what comes."""
    job_id = await made(http, client_id="mine")
    sim.progress(job_id, 3, 20)
    async with http.ws_connect("/ws?clientId=mine") as mine, http.ws_connect("/ws?clientId=other") as other:
        status = {"status": {"exec_info": {"queue_remaining": 1}}}
        assert await heard(mine, "executing") == [
            ("status", {**status, "sid": "mine"}),
            ("executing", {"node": "7"}),
        ]
        sim.progress(job_id, 4, 20)
        assert kinds(await heard(mine, "progress")) == ["progress"]
        sim.hang_up()
        assert await heard(other) == [("status", {**status, "sid": "other"})]


async def test_second_socket_of_a_client(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A second socket of a name takes it from the first, which stays open in silence and, closed, silences both."""
    first = await http.ws_connect("/ws?clientId=mine")
    await heard(first, "status")
    async with http.ws_connect("/ws?clientId=mine") as second:
        await heard(second, "status")
        job_id = await made(http, client_id="mine")
        sim.progress(job_id, 1, 20)
        assert kinds(await heard(second, "progress"), "progress") == ["progress"]
        await first.close()
        assert await heard(first) == []
        sim.finish(job_id)
        sim.hang_up()
        assert await heard(second) == []


async def test_the_end_before_the_history(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """The end is told while the history has nothing yet; that nothing runs is told once it has."""
    sim.gap_polls = 1
    async with http.ws_connect("/ws?clientId=mine") as socket:
        job_id = await made(http, client_id="mine")
        assert [await seen(http, job_id) for _ in range(3)] == ["pending", "running", "nowhere"]
        assert nodes(await heard(socket, "execution_success"))[-1] == "10"
        assert await seen(http, job_id) == "success"
        sim.hang_up()
        assert (await heard(socket))[1:] == [("executing", {"node": None, "prompt_id": job_id})]


async def test_steps_by_polls(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """While a job runs by itself, each poll is a step that is told."""
    sim.running_polls = 3
    async with http.ws_connect("/ws?clientId=mine") as socket:
        job_id = await made(http, client_id="mine")
        while await seen(http, job_id) != "success":
            pass
        found = await heard(socket, "execution_success")
    assert [data["value"] for kind, data in found if kind == "progress"] == [2, 3]


async def test_restart(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A restart breaks the connection without a word; who comes back hears nothing of what was lost."""
    async with http.ws_connect("/ws?clientId=mine") as socket:
        job_id = await made(http, client_id="mine")
        sim.advance(job_id)
        sim.restart()
        assert nodes(await heard(socket))[-1] == "7"
        assert socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    async with http.ws_connect("/ws?clientId=mine") as socket:
        sim.hang_up()
        ((_, status),) = await heard(socket)
        assert status["status"]["exec_info"]["queue_remaining"] == 0


async def test_refused(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A reverse proxy may know no websockets, and the place of the files has none."""
    sim.refuses_websockets = 502
    for place, status in (("/ws?clientId=c", 502), (f"{sim.files_url}/ws", 404)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(place)
        assert caught.value.status == status
        sim.refuses_websockets = 0
    assert [call.path for call in sim.calls("websocket")] == ["/ws", "/ws"]
