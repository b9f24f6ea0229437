"""The routes of webhook endpoints, as `client.webhooks` of OpenAI's SDKs has them."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from aiohttp import web

from proxy.api import asks, bodies, queries, render, values
from proxy.api.auth import authenticate
from proxy.api.context import API
from proxy.api.values import invalid_type, shown
from proxy.errors import InvalidRequest, MissingParameter
from proxy.ids import ID_PATTERN
from proxy.store.webhooks import Endpoint
from proxy.webhooks import EVENT_TYPES, Endpoints
from proxy.webhooks.endpoints import not_found
from proxy.webhooks.signing import hint

T = TypeVar("T")

MAX_NAME: Final = 100
MAX_URL: Final = 8192

_LIMIT: Final = re.compile(r"[0-9]{1,3}")


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /webhook_endpoints`: the only answer beside a rotation's that has the secret."""
    key = await authenticate(request)
    fields = await _fields(request, "name", "url", "event_types")
    endpoint = await _endpoints(request).create(
        key.tenant,
        name=_given(_name(fields), "name"),
        url=_given(_url(fields), "url"),
        event_types=_given(_event_types(fields), "event_types"),
    )
    return render.response({**_object(endpoint), "signing_secret": endpoint.secret})


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /webhook_endpoints`."""
    key = await authenticate(request)
    endpoints, has_more = await _endpoints(request).page(
        key.tenant, after=_after(request), limit=_limit(request), newest_first=queries.order(request) == "desc"
    )
    return render.response(render.page(endpoints, _object, has_more))


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /webhook_endpoints/{id}`."""
    key = await authenticate(request)
    return render.response(_object(await _endpoints(request).endpoint(key.tenant, _id(request))))


async def update(request: web.Request) -> web.StreamResponse:
    """`POST /webhook_endpoints/{id}`: what is left out stays."""
    key = await authenticate(request)
    endpoint_id = _id(request)
    fields = await _fields(request, "name", "url", "event_types")
    endpoint = await _endpoints(request).update(
        key.tenant, endpoint_id, name=_name(fields), url=_url(fields), event_types=_event_types(fields)
    )
    return render.response(_object(endpoint))


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /webhook_endpoints/{id}`."""
    key = await authenticate(request)
    endpoint_id = _id(request)
    await _endpoints(request).delete(key.tenant, endpoint_id)
    return render.response({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


async def rotate_secret(request: web.Request) -> web.StreamResponse:
    """`POST /webhook_endpoints/{id}/rotate_secret`."""
    key = await authenticate(request)
    endpoint_id = _id(request)
    fields = await _fields(request, "keep_old_secret_active_for_24_hours")
    keep_old = values.boolean(fields, "keep_old_secret_active_for_24_hours") or False
    endpoint = await _endpoints(request).rotate(key.tenant, endpoint_id, keep_old=keep_old)
    return render.response({**_object(endpoint), "signing_secret": endpoint.secret})


async def test(request: web.Request) -> web.StreamResponse:
    """`POST /webhook_endpoints/{id}/test`: a 200 says that the receiver answered, `status_code` what."""
    key = await authenticate(request)
    endpoint_id = _id(request)
    fields = await _fields(request, "event_type")
    event_type = _given(fields.get("event_type"), "event_type")
    _check_event_type(event_type, "event_type")
    status = await _endpoints(request).test(key.tenant, endpoint_id, event_type)
    return render.response(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": endpoint_id,
            "event_type": event_type,
            "status_code": status,
            "success": True,
        }
    )


async def event_types(request: web.Request) -> web.StreamResponse:
    """`GET /webhook_event_types`."""
    await authenticate(request)
    return render.response({"object": "list", "data": EVENT_TYPES})


def _endpoints(request: web.Request) -> Endpoints:
    return request.app[API].webhooks


def _object(endpoint: Endpoint) -> dict[str, Any]:
    shown = {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
        "event_types": endpoint.event_types,
        "name": endpoint.name,
        "url": endpoint.url,
        "signing_secret_hint": hint(endpoint.secret),
    }
    # OpenAI's object has no word for it, but its owner should see why nothing comes.
    return shown if endpoint.stopped_at is None else {**shown, "stopped_at": int(endpoint.stopped_at)}


# ---------------------------------------------------------------- what was asked


def _id(request: web.Request) -> str:
    found = request.match_info["id"]
    if asks.ID_FORM.fullmatch(found) is None:
        raise not_found(shown(found, 64))
    return found


async def _fields(request: web.Request, *known: str) -> bodies.Fields:
    if not request.body_exists:
        return {}
    async with bodies.fields_of(request.app[API], request, files=()) as fields:
        for name in fields:
            if name not in known:
                raise InvalidRequest(f"Unknown parameter: '{shown(name)}'.", param=shown(name))
        return fields


def _name(fields: bodies.Fields) -> str | None:
    name = values.text(fields, "name", MAX_NAME)
    if name is not None and (not name.isprintable() or not name.strip()):
        raise InvalidRequest("Invalid 'name': it must have printable characters only.", param="name")
    return name


def _url(fields: bodies.Fields) -> str | None:
    return values.text(fields, "url", MAX_URL)


def _event_types(fields: bodies.Fields) -> tuple[str, ...] | None:
    value = fields.get("event_types")
    if value is None:
        return None
    if not isinstance(value, list):
        raise invalid_type("event_types", "an array", value)
    if not value:
        raise InvalidRequest("Invalid 'event_types': it must name at least one event type.", param="event_types")
    for item in value:
        _check_event_type(item, "event_types")
    return tuple(dict.fromkeys(value))


def _check_event_type(value: Any, param: str) -> None:
    if not isinstance(value, str):
        raise invalid_type(param, "a string", value)
    if value not in EVENT_TYPES:
        known = " and ".join(f"'{name}'" for name in EVENT_TYPES)
        raise InvalidRequest(f"Invalid value: '{shown(value)}'. Supported values are: {known}.", param=param)


def _given(value: T | None, param: str) -> T:
    if value is None:
        raise MissingParameter(f"Missing required parameter: '{param}'.", param=param)
    return value


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(queries.DEFAULT_LIMIT))
    if _LIMIT.fullmatch(text) is None or not 1 <= int(text) <= queries.MAX_LIMIT:
        raise InvalidRequest(
            f"Invalid value: '{shown(text)}'. 'limit' must be between 1 and {queries.MAX_LIMIT}.", param="limit"
        )
    return int(text)


def _after(request: web.Request) -> str | None:
    text = request.query.get("after")
    if text is not None and ID_PATTERN.fullmatch(text) is None:
        raise InvalidRequest(
            f"Invalid value: '{shown(text)}'. 'after' must be the id of a webhook endpoint.", param="after"
        )
    return text
