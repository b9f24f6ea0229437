"""The dialect `reelgate` of plugins/openai.py: the product behind the product, with the official SDK in front."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI

from proxy import UpstreamError, UpstreamJob, VideoRequest
from proxy.models import JobError
from proxy.testing.sample import sample_video
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.plugins.openai_oracle import PROMPT, picture_file
from tests.process.server import KEY, ServerProcess

INNER_KEY = "rg_inner-admin-key-4b7d1f0a93ce6825"
TESTS = Path(__file__).parents[1]
PLUGINS = (TESTS / "engine" / "plugins", TESTS / "api" / "plugins")
WITHIN = {
    "channels": [
        {"name": "studio", "type": "studio", "models": ["all"]},
        {"name": "ends", "type": "ends", "models": ["ends"]},
        {"name": "lookup", "type": "lookup", "models": ["stoppable"]},
    ]
}
BIG = 2**53 + 1
"""A seed that no float holds."""
FILM = b"\0\0\0\x18ftypmp42" + bytes(64)
WISHES: dict[str, Any] = {
    "seed": BIG,
    "negative_prompt": "7",
    "audio": False,
    "metadata": {"camera": {"zoom": 1.5}, "tags": ["a", 2], "note": "dusk"},
}


def outer_text(inner: Product) -> str:
    """What an operator writes to have another Reelgate behind this one."""
    models = {
        "film": {"upstream": "all", "sizes": ["1280x720", "1920x1080"]},
        "ends": "ends",
        "stoppable": "stoppable",
    }
    entry = {"name": "up", "type": "openai", "dialect": "reelgate", "base_url": inner.url, "api_key": INNER_KEY}
    return json.dumps({"channels": [{**entry, "models": models, "allow_metadata": ["n"], "poll_every": 0.05}]})


@dataclass
class Chain:
    """The outer product, its SDK, and the inner one behind it."""

    outer: Product
    sdk: AsyncOpenAI
    inner: Product

    def asked(self, channel: str, operation: str = "create") -> VideoRequest:
        """What a channel of the inner product was asked last."""
        plugin = self.inner.channel(channel)
        found = plugin.asked[-1] if channel == "ends" else plugin.asked(operation)[-1]
        assert isinstance(found, VideoRequest)
        return found

    async def within(self) -> list[dict[str, Any]]:
        """The videos of the inner product."""
        return await listed(self.inner)


async def listed(product: Product) -> list[dict[str, Any]]:
    _, page, _ = await product.call("GET", "/v1/videos", key=INNER_KEY)
    return list(page["data"])


@pytest.fixture
async def inner(launch: Launch, tmp_path: Path) -> Product:
    return await launch(json.dumps(WITHIN), plugins=PLUGINS, data=tmp_path / "inner", admin_key=INNER_KEY)


@pytest.fixture
async def chain(launch: Launch, inner: Product, tmp_path: Path) -> AsyncIterator[Chain]:
    outer = await launch(outer_text(inner), data=tmp_path / "outer")
    async with AsyncOpenAI(base_url=f"{outer.url}/v1", api_key=ADMIN_KEY, max_retries=0) as sdk:
        yield Chain(outer, sdk, inner)


def wished(request: VideoRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in WISHES}


async def test_an_order_arrives_whole(chain: Chain) -> None:
    """All that a client asks for is what the inner product asks its own channel for, whether pictures come with it or
    not: the first frame, several ones, the last frame, and numbers and texts as they are."""
    order: dict[str, Any] = {"prompt": PROMPT, "seconds": "8", "size": "1280x720", "extra_body": WISHES}
    first = ("first.png", picture_file(1280, 720), "image/png")
    for more in ({}, {"input_reference": first}):
        made = await chain.sdk.videos.poll((await chain.sdk.videos.create(model="film", **order, **more)).id)
        assert made.status == "completed"
        request = chain.asked("studio")
        assert (request.prompt, request.model, request.seconds, request.size) == (PROMPT, "all", 8, "1280x720")
        assert wished(request) == WISHES
        assert [image.data for image in request.images] == ([first[1]] if more else [])
    frames = [data_uri(1280, 720 + number) for number in range(3)]
    wishes = {**WISHES, "metadata": {"note": "12"}}
    await chain.outer.create(
        **{"prompt": PROMPT, "model": "ends", "images": frames[:2], "last_frame": frames[2], **wishes}
    )
    request = chain.asked("ends")
    assert wished(request) == wishes
    assert (len(request.images), request.last_frame is None) == (2, False)
    assert len(await chain.within()) == 3


def data_uri(width: int, height: int) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture_file(width, height)).decode()}"


async def test_what_starts_from_a_video_arrives_whole(chain: Chain) -> None:
    """Remix, edit and extension start from the inner product's own job, with what the client says anew."""
    order: dict[str, Any] = {"prompt": PROMPT, "model": "film", "seconds": "8", "size": "1920x1080"}
    source = await chain.sdk.videos.create_and_poll(**order, poll_interval_ms=10)
    made = chain.asked("studio")
    remixed = await chain.sdk.videos.remix(source.id, prompt="in winter", extra_body=WISHES)
    assert remixed.remixed_from_video_id == source.id
    assert chain.inner.channel("studio").asked("remix source")[-1].id == f"up-{made.attempt_id}"
    for operation, path in (("edit", "edits"), ("extend", "extensions")):
        body = {"prompt": "in winter", "video": {"id": source.id}, **WISHES}
        body |= {"seconds": "5"} if operation == "extend" else {}
        status, video, _ = await chain.outer.call("POST", f"/v1/videos/{path}", json=body)
        assert (status, video["size"], video["seconds"]) == (200, "1920x1080", "13" if operation == "extend" else "8")
    for operation in ("remix", "edit", "extend"):
        request = chain.asked("studio", operation)
        assert (request.prompt, wished(request)) == ("in winter", WISHES)
    clip = ("clip.mp4", await asyncio.to_thread(sample_video), "video/mp4")
    await chain.sdk.videos.edit(prompt="in spring", video=clip, extra_body={"seed": BIG})
    request = chain.asked("studio", "edit")
    assert (request.prompt, request.seed, request.video is None) == ("in spring", BIG, False)
    assert len(await chain.within()) == 5


async def test_deleting_goes_through_both(chain: Chain) -> None:
    """A running video is cancelled where the inner product's channel can, else it stays at both and the client is told
    so without the inner one's advice; a finished one is deleted at both."""
    pending = UpstreamJob("up-1", "in_progress")
    for model, name, gone in (("stoppable", "lookup", True), ("film", "studio", False)):
        plugin = chain.inner.channel(name)
        plugin.then("fetch", *[pending] * 1000)
        video = await chain.sdk.videos.create(prompt=PROMPT, model=model)
        await chain.outer.until(video.id, "in_progress")
        status, body, _ = await chain.outer.call("DELETE", f"/v1/videos/{video.id}")
        assert len(await chain.within()) == (0 if gone else 1)
        if gone:
            assert (status, len(plugin.asked("cancel"))) == (200, 1)
        else:
            assert (status, body["error"]["code"]) == (400, "video_not_deletable")
            assert "The upstream cannot stop it now." in body["error"]["message"]
            plugin.__dict__["script"].clear()
            assert (await chain.sdk.videos.poll(video.id, poll_interval_ms=10)).status == "completed"
            assert (await chain.sdk.videos.delete(video.id)).deleted
            assert await chain.within() == []


async def test_refusals_say_what_is_to_blame(chain: Chain) -> None:
    """What the inner product refuses is the client's 400 with the inner one's `param`: metadata that it does not allow,
    and what its model does not take. What the entry's models rule out does not get there. Nothing is listed at either.
    """
    for wrong, code, param in (
        ({"metadata": {"n": 2}}, "invalid_value", "metadata.n"),
        ({"seconds": "12"}, "invalid_value", "seconds"),
        ({"last_frame": data_uri(64, 64)}, "unsupported_operation", "last_frame"),
        ({"size": "3840x2160"}, "invalid_value", "size"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await chain.sdk.videos.create(prompt=PROMPT, model="film", extra_body=wrong)
        assert (caught.value.code, caught.value.param) == (code, param)
        assert ("The upstream" in caught.value.message) == (param in ("metadata.n", "seconds"))
    assert await chain.within() == [video async for video in chain.sdk.videos.list()] == []
    assert chain.inner.channel("studio").asked("create") == []


async def test_failures_keep_their_codes(chain: Chain) -> None:
    """A video that failed within fails outside with the same code and sentence; an unknown outcome is one at both."""
    plugin = chain.inner.channel("studio")
    for code in ("moderation_blocked", "expired", "poll_timeout", "queue_timeout", "outcome_unknown"):
        plugin.then("fetch", UpstreamJob("up", "failed", error=JobError(code, f"Because of {code}.")))
        video = await chain.sdk.videos.create(prompt=PROMPT, model="film")
        failed = await chain.outer.done(video.id)
        assert failed["error"] == {"code": code, "message": f"Because of {code}."}
    # What became of it within nobody knows: it is queued at both, and ordered once.
    plugin.then("create", UpstreamError("The line was cut."))
    assert (await chain.sdk.videos.create(prompt=PROMPT, model="film")).status == "queued"
    assert (await chain.within())[0]["status"] == "queued"


async def test_a_killed_server_finds_its_order(inner: Product, tmp_path: Path) -> None:
    """kill -9 between an order and its answer: after the restart the order is found by its name, and one video is
    made, once."""
    folder = tmp_path / "killed"
    folder.mkdir()
    server = ServerProcess(folder, outer_text(inner))
    await server.start()
    taken: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    plugin = inner.channel("studio")
    plugin.film = FILM
    plugin.then("create", taken)
    bearer = {"Authorization": f"Bearer {KEY}"}
    async with ClientSession(headers=bearer) as session:
        body = {"prompt": PROMPT, "model": "film"}
        order = asyncio.create_task(session.post(f"{server.base_url}/videos", json=body))
        async with asyncio.timeout(60):
            while not plugin.asked("create"):
                await asyncio.sleep(0.01)
        await server.kill()
        await asyncio.wait([order])
        assert order.exception() is not None
        await server.start()
        try:
            taken.set_result(UpstreamJob("up-late", "in_progress"))
            async with asyncio.timeout(60):
                while True:
                    async with session.get(f"{server.base_url}/videos") as answer:
                        (video,) = (await answer.json())["data"]
                    if video["status"] not in ("queued", "in_progress"):
                        break
                    await asyncio.sleep(0.02)
            assert video["status"] == "completed", video
            async with session.get(f"{server.base_url}/videos/{video['id']}/content") as answer:
                assert (answer.status, await answer.read()) == (200, FILM)
        finally:
            await server.kill()
    (within,) = await listed(inner)
    assert (within["status"], len(plugin.asked("create"))) == ("completed", 1)
