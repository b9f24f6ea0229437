"""Who is asking: the Bearer key that every route but the public ones wants."""

from __future__ import annotations

from aiohttp import hdrs, web

from proxy.api.context import API, TRACE
from proxy.records import Key


async def authenticate(request: web.Request) -> Key:
    """The key that this request is made with. Raises `Unauthorized`."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    authenticator = request.app[API].authenticator
    key = authenticator.cached(header) or await authenticator.authenticate(header)
    request[TRACE].key_id = key.id
    return key
