"""What fal says when something is wrong.

https://docs.fal.ai/model-endpoints/errors: `{"detail": "…"}`, or a list of `{loc, msg, type, url, ctx, input}`. A run
that failed says so in the same words, with the same statuses, where its result would be.
"""

from __future__ import annotations

import time
from typing import Any, Final

from proxy import (
    ApiError,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Reply,
    UpstreamError,
    UpstreamJob,
    UpstreamRefused,
)

DOUBTED: Final = 600.0
"""Seconds for which a run that failed with a mere sentence is asked about again: it may be an outage that spoke."""

# What is about the account or the address, whatever is said beside it.
CALLS: Final = frozenset((401, 402, 403, 404, 405, 410, 429))
CLIENTS: Final = frozenset((400, 413, 415, 422, 451))
ENDED_ALREADY: Final = frozenset((400, 409))
PARAMS: Final = {
    "prompt": "prompt",
    "seed": "seed",
    "negative_prompt": "negative_prompt",
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
    "video_url": "video",
    "end_image_url": "last_frame",
    "last_frame_url": "last_frame",
    "generate_audio": "audio",
    "generate_audio_switch": "audio",
    "audio": "audio",
}


class BadInput(InvalidRequest):
    """fal names what it does not like about the input."""

    sure = False
    """Whether it is surely a run that speaks: a mere sentence may be the queue's own, about a moment."""


class RunFailed(UpstreamError):
    """fal says why it, or the run, failed."""

    sure = False


class OutOfTurn(UpstreamRefused):
    """The job has not ended yet, or has ended already."""


def refusal(status: int, reply: Reply) -> ApiError | None:
    """What an answer means, where fal says why in its own words; None where the status says as much."""
    if status < 400 or status in CALLS:
        return None
    said = detail(reply)
    if (status in ENDED_ALREADY and reply.get("status") == "ALREADY_COMPLETED") or (
        status == 400 and "still in progress" in said
    ):
        return OutOfTurn("The job is not where this can be done.")
    if not said:
        # Whoever answers without a reason, such as a proxy, speaks of the call and not of the run.
        return None
    field = reply.get("detail[0].loc[1]")
    param = PARAMS.get(field, "input_reference" if "image" in field else None) if isinstance(field, str) else None
    if is_moderation(reply):
        return ModerationBlocked(said, param=param)
    error = BadInput(said, param=param) if status in CLIENTS else RunFailed(said)
    # An early result is a 400, too.
    error.sure = bool(kinds(reply)) or (status in CLIENTS and status != 400)
    return error


def issues(reply: Reply) -> list[dict[str, Any]]:
    """The items of a detail that is a list."""
    found = reply.get("detail")
    return [issue for issue in found if isinstance(issue, dict)] if isinstance(found, list) else []


def detail(reply: Reply) -> str:
    """fal's own sentence, where there is one."""
    said = (reply.get("detail"), *(issue.get("msg") for issue in issues(reply)))
    return next((one for one in said if isinstance(one, str) and one.strip()), "")


def kinds(reply: Reply) -> list[Any]:
    """fal's own words for what went wrong."""
    found = [issue.get("type") for issue in issues(reply)]
    return [kind for kind in (*found, reply.get("error_type"), reply.headers.get("x-fal-error-type")) if kind]


def is_moderation(reply: Reply) -> bool:
    return "content_policy_violation" in kinds(reply)


def going(job: UpstreamJob, status: str) -> UpstreamJob:
    facts = {**job.facts, "doubted": None} if job.facts.get("doubted") else job.facts
    return UpstreamJob(id=job.id, status=status, facts=facts)


def doubted(job: UpstreamJob, error: ApiError) -> UpstreamJob:
    """A failure that is believed once it has been told for long enough."""
    since, now = job.facts.get("doubted"), time.time()
    if not isinstance(since, int | float):
        return UpstreamJob(id=job.id, status="in_progress", facts={**job.facts, "doubted": now})
    if now - since < DOUBTED:
        raise error
    return ended(job, False, error.message)


def ended(job: UpstreamJob, moderation: bool, message: str) -> UpstreamJob:
    error = JobError("moderation_blocked" if moderation else "upstream_failed", message)
    return UpstreamJob(id=job.id, status="failed", error=error, facts=job.facts)
