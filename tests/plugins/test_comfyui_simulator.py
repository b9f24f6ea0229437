"""The ComfyUI simulator is held to the sheet and to the server's source, so that the plugin's tests may lean on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.comfyui_calls import COMBINE, FILM, GRAPH, call, ended, graph, made, seen
from tests.simulators.comfyui import ComfyUISimulator
from tests.simulators.media import picture


@pytest.fixture
async def sim() -> AsyncIterator[ComfyUISimulator]:
    async with SimulatorServer(ComfyUISimulator()) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: ComfyUISimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url) as session:
        yield session


# ---------------------------------------------------------------- the life of a job


async def test_life(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Pending, running, then the history with the sheet's fields; the film is behind /view."""
    status, data = await call(http, "POST", "/prompt", json={"prompt": GRAPH, "client_id": "c"})
    assert (status, data["number"], data["node_errors"]) == (200, 0, {})
    job_id = data["prompt_id"]
    assert [await seen(http, job_id) for _ in range(3)] == ["pending", "running", "success"]
    entry = await ended(http, job_id)
    assert entry["prompt"] == [0, job_id, GRAPH, {"client_id": "c"}, ["10"]]
    assert entry["outputs"] == {"10": {"images": [FILM], "animated": [True]}}
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("success", True)
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    assert await call(http, "GET", "/view", params=FILM) == (200, sim.video_bytes)
    assert sim.paid == 1


async def test_items_of_the_queue(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """The queue lists [number, id, graph, extra, outputs]; what runs is not among what waits."""
    sim.automatic = False
    first, second = await made(http), await made(http, extra_data={"a": 1})
    sim.advance(first)
    _, queue = await call(http, "GET", "/queue")
    assert queue == {
        "queue_running": [[0, first, GRAPH, {}, ["10"]]],
        "queue_pending": [[1, second, GRAPH, {"a": 1}, ["10"]]],
    }
    assert await call(http, "GET", "/prompt") == (200, {"exec_info": {"queue_remaining": 2}})


async def test_one_job_runs_at_a_time(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Jobs wait for the one that runs, whoever polls; `front` and `number` choose the place in the queue."""
    first, second = await made(http), await made(http, front=True)
    third = await made(http, number=-9.5)
    places = []
    for _ in range(7):
        await seen(http, first)
        places.append("".join(sim.jobs[name].state[0] for name in (first, second, third)))
    # Pending, running, success.
    assert places == ["ppp", "ppr", "prs", "rss", "sss", "sss", "sss"]


async def test_own_id(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A prompt_id of the client's own is the job's, so that a lost answer does not matter."""
    assert await made(http, prompt_id="attempt-1") == "attempt-1"
    assert await seen(http, "attempt-1") == "pending"
    assert await seen(http, "attempt-2") == "nowhere"


async def test_gap(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A finished job may be in neither queue nor history for a while, and then is there."""
    sim.gap_polls = 2
    job_id = await made(http)
    words = [await seen(http, job_id) for _ in range(5)]
    assert words == ["pending", "running", "nowhere", "nowhere", "success"]


async def test_every_route_under_api(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Every route is there with /api before it too."""
    _, data = await call(http, "POST", "/api/prompt", json={"prompt": GRAPH})
    sim.finish(data["prompt_id"])
    _, history = await call(http, "GET", f"/api/history/{data['prompt_id']}")
    assert list(history) == [data["prompt_id"]]
    assert (await call(http, "GET", "/api/queue"))[1] == {"queue_running": [], "queue_pending": []}
    assert (await call(http, "GET", "/api/view", params=FILM))[0] == 200
    assert await call(http, "GET", "/nowhere") == (404, b"404: Not Found")


async def test_jobs_api(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Newer servers have /api/jobs/{id} with one status; older ones know nothing of it."""
    job_id = await made(http)
    words = [(await call(http, "GET", f"/api/jobs/{job_id}"))[1]["status"] for _ in range(3)]
    assert words == ["pending", "in_progress", "completed"]
    _, data = await call(http, "GET", f"/api/jobs/{job_id}")
    assert (data["id"], data["preview_output"], data["execution_error"]) == (job_id, FILM, None)
    assert data["outputs"] == {"10": {"images": [FILM], "animated": [True]}}
    assert await call(http, "GET", "/api/jobs/other") == (404, {"error": "Job not found"})
    sim.has_jobs_api = False
    assert await call(http, "GET", f"/api/jobs/{job_id}") == (404, b"404: Not Found")


async def test_history_list_and_delete(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """The history lists what ended, in pages; an entry is deleted without its files; a restart loses all entries."""
    names = [await made(http) for _ in range(3)]
    for name in names[:2]:
        sim.finish(name)
    assert list((await call(http, "GET", "/history"))[1]) == names[:2]
    assert list((await call(http, "GET", "/history?max_items=1"))[1]) == names[1:2]
    assert await call(http, "POST", "/history", json={"delete": [names[0]]}) == (200, b"")
    assert await call(http, "GET", f"/history/{names[0]}") == (200, {})
    assert (await call(http, "GET", "/view", params=FILM))[0] == 200
    sim.restart()
    assert [await seen(http, name) for name in names] == ["nowhere"] * 3


# ---------------------------------------------------------------- ends


async def test_failure(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A failed job has status_str error and a message with the exception of a node."""
    job_id = await made(http)
    sim.fail(job_id, code="torch.OutOfMemoryError", message="Allocation on device")
    status = (await ended(http, job_id))["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    kind, data = status["messages"][-1]
    assert (kind, data["node_id"], data["node_type"]) == ("execution_error", "7", "KSampler")
    assert (data["exception_type"], data["exception_message"]) == ("torch.OutOfMemoryError", "Allocation on device")
    assert isinstance(data["traceback"], list)
    assert (await call(http, "GET", f"/api/jobs/{job_id}"))[1]["execution_error"]["node_id"] == "7"


@pytest.mark.parametrize("body", [{"prompt_id": "mine"}, {}, None])
async def test_interrupt(sim: ComfyUISimulator, http: aiohttp.ClientSession, body: Any) -> None:
    """An interrupt stops the job that it names, or without a name whatever runs."""
    await made(http, prompt_id="mine")
    sim.advance("mine")
    assert await call(http, "POST", "/interrupt", json=body) == (200, b"")
    status = (await ended(http, "mine"))["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1][0] == "execution_interrupted"
    assert sim.jobs["mine"].cancelled


async def test_interrupt_of_another_job(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Who names a job that does not run stops nothing; old servers ignore the name and stop what runs."""
    await made(http, prompt_id="theirs")
    await made(http, prompt_id="mine")
    sim.advance("theirs")
    assert await call(http, "POST", "/interrupt", json={"prompt_id": "mine"}) == (200, b"")
    assert (sim.jobs["theirs"].state, sim.jobs["mine"].state) == ("running", "pending")
    sim.targeted_interrupt = False
    await call(http, "POST", "/interrupt", json={"prompt_id": "mine"})
    assert (sim.jobs["theirs"].state, sim.jobs["mine"].state) == ("interrupted", "pending")


async def test_delete_from_queue(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A pending job is deleted and leaves no trace; one that runs stays."""
    first, second = await made(http), await made(http)
    sim.advance(first)
    assert await call(http, "POST", "/queue", json={"delete": [first, second, "unknown"]}) == (200, b"")
    assert sim.jobs[first].state == "running"
    assert sim.jobs[second].cancelled
    assert await call(http, "GET", f"/history/{second}") == (200, {})
    assert await seen(http, second) == "nowhere"


async def test_job_without_a_film(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A job may succeed with pictures alone, or with nothing at all."""
    still = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "still"}}
    job_id, empty = await made(http, graph(n10=still)), await made(http)
    sim.withhold(empty)
    sim.finish(job_id)
    sim.finish(empty)
    file = {"filename": "still_00001_.png", "subfolder": "", "type": "output"}
    assert (await ended(http, job_id))["outputs"] == {"10": {"images": [file]}}
    assert await call(http, "GET", "/view", params=file) == (200, picture("PNG"))
    entry = await ended(http, empty)
    assert (entry["outputs"], entry["status"]["completed"]) == ({}, True)


@pytest.mark.parametrize(
    ("node", "inputs", "name", "file"),
    [
        ("SaveWEBM", {"codec": "vp9", "fps": 16, "crf": 32}, "images", {"filename": "boat_00001_.webm"}),
        (
            "VHS_VideoCombine",
            {**COMBINE, "format": "video/h264-mp4", "save_output": True},
            "gifs",
            {"filename": "boat_00001_.mp4", "format": "video/h264-mp4"},
        ),
        (
            "VHS_VideoCombine",
            {**COMBINE, "format": "image/gif", "save_output": False},
            "gifs",
            {"filename": "boat_00001_.gif", "type": "temp"},
        ),
    ],
)
async def test_where_films_are(
    sim: ComfyUISimulator, http: aiohttp.ClientSession, node: str, inputs: dict[str, Any], name: str, file: Any
) -> None:
    """Each node that saves films lists them in its own place."""
    saver = {"class_type": node, "inputs": {"images": ["8", 0], "filename_prefix": "boat", **inputs}}
    job_id = await made(http, graph(n10=saver))
    sim.finish(job_id)
    found = (await ended(http, job_id))["outputs"]["10"][name][0]
    assert {**found, **file} == found
    assert found["subfolder"] == ""


@pytest.mark.parametrize("place", ["videos", "video"])
async def test_films_of_custom_nodes(sim: ComfyUISimulator, http: aiohttp.ClientSession, place: str) -> None:
    """Custom nodes list films under other names, while previews are pictures of the type temp."""
    sim.films_under = place
    job_id = await made(http, graph(n11={"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}))
    sim.finish(job_id)
    outputs = (await ended(http, job_id))["outputs"]
    assert outputs["10"] == {place: [FILM], "animated": [True]}
    assert outputs["11"]["images"][0]["type"] == "temp"


# ---------------------------------------------------------------- the websocket


async def heard(socket: aiohttp.ClientWebSocketResponse, until: str) -> list[tuple[str, Any]]:
    """What is said up to a message of the type `until`; a picture is of the type "preview"."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(60):
        while not found or found[-1][0] != until:
            message = await socket.receive()
            if message.type == aiohttp.WSMsgType.BINARY:
                found.append(("preview", message.data))
            else:
                data = json.loads(message.data)
                found.append((data["type"], data["data"]))
    return found


async def test_websocket(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A client hears of its own jobs: start, node, steps of that node, outputs, the end; and of the queue's length."""
    async with http.ws_connect("/ws?clientId=mine") as mine, http.ws_connect("/ws?clientId=theirs") as theirs:
        ((_, first),) = await heard(mine, "status")
        assert first == {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "mine"}
        job_id = await made(http, client_id="mine")
        sim.advance(job_id)
        sim.progress(job_id, 5, 20, preview=True)
        begun = await heard(mine, "preview")
        told = [kind for kind, _ in begun if kind != "status"]
        assert told == [
            "execution_start",
            "execution_cached",
            "executing",
            "progress",
            "progress_state",
            "preview",
        ]
        words = dict(begun)
        assert words["progress"] == {"value": 5, "max": 20, "prompt_id": job_id, "node": "7"}
        assert words["progress_state"]["nodes"]["7"]["state"] == "running"
        assert words["preview"][:8] == b"\x00\x00\x00\x01\x00\x00\x00\x01"
        sim.finish(job_id)
        done = [(kind, data) for kind, data in await heard(mine, "executing") if kind != "status"]
        assert [kind for kind, _ in done] == ["executed", "execution_success", "executing"]
        assert done[0][1]["output"] == {"images": [FILM], "animated": [True]}
        assert done[-1][1] == {"node": None, "prompt_id": job_id}
        await made(http, client_id="theirs")
        sim.interrupt(sim.latest.id)
        assert (await heard(mine, "execution_interrupted"))[-1][1]["prompt_id"] == sim.latest.id
        assert {kind for kind, _ in await heard(theirs, "executing")} == {
            "status",
            "execution_interrupted",
            "executing",
        }


async def test_websocket_knows_before_the_history(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """The end is told while the history has nothing yet; who comes back during a run hears of its node."""
    sim.gap_polls = 1
    job_id = await made(http, client_id="mine")
    assert [await seen(http, job_id) for _ in range(2)] == ["pending", "running"]
    async with http.ws_connect("/ws?clientId=mine") as socket:
        assert (await heard(socket, "executing"))[-1][1] == {"node": "7"}
        assert await seen(http, job_id) == "nowhere"
        await heard(socket, "execution_success")
        assert await seen(http, job_id) == "success"
        assert (await heard(socket, "executing"))[-1][1] == {"node": None, "prompt_id": job_id}


async def test_websocket_steps(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """While a job runs by itself, its steps are told."""
    sim.running_polls = 3
    async with http.ws_connect("/api/ws?clientId=mine") as socket:
        job_id = await made(http, client_id="mine")
        while await seen(http, job_id) != "success":
            pass
        words = await heard(socket, "execution_success")
    assert [data["value"] for kind, data in words if kind == "progress"] == [2, 3]
