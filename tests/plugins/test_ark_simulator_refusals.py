"""What the Ark simulator refuses, by sections 4 and 5 of the fact sheet."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.ark_caller import (
    CAT,
    KEY,
    LITE_I2V,
    LITE_T2V,
    OMNI,
    OTHER,
    PRO,
    call,
    film,
    image,
    made,
    refused,
    still,
)
from tests.simulators.ark import TASKS, ArkSimulator


@pytest.fixture
async def sim() -> AsyncIterator[ArkSimulator]:
    async with SimulatorServer(ArkSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: ArkSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


async def test_who_may_call(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """A key that is wrong or missing is a 401; other accounts' tasks and other paths are none."""
    task_id = await made(http)
    for key in ("Bearer nobody", KEY, f"Token {KEY}"):
        status, said = await call(http, "GET", f"{TASKS}/{task_id}", headers={"Authorization": key})
        assert (status, said["error"]["code"]) == (401, "AuthenticationError")
    other = {"Authorization": f"Bearer {OTHER}"}
    assert (await call(http, "GET", f"{TASKS}/{task_id}", headers=other))[0] == 404
    assert (await call(http, "GET", f"/v3{TASKS}"))[0] == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"content": []}, "content"),
        ({"content": "cat"}, "content"),
        ({"content": [{"type": "picture"}]}, "content.type"),
        ({"content": [{"type": "text"}]}, "content.text"),
        ({"content": [{**CAT, "role": "x"}]}, "content.role"),
        ({"content": [image(), image()]}, "content.role"),
        ({"content": [image(role="last_frame")]}, "content.role"),
        ({"content": [image(role="middle")]}, "content.role"),
        ({"model": OMNI, "content": [image(role="first_frame"), image(role="reference_image")]}, "content.role"),
        ({"model": OMNI, "content": [{**film(), "role": None}]}, "content.role"),
        ({"model": OMNI, "content": [CAT], "omni_reference_task_type": "edit"}, "omni_reference_task_type"),
        ({"content": [CAT, image(role="reference_image")]}, "content"),
        ({"content": [CAT, film()]}, "content"),
        ({"model": LITE_T2V, "content": [image()]}, "content"),
        ({"model": LITE_I2V}, "content"),
        ({"model": LITE_I2V, "content": [image(role="reference_image")] * 5}, "content"),
        ({"model": LITE_I2V, "content": [image(role="reference_image")], "resolution": "1080p"}, "resolution"),
        ({"model": PRO, "ratio": "adaptive"}, "ratio"),
        ({"model": PRO, "duration": -1}, "duration"),
        ({"model": PRO, "draft": True}, "draft"),
        ({"model": PRO, "generate_audio": True}, "generate_audio"),
        ({"model": PRO, "frames": 58}, "frames"),
        ({"model": PRO, "frames": 293}, "frames"),
        ({"frames": 57}, "frames"),
        ({"duration": 3}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"duration": 5.0}, "duration"),
        ({"duration": True}, "duration"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"resolution": "1280x720"}, "resolution"),
        ({"resolution": "4k"}, "resolution"),
        ({"ratio": "3:2"}, "ratio"),
        ({"watermark": "false"}, "watermark"),
        ({"service_tier": "slow"}, "service_tier"),
        ({"execution_expires_after": 60}, "execution_expires_after"),
        ({"callback_url": 7}, "callback_url"),
        ({"draft": True, "resolution": "720p"}, "resolution"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"model": OMNI, "tools": [{"type": "x"}]}, "tools"),
        ({"model": OMNI, "priority": "high"}, "priority"),
    ],
)
async def test_bodies(sim: ArkSimulator, http: aiohttp.ClientSession, fields: Any, param: str) -> None:
    """What a model does not take is a 400 that names the parameter, and is free."""
    status, code, named = await refused(http, **fields)
    assert (status, named) == (400, param)
    assert code in ("InvalidParameter", "MissingParameter")
    assert sim.paid == 0


async def test_lenient(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """What may be passed over is passed over where it is asked; a ratio beside frames can be forbidden."""
    sim.strict = False
    await made(http, n=2, frames=57, tools=[])
    assert sim.latest.facts["length"] == {"duration": 5}
    sim.free_ratio = False
    await made(http, image(), ratio="adaptive")
    assert await refused(http, image(), ratio="16:9") == (400, "InvalidParameter", "ratio")


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example/a.png",
        "https://",
        "https://[a/",
        base64.b64encode(b"\x89PNG").decode(),
        still(word="PNG"),
        still(word="jpg"),
        still().replace("data:image/png;base64,", "data:image/png,"),
        "data:application/octet-stream;base64,AAAA",
        "data:image/png;base64,?",
        "data:image/png;base64,AAAA",
        still(299, 299),
        still(1000, 399),
        "asset://nobody",
    ],
)
async def test_pictures(sim: ArkSimulator, http: aiohttp.ClientSession, url: str) -> None:
    """Bare base64, a format in capitals, plain http, what is too small or narrow, or cannot be read, is a 400."""
    assert await refused(http, image(url)) == (400, "InvalidParameter", "content.image_url")
    assert await refused(http, image(url, "reference_image"), model=OMNI) == (
        400,
        *("InvalidParameter",),
        "content.image_url",
    )
    assert sim.paid == 0


async def test_accounts_and_moderation(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """Models that are unknown, closed or of the other house, a debt and a forbidden word are told apart, all free."""
    sim.endpoints["ep-1"] = ""
    sim.not_open.add(OMNI)
    for model, expected in (
        ("ep-1", (400, "InvalidEndpoint.ClosedEndpoint", "")),
        ("ep-2", (404, "InvalidEndpointOrModel.NotFound", "")),
        ("seedance-1-5-pro-251215", (404, "InvalidEndpointOrModel.NotFound", "")),
        (7, (404, "InvalidEndpointOrModel.NotFound", "")),
        (OMNI, (404, "ModelNotOpen", "")),
        ("", (400, "MissingParameter", "model")),
    ):
        assert await refused(http, model=model) == expected
    sim.forbidden = "cat"
    assert await refused(http) == (400, "InputTextSensitiveContentDetected", "")
    sim.forbidden, sim.penniless = "", True
    assert await refused(http) == (403, "AccountOverdueError", "")
    for kwargs in (
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        {"json": [1]},
        {"data": {"a": "b"}},
    ):
        assert (await call(http, "POST", **kwargs))[0] == 400
    assert sim.paid == 0
