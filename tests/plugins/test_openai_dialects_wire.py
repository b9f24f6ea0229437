"""plugins/_openai_dialects.py: what each dialect sends, and what it reads out of the sheet's own answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins._openai_dialects import DIALECTS
from plugins.openai import OpenAI, OpenAIOptions
from proxy import AccountRefused, InvalidRequest, ModerationBlocked, UnsupportedOperation, UpstreamError, UpstreamJob
from proxy.errors import ApiError, Outcome, UpstreamGone, UpstreamRefused
from proxy.models import JobError, Model
from tests.plugins.openai_oracle import JOB, PNG, PROMPT, Recorder, opened, picture, recording, request, video

FILM = "https://cdn.example.com/film.mp4?sign=abc"
PLAIN = {"prompt": PROMPT, "size": "1280x720"}
TUNED = {
    "guidance_scale": 4.5,
    "enable_frame_interpolation": True,
    "output_path": "/etc",
    "lora": {"path": "/etc"},
    "fps": [12, 24],
    "tag": 1,
}
GIVEN: dict[str, Any] = {"metadata": TUNED, "seed": 7, "negative_prompt": "rain", "audio": False}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


def told(**inner: Any) -> dict[str, Any]:
    """A poll of a new-api's older door."""
    task = {"id": 17, "task_id": "task_1", "platform": "50", "fail_reason": "", "progress": "30%", **inner}
    return {"code": "success", "message": "", "data": task}


# ---------------------------------------------------------------- orders


async def test_sglang_orders(recorder: Recorder, tmp_path: Path) -> None:
    """SGLang gets `seconds` as a number, wishes by their names, and of the metadata nothing that names its files."""
    async with opened(recorder.base_url, tmp_path, dialect="sglang", api_key="") as channel:
        await channel.create(request(**GIVEN))
        assert recorder.last.target == "/v1/videos"
        assert "authorization" not in recorder.last.headers
        assert recorder.last.json == {
            **PLAIN,
            "model": "sora-2",
            "seconds": 8,
            "seed": 7,
            "negative_prompt": "rain",
            "guidance_scale": 4.5,
            "enable_frame_interpolation": True,
        }
        await channel.create(request(**GIVEN, images=(picture("image/jpeg"),)))
    assert recorder.last.fields == {
        **PLAIN,
        "model": "sora-2",
        "seconds": "8",
        "seed": "7",
        "negative_prompt": "rain",
        "guidance_scale": "4.5",
        "enable_frame_interpolation": "true",
    }
    assert recorder.last.files == [("input_reference", "image.jpg", "image/jpeg", PNG)]


async def test_vllm_omni_orders(recorder: Recorder, tmp_path: Path) -> None:
    """vLLM-Omni gets a form and no model's name; several pictures have a field of their own."""
    async with opened(recorder.base_url, tmp_path, dialect="vllm_omni") as channel:
        await channel.create(request(**GIVEN))
        assert recorder.last.files == []
        assert recorder.last.fields == {
            **PLAIN,
            "seconds": "8",
            "seed": "7",
            "negative_prompt": "rain",
            "generate_sound": "false",
            "guidance_scale": "4.5",
            "enable_frame_interpolation": "true",
        }
        await channel.create(request(images=(picture(),)))
        assert recorder.last.fields == {**PLAIN, "seconds": "8"}
        assert recorder.last.files == [("input_reference", "image.png", "image/png", PNG)]
        await channel.create(request(images=(picture(), picture("image/jpeg"))))
    assert [part.name for part in recorder.last.files] == ["input_references"] * 2


@pytest.mark.parametrize(("door", "path"), [("videos", "/v1/videos"), ("generations", "/v1/video/generations")])
async def test_newapi_orders(recorder: Recorder, tmp_path: Path, door: str, path: str) -> None:
    """A new-api gets both words for the duration, pictures as text (one of Sora's as a file, which OpenAI takes), and
    metadata in a place of its own, without what would lie over the order or start from others' tasks."""
    metadata = {"camera": {"zoom": 1}, "Prompt": "x", "video_id": "task_2", "seed": 9}
    order = {**PLAIN, "model": "kling-v2-6", "seconds": "8", "duration": 8}
    kling = partial(request, model="kling-v2-6")
    async with opened(recorder.base_url, tmp_path, dialect="newapi", door=door) as channel:
        await channel.create(kling())
        assert (recorder.last.target, recorder.last.json) == (path, order)
        await channel.create(kling(metadata=metadata, seed=7, negative_prompt="rain", images=(picture(),)))
        assert recorder.last.json == {
            **order,
            "image": picture().data_uri,
            "metadata": {"camera": {"zoom": 1}, "seed": 7, "negative_prompt": "rain"},
        }
        await channel.create(kling(images=(picture(), picture("image/jpeg"))))
        assert recorder.last.json == {**order, "images": [picture().data_uri, picture("image/jpeg").data_uri]}
        await channel.create(request(seed=7, images=(picture(),)))
    assert recorder.last.files == [("input_reference", "image.png", "image/png", PNG)]
    assert recorder.last.fields == {**order, "model": "sora-2", "duration": "8", "metadata": '{"seed": 7}'}


async def test_litellm_orders(recorder: Recorder, tmp_path: Path) -> None:
    """LiteLLM gets OpenAI's fields alone, and is told to order once."""
    async with opened(recorder.base_url, tmp_path, dialect="litellm") as channel:
        await channel.create(request(**GIVEN))
        assert recorder.last.json == {**PLAIN, "model": "sora-2", "seconds": "8"}
        assert recorder.last.headers["x-litellm-num-retries"] == "0"
        await channel.create(request(images=(picture(),)))
        assert recorder.last.files == [("input_reference", "image.png", "image/png", PNG)]
        assert recorder.last.headers["x-litellm-num-retries"] == "0"
        await channel.fetch(JOB)
    assert "x-litellm-num-retries" not in recorder.last.headers


# ---------------------------------------------------------------- what each can


@pytest.mark.parametrize(
    ("dialect", "name", "native", "most", "exact"),
    [
        ("openai", "sora-2", None, 1, True),
        ("sglang", "wan", (), 1, False),
        ("vllm_omni", "wan", (), None, False),
        ("newapi", "kling-v2-6", (), None, False),
        ("newapi", "Sora-2-pro", ("remix",), 1, True),
        ("litellm", "sora-2", (), 1, True),
    ],
)
def test_limits(dialect: str, name: str, native: tuple[str, ...] | None, most: int | None, exact: bool) -> None:
    """Each dialect says what it does natively, and how many pictures it takes; durations and sizes are left to the
    entry's models."""
    options = msgspec.convert({"base_url": "http://x", "dialect": dialect}, OpenAIOptions)
    model = OpenAI.limits(options, name)
    assert isinstance(model, Model)
    assert (model.native, model.max_images, model.exact_image) == (native, most, exact)
    assert (model.seconds, model.sizes) == ((), ())


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_what_a_dialect_has_not_reaches_no_upstream(recorder: Recorder, tmp_path: Path, dialect: str) -> None:
    """Cancel, delete and stills that the server has not are refused without a call; what it has is one DELETE."""
    can = DIALECTS[dialect].can  # type: ignore[index]
    async with opened(recorder.base_url, tmp_path, dialect=dialect) as channel:
        for name, method in (("cancel", channel.cancel), ("delete", channel.delete)):
            recorder.calls.clear()
            if name in can:
                await method(JOB)
                assert [(call.method, call.target) for call in recorder.calls] == [("DELETE", "/v1/videos/video_up_1")]
                continue
            with pytest.raises(UnsupportedOperation):
                await method(JOB)
            assert recorder.calls == []
        if "thumbnail" not in can:
            with pytest.raises(UnsupportedOperation):
                await channel.content(JOB, "thumbnail")
        assert (await channel.content(JOB, "video")).url == f"{recorder.base_url}/v1/videos/video_up_1/content"
    assert (dialect in ("openai", "reelgate", "litellm")) == ("character" in can)


async def test_no_characters_elsewhere(recorder: Recorder, tmp_path: Path) -> None:
    """A server without characters is not asked for one."""
    async with opened(recorder.base_url, tmp_path, dialect="sglang") as channel:
        with pytest.raises(UnsupportedOperation):
            await channel.character("Mira", None)  # type: ignore[arg-type]
    assert recorder.calls == []


@pytest.mark.parametrize("key", ["num_inference_steps", "fps", "sound", "n", "callback_url"])
def test_what_costs_is_the_operators_to_allow(key: str) -> None:
    """What makes a video dearer at any of the servers, or calls somebody, needs `allow_metadata`."""
    assert key in OpenAI.priced_metadata


def test_the_door_is_newapis() -> None:
    """`door` at another dialect is a mistake in the entry."""
    with pytest.raises(msgspec.ValidationError, match="door is for the dialect newapi"):
        msgspec.convert({"base_url": "http://x", "door": "generations"}, OpenAIOptions)


# ---------------------------------------------------------------- answers


async def read(recorder: Recorder, folder: Path, dialect: str, answer: Any, job: UpstreamJob = JOB) -> UpstreamJob:
    recorder.say(answer)
    async with opened(recorder.base_url, folder, dialect=dialect) as channel:
        return await channel.fetch(job)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (video(status="completed", url=None), ("completed", None)),
        (video(status="completed", url="/srv/out.mp4"), ("completed", None)),
        (video(status="completed", url=FILM), ("completed", FILM)),
        (video(status="in_progress", url=FILM), ("in_progress", None)),
        (video(status="deleted"), ("failed", None)),
    ],
)
async def test_sglang_answers(recorder: Recorder, tmp_path: Path, answer: Any, expected: tuple[Any, ...]) -> None:
    """What SGLang stored in a cloud is where it says, all else at the content route; a deleted job has failed."""
    job = await read(recorder, tmp_path, "sglang", answer)
    assert (job.status, job.url) == expected
    async with opened(recorder.base_url, tmp_path, dialect="sglang") as channel:
        source = await channel.content(job, "video")
    own = f"{recorder.base_url}/v1/videos/video_up_1/content"
    assert (source.url, bool(source.headers)) == ((FILM, False) if job.url else (own, True))


@pytest.mark.parametrize("status", [400, 422, 500, 503])
async def test_a_failed_poll_of_vllm_omni(recorder: Recorder, tmp_path: Path, status: int) -> None:
    """An error status with the whole of the failed job is that job; with another's, or none, it fails nothing."""
    failed = video(status="failed", error={"code": status, "message": "CUDA out of memory"})
    async with opened(recorder.base_url, tmp_path, dialect="vllm_omni") as channel:
        recorder.say(failed, status)
        job = await channel.fetch(JOB)
        assert (job.status, job.error) == ("failed", JobError("upstream_failed", "CUDA out of memory"))
        for other in ({**failed, "id": "video_gen_2"}, {**failed, "status": "in_progress"}, {"detail": "Oops"}):
            recorder.say(other, status)
            with pytest.raises(ApiError):
                await channel.fetch(JOB)


async def test_a_failed_job_in_answer_to_an_order(recorder: Recorder, tmp_path: Path) -> None:
    """Whether an order that is answered so was taken, nobody knows."""
    recorder.say(video(status="failed", error={"code": 500, "message": "Engine died"}), 500)
    async with opened(recorder.base_url, tmp_path, dialect="vllm_omni") as channel:
        with pytest.raises(UpstreamError, match="Engine died") as caught:
            await channel.create(request())
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("answer", "upstream_id"),
    [
        (video(id="task_1", task_id="task_1"), "task_1"),
        ({"task_id": "task_1"}, "task_1"),
        (video(id="video_123", status="processing"), "video_123"),
        ({"code": 0, "message": "SUCCEED", "data": {"task_id": "871"}}, "871"),
    ],
)
async def test_newapi_takes(recorder: Recorder, tmp_path: Path, answer: Any, upstream_id: str) -> None:
    """The id of an order is read out of the answers of all versions."""
    recorder.say(answer)
    async with opened(recorder.base_url, tmp_path, dialect="newapi") as channel:
        assert (await channel.create(request())).id == upstream_id


@pytest.mark.parametrize(
    ("answer", "status", "progress", "url"),
    [
        (video(status="queued"), "queued", 0, None),
        (video(status="unknown"), "queued", 0, None),
        (video(status="in_progress", progress=40), "in_progress", 40, None),
        (video(status="completed", metadata={"url": FILM}), "completed", 100, FILM),
        (
            video(status="completed", metadata={"url": "http://10.0.0.1/v1/videos/task_1/content"}),
            "completed",
            100,
            None,
        ),
        (told(status="NOT_START"), "queued", 30, None),
        (told(status="SUBMITTED", progress="0%"), "queued", 0, None),
        (told(status="QUEUED", progress="x%"), "queued", 0, None),
        (told(status="UNKNOWN"), "queued", 30, None),
        (told(status="IN_PROGRESS"), "in_progress", 30, None),
        (told(status="SUCCESS", result_url=FILM, data={"code": 0}), "completed", 100, FILM),
        (told(status="SUCCESS", fail_reason=FILM), "completed", 100, FILM),
        (told(status="SUCCESS", data=[{"url": FILM}]), "completed", 100, FILM),
        (told(status="SUCCESS"), "completed", 100, None),
        (told(status="SUCCESS", result_url="http://["), "completed", 100, "http://["),
        (told(status="processing", progress=None), "in_progress", 0, None),
        (told(status="succeeded", url=FILM, format="mp4", progress=None), "completed", 100, FILM),
        ({"task_id": "task_1", "status": "succeeded", "url": FILM}, "completed", 100, FILM),
    ],
)
async def test_newapi_answers(
    recorder: Recorder, tmp_path: Path, answer: Any, status: str, progress: int, url: str | None
) -> None:
    """States, progress and the address are read out of both doors' answers, and out of older ones."""
    job = await read(recorder, tmp_path, "newapi", answer, UpstreamJob("task_1"))
    assert (job.id, job.status, job.progress, job.url) == ("task_1", status, progress, url)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (told(status="FAILURE", fail_reason="Out of luck"), JobError("upstream_failed", "Out of luck")),
        (
            told(status="failed", error={"code": "content_filter", "message": "No"}),
            JobError("moderation_blocked", "No"),
        ),
        (
            video(status="failed", error={"message": "No", "code": "bad"}),
            JobError("upstream_failed", "No"),
        ),
        (told(status="FAILURE"), JobError("upstream_failed", "The upstream gave no reason.")),
    ],
)
async def test_newapi_failures(recorder: Recorder, tmp_path: Path, answer: Any, error: JobError) -> None:
    """A failed task says why, at either door."""
    job = await read(recorder, tmp_path, "newapi", answer, UpstreamJob("task_1"))
    assert (job.status, job.error) == ("failed", error)


@pytest.mark.parametrize(
    "answer",
    [
        told(status="dreaming"),
        told(status=7),
        {"code": "success", "data": {}},
        {"code": "success", "data": None},
        [],
        7,
    ],
)
async def test_newapi_oddities_fail_nothing(recorder: Recorder, tmp_path: Path, answer: Any) -> None:
    """An answer of no known shape is an error, never a failed job."""
    with pytest.raises(UpstreamError):
        await read(recorder, tmp_path, "newapi", answer, UpstreamJob("task_1"))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("dialect", "status", "body", "kind", "param"),
    [
        ("newapi", 400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}, UpstreamGone, None),
        ("newapi", 503, {"error": {"code": "model_not_found", "message": "No channel"}}, UpstreamRefused, None),
        ("newapi", 403, {"error": {"message": "Quota", "type": "new_api_error"}}, AccountRefused, None),
        ("newapi", 400, {"error": "a plain string"}, InvalidRequest, None),
        ("newapi", 502, {"code": "bad_gateway", "message": "x", "data": None}, UpstreamError, None),
        (
            "sglang",
            422,
            {"detail": [{"loc": ["body", "seconds"], "msg": "Input should be a valid integer", "type": "int_parsing"}]},
            InvalidRequest,
            "seconds",
        ),
        ("sglang", 422, {"detail": [{"loc": ["body", "n"], "msg": "Too many"}]}, InvalidRequest, None),
        ("sglang", 400, {"detail": "prompt is required"}, InvalidRequest, None),
        ("vllm_omni", 404, {"error": "Video not found"}, UpstreamGone, None),
        (
            "litellm",
            400,
            {"error": {"message": "litellm.ContentPolicyViolationError: no", "type": None, "code": "400"}},
            ModerationBlocked,
            None,
        ),
        (
            "litellm",
            400,
            {"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "400"}},
            AccountRefused,
            None,
        ),
        ("litellm", 500, {"error": {"message": "litellm.InternalServerError: x", "code": "500"}}, UpstreamError, None),
        ("newapi", 200, {"code": "task_failed", "message": "Oops", "data": None}, UpstreamError, None),
        ("newapi", 200, {"error": "Oops"}, UpstreamError, None),
        ("openai", 200, {"error": {"code": "moderation_blocked", "message": "No"}}, ModerationBlocked, None),
        ("openai", 200, {"error": {"code": "insufficient_quota", "message": "Pay"}}, AccountRefused, None),
    ],
)
async def test_refusals(
    recorder: Recorder,
    tmp_path: Path,
    dialect: str,
    status: int,
    body: Any,
    kind: type[ApiError],
    param: str | None,
) -> None:
    """Each server's own shapes of errors are told apart; what may have been taken has an unknown outcome."""
    recorder.say(body, status)
    async with opened(recorder.base_url, tmp_path, dialect=dialect) as channel:
        with pytest.raises(ApiError) as caught:
            await channel.create(request())
    error = caught.value
    assert (type(error), error.param) == (kind, param)
    assert (error.outcome is Outcome.UNKNOWN) == (kind is UpstreamError)
    assert ("Oops" in error.message) == ("Oops" in str(body))
