"""What DashScope's answers mean: states, errors, and how long a result is there.

https://help.aliyun.com/en/model-studio/error-code
"""

from __future__ import annotations

import re
import time
from typing import Final
from urllib.parse import parse_qs, urlsplit

from proxy import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Reply,
    UnsupportedOperation,
    UpstreamGone,
    UpstreamJob,
)

STATES: Final = {
    "PENDING": "queued",
    "SUSPENDED": "queued",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELED": "failed",
}
FORGOTTEN: Final = "UNKNOWN"
"""The state of a task that does not exist, or no longer: after 24 hours everything is forgotten."""
RESULT_LIFE: Final = 24 * 3600
"""Seconds that a task is remembered and the address of its result is good for."""

MODERATION: Final = ("DataInspectionFailed", "IPInfringementSuspect")
UNPAID: Final = ("Arrearage", "PrepaidBillOverdue", "PostpaidBillOverdue", "CommodityNotPurchased")
"""Bills that stop everything until somebody pays, although most of them come with a 429."""
ACCOUNT: Final = ("InvalidApiKey", "AccessDenied", *UNPAID)
PARAMS: Final = {
    "negative_prompt": "negative_prompt",
    "last_frame_url": "last_frame",
    "last_frame": "last_frame",
    "first_frame_url": "input_reference",
    "first_frame": "input_reference",
    "img_url": "input_reference",
    "reference_urls": "input_reference",
    "media": "input_reference",
    "image": "input_reference",
    "resolution": "size",
    "ratio": "size",
    "size": "size",
    "duration": "seconds",
    "seed": "seed",
    "prompt": "prompt",
    "model": "model",
}
"""A word of DashScope's sentence, and the field in OpenAI's words that it blames."""
FIELD: Final = re.compile(rf"(?<![\w.-])({'|'.join(PARAMS)})(?![\w-])", re.IGNORECASE)
LENGTHS: Final = ("output_video_duration", "duration", "video_duration")
"""Where the length of a result may be told; the second may have that of an input in it."""


def told(reply: Reply, job: UpstreamJob) -> UpstreamJob:
    """The job as a poll tells it."""
    if reply.get("output.task_status") == FORGOTTEN:
        # Like a 404: the core believes it of a task that runs when it is said again and again, and nothing else.
        raise UpstreamGone("The upstream does not know the task (any more).")
    status = reply.choose("output.task_status", STATES)
    if status != "completed":
        return UpstreamJob(id=job.id, status=status, error=failure(reply) if status == "failed" else None)
    url = reply.need("output.video_url")
    # The same address does not live longer for being told again.
    ends = expiry(url) or (job.expires_at if job.url == url else None) or time.time() + RESULT_LIFE
    seconds = next(filter(is_number, (reply.get(f"usage.{name}") for name in LENGTHS)), None)
    facts = {} if seconds is None else {"seconds": seconds}
    return UpstreamJob(
        id=job.id, status=status, url=url, expires_at=ends, url_expires_at=ends, facts=facts, delivered=seconds
    )


def failure(reply: Reply) -> JobError:
    """Why a task failed."""
    code, said = (word if isinstance(word := reply.get(f"output.{name}"), str) else "" for name in ("code", "message"))
    if reply.get("output.task_status") == "CANCELED":
        return JobError("upstream_failed", said or "The task was cancelled at the upstream.")
    if code.startswith(MODERATION):
        return JobError("moderation_blocked", said or code)
    return JobError("insufficient_funds" if code.startswith(UNPAID) else "upstream_failed", said or code)


def refusal(status: int, reply: Reply) -> ApiError | None:
    """The error that a code means, where it says more than the status."""
    code, said = reply.get("code"), reply.get("message")
    if status < 400 or not isinstance(code, str):
        return None
    said = said if isinstance(said, str) and said else f"The upstream says {code}."
    if code.startswith(MODERATION):
        return ModerationBlocked(said)
    if code.startswith(ACCOUNT):
        return AccountRefused("The upstream account cannot be used. Only the operator can change that.")
    if code.startswith("UnsupportedOperation"):
        return UnsupportedOperation(said)
    if status != 400:
        return None
    blamed = "image" if code.startswith("InvalidURL") else next(iter(FIELD.findall(said)), "").lower()
    return InvalidRequest(f"The upstream refused the request: {said}", param=PARAMS.get(blamed))


def expiry(url: object) -> int | None:
    """When the signature of an address runs out."""
    try:
        ends = parse_qs(urlsplit(url).query).get("Expires", [""])[0] if isinstance(url, str) else ""
    except ValueError:
        return None
    return int(ends) if ends.isascii() and ends.isdecimal() and len(ends) < 12 else None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**31
