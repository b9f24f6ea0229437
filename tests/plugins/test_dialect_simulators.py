"""The simulators of SGLang, vLLM-Omni, new-api and LiteLLM keep the habits of the fact sheets."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from proxy.testing import Simulator, SimulatorServer
from tests.plugins.openai_oracle import PNG
from tests.simulators.litellm import LiteLLMSimulator, Name, decode, encode
from tests.simulators.newapi import BUSY, NewApiSimulator
from tests.simulators.sglang import MODEL, UNPUBLISHED, SGLangSimulator
from tests.simulators.vllm_omni import VllmOmniSimulator


class Client:
    """Calls with the simulator's key; an answer is (status, JSON or bytes)."""

    def __init__(self, sim: Simulator, session: aiohttp.ClientSession) -> None:
        self.sim, self.session = sim, session
        self.headers: dict[str, str] = {}

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        url = path if path.startswith("http") else f"{self.sim.base_url}{path}"
        async with self.session.request(method, url, allow_redirects=False, **kwargs) as response:
            self.headers = {name.lower(): value for name, value in response.headers.items()}
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.read())

    async def create(self, path: str = "/v1/videos", **fields: Any) -> Any:
        status, video = await self.call("POST", path, json={"prompt": "hi", **fields})
        assert status == 200, video
        return video

    async def form(self, path: str = "/v1/videos", *, files: dict[str, bytes] | None = None, **fields: str) -> Any:
        form = aiohttp.FormData({"prompt": "hi", **fields}, default_to_multipart=True)
        for name, data in (files or {}).items():
            form.add_field(name, data, filename="upload", content_type="application/octet-stream")
        return await self.call("POST", path, data=form)


@asynccontextmanager
async def serving(sim: Simulator, key: str = "sk-test") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"}
    async with SimulatorServer(sim), aiohttp.ClientSession(headers=headers) as session:
        yield Client(sim, session)


# -- SGLang ----------------------------------------------------------------------------------------------------------


async def test_sglang_object() -> None:
    """An id is a bare UUID; seconds are read as a number or its text and told as text; frames decide."""
    async with serving(SGLangSimulator()) as client:
        video = await client.create(seconds=8, size="1280x720", fps=None, quality="x", anything=[1])
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", video["id"])
        assert (video["seconds"], video["size"], video["quality"]) == ("8", "1280x720", "standard")
        assert (video["model"], video["url"], "prompt" in video) == (MODEL, None, False)
        assert (await client.create(seconds="6"))["seconds"] == "6"
        assert (await client.create(num_frames=81, fps=16, n=2))["seconds"] == "5"
        assert client.sim.latest.facts["outputs"] == 2
        assert (await client.create(extra_body={"seconds": 3}))["seconds"] == "3"


async def test_sglang_refusals() -> None:
    """JSON that does not fit is a 400, a form that does not is a 422 with a list, and none of them is paid."""
    async with serving(SGLangSimulator()) as client:
        for body in ({}, {"prompt": 7}, {"prompt": "hi", "seconds": "4.5"}, {"prompt": "hi", "input_reference": {}}):
            status, said = await client.call("POST", "/v1/videos", json=body)
            assert (status, said["detail"][:20]) == (400, "Invalid request body")
        status, said = await client.form(seconds="long")
        assert (status, said["detail"][0]["loc"]) == (422, ["body", "seconds"])
        assert (await client.form(input_reference="https://a.example/x.png"))[0] == 422
        assert (await client.form(prompt=""))[1] == {"detail": "prompt is required"}
        assert (await client.form(size="large"))[0] == 400
        assert (await client.form(files={"input_reference": b"no picture"}))[0] == 400
        assert (await client.form(files={"input_reference": PNG}))[0] == 200
        assert (await client.create(input_reference="/srv/sglang/outputs/x.png"))["status"] == "queued"
        assert client.sim.paid == 2


async def test_sglang_content() -> None:
    """The content is numbered, has ranges and an ETag, and is a 404 early, after a failure and for a word."""
    async with serving(SGLangSimulator()) as client:
        path = f"/v1/videos/{(await client.create())['id']}"
        assert await client.call("GET", f"{path}/content") == (404, {"detail": "Generation is still in-progress"})
        client.sim.finish(client.sim.latest.id)
        assert (await client.call("GET", path))[1]["file_paths"][0].startswith("/srv/")
        status, part = await client.call("GET", f"{path}/content?variant=0", headers={"Range": "bytes=0-9"})
        assert (status, part, "etag" in client.headers) == (206, client.sim.video_bytes[:10], True)
        for variant in ("video", "1"):
            missing = {"detail": f"Video variant {variant} not found"}
            assert await client.call("GET", f"{path}/content?variant={variant}") == (404, missing)
        failed = (await client.create())["id"]
        client.sim.fail(failed, message="CUDA out of memory")
        assert (await client.call("GET", f"/v1/videos/{failed}"))[1]["error"] == {"message": "CUDA out of memory"}
        assert (await client.call("GET", f"/v1/videos/{failed}/content"))[0] == 404


async def test_sglang_options() -> None:
    """A cloud gives addresses and no content; nowhere to write fails the job; a restart and a delete forget it."""
    sim = SGLangSimulator()
    async with serving(sim) as client:
        sim.cloud = True
        path = f"/v1/videos/{(await client.create())['id']}"
        sim.finish(sim.latest.id)
        video = (await client.call("GET", path))[1]
        assert (video["url"].startswith(sim.files_url), video["file_path"]) == (True, None)
        assert await client.call("GET", video["url"]) == (200, sim.video_bytes)
        status, said = await client.call("GET", f"{path}/content")
        assert (status, video["url"] in said["detail"]) == (400, True)
        sim.cloud, sim.output_path = False, None
        video = await client.create()
        sim.finish(video["id"])
        failed = (await client.call("GET", f"/v1/videos/{video['id']}"))[1]
        assert (failed["status"], failed["error"]) == ("failed", {"message": UNPUBLISHED})
        video = await client.create(output_path="/data")
        sim.advance(video["id"])
        deleted = (await client.call("DELETE", f"/v1/videos/{video['id']}"))[1]
        assert (deleted["status"], sim.latest.cancelled) == ("deleted", False)
        sim.restart()
        assert await client.call("GET", path) == (404, {"detail": "Video not found"})
        assert (await client.call("POST", f"{path}/remix", json={"prompt": "hi"}))[0] == 404
        assert (await client.call("GET", "/v1/videos?limit=0"))[0] == 422
    async with serving(SGLangSimulator(keys=())) as client:
        assert (await client.create())["status"] == "queued"


# -- vLLM-Omni -------------------------------------------------------------------------------------------------------


async def test_vllm_omni_form() -> None:
    """Only forms are read; fields have patterns and bounds, unknown ones are ignored, another model is refused."""
    sim = VllmOmniSimulator()
    async with serving(sim) as client:
        assert (await client.call("POST", "/v1/videos", json={"prompt": "hi"}))[0] == 422
        status, video = await client.form(anything="x", fps="12", seconds="8", size="832x480")
        assert (status, video["seconds"], video["size"], video["num_frames"]) == (200, "8", "832x480", 96)
        assert re.fullmatch(r"video_gen_[0-9a-f]{32}", video["id"])
        urlencoded = (await client.call("POST", "/v1/videos", data={"prompt": "hi"}))[1]
        assert (urlencoded["prompt"], urlencoded["size"], urlencoded["seconds"]) == ("hi", None, "4")
        for wrong in ({"seconds": "0"}, {"seconds": "4.5"}, {"size": "16:9"}, {"num_outputs_per_prompt": "11"}):
            assert (await client.form(**wrong))[0] == 422
        status, said = await client.form(model="sora-2")
        assert (status, said["error"]["code"]) == (400, 400)
        assert said["error"]["message"].startswith("Model mismatch: ")
        assert (await client.form(model=sim.model))[0] == 200
        sim.details = True
        assert list((await client.form(model="sora-2"))[1]) == ["detail"]
        assert sim.paid == 3


async def test_vllm_omni_references() -> None:
    """A picture is a file or JSON that names it, never both; brackets are one more unknown field."""
    async with serving(VllmOmniSimulator()) as client:
        assert (await client.form(files={"input_reference": PNG}))[0] == 200
        url = json.dumps({"image_url": "https://a.example/x.png"})
        assert (await client.form(image_reference=url))[0] == 200
        assert client.sim.latest.facts["references"] == {"image_reference": json.loads(url)}
        assert (await client.form(**{"input_reference[image_url]": "https://a.example/x.png"}))[0] == 200
        assert client.sim.latest.facts["references"] == {}
        assert (await client.form(image_reference=url, files={"input_reference": PNG}))[0] == 400
        assert (await client.form(image_reference="https://a.example/x.png"))[0] == 400
        assert (await client.form(image_reference='{"url": "x"}'))[0] == 400
        assert (await client.form(input_reference="https://a.example/x.png"))[0] == 422
        assert (await client.form(files={"input_reference": b"no picture"}))[0] == 400


async def test_vllm_omni_ends() -> None:
    """A failed job comes whole with the status of its error; progress leaps; content never says `variant`."""
    sim = VllmOmniSimulator()
    async with serving(sim) as client:
        path = f"/v1/videos/{(await client.form())[1]['id']}"
        sim.advance(sim.latest.id)
        assert (await client.call("GET", path))[1]["progress"] == 0
        sim.finish(sim.latest.id)
        assert (await client.call("GET", path))[1]["progress"] == 100
        assert await client.call("GET", f"{path}/content?variant=thumbnail") == (200, sim.video_bytes)
        for code, status in (("400", 400), ("internal_error", 500)):
            job_id = (await client.form())[1]["id"]
            sim.fail(job_id, code=code, message="It broke.")
            found, video = await client.call("GET", f"/v1/videos/{job_id}")
            assert (found, video["object"], video["status"]) == (status, "video", "failed")
            assert video["error"] == {"code": status, "message": "It broke."}
            assert (await client.call("GET", f"/v1/videos/{job_id}/content"))[0] == 422


async def test_vllm_omni_deletes_and_sync() -> None:
    """A delete aborts what runs, and is a 409 while it does; the synchronous route answers the film."""
    sim = VllmOmniSimulator()
    async with serving(sim) as client:
        job_id = (await client.form())[1]["id"]
        sim.conflicts = 1
        assert [(await client.call("DELETE", f"/v1/videos/{job_id}"))[0] for _ in range(3)] == [409, 200, 404]
        assert (sim.latest.cancelled, sim.latest.removed) == (True, True)
        assert await client.form("/v1/videos/sync") == (200, sim.video_bytes)
        assert client.headers["x-model"] == sim.model
        assert (sim.paid, len(sim.calls("sync"))) == (2, 1)
        sim.has_one_server = False
        assert (await client.form())[0] == 503
    async with serving(VllmOmniSimulator(), "sk-nobody") as stranger:
        assert await stranger.form() == (401, {"error": "Unauthorized"})


# -- new-api ---------------------------------------------------------------------------------------------------------


async def test_newapi_two_doors() -> None:
    """One task has two bodies: OpenAI's object without nulls, and an envelope with words and a percent sign."""
    async with serving(NewApiSimulator(), "test") as client:
        made = await client.create("/v1/video/generations", model="kling-v2-6", duration=10)
        assert re.fullmatch(r"task_[A-Za-z0-9]{32}", made["id"])
        assert set(made) == {"id", "task_id", "object", "model", "status", "progress", "created_at"}
        client.sim.finish(made["id"])
        _, video = await client.call("GET", f"/v1/videos/{made['id']}")
        _, envelope = await client.call("GET", f"/v1/video/generations/{made['id']}")
        assert (video["seconds"], video["status"], video["progress"], "error" in video) == (
            "10",
            "completed",
            100,
            False,
        )
        task = envelope["data"]
        assert (envelope["code"], task["status"], task["progress"]) == ("success", "SUCCESS", "100%")
        assert task["result_url"] == video["metadata"]["url"]
        assert await client.call("GET", task["result_url"]) == (200, client.sim.video_bytes)
        assert (await client.call("GET", task["result_url"].partition("?")[0]))[0] == 403


async def test_newapi_versions() -> None:
    """What older versions and forks do: other first answers, the link as a failure's reason, another envelope."""
    sim = NewApiSimulator()
    async with serving(sim) as client:
        answers = []
        for sim.creates in ("docs", "task_id", "raw"):
            answers.append(await client.create(model="kling-v2-6"))
        assert (answers[0]["status"], answers[1]) == ("processing", {"task_id": answers[1]["task_id"]})
        job_id = answers[2]["data"]["task_id"]
        sim.finish(job_id)
        sim.links_in_fail_reason = True
        task = (await client.call("GET", f"/v1/video/generations/{job_id}"))[1]["data"]
        assert (task["fail_reason"].startswith(sim.files_url), "result_url" in task) == (True, False)
        sim.creates, sim.has_videos = "video", False
        assert (await client.call("GET", f"/v1/videos/{job_id}"))[0] == 501
        veo = (await client.create(model="veo-3.1-generate-001"))["id"]
        sim.finish(veo)
        inner = (await client.call("GET", f"/v1/video/generations/{veo}"))[1]["data"]
        assert (inner["status"], inner["format"]) == ("succeeded", "mp4")
        sim.bare = True
        assert (await client.call("GET", f"/v1/video/generations/{veo}"))[1] == inner


async def test_newapi_errors() -> None:
    """An unknown id is a 400, every 429 says the same, Go's types are strict, and nothing of it is paid."""
    sim = NewApiSimulator()
    async with serving(sim) as client:
        absent = {"code": "task_not_exist", "message": "task_not_exist", "data": None}
        assert await client.call("GET", "/v1/videos/task_x") == (400, absent)
        sim.then(sim.error(429, "Slow down."))
        assert (await client.call("GET", "/v1/videos/task_x"))[1]["message"] == BUSY
        for wrong in ({"seconds": 8}, {"input_reference": {"image_url": "x"}}, {"duration": 1.5}, {"prompt": ""}):
            status, said = await client.call("POST", "/v1/videos", json={"prompt": "hi", "model": "sora-2", **wrong})
            assert (status, said["code"]) == (400, "invalid_request")
        status, said = await client.call("POST", "/v1/videos", json={"prompt": "hi", "model": "sora-9"})
        assert (status, said["error"]["code"]) == (503, "model_not_found")
        sim.penniless = True
        status, said = await client.call("POST", "/v1/videos", json={"prompt": "hi", "model": "sora-2"})
        assert (status, said["code"], sim.paid) == (403, "insufficient_user_quota", 0)
        sim.error_is_text = True
        assert sim.error(403, "No.").json == {"error": "No."}
        assert (await client.call("DELETE", "/v1/videos/task_x"))[0] == 404


async def test_newapi_lengths_and_metadata() -> None:
    """A channel hears its own field alone; metadata may be text in a form, and never names the model."""
    async with serving(NewApiSimulator()) as client:
        for fields, seconds in (({"seconds": "10"}, "5"), ({"duration": "10"}, "10"), ({"duration": 8}, "8")):
            await client.create(model="kling-v2-6", **fields)
            assert client.sim.latest.facts["seconds"] == seconds
        await client.create(model="sora-2", seconds="8", duration=4)
        assert client.sim.latest.facts["seconds"] == "8"
        status, _ = await client.form(model="sora-2", metadata='{"model": "other", "cfg": 1}')
        assert (status, client.sim.latest.facts["fields"]["metadata"]) == (200, {"cfg": 1})


async def test_newapi_content() -> None:
    """The content is open to who has the id, drops ranges, redirects to an archive, and says when that is over."""
    sim = NewApiSimulator()
    async with serving(sim) as client:
        sim.white_label, sim.own_origin = True, "http://10.0.0.5:3000"
        job_id = (await client.create(model="sora-2"))["id"]
        path = f"/v1/videos/{job_id}/content"
        assert (await client.call("GET", path))[0] == 400
        sim.finish(job_id)
        assert (await client.call("GET", f"/v1/videos/{job_id}"))[1]["metadata"]["url"] == f"{sim.own_origin}{path}"
        assert await client.call("GET", path, headers={"Range": "bytes=0-9"}) == (200, sim.video_bytes)
        assert client.headers["accept-ranges"] == "bytes"
        sim.archive = "kept"
        assert (await client.call("GET", path))[0] == 302
        assert await client.call("GET", client.headers["location"]) == (200, sim.video_bytes)
        sim.archive = "expired"
        assert (await client.call("GET", path))[0] == 410
        assert (await client.call("GET", "/v1/videos/task_x/content"))[1]["error"]["message"] == "Task not found"
        sim.archive = "none"
        async with aiohttp.ClientSession() as nobody:
            assert (await Client(sim, nobody).call("GET", path))[0] == 200
            sim.content_is_open = False
            assert (await Client(sim, nobody).call("GET", path))[0] == 401


# -- LiteLLM ---------------------------------------------------------------------------------------------------------


async def test_litellm_ids() -> None:
    """An id is plain base64 that loses its model in the next answer, and with it its deployment."""
    sim = LiteLLMSimulator()
    async with serving(sim) as client:
        made = await client.create("/videos", model="sora-2")
        name = decode(made["id"])
        assert name == Name("openai", "sora-2", sim.latest.facts["video"])
        assert (made["usage"], "prompt" in made, made["error"]) == ({"duration_seconds": 4.0}, False, None)
        polled = (await client.call("GET", f"/v1/videos/{made['id']}"))[1]
        assert decode(polled["id"]) == name._replace(model="")
        assert (await client.call("GET", f"/v1/videos/{polled['id']}"))[0] == 401
        sim.strays = 1
        assert (await client.call("GET", f"/v1/videos/{made['id']}"))[0] == 404
        sim.finish(made["id"])
        remix = (await client.call("POST", f"/v1/videos/{made['id']}/remix", json={"prompt": "at night"}))[1]
        assert (await client.call("GET", f"/v1/videos/{remix['id']}"))[0] == 401
        mended = decode(remix["id"])._replace(model="sora-2")  # type: ignore[union-attr]
        assert (await client.call("GET", f"/v1/videos/{encode(mended)}"))[0] == 200
        sim.deployments = {"film": "sora-2"}
        aliased = await client.create(model="film")
        assert (aliased["model"], (await client.call("GET", f"/v1/videos/{aliased['id']}"))[0]) == ("sora-2", 401)


async def test_litellm_edit_and_extend() -> None:
    """Edits and extensions take the id of a create as JSON, and are counted apart."""
    async with serving(LiteLLMSimulator()) as client:
        source = await client.create(model="sora-2", seconds="8")
        client.sim.finish(source["id"])
        body = {"video": {"id": source["id"]}, "custom_llm_provider": "openai"}
        edited = await client.create("/v1/videos/edits", **body)
        extended = await client.create("/v1/videos/extensions", **body, seconds="4")
        assert (edited["seconds"], extended["seconds"], edited["usage"]) == ("8", "12", None)
        assert [job.kind for job in client.sim.jobs.values()] == ["create", "edit", "extend"]


async def test_litellm_content() -> None:
    """The film comes whole, as an attachment, whatever range and variant; a filtered one is completed without."""
    sim = LiteLLMSimulator()
    async with serving(sim) as client:
        job_id = (await client.create(model="sora-2"))["id"]
        path = f"/v1/videos/{job_id}/content"
        assert (await client.call("GET", path))[0] == 404
        sim.finish(job_id)
        found = await client.call("GET", f"{path}?variant=thumbnail", headers={"Range": "bytes=0-9"})
        assert found == (200, sim.video_bytes)
        assert client.headers["content-disposition"].startswith("attachment")
        assert (await client.call("HEAD", path))[0] == 405
        filtered = (await client.create(model="sora-2"))["id"]
        sim.filter(filtered)
        video = (await client.call("GET", f"/v1/videos/{filtered}"))[1]
        assert (video["status"], video["error"]) == ("completed", None)
        assert (await client.call("GET", f"/v1/videos/{filtered}/content"))[0] == 500


async def test_litellm_errors() -> None:
    """The code of an error is its status as text; the upstream's param is lost; an unknown model is a 400."""
    async with serving(LiteLLMSimulator()) as client:
        status, said = await client.call("POST", "/v1/videos", json={"prompt": "hi", "model": "sora-2", "seconds": "5"})
        assert (status, said["error"]["code"], said["error"]["param"]) == (400, "400", None)
        assert said["error"]["message"].startswith("litellm.BadRequestError: OpenAIException - Invalid value: '5'.")
        status, said = await client.call("POST", "/v1/videos", json={"prompt": "hi", "model": "sora-9"})
        assert (status, "Invalid model name passed in model=sora-9" in said["error"]["message"]) == (400, True)
        assert client.sim.paid == 0
    async with serving(LiteLLMSimulator(), "sk-nobody-1234") as stranger:
        status, said = await stranger.call("POST", "/v1/videos", json={"prompt": "hi", "model": "sora-2"})
        assert (status, said["error"]["type"], "1234" in said["error"]["message"]) == (
            401,
            "token_not_found_in_db",
            True,
        )
