"""plugins/dashscope.py: what it reads out of answers, good and bad ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

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
from tests.plugins.dashscope_wire import FILM, TASK, opened, request, taking, task
from tests.plugins.openai_oracle import Recorder


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


async def fetched(recorder: Recorder, data: Any, job: UpstreamJob | None = None) -> UpstreamJob:
    recorder.say(data)
    async with opened(recorder) as channel:
        return await channel.fetch(job or UpstreamJob(TASK))


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("PENDING", "queued"),
        ("SUSPENDED", "queued"),
        ("RUNNING", "in_progress"),
        ("SUCCEEDED", "completed"),
        ("FAILED", "failed"),
        ("CANCELED", "failed"),
    ],
)
async def test_states(recorder: Recorder, state: str, status: str) -> None:
    """Every state of a task that there is is told as ours."""
    job = await fetched(recorder, task(state, video_url=FILM), UpstreamJob("a/b"))
    assert (recorder.last.method, recorder.last.target) == ("GET", "/api/v1/tasks/a%2Fb")
    assert (job.id, job.status, job.url) == ("a/b", status, FILM if status == "completed" else None)


async def test_results_end_with_their_signature(recorder: Recorder) -> None:
    """A result is there until its address says, or for a day; to be told again makes it no older."""
    ends = int(time.time()) + 5000
    job = await fetched(recorder, task("SUCCEEDED", video_url=f"{FILM}?Expires={ends}&Signature=x"))
    assert (job.expires_at, job.url_expires_at) == (ends, ends)
    for query in ("", "?Expires=soon", "?Expires=", "?Expires=9999999999999999", "?Expires=٤٤٤"):
        job = await fetched(recorder, task("SUCCEEDED", video_url=f"{FILM}{query}"))
        assert job.expires_at is not None
        assert abs(job.expires_at - time.time() - 86_400) < 60
    known = UpstreamJob(TASK, "completed", url=FILM, expires_at=ends, url_expires_at=ends)
    job = await fetched(recorder, task("SUCCEEDED", video_url=FILM), known)
    assert (job.expires_at, job.url_expires_at) == (ends, ends)


@pytest.mark.parametrize(
    ("usage", "facts"),
    [
        ({"duration": 12, "output_video_duration": 5}, {"seconds": 5}),
        ({"duration": 5.04, "SR": 720}, {"seconds": 5.04}),
        ({"video_duration": 5, "video_ratio": "1280*720"}, {"seconds": 5}),
        ({"duration": 0, "video_duration": "5"}, {}),
        ({"duration": True}, {}),
        ({"duration": 1e300}, {}),
        ([], {}),
    ],
)
async def test_lengths(recorder: Recorder, usage: Any, facts: Any) -> None:
    """The length of a film is kept for an extension: its own, before one that has an input's in it."""
    assert (await fetched(recorder, task("SUCCEEDED", usage, video_url=FILM))).facts == facts


@pytest.mark.parametrize("url", [None, "", 7, [FILM], {"url": FILM}])
async def test_a_success_without_a_film_is_no_success(recorder: Recorder, url: Any) -> None:
    """A task that succeeded without an address neither completes nor fails a video."""
    with pytest.raises(UpstreamError):
        await fetched(recorder, task("SUCCEEDED", video_url=url))


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ({"code": "DataInspectionFailed", "message": "Not that."}, "moderation_blocked", "Not that."),
        ({"code": "IPInfringementSuspect", "message": "Not that."}, "moderation_blocked", "Not that."),
        ({"code": "InvalidParameter.DataInspection", "message": "Cannot load."}, "upstream_failed", "Cannot load."),
        ({"code": "InternalError.Timeout", "message": "Too slow."}, "upstream_failed", "Too slow."),
        ({"code": "Arrearage", "message": "Pay."}, "insufficient_funds", "Pay."),
        ({"code": "InternalError.Algo"}, "upstream_failed", "InternalError.Algo"),
        ({"code": 7, "message": ["x"]}, "upstream_failed", "The upstream gave no reason."),
        ({"task_status": "CANCELED"}, "upstream_failed", "The task was cancelled at the upstream."),
    ],
)
async def test_failures(recorder: Recorder, data: Any, code: str, message: str) -> None:
    """Moderation, money and all other reasons are told apart; the sentence is DashScope's."""
    assert (await fetched(recorder, task("FAILED", **data))).error == JobError(code, message)


SAID = "Input data may contain inappropriate content."


@pytest.mark.parametrize(
    ("status", "code", "said", "kind", "param"),
    [
        (400, "DataInspectionFailed", SAID, ModerationBlocked, None),
        (400, "IPInfringementSuspect", SAID, ModerationBlocked, None),
        (400, "InvalidParameter", "size must be one of 1280*720", InvalidRequest, "size"),
        (400, "InvalidParameter.Duration", "The duration is not supported", InvalidRequest, "seconds"),
        (400, "InvalidParameter", "Required parameter negative_prompt", InvalidRequest, "negative_prompt"),
        (400, "InvalidParameter", "parameters.seed is wrong", InvalidRequest, None),
        (400, "InvalidParameter", "resize it", InvalidRequest, None),
        (400, "InvalidURL", "It cannot be loaded.", InvalidRequest, "input_reference"),
        (400, "UnsupportedOperation", "The task is running.", UnsupportedOperation, None),
        (400, "Arrearage", "Access denied: overdue payment", AccountRefused, None),
        (429, "PostpaidBillOverdue", "The postpaid bill is overdue.", AccountRefused, None),
        (429, "CommodityNotPurchased", "Commodity has not purchased yet.", AccountRefused, None),
        (401, "InvalidApiKey", "Invalid API-key provided.", AccountRefused, None),
        (403, "AccessDenied.Unpurchased", "Access denied.", AccountRefused, None),
        (403, "AccessDenied", "current user api does not support synchronous calls", AccountRefused, None),
        (404, "ModelNotFound", "Model not exist.", UpstreamGone, None),
        (429, "Throttling.RateQuota", "Requests rate limit exceeded", Throttled, None),
        (429, "Throttling.AllocationQuota", "Allocated quota exceeded", Throttled, None),
        (500, "InternalError.Algo", "It broke.", UpstreamError, None),
        (503, "ModelUnavailable", "Model is unavailable.", UpstreamError, None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, code: str, said: str, kind: type[ApiError], param: str | None
) -> None:
    """Moderation, bad input, the account, throttling, gone and outage are told apart; the sentence is DashScope's."""
    recorder.say({"code": code, "message": said, "request_id": "r"}, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind) as caught:
            await channel.create(request())
    assert (type(caught.value), caught.value.param) == (kind, param)
    if isinstance(caught.value, InvalidRequest):
        assert said in caught.value.message
        assert caught.value.outcome is Outcome.CLIENT
    else:
        assert caught.value.outcome is (Outcome.UNKNOWN if status >= 500 else Outcome.REFUSED)


@pytest.mark.parametrize("data", [{"code": "DataInspectionFailed"}, {"code": "X", "message": 7}, {"code": 7}, {}])
async def test_refusals_without_a_sentence(recorder: Recorder, data: Any) -> None:
    """Where the sentence is missing, the code stands for it, or the status."""
    recorder.say(data, 400)
    async with opened(recorder) as channel:
        with pytest.raises(InvalidRequest) as caught:
            await channel.create(request())
    assert str(data.get("code") or 400).replace("7", "") in caught.value.message


async def test_cancel(recorder: Recorder) -> None:
    """A cancel is an empty POST; one that DashScope refuses is the client's affair."""
    recorder.say({"request_id": "r"})
    async with opened(recorder) as channel:
        await channel.cancel(UpstreamJob(TASK))
        assert (recorder.last.method, recorder.last.target) == ("POST", f"/api/v1/tasks/{TASK}/cancel")
        assert (recorder.last.body, recorder.last.headers.get("content-length")) == (b"", "0")
        recorder.say({"code": "UnsupportedOperation", "message": "The task is not PENDING."}, 400)
        with pytest.raises(UnsupportedOperation, match="not PENDING"):
            await channel.cancel(UpstreamJob(TASK))
