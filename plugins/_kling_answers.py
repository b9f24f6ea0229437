"""What an answer of Kling means: its codes, its states, and the film of a task that is done.

https://app.klingai.com/global/dev/document-api/apiReference/commonInfo
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Reply,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
)

from ._kling_models import Kind

STATES: Final = {"submitted": "queued", "processing": "in_progress", "succeed": "completed", "failed": "failed"}

KEPT: Final = 30 * 86_400
"""Seconds that a result is kept."""
CLOCK: Final = (1003, 1004)
"""The token is not yet valid, or no longer."""
ACCOUNT: Final = (1000, 1001, 1002, *CLOCK, 1100, 1101, 1102, 1103, 1304)
"""Key, balance, packs, rights and allow-list; some come with a 429."""
BAD_INPUT: Final = (1200, 1201)
MODERATION: Final = (1300, 1301)
BUSY: Final = (1302, 1303)
GONE: Final = (1202, 1203)

PARAMS: Final = {
    "negative_prompt": "negative_prompt",
    "prompt": "prompt",
    "model_name": "model",
    "model": "model",
    "duration": "seconds",
    "aspect_ratio": "size",
    "mode": "size",
    "sound": "audio",
    "image_tail": "last_frame",
    "image_list": "input_reference",
    "image": "input_reference",
    "video_list": "video",
    "video_url": "video",
    "video_id": "video",
}
"""The name of a field of Kling's in OpenAI's words. Only the sentence of an error says which is meant."""
# A failed task has no code, only a sentence.
BLOCKED: Final = re.compile(r"risk control|moderat|sensitive|safety|polic(?:y|ies)|prohibited", re.IGNORECASE)


def refusal(status: int, reply: Reply) -> ApiError | None:
    """The error that an answer means, by its `code`, also inside a 200."""
    code, said = reply.get("code"), str(reply.get("message", ""))
    if code in ACCOUNT:
        return AccountRefused("The upstream account cannot be used. Only the operator can change that.")
    if code in MODERATION:
        return ModerationBlocked(said or "The upstream's moderation refuses the request.")
    if code in BUSY:
        return Throttled("The upstream is too busy; try again later.")
    if code in BAD_INPUT:
        field = next((name for name in PARAMS if re.search(rf"\b{name}\b", said, re.IGNORECASE)), "")
        return InvalidRequest(
            f"The upstream refused the request: {said or 'it did not say why.'}", param=PARAMS.get(field)
        )
    if code in GONE:
        return UpstreamGone(f"The upstream does not know what was asked for: {said}")
    if status < 400 and code not in (0, None):
        return UpstreamError(f"The upstream answered the code {code}: {said}")
    return None


def taken(reply: Reply, kind: Kind, maker: str) -> UpstreamJob:
    """A task that is there. How it is, the next poll tells: a word that is new must not lose a paid one."""
    return UpstreamJob(id=reply.need("data.task_id"), facts={"kind": kind, "model": maker})


def told(reply: Reply, kind: Kind, job: UpstreamJob) -> UpstreamJob:
    """`job` as a poll tells it."""
    status = reply.choose("data.task_status", STATES)
    facts: dict[str, Any] = {**job.facts, "kind": kind}
    url, ends = None, None
    if status == "completed":
        url = reply.need("data.task_result.videos[0].url")
        film, seconds, made = (
            reply.get(path)
            for path in ("data.task_result.videos[0].id", "data.task_result.videos[0].duration", "data.updated_at")
        )
        if isinstance(film, str):
            facts["film"] = film
        if isinstance(seconds, str) and re.fullmatch(r"\d{1,4}(\.\d+)?", seconds, re.ASCII):
            facts["seconds"] = float(seconds)
        # Milliseconds; a number beyond every time must not keep a paid film back.
        if isinstance(made, int) and 10**12 < made < 10**14:
            ends = made / 1000 + KEPT
    return UpstreamJob(
        id=job.id,
        status=status,
        url=url,
        expires_at=ends,
        facts=facts,
        error=failure(reply) if status == "failed" else None,
    )


def failure(reply: Reply) -> JobError:
    """Why a task failed."""
    said = str(reply.get("data.task_status_msg", ""))
    return JobError("moderation_blocked" if BLOCKED.search(said) else "upstream_failed", said)
