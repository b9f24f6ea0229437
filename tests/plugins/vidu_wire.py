"""What the tests of plugins/vidu.py stand on: a channel before a recorder, and Vidu's own objects."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from plugins.vidu import Vidu, ViduOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "vda_852400000000_0123456789abcdef"
SECOND_KEY = "vda_852400000000_fedcba9876543210"
MODEL = "viduq3-pro"
TASK = "851234567890123456"
FILM = "https://prod-ss-vidu.s3.amazonaws.com/x.mp4?X-Amz-Signature=abc"
CREATION = "861234567890123456"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
LAST_URI = "data:image/jpeg;base64," + base64.b64encode(PNG[::-1]).decode()


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every task."""
    async with recording() as recorder:
        recorder.say({"task_id": TASK, "state": "created", "credits": 20})
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: Any) -> AsyncIterator[Vidu]:
    """A channel whose upstream is `upstream`; a simulator has its files on another origin, as Vidu has."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, ViduOptions)
    hosts = [upstream.files_url.partition("//")[2]] if isinstance(upstream, Simulator) else []
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        yield Vidu(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": MODEL, "seconds": 5, **changes})


def say_in_turn(recorder: Recorder, *answers: Any) -> None:
    """Answer each of `answers` once."""
    following = iter(answers)
    recorder.answer = lambda: web.json_response(next(following))


def task(state: str, **changes: Any) -> dict[str, Any]:
    """The answer to a poll."""
    usual = {"id": TASK, "state": state, "err_code": "", "credits": 20, "payload": "", "bgm": False, "off_peak": False}
    return {**usual, "creations": [], **changes}


def done(url: str = FILM) -> dict[str, Any]:
    return task("success", creations=[{"id": CREATION, "url": url, "cover_url": FILM, "watermarked_url": FILM}])


def problem(status: int, reason: str, message: str) -> dict[str, Any]:
    return {"code": status, "reason": reason, "message": message, "metadata": {"trace_id": "9a3f"}}
