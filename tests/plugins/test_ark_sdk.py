"""plugins/ark.py beside the official SDK of Ark: both send the same bodies, and each reads the other's tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy import Picture, UpstreamJob
from proxy.testing import SimulatorServer
from tests.plugins.ark_wire import KEY, MODEL, TASKS, image, opened, request
from tests.plugins.openai_oracle import PROMPT, picture_file
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.ark import ArkSimulator

PEER = Path(__file__).with_name("ark_peer.py")
STILL = Picture(picture_file(640, 360), "image/png", 640, 360)
TEXT = {"type": "text", "text": PROMPT}
USUAL = {"model": MODEL, "resolution": "720p", "ratio": "16:9", "duration": 5, "seed": 7, "generate_audio": True}


@pytest.fixture
async def sim() -> AsyncIterator[ArkSimulator]:
    async with SimulatorServer(ArkSimulator(keys={KEY})) as simulator:
        simulator.automatic = False
        yield simulator


@pytest.fixture
async def sdk(sim: ArkSimulator) -> AsyncIterator[Ask]:
    """The SDK in a process of its own: orders in, answers out."""
    arguments = ("volcenginesdkarkruntime", f"{sim.base_url}/api/v3", KEY)
    async with driven("REELGATE_ARK_PYTHON", "volcengine-ark-runtime", PEER, *arguments) as ask:
        yield ask


@pytest.mark.parametrize(
    ("changes", "fields", "content"),
    [
        ({}, {}, []),
        ({"images": (STILL,)}, {"ratio": "adaptive"}, [image(STILL.data_uri, "first_frame")]),
        (
            {"images": (STILL,), "last_frame": STILL, "audio": False, "size": "496x864", "seconds": 15},
            {"ratio": "adaptive", "resolution": "480p", "duration": 15, "generate_audio": False},
            [image(STILL.data_uri, "first_frame"), image(STILL.data_uri, "last_frame")],
        ),
        (
            {"images": (STILL, STILL), "metadata": {"watermark": True, "safety_identifier": "u-1"}},
            {"watermark": True, "safety_identifier": "u-1"},
            [image(STILL.data_uri, "reference_image")] * 2,
        ),
    ],
)
async def test_bodies(
    sim: ArkSimulator, sdk: Ask, changes: dict[str, Any], fields: dict[str, Any], content: list[Any]
) -> None:
    """What the SDK sends for the same order is our body, but for its nulls; the path and the key are the same."""
    await sdk("create", content=[TEXT, *content], **{**USUAL, **fields})
    async with opened(sim, name_attempts=False) as channel:
        await channel.create(request(seed=7, **changes))
    theirs, ours = sim.calls("create")
    assert ours.json == {name: value for name, value in theirs.json.items() if value is not None}
    assert (ours.path, ours.headers["authorization"]) == (theirs.path, theirs.headers["authorization"])


async def test_edits(sim: ArkSimulator, sdk: Ask) -> None:
    """A film of a film is the SDK's body too."""
    async with opened(sim, name_attempts=False) as channel:
        job = await channel.create(request(seed=7))
        sim.finish(job.id)
        source = await channel.fetch(job)
        await channel.extend(request(kind="extend", seed=7), source)
        film = {"type": "video_url", "video_url": {"url": source.url}, "role": "reference_video"}
        order = {**USUAL, "ratio": "adaptive", "omni_reference_task_type": "extend"}
        await sdk("create", content=[TEXT, film], **order)
    ours, theirs = sim.calls("extend")
    assert ours.json == {name: value for name, value in theirs.json.items() if value is not None}


async def test_one_life(sim: ArkSimulator, sdk: Ask) -> None:
    """A task of ours is what the SDK reads, lists and deletes, with the seed that it is found by."""
    async with opened(sim) as channel:
        job = await channel.create(request())
        sim.finish(job.id)
        told = await sdk("get", task_id=job.id)
        assert (told["status"], told["video_url"]) == ("succeeded", (await channel.fetch(job)).url)
        (listed,) = (await sdk("list", model=MODEL, page_size=500))["items"]
        assert (listed["id"], listed["seed"]) == (job.id, sim.calls("create")[0].json["seed"])
        found = await channel.recover(request())
        assert isinstance(found, UpstreamJob)
        assert found.id == job.id
        theirs, ours = sim.calls("list")
        assert (ours.path, theirs.path) == (TASKS, TASKS)
        assert ours.query == {**theirs.query, "page_num": "1"}
        await sdk("delete", task_id=job.id)
        assert await channel.recover(request()) is None
