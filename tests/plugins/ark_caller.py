"""What the tests of the Ark simulator call it with."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import aiohttp
from PIL import Image

from tests.simulators.ark import TASKS

KEY, OTHER = "0a1b2c3d-0000-4000-8000-0123456789ab", "ffffffff-0000-4000-8000-0123456789ab"
PRO, PRO15, OMNI = "doubao-seedance-1-0-pro-250528", "doubao-seedance-1-5-pro-251215", "doubao-seedance-2-0-260128"
LITE_I2V, LITE_T2V = "doubao-seedance-1-0-lite-i2v-250428", "doubao-seedance-1-0-lite-t2v-250428"
CAT = {"type": "text", "text": "cat"}
ADDRESS = "https://x.example/a.png"


def still(width: int = 640, height: int = 360, form: str = "PNG", word: str = "") -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(file, form)
    return f"data:image/{word or form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def image(url: str = ADDRESS, role: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, **({"role": role} if role else {})}


def film(url: str = "https://x.example/a.mp4") -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}, "role": "reference_video"}


SOUND = {"type": "audio_url", "audio_url": {"url": "https://x.example/a.mp3"}, "role": "reference_audio"}


def body(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": PRO15, "content": [CAT, *content], **fields}


async def call(http: aiohttp.ClientSession, method: str, path: str = TASKS, **kwargs: Any) -> tuple[int, Any]:
    async with http.request(method, path, **kwargs) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def made(http: aiohttp.ClientSession, *content: Any, **fields: Any) -> str:
    """The id of a task that was taken."""
    # A stream, because aiohttp warns of large bodies that are not.
    data, headers = io.BytesIO(json.dumps(body(*content, **fields)).encode()), {"Content-Type": "application/json"}
    status, said = await call(http, "POST", data=data, headers=headers)
    assert (status, set(said)) == (200, {"id"}), said
    return str(said["id"])


async def refused(http: aiohttp.ClientSession, *content: Any, **fields: Any) -> tuple[int, str, str]:
    """Status, code and parameter of a refusal."""
    status, said = await call(http, "POST", json=body(*content, **fields))
    error = said["error"]
    assert set(error) == {"code", "message", "param", "type"}
    assert "Request id: 0217" in error["message"]
    return status, error["code"], error["param"]


async def shown(http: aiohttp.ClientSession, task_id: str) -> dict[str, Any]:
    status, said = await call(http, "GET", f"{TASKS}/{task_id}")
    assert status == 200, said
    return dict(said)
