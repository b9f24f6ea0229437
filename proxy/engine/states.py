"""The life of a video as pure moves: each takes a `Video` and answers the next one, or refuses.

    waiting ──began──▶ submitting ──taken──▶ running ──polled──▶ ended
       ▲                  │  │                  (a job that is finished at once goes straight to ended)
       └────requeued──────┘  ├──uncertain──▶ unknown ──taken──▶ running
                             └──refused──▶ refused
    any of them ──failed──▶ ended;   any of them ──deleted──▶ deleted (──unpaid──▶ its price is given back)

States only move forward (P6): a terminal stage is final, progress never falls, in_progress never becomes queued again.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from proxy import money
from proxy.models import JobError, UpstreamJob
from proxy.records import Stage, Video

ACTIVE: frozenset[Stage] = frozenset({"waiting", "submitting", "unknown", "running"})
AT_UPSTREAM: frozenset[Stage] = frozenset({"submitting", "unknown", "running"})
"""Stages in which a video takes one of its channel's `max_running` places."""


class IllegalMove(Exception):
    """The video is not in a stage from which this move leads."""


def began(video: Video, *, channel: str, upstream_model: str, attempt_id: str, now: float, **settled: Any) -> Video:
    """An attempt is about to be recorded for it on `channel`; `settled` are the values ordered from that channel."""
    _need(video, "waiting", "submitting")
    return replace(
        video,
        stage="submitting",
        channel=channel,
        upstream_model=upstream_model,
        attempt_id=attempt_id,
        changed_at=now,
        **settled,
    )


def requeued(video: Video, *, submit_after: float, now: float) -> Video:
    """The upstream certainly did not take it and may later."""
    _need(video, "submitting", "waiting")
    return replace(video, stage="waiting", attempt_id=None, submit_after=submit_after, changed_at=now)


def uncertain(video: Video, *, now: float) -> Video:
    """What became of its attempt is not known."""
    _need(video, "submitting")
    return replace(video, stage="unknown", changed_at=now)


def refused(video: Video, *, now: float) -> Video:
    """Its client is told now that it was not taken: nothing of it stays visible."""
    _need(video, "submitting", "waiting")
    return replace(video, stage="refused", status="failed", cost=_nothing(video), changed_at=now)


def taken(video: Video, job: UpstreamJob, *, now: float) -> Video:
    """The upstream has it as `job`."""
    _need(video, "submitting", "unknown")
    return _told(replace(video, stage="running", changed_at=now), job, now=now)


def polled(video: Video, job: UpstreamJob, *, now: float) -> Video:
    """The upstream told how it is."""
    _need(video, "running")
    return _told(video, job, now=now)


def renewed(video: Video, job: UpstreamJob) -> Video:
    """Its upstream told anew where the result of a finished video is."""
    _need(video, "ended")
    return replace(video, job=merged(video.job, job))


def archived(video: Video, *, until: float | None) -> Video:
    """Its bytes are in the archive `until` then (None: for good); they last as long as either place has them."""
    _need(video, "ended")
    end = _upstreams_end(video)
    return replace(video, expires_at=None if end is None or until is None else max(end, int(until)))


def unarchived(video: Video) -> Video:
    """Its bytes are no longer in the archive: they last as long as its upstream has them."""
    _need(video, "ended")
    return replace(video, expires_at=_upstreams_end(video))


def failed(video: Video, error: JobError, *, now: float) -> Video:
    """It ends without a result."""
    _need(video, *ACTIVE)
    return replace(
        video,
        stage="ended",
        status="failed",
        error_code=error.code,
        error_message=error.message,
        cost=_nothing(video),
        changed_at=now,
    )


def deleted(video: Video, *, now: float, cancelled: bool = False) -> Video:
    """Its owner wants it no more. `cancelled`: its upstream has stopped making it; what is forgotten while it may be
    made there is paid for."""
    if video.stage in ("refused", "deleted"):
        raise IllegalMove(f"video {video.id} is {video.stage}")
    cost = video.cost
    if video.stage in ACTIVE:
        cost = _nothing(video) if cancelled or video.stage == "waiting" else video.price
    return replace(video, stage="deleted", cost=cost, changed_at=now)


def unpaid(video: Video, attempt_id: str, *, now: float) -> Video:
    """It was forgotten while this attempt was on its way, and that turned out to cost nothing for it."""
    if video.stage != "deleted" or video.attempt_id != attempt_id or video.completed_at is not None:
        raise IllegalMove(f"video {video.id} is {video.stage}, and its price is not that of attempt {attempt_id}")
    return replace(video, cost=_nothing(video), changed_at=now)


def _told(video: Video, job: UpstreamJob, *, now: float) -> Video:
    job = merged(video.job, job)
    if job.status == "failed":
        error = (
            job.error
            if isinstance(job.error, JobError)
            else JobError("upstream_failed", "The upstream gave no reason.")
        )
        return failed(replace(video, job=job), error, now=now)
    if job.status == "completed":
        # A clock that stepped back must not date the end before the beginning.
        after = replace(
            video,
            job=job,
            stage="ended",
            status="completed",
            progress=100,
            cost=_due(video, job),
            completed_at=max(int(now), video.created_at),
            changed_at=now,
        )
        return replace(after, expires_at=_upstreams_end(after))
    return replace(
        video,
        job=job,
        status="in_progress" if "in_progress" in (job.status, video.status) else "queued",
        progress=max(video.progress, int(job.progress or 0)),
    )


def _nothing(video: Video) -> int | None:
    return None if video.price is None else 0


def _due(video: Video, job: UpstreamJob) -> int | None:
    """What it costs by what was delivered, never more than by what was ordered. A part of a second is what a codec
    leaves out."""
    if video.price is None or job.delivered is None or job.delivered > video.billed_seconds - 1:
        return video.price
    return money.share(video.price, job.delivered, video.billed_seconds)


def _upstreams_end(video: Video) -> int | None:
    """When its upstream lets it go, never before it was completed."""
    if video.job is None or video.job.expires_at is None:
        return None
    return max(int(video.job.expires_at), video.completed_at or 0)


def merged(known: UpstreamJob | None, job: UpstreamJob) -> UpstreamJob:
    """`job` with what was known before and is not told again."""
    if known is None:
        return job
    return UpstreamJob(
        id=job.id,
        status=job.status,
        progress=job.progress,
        url=job.url or known.url,
        error=job.error,
        expires_at=job.expires_at or known.expires_at,
        facts={**known.facts, **job.facts},
        poll_after=job.poll_after,
        # An address may lie in the facts too.
        url_expires_at=known.url_expires_at if job.url is None and job.url_expires_at is None else job.url_expires_at,
        film=job.film,
        delivered=known.delivered if job.delivered is None else job.delivered,
    )


def _need(video: Video, *stages: str) -> None:
    if video.stage not in stages:
        raise IllegalMove(f"video {video.id} is {video.stage}, not {' or '.join(stages)}")
