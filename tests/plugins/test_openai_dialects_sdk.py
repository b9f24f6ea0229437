"""The official SDK in front of the product, with the simulator of each dialect behind it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from proxy.testing import Simulator, SimulatorServer
from tests.conftest import ADMIN_KEY, Launch
from tests.plugins.openai_oracle import KEY, PROMPT, picture_file
from tests.simulators.litellm import LiteLLMSimulator
from tests.simulators.newapi import NewApiSimulator
from tests.simulators.sglang import SGLangSimulator
from tests.simulators.vllm_omni import VllmOmniSimulator

SERVERS: list[tuple[type[Simulator], dict[str, Any]]] = [
    (SGLangSimulator, {"dialect": "sglang"}),
    (VllmOmniSimulator, {"dialect": "vllm_omni"}),
    (NewApiSimulator, {"dialect": "newapi"}),
    (NewApiSimulator, {"dialect": "newapi", "door": "generations"}),
    (LiteLLMSimulator, {"dialect": "litellm"}),
]


@pytest.mark.parametrize(("simulator", "options"), SERVERS, ids=["sglang", "vllm_omni", "newapi", "older", "litellm"])
async def test_life(launch: Launch, simulator: type[Simulator], options: dict[str, Any]) -> None:
    """Ordered with a picture and polled by the SDK's own loop, seen in the list, read whole and in part, failed,
    deleted; what the entry's models do not have is a 400, and each video is paid for once."""
    async with SimulatorServer(simulator(keys={KEY})) as sim:
        models = {"mine": {"upstream": "sora-2", "seconds": [4, 8], "sizes": ["1280x720"]}}
        entry = {"name": "up", "type": "openai", "base_url": f"{sim.base_url}/v1", "api_key": KEY, "models": models}
        hosts = [sim.files_url.partition("//")[2]]
        text = json.dumps({"channels": [{**entry, **options, "allow_hosts": hosts, "poll_every": 0.05}]})
        product = await launch(text)
        async with AsyncOpenAI(base_url=f"{product.url}/v1", api_key=ADMIN_KEY, max_retries=0) as sdk:
            order: dict[str, Any] = {"prompt": PROMPT, "model": "mine", "size": "1280x720"}
            picture = ("first.png", picture_file(1280, 720), "image/png")
            done = await sdk.videos.create_and_poll(**order, seconds="8", input_reference=picture, poll_interval_ms=10)
            assert (done.status, done.progress, done.seconds, done.size) == ("completed", 100, "8", "1280x720")
            assert sim.latest.id not in done.to_json()
            assert [video.id async for video in sdk.videos.list()] == [done.id]
            assert (await sdk.videos.download_content(done.id)).content == sim.video_bytes
            part = await sdk.videos.download_content(done.id, extra_headers={"Range": "bytes=5-9"})
            assert (part.response.status_code, part.content) == (206, sim.video_bytes[5:10])
            with pytest.raises(openai.BadRequestError) as caught:
                await sdk.videos.create(**order, seconds="12")
            assert (caught.value.param, sim.paid) == ("seconds", 1)
            sim.automatic = False
            made = await sdk.videos.create(**order, seconds="4")
            sim.fail(sim.latest.id, message="Out of luck")
            failed = await sdk.videos.poll(made.id, poll_interval_ms=10)
            assert failed.error is not None
            assert (failed.error.code, failed.error.message) == ("upstream_failed", "Out of luck")
            for video in (done, failed):
                assert (await sdk.videos.delete(video.id)).deleted
            assert ([video.id async for video in sdk.videos.list()], sim.paid) == ([], 2)
