"""A recorder that takes down what reaches it, so that two clients of one wire can be laid side by side."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import BodyPartReader, web
from aiohttp.test_utils import TestServer
from PIL import Image

from plugins.openai import OpenAI, OpenAIOptions
from proxy import Picture, UpstreamJob, VideoRequest
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
PROMPT = 'a "red" kite,\r\nüber 雲 ☂ 🪁; name="x"'
KEY = "sk-upstream-secret-0123456789"
JOB = UpstreamJob("video_up_1")


def request(**changes: Any) -> VideoRequest:
    values: dict[str, Any] = {
        "prompt": PROMPT,
        "model": "sora-2",
        "seconds": 8,
        "size": "1280x720",
        "attempt_id": "attempt_1",
        **changes,
    }
    return VideoRequest(**values)


def picture_file(width: int, height: int, form: str = "PNG") -> bytes:
    """A picture of one colour as a file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(file, form)
    return file.getvalue()


def picture(media_type: str = "image/png") -> Picture:
    return Picture(PNG, media_type, 1280, 720)


class Part(NamedTuple):
    """One multipart part; `media_type` is the type that the client gave, None where it gave none."""

    name: str
    filename: str | None
    media_type: str | None
    data: bytes


@dataclass
class Call:
    """One request as it came over the wire: `target` is the raw path and query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    json: Any = None
    parts: list[Part] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def fields(self) -> dict[str, str]:
        """The text parts."""
        return {part.name: part.data.decode() for part in self.parts if part.filename is None}

    @property
    def files(self) -> list[Part]:
        return [part for part in self.parts if part.filename is not None]


def video(**changes: Any) -> dict[str, Any]:
    """A Video object with all 13 keys."""
    return {
        "id": "video_up_1",
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "created_at": 1_760_000_000,
        "completed_at": None,
        "expires_at": None,
        "prompt": "a red kite",
        "size": "720x1280",
        "seconds": "4",
        "remixed_from_video_id": None,
        "error": None,
        **changes,
    }


class Recorder:
    """Answers every request with `answer` (a Video unless told) and keeps it in `calls`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.base_url = ""
        self.say(video())
        self.app = web.Application(client_max_size=64 * 2**20)
        self.app.router.add_route("*", "/{tail:.*}", self._take)

    def say(self, data: Any, status: int = 200, **headers: str) -> None:
        """Answer `data` from now on: bytes as they are, everything else as JSON."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer: Callable[[], web.Response] = lambda: web.Response(
            status=status, body=body, headers={"Content-Type": "application/json", **named}
        )

    @property
    def last(self) -> Call:
        return self.calls[-1]

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, request.raw_path, headers, b"")
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                assert isinstance(part, BodyPartReader)
                media_type = part.headers.get("Content-Type")
                call.parts.append(Part(part.name or "", part.filename, media_type, await part.read()))
        else:
            call.body = await request.read()
            if call.body and request.content_type == "application/json":
                call.json = json.loads(call.body)
        self.calls.append(call)
        return self.answer()


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    """A recorder that listens on loopback."""
    recorder = Recorder()
    async with TestServer(recorder.app) as server:
        recorder.base_url = str(server.make_url("")).rstrip("/")
        yield recorder


@asynccontextmanager
async def opened(base_url: str, folder: Path, **options: str) -> AsyncIterator[OpenAI]:
    """A channel whose upstream is at `base_url`, with the key `KEY` unless `options` say otherwise."""
    values = {"base_url": base_url, "api_key": KEY, **options}
    http = Http()
    await http.start()
    upstream = Upstream(http, name="up", base_url=values["base_url"], redactor=Redactor([KEY]))
    try:
        yield OpenAI(name="up", options=msgspec.convert(values, OpenAIOptions), upstream=upstream, folder=folder)
    finally:
        await http.close()
