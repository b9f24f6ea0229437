"""The ComfyUI simulator is held to the sheet and to the server's source, so that the plugin's tests may lean on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import ANY

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
    assert entry["prompt"] == [0, job_id, GRAPH, {"client_id": "c", "create_time": ANY}, ["10"]]
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
        "queue_running": [[0, first, GRAPH, {"create_time": ANY}, ["10"]]],
        "queue_pending": [[1, second, GRAPH, {"a": 1, "create_time": ANY}, ["10"]]],
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
    """A prompt_id of the client's own is the job's; the newest servers want a UUID, the oldest make ids themselves."""
    own = str(uuid.uuid4())
    assert await made(http, prompt_id=own) == own
    assert await seen(http, own) == "pending"
    assert uuid.UUID(await made(http, prompt_id=None))
    for other in (own.upper(), own.replace("-", ""), "attempt-1", 7):
        status, data = await call(http, "POST", "/prompt", json={"prompt": GRAPH, "prompt_id": other})
        assert (status, data["error"]["type"], data["node_errors"]) == (400, "invalid_prompt_id", {})
    assert sim.paid == 2
    sim.own_ids = "any"
    assert [await made(http, prompt_id=other) for other in ("attempt-1", 7, None)] == ["attempt-1", "7", "None"]
    sim.own_ids = "none"
    assert await made(http, prompt_id=own, client_id="me") not in (own, "me")


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
    assert (data["id"], "execution_error" in data) == (job_id, False)
    assert data["preview_output"] == {**FILM, "nodeId": "10", "mediaType": "images"}
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
    assert await call(http, "GET", "/prompt") == (200, {"exec_info": {"queue_remaining": 0}})
    assert (await call(http, "GET", "/view", params=FILM))[0] == 200


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


@pytest.mark.parametrize("body", ["named", {}, None])
async def test_interrupt(sim: ComfyUISimulator, http: aiohttp.ClientSession, body: Any) -> None:
    """An interrupt stops the job that it names, or without a name whatever runs."""
    mine = await made(http)
    sim.advance(mine)
    assert await call(http, "POST", "/interrupt", json={"prompt_id": mine} if body else body) == (200, b"")
    status = (await ended(http, mine))["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1][0] == "execution_interrupted"
    assert sim.jobs[mine].cancelled


async def test_interrupt_of_another_job(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """Who names a job that does not run stops nothing; old servers ignore the name and stop what runs."""
    theirs, mine = await made(http), await made(http)
    sim.advance(theirs)
    assert await call(http, "POST", "/interrupt", json={"prompt_id": mine}) == (200, b"")
    assert (await call(http, "POST", "/interrupt", json=[mine]))[0] == 500
    assert (sim.jobs[theirs].state, sim.jobs[mine].state) == ("running", "pending")
    sim.targeted_interrupt = False
    await call(http, "POST", "/interrupt", json={"prompt_id": mine})
    assert (sim.jobs[theirs].state, sim.jobs[mine].state) == ("interrupted", "pending")


async def test_delete_from_queue(sim: ComfyUISimulator, http: aiohttp.ClientSession) -> None:
    """A pending job is deleted and leaves no trace; one that runs stays."""
    first, second = await made(http), await made(http)
    sim.advance(first)
    # A word is taken for the list of its letters.
    assert await call(http, "POST", "/queue", json={"delete": second}) == (200, b"")
    assert await seen(http, second) == "pending"
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
    """Custom nodes list films under other names; previews are pictures of the type temp, which no restart outlives."""
    sim.films_under = place
    job_id = await made(http, graph(n11={"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}))
    sim.finish(job_id)
    outputs = (await ended(http, job_id))["outputs"]
    assert outputs["10"] == {place: [FILM], "animated": [True]}
    (still,) = outputs["11"]["images"]
    assert still["type"] == "temp"
    assert (await call(http, "GET", f"/api/jobs/{job_id}"))[1]["preview_output"]["type"] == "output"
    assert (await call(http, "GET", "/view", params=still))[0] == 200
    sim.restart()
    assert [(await call(http, "GET", "/view", params=file))[0] for file in (still, FILM)] == [404, 200]
