"""The simulators of servers that promise to serve OpenAI's SDK, driven by that SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from proxy.testing import Part, Simulator, SimulatorServer
from tests.plugins.openai_oracle import PROMPT, picture_file
from tests.simulators.litellm import LiteLLMSimulator, decode
from tests.simulators.newapi import NewApiSimulator
from tests.simulators.sglang import SGLangSimulator
from tests.simulators.vllm_omni import VllmOmniSimulator

MODELS: dict[type[Simulator], Any] = {
    SGLangSimulator: {},
    VllmOmniSimulator: {},
    NewApiSimulator: {"model": "sora-2"},
    LiteLLMSimulator: {"model": "sora-2"},
}
POLLS_BY_ITS_ID = (SGLangSimulator, VllmOmniSimulator, NewApiSimulator)
PICTURE = ("first.png", picture_file(1280, 720), "image/png")


@asynccontextmanager
async def driven(sim: Simulator, key: str = "sk-test") -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sim.base_url}/v1", api_key=key, max_retries=0) as sdk:
        yield sdk


@pytest.fixture(params=MODELS, ids=lambda kind: kind.__name__.removesuffix("Simulator"))
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with SimulatorServer(request.param()) as simulator:
        yield simulator


async def test_life(sim: Simulator, tmp_path: Path) -> None:
    """A create with a picture, polls to the end by the id of the create, and the film as a file."""
    async with driven(sim) as sdk:
        model = MODELS[type(sim)]
        made = await sdk.videos.create(prompt=PROMPT, seconds="8", size="1280x720", input_reference=PICTURE, **model)
        assert (made.object, made.status, made.progress, sim.paid) == ("video", "queued", 0, 1)
        found = sim.latest.call.form["input_reference"]
        assert isinstance(found, Part)
        assert (found.data, sim.latest.call.form["prompt"]) == (PICTURE[1], PROMPT)
        polls = [await sdk.videos.retrieve(made.id) for _ in range(3)]
        assert [video.status for video in polls] == ["queued", "in_progress", "completed"]
        assert (polls[2].seconds, polls[2].size, polls[2].progress, polls[2].error) == ("8", "1280x720", 100, None)
        content = await sdk.videos.download_content(made.id)
        await asyncio.to_thread(content.write_to_file, tmp_path / "film.mp4")
        assert await asyncio.to_thread((tmp_path / "film.mp4").read_bytes) == sim.video_bytes


async def test_create_and_poll(sim: Simulator) -> None:
    """The SDK's own loop ends with a completed video; behind LiteLLM it does so by the id of the create."""
    async with driven(sim) as sdk:
        made = await sdk.videos.create_and_poll(
            prompt="hi", seconds="4", size="1280x720", poll_interval_ms=1, **MODELS[type(sim)]
        )
        assert made.status == "completed"
        # What a poll calls it is good for another poll, but at LiteLLM.
        again = sdk.videos.retrieve(made.id)
        if isinstance(sim, POLLS_BY_ITS_ID):
            assert (await again).id == sim.latest.id
        else:
            with pytest.raises(openai.AuthenticationError):
                await again


async def test_wrong_key_and_unknown_model(sim: Simulator) -> None:
    """A wrong key is a 401; a model that is not served is refused, but by SGLang, which echoes any."""
    async with driven(sim, "sk-nobody") as sdk:
        with pytest.raises(openai.AuthenticationError):
            await sdk.videos.create(prompt="hi", **MODELS[type(sim)])
    async with driven(sim) as sdk:
        create = sdk.videos.create(prompt="hi", model="no-such-model")
        if isinstance(sim, SGLangSimulator):
            assert (await create).model == "no-such-model"
        else:
            with pytest.raises((openai.BadRequestError, openai.InternalServerError)):
                await create
            assert sim.paid == 0


async def test_failure(sim: Simulator) -> None:
    """A failed job is a video with an error; at vLLM-Omni the poll itself fails, with the video as its body."""
    async with driven(sim) as sdk:
        made = await sdk.videos.create(prompt="hi", **MODELS[type(sim)])
        sim.fail(sim.latest.id, code="server_error", message="It broke.")
        if isinstance(sim, VllmOmniSimulator):
            with pytest.raises(openai.InternalServerError) as caught:
                await sdk.videos.retrieve(made.id)
            assert caught.value.response.json()["status"] == "failed"
        else:
            video = await sdk.videos.retrieve(made.id)
            assert (video.status, video.error and video.error.message) == ("failed", "It broke.")
        with pytest.raises(openai.APIStatusError):
            await sdk.videos.download_content(made.id)


@pytest.mark.parametrize("kind", [SGLangSimulator, VllmOmniSimulator])
async def test_list_and_delete(kind: type[Simulator]) -> None:
    """Pages of a list give each video once; a deleted one is gone."""
    async with SimulatorServer(kind()) as sim, driven(sim) as sdk:
        made = [(await sdk.videos.create(prompt="hi")).id for _ in range(5)]
        assert sorted([video.id async for video in sdk.videos.list(limit=2)]) == sorted(made)
        sim.finish(made[0])
        gone: Any = await sdk.videos.delete(made[0])
        assert gone.id == made[0]
        assert gone.to_dict().get("status", gone.object) in ("deleted", "video.deleted")
        with pytest.raises(openai.NotFoundError):
            await sdk.videos.retrieve(made[0])


@pytest.mark.parametrize("kind", [NewApiSimulator, LiteLLMSimulator])
async def test_remix(kind: type[Simulator]) -> None:
    """The two gateways pass a remix on, which is counted apart and names its source."""
    async with SimulatorServer(kind()) as sim, driven(sim) as sdk:
        source = await sdk.videos.create(prompt="hi", model="sora-2", seconds="8")
        with pytest.raises(openai.BadRequestError):
            await sdk.videos.remix(source.id, prompt="at night")
        sim.finish(source.id)
        remix = await sdk.videos.remix(source.id, prompt="at night")
        assert (sim.latest.kind, sim.paid, sim.latest.facts["seconds"], len(sim.calls("remix"))) == ("remix", 2, "8", 2)
        name = decode(source.id)
        assert remix.remixed_from_video_id == (name.video if name else source.id)


async def test_litellm_edits_and_extends() -> None:
    """Uploads reach the upstream's routes; a list is a 400 and a delete a 405."""
    async with SimulatorServer(LiteLLMSimulator()) as sim, driven(sim) as sdk:
        upload = ("clip.mp4", sim.video_bytes, "video/mp4")
        extended = await sdk.videos.extend(prompt="on", seconds="8", video=upload)
        assert (sim.latest.kind, extended.seconds) == ("extend", "10")
        await sdk.videos.edit(prompt="at night", video=upload, extra_body={"model": "sora-2"})
        assert sim.latest.kind == "edit"
        with pytest.raises(openai.BadRequestError):
            await sdk.videos.list()
        with pytest.raises(openai.APIStatusError) as caught:
            await sdk.videos.delete(sim.latest.id)
        assert caught.value.status_code == 405


async def test_litellm_multiplies_orders() -> None:
    """One create of the SDK, with its own two retries, is nine paid jobs when the upstream bills and fails."""
    async with SimulatorServer(LiteLLMSimulator()) as sim:
        sim.upstream_breaks = True
        async with AsyncOpenAI(base_url=f"{sim.base_url}/v1", api_key="sk-test", max_retries=2) as sdk:
            with pytest.raises(openai.InternalServerError):
                await sdk.videos.create(prompt="hi", model="sora-2")
        assert sim.paid == 9
