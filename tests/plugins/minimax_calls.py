"""What the tests of the MiniMax simulator stand on: a plain client, and bodies."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from PIL import Image

from proxy.testing import SimulatorServer
from tests.simulators.minimax import MinimaxSimulator

KEY, OTHER = f"sk-api-{'a1' * 30}", f"sk-api-{'b2' * 30}"
HEADERS = {"Authorization": f"Bearer {KEY}"}
V1, V2 = "/v1/video_generation", "/v2/video_generation"
FINE = {"status_code": 0, "status_msg": "success"}
CLIP: dict[str, Any] = {"model": "MiniMax-Hailuo-2.3", "prompt": "a paper boat [Push in]"}
TEXT = {"type": "text", "text": "a paper boat"}
BOAT: dict[str, Any] = {"model": "MiniMax-H3", "content": [TEXT], "resolution": "768P", "duration": 6, "ratio": "16:9"}
WEB = "https://cdn.example.com/a"


def still(width: int = 640, height: int = 360, form: str = "PNG") -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(file, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


STILL = still()


def item(kind: str, role: str, url: str = WEB) -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}, "role": role}


FIRST, LAST, REFERENCE = (item("image", role) for role in ("first_frame", "last_frame", "reference_image"))
FILM, SOUND = item("video", "reference_video"), item("audio", "reference_audio")


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def sent(http: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    # A stream, because aiohttp warns of large bodies that are not.
    data = io.BytesIO(json.dumps(body).encode())
    return await call(http, "POST", path, data=data, headers={"Content-Type": "application/json"})


async def made(http: aiohttp.ClientSession, path: str = V1, **fields: Any) -> str:
    status, data = await sent(http, path, fields or (CLIP if path == V1 else BOAT))
    assert (status, data.get("base_resp")) == (200, FINE if path == V1 else None), data
    return str(data["task_id"])


async def refused(http: aiohttp.ClientSession, path: str, body: Any, code: int = 2013, status: int = 400) -> str:
    """The sentence of a refusal: within a 200 in V1, with a status of its own in V2."""
    found, data = await sent(http, path, body)
    if path == V1:
        assert (found, data["task_id"], data["base_resp"]["status_code"]) == (200, "", code), data
        return str(data["base_resp"]["status_msg"])
    assert (found, data["type"], data["error"]["http_code"]) == (status, "error", str(status)), data
    assert data["error"]["message"].endswith(f" ({code})")
    return str(data["error"]["message"])


async def told(http: aiohttp.ClientSession, task_id: str) -> Any:
    return (await call(http, "GET", "/v1/query/video_generation", params={"task_id": task_id}))[1]


async def shown(http: aiohttp.ClientSession, task_id: str) -> Any:
    status, data = await call(http, "GET", f"/v2/query/video_generation/{task_id}")
    assert status == 200, data
    return data["task"]


@asynccontextmanager
async def running() -> AsyncIterator[tuple[MinimaxSimulator, aiohttp.ClientSession]]:
    """A simulator and a client of the first account."""
    async with (
        SimulatorServer(MinimaxSimulator(keys={KEY, OTHER})) as sim,
        aiohttp.ClientSession(sim.base_url, headers=HEADERS) as http,
    ):
        yield sim, http
