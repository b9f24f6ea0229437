"""DashScope's official SDK as the oracle: the simulator serves it, and the plugin sends what it sends."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import Call, Job, SimulatorServer
from tests.plugins.dashscope_wire import FILM, KEY, OTHER, PICTURE, opened, request, source, taking
from tests.plugins.openai_oracle import PROMPT
from tests.simulators.dashscope import DashScopeSimulator

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    "REELGATE_DASHSCOPE_PYTHON" not in os.environ, reason="REELGATE_DASHSCOPE_PYTHON names no Python"
)


class Prompted(DashScopeSimulator):
    """Lets a task fail whose prompt says so, for a client in another process: `FAIL code`."""

    def poll(self, call: Call, job_id: object) -> Job:
        job = self.find(call, job_id)
        order, _, code = job.facts["prompt"].partition(" ")
        if order == "FAIL":
            self.fail(job.id, code=code)
        return super().poll(call, job_id)


async def run(what: str, url: str, more: str, home: Path) -> None:
    """The SDK, in a process and an environment of its own."""
    process = await asyncio.create_subprocess_exec(
        *(os.environ["REELGATE_DASHSCOPE_PYTHON"], str(ROOT / "tests/plugins/dashscope_sdk.py")),
        *(what, url, KEY, more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_the_sdk_lives_with_the_simulator(tmp_path: Path) -> None:
    """The SDK orders on both routes, puts its files up, polls, lists and cancels."""
    (tmp_path / "picture.png").write_bytes(PICTURE.data)
    async with SimulatorServer(Prompted(keys={KEY})) as sim:
        await run("life", sim.base_url, str(tmp_path), tmp_path)
    assert sim.paid == 7
    assert len(sim.calls("edit")) == 1


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


async def test_the_plugin_sends_what_the_sdk_sends(tmp_path: Path) -> None:
    """Path, body and the header of an asynchronous order are the same but for two fields that are superfluous."""
    async with taking() as recorder:
        await run("orders", recorder.base_url, json.dumps([{**USUAL, **order} for _, order in ORDERS]), tmp_path)
        theirs = list(recorder.calls)
        recorder.calls.clear()
        async with opened(recorder) as channel:
            for changes, _ in ORDERS:
                wanted, film = request(**changes), source()
                if wanted.kind == "create":
                    await channel.create(wanted)
                else:
                    await (channel.edit if wanted.kind == "edit" else channel.extend)(wanted, film)
    assert len(theirs) == len(recorder.calls) == len(ORDERS)
    for their, our in zip(theirs, recorder.calls, strict=True):
        for word in ("extend_prompt", "function"):
            del their.json["input"][word]
        assert (their.target, their.json) == (our.target, our.json)
        for name in ("authorization", "x-dashscope-async"):
            assert their.headers[name] == our.headers[name]
