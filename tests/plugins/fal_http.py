"""What the tests of the fal simulator stand on: plain HTTP, and small files."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import aiohttp
from PIL import Image

KEY, OTHER = "key-of-one:3f1c5d7e9a", "key-of-another:9e107d9d37"
VEO = "fal-ai/veo3.1"
KLING = "fal-ai/kling-video/v2.6/pro"
SEEDANCE = "bytedance/seedance-2.0"
WISH = {"prompt": "a paper boat"}


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 36), (40, 90, 160)).save(file, "PNG")
    return data_uri(file.getvalue())


Said = tuple[int, Any]


async def call(http: aiohttp.ClientSession, method: str, path: str, **kwargs: Any) -> Said:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def submit(http: aiohttp.ClientSession, endpoint: str = VEO, **fields: Any) -> dict[str, Any]:
    """What a submission that is taken says."""
    # A stream, because aiohttp warns of large bodies that are not.
    body, headers = io.BytesIO(json.dumps({**WISH, **fields}).encode()), {"Content-Type": "application/json"}
    status, said = await call(http, "POST", f"/{endpoint}", data=body, headers=headers)
    assert status == 200, said
    return dict(said)


async def refused(http: aiohttp.ClientSession, endpoint: str, fields: dict[str, Any]) -> list[tuple[Any, str]]:
    """What a 422 lists: places and types."""
    status, said = await call(http, "POST", f"/{endpoint}", json=fields)
    assert status == 422, said
    assert all({"loc", "msg", "type", "url", "ctx", "input"} == item.keys() for item in said["detail"])
    assert all(item["loc"][0] == "body" and item["msg"] for item in said["detail"])
    return [(item["loc"][1:], item["type"]) for item in said["detail"]]
