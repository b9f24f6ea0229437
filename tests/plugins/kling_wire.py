"""What the tests of plugins/kling.py stand on: a channel before a recorder, and Kling's own objects."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugins.kling import Kling, KlingOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

ACCESS, SECRET = "ak_TEST_1234567890abcdef", "sk_TEST_fedcba0987654321"
"""The pair of the sheet's vectors."""
KEY = f"{ACCESS}|{SECRET}"
TASK = "867283741759111202"
FILM = "https://cdn.example.com/kling/a.mp4?sign=abc"
MOMENT = 1_774_805_076_166
PICTURE = Picture(PNG, "image/png", 1280, 720)
OTHER = Picture(PNG[::-1], "image/jpeg", 1280, 720)


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "kling-v1-6", "seconds": 5, **changes})


def envelope(data: Any, code: Any = 0, message: str = "SUCCEED") -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "c065a1", "data": data}


def task(status: str, **more: Any) -> dict[str, Any]:
    """A task in its envelope."""
    times = {"created_at": MOMENT, "updated_at": MOMENT}
    return envelope({"task_id": TASK, "task_status": status, "task_info": {}, **times, **more})


def done(**film: Any) -> dict[str, Any]:
    one = {"id": "vid-1", "url": FILM, "duration": "5.1", **film}
    return task("succeed", task_status_msg="", task_result={"videos": [one]}, final_unit_deduction="1.5")


def refused(code: Any, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "c065a1"}


def parts(token: str) -> tuple[Any, Any]:
    """Header and claims of a JSON web token, not verified."""
    head, claims, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, claims))


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every task."""
    async with recording() as recorder:
        recorder.say(task("submitted"))
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: str) -> AsyncIterator[Kling]:
    """A channel whose upstream is `upstream`."""
    keys = {} if options.keys() & {"api_key", "access_key"} else {"api_key": KEY}
    values = msgspec.convert({"base_url": f"{upstream.base_url}/v1", **keys, **options}, KlingOptions)
    hosts = [upstream.files_url.partition("//")[2]] if isinstance(upstream, Simulator) else []
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        yield Kling(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()
