"""Vidu's official client, vidu-mcp, as the oracle: the simulator serves it, and the plugin sends what it sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import Picture
from proxy.testing import Call, SimulatorServer
from tests.plugins.sdk_peer import Ask, driven
from tests.plugins.vidu_calls import Prompted
from tests.plugins.vidu_wire import KEY, opened, request
from tests.simulators.media import picture
from tests.simulators.vidu_models import ENDS, IMAGE, REFERENCE, TEXT

PEER = Path(__file__).with_name("mcp_peer.py")
PICTURE = Picture(picture("PNG"), "image/png", 640, 360)
URI = PICTURE.data_uri
STILL = {"movement_amplitude": "auto", "bgm": False}


@pytest.fixture
async def sim() -> AsyncIterator[Prompted]:
    async with SimulatorServer(Prompted(keys={KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: Prompted) -> AsyncIterator[Ask]:
    """The client in a process of its own: orders in, answers out."""
    account = {"VIDU_API_HOST": sim.base_url, "VIDU_API_KEY": KEY}
    async with driven("REELGATE_VIDU_PYTHON", "vidu-mcp", PEER, "vidu_mcp.server", **account) as ask:
        yield ask


ANIME = {"style": "anime", "movement_amplitude": "large", "bgm": True}
ORDERS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        TEXT,
        "generate_text_to_video",
        {"model": "vidu1.5", "duration": 4, "aspect_ratio": "9:16", "resolution": "360p", **ANIME},
        {"model": "vidu1.5", "seconds": 4, "size": "360x640", "metadata": ANIME},
    ),
    (
        IMAGE,
        "generate_img_to_video",
        {"image": URI, "model": "vidu2.0", "duration": 8, "resolution": "720p"},
        {"model": "vidu2.0", "seconds": 8, "images": (PICTURE,), "metadata": STILL},
    ),
    (
        ENDS,
        "generate_startend2video_to_video",
        {"images": [URI, URI], "model": "viduq1"},
        {"model": "viduq1", "size": "1920x1080", "images": (PICTURE,), "last_frame": PICTURE, "metadata": STILL},
    ),
    (
        REFERENCE,
        "generate_reference2video_to_video",
        {"images": [URI] * 3, "model": "viduq1", "duration": 5, "aspect_ratio": "1:1", "resolution": "1080p"},
        {"model": "viduq1", "size": "1080x1080", "images": (PICTURE,) * 3, "metadata": STILL},
    ),
]
"""A route, the tool that the client has for it, its arguments, and our request for the same."""


def told(call: Call) -> tuple[str, str, Any]:
    return call.path, call.headers["authorization"], {**call.json, "payload": None}


async def test_the_official_client_makes_the_same_films(sim: Prompted, sdk: Ask) -> None:
    """On each of its four routes the client has a film made; its order is ours to the last field but our payload."""
    async with opened(sim) as channel:
        for route, tool, arguments, changes in ORDERS:
            made = json.loads((await sdk(tool, prompt="a red kite", seed=7, **arguments))["said"])
            assert made["status"] == "success"
            async with aiohttp.request("GET", made["video_url"]) as film:
                assert await film.read() == sim.video_bytes
            await channel.create(request(prompt="a red kite", seed=7, **changes))
            theirs, ours = sim.calls("create")[-2:]
            assert told(ours) == told(theirs)
            assert ours.path == f"/ent/v2/{route}"
    assert sim.paid == 2 * len(ORDERS)


async def test_the_official_client_knows_the_ends(sim: Prompted, sdk: Ask) -> None:
    """A film by the client's own defaults, a failure, a refusal, a task that is not there and a wrong key."""
    assert json.loads((await sdk("generate_text_to_video", prompt="a paper boat"))["said"])["status"] == "success"
    failed = await sdk("generate_text_to_video", prompt="FAIL CreationPolicyViolation")
    assert failed["said"] == f"Error: Video generation failed for task_id: {sim.latest.id}"
    refused = await sdk("generate_text_to_video", prompt="x", resolution="720p")
    assert "400 Client Error" in refused["said"]
    assert sim.paid == 2
    for status, more in ((404, {}), (401, {"authorization": "Token vda_nobody"})):
        raised = await sdk("get", path="/ent/v2/tasks/1/creations", **more)
        assert raised["raised"] == "ViduRequestError"
        assert f"{status} Client Error" in raised["message"]
