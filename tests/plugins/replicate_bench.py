"""What the tests of plugins/replicate.py stand on: a channel before a recorder or a simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from plugins.replicate import Replicate, ReplicateOptions
from proxy import Picture, UpstreamJob, VideoRequest
from proxy.testing import Simulator
from proxy.upstream import Http, Timeout, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import PNG, Recorder
from tests.plugins.openai_oracle import request as general

KEY = "r8_" + "0123456789abcdefghijklmnopqrstuvwxyzA"
PREDICTION = "ufawqhfynnddngldkgtslldrkq"
JOB = UpstreamJob(PREDICTION)
FILM = "https://replicate.delivery/xezq/abc/tmp1.mp4"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
PICTURE = Picture(PNG, "image/png", 1280, 720)
LAST = Picture(PNG[::-1], "image/jpeg", 1280, 720)


@asynccontextmanager
async def opened(upstream: Recorder | Simulator, **options: Any) -> AsyncIterator[Replicate]:
    """A channel whose upstream is `upstream`."""
    values = msgspec.convert({"base_url": upstream.base_url, "api_key": KEY, **options}, ReplicateOptions)
    http = Http()
    await http.start()
    # Longer than a test may take: what waits for an upstream that keeps silent is seen.
    patience = Timeout(first_byte=600, total=600)
    client = Upstream(http, name="up", base_url=values.base_url, redactor=Redactor([KEY]), timeout=patience)
    channel = Replicate(name="up", options=values, upstream=client, folder=Path("unused"))
    await channel.start()
    try:
        yield channel
    finally:
        await http.close()


def request(**changes: Any) -> VideoRequest:
    return general(**{"model": "google/veo-3.1", **changes})


def prediction(status: str, **changes: Any) -> dict[str, Any]:
    """A prediction as Replicate shows it."""
    path = f"https://api.replicate.com/v1/predictions/{PREDICTION}"
    return {
        "id": PREDICTION,
        "model": "google/veo-3.1",
        "version": "hidden",
        "input": {"prompt": "hi"},
        "logs": "",
        "output": None,
        "error": None,
        "status": status,
        "created_at": "2026-11-22T10:00:00.123Z",
        "data_removed": False,
        "urls": {"get": path, "cancel": f"{path}/cancel", "web": f"https://replicate.com/p/{PREDICTION}"},
        **changes,
    }


def schema(properties: Mapping[str, Any], **further: Any) -> dict[str, Any]:
    """A model as `GET /v1/models/{owner}/{name}` shows it, with these inputs."""
    schemas = {"Input": {"type": "object", "properties": dict(properties)}, **further}
    return {"latest_version": {"id": VERSION, "openapi_schema": {"components": {"schemas": schemas}}}}
