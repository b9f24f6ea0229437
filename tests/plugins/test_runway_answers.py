"""plugins/runway.py: what it reads out of answers, good and bad ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from plugins._runway_models import EDITORS, MODELS
from plugins.runway import RunwayOptions
from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    Outcome,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)
from tests.plugins.openai_oracle import Recorder
from tests.plugins.runway_wire import FILM, TASK, opened, request, taking, task


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (task("PENDING", estimatedCost={"credits": 60}), ("queued", 0)),
        (task("THROTTLED", estimatedCost={"credits": 60}), ("queued", 0)),
        (task("RUNNING", progress=0.4), ("in_progress", 40)),
        (task("RUNNING", progress=1), ("in_progress", 99)),
        (task("RUNNING"), ("in_progress", 0)),
        (task("RUNNING", progress="half"), ("in_progress", 0)),
        (task("SUCCEEDED", cost={"credits": 60}, output=[FILM]), ("completed", 100)),
        (task("FAILED", cost={"credits": 0}, failure="It broke.", failureCode="INTERNAL"), ("failed", 0)),
        (task("CANCELLED", cost={"credits": 0}), ("failed", 0)),
    ],
)
async def test_states(recorder: Recorder, data: dict[str, Any], expected: tuple[str, int]) -> None:
    """Every state is told as ours, with progress out of a fraction; THROTTLED waits and is no error."""
    recorder.say(data)
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert (recorder.last.method, recorder.last.target) == ("GET", f"/v1/tasks/{TASK}")
    assert (job.id, job.status, job.progress) == (TASK, *expected)
    assert (job.error is None) == (job.status != "failed")
    assert job.url == (FILM if job.status == "completed" else None)


async def test_a_result_has_an_address_for_a_day(recorder: Recorder) -> None:
    """The address of a result is public and runs out after a day; the result itself does not."""
    recorder.say(task("SUCCEEDED", output=[FILM]))
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
        found = await channel.content(job, "video")
    assert job.url_expires_at is not None
    assert abs(job.url_expires_at - time.time() - 86_400) < 60
    assert job.expires_at is None
    assert (found.url, found.headers) == (FILM, {})


@pytest.mark.parametrize("output", [None, [], [7], "https://cdn.example.com/x.mp4", [None], {"0": 7}])
async def test_a_success_without_a_film_is_no_success(recorder: Recorder, output: Any) -> None:
    """A task that succeeded without an address neither completes nor fails a video."""
    recorder.say(task("SUCCEEDED", output=output))
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError):
            await channel.fetch(UpstreamJob(TASK))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SAFETY.INPUT.TEXT", "moderation_blocked"),
        ("SAFETY.INPUT.IMAGE", "moderation_blocked"),
        ("SAFETY.INPUT.VIDEO", "moderation_blocked"),
        ("SAFETY.OUTPUT.VIDEO", "moderation_blocked"),
        ("SAFETY", "moderation_blocked"),
        ("INPUT_PREPROCESSING.SAFETY.TEXT", "moderation_blocked"),
        ("INPUT_PREPROCESSING.INTERNAL", "upstream_failed"),
        ("INTERNAL.BAD_OUTPUT.CODE01", "upstream_failed"),
        ("ASSET.INVALID", "upstream_failed"),
        ("INTERNAL", "upstream_failed"),
        ("THIRD_PARTY.UNAVAILABLE", "upstream_failed"),
        (None, "upstream_failed"),
        (7, "upstream_failed"),
    ],
)
async def test_failure_codes(recorder: Recorder, code: Any, expected: str) -> None:
    """The families of failureCode that are about safety are moderation; the sentence is Runway's."""
    recorder.say(task("FAILED", failure="The lamp went out.", failureCode=code))
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert job.error == JobError(expected, "The lamp went out.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"failureCode": "ASSET.INVALID"}, "The upstream says ASSET.INVALID."),
        ({"failure": "", "failureCode": None}, "The upstream gave no reason."),
        ({"failure": ["x"]}, "The upstream gave no reason."),
    ],
)
async def test_a_failure_without_a_sentence(recorder: Recorder, changes: dict[str, Any], message: str) -> None:
    """Where the sentence is missing, the code stands for it."""
    recorder.say(task("FAILED", **changes))
    async with opened(recorder) as channel:
        assert (await channel.fetch(UpstreamJob(TASK))).error == JobError("upstream_failed", message)


async def test_a_cancelled_task_says_so(recorder: Recorder) -> None:
    """A task that was cancelled at Runway fails with a sentence of ours."""
    recorder.say(task("CANCELLED"))
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert job.error == JobError("upstream_failed", "The task was cancelled at the upstream.")


@pytest.mark.parametrize("operation", ["cancel", "delete"])
async def test_a_task_is_taken_back(recorder: Recorder, operation: str) -> None:
    """Cancel and delete are one call at Runway, which answers 204; an id is one step of the path."""
    recorder.answer = lambda: web.Response(status=204)
    async with opened(recorder) as channel:
        await getattr(channel, operation)(UpstreamJob("a/b"))
    assert (recorder.last.method, recorder.last.target, recorder.last.body) == ("DELETE", "/v1/tasks/a%2Fb", b"")


# ---------------------------------------------------------------- refusals

ISSUE = {"error": "Validation of body failed", "issues": [{"message": "Too long", "path": ["promptText"]}]}


@pytest.mark.parametrize(
    ("status", "data", "kind", "message", "param"),
    [
        (400, {"error": "No such ratio."}, InvalidRequest, "No such ratio.", None),
        (400, ISSUE, InvalidRequest, "Validation of body failed: Too long", "prompt"),
        (400, {**ISSUE, "issues": [{"message": "Hm", "path": ["new"]}]}, InvalidRequest, "failed: Hm", None),
        (400, {**ISSUE, "issues": "odd"}, InvalidRequest, "Validation of body failed", None),
        (400, {"error": "You do not have enough credits."}, AccountRefused, "no credits left", None),
        (400, {"error": "The X-Runway-Version header is wrong."}, AccountRefused, "Only the operator", None),
        (401, {"error": "Unauthorized"}, AccountRefused, "credentials", None),
        (404, {"error": "Not found"}, UpstreamGone, "Not found", None),
        (405, {"error": "Method not allowed"}, UpstreamGone, "Method not allowed", None),
        (429, {"error": "Daily limit"}, Throttled, "too busy", None),
        (502, {"error": "Bad gateway"}, UpstreamError, "Bad gateway", None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, data: Any, kind: type[ApiError], message: str, param: str | None
) -> None:
    """Bad input, an empty account, a wrong key, the daily cap and an outage are told apart."""
    recorder.say(data, status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert caught.value.param == param
    certain = Outcome.CLIENT if kind is InvalidRequest else Outcome.UNKNOWN if status == 502 else Outcome.REFUSED
    assert caught.value.outcome is certain
    assert len(recorder.calls) == 1


@pytest.mark.parametrize("mistake", [{"edit_model": "gen4.5"}, {"versions": "x"}])
def test_options_are_checked(mistake: dict[str, str]) -> None:
    """An `edit_model` that cannot edit is a mistake, and so is an unknown option."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(mistake, RunwayOptions)


@pytest.mark.parametrize("model", EDITORS)
def test_every_editor_may_be_the_edit_model(model: str) -> None:
    """The models that can edit are known, and each may be named in an entry."""
    assert msgspec.convert({"edit_model": model}, RunwayOptions).edit_model == model
    assert model in MODELS
