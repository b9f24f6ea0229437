"""The Ark simulator is held to the official SDKs, that of Volcengine and that of BytePlus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.testing import SimulatorServer
from tests.plugins.ark_caller import CAT, KEY, image, still
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.ark import ArkSimulator, ModelArkSimulator

PEER = Path(__file__).with_name("ark_peer.py")


class House(NamedTuple):
    """One seller of the models, and its SDK."""

    simulator: type[ArkSimulator]
    python: str
    sdk: str
    module: str
    model: str


HOUSES = {
    "ark": House(
        ArkSimulator,
        "REELGATE_ARK_PYTHON",
        "volcengine-ark-runtime",
        "volcenginesdkarkruntime",
        "doubao-seedance-1-5-pro-251215",
    ),
    "byteplus": House(
        ModelArkSimulator,
        "REELGATE_BYTEPLUS_PYTHON",
        "byteplus-python-sdk-v2",
        "byteplussdkarkruntime",
        "seedance-1-5-pro-251215",
    ),
}


@pytest.fixture(params=HOUSES)
def house(request: pytest.FixtureRequest) -> House:
    return HOUSES[str(request.param)]


@pytest.fixture
async def sim(house: House) -> AsyncIterator[ArkSimulator]:
    async with SimulatorServer(house.simulator(keys={KEY})) as simulator:
        simulator.automatic = False
        yield simulator


@pytest.fixture
async def sdk(sim: ArkSimulator, house: House) -> AsyncIterator[Ask]:
    """The SDK in a process of its own: orders in, answers out."""
    async with driven(house.python, house.sdk, PEER, house.module, f"{sim.base_url}/api/v3", KEY) as ask:

        async def with_model(do: str, **order: Any) -> dict[str, Any]:
            return await ask(do, **({"model": house.model, "content": [CAT], **order} if do == "create" else order))

        yield with_model


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
