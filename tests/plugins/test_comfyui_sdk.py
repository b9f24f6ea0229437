"""The client of comfy-cli, which ComfyUI's makers wrote, as the oracle: it and the plugin read each other's jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from proxy import UpstreamJob
from proxy.testing import SimulatorServer
from tests.plugins.comfyui_bench import opened, request
from tests.plugins.comfyui_calls import GRAPH, graph
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.comfyui import ComfyUISimulator

PEER = Path(__file__).with_name("comfyui_peer.py")


@pytest.fixture
async def sim() -> AsyncIterator[ComfyUISimulator]:
    async with SimulatorServer(ComfyUISimulator()) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: ComfyUISimulator) -> AsyncIterator[Ask]:
    """The client in a process of its own: orders in, answers out."""
    async with driven("REELGATE_COMFYUI_PYTHON", "comfy-cli", PEER, sim.base_url) as ask:
        yield ask


async def test_life(sim: ComfyUISimulator, sdk: Ask) -> None:
    """A workflow has no record while it waits and runs; then its film is where the client looks, and the plugin."""
    made = await sdk("submit", graph=GRAPH)
    assert made == {"id": sim.latest.id, "number": 0, "node_errors": {}}
    for _ in range(2):
        assert await sdk("look", id=made["id"]) == {"record": None}
    done = await sdk("wait", id=made["id"])
    (film,) = done["outputs"]
    assert (done["word"], done["failures"], film["node_id"]) == ("success", [], "10")
    async with aiohttp.request("GET", film["url"]) as content:
        assert await content.read() == sim.video_bytes
    async with opened(sim) as channel:
        read = await channel.fetch(UpstreamJob(made["id"]))
        assert (read.status, (await channel.content(read, "video")).url) == ("completed", film["url"])


async def test_the_client_reads_what_the_plugin_made(sim: ComfyUISimulator, sdk: Ask) -> None:
    """A job of the plugin is the client's by its id, ordered on the same path, with its film at the same address."""
    await sdk("submit", graph=GRAPH)
    async with opened(sim) as channel:
        job = await channel.create(request())
        theirs, ours = sim.calls("create")
        assert (ours.path, ours.json.keys() & theirs.json.keys()) == (theirs.path, {"prompt", "client_id"})
        (film,) = (await sdk("wait", id=job.id))["outputs"]
        assert (await channel.content(await channel.fetch(job), "video")).url == film["url"]


async def test_ends(sim: ComfyUISimulator, sdk: Ask) -> None:
    """A node that fails is named with its sentence; a workflow that cannot run is refused and says where."""
    made = await sdk("submit", graph=GRAPH)
    sim.fail(made["id"], message="CUDA out of memory")
    failed = await sdk("wait", id=made["id"])
    assert (failed["word"], failed["outputs"]) == ("error", [])
    assert "CUDA out of memory" in failed["failures"][0]
    refused = await sdk("submit", graph=graph("6", {"width": "wide"}))
    assert (refused["refused"], refused["body"]["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    assert refused["body"]["node_errors"]["6"]["class_type"] == "EmptyHunyuanLatentVideo"
    assert sim.paid == 1
