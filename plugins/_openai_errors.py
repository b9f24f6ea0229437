"""What the errors of servers that speak the OpenAI Videos API mean, for plugins/openai.py."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Reply,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamRefused,
)

FIELDS: Final = (
    *("prompt", "model", "seconds", "size", "input_reference", "images", "last_frame", "characters", "video"),
    *("audio", "seed", "negative_prompt"),
)

# Words of an error's `code`, `type` or (Azure) `inner_error.code`, in lower case.
MODERATION: Final = {"moderation_blocked", "content_policy_violation", "content_filter"} | {
    "input_moderation",
    "output_moderation",
    "responsibleaipolicyviolation",
    "contentpolicyviolationerror",
}
QUOTA: Final = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded"}
BUSY: Final = {"server_is_overloaded", "slow_down"}
NO_MODEL: Final = {"model_not_found", "deploymentnotfound"}
INCAPABLE: Final = {"unsupported_operation", "remix_unsupported"}
NOT_DELETABLE: Final = {"video_not_deletable"}
NO_TASK: Final = {"task_not_exist"}
LOOP: Final = "loop_detected"
"""How a Reelgate refuses what it sent on itself; a gateway on the way may leave nothing of it but the sentence."""
LITELLM_WORD: Final = re.compile(r"litellm\.(\w+): ", re.ASCII)
"""LiteLLM's own name for an error, at the beginning of its sentence."""


class Ended(UpstreamError):
    """A vLLM-Omni tells of a failed job with an error status; nothing else is in that answer but the job."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(envelope(reply)[1])
        self.reply = reply


class NotTold(UpstreamError):
    """501: a new-api has tasks that only its older door tells of."""


def refusal(status: int, reply: Reply) -> ApiError | None:
    """The error that an answer means, where its words say more than its status."""
    wrapped = status < 400
    if wrapped and not is_error(reply):
        return None
    if reply.get("object") == "video" and reply.get("status") == "failed":
        return Ended(reply)
    words, message, param = envelope(reply)
    if status == 501:
        return NotTold(f"The upstream answered HTTP 501: {message}")
    if status == 422 and reply.get("detail[0].loc[1]") in FIELDS:
        why = reply.get("detail[0].msg")
        return InvalidRequest(f"The upstream refused the request: {why}", param=reply.get("detail[0].loc[1]"))
    if status < 500 and LOOP in message:
        return UpstreamRefused(message)
    if words & NO_TASK:
        return UpstreamGone(message)
    if status < 500 and words & MODERATION:
        return ModerationBlocked(message, param=param)
    if status < 500 and words & INCAPABLE:
        return UnsupportedOperation(message, param=param)
    if status < 500 and words & NOT_DELETABLE:
        # What a Reelgate advises besides is for its own client, which we are.
        return InvalidRequest("The upstream cannot stop it now.")
    if words & NO_MODEL:
        return UpstreamRefused(message)
    if status in (200, 400, 429) and words & QUOTA:
        return AccountRefused("The upstream account has no quota left. Only the operator can change that.")
    if status == 503 and words & BUSY:
        return Throttled("The upstream is too busy; try again later.")
    # A Reelgate says so where it certainly took nothing.
    if status >= 500 and reply.headers.get("x-reelgate-not-taken") == "true":
        return UpstreamRefused(message)
    return UpstreamError(f"The upstream answered an error as HTTP {status}: {message}") if wrapped else None


def is_error(reply: Reply) -> bool:
    """Whether an answer that is no error by its status tells of one, and of nothing else."""
    if any(reply.get(name) is not None for name in ("id", "task_id", "status", "data")):
        return False
    code = reply.get("code")
    return bool(reply.get("error")) or (isinstance(code, str) and code != "success")


def failure(reply: Reply, known: Set[str]) -> JobError:
    """Why a failed job failed, in our words and the upstream's sentence; `known` are words that it means as we do."""
    words, message, _ = envelope(reply)
    if words & MODERATION:
        return JobError("moderation_blocked", message)
    if reply.get("status") == "expired":
        return JobError("expired", message)
    return JobError(next(iter(words & known), "upstream_failed"), message)


def envelope(reply: Reply) -> tuple[set[str], str, str | None]:
    """The words, the sentence and the `param` of an error: wrapped in `error`, bare (Azure), or a mere string."""
    error = reply.get("error", reply.data)
    if not isinstance(error, dict):
        error = {"message": error}
    inner = error.get("inner_error")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    message, param = error.get("message"), error.get("param")
    if isinstance(message, str) and (named := LITELLM_WORD.match(message)):
        codes.append(named[1])
    return (
        {str(code).lower() for code in codes},
        message if isinstance(message, str) and message else "The upstream gave no reason.",
        param if param in FIELDS else None,
    )
