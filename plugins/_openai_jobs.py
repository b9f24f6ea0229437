"""Video objects of the OpenAI Videos API, read as jobs, for plugins/openai.py."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final
from urllib.parse import quote

from proxy import Reply, UpstreamJob

from ._openai_errors import failure

# The four states of the API, each with the words that gateways in the wild put in its place.
STATES: Final = {
    "queued": ("queued", "pending", "submitted"),
    "in_progress": ("in_progress", "processing", "running"),
    "completed": ("completed", "succeeded", "success"),
    "failed": ("failed", "cancelled", "canceled", "expired"),
}
STATUS: Final = {word: status for status, words in STATES.items() for word in words}


def video_path(job: UpstreamJob) -> str:
    return f"/v1/videos/{segment(job)}"


def segment(job: UpstreamJob) -> str:
    """The id of a video in a path, encoded as the SDK does: it is one segment whatever it holds."""
    return quote(job.id, safe="!$&'()*+,;=:@")


def taken(reply: Reply, known: Set[str] = frozenset()) -> UpstreamJob:
    """The job of a submission. Its id is worth keeping whatever the state says; the next poll judges that."""
    status = reply.get("status")
    return told(reply, reply.need("id"), STATUS.get(status, "queued") if isinstance(status, str) else "queued", known)


def told(
    reply: Reply, upstream_id: str, status: str, known: Set[str] = frozenset(), url: str | None = None
) -> UpstreamJob:
    """A Video object as a job: nullable keys may be missing, and vendors put odd things into numeric ones."""
    wait = header_number(reply, "openai-poll-after-ms")
    return UpstreamJob(
        id=upstream_id,
        status=status,
        progress=number(reply.get("progress")),
        url=url,
        error=failure(reply, known) if status == "failed" else None,
        expires_at=number(reply.get("expires_at")),
        poll_after=None if wait is None else wait / 1000,
        delivered=reply.get("seconds") if status == "completed" else None,
    )


def number(value: Any) -> float | None:
    """A JSON number that fits its field, or None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 else None


def header_number(reply: Reply, name: str) -> int | None:
    """A header that is a whole number, or None."""
    text = reply.headers.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None
