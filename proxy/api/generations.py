"""The sibling routes `/video/generations`: the same videos, for clients of new-api and its kin.

An order is answered with a video object, as it is there; a look with their envelope around a task
(docs/en/api/generate-video.md and query-video.md of QuantumNous/new-api-docs).
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from proxy.api import asks, queries, render
from proxy.api.auth import authenticate
from proxy.api.context import API
from proxy.api.render import VideoObject
from proxy.api.videos import order, visible
from proxy.records import Video

ACTIONS: Final = {"create": "generate", "remix": "remixGenerate", "edit": "edit", "extend": "extend"}
_STAGES: Final = {"waiting": "NOT_START", "submitting": "SUBMITTED", "unknown": "SUBMITTED"}
_STATUSES: Final = {"queued": "QUEUED", "in_progress": "IN_PROGRESS", "completed": "SUCCESS", "failed": "FAILURE"}


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /video/generations`."""
    key = await authenticate(request)
    return await order(request, key, asks.generation, files=asks.PICTURE_FILES)


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /video/generations/{id}`."""
    key = await authenticate(request)
    api = request.app[API]
    video = await visible(api, queries.video_id(request), key)
    task = _task(video, render.video_object(api, request, video))
    return render.response({"code": "success", "message": "", "data": task}, render.poll_headers(api, video))


def _task(video: Video, shown: VideoObject) -> dict[str, Any]:
    has_started = video.stage in ("running", "ended")
    has_ended = video.status in ("completed", "failed")
    return {
        "task_id": video.id,
        "platform": "reelgate",
        "action": ACTIONS[video.kind],
        "status": _STAGES.get(video.stage) or _STATUSES[video.status],
        "fail_reason": shown.error.message if shown.error else "",
        "result_url": shown.video_url or "",
        "submit_time": video.created_at,
        "start_time": video.created_at if has_started else 0,
        "finish_time": (video.completed_at or int(video.changed_at)) if has_ended else 0,
        "progress": f"{video.progress}%",
        "properties": {},
        "data": shown,
    }
