"""plugins/replicate.py: what it reads out of answers, good and bad ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from plugins.replicate import KEPT, LARGEST_INLINE
from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Outcome,
    Picture,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamRefused,
)
from tests.plugins.openai_oracle import Recorder, picture_file, recording
from tests.plugins.replicate_bench import (
    FILM,
    JOB,
    KEY,
    PICTURE,
    PREDICTION,
    opened,
    prediction,
    request,
)
from tests.plugins.runway_wire import say_in_turn


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        recorder.say(prediction("starting"), 201)
        yield recorder


async def told(recorder: Recorder, data: Any, known: UpstreamJob = JOB) -> UpstreamJob:
    """The job that a poll makes of `data`."""
    recorder.say(data)
    async with opened(recorder) as channel:
        return await channel.fetch(known)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("starting", ("queued", 0)),
        ("processing", ("in_progress", 0)),
        ("succeeded", ("completed", 100)),
        ("failed", ("failed", 0)),
        ("canceled", ("failed", 0)),
        ("aborted", ("failed", 0)),
    ],
)
async def test_states(recorder: Recorder, status: str, expected: tuple[str, int]) -> None:
    """Every state is told as ours; there is no progress."""
    job = await told(recorder, prediction(status, output=FILM))
    assert (recorder.last.method, recorder.last.target) == ("GET", f"/v1/predictions/{PREDICTION}")
    assert (job.id, job.status, job.progress) == (PREDICTION, *expected)
    assert (job.error is None) == (job.status != "failed")
    assert job.url == (FILM if job.status == "completed" else None)


@pytest.mark.parametrize("output", [FILM, [FILM], [FILM, "https://replicate.delivery/xezq/abc/thumb.png"]])
async def test_an_output_is_one_address_or_several(recorder: Recorder, output: Any) -> None:
    """The result is the output or the first of them, read without a key."""
    job = await told(recorder, prediction("succeeded", output=output))
    async with opened(recorder) as channel:
        found = await channel.content(job, "video")
    assert (found.url, found.headers) == (FILM, {})


@pytest.mark.parametrize("output", [None, "", [], [None], [7], {"video": FILM}, 7, True])
async def test_a_success_without_an_address_is_no_success(recorder: Recorder, output: Any) -> None:
    """A prediction that succeeded without an address neither completes nor fails a video."""
    with pytest.raises(UpstreamError):
        await told(recorder, prediction("succeeded", output=output))


async def test_a_result_is_there_for_an_hour(recorder: Recorder) -> None:
    """The result vanishes an hour after the end of the prediction, however late it is asked for."""
    ended = prediction("succeeded", output=FILM, completed_at="2026-11-22T10:05:00.500000Z")
    assert (await told(recorder, ended)).expires_at == 1_795_341_900 + KEPT
    ended["completed_at"] = "2026-11-22T10:05:00"
    assert (await told(recorder, ended)).expires_at == 1_795_341_900 + KEPT


@pytest.mark.parametrize("moment", [None, "soon", 7, [], "9999-12-31T23:59:59+00:00"])
async def test_an_end_that_is_not_told_is_now(recorder: Recorder, moment: Any) -> None:
    """Without a sensible moment the hour begins with the first look, and later ones do not prolong it."""
    data = prediction("succeeded", output=FILM, completed_at=moment)
    first = await told(recorder, data)
    assert first.expires_at is not None
    assert abs(first.expires_at - time.time() - KEPT) < 60
    assert (await told(recorder, data, UpstreamJob(PREDICTION, expires_at=1234))).expires_at == 1234


async def test_a_removed_result_is_gone(recorder: Recorder) -> None:
    """A prediction whose data Replicate has removed has no result to wait for."""
    job = await told(recorder, prediction("succeeded", input={}, data_removed=True))
    assert (job.status, job.error) == (
        "failed",
        JobError("expired", "The upstream has removed the result of the prediction."),
    )
    # What has an address is not gone, whatever else is.
    assert (await told(recorder, prediction("succeeded", output=FILM, data_removed=True))).url == FILM


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"error": "CUDA out of memory"}, ("upstream_failed", "CUDA out of memory")),
        ({"error": "The input was flagged as sensitive. (E005) (x1)"}, ("moderation_blocked", None)),
        ({"error": "Prediction failed: E005"}, ("moderation_blocked", None)),
        ({"error": "Flagged as Sensitive"}, ("moderation_blocked", None)),
        ({"error": "E0051 in the decoder"}, ("upstream_failed", None)),
        ({"error": None}, ("upstream_failed", "The upstream gave no reason.")),
        ({"error": {"a": 1}}, ("upstream_failed", "The upstream gave no reason.")),
        ({"status": "canceled"}, ("upstream_failed", "The prediction was cancelled at the upstream.")),
        ({"status": "aborted"}, ("upstream_failed", "The prediction was aborted at the upstream.")),
        ({"status": "aborted", "error": "Out of time"}, ("upstream_failed", "Out of time")),
    ],
)
async def test_failures(recorder: Recorder, changes: dict[str, Any], expected: tuple[str, str | None]) -> None:
    """A failure keeps the provider's sentence, and moderation is told by its number or phrase."""
    job = await told(recorder, {**prediction("failed"), **changes})
    code, message = expected
    assert job.error == JobError(code, message or changes["error"])


async def test_cancel(recorder: Recorder) -> None:
    """A running prediction is cancelled by a POST without a body; an id is one step of the path."""
    recorder.say(prediction("canceled"))
    async with opened(recorder) as channel:
        await channel.cancel(UpstreamJob("a/b"))
    last = recorder.last
    assert (last.method, last.target, last.body) == ("POST", "/v1/predictions/a%2Fb/cancel", b"")
    recorder.say({"detail": "Later"}, 503)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError) as caught:
            await channel.cancel(JOB)
    # It costs nothing.
    assert caught.value.outcome is Outcome.REFUSED


# ---------------------------------------------------------------- refusals

TOO_LONG = "- input.duration: duration must be one of the following: 4, 6, 8\n"
BUSY = {"detail": "Request was throttled. Your rate limit resets in ~30s."}


def blamed(field: Any, detail: str = TOO_LONG) -> dict[str, Any]:
    return {"title": "Input validation failed", "detail": detail, "status": 422, "invalid_fields": [field]}


@pytest.mark.parametrize(
    ("status", "data", "kind", "message", "param"),
    [
        (422, blamed({"field": "input.duration"}), InvalidRequest, "one of the following: 4, 6, 8", "seconds"),
        (422, blamed({"field": "input.start_image"}), InvalidRequest, "refused", "input_reference"),
        (422, blamed({"field": "input.aspect_ratio"}), InvalidRequest, "refused", "size"),
        (422, blamed({"field": "input.prompt"}), InvalidRequest, "refused", "prompt"),
        (422, blamed("input.seed"), InvalidRequest, "refused", "seed"),
        (422, blamed({"field": "input"}), InvalidRequest, "refused", None),
        (422, blamed({"field": 7}), InvalidRequest, "refused", None),
        (422, {"detail": "No such version."}, InvalidRequest, "No such version.", None),
        (422, {"detail": ["odd"]}, InvalidRequest, "refused", None),
        (400, {"detail": "The prompt was flagged as sensitive (E005)"}, ModerationBlocked, "flagged", None),
        (401, {"title": "Unauthenticated", "detail": "No", "status": 401}, AccountRefused, "credentials", None),
        (402, {"title": "Insufficient credit", "detail": "Pay", "status": 402}, AccountRefused, "account", None),
        (403, {"detail": "Not yours"}, AccountRefused, "account", None),
        (404, {"detail": "No such model"}, UpstreamGone, "No such model", None),
        (429, BUSY, Throttled, "too busy", None),
        (500, {"detail": "E005"}, UpstreamError, "HTTP 500", None),
        (503, {"detail": "Later"}, UpstreamError, "Later", None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, data: Any, kind: type[ApiError], message: str, param: str | None
) -> None:
    """Bad input, moderation, the balance, the limit and an outage are told apart; nothing is sent twice."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert caught.value.param == param
    clients = isinstance(caught.value, InvalidRequest)
    assert caught.value.outcome is (
        Outcome.CLIENT if clients else Outcome.UNKNOWN if status >= 500 else Outcome.REFUSED
    )
    assert len(recorder.calls) == 1


@pytest.mark.parametrize(
    ("data", "headers", "wait"),
    [
        (BUSY, {}, 30),
        (BUSY, {"Retry_After": "7"}, 7),
        ({"detail": "Your rate limit resets in 5s"}, {}, 5),
        ({"detail": "Slow down."}, {}, None),
        ({"detail": 7}, {}, None),
    ],
)
async def test_throttling_says_when(recorder: Recorder, data: Any, headers: dict[str, str], wait: float | None) -> None:
    """How long to wait is in the sentence, unless a header says it."""
    recorder.say(data, 429, **headers)
    async with opened(recorder) as channel:
        with pytest.raises(Throttled) as caught:
            await channel.create(request())
    assert caught.value.retry_after == wait


# ---------------------------------------------------------------- large pictures

LARGE = Picture(picture_file(8, 8) + bytes(LARGEST_INLINE), "image/png", 8, 8)
PLACE = "https://api.replicate.com/v1/files/abc"


async def test_a_large_picture_goes_ahead_as_a_file(recorder: Recorder) -> None:
    """A picture that is too large for the body is put up first and named by its address; a small one stays within."""
    say_in_turn(recorder, {"id": "abc", "urls": {"get": PLACE}}, prediction("starting"))
    async with opened(recorder) as channel:
        await channel.create(request(images=(PICTURE,), last_frame=LARGE))
    first, second = recorder.calls
    assert (first.method, first.target, first.headers["authorization"]) == ("POST", "/v1/files", f"Bearer {KEY}")
    ((name, filename, media_type, data),) = first.parts
    assert (name, filename, media_type, data) == ("content", "image.png", "image/png", LARGE.data)
    assert second.json["input"]["image"] == PICTURE.data_uri
    assert second.json["input"]["last_frame"] == PLACE


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        ({"detail": "Down"}, 503, UpstreamError),
        ({"detail": "Busy"}, 429, Throttled),
        ({"urls": {}}, 201, UpstreamRefused),
        ({"urls": {"get": [PLACE]}}, 201, UpstreamRefused),
        ([], 201, UpstreamRefused),
    ],
)
async def test_a_picture_that_is_not_taken_orders_nothing(
    recorder: Recorder, data: Any, status: int, kind: type[ApiError]
) -> None:
    """Where a picture cannot be put up, nothing was ordered, and the error says so."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind) as caught:
            await channel.create(request(images=(LARGE,)))
    assert caught.value.outcome is Outcome.REFUSED
    assert [call.target for call in recorder.calls] == ["/v1/files"]
