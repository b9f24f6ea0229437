"""`/admin/api/videos`: any video, whosever it is, with what its owner does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from proxy import money
from proxy.api import queries, render
from proxy.api.admin import asked
from proxy.api.admin.audit import entry
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import shown
from proxy.errors import InvalidRequest
from proxy.models import Status
from proxy.records import Attempt, Stage
from proxy.store import listing, videos

if TYPE_CHECKING:
    import sqlite3

    from proxy.records import Video
    from proxy.store.inbox import Dossier

STATUSES: Final[tuple[Status, ...]] = ("queued", "in_progress", "completed", "failed")
LISTED_STAGES: Final[tuple[Stage, ...]] = ("waiting", "submitting", "unknown", "running", "ended")
"""Those of videos that their owners can see."""


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/videos`: those that fit the filters of the query, newest first. Each request looks at a stretch
    of all: the list goes on behind `last_id` while there are more, also where this part of it is empty."""
    await operator(request)
    wanted = filter_of(request)
    after, limit = queries.after(request), asked.limit(request)
    read = request.app[API].engine.reports.read

    def find(db: sqlite3.Connection) -> tuple[listing.Found, list[dict[str, Any]]]:
        found = listing.find(db, wanted, after=after, limit=limit)
        return found, [
            _summary(request, video, row) for row in found.rows if (video := videos.find(db, row.id)) is not None
        ]

    found, data = await read(find)
    last = data[-1]["id"] if data else None
    return render.response(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": found.older or last,
            "has_more": found.older is not None,
        }
    )


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/videos/{id}`: what is stored of a video, whosever it is."""
    await operator(request)
    story = await request.app[API].engine.reports.story(queries.video_id(request))
    answer = dossier(request, story.dossier)
    if not story.decided:
        answer |= {"channel": None, "upstream_model": None}
    answer |= {"waits_for": story.waits_for, "audit": [entry(row) for row in story.audit]}
    return render.response(answer)


def filter_of(request: web.Request) -> listing.Filter:
    """What the query wants of videos: `status`, `stage`, `model`, `channel`, `key`, `tenant`, `text`, `start_time` and
    `end_time`."""
    status, stage = asked.word(request, "status"), asked.word(request, "stage")
    return listing.Filter(
        status=None if status is None else _status(status),
        stage=None if stage is None else _stage(stage),
        model=asked.word(request, "model"),
        channel=asked.word(request, "channel"),
        key_id=asked.word(request, "key"),
        tenant=asked.word(request, "tenant"),
        text=asked.word(request, "text"),
        since=queries.moment(request, "start_time"),
        until=queries.moment(request, "end_time"),
    )


def _summary(request: web.Request, video: Video, row: listing.Row) -> dict[str, Any]:
    return {
        "id": video.id,
        "object": "admin.video",
        "video": render.video_object(request.app[API], request, video),
        "tenant": video.tenant,
        "user": row.owner,
        "key": {"id": video.key_id, "name": row.key_name or row.user_name},
        "operation": video.kind,
        "channel": video.channel,
        "stage": video.stage,
        "charge": {"value": float(money.dollars(video.charge)), "currency": "usd"},
    }


def _status(text: str) -> Status:
    for known in STATUSES:
        if text == known:
            return known
    raise _no_word(text, "status", STATUSES)


def _stage(text: str) -> Stage:
    for known in LISTED_STAGES:
        if text == known:
            return known
    raise _no_word(text, "stage", LISTED_STAGES)


def _no_word(text: str, param: str, known: tuple[str, ...]) -> InvalidRequest:
    words = ", ".join(f"'{word}'" for word in known)
    return InvalidRequest(f"Invalid value: '{shown(text)}'. Supported values are: {words}.", param=param)


def dossier(request: web.Request, found: Dossier) -> dict[str, Any]:
    """What is stored of a video and its attempts, as JSON."""
    video = found.video
    return {
        "video": render.video_object(request.app[API], request, video),
        "tenant": video.tenant,
        "key": {"id": video.key_id, "name": found.key_name},
        "operation": video.kind,
        "channel": video.channel,
        "upstream_model": video.upstream_model,
        "stage": video.stage,
        "upstream_id": None if video.job is None else video.job.id,
        "replaces_video_id": video.replaces_id,
        "replaced_by_video_id": video.replaced_by_id,
        "attempts": [_attempt(attempt) for attempt in found.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    job = attempt.job
    return {
        "id": attempt.id,
        "channel": attempt.channel,
        "state": attempt.state,
        "settled": attempt.settled,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "upstream_id": attempt.upstream_id or (None if job is None else job.id),
        "note": attempt.note,
        # It is JSON of our own making.
        "decision": msgspec.Raw(attempt.decision.encode()) if attempt.decision else None,
    }
