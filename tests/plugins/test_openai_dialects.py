"""The dialects of plugins/openai.py: the laws of every channel, and lives against the simulator of each server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

import plugins.openai
from plugins._openai_dialects import DIALECTS, NEWAPI_STATES, Word
from plugins._openai_jobs import STATUS
from plugins.openai import OpenAI, OpenAIOptions
from proxy import (
    AccountRefused,
    InvalidRequest,
    ModerationBlocked,
    Picture,
    UnsupportedOperation,
    UpstreamGone,
    UpstreamJob,
)
from proxy.models import JobError, Kind
from proxy.testing import ChannelContract, Simulator, SimulatorServer
from proxy.testing.bench import law
from proxy.upstream import Http, Upstream
from proxy.upstream.redact import Redactor
from tests.plugins.openai_oracle import KEY, picture_file
from tests.plugins.openai_oracle import request as general
from tests.simulators.litellm import LiteLLMSimulator
from tests.simulators.newapi import NewApiSimulator
from tests.simulators.reelgate import ReelgateSimulator
from tests.simulators.sglang import SGLangSimulator
from tests.simulators.vllm_omni import VllmOmniSimulator

FOUR = {status: status for status in ("queued", "in_progress", "completed", "failed")}


class DialectContract(ChannelContract):
    """The laws, as far as the server has what they are about: the class has what any of them has."""

    plugin = "openai"
    plugin_file = Path(plugins.openai.__file__)
    native: ClassVar[tuple[Kind, ...]] = ()
    dialect: ClassVar[Word]

    def has(self, operation: str) -> bool:
        return operation in self.native or operation in DIALECTS[self.dialect].can

    def needs(self, operation: str) -> None:
        if not self.has(operation):
            pytest.skip(f"{self.dialect} has no {operation}")

    def paid_operations(self) -> list[Kind]:
        return ["create", *self.native]

    @law
    async def test_limits_are_the_entrys(self, tmp_path: Path) -> None:
        """The server declares no limits: what the entry's models say is held against a request before it is paid."""
        upstream = self.entry["models"][0]
        models = {"mine": {"upstream": upstream, "seconds": [4, 8], "sizes": ["1280x720"]}}
        async with self.product(tmp_path, {**self.entry, "models": models}) as product:
            for wrong, param in (({"seconds": "5"}, "seconds"), ({"size": "720x1280"}, "size")):
                asked = {"seconds": "8", "size": "1280x720", **wrong}
                answer = await product.call("POST", "/v1/videos", json={"prompt": "a kite", "model": "mine", **asked})
                assert (answer.status, answer.json["error"]["param"]) == (400, param)
            assert product.sim.paid == 0
            answer = await product.create(model="mine", seconds="8", size="1280x720")
            assert (answer.status, answer.json["seconds"], product.sim.paid) == (200, "8", 1)

    @law
    async def test_product_delete(self, tmp_path: Path) -> None:
        """A deleted video is gone for the client, and at the server where that can delete."""
        async with self.product(tmp_path) as product:
            video_id = await product.completed()
            assert (await product.call("DELETE", f"/v1/videos/{video_id}")).status == 200
            assert (await product.call("GET", f"/v1/videos/{video_id}")).status == 404
            assert product.sim.latest.removed == self.has("delete")

    @law
    async def test_product_delete_of_a_running_video(self, tmp_path: Path) -> None:
        """A running video is cancelled at the server where that can, else it is not deletable."""
        async with self.product(tmp_path) as product:
            video_id = await product.made()
            product.sim.advance(product.sim.latest.id)
            await product.until(video_id, "in_progress")
            answer = await product.call("DELETE", f"/v1/videos/{video_id}")
            assert answer.status == (200 if self.has("cancel") else 400)
            assert product.sim.latest.removed == self.has("cancel")


class TestReelgate(DialectContract):
    dialect = "reelgate"
    native = ("remix", "edit", "extend")
    simulator: ClassVar[type[Simulator]] = ReelgateSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "dialect": "reelgate", "models": ["sora-2"]}
    states: ClassVar[Mapping[str, str]] = FOUR


class TestSGLang(DialectContract):
    dialect = "sglang"
    simulator: ClassVar[type[Simulator]] = SGLangSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "dialect": "sglang", "models": ["wan"]}
    states: ClassVar[Mapping[str, str]] = {**FOUR, "deleted": "failed"}


class TestVllmOmni(DialectContract):
    dialect = "vllm_omni"
    simulator: ClassVar[type[Simulator]] = VllmOmniSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "dialect": "vllm_omni", "models": ["wan"]}
    states: ClassVar[Mapping[str, str]] = FOUR


class TestNewApi(DialectContract):
    """A Sora channel of a new-api, which has remixes, at the newer door."""

    dialect = "newapi"
    native = ("remix",)
    simulator: ClassVar[type[Simulator]] = NewApiSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "dialect": "newapi", "models": ["sora-2"]}
    states: ClassVar[Mapping[str, str]] = {**FOUR, "unknown": "queued"}


class TestNewApiOlderDoor(DialectContract):
    """Any other channel of a new-api, at the older door."""

    dialect = "newapi"
    simulator: ClassVar[type[Simulator]] = NewApiSimulator
    entry: ClassVar[Mapping[str, Any]] = {
        "api_key": KEY,
        "dialect": "newapi",
        "door": "generations",
        "models": ["kling-v2-6"],
    }
    states: ClassVar[Mapping[str, str]] = {
        **{word.upper(): status for word, status in {**STATUS, **NEWAPI_STATES}.items()},
        "SUCCESS": "completed",
    }


class TestLiteLLM(DialectContract):
    dialect = "litellm"
    simulator: ClassVar[type[Simulator]] = LiteLLMSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": KEY, "dialect": "litellm", "models": ["sora-2"]}
    states: ClassVar[Mapping[str, str]] = STATUS


# ---------------------------------------------------------------- lives


def request(**changes: Any) -> Any:
    return general(**{"seconds": 4, "prompt": "a kite", **changes})


@asynccontextmanager
async def opened(sim: Simulator, **options: str) -> AsyncIterator[OpenAI]:
    """A channel whose upstream is `sim`."""
    values = msgspec.convert({"base_url": sim.base_url, "api_key": KEY, **options}, OpenAIOptions)
    http = Http()
    await http.start()
    hosts = [sim.files_url.partition("//")[2]]
    client = Upstream(http, name="up", base_url=values.base_url, allow_hosts=hosts, redactor=Redactor([KEY]))
    try:
        yield OpenAI(name="up", options=values, upstream=client, folder=Path("unused"))
    finally:
        await http.close()


async def film(channel: OpenAI, job: UpstreamJob) -> bytes:
    async with channel.upstream.open(await channel.content(job, "video")) as response:
        assert response.status == 200
        return await response.read()


async def test_an_older_reelgate_is_no_oracle() -> None:
    """Where the answer does not say which Idempotency-Key it is about, its videos are any: nothing is found."""
    async with SimulatorServer(ReelgateSimulator(keys={KEY})) as sim, opened(sim, dialect="reelgate") as channel:
        job = await channel.create(request(attempt_id="att_1"))
        found = await channel.recover(request(attempt_id="att_1"))
        assert isinstance(found, UpstreamJob)
        assert found.id == job.id
        assert await channel.recover(request(attempt_id="att_2")) is None
        sim.knows_names = False
        assert await channel.recover(request(attempt_id="att_1")) is None


async def test_sglang_keeps_films_in_a_cloud() -> None:
    """A film in an object store is read there without our key; a server that publishes none fails the job."""
    async with SimulatorServer(SGLangSimulator(keys={KEY})) as sim, opened(sim, dialect="sglang") as channel:
        sim.cloud = True
        job = await channel.create(request())
        sim.finish(job.id)
        done = await channel.fetch(job)
        assert done.url is not None
        assert done.url.startswith(sim.files_url)
        assert await film(channel, done) == sim.video_bytes
        assert not any(KEY in str(call.headers) for call in sim.requests if call.elsewhere)
        sim.cloud, sim.output_path = False, None
        job = await channel.create(request())
        sim.finish(job.id)
        error = (await channel.fetch(job)).error
        assert isinstance(error, JobError)
        assert error.message.startswith("Video output could not be published")


@pytest.mark.parametrize("simulator", [SGLangSimulator, VllmOmniSimulator])
async def test_a_server_that_began_anew(simulator: type[SGLangSimulator | VllmOmniSimulator]) -> None:
    """Jobs that a server forgot with its memory are gone, which the engine counts."""
    dialect = "sglang" if simulator is SGLangSimulator else "vllm_omni"
    async with SimulatorServer(simulator(keys={KEY})) as sim, opened(sim, dialect=dialect) as channel:
        job = await channel.create(request())
        sim.restart()
        with pytest.raises(UpstreamGone):
            await channel.fetch(job)


@pytest.mark.parametrize("code", ["internal_error", "400", "503"])
async def test_vllm_omni_tells_failures_as_errors(code: str) -> None:
    """A job that failed is told as failed, whatever status its poll has."""
    async with SimulatorServer(VllmOmniSimulator(keys={KEY})) as sim, opened(sim, dialect="vllm_omni") as channel:
        job = await channel.create(request())
        sim.fail(job.id, code=code, message="CUDA out of memory")
        told = await channel.fetch(job)
        assert (told.status, told.error) == ("failed", JobError("upstream_failed", "CUDA out of memory"))


async def test_what_is_passed_on_is_taken() -> None:
    """Wishes and metadata of both self-hosted servers come through in the types that they read."""
    tuned = {"guidance_scale": 4.5, "num_inference_steps": 30, "fps": 12, "enable_frame_interpolation": True}
    wishes: dict[str, Any] = {"metadata": {**tuned, "output_path": "/etc"}, "seed": 7, "negative_prompt": "rain"}
    for simulator, dialect in ((SGLangSimulator, "sglang"), (VllmOmniSimulator, "vllm_omni")):
        async with SimulatorServer(simulator(keys={KEY})) as sim, opened(sim, dialect=dialect) as channel:
            pictures = (still(),)
            for images in ((), pictures, pictures * 2 if dialect == "vllm_omni" else pictures):
                await channel.create(request(**wishes, images=images, audio=False))
                fields = sim.latest.facts["fields"]
                assert {name: fields[name] for name in tuned} == tuned
                assert (str(fields["seed"]), fields["negative_prompt"]) == ("7", "rain")
                assert "output_path" not in fields
            assert sim.paid == 3


def still() -> Picture:
    return Picture(picture_file(1280, 720), "image/png", 1280, 720)


@pytest.mark.parametrize("creates", ["video", "docs", "task_id", "raw"])
@pytest.mark.parametrize("door", ["videos", "generations"])
async def test_newapi_of_all_versions(creates: Any, door: str) -> None:
    """Whatever a version answers to an order, and wherever it puts the link, the film is found."""
    async with SimulatorServer(NewApiSimulator(keys={KEY})) as sim, opened(sim, dialect="newapi", door=door) as channel:
        sim.automatic, sim.creates = False, creates
        for model in ("kling-v2-6", "doubao-seedance-1-5-pro", "veo-3.1-generate-001"):
            for change in ({}, {"links_in_fail_reason": True}, {"white_label": True}, {"bare": True}):
                for name in ("links_in_fail_reason", "white_label", "bare"):
                    setattr(sim, name, change.get(name, False))
                sim.own_origin = "http://10.1.2.3:3000"
                job = await channel.create(request(model=model, images=(still(),)))
                assert sim.latest.facts["seconds"] == "4"
                assert (await channel.fetch(job)).status == "queued"
                sim.finish(job.id)
                done = await channel.fetch(job)
                assert done.status == "completed"
                assert await film(channel, done) == sim.video_bytes


async def test_newapi_without_the_newer_door() -> None:
    """A task that the newer door cannot tell of is asked for at the older one."""
    async with SimulatorServer(NewApiSimulator(keys={KEY})) as sim, opened(sim, dialect="newapi") as channel:
        sim.has_videos = False
        job = await channel.create(request())
        sim.fail(job.id, message="Out of luck")
        assert (await channel.fetch(job)).error == JobError("upstream_failed", "Out of luck")
        assert [call.path.rpartition("/")[0] for call in sim.calls("fetch")] == ["/v1/videos", "/v1/video/generations"]


async def test_newapi_refuses() -> None:
    """An empty account, an unknown task and a remix on another kind of channel are told apart."""
    async with SimulatorServer(NewApiSimulator(keys={KEY})) as sim, opened(sim, dialect="newapi") as channel:
        with pytest.raises(UpstreamGone):
            await channel.fetch(UpstreamJob("task_0"))
        job = await channel.create(request(model="kling-v2-6"))
        sim.finish(job.id)
        with pytest.raises(InvalidRequest, match="remix is not supported"):
            await channel.remix(request(kind="remix"), job)
        sim.penniless = True
        with pytest.raises(AccountRefused):
            await channel.create(request())
        assert sim.paid == 1


async def test_litellm_is_asked_by_its_first_id() -> None:
    """The id of the order is the one that is good: later answers show others."""
    async with SimulatorServer(LiteLLMSimulator(keys={KEY})) as sim, opened(sim, dialect="litellm") as channel:
        job = await channel.create(request())
        told = await channel.fetch(await channel.fetch(job))
        assert told.id == job.id == sim.latest.id
        sim.finish(job.id)
        assert await film(channel, await channel.fetch(job)) == sim.video_bytes
        with pytest.raises(UnsupportedOperation):
            await channel.delete(job)
        sim.then(sim.plain(400, "litellm.ContentPolicyViolationError: not that"), on="create")
        with pytest.raises(ModerationBlocked, match="not that"):
            await channel.create(request())
