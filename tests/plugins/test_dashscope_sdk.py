"""DashScope's official SDK as the oracle: the simulator serves it, and the plugin sends what it sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.dashscope_wire import FILM, KEY, OTHER, PICTURE, opened, request, source
from tests.plugins.openai_oracle import PROMPT
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.dashscope import DashScopeSimulator

PEER = Path(__file__).with_name("dashscope_peer.py")
CLIP = {"model": "wan2.6-t2v", "prompt": "a paper boat", "size": "1280*720", "duration": 5, "seed": 7}


@pytest.fixture
async def sim() -> AsyncIterator[DashScopeSimulator]:
    async with SimulatorServer(DashScopeSimulator(keys={KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: DashScopeSimulator, tmp_path: Path) -> AsyncIterator[Ask]:
    """The SDK in a process of its own: orders in, answers out."""
    account = (sim.base_url, KEY)
    async with driven("REELGATE_DASHSCOPE_PYTHON", "dashscope", PEER, *account, HOME=str(tmp_path)) as ask:
        yield ask


async def made(sdk: Ask, **order: Any) -> str:
    """The id of a task that was taken."""
    said = await sdk("async_call", **order)
    assert (said["status_code"], said["output"]["task_status"]) == (200, "PENDING"), said
    return str(said["output"]["task_id"])


async def state(sdk: Ask, task_id: str) -> str:
    return str((await sdk("fetch", task=task_id))["output"]["task_status"])


async def test_life(sim: DashScopeSimulator, sdk: Ask, tmp_path: Path) -> None:
    """Tasks with the files that the SDK puts up come to their end, on both routes; the film is public."""
    (tmp_path / "picture.png").write_bytes(PICTURE.data)
    picture, hd = f"file://{tmp_path / 'picture.png'}", {"prompt": "a paper boat", "resolution": "720P"}
    for order in (
        CLIP,
        {**hd, "model": "wan2.6-i2v", "img_url": picture},
        {**hd, "model": "wan2.2-kf2v-flash", "first_frame_url": picture, "last_frame_url": picture},
        {**hd, "model": "wan2.7-i2v", "media": [{"type": "first_frame", "url": picture}]},
    ):
        task_id = await made(sdk, **order)
        assert [await state(sdk, task_id) for _ in range(3)] == ["PENDING", "RUNNING", "SUCCEEDED"]
        done = await sdk("wait", task=task_id)
        assert (done["status_code"], done["usage"]["video_count"]) == (200, 1)
        async with aiohttp.request("GET", done["output"]["video_url"]) as film:
            assert await film.read() == sim.video_bytes
    edit = {"model": "wan2.7-videoedit", "media": [{"type": "video", "url": done["output"]["video_url"]}]}
    await made(sdk, **hd, **edit)
    assert (sim.paid, len(sim.calls("edit"))) == (5, 1)


async def test_ends(sim: DashScopeSimulator, sdk: Ask) -> None:
    """Failed tasks, unknown ones and those that were cancelled are read; a list has them."""
    failed = await made(sdk, **CLIP)
    sim.fail(failed, code="DataInspectionFailed")
    said = await sdk("wait", task=failed)
    assert (said["output"]["task_status"], said["output"]["code"]) == ("FAILED", "DataInspectionFailed")
    assert await state(sdk, "00000000-0000-4000-8000-000000000000") == "UNKNOWN"
    task_id = await made(sdk, **CLIP)
    assert (await sdk("cancel", task=task_id))["status_code"] == 200
    assert await state(sdk, task_id) == "CANCELED"
    assert (await sdk("cancel", task=task_id))["status_code"] == 400
    assert (await sdk("list", page_size=2))["status_code"] == 200


async def test_refusals(sim: DashScopeSimulator, sdk: Ask) -> None:
    """A wrong body and a wrong key come with a code and a sentence."""
    for changes, status in (({"size": "1280x720"}, 400), ({"duration": 7}, 400), ({"api_key": "sk-nobody"}, 401)):
        said = await sdk("async_call", **{**CLIP, **changes})
        assert (said["status_code"], bool(said["code"]), bool(said["message"])) == (status, True, True), said
    assert sim.paid == 0


USUAL: dict[str, Any] = {"prompt": PROMPT, "prompt_extend": True, "watermark": False}
URI, END = PICTURE.data_uri, OTHER.data_uri
HD: dict[str, Any] = {"resolution": "720P", "duration": 5}
MEDIA: list[dict[str, Any]] = [{"type": "reference_image", "url": URI}, {"type": "reference_image", "url": END}]

ORDERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"seed": 7, "negative_prompt": "rain"},
        {"model": "wan2.6-t2v", "size": "1280*720", "duration": 5, "seed": 7, "negative_prompt": "rain"},
    ),
    ({"model": "wan2.6-i2v", "images": (PICTURE,)}, {"model": "wan2.6-i2v", **HD, "img_url": URI}),
    (
        {"model": "wan2.2-kf2v-flash", "images": (PICTURE,), "last_frame": OTHER},
        {"model": "wan2.2-kf2v-flash", **HD, "first_frame_url": URI, "last_frame_url": END},
    ),
    (
        {"model": "wan2.6-r2v", "images": (PICTURE, OTHER)},
        {"model": "wan2.6-r2v", "size": "1280*720", "duration": 5, "reference_urls": [URI, END]},
    ),
    (
        {"model": "wan2.7-r2v", "images": (PICTURE, OTHER)},
        {"model": "wan2.7-r2v", **HD, "ratio": "16:9", "media": MEDIA},
    ),
    ({"kind": "edit"}, {"model": "wan2.7-videoedit", "resolution": "720P", "media": [{"type": "video", "url": FILM}]}),
    (
        {"kind": "extend"},
        {"model": "wan2.7-i2v", **HD, "duration": 10, "media": [{"type": "first_clip", "url": FILM}]},
    ),
]
"""A request, and what the SDK is asked for to send the same."""


async def test_bodies(sim: DashScopeSimulator, sdk: Ask) -> None:
    """Path, body and the header of an asynchronous order are the same but for two fields that are superfluous."""
    async with opened(sim) as channel:
        for changes, order in ORDERS:
            await made(sdk, **USUAL, **order)
            wanted = request(**changes)
            if wanted.kind == "create":
                await channel.create(wanted)
            else:
                await (channel.edit if wanted.kind == "edit" else channel.extend)(wanted, source())
            theirs, ours = sim.calls(wanted.kind)[-2:]
            more = {"extend_prompt": True, "function": "video-synthesis"}
            assert (ours.path, {**ours.json, "input": {**ours.json["input"], **more}}) == (theirs.path, theirs.json)
            for name in ("authorization", "x-dashscope-async"):
                assert ours.headers[name] == theirs.headers[name]
    assert sim.paid == 2 * len(ORDERS)
