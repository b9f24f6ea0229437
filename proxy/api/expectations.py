"""`Expect: 100-continue`: a client that asks before it sends its body is told no before it does."""

from __future__ import annotations

import time

from aiohttp import HttpVersion11, hdrs, web

from proxy.api import bodies, middleware, refusals
from proxy.api.auth import authenticate
from proxy.api.context import API, Trace, trace
from proxy.errors import ApiError, InvalidRequest


async def expect(request: web.Request) -> web.StreamResponse | None:
    """The expect handler of every route. aiohttp calls it before the middleware, so it answers its own refusals."""
    started = time.perf_counter()
    told = trace(request)
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        unknown = InvalidRequest("The only expectation that this server meets is '100-continue'.", param="Expect")
        return await _refuse(request, refusals.answer(request, unknown, status=417), told, started)
    try:
        await authenticate(request)
        if request.body_exists:
            bodies.admit(request, request.app[API].settings.max_body)
    except ApiError as error:
        return await _refuse(request, refusals.answer(request, error), told, started)
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The bytes of an interim answer are not the beginning of the final one.
        request.writer.output_size = 0
    return None


async def _refuse(request: web.Request, response: web.Response, told: Trace, started: float) -> web.Response:
    await middleware.refuse(request, response)
    middleware.write_line(request, told, response.status, started)
    return response
