"""What the tests of plugins/gemini.py stand on: a channel before a recorder, and the objects of the Gemini API."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from plugins.gemini import Gemini, GeminiOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "AIzaSy-reelgate-key-7f3a90c2d41b"
TASK = "v1_ChdIb3dfYXJlX3lvdV9kb2luZw"
OPERATION = "models/veo-3.1-generate-preview/operations/x1y2z3"
URI = "https://generativelanguage.googleapis.com/v1beta/files/abc123:download?alt=media"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)
DATA, LAST_DATA = base64.b64encode(PNG).decode(), base64.b64encode(PNG[::-1]).decode()


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every interaction and every operation."""
    async with recording() as recorder:
        recorder.say({"id": TASK, "object": "interaction", "status": "in_progress", "name": OPERATION})
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: Any) -> AsyncIterator[Gemini]:
    """A channel whose upstream is `upstream`."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, GeminiOptions)
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, redactor=Redactor([KEY]))
    try:
        yield Gemini(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "gemini-omni-1.2-flash", **changes})


def veo(**changes: Any) -> VideoRequest:
    return general(**{"model": "veo-3.1-generate-preview", **changes})


def say_in_turn(recorder: Recorder, *answers: Any) -> None:
    """Answer each of `answers` once."""
    following = iter(answers)
    recorder.answer = lambda: web.json_response(next(following))


def interaction(status: str, *content: Any, **changes: Any) -> dict[str, Any]:
    """An interaction whose model gave `content`."""
    steps: list[Any] = [{"type": "user_input", "content": [{"type": "text", "text": "a paper boat"}]}]
    if content:
        steps += [{"type": "thought", "signature": "x"}, {"type": "model_output", "content": list(content)}]
    return {"id": TASK, "object": "interaction", "status": status, "steps": steps, "usage": {}, **changes}


def film(**where: str) -> dict[str, str]:
    return {"type": "video", "mime_type": "video/mp4", **where}


def operation(response: Any = None, **changes: Any) -> dict[str, Any]:
    """A finished operation."""
    answer = {} if response is None else {"response": {"generateVideoResponse": response}}
    return {"name": OPERATION, "done": True, **answer, **changes}


def error(status: int, message: str, word: str, *details: Any) -> dict[str, Any]:
    """An error as Google says it."""
    return {"error": {"code": status, "message": message, "status": word, "details": list(details)}}
