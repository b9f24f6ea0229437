"""MiniMax's official client of V1 as the oracle: the simulator serves it, and the plugin sends what it sends."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import Picture
from proxy.testing import Call, Job, SimulatorServer
from tests.plugins.minimax_calls import STILL
from tests.plugins.minimax_wire import KEY, first, opened
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.minimax import MinimaxSimulator

PEER = Path(__file__).with_name("mcp_peer.py")
PICTURE = Picture(base64.b64decode(STILL.partition(",")[2]), "image/png", 640, 360)
PROMPT = "a red kite"


class Prompted(MinimaxSimulator):
    """Fails a task whose prompt says so, for a client that waits for its end: `FAIL code`."""

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        job = super().take(call, kind=kind, **facts)
        order, _, code = facts["fields"].get("prompt", "").partition(" ")
        if order == "FAIL":
            # Later: what was ordered begins as Preparing.
            asyncio.get_running_loop().call_soon(lambda: self.fail(job.id, code=code, message="sensitive"))
        return job


@pytest.fixture
async def sim() -> AsyncIterator[Prompted]:
    async with SimulatorServer(Prompted(keys={KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: Prompted) -> AsyncIterator[Ask]:
    """The client in a process of its own: orders in, answers out."""
    account = {"MINIMAX_API_HOST": sim.base_url, "MINIMAX_API_KEY": KEY}
    async with driven("REELGATE_MINIMAX_PYTHON", "minimax-mcp", PEER, "minimax_mcp.server", **account) as ask:
        yield ask


ORDERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model": "MiniMax-Hailuo-02", "duration": 10, "resolution": "768P"}, {"seconds": 10}),
    (
        {"model": "MiniMax-Hailuo-02", "first_frame_image": STILL, "duration": 6, "resolution": "1080P"},
        {"size": "1920x1080", "images": (PICTURE,)},
    ),
    ({"model": "T2V-01"}, {"model": "T2V-01", "size": "1280x720"}),
]
"""What the client is asked for, and our request for the same."""


def told(call: Call) -> tuple[str, str, Any]:
    return call.path, call.headers["authorization"], call.json


async def test_the_official_client_makes_the_same_films(sim: Prompted, sdk: Ask) -> None:
    """Over polls and the call for its address each order comes to a film; it is ours to the last field."""
    async with opened(sim) as channel:
        for arguments, changes in ORDERS:
            made = (await sdk("generate_video", prompt=PROMPT, **arguments))["said"]
            assert made.startswith("Success. Video URL: ")
            async with aiohttp.request("GET", made.partition(": ")[2]) as film:
                assert await film.read() == sim.video_bytes
            await channel.create(first(prompt=PROMPT, **changes))
            theirs, ours = sim.calls("create")[-2:]
            assert told(ours) == told(theirs)
    assert sim.paid == 2 * len(ORDERS)


async def test_the_official_client_makes_the_same_polls(sim: Prompted, sdk: Ask) -> None:
    """A task that was only submitted is asked for by its id, with our two calls once it is done."""
    submitted = (await sdk("generate_video", prompt=PROMPT, async_mode=True))["said"]
    assert f"Task ID: {sim.latest.id}." in submitted
    said = [(await sdk("query_video_generation", task_id=sim.latest.id))["said"] for _ in range(3)]
    assert ["still processing" in text for text in said] == [True, True, False]
    assert said[2].startswith("Success. Video URL: ")
    async with opened(sim) as channel:
        job = await channel.create(first(prompt=PROMPT))
        sim.finish(job.id)
        assert (await channel.fetch(job)).status == "completed"
        await sdk("query_video_generation", task_id=job.id)
    for operation in ("fetch", "retrieve"):
        ours, theirs = sim.calls(operation)[-2:]
        assert (ours.path, ours.query) == (theirs.path, theirs.query)


async def test_the_official_client_knows_the_ends(sim: Prompted, sdk: Ask) -> None:
    """A failure, refusals inside a 200, a task that is not there and a wrong key are what it takes for one."""
    for code, words in (("1027", "API Error: 1027-"), ("0", "Video generation failed for task_id: ")):
        assert words in (await sdk("generate_video", prompt=f"FAIL {code}"))["said"]
    refused = await sdk("generate_video", prompt="x", model="MiniMax-Hailuo-02", duration=7)
    assert "API Error: 2013-" in refused["said"]
    path = "/v1/query/video_generation?task_id=1"
    assert (await sdk("get", path=path))["raised"] == "MinimaxRequestError"
    assert (await sdk("get", path=path, authorization="Bearer sk-api-nobody"))["raised"] == "MinimaxAuthError"
    assert sim.paid == 2
