"""plugins/vidu.py: what it reads out of answers, good and bad ones, and how it finds a lost task."""

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
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamRefused,
)
from tests.plugins.openai_oracle import PROMPT, Recorder
from tests.plugins.vidu_wire import (
    CREATION,
    FILM,
    TASK,
    done,
    opened,
    problem,
    request,
    say_in_turn,
    taking,
    task,
)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with taking() as recorder:
        yield recorder


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (task("created"), ("queued", 0)),
        (task("queueing", progress=0), ("queued", 0)),
        (task("processing", progress=40), ("in_progress", 40)),
        (task("processing", progress="half"), ("in_progress", 0)),
        (done(), ("completed", 100)),
        (task("failed", err_code="InternalServiceFailure"), ("failed", 0)),
    ],
)
async def test_states(recorder: Recorder, data: dict[str, Any], expected: tuple[str, int]) -> None:
    """Every state is told as ours, with the progress that some builds have, and the credits that Vidu takes."""
    recorder.say(data)
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob("a/b"))
    assert (recorder.last.method, recorder.last.target) == ("GET", "/ent/v2/tasks/a%2Fb/creations")
    assert (job.id, job.status, job.progress, job.facts["credits"]) == ("a/b", *expected, 20)
    assert (job.error is None) == (job.status != "failed")
    assert (job.url, job.facts.get("creation")) == ((FILM, CREATION) if job.status == "completed" else (None, None))


async def test_how_long_an_address_lives(recorder: Recorder) -> None:
    """An address is good for a day or what the entry says; told again, it does not live longer; a new one does."""
    recorder.say(done())
    async with opened(recorder) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
        assert job.url_expires_at is not None
        assert abs(job.url_expires_at - time.time() - 86_400) < 120
        old = UpstreamJob(TASK, status="completed", url=FILM, url_expires_at=5.0)
        assert (await channel.fetch(old)).url_expires_at == 5.0
        recorder.say(done(f"{FILM}2"))
        assert (await channel.fetch(old)).url_expires_at != 5.0
        source = await channel.content(job, "video")
        assert (source.url, source.headers) == (FILM, {})
    async with opened(recorder, link_seconds=3600) as channel:
        job = await channel.fetch(UpstreamJob(TASK))
    assert job.url_expires_at is not None
    assert abs(job.url_expires_at - time.time() - 3600) < 120


@pytest.mark.parametrize("creations", [None, [], [{}], [{"id": CREATION, "url": ""}], [{"url": 7}], FILM])
async def test_a_success_without_a_film_is_no_success(recorder: Recorder, creations: Any) -> None:
    """A task that succeeded without an address neither completes nor fails a video."""
    recorder.say(task("success", creations=creations))
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError):
            await channel.fetch(UpstreamJob(TASK))


@pytest.mark.parametrize(
    ("word", "code", "message"),
    [
        ("AuditSubmitIllegal", "moderation_blocked", "The upstream says AuditSubmitIllegal."),
        ("TaskPromptPolicyViolation", "moderation_blocked", "The upstream says TaskPromptPolicyViolation."),
        ("CreationPolicyViolation", "moderation_blocked", "The upstream says CreationPolicyViolation."),
        ("CreditInsufficient", "insufficient_funds", "The upstream account has no credits left."),
        ("UserCancelled", "upstream_failed", "The task was cancelled at the upstream."),
        ("ImageDownloadFailure", "upstream_failed", "The upstream says ImageDownloadFailure."),
        ("", "upstream_failed", "The upstream gave no reason."),
        (7, "upstream_failed", "The upstream gave no reason."),
    ],
)
async def test_failures(recorder: Recorder, word: Any, code: str, message: str) -> None:
    """The words of a failed task tell moderation, an empty account and a cancellation from the rest."""
    recorder.say(task("failed", err_code=word))
    async with opened(recorder) as channel:
        assert (await channel.fetch(UpstreamJob(TASK))).error == JobError(code, message)


async def test_a_task_is_cancelled(recorder: Recorder) -> None:
    """A cancellation names the task in the path and in the body."""
    recorder.say({})
    async with opened(recorder) as channel:
        await channel.cancel(UpstreamJob(TASK))
    assert (recorder.last.method, recorder.last.target) == ("POST", f"/ent/v2/tasks/{TASK}/cancel")
    assert recorder.last.json == {"id": TASK}


@pytest.mark.parametrize(
    ("status", "reason", "said", "kind", "message", "param"),
    [
        (400, "AuditSubmitIllegal", "Not allowed.", ModerationBlocked, "Not allowed.", None),
        (400, "TaskPromptPolicyViolation", "", ModerationBlocked, "TaskPromptPolicyViolation.", None),
        (200, "CreationPolicyViolation", "Held.", ModerationBlocked, "Held.", None),
        (400, "CreditInsufficient", "no credits", AccountRefused, "cannot be used", None),
        (200, "Unauthorized", "no key", AccountRefused, "cannot be used", None),
        (400, "ModelUnavailable", "viduq9", UpstreamRefused, "viduq9", None),
        (400, "FieldInvalid", "duration is not possible", InvalidRequest, "duration is not possible", "seconds"),
        (400, "FieldInvalid", "bad aspect_ratio", InvalidRequest, "bad aspect_ratio", "size"),
        (400, "PageSizeOutOfRange", "too large", InvalidRequest, "too large", "input_reference"),
        (400, "ImageCheckFaceFailed", "", InvalidRequest, "ImageCheckFaceFailed", "input_reference"),
        (200, "BadRequest", "no JSON", InvalidRequest, "no JSON", None),
        (401, "Unauthorized", "no key", AccountRefused, "credentials", None),
        (403, "Forbidden", "no", AccountRefused, "credentials", None),
        (404, "TaskNotFound", "no task", UpstreamGone, "no task", None),
        (429, "SystemThrottling", "slow", Throttled, "too busy", None),
        (200, "QuotaExceeded", "slow", Throttled, "too busy", None),
        (409, "Conflict", "again", UpstreamError, "again", None),
        (500, "InternalServiceFailure", "lamp out", UpstreamError, "lamp out", None),
        (200, "InternalServiceFailure", "lamp out", UpstreamError, "lamp out", None),
    ],
)
async def test_refusals(
    recorder: Recorder, status: int, reason: str, said: str, kind: type[ApiError], message: str, param: str | None
) -> None:
    """Moderation, bad input, an empty account, a wrong key, throttling and an outage are told apart, also in a 200."""
    meant = {"Unauthorized": 401, "QuotaExceeded": 429, "InternalServiceFailure": 500}.get(reason, 400)
    recorder.say(problem(meant if status == 200 else status, reason, said), status)
    async with opened(recorder) as channel:
        with pytest.raises(kind, match=message) as caught:
            await channel.create(request())
    assert type(caught.value) is kind
    assert caught.value.param == param
    unsure = kind is UpstreamError
    known = Outcome.CLIENT if issubclass(kind, InvalidRequest) else Outcome.REFUSED
    assert caught.value.outcome is (Outcome.UNKNOWN if unsure else known)
    assert len(recorder.calls) == 1


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("reason", ["AuditServiceFailure", "CreditInsufficient", "ModelUnavailable"])
async def test_the_word_of_an_outage_refuses_nothing(recorder: Recorder, status: int, reason: str) -> None:
    """Where Vidu itself failed, no word of its error says that no task was taken."""
    recorder.say(problem(500, reason, "It broke."), status)
    async with opened(recorder) as channel:
        with pytest.raises(UpstreamError) as caught:
            await channel.create(request())
    assert (type(caught.value), caught.value.outcome) == (UpstreamError, Outcome.UNKNOWN)


# ---------------------------------------------------------------- recovery


async def test_recovery_by_a_listed_payload(recorder: Recorder) -> None:
    """A task of the list with our payload is the lost one; lists that are none are no answer."""
    rows = [{"id": "1", "payload": "other"}, "odd", {"id": TASK, "payload": "attempt_1"}]
    async with opened(recorder) as channel:
        say_in_turn(recorder, {"tasks": rows[:1], "next_page_token": "p2"}, {"tasks": rows, "next_page_token": ""})
        found = await channel.recover(request())
        assert found is not None
        assert found.id == TASK
        assert [call.target for call in recorder.calls] == [
            "/ent/v2/tasks?pager.pagesz=100",
            "/ent/v2/tasks?pager.pagesz=100&pager.page_token=p2",
        ]
        for odd in ({}, {"tasks": 7, "next_page_token": 7}, {"tasks": [], "next_page_token": "p2"}):
            say_in_turn(recorder, odd)
            assert await channel.recover(request()) is None


@pytest.mark.parametrize("listed", [{}, {"payload": ""}])
async def test_recovery_by_the_tasks_themselves(recorder: Recorder, listed: dict[str, str]) -> None:
    """Where the list tells no payloads, the tasks of the same prompt are asked for theirs."""
    rows = [{"id": "1", "prompt": "other"}, {"id": "2", "prompt": PROMPT}, {"id": TASK, "prompt": PROMPT}]
    rows = [{**row, **listed} for row in rows]
    say_in_turn(recorder, {"tasks": rows}, task("created", payload="other"), task("created", payload="attempt_1"))
    async with opened(recorder) as channel:
        found = await channel.recover(request())
    assert found is not None
    assert found.id == TASK
    assert [call.path for call in recorder.calls][1:] == [f"/ent/v2/tasks/{name}/creations" for name in ("2", TASK)]


async def test_recovery_ends(recorder: Recorder) -> None:
    """A list without an end is left after some pages."""
    recorder.say({"tasks": [{"id": "1", "payload": "other"}], "next_page_token": "more"})
    async with opened(recorder) as channel:
        assert await channel.recover(request()) is None
    assert len(recorder.calls) == 20
