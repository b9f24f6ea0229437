"""`GET|HEAD /videos/{id}/content`: the bytes, for a key, for a session of the dashboard or for the holder of a signed
link."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from proxy.api import links, queries
from proxy.api.auth import authenticate, authenticate_session, session_token, with_key
from proxy.api.context import API
from proxy.api.videos import visible
from proxy.errors import ContentExpired, UpstreamGone
from proxy.media import content
from proxy.models import Source, Variant
from proxy.records import Video

SUFFIXES: Final = {"video/mp4": ".mp4", "image/webp": ".webp", "image/jpeg": ".jpg", "image/png": ".png"}
PICTURES: Final = {"thumbnail": "image/webp", "spritesheet": "image/jpeg"}
"""What each variant is where the channel does not say (OpenAI's guide)."""


async def send(request: web.Request) -> web.StreamResponse:
    """Answer with the video or a variant of it."""
    video, variant = await _allowed(request)
    name = video.id if variant == "video" else f"{video.id}-{variant}"
    try:
        found = await request.app[API].engine.content(video, variant)
        if found.redirect is not None:
            # As an URL, not a string, which would be quoted anew: signed addresses are signed byte by byte.
            raise web.HTTPFound(found.redirect, headers={hdrs.CACHE_CONTROL: "private, no-store"})
        media_type = _media_type(found.source, variant)

        async def renew() -> Source:
            assert found.renew is not None
            return replace(await found.renew(), media_type=media_type)

        return await content.send(
            request,
            replace(found.source, media_type=media_type),
            opener=found.opener,
            renew=None if found.renew is None else renew,
            etag=name,
            media_type=media_type,
            filename=name + SUFFIXES[media_type],
            modified=video.completed_at or video.created_at,
            told=partial(request.app[API].metrics.relayed, video.channel),
        )
    except UpstreamGone as gone:
        raise ContentExpired(f"The upstream no longer has the {variant} of video with id '{video.id}'.") from gone


async def _allowed(request: web.Request) -> tuple[Video, Variant]:
    """The credential that is present first decides, also where another one would be good."""
    api = request.app[API]
    token = None if with_key(request) else session_token(request)
    if token is not None or with_key(request) or not links.is_signed(request.query):
        key = await authenticate(request) if token is None else await authenticate_session(request, token)
        return await visible(api, queries.video_id(request), key), queries.variant(request)
    video_id, variant = queries.video_id(request), queries.variant(request)
    links.check(api.secret, video_id, variant, request.query, now=time.time())
    video = api.engine.cached(video_id)
    if video is None or not video.listed:
        video = await api.engine.video(video_id, None)
    return video, variant


def _media_type(source: Source, variant: Variant) -> str:
    # Never the upstream's own word: what is served from our origin must not become a page or a script.
    if variant == "video":
        return "video/mp4"
    named = source.media_type.lower()
    return named if named.startswith("image/") and named in SUFFIXES else PICTURES[variant]
