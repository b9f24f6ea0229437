"""kling-api, an independent client, as the oracle: the simulator serves it, and the plugin sends what it sends.

Kling has no SDK of its own for its API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import Picture, UpstreamJob
from proxy.testing import Call, SimulatorServer
from tests.plugins.kling_wire import ACCESS, KEY, SECRET, opened, parts, request
from tests.plugins.openai_oracle import PROMPT, picture_file
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.kling import KlingSimulator

PEER = Path(__file__).parent / "kling_peer" / "peer.mjs"
PICTURE, OTHER = (Picture(picture_file(640, 360, form), f"image/{form.lower()}", 640, 360) for form in ("PNG", "JPEG"))
ONE, TWO = PICTURE.base64, OTHER.base64
CLIP = {"model_name": "kling-v1-6", "prompt": PROMPT, "duration": "5", "mode": "std"}


@pytest.fixture
async def sim() -> AsyncIterator[KlingSimulator]:
    async with SimulatorServer(KlingSimulator(keys={KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: KlingSimulator) -> AsyncIterator[Ask]:
    """The client in a process of its own: orders in, answers out."""
    arguments = (sim.base_url, ACCESS, SECRET)
    async with driven("REELGATE_KLING_NODE", "kling-api (in tests/plugins/kling_peer)", PEER, *arguments) as ask:

        async def positional(method: str, *given: Any, **more: Any) -> dict[str, Any]:
            return await ask(method, **{"with": given, **more})

        yield positional


async def made(sdk: Ask, method: str = "textToVideo", **order: Any) -> str:
    """The id of a task that was taken."""
    said = await sdk(method, order or CLIP)
    assert (said.get("code"), said.get("message")) == (0, "SUCCEED"), said
    assert said["data"]["task_status"] == "submitted"
    return str(said["data"]["task_id"])


async def test_life(sim: KlingSimulator, sdk: Ask) -> None:
    """A task is asked for by its id or by ours, until it is done; its film is public."""
    task_id = await made(sdk, **CLIP, external_task_id="gw-42")
    said = [(await sdk("queryTextToVideoTask", name))["data"] for name in (task_id, "gw-42", task_id)]
    assert [task["task_status"] for task in said] == ["submitted", "processing", "succeed"]
    done = (await sdk("wait", task_id))["data"]["task_result"]["videos"]
    assert done == said[2]["task_result"]["videos"]
    async with aiohttp.request("GET", done[0]["url"]) as film:
        assert await film.read() == sim.video_bytes
    assert sim.paid == 1


async def test_ends(sim: KlingSimulator, sdk: Ask) -> None:
    """A failure has its sentence; refusals have their code and status, and so have a strange task and a wrong key."""
    task_id = await made(sdk)
    sim.moderate(task_id)
    failed = await sdk("wait", task_id)
    assert (failed["raised"], failed["message"]) == ("KlingAPIError", "Failure to pass the risk control system")
    for code, status in ((1102, 429), (1301, 400), (1103, 403)):
        sim.refuse(code)
        refused = await sdk("textToVideo", CLIP)
        assert (refused["raised"], refused["code"], refused["status"]) == ("KlingAPIError", code, status)
    assert (await sdk("queryImageToVideoTask", task_id))["code"] == 1203
    assert (await sdk("queryTextToVideoTask", task_id, secret="another"))["code"] == 1000
    assert sim.paid == 1


ORDERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("textToVideo", {**CLIP, "aspect_ratio": "9:16", "negative_prompt": "rain"}, {"negative_prompt": "rain"}),
    ("imageToVideo", {**CLIP, "duration": "10", "image": ONE}, {"seconds": 10, "images": (PICTURE,)}),
    (
        "imageToVideo",
        {**CLIP, "mode": "pro", "image": ONE, "image_tail": TWO},
        {"size": "1080x1920", "images": (PICTURE,), "last_frame": OTHER},
    ),
    (
        "multiImageToVideo",
        {**CLIP, "aspect_ratio": "9:16", "image_list": [{"image": ONE}, {"image": TWO}]},
        {"images": (PICTURE, OTHER)},
    ),
]
"""What the client is asked for, and our request for the same."""


def told(call: Call) -> tuple[str, Any]:
    return call.path, {name: value for name, value in call.json.items() if name != "external_task_id"}


async def test_bodies(sim: KlingSimulator, sdk: Ask) -> None:
    """Of text and of pictures the client's order is ours but for the id that we give a task."""
    sim.unique_external_ids = False
    async with opened(sim) as channel:
        for method, order, changes in ORDERS:
            await made(sdk, method, **order)
            await channel.create(request(**{"size": "720x1280", **changes}))
            theirs, ours = sim.calls("create")[-2:]
            assert told(ours) == told(theirs)


async def test_films_of_films(sim: KlingSimulator, sdk: Ask) -> None:
    """An extension and an edit are the same two; the client leaves out the mode of an edit."""
    sim.unique_external_ids = False
    async with opened(sim) as channel:
        job = await channel.create(request())
        sim.finish(job.id)
        source: UpstreamJob = await channel.fetch(job)
        await made(sdk, "extendVideo", video_id=source.facts["film"], prompt=PROMPT)
        await channel.extend(request(kind="extend"), source)
        theirs, ours = sim.calls("extend")
        assert told(ours) == told(theirs)
        film = {"video_url": source.url, "refer_type": "base"}
        await made(sdk, "omniVideo", model_name="kling-video-o1", prompt=PROMPT, video_list=[film])
        await channel.edit(request(kind="edit"), source)
        theirs, ours = sim.calls("edit")
        path, body = told(theirs)
        assert told(ours) == (path, {"mode": "std", **body})


async def test_tokens(sim: KlingSimulator, sdk: Ask) -> None:
    """The client's token is ours but for the time when it was made, which it names."""
    await made(sdk)
    async with opened(sim) as channel:
        await channel.create(request())
    (theirs, claimed), (ours, claims) = (
        parts(call.headers["authorization"].removeprefix("Bearer ")) for call in sim.calls("create")
    )
    assert ours == theirs
    assert claims.keys() == claimed.keys() - {"iat"}
    assert (claims["iss"], claims["exp"] - claims["nbf"]) == (claimed["iss"], claimed["exp"] - claimed["nbf"])
