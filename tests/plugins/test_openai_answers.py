"""plugins/openai.py: what it reads out of answers, odd ones included."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai.types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.openai import OpenAI, taken
from proxy import (
    ApiError,
    Outcome,
    Reply,
    UpstreamError,
)
from tests.plugins.openai_oracle import JOB, Recorder, opened, recording, request, video


def reply(data: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(data, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


@pytest.mark.parametrize("keep_nulls", [True, False])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "queued"}, ("queued", 0, None, None)),
        ({"status": "in_progress", "progress": 42}, ("in_progress", 42, None, None)),
        (
            {"status": "completed", "progress": 100, "completed_at": 1_760_000_060, "expires_at": 1_760_003_600},
            ("completed", 100, 1_760_003_600, None),
        ),
        (
            {"status": "failed", "error": {"code": "moderation_blocked", "message": "Blocked."}},
            ("failed", 0, None, ("moderation_blocked", "Blocked.")),
        ),
        (
            {"status": "failed", "error": {"code": "server_error", "message": "It broke.", "type": "x", "headers": {}}},
            ("failed", 0, None, ("upstream_failed", "It broke.")),
        ),
        ({"status": "queued", "remixed_from_video_id": "video_0"}, ("queued", 0, None, None)),
    ],
)
async def test_the_sdks_own_objects_are_read(
    recorder: Recorder, tmp_path: Path, changes: dict[str, Any], expected: tuple[Any, ...], keep_nulls: bool
) -> None:
    """Every form of the SDK's Video type is read, with its nulls and without."""
    told = openai.types.Video.model_validate(video(**changes))
    recorder.say(json.loads(told.model_dump_json(exclude_none=not keep_nulls)))
    async with opened(recorder.base_url, tmp_path) as channel:
        job = await channel.fetch(JOB)
    error = job.error and (job.error.code, job.error.message)
    assert (job.status, job.progress, job.expires_at, error) == expected


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", "queued"),
        ("submitted", "queued"),
        ("processing", "in_progress"),
        ("running", "in_progress"),
        ("succeeded", "completed"),
        ("success", "completed"),
        ("cancelled", "failed"),
        ("canceled", "failed"),
        ("expired", "failed"),
    ],
)
async def test_synonyms_of_gateways_are_read(recorder: Recorder, tmp_path: Path, word: str, status: str) -> None:
    """The words that gateways put in place of the four states mean them; an expired job fails as expired."""
    recorder.say(video(status=word))
    async with opened(recorder.base_url, tmp_path) as channel:
        job = await channel.fetch(JOB)
    assert job.status == status
    assert (job.error is not None and job.error.code == "expired") == (word == "expired")


@pytest.mark.parametrize("word", ["martian", "", 7, None, ["queued"], "Completed "])
async def test_an_unknown_state_fails_no_job(recorder: Recorder, tmp_path: Path, word: Any) -> None:
    """A poll with an unknown state raises an error that names it; a submission with one keeps its id."""
    recorder.say(video(status=word))
    async with opened(recorder.base_url, tmp_path) as channel:
        with pytest.raises(UpstreamError, match=str(word)[:9] if word == "martian" or word == 7 else "status"):
            await channel.fetch(JOB)
        job = await channel.create(request())
    assert (job.id, job.status) == ("video_up_1", "queued")


@pytest.mark.parametrize(
    ("changes", "status", "progress", "expires_at"),
    [
        ({"progress": 41.7, "status": "in_progress"}, "in_progress", 41, None),
        ({"progress": "57%", "status": "in_progress"}, "in_progress", 0, None),
        ({"progress": 10**30, "status": "in_progress"}, "in_progress", 0, None),
        ({"progress": -3, "status": "in_progress"}, "in_progress", 0, None),
        ({"quality": "standard", "usage": {"duration_seconds": 4}, "seconds": 4}, "queued", 0, None),
        ({"expires_at": "tomorrow"}, "queued", 0, None),
        ({"expires_at": 1_760_000_000.5}, "queued", 0, 1_760_000_000),
        ({"status": "completed", "error": {"code": None, "message": None}}, "completed", 100, None),
    ],
)
async def test_odd_values_are_tolerated(
    recorder: Recorder, tmp_path: Path, changes: dict[str, Any], status: str, progress: int, expires_at: int | None
) -> None:
    """What vendors put into the object beside or in place of the documented values breaks no poll."""
    recorder.say(video(**changes))
    async with opened(recorder.base_url, tmp_path) as channel:
        job = await channel.fetch(JOB)
    assert (job.status, job.progress, job.expires_at, job.error) == (status, progress, expires_at, None)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": 500, "message": "Engine died."}, "upstream_failed", "Engine died."),
        ({"message": "No code here."}, "upstream_failed", "No code here."),
        ({"code": "moderation_blocked"}, "moderation_blocked", "The upstream gave no reason."),
        ({"code": "content_policy_violation", "message": "No."}, "moderation_blocked", "No."),
        ({"code": "input_moderation", "message": "No."}, "moderation_blocked", "No."),
        ({"code": "OUTPUT_MODERATION", "message": "No."}, "moderation_blocked", "No."),
        (
            {"code": "x", "inner_error": {"code": "ResponsibleAIPolicyViolation"}, "message": "N"},
            "moderation_blocked",
            "N",
        ),
        ({"code": "outcome_unknown", "message": "Lost."}, "upstream_failed", "Lost."),
        ("A mere sentence.", "upstream_failed", "A mere sentence."),
        (None, "upstream_failed", "The upstream gave no reason."),
        ([1, 2], "upstream_failed", "The upstream gave no reason."),
        ({"code": [], "message": {}}, "upstream_failed", "The upstream gave no reason."),
    ],
)
async def test_why_a_job_failed(recorder: Recorder, tmp_path: Path, error: Any, code: str, message: str) -> None:
    """A failed job says moderation_blocked or upstream_failed, and keeps the upstream's sentence."""
    recorder.say(video(status="failed", error=error))
    async with opened(recorder.base_url, tmp_path) as channel:
        job = await channel.fetch(JOB)
    assert job.error is not None
    assert (job.status, job.error.code, job.error.message) == ("failed", code, message)


async def test_a_poll_keeps_the_id_of_its_job(recorder: Recorder, tmp_path: Path) -> None:
    """A poll answer without an id, or with another spelling of it, is still about the job that was asked for."""
    async with opened(recorder.base_url, tmp_path) as channel:
        for odd in (None, 17, "video_encoded_otherwise"):
            recorder.say(video(id=odd, status="in_progress"))
            assert (await channel.fetch(JOB)).id == "video_up_1"


async def test_an_answer_without_an_id_is_unknown(recorder: Recorder, tmp_path: Path) -> None:
    """A 2xx to a create that names no job is an unknown outcome: the job may be running and paid for."""
    async with opened(recorder.base_url, tmp_path) as channel:
        for odd in ({}, video(id=None), video(id=""), video(id={}), [], "text", b"<html>", b""):
            recorder.say(odd)
            with pytest.raises(UpstreamError) as caught:
                await channel.create(request())
            assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("text", "seconds"), [("2500", 2.5), ("0", 0), ("soon", None), ("-1", None), ("9" * 40, None), ("²", None)]
)
def test_poll_advice(text: str, seconds: float | None) -> None:
    """The header that tells the SDK when to come back tells us too; nonsense in it is ignored."""
    assert taken(reply(video(), openai_poll_after_ms=text)).poll_after == seconds
    assert taken(reply(video())).poll_after is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("id", "status", "progress", "error", "expires_at", "code", "message", "param", "type", "inner_error"),
            json_values | st.sampled_from(["queued", "failed", "completed", "moderation_blocked"]),
        ),
    )
    | json_values,
    st.sampled_from([200, 202, 400, 403, 404, 409, 422, 429, 500, 503]),
)
def test_no_body_breaks_the_reader(data: Any, status: int) -> None:
    """Whatever JSON comes back, the answer is a job or an `UpstreamError`, and a refusal is one of ours or none."""
    answer = reply(data, status)
    try:
        job = taken(answer)
    except UpstreamError:
        pass
    else:
        assert isinstance(job.id, str)
        assert (job.error is not None) == (job.status == "failed")
    error = OpenAI.refusal(object.__new__(OpenAI), status, answer)
    assert error is None or (isinstance(error, ApiError) and error.message)
