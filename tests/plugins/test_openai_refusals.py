"""plugins/openai.py: what it makes of refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    ModerationBlocked,
    Outcome,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamRefused,
)
from tests.plugins.openai_oracle import KEY, Recorder, opened, recording, request


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


def enveloped(message: str, code: Any = None, type: str = "invalid_request_error", param: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


REFUSALS: list[tuple[str, int, Any, dict[str, str], type[ApiError], Outcome, str | None, float | None]] = [
    ("key", 401, enveloped("Incorrect API key.", "invalid_api_key"), {}, AccountRefused, Outcome.REFUSED, None, None),
    ("balance", 402, enveloped("Pay first."), {}, AccountRefused, Outcome.REFUSED, None, None),
    ("region", 403, enveloped("Country not supported."), {}, AccountRefused, Outcome.REFUSED, None, None),
    (
        "quota",
        429,
        enveloped("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
        {"Retry-After": "5"},
        AccountRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "quota by type",
        429,
        enveloped("Exceeded.", None, "insufficient_quota"),
        {},
        AccountRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "billing",
        429,
        enveloped("Hard limit.", "billing_hard_limit_reached"),
        {},
        AccountRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "rate",
        429,
        enveloped("Slow down.", "rate_limit_exceeded"),
        {"Retry-After": "7"},
        Throttled,
        Outcome.REFUSED,
        None,
        7,
    ),
    (
        "concurrency",
        429,
        enveloped("Too many running tasks", None, "video_generation_user_error"),
        {},
        Throttled,
        Outcome.REFUSED,
        None,
        None,
    ),
    ("slow_down", 429, enveloped("Slow down.", "slow_down"), {"Retry-After": "3"}, Throttled, Outcome.REFUSED, None, 3),
    (
        "overloaded",
        503,
        enveloped("Overloaded.", "server_is_overloaded", "server_error"),
        {"Retry-After": "9"},
        Throttled,
        Outcome.REFUSED,
        None,
        9,
    ),
    (
        "overloaded, no word of when",
        503,
        enveloped("Overloaded.", "server_is_overloaded"),
        {},
        Throttled,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "a Reelgate's channel is gone",
        503,
        enveloped("The channel is gone.", "channel_unavailable", "server_error"),
        {"x-should-retry": "false", "x-reelgate-not-taken": "true"},
        UpstreamRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "a Reelgate does not know",
        502,
        enveloped("It was cut.", "upstream_error", "upstream_error"),
        {"x-should-retry": "false"},
        UpstreamError,
        Outcome.UNKNOWN,
        None,
        None,
    ),
    (
        "moderation",
        400,
        enveloped("Your request was blocked by our moderation system.", "moderation_blocked"),
        {},
        ModerationBlocked,
        Outcome.CLIENT,
        None,
        None,
    ),
    (
        "policy",
        400,
        enveloped("Violates the policy.", "content_policy_violation", param="prompt"),
        {},
        ModerationBlocked,
        Outcome.CLIENT,
        "prompt",
        None,
    ),
    (
        "policy by type",
        403,
        enveloped("Violates the policy.", None, "content_policy_violation"),
        {},
        ModerationBlocked,
        Outcome.CLIENT,
        None,
        None,
    ),
    (
        "Azure's filter",
        400,
        {
            "error": {
                "code": "BadRequest",
                "message": "Filtered.",
                "inner_error": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        {},
        ModerationBlocked,
        Outcome.CLIENT,
        None,
        None,
    ),
    (
        "Azure's filter, bare",
        400,
        {"code": "content_filter", "message": "Filtered.", "param": None, "type": None},
        {},
        ModerationBlocked,
        Outcome.CLIENT,
        None,
        None,
    ),
    (
        "a moderation word in a crash",
        500,
        enveloped("Blocked?", "moderation_blocked"),
        {},
        UpstreamError,
        Outcome.UNKNOWN,
        None,
        None,
    ),
    (
        "bad seconds",
        400,
        enveloped("Invalid value: '5'.", "invalid_value", param="seconds"),
        {},
        InvalidRequest,
        Outcome.CLIENT,
        "seconds",
        None,
    ),
    (
        "bad size, bare",
        400,
        {"code": "invalid_value", "message": "Invalid size."},
        {},
        InvalidRequest,
        Outcome.CLIENT,
        None,
        None,
    ),
    (
        "picture of another size",
        400,
        enveloped("Inpaint image must match the requested width and height"),
        {},
        InvalidRequest,
        Outcome.CLIENT,
        None,
        None,
    ),
    ("FastAPI", 422, {"detail": "prompt is too long"}, {}, InvalidRequest, Outcome.CLIENT, None, None),
    (
        "no such model",
        404,
        enveloped("The model `sora-9` does not exist", "model_not_found", param="model"),
        {},
        UpstreamRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "no such model, as 400",
        400,
        enveloped("The model `sora-9` does not exist", "model_not_found"),
        {},
        UpstreamRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "no such deployment",
        404,
        {"code": "DeploymentNotFound", "message": "No such deployment."},
        {},
        UpstreamRefused,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "a Reelgate cannot remix that",
        400,
        enveloped("It cannot be remixed.", "remix_unsupported"),
        {},
        UnsupportedOperation,
        Outcome.CLIENT,
        None,
        None,
    ),
    (
        "a Reelgate has no such video",
        404,
        enveloped("Video with id 'x' not found.", "video_not_found"),
        {},
        UpstreamGone,
        Outcome.REFUSED,
        None,
        None,
    ),
    (
        "crash",
        500,
        enveloped("The server had an error.", "server_error", "server_error"),
        {},
        UpstreamError,
        Outcome.UNKNOWN,
        None,
        None,
    ),
    ("conflict", 409, enveloped("Conflict.", "conflict"), {}, UpstreamError, Outcome.UNKNOWN, None, None),
    ("an unnamed 503", 503, enveloped("Unavailable."), {}, UpstreamError, Outcome.UNKNOWN, None, None),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "outcome", "param", "retry_after"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
async def test_refusals(
    recorder: Recorder,
    tmp_path: Path,
    status: int,
    body: Any,
    headers: dict[str, str],
    kind: type[ApiError],
    outcome: Outcome,
    param: str | None,
    retry_after: float | None,
) -> None:
    """Every documented refusal of a create becomes its own error, says what it means for the money, keeps the field to
    blame and the time to wait, and the upstream's sentence unless that is about the operator's own account."""
    recorder.say(body, status, **headers)
    async with opened(recorder.base_url, tmp_path) as channel:
        with pytest.raises(ApiError) as caught:
            await channel.create(request())
    error = caught.value
    assert (type(error), error.outcome, error.param, error.retry_after) == (kind, outcome, param, retry_after)
    sentence = body.get("detail") or body.get("message") or body["error"]["message"]
    told = kind not in (AccountRefused, Throttled)
    assert (sentence in error.message) == told


async def test_a_sentence_shows_no_key(recorder: Recorder, tmp_path: Path) -> None:
    """A refusal that quotes our key back at us is passed on without it."""
    async with opened(recorder.base_url, tmp_path) as channel:
        for status, code in (
            (401, "invalid_api_key"),
            (400, "content_policy_violation"),
            (404, "model_not_found"),
            (429, "insufficient_quota"),
            (503, "server_is_overloaded"),
            (400, "invalid_value"),
        ):
            recorder.say(enveloped(f"Incorrect API key provided: {KEY}.", code), status)
            with pytest.raises(ApiError) as caught:
                await channel.create(request())
            assert KEY not in f"{caught.value} {caught.value.message}"
