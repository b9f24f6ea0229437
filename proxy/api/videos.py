"""The routes of videos: order, look, list, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from aiohttp import web
from msgspec.structs import replace

from proxy import hops
from proxy.api import asks, bodies, queries, render
from proxy.api.auth import authenticate
from proxy.api.bodies import Fields
from proxy.api.context import API, TRACE, Api
from proxy.records import Ask, Key, Video


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /videos`."""
    key = await authenticate(request)
    return await order(request, key, asks.create, files=asks.PICTURE_FILES)


async def remix(request: web.Request) -> web.StreamResponse:
    """`POST /videos/{id}/remix`."""
    key = await authenticate(request)
    source_id = queries.video_id(request)
    return await order(request, key, lambda fields: asks.remix(fields, source_id), files=())


async def edit(request: web.Request) -> web.StreamResponse:
    """`POST /videos/edits`."""
    key = await authenticate(request)
    return await order(request, key, asks.edit, files=asks.VIDEO_FILES)


async def extend(request: web.Request) -> web.StreamResponse:
    """`POST /videos/extensions`."""
    key = await authenticate(request)
    return await order(request, key, asks.extension, files=asks.VIDEO_FILES)


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /videos/{id}`: the busiest route, because clients poll it."""
    key = await authenticate(request)
    api = request.app[API]
    video = await visible(api, queries.video_id(request), key)
    return render.response(render.video_object(api, request, video), render.poll_headers(api, video))


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /videos`; `?idempotency_key=` leaves in it the video that this Idempotency-Key of the API key stands for."""
    key = await authenticate(request)
    api = request.app[API]
    after, limit, order = queries.after(request), queries.limit(request), queries.order(request)
    name = queries.named(request)
    if name is None:
        videos, has_more = await api.engine.videos(key, after=after, limit=limit, order=order)
    else:
        video = None if after is not None or not limit else await api.engine.named(name, key)
        videos, has_more = [] if video is None else [video], False
    shown = render.page(videos, partial(render.video_object, api, request), has_more)
    return render.response(shown if name is None else replace(shown, idempotency_key=name))


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /videos/{id}`; `?force=true` also forgets one that cannot be cancelled."""
    key = await authenticate(request)
    video_id = queries.video_id(request)
    await request.app[API].engine.delete(video_id, key, force=queries.force(request))
    return render.response({"id": video_id, "object": "video.deleted", "deleted": True})


async def order(
    request: web.Request, key: Key, read: Callable[[Fields], Ask], *, files: Collection[str]
) -> web.StreamResponse:
    """Order what the body asks for, and tell the engine whether the client got the whole answer."""
    api = request.app[API]
    hops.arrive(request.headers.get(hops.HEADER, ""), api.hop)
    idempotency_key = queries.idempotency_key(request)
    resent = queries.is_resent(request)
    if resent:
        # Which answers were delivered decides what this one is.
        api.receipts.judge()
    async with bodies.fields_of(api, request, files=files) as fields:
        ask = await asyncio.to_thread(read, fields) if bodies.is_large(request) else read(fields)
        # Again: it may have been revoked while the body was on its way, and this is what costs money.
        key = await authenticate(request)
        video, body = await api.engine.order(ask, key, idempotency_key=idempotency_key, resent=resent)
    request[TRACE].video_id = video.id
    if body is None:
        body = render.encode(render.video_object(api, request, video))
        if idempotency_key is not None:
            body = await api.engine.answered(video, body, idempotency_key, key)
    response = render.response(body, render.poll_headers(api, video))
    if video.order.adjusted is not None:
        response.headers[render.ADJUSTED] = video.order.adjusted
    await response.prepare(request)
    await response.write_eof()
    api.receipts.expect(request, partial(api.engine.delivered, video))
    return response


async def visible(api: Api, video_id: str, key: Key) -> Video:
    """The video that this key may see, from memory where it is there. Raises `VideoNotFound`."""
    video = api.engine.cached(video_id)
    if video is not None and video.tenant == key.tenant and video.listed:
        return video
    return await api.engine.video(video_id, key)
