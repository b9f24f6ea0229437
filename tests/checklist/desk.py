"""The product as its clients meet it: one account at the strict stand-in of OpenAI, or a channel moved by hand."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import openai
from aiohttp import FormData
from PIL import Image

from tests.conftest import ADMIN_KEY, Product
from tests.simulators.openai import OpenAISimulator

T = TypeVar("T")

UPSTREAM_KEY = "sk-upstream-secret-81c4"
PUPPETS = (Path(__file__).parents[1] / "engine" / "plugins",)
PUPPET = "channels: [{name: p, type: puppet, models: [sora-2]}]"

UNKNOWN_ID = "video_0198c1f2a7b300000123456789abcdef"
"""An id in our form that nobody made."""
REQUIRED = {"id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt"} | {
    "size",
    "seconds",
    "remixed_from_video_id",
    "error",
}
"""The 13 keys that openapi.yaml requires of a video."""
STATUSES = {"queued", "in_progress", "completed", "failed"}


@dataclass
class Desk:
    """A product with one openai channel, and the simulator behind it."""

    product: Product
    sim: OpenAISimulator

    @property
    def url(self) -> str:
        return self.product.url

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any, dict[str, str]]:
        return await self.product.call(method, path, **kwargs)

    async def completed(self, **body: Any) -> dict[str, Any]:
        """A video that the upstream has finished."""
        video = await self.product.create(**body)
        self.sim.finish(self.sim.latest.id)
        done = await self.product.done(video["id"])
        assert done["status"] == "completed", done
        return done

    async def ends(self) -> dict[str, Any]:
        """The newest video, once it has ended."""
        _, page, _ = await self.call("GET", "/v1/videos?limit=1")
        return await self.product.done(page["data"][0]["id"])

    async def listed(self) -> list[str]:
        _, page, _ = await self.call("GET", "/v1/videos?limit=100")
        return [video["id"] for video in page["data"]]

    async def refused(
        self,
        method: str,
        path: str,
        *statuses: int,
        param: str | type[Any] | None = object,
        code: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The error of a request that must be refused with nothing listed and nothing paid; `param` object: any."""
        before = self.sim.paid, await self.listed()
        status, body, headers = await self.call(method, path, **kwargs)
        assert status in statuses, (status, body)
        error = envelope(body, headers)
        if param is not object:
            assert error["param"] == param, error
        if code is not None:
            assert error["code"] == code, error
        assert (self.sim.paid, await self.listed()) == before
        return error

    async def sdk(self, use: Callable[[openai.OpenAI], T], **options: Any) -> T:
        """What `use` makes of the official client, in a thread of its own."""
        return await with_sdk(self.url + "/v1", use, **options)


async def with_sdk(base_url: str, use: Callable[[openai.OpenAI], T], **options: Any) -> T:
    """`use` with an official client of `base_url`, in a thread; it tries once unless `options` say otherwise."""
    settings = {"api_key": ADMIN_KEY, "max_retries": 0, **options}

    def run() -> T:
        with openai.OpenAI(base_url=base_url, **settings) as client:
            return use(client)

    return await asyncio.to_thread(run)


def envelope(body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The error in OpenAI's envelope, all four keys of it and nothing else."""
    assert isinstance(body, dict), body
    assert set(body) == {"error"}, body
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    for name in ("message", "type"):
        assert isinstance(error[name], str), error
        assert error[name], error
    for name in ("param", "code"):
        assert error[name] is None or isinstance(error[name], str), error
    if headers is not None:
        assert headers["content-type"].startswith("application/json"), headers
        assert headers["x-request-id"], headers
    return error


def check_video(video: dict[str, Any]) -> dict[str, Any]:
    """A video object as the schema has it, with types that LiteLLM's strict parser takes."""
    assert set(video) - {"video_url", "metadata"} == REQUIRED | {"task_id"}, video
    assert re.fullmatch("video_[0-9a-f]{32}", video["id"])
    assert video["object"] == "video"
    assert video["status"] in STATUSES
    assert type(video["progress"]) is int
    assert 0 <= video["progress"] <= 100
    assert type(video["created_at"]) is int
    assert type(video["seconds"]) is str
    assert re.fullmatch(r"\d+x\d+", video["size"])
    for name in ("completed_at", "expires_at"):
        assert video[name] is None or type(video[name]) is int
    for name in ("model", "id", "size"):
        assert type(video[name]) is str
    if video["error"] is not None:
        assert video["status"] == "failed"
        assert set(video["error"]) == {"code", "message"}
        assert all(isinstance(word, str) and word for word in video["error"].values())
    return video


def form(**fields: Any) -> FormData:
    """A multipart form of text parts."""
    data = FormData(default_to_multipart=True)
    for name, value in fields.items():
        data.add_field(name, value)
    return data


def parts(*pairs: tuple[str, str]) -> FormData:
    """A multipart form of text parts whose names may repeat."""
    data = FormData(default_to_multipart=True)
    for name, value in pairs:
        data.add_field(name, value)
    return data


@functools.cache
def png(width: int = 720, height: int = 1280, kind: str = "PNG") -> bytes:
    """A picture file of that size."""
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((width, height)).save(file, kind)
    return file.getvalue()


def channel(sim: OpenAISimulator, **more: Any) -> dict[str, Any]:
    """The entry of an openai channel in front of `sim`."""
    entry = {"name": "up", "type": "openai", "base_url": sim.base_url, "api_key": UPSTREAM_KEY, "poll_every": 0.02}
    return {**entry, "models": ["sora-2", "sora-2-pro"], **more}


def config(*channels: dict[str, Any], **server: Any) -> str:
    """A channels.yaml."""
    return json.dumps({"server": server, "channels": list(channels)})
