"""What the tests of the DashScope simulator send, and how they read what it says."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import aiohttp
from PIL import Image

from tests.simulators.dashscope_files import ERRORS

KEY, OTHER = f"sk-{'a1' * 16}", f"sk-{'b2' * 16}"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-DashScope-Async": "enable"}
ORDERS = "/api/v1/services/aigc/video-generation/video-synthesis"
ENDS = "/api/v1/services/aigc/image2video/video-synthesis"
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def png(width: int = 640) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 360), (40, 90, 160)).save(file, "PNG")
    return file.getvalue()


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


STILL = data_uri(png())
WEB = "https://cdn.example.com/a"


def order(model: str, given: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": "a paper boat", **(given or {})}, "parameters": parameters}


CLIP = order("wan2.6-t2v", size="1280*720", duration=5)


def media(*items: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"media": [{"type": kind, "url": url} for kind, url in items], **more}


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def sent(http: aiohttp.ClientSession, body: Any, path: str = ORDERS, **headers: str) -> tuple[int, Any]:
    # A stream, because aiohttp warns of large bodies that are not.
    data = io.BytesIO(json.dumps(body).encode())
    return await call(http, "POST", path, data=data, headers={"Content-Type": "application/json", **headers})


async def made(http: aiohttp.ClientSession, body: Any = None, path: str = ORDERS, **headers: str) -> str:
    status, data = await sent(http, body or CLIP, path, **headers)
    assert (status, set(data), data.get("output", {}).get("task_status")) == (200, {"output", "request_id"}, "PENDING")
    return str(data["output"]["task_id"])


async def refused(http: aiohttp.ClientSession, body: Any, path: str = ORDERS, **headers: str) -> tuple[str, str]:
    """Code and sentence of a refusal, whose status is the one of its code."""
    status, data = await sent(http, body, path, **headers)
    assert set(data) == {"code", "message", "request_id"}
    assert status == ERRORS[data["code"]][0]
    return data["code"], data["message"]


async def look(http: aiohttp.ClientSession, task_id: str) -> dict[str, Any]:
    status, data = await call(http, "GET", f"/api/v1/tasks/{task_id}")
    assert (status, UUID.fullmatch(data["request_id"]) is not None) == (200, True)
    return dict(data)
