"""`/admin/api`: what only an operator may see and settle. Here channels and upstream ids have their names; the keys of
providers have no way in: nothing in here reads a channel's options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.api import bodies, queries, render, values
from proxy.api.auth import authenticate
from proxy.api.context import API
from proxy.api.values import shown
from proxy.engine.inbox import MAX_UPSTREAM_ID, WORDS, Answer
from proxy.errors import Forbidden, InvalidRequest
from proxy.ids import ID_PATTERN
from proxy.records import Attempt, Key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.api.bodies import Fields
    from proxy.engine.reports import ChannelReport, Doubt
    from proxy.store.inbox import Audited, Dossier

MAX_NOTE: Final = 2000

_ROW: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_JSON_ONLY: Final[tuple[bodies.Form, ...]] = ("json",)


async def unknown(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/unknown`: the submissions in doubt, newest first."""
    await _operator(request)
    after = request.query.get("after")
    if after is not None and ID_PATTERN.fullmatch(after) is None:
        raise InvalidRequest(f"Invalid value: '{shown(after)}'. 'after' must be the id of an attempt.", param="after")
    doubts, has_more = await request.app[API].engine.reports.doubts(after=after, limit=queries.limit(request))
    return _page([_doubt(request, doubt) for doubt in doubts], has_more)


async def resolve(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/videos/{id}/resolve`: an operator's answer."""
    key = await _operator(request)
    api = request.app[API]
    video_id = queries.video_id(request)
    async with bodies.fields_of(api, request, files=(), forms=_JSON_ONLY) as fields:
        answer = _answer(fields)
    video, delivered_as = await api.engine.inbox.resolve(video_id, answer, key)
    return render.response(
        {
            "video": render.video_object(api, request, video),
            "delivered_as": None if delivered_as is None else delivered_as.id,
        }
    )


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/videos/{id}`: what is stored of a video, whosever it is."""
    await _operator(request)
    story = await request.app[API].engine.reports.story(queries.video_id(request))
    answer = _dossier(request, story.dossier)
    if not story.decided:
        answer |= {"channel": None, "upstream_model": None}
    answer |= {"waits_for": story.waits_for, "audit": [_audited(row) for row in story.audit]}
    return render.response(answer)


async def channels(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/channels`: how the channels stand."""
    await _operator(request)
    configured, gone = await request.app[API].engine.reports.channels()
    data = [_channel(report) for report in configured]
    data += [
        {"name": name, "object": "channel", "configured": False, "running": running} for name, running in gone.items()
    ]
    return render.response({"object": "list", "data": data})


async def audit(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/audit`: what operators did, newest first."""
    await _operator(request)
    after = request.query.get("after")
    if after is not None and _ROW.fullmatch(after) is None:
        raise InvalidRequest(f"Invalid value: '{shown(after)}'. 'after' must be the id of a row.", param="after")
    rows, has_more = await request.app[API].engine.reports.audit(
        after=None if after is None else int(after), limit=queries.limit(request)
    )
    return _page([_audited(row) for row in rows], has_more)


ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/admin/api/unknown", unknown),
    ("GET", "/admin/api/videos/{id:[^/]+}", retrieve),
    ("POST", "/admin/api/videos/{id:[^/]+}/resolve", resolve),
    ("GET", "/admin/api/channels", channels),
    ("GET", "/admin/api/audit", audit),
)


async def _operator(request: web.Request) -> Key:
    key = await authenticate(request)
    if not key.admin:
        raise Forbidden(f"The key '{shown(key.name)}' is not an admin key, which this URL needs.")
    return key


def _answer(fields: Fields) -> Answer:
    word = values.required_text(fields, "answer", 20)
    upstream_id = values.text(fields, "upstream_id", MAX_UPSTREAM_ID)
    note = values.text(fields, "note", MAX_NOTE)
    force = values.boolean(fields, "force")
    if fields:
        name = min(fields)
        raise InvalidRequest(f"Unknown parameter: '{shown(name)}'.", param=shown(name))
    for known in WORDS:
        if word == known:
            break
    else:
        raise InvalidRequest(
            f"Invalid value: '{shown(word)}'. Supported values are: 'attach', 'not_created' and 'give_up'.",
            param="answer",
        )
    if upstream_id is not None and known != "attach":
        raise InvalidRequest("'upstream_id' belongs to the answer 'attach' only.", param="upstream_id")
    return Answer(word=known, upstream_id=upstream_id, note=note or "", force=bool(force))


def _page(data: Sequence[dict[str, Any]], has_more: bool) -> web.Response:
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return render.response({"object": "list", "data": data, **ends, "has_more": has_more})


def _doubt(request: web.Request, doubt: Doubt) -> dict[str, Any]:
    return {
        "id": doubt.attempt.id,
        "object": "unknown_outcome",
        "kind": "late" if doubt.late else "unknown",
        "grace_ends_at": doubt.grace_ends,
        "recovers": doubt.recovers,
        "estimated_price": doubt.price,
        **_dossier(request, doubt.dossier),
    }


def _dossier(request: web.Request, dossier: Dossier) -> dict[str, Any]:
    video = dossier.video
    return {
        "video": render.video_object(request.app[API], request, video),
        "tenant": video.tenant,
        "key": {"id": video.key_id, "name": dossier.key_name},
        "operation": video.kind,
        "channel": video.channel,
        "upstream_model": video.upstream_model,
        "stage": video.stage,
        "upstream_id": None if video.job is None else video.job.id,
        "replaces_video_id": video.replaces_id,
        "replaced_by_video_id": video.replaced_by_id,
        "attempts": [_attempt(attempt) for attempt in dossier.attempts],
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


def _audited(row: Audited) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "object": "audit",
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "details": row.details,
    }


def _channel(report: ChannelReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "object": "channel",
        "configured": True,
        "type": report.type,
        "enabled": report.enabled,
        "priority": report.priority,
        "weight": report.weight,
        "max_running": report.max_running,
        "running": report.running,
        "throttled_for": report.throttled_for,
        "breaker": {"state": report.breaker, "why": report.why, "open_for": report.open_for},
        "models": [
            {
                "id": offer.public,
                "upstream": offer.upstream,
                "price_per_second": offer.limits.price,
                "prices_per_second": dict(offer.limits.prices),
            }
            for offer in report.offers
        ],
        "can": list(report.can),
    }
