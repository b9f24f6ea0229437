"""Videos -> the JSON that clients see."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from proxy import money
from proxy.api import links
from proxy.api.context import Api
from proxy.models import Status
from proxy.records import Video

POLL_AFTER: Final = istr("openai-poll-after-ms")
ADJUSTED: Final = "x-reelgate-adjusted"

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class ErrorObject(msgspec.Struct, frozen=True, gc=False):
    """Why a video failed."""

    code: str
    message: str


class CostObject(msgspec.Struct, frozen=True, gc=False):
    """US dollars: what is reserved for a video, and in the end what it came to."""

    value: float
    currency: str = "usd"
    final: bool = False


class VideoObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's 13 keys, nulls and all; then ours."""

    id: str
    object: str = "video"
    model: str
    status: Status
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    size: str
    seconds: str
    remixed_from_video_id: str | None
    error: ErrorObject | None
    task_id: str
    video_url: str | msgspec.UnsetType = msgspec.UNSET
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    replaces_video_id: str | msgspec.UnsetType = msgspec.UNSET
    replaced_by_video_id: str | msgspec.UnsetType = msgspec.UNSET
    cost: CostObject | msgspec.UnsetType = msgspec.UNSET


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list, of which each object is shown as OpenAI has it. `idempotency_key` says that it was looked for:
    a Reelgate that does not know the question answers with a list of all."""

    object: str = "list"
    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool
    idempotency_key: str | msgspec.UnsetType = msgspec.UNSET


class HasId(Protocol):
    """What can stand in a list."""

    @property
    def id(self) -> str: ...


Listed = TypeVar("Listed", bound=HasId)

encode: Final = msgspec.json.Encoder().encode


def video_object(api: Api, request: web.Request, video: Video) -> VideoObject:
    """The public object of a video."""
    error = None
    if video.status == "failed":
        error = ErrorObject(video.error_code or "upstream_failed", video.error_message or "The video failed.")
    return VideoObject(
        id=video.id,
        model=video.model,
        status=video.status,
        progress=video.progress,
        created_at=video.created_at,
        completed_at=video.completed_at,
        expires_at=video.expires_at,
        prompt=video.prompt,
        size=video.size,
        seconds=str(video.seconds),
        remixed_from_video_id=video.remixed_from_video_id,
        error=error,
        task_id=video.id,
        video_url=_url(api, request, video) if video.status == "completed" else msgspec.UNSET,
        metadata=msgspec.UNSET if video.metadata is None else msgspec.Raw(video.metadata),
        replaces_video_id=video.replaces_id or msgspec.UNSET,
        replaced_by_video_id=video.replaced_by_id or msgspec.UNSET,
        # What costs nothing keeps the keys that every client knows.
        cost=_cost(video) if video.price else msgspec.UNSET,
    )


def _cost(video: Video) -> CostObject:
    return CostObject(float(money.dollars(video.charge)), final=video.cost is not None)


def page(records: Sequence[Listed], show: Callable[[Listed], Any], has_more: bool) -> Page:
    """The list envelope around what `show` makes of each record."""
    return Page(
        data=[show(record) for record in records],
        first_id=records[0].id if records else None,
        last_id=records[-1].id if records else None,
        has_more=has_more,
    )


def poll_headers(api: Api, video: Video) -> dict[str, str]:
    """The header that tells the SDK when to look again, for a video that is not finished."""
    if video.status in ("completed", "failed"):
        return {}
    return {POLL_AFTER: str(api.engine.poll_after_ms(video))}


def listing(data: Sequence[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """The same around objects that are ready."""
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": has_more}


def response(body: Any, headers: dict[str, str] | None = None, *, status: int = 200) -> web.Response:
    """A JSON answer: `body` is bytes that are ready, or what msgspec can encode. `headers` are added to."""
    headers = {} if headers is None else headers
    headers[hdrs.CONTENT_TYPE] = "application/json"
    return web.Response(body=body if isinstance(body, bytes) else encode(body), status=status, headers=headers)


def _url(api: Api, request: web.Request, video: Video) -> str | msgspec.UnsetType:
    origin = api.public_url
    if origin is None:
        host = request.headers.get(hdrs.HOST, "")
        # Without a Host that can stand in a URL there is no absolute address to give.
        if not _is_host(host):
            return msgspec.UNSET
        origin = f"{request.scheme}://{host}"
    query = links.sign(api.secret, video.id, "video", ttl=api.settings.link_ttl, now=time.time())
    return f"{origin.rstrip('/')}/v1/videos/{video.id}/content?{query}"


@functools.lru_cache(maxsize=256)
def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None
