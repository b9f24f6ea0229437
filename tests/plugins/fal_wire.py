"""What the tests of plugins/fal.py stand on: a channel before a recorder, and fal's own answers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from plugins.fal import Fal, FalOptions
from proxy import Picture, UpstreamJob, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "3f1c5d7e-4b0a-4c55-9d3e-8d2f6a9be01c:9e107d9d372bb6826bd81d3542a419d6"
JOB = "764cabcf-b745-4b3e-ae38-1200304cf45b"
FILM = "https://v3.fal.media/files/b/x_output.mp4"
PICTURE = Picture(PNG, "image/png", 1280, 720)
OTHER = Picture(PNG[::-1], "image/jpeg", 1280, 720)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
OTHER_URI = "data:image/jpeg;base64," + base64.b64encode(PNG[::-1]).decode()


def addresses(base: str) -> dict[str, str]:
    """The follow-up addresses of a job: fal drops what is below owner and alias."""
    place = f"{base}/fal-ai/veo3.1/requests/{JOB}"
    return {"status_url": f"{place}/status", "response_url": place, "cancel_url": f"{place}/cancel"}


def taken(base: str) -> dict[str, Any]:
    """The answer to a submission."""
    return {"request_id": JOB, **addresses(base), "status": "IN_QUEUE", "queue_position": 0}


def job(recorder: Recorder, status: str = "queued", **changes: Any) -> UpstreamJob:
    return UpstreamJob(JOB, status, facts=addresses(recorder.base_url), **changes)


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every job."""
    async with recording() as recorder:
        recorder.say(taken(recorder.base_url))
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: Any) -> AsyncIterator[Fal]:
    """A channel whose upstream is `upstream`."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, FalOptions)
    hosts = [upstream.files_url.partition("//")[2]] if isinstance(upstream, Simulator) else []
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        channel = Fal(name="up", options=values, upstream=client, folder=Path("unused"))
        await channel.start()
        yield channel
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "fal-ai/veo3.1", **changes})


def say_in_turn(recorder: Recorder, *answers: Any) -> None:
    """Answer each once: JSON, or a pair of status and JSON or bytes."""
    following = iter(answers)

    def answer() -> web.Response:
        one = next(following)
        status, data = one if isinstance(one, tuple) else (200, one)
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return web.Response(status=status, body=body, content_type="application/json")

    recorder.answer = answer


def issue(kind: str, message: str, *place: str) -> Mapping[str, Any]:
    """The body of an error that lists one issue."""
    one = {"loc": ["body", *place], "msg": message, "type": kind, "url": "https://docs.fal.ai/errors", "input": "x"}
    return {"detail": [one]}
