"""What the tests of plugins/ark.py stand on: a channel before a recorder, and Ark's own objects."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugins.ark import Ark, ArkOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "ark-0123456789abcdef0123456789abcdef"
SECOND_KEY = "ark-fedcba9876543210fedcba9876543210"
MODEL = "doubao-seedance-2-0-260128"
TASKS = "/api/v3/contents/generations/tasks"
TASK = "cgt-20260101000000-abcde"
FILM = "https://ark-content.tos-cn-beijing.volces.com/x.mp4?X-Tos-Date=20260101T000500Z&X-Tos-Expires=86400"
STILL = "https://ark-content.tos-cn-beijing.volces.com/x.png?X-Tos-Expires=86400"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
LAST_URI = "data:image/jpeg;base64," + base64.b64encode(PNG[::-1]).decode()


def image(uri: str, role: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri}, "role": role}


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every task."""
    async with recording() as recorder:
        recorder.say({"id": TASK})
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: Any) -> AsyncIterator[Ark]:
    """A channel whose upstream is `upstream`; a simulator has its files on another origin, as Ark has."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, ArkOptions)
    hosts = [upstream.files_url.partition("//")[2]] if isinstance(upstream, Simulator) else []
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        yield Ark(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": MODEL, "seconds": 5, **changes})


def task(status: str, **changes: Any) -> Mapping[str, Any]:
    return {"id": TASK, "model": MODEL, "status": status, "created_at": 1767225600, "updated_at": 1767225700, **changes}
