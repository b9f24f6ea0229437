"""What the tests of the Vidu simulator stand on: a plain client, and bodies."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from proxy.testing import Call, Job, SimulatorServer
from tests.simulators.media import picture
from tests.simulators.vidu import ViduSimulator
from tests.simulators.vidu_models import TEXT

KEY, OTHER = "vda_852400000000_a1a1a1a1", "vda_852400000000_b2b2b2b2"
HEADERS = {"Authorization": f"Token {KEY}"}
CLIP: dict[str, Any] = {"model": "viduq2", "prompt": "a red fox runs"}
SHEET: dict[str, Any] = {**CLIP, "duration": 5, "resolution": "720p", "aspect_ratio": "16:9", "payload": "gw-42"}
"""The sheet's own example."""


def uri(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


STILL = uri(picture("PNG"))
BOAT: dict[str, Any] = {"model": "viduq2-pro", "images": [STILL]}
LONGER: dict[str, Any] = {"model": "viduq2-turbo", "images": None, "video_url": "https://cdn.example.com/a.mp4"}


class Prompted(ViduSimulator):
    """Fails a task whose prompt says so, for a client in another process: `FAIL code`."""

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        job = super().take(call, kind=kind, **facts)
        order, _, code = facts["fields"]["prompt"].partition(" ")
        if order == "FAIL":
            self.fail(job.id, code=code)
        return job


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Prompted, aiohttp.ClientSession]]:
    """A simulator and a client of the first account."""
    async with (
        SimulatorServer(Prompted(keys={KEY, OTHER})) as sim,
        aiohttp.ClientSession(sim.base_url, headers=HEADERS) as http,
    ):
        yield sim, http


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    """The status and the JSON of an answer, or its bytes."""
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def order(http: aiohttp.ClientSession, route: str = TEXT, **fields: Any) -> tuple[int, Any]:
    body = io.BytesIO(json.dumps(fields or CLIP).encode())
    return await call(http, "POST", f"/ent/v2/{route}", data=body, headers={"Content-Type": "application/json"})


async def made(http: aiohttp.ClientSession, route: str = TEXT, **fields: Any) -> str:
    status, data = await order(http, route, **fields)
    assert status == 200, data
    return str(data["task_id"])


async def refused(http: aiohttp.ClientSession, route: str = TEXT, **fields: Any) -> tuple[str, str]:
    """The reason of a refusal and the field that it blames."""
    status, data = await order(http, route, **fields)
    assert (status, data["code"], set(data)) == (400, 400, {"code", "reason", "message", "metadata"}), data
    assert data["metadata"]["trace_id"]
    return data["reason"], data["message"].partition(":")[0]


async def told(http: aiohttp.ClientSession, task_id: str) -> Any:
    status, data = await call(http, "GET", f"/ent/v2/tasks/{task_id}/creations")
    assert status == 200, data
    return data
