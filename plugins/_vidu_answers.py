"""What Vidu's answers mean: its states, the words of its errors, and why a task failed.

https://platform.vidu.com/docs/error-code: the same names are the `reason` of a refusal and the `err_code` of a task.
"""

from __future__ import annotations

import re
from typing import Final

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Reply,
    Throttled,
    UpstreamError,
    UpstreamRefused,
)

STATES: Final = {
    "created": "queued",
    "queueing": "queued",
    "processing": "in_progress",
    "success": "completed",
    "failed": "failed",
}

MODERATION: Final = re.compile(r"Audit|PolicyViolation")
"""AuditSubmitIllegal, TaskPromptPolicyViolation and CreationPolicyViolation, and others of their families."""
PICTURES: Final = re.compile(r"Image|Face|PageSize")
PARAMS: Final = {
    "prompt": "prompt",
    "model": "model",
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
    "images": "input_reference",
    "seed": "seed",
    "audio": "audio",
    "video_url": "video",
    "video_creation_id": "video",
}
"""A field of Vidu's that its sentence names, in OpenAI's words."""
FIELD: Final = re.compile(rf"\b(?:{'|'.join(PARAMS)})\b")


def refusal(status: int, reply: Reply) -> ApiError | None:
    """The error that an answer means; None for a good one, and where the status says it."""
    reason, said, code = (reply.get(path) for path in ("reason", "message", "code"))
    # An error may come within a 200: its `code` is the status that is meant.
    meant = code if status < 300 else status
    if meant is None or not isinstance(reason, str) or not reason:
        return None
    said = said if isinstance(said, str) and said else f"{reason}."
    if isinstance(meant, int) and meant >= 500:
        # Whatever its word is, nothing says that no task was taken.
        return None if status >= 500 else UpstreamError(said)
    if MODERATION.search(reason):
        return ModerationBlocked(said)
    if reason == "CreditInsufficient" or (status < 300 and meant in (401, 403)):
        return AccountRefused("The upstream account cannot be used. Only the operator can change that.")
    if reason == "ModelUnavailable":
        return UpstreamRefused(f"The upstream's model cannot be used: {said}")
    if meant == 400:
        named = FIELD.search(said)
        param = PARAMS[named[0]] if named else "input_reference" if PICTURES.search(reason) else None
        return InvalidRequest(f"The upstream refused the request: {said}", param=param)
    if status >= 300:
        return None
    return Throttled("The upstream is too busy; try again later.") if meant == 429 else UpstreamError(said)


def failure(reply: Reply) -> JobError:
    """Why a task failed: Vidu gives a word for it, and no sentence."""
    code = reply.get("err_code")
    word = code if isinstance(code, str) else ""
    if word == "UserCancelled":
        return JobError("upstream_failed", "The task was cancelled at the upstream.")
    if word == "CreditInsufficient":
        return JobError("insufficient_funds", "The upstream account has no credits left.")
    said = f"The upstream says {word}." if word else ""
    return JobError("moderation_blocked" if MODERATION.search(word) else "upstream_failed", said)


def credits_of(reply: Reply) -> dict[str, int]:
    """What a task costs, in Vidu's credits."""
    credits = reply.get("credits")
    return {"credits": credits} if isinstance(credits, int) and not isinstance(credits, bool) else {}
