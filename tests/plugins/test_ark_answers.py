"""plugins/ark.py: what it reads out of answers, good and bad ones, and how it finds its tasks again."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from plugins._ark_words import OPERATORS
from plugins.ark import ArkOptions
from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Outcome,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)
from tests.plugins.ark_wire import FILM, MODEL, STILL, TASK, TASKS, opened, request, taking, task
from tests.plugins.openai_oracle import Recorder


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (task("queued"), ("queued", None)),
        (task("running", error=None, content=None), ("in_progress", None)),
        (task("cancelled"), ("failed", JobError("upstream_failed", "The task was cancelled at the upstream."))),
        (task("expired"), ("failed", JobError("expired", "The upstream let the task expire."))),
    ],
)
async def test_states(recorder: Recorder, data: Any, expected: tuple[str, JobError | None]) -> None:
    """Every state is told as ours; no progress is made up."""
    recorder.say(data)
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert (recorder.last.method, recorder.last.target) == ("GET", f"{TASKS}/{TASK}")
    assert (job.status, job.error, job.progress) == (*expected, 0)


async def test_a_result(recorder: Recorder) -> None:
    """A film is there until its signed address ends; a picture of its end is the thumbnail."""
    recorder.say(task("succeeded", content={"video_url": FILM, "last_frame_url": STILL}))
    async with opened(recorder, last_frame=True) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
        film, still = await channel.content(job, "video"), await channel.content(job, "thumbnail")
        assert (film.url, still.url, still.media_type) == (FILM, STILL, "image/png")
        assert not film.headers
        with pytest.raises(UnsupportedOperation):
            await channel.content(job, "spritesheet")
        # Of 2026-01-01 00:05 UTC, and a day.
        assert job.expires_at == job.url_expires_at == 1767225900 + 86_400
        recorder.say({"id": TASK})
        await channel.create(request())
    assert recorder.last.json["return_last_frame"] is True


@pytest.mark.parametrize(
    ("url", "updated_at", "expected"),
    [
        ("https://x.example/a.mp4", 1767225700, 1767225700 + 86_400),
        ("https://x.example/a.mp4?X-Tos-Date=soon&X-Tos-Expires=9", 1767225700, 1767225700 + 86_400),
        ("https://[x/a.mp4", 1767225700, 1767225700 + 86_400),
        (f"{FILM}0000000000000000", 1767225700, 1767225700 + 86_400),
        (FILM.replace("=86400", "=-1"), 1767225700, 1767225700 + 86_400),
        ("https://x.example/a.mp4", 10**400, None),
        ("https://x.example/a.mp4", True, None),
        ("https://x.example/a.mp4", "yesterday", None),
        ("https://x.example/a.mp4", None, None),
    ],
)
async def test_when_a_film_is_gone(recorder: Recorder, url: str, updated_at: Any, expected: int | None) -> None:
    """Where the address does not tell, it is a day after the end of the task, or after the look."""
    recorder.say(task("succeeded", content={"video_url": url}, updated_at=updated_at))
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert job.expires_at is not None
    assert abs(job.expires_at - (expected or time.time() + 86_400)) < 60


@pytest.mark.parametrize("content", [None, {}, {"video_url": None}, {"video_url": ""}, {"video_url": 7}, [FILM]])
async def test_a_success_without_a_film_is_no_success(recorder: Recorder, content: Any) -> None:
    """A task that succeeded without an address neither completes nor fails a video."""
    recorder.say(task("succeeded", content=content))
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError):
            await channel.fetch(UpstreamJob(TASK))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "OutputVideoSensitiveContentDetected", "message": "No."}, ("moderation_blocked", "No.")),
        ({"code": "OutputAudioSensitiveContentDetected.X", "message": "No."}, ("moderation_blocked", "No.")),
        ({"code": "InputTextRiskDetection", "message": "No. Request id: 0217"}, ("moderation_blocked", "No.")),
        ({"code": "InternalServiceError", "message": "It broke."}, ("upstream_failed", "It broke.")),
        ({"code": "AccountOverdueError", "message": "Pay for 2101234567."}, ("insufficient_funds", OPERATORS)),
        ({"code": "ModelNotOpen", "message": "Account 2101234567 has not."}, ("upstream_failed", OPERATORS)),
        ({"code": "InternalServiceError"}, ("upstream_failed", "The upstream says InternalServiceError.")),
        ({"code": 7, "message": 7}, ("upstream_failed", "The upstream gave no reason.")),
        (None, ("upstream_failed", "The upstream gave no reason.")),
    ],
)
async def test_failures(recorder: Recorder, error: Any, expected: tuple[str, str]) -> None:
    """The code of a failure tells moderation and money apart; the sentence is Ark's, without the number of the call."""
    recorder.say(task("failed", error=error))
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert job.error == JobError(*expected)


# ---------------------------------------------------------------- cancel, recover


@pytest.mark.parametrize(("state", "calls"), [("queued", 2), ("succeeded", 2), ("cancelled", 1), ("failed", 1)])
async def test_cancel_looks_first(recorder: Recorder, state: str, calls: int) -> None:
    """What has failed or is cancelled already needs no cancelling, which Ark would refuse."""
    recorder.say(task(state, content={"video_url": FILM}))
    async with opened(recorder) as channel:
        await channel.cancel(UpstreamJob("a/b"))
    assert [call.method for call in recorder.calls] == ["GET", "DELETE"][:calls]
    assert recorder.last.target == f"{TASKS}/a%2Fb"
    assert recorder.last.body == b""


async def test_recover_by_name_and_by_seed(recorder: Recorder) -> None:
    """The list is searched for the name or the seed of the attempt; a task without either is none of ours."""
    async with opened(recorder) as channel:
        await channel.create(request())
        named, seed = recorder.last.json["safety_identifier"], recorder.last.json["seed"]
        assert (named, seed == request().seed) == (request().attempt_id, False)
        foreign = {"id": "cgt-1", "seed": seed + 1, "safety_identifier": "u-1"}
        for mark in ({"safety_identifier": named}, {"seed": seed, "safety_identifier": None}):
            recorder.say({"total": 3, "items": [foreign, "odd", {"id": TASK, **mark}]})
            found = await channel.recover(request())
            assert found is not None
            assert found.id == TASK
        recorder.say({"total": 1, "items": [foreign]})
        assert await channel.recover(request()) is None
        assert recorder.last.target == f"{TASKS}?page_num=1&page_size=500&filter.model={MODEL}"
        recorder.say({"total": 0, "items": None})
        assert await channel.recover(request()) is None
        recorder.say({"total": 1, "items": [{"safety_identifier": named}]})
        with pytest.raises(UpstreamError):
            await channel.recover(request())


async def test_recover_reads_every_page(recorder: Recorder) -> None:
    """A full page is followed by the next one, and the last one ends the search."""
    sizes = iter([500, 500, 3])
    recorder.answer = lambda: web.json_response({"items": [{"id": "cgt-1"}] * next(sizes)})
    async with opened(recorder) as channel:
        assert await channel.recover(request()) is None
    pages = [re.search(r"page_num=(\d+)", call.target) for call in recorder.calls]
    assert [page and page[1] for page in pages] == ["1", "2", "3"]


async def test_without_a_handle_nothing_is_searched(recorder: Recorder) -> None:
    """A seed of the client's is not unique: without a name of its own a task cannot be told from others."""
    async with opened(recorder, name_attempts=False) as channel:
        assert await channel.recover(request(seed=7)) is None
    assert recorder.calls == []


# ---------------------------------------------------------------- refusals


def said(code: Any, param: Any = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": "Not so. Request id: 021700000000", "param": param, "type": "X"}}


@pytest.mark.parametrize(
    ("status", "data", "kind", "message", "param"),
    [
        (400, said("InvalidParameter", "duration"), InvalidRequest, "request: Not so.$", "seconds"),
        (400, said("InvalidParameter.Ratio", "ratio"), InvalidRequest, "Not so.$", "size"),
        (400, said("MissingParameter", "content.text"), InvalidRequest, "Not so.$", "prompt"),
        (400, said("InvalidParameter", "content[1].image_url"), InvalidRequest, "Not so.$", "input_reference"),
        (400, said("InvalidParameter", "content[1].video_url"), InvalidRequest, "Not so.$", "video"),
        (400, said("InvalidParameter", 7), InvalidRequest, "Not so.$", None),
        (400, said("InvalidEndpoint.ClosedEndpoint", "model"), AccountRefused, "operator", None),
        (400, {"error": {"code": "InvalidParameter"}}, InvalidRequest, "request: InvalidParameter$", None),
        (400, {"error": {"message": "Odd."}}, InvalidRequest, "Odd.", None),
        (400, said("SensitiveContentDetected.Violence"), ModerationBlocked, "Not so.$", None),
        (400, said("InputImageSensitiveContentDetected.PrivacyInformation"), ModerationBlocked, "Not so.$", None),
        (400, said("InputTextRiskDetection"), ModerationBlocked, "Not so.$", None),
        (401, said("AuthenticationError"), AccountRefused, "credentials", None),
        (403, said("AccountOverdueError"), AccountRefused, "operator", None),
        (403, said("OperationDenied.X"), AccountRefused, "operator", None),
        (404, said("ModelNotOpen"), AccountRefused, "operator", None),
        (404, said("InvalidEndpointOrModel.NotFound"), UpstreamGone, "Not so", None),
        (429, said("RateLimitExceeded.EndpointRPMExceeded"), Throttled, "busy", None),
        (429, said("QuotaExceeded"), Throttled, "busy", None),
        (503, said("ServerOverloaded"), Throttled, "busy", None),
        (500, said("InternalServiceError"), UpstreamError, "Not so", None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, data: Any, kind: type[ApiError], message: str, param: str | None
) -> None:
    """Moderation, bad input, the account, throttling and an outage are told apart, in Ark's own sentence."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert caught.value.param == param
    client = kind in (InvalidRequest, ModerationBlocked)
    certain = Outcome.CLIENT if client else Outcome.UNKNOWN if status == 500 else Outcome.REFUSED
    assert caught.value.outcome is certain
    assert len(recorder.calls) == 1


def test_options_are_checked() -> None:
    """An option that there is not, and one of another kind, are mistakes."""
    for mistake in ({"region": "cn-beijing"}, {"last_frame": "yes"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(mistake, ArkOptions)
