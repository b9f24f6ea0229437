"""What the tests of plugins/dashscope.py stand on: a channel before a recorder, and DashScope's own objects."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugins.dashscope import DashScope, DashScopeOptions
from proxy import Picture, UpstreamJob, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import Recorder, picture_file, recording
from tests.plugins.openai_oracle import request as general

KEY = "sk-0123456789abcdef0123456789abcdef"
TASK = "0385dc79-5ff8-4d82-bcb6-7c2d0bcbf5b1"
FILM = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/1d/a.mp4"
ORDERS = "/api/v1/services/aigc"
PICTURE, OTHER = (
    Picture(picture_file(1280, 720, form), f"image/{form.lower()}", 1280, 720) for form in ("PNG", "JPEG")
)
URI, OTHER_URI = PICTURE.data_uri, OTHER.data_uri


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "wan2.6-t2v", "seconds": 5, **changes})


def task(status: str, usage: Any = None, **output: Any) -> dict[str, Any]:
    times = {"submit_time": "2026-01-01 10:00:00.123", "end_time": "2026-01-01 10:01:00.123"}
    said = {"task_id": TASK, "task_status": status, **times, **output}
    return {"request_id": "r", "output": said, "usage": {"duration": 5} if usage is None else usage}


def source(**changes: Any) -> UpstreamJob:
    """A finished video that something else is made of."""
    values = {"url": FILM, "url_expires_at": time.time() + 3600, "facts": {"seconds": 5.04}, **changes}
    return UpstreamJob("task-of-the-source", "completed", **values)


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every task."""
    async with recording() as recorder:
        recorder.say({"output": {"task_status": "PENDING", "task_id": TASK}, "request_id": "r"})
        yield recorder


@asynccontextmanager
async def opened(
    upstream: Recorder | Simulator, *, allow_hosts: Sequence[str] = (), **options: Any
) -> AsyncIterator[DashScope]:
    """A channel whose upstream is `upstream`; a simulator has its files on another origin, as DashScope has."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, DashScopeOptions)
    hosts = [upstream.files_url.partition("//")[2]] if isinstance(upstream, Simulator) else allow_hosts
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        yield DashScope(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()
