"""What the tests of plugins/runway.py stand on: a channel before a recorder, and Runway's own objects."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from plugins.runway import Runway, RunwayOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "key_" + "0123456789abcdef" * 8
TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"
FILM = "https://cdn.example.com/x.mp4?_jwt=abc"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
LAST_URI = "data:image/jpeg;base64," + base64.b64encode(PNG[::-1]).decode()

WISHES: Mapping[str, Any] = {"seed": 7, "audio": False, "negative_prompt": "rain"}


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every task."""
    async with recording() as recorder:
        recorder.say({"id": TASK, "estimatedCost": {"credits": 60}})
        yield recorder


@asynccontextmanager
async def opened(
    upstream: Recorder | Simulator, *, allow_hosts: Sequence[str] = (), **options: str
) -> AsyncIterator[Runway]:
    """A channel whose upstream is `upstream`; a simulator has its files on another origin, as Runway has."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, RunwayOptions)
    hosts = [upstream.files_url.partition("//")[2]] if isinstance(upstream, Simulator) else allow_hosts
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        yield Runway(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "gen4.5", "seconds": 5, **changes})


def say_in_turn(recorder: Recorder, *answers: Any) -> None:
    """Answer each of `answers` once."""
    following = iter(answers)
    recorder.answer = lambda: web.json_response(next(following))


def task(status: str, **changes: Any) -> dict[str, Any]:
    return {"id": TASK, "status": status, "createdAt": "2026-11-01T00:00:00.000Z", **changes}
