"""The Ark simulator is held to the official SDKs, which run in processes of their own.

REELGATE_ARK_PYTHON names a Python with `volcengine-python-sdk[ark]` 5.0.54, REELGATE_BYTEPLUS_PYTHON one with
`byteplus-python-sdk-v2` 3.0.63, httpx and sniffio, which it imports without naming them.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import SimulatorServer
from tests.plugins.ark_caller import CAT, KEY, image, still
from tests.simulators.ark import ArkSimulator, ModelArkSimulator

PEER = Path(__file__).with_name("ark_peer.py")
HOUSES: dict[str, tuple[type[ArkSimulator], str, str, str]] = {
    "ark": (ArkSimulator, "REELGATE_ARK_PYTHON", "volcenginesdkarkruntime", "doubao-seedance-1-5-pro-251215"),
    "byteplus": (ModelArkSimulator, "REELGATE_BYTEPLUS_PYTHON", "byteplussdkarkruntime", "seedance-1-5-pro-251215"),
}

Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(params=HOUSES)
def house(request: pytest.FixtureRequest) -> tuple[type[ArkSimulator], str, str, str]:
    found: tuple[type[ArkSimulator], str, str, str] = HOUSES[request.param]
    if found[1] not in os.environ:
        pytest.skip(f"{found[1]} must name a Python with {found[2]}, in an environment of its own")
    return found


@pytest.fixture
async def sim(house: tuple[type[ArkSimulator], str, str, str]) -> AsyncIterator[ArkSimulator]:
    async with SimulatorServer(house[0](keys={KEY})) as simulator:
        simulator.automatic = False
        yield simulator


@pytest.fixture
async def sdk(sim: ArkSimulator, house: tuple[type[ArkSimulator], str, str, str]) -> AsyncIterator[Ask]:
    """The SDK in a process of its own: orders in, answers out."""
    _, python, module, model = house
    process = await asyncio.create_subprocess_exec(
        *(os.environ[python], str(PEER), module, f"{sim.base_url}/api/v3", KEY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def ask(do: str, **order: Any) -> dict[str, Any]:
        named = {"model": model, "content": [CAT], **order} if do == "create" else order
        stdin.write(json.dumps({"do": do, **named}).encode() + b"\n")
        await stdin.drain()
        said: dict[str, Any] = json.loads(await stdout.readline())
        assert "broken" not in said, said
        return said

    yield ask
    stdin.close()
    await process.wait()


async def test_life(sim: ArkSimulator, sdk: Ask) -> None:
    """A task is created with nulls for all that is not set, read while it waits, and read when it is done."""
    fields = {"ratio": "16:9", "resolution": "720p", "duration": 5, "seed": 7, "generate_audio": True}
    task_id = (await sdk("create", content=[CAT, image(still(), "first_frame")], **fields))["id"]
    (sent,) = sim.calls("create")
    assert {name: sent.json[name] for name in fields} == fields
    assert {"frames", "draft", "priority", "callback_url"} <= {name for name in sent.json if sent.json[name] is None}
    for nulls in (False, True):
        sim.nulls = nulls
        assert (await sdk("get", task_id=task_id))["status"] == "queued"
    sim.advance(task_id)
    assert (await sdk("get", task_id=task_id))["status"] == "running"
    sim.finish(task_id)
    done = await sdk("get", task_id=task_id)
    assert (done["status"], done["video_url"], done["tokens"]) == ("succeeded", sim.link(sim.latest), 108_900)
    assert (done["seed"], done["ratio"], done["duration"], done["frames"]) == (7, "16:9", 5, None)
    assert await sdk("delete", task_id=task_id) == {}
    assert (await sdk("get", task_id=task_id))["refused"][:2] == ["ArkNotFoundError", 404]


async def test_ends(sim: ArkSimulator, sdk: Ask) -> None:
    """A failure is read with its code; a queued task is cancelled, a running one cannot be."""
    task_id = (await sdk("create"))["id"]
    sim.fail(task_id, code="OutputVideoSensitiveContentDetected", message="No.")
    assert (await sdk("get", task_id=task_id))["error"] == ["OutputVideoSensitiveContentDetected", "No."]
    task_id = (await sdk("create"))["id"]
    await sdk("delete", task_id=task_id)
    assert (await sdk("get", task_id=task_id))["status"] == "cancelled"
    sim.put(task_id, "running")
    assert (await sdk("delete", task_id=task_id))["refused"][0] == "ArkBadRequestError"


async def test_list(sim: ArkSimulator, sdk: Ask) -> None:
    """The SDK's filters and pages are read, several ids in one call among them."""
    ids = [(await sdk("create", seed=seed))["id"] for seed in range(3)]
    sim.finish(ids[1])
    page = await sdk("list", task_ids=[ids[0], ids[1]], page_size=10)
    assert (page["total"], [item["id"] for item in page["items"]]) == (2, [ids[1], ids[0]])
    assert [item["id"] for item in (await sdk("list", status="queued"))["items"]] == [ids[2], ids[0]]
    assert (await sdk("list", page_num=2, page_size=2, service_tier="default"))["items"][0]["id"] == ids[0]


async def test_refusals(sim: ArkSimulator, sdk: Ask) -> None:
    """Each status is the SDK's own error, with the code and the parameter that the body names."""
    refused = (await sdk("create", duration=99))["refused"]
    assert refused == ["ArkBadRequestError", 400, "InvalidParameter", "duration"]
    sim.then(sim.error(429, "Too many.", code="QuotaExceeded"))
    assert (await sdk("create"))["refused"][:3] == ["ArkRateLimitError", 429, "QuotaExceeded"]
    sim.penniless = True
    assert (await sdk("create"))["refused"][:3] == ["ArkPermissionDeniedError", 403, "AccountOverdueError"]
    sim.keys.clear()
    assert (await sdk("create"))["refused"][:3] == ["ArkAuthenticationError", 401, "AuthenticationError"]
    assert sim.paid == 0
