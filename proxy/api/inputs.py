"""`GET|HEAD /inputs/{owner}/{name}`: what a client sent in, for the upstream that holds a signed link to it."""

from __future__ import annotations

import time

from aiohttp import web

from proxy.api.context import API
from proxy.errors import NotFound, Unauthorized
from proxy.media import content
from proxy.media.sources import NO_ADDRESS
from proxy.models import Source


async def send(request: web.Request) -> web.StreamResponse:
    """Answer with the file. There is no other way to it than the link, also for its owner."""
    inputs = request.app[API].inputs
    owner, name = request.match_info["owner"], request.match_info["name"]
    if inputs.links is None:
        raise Unauthorized("This link is not valid for this file.")
    inputs.links.check(f"{owner}/{name}", request.query, now=time.time())
    found = await inputs.served(owner, name)
    if found is None:
        raise NotFound("This file is no longer there: its video has been made, or has failed.")
    return await content.send(
        request,
        Source(path=found.path),
        opener=NO_ADDRESS,
        etag=name.partition(".")[0],
        media_type=found.media_type,
        filename=name,
        modified=found.modified,
    )
