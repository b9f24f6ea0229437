"""What the tests of the Kling simulator stand on: tokens, pictures and calls as the sheet has them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from PIL import Image

from proxy.testing import SimulatorServer
from tests.simulators.kling import KlingSimulator
from tests.simulators.kling_models import EXTEND, TEXT

PAIR, OTHER, SINGLE = f"{'Ak' * 16}|{'Sk' * 16}", f"{'Bk' * 16}|{'Tk' * 16}", f"api-key-{'c3' * 16}"
CLIP: dict[str, Any] = {"model_name": "kling-v1-6", "prompt": "a red fox runs"}
FILM = "https://cdn.example.com/a.mp4"


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(pair: str = PAIR, *, alg: str = "HS256", **claims: Any) -> str:
    """A token as the sheet says; `claims` replace those that it has."""
    access, _, secret = pair.partition("|")
    now = int(time.time())
    body = {"iss": access, "exp": now + 1800, "nbf": now - 5, **claims}
    parts = [packed(json.dumps(part).encode()) for part in ({"alg": alg, "typ": "JWT"}, body)]
    return ".".join((*parts, packed(hmac.new(secret.encode(), ".".join(parts).encode(), hashlib.sha256).digest())))


def bare(width: int = 640, height: int = 360, form: str = "PNG") -> str:
    """A picture as Kling takes it: base64 without a prefix."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(file, form)
    return base64.b64encode(file.getvalue()).decode()


STILL = bare()


@asynccontextmanager
async def running() -> AsyncIterator[KlingSimulator]:
    """A simulator with three accounts."""
    async with SimulatorServer(KlingSimulator(keys={PAIR, OTHER, SINGLE})) as simulator:
        yield simulator


def client(sim: KlingSimulator) -> aiohttp.ClientSession:
    """A client of the first account."""
    return aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Bearer {jwt()}"})


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    """The status and the JSON of an answer, or its bytes."""
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def order(http: aiohttp.ClientSession, kind: str = TEXT, **fields: Any) -> tuple[int, Any]:
    body = {} if kind == EXTEND else dict(CLIP)
    return await call(http, "POST", f"/v1/videos/{kind}", json={**body, **fields})


async def made(http: aiohttp.ClientSession, kind: str = TEXT, **fields: Any) -> str:
    status, data = await order(http, kind, **fields)
    assert (status, data["code"], data["message"]) == (200, 0, "SUCCEED"), data
    return str(data["data"]["task_id"])


async def told(http: aiohttp.ClientSession, task_id: str, kind: str = TEXT) -> Any:
    """The task, as a poll shows it."""
    status, data = await call(http, "GET", f"/v1/videos/{kind}/{task_id}")
    assert (status, data["code"]) == (200, 0), data
    return data["data"]


async def refused(http: aiohttp.ClientSession, kind: str, **fields: Any) -> str:
    """The field that a 1201 names."""
    status, data = await order(http, kind, **fields)
    assert (status, data["code"]) == (400, 1201), data
    return str(data["message"]).partition(" ")[0]
