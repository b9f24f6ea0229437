"""What the tests of plugins/xai.py stand on: a channel before a recorder, and xAI's own objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugins.xai import Xai, XaiOptions
from proxy import Picture, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder, recording
from tests.plugins.openai_oracle import request as general

KEY = "xai-0123456789abcdef0123456789abcdef"
TASK = "d97415a1-5796-b7ec-379f-4e6819e08fdf"
FILM = "https://vidgen.x.ai/xai-vidgen-bucket/a.mp4"
PICTURE = Picture(PNG, "image/png", 1280, 720)
OTHER = Picture(PNG[::-1], "image/jpeg", 1280, 720)
URI, OTHER_URI = (f"data:{one.media_type};base64,{one.base64}" for one in (PICTURE, OTHER))


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "grok-imagine-video-1.5", "seconds": 5, **changes})


def done(**video: Any) -> dict[str, Any]:
    film = {"url": FILM, "duration": 5, "respect_moderation": True, **video}
    return {"status": "done", "progress": 100, "model": "grok-imagine-video-1.5", "video": film}


@asynccontextmanager
async def taking() -> AsyncIterator[Recorder]:
    """A recorder that takes every order."""
    async with recording() as recorder:
        recorder.say({"request_id": TASK})
        yield recorder


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: str) -> AsyncIterator[Xai]:
    """A channel whose upstream is `upstream`."""
    values = msgspec.convert({"base_url": f"{upstream.base_url}/v1", "api_key": KEY, **options}, XaiOptions)
    http = Http()
    await http.start()
    client = Upstream(http, name="up", base_url=values.base_url, redactor=Redactor([KEY]))
    try:
        yield Xai(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()
