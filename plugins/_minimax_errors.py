"""The numbers of MiniMax's errors, and what they mean: of a refusal on either wire, and of a task that failed.

https://platform.minimax.io/docs/api-reference/video-generation-intro and video-generation-v2
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
    UpstreamTimeout,
)

MODERATION: Final = (1026, 1027)
"""Of what goes in, and of what comes out."""
ACCOUNT: Final = (1004, 1008, 1028, 1030, 2038, 2049, 2056, 2061)
"""Of keys, balances and names, and of plans: what they have is used up, or they do not have the model."""
BUSY: Final = (1002, 1039, 1041, 2045)
"""Too many requests, tokens or connections, or more of them than just now."""
TIMED_OUT: Final = 1001
NO_MONEY: Final = 1008
BAD_INPUT: Final = 2013
GONE: Final = (404, 410)
"""Statuses that say more than the number, which calls every mistake bad input."""

PARAMS: Final = {
    "duration": "seconds",
    "resolution": "size",
    "ratio": "size",
    "last_frame_image": "last_frame",
    "first_frame_image": "input_reference",
    "subject_reference": "input_reference",
    "image_url": "input_reference",
    "prompt": "prompt",
    "text": "prompt",
    "model": "model",
}
"""The field of ours that a word in a sentence about bad input means, the one that is most to blame first."""

_BRACKETED: Final = re.compile(r"\((\d{4})\)\s*$", re.ASCII)


def refusal(status: int, reply: Reply) -> ApiError | None:
    """The error that an answer of either wire means; None where it has no number."""
    said, code = reply.get("base_resp.status_msg"), reply.get("base_resp.status_code")
    if code is None and status >= 400 and status not in GONE:
        said = reply.get("error.message")
        found = _BRACKETED.search(said) if isinstance(said, str) else None
        code = found[1] if found else None
    if code in (None, 0, "0"):
        return None
    # A task that failed tells its reason where an error would be; an order that has an id was taken, whatever is said.
    state = reply.get("status")
    if status == 200 and (state == "Fail" or (state is None and reply.get("task_id") and _number(code) != BAD_INPUT)):
        return None
    return _meaning(_number(code), status, said if isinstance(said, str) else "")


def _number(code: object) -> int | None:
    """A number of MiniMax's, which may come as its digits."""
    if isinstance(code, str) and code.isascii() and code.isdecimal():
        return int(code)
    return code if isinstance(code, int) else None


def _meaning(code: int | None, status: int, said: str) -> ApiError | None:
    if code in MODERATION:
        return ModerationBlocked(said or "The upstream's moderation refuses the request.")
    if code in ACCOUNT:
        return AccountRefused("The upstream account cannot be used. Only the operator can change that.")
    if code in BUSY:
        return Throttled("The upstream is too busy; try again later.")
    if code == BAD_INPUT:
        param = next((ours for word, ours in PARAMS.items() if re.search(rf"\b{word}\b", said)), None)
        return InvalidRequest(f"The upstream refused the request: {said}", param=param)
    if status >= 400:
        return None
    # Nothing says that no task was taken.
    if code == TIMED_OUT:
        return UpstreamTimeout(f"The upstream says that it timed out: {said}")
    return UpstreamError(f"The upstream answered the error {code}: {said}")


def failure(reply: Reply) -> JobError:
    """Why a task of V1 failed; beside a 0 the sentence is that of a success."""
    code = _number(reply.get("base_resp.status_code"))
    return _ended(code, reply.get("base_resp.status_msg") if code else "")


def ending(reply: Reply) -> JobError:
    """Why a task of V2 ended without a film."""
    if reply.get("task.status") == "expired":
        return JobError("expired", "The upstream let the task expire.")
    if reply.get("task.status") == "cancelled":
        return JobError("upstream_failed", "The task was cancelled at the upstream.")
    return _ended(_number(reply.get("task.error.code")), reply.get("task.error.message"))


def _ended(code: int | None, said: object) -> JobError:
    word = "moderation_blocked" if code in MODERATION else "insufficient_funds" if code == NO_MONEY else ""
    return JobError(word or "upstream_failed", said if isinstance(said, str) else "")
