"""`/admin/api/unknown`: the inbox of submissions whose outcome is in doubt, and an operator's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.api import bodies, queries, render, values
from proxy.api.admin.videos import dossier
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import shown
from proxy.engine.inbox import MAX_UPSTREAM_ID, WORDS, Answer
from proxy.errors import InvalidRequest
from proxy.ids import ID_PATTERN

if TYPE_CHECKING:
    from proxy.api.bodies import Fields
    from proxy.engine.reports import Doubt

MAX_NOTE: Final = 2000

_JSON_ONLY: Final[tuple[bodies.Form, ...]] = ("json",)


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/unknown`: the submissions in doubt, newest first."""
    await operator(request)
    after = request.query.get("after")
    if after is not None and ID_PATTERN.fullmatch(after) is None:
        raise InvalidRequest(f"Invalid value: '{shown(after)}'. 'after' must be the id of an attempt.", param="after")
    doubts, has_more = await request.app[API].engine.reports.doubts(after=after, limit=queries.limit(request))
    return render.response(render.listing([_doubt(request, doubt) for doubt in doubts], has_more))


async def resolve(request: web.Request) -> web.StreamResponse:
    """`POST /admin/api/videos/{id}/resolve`: an operator's answer."""
    await operator(request)
    api = request.app[API]
    video_id = queries.video_id(request)
    async with bodies.fields_of(api, request, files=(), forms=_JSON_ONLY) as fields:
        answer = _answer(fields)
    # Again: see `asked.fields`.
    key = await operator(request)
    video, delivered_as = await api.engine.inbox.resolve(video_id, answer, key)
    return render.response(
        {
            "video": render.video_object(api, request, video),
            "delivered_as": None if delivered_as is None else delivered_as.id,
        }
    )


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


def _doubt(request: web.Request, doubt: Doubt) -> dict[str, Any]:
    return {
        "id": doubt.attempt.id,
        "object": "unknown_outcome",
        "kind": "late" if doubt.late else "unknown",
        "grace_ends_at": doubt.grace_ends,
        "recovers": doubt.recovers,
        "estimated_price": doubt.price,
        **dossier(request, doubt.dossier),
    }
