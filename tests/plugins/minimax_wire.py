"""What the tests of plugins/minimax.py stand on: a channel before a recorder, and MiniMax's own objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from plugins.minimax import MiniMax, MiniMaxOptions
from proxy import Picture, UpstreamJob, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.test.0123456789abcdef"
TASK, NEWER = "106916112212032", "424010985738629"
FILE = 9_205_258_526_306_433_123
FILM = "https://video-product.cdn.minimax.io/inference_output/output.mp4?Expires=1&Signature=x"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)
URI, LAST_URI = (f"data:{one.media_type};base64,{one.base64}" for one in (PICTURE, LAST))
JOBS: Mapping[str, UpstreamJob] = {
    "v1": UpstreamJob(TASK, facts={"version": "v1"}),
    "v2": UpstreamJob(NEWER, facts={"version": "v2"}),
}


def base(code: Any = 0, said: str = "success") -> dict[str, Any]:
    return {"base_resp": {"status_code": code, "status_msg": said}}


def query(status: str, **more: Any) -> dict[str, Any]:
    """What V1 says about a task; `file_id` is a text here."""
    return {"task_id": TASK, "status": status, "file_id": "", **base(), **more}


def done() -> dict[str, Any]:
    return query("Success", file_id=str(FILE), video_width=1366, video_height=768)


def retrieved(url: Any = FILM) -> dict[str, Any]:
    """What V1 says about a file, whose id is a number here."""
    file = {"file_id": FILE, "bytes": 5_896_337, "created_at": 1_700_469_398, "filename": "output.mp4"}
    return {"file": {**file, "purpose": "video_generation", "download_url": url}, **base()}


def task(status: str, **more: Any) -> dict[str, Any]:
    """What V2 says about a task."""
    shown = {"id": NEWER, "model": "MiniMax-H3", "task_type": "generation", "status": status, "resolution": "768P"}
    times = {"duration": 6, "ratio": "16:9", "created_at": 1_785_229_015, "updated_at": 1_785_229_100}
    return {"task": {**shown, **times, **more}}


def error(kind: str, status: int, said: str) -> dict[str, Any]:
    """An error of V2, whose status is a text."""
    return {
        "type": "error",
        "error": {"type": kind, "message": said, "http_code": str(status)},
        "request_id": "021728374650",
    }


def say_in_turn(recorder: Recorder, *answers: Any) -> None:
    """Answer each of `answers` once."""
    following = iter(answers)
    recorder.answer = lambda: web.json_response(next(following))


def first(**changes: Any) -> VideoRequest:
    return general(**{"model": "MiniMax-Hailuo-02", "seconds": 6, "size": "1366x768", **changes})


def second(**changes: Any) -> VideoRequest:
    return general(**{"model": "MiniMax-H3", "seconds": 5, "size": "1366x768", **changes})


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every order, on either wire."""
    async with recording() as recorder:
        recorder.say({"task_id": TASK, **base()})
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: Any) -> AsyncIterator[MiniMax]:
    """A channel whose upstream is `upstream`."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, MiniMaxOptions)
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, redactor=Redactor([KEY]))
    try:
        yield MiniMax(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()
