"""What Ark says: states, the end of a film, and errors.

https://www.volcengine.com/docs/82379/1299023
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from proxy import AccountRefused, ApiError, InvalidRequest, JobError, ModerationBlocked, Reply, Throttled

STATES: Final = {
    "queued": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "expired": "failed",
}
ENDINGS: Final = {
    "cancelled": JobError("upstream_failed", "The task was cancelled at the upstream."),
    "expired": JobError("expired", "The upstream let the task expire."),
}

KEPT: Final = 24 * 3600
"""Seconds that a film is kept, where its address does not say it."""
LONGEST_SIGNED: Final = 7 * KEPT
"""Seconds that an address of this storage can be signed for."""

MODERATION: Final = re.compile(r"SensitiveContent|RiskDetection")
NO_ACCOUNT: Final = ("AccountOverdueError", "ModelNotOpen", "InvalidEndpoint.")
OPERATORS: Final = "The upstream account cannot be used for this. Only the operator can change that."
"""Ark's own sentence names the account."""
BUSY: Final = ("RateLimitExceeded", "ServerOverloaded")
REQUEST_ID: Final = re.compile(r"\s*Request id:.*", re.IGNORECASE | re.DOTALL)
PARAMS: Final = {
    "text": "prompt",
    "last_frame": "last_frame",
    "image": "input_reference",
    "video": "video",
    "duration": "seconds",
    "frames": "seconds",
    "resolution": "size",
    "ratio": "size",
    "generate_audio": "audio",
    "seed": "seed",
    "model": "model",
}
"""Words in the name of a field of Ark's -> the field in OpenAI's words."""


def refusal(status: int, reply: Reply) -> ApiError | None:
    """The error that an answer means, where it has a code of Ark's that says more than the status."""
    code, said, field = (reply.get(f"error.{word}") for word in ("code", "message", "param"))
    if status < 400 or not isinstance(code, str):
        return None
    said = REQUEST_ID.sub("", said) if isinstance(said, str) else code
    if MODERATION.search(code):
        return ModerationBlocked(f"The upstream's moderation refuses the request: {said}")
    if code.startswith(NO_ACCOUNT):
        return AccountRefused(OPERATORS)
    if code.startswith(BUSY):
        return Throttled("The upstream is too busy; try again later.")
    if status in (400, 422):
        param = next((ours for word, ours in PARAMS.items() if word in str(field)), None)
        return InvalidRequest(f"The upstream refused the request: {said}", param=param)
    return None


def failure(reply: Reply) -> JobError:
    """Why a task failed."""
    if reply.get("status") in ENDINGS:
        return ENDINGS[reply.get("status")]
    code, said = reply.get("error.code"), reply.get("error.message")
    code = code if isinstance(code, str) else ""
    if code.startswith(NO_ACCOUNT):
        return JobError("insufficient_funds" if code.startswith("AccountOverdue") else "upstream_failed", OPERATORS)
    word = "moderation_blocked" if MODERATION.search(code) else "upstream_failed"
    message = REQUEST_ID.sub("", said) if isinstance(said, str) else f"The upstream says {code}." if code else ""
    return JobError(word, message)


def vanishes(url: Any, updated_at: Any) -> float:
    """When the film is gone: as its signed address says, or a day after the task's end."""
    try:
        signed = parse_qs(urlsplit(str(url)).query)
        made = datetime.strptime(signed["X-Tos-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        seconds = int(signed["X-Tos-Expires"][0])
    except (KeyError, ValueError):
        seconds = 0
    # A number beyond every time must not keep a paid film back.
    if 0 < seconds <= LONGEST_SIGNED:
        return made.timestamp() + seconds
    is_time = isinstance(updated_at, int) and not isinstance(updated_at, bool) and 0 < updated_at < 10**11
    return (updated_at if is_time else time.time()) + KEPT
