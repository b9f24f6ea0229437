"""What happens around every request: its id, its errors, its line in the access log."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import istr

from proxy.accounts.keys import PREFIX as KEY_PREFIX
from proxy.api import refusals
from proxy.api.access import Access
from proxy.api.context import API, Trace, trace
from proxy.api.metrics import route_word
from proxy.errors import ApiError
from proxy.logs import log_context

log = logging.getLogger("reelgate.api")

CLIENT_GONE: Final = 499
"""The status in the access log of a request whose client left before its answer."""


_KEY: Final = re.compile(rf"{KEY_PREFIX}[\w.%-]+")
_REQUEST_ID: Final = istr("x-request-id")
_NOSNIFF: Final = istr("X-Content-Type-Options")
_BY_COOKIE: Final = ("/dashboard/api/", "/admin/api/", "/metrics")


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The product's only middleware."""
    started = time.perf_counter()
    told = trace(request)
    log_context(request_id=told.request_id)
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
    except ApiError as error:
        if error.status >= 500:
            log.warning("%s: %s %s: %s", told.request_id, request.method, logged_path(request), error.message)
        response = await refuse(request, refusals.answer(request, error))
        status = response.status
    except web.HTTPException as error:
        status = error.status
        if status < 400:
            raise
        response = await refuse(request, refusals.from_http(request, error))
    except Exception as error:
        if _is_gone(request):
            log.debug("%s: the client left", told.request_id, exc_info=error)
            response = web.Response(status=CLIENT_GONE, reason="Client Closed Request")
        else:
            log.exception("%s: %s %s failed", told.request_id, request.method, logged_path(request))
            response = await refuse(request, refusals.answer(request, refusals.unexpected(request)))
            status = response.status
    finally:
        write_line(request, told, status, started)
    return response


async def refuse(request: web.Request, response: web.Response) -> web.Response:
    """Answer with an error: also where the body is still on its way, and where another answer has already begun."""
    if request.writer.output_size > 0:
        # Headers went out with a length or chunks: only a broken connection tells that the rest will not come.
        if request.transport is not None:
            request.transport.abort()
    elif not request.content.is_eof():
        try:
            await refusals.part(request, response)
        except ConnectionError:
            log.debug("%s: the client left before its refusal", trace(request).request_id)
    return response


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer, streamed ones and refusals too."""
    headers = response.headers
    headers[_REQUEST_ID] = trace(request).request_id
    headers[_NOSNIFF] = "nosniff"
    headers[hdrs.SERVER] = "reelgate"
    if request.path.startswith(_BY_COOKIE):
        # A shared cache knows that an answer to a key is for one; of a session's cookie it does not.
        headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def write_line(request: web.Request, told: Trace, status: int, started: float) -> None:
    """Write the request's line to the access log; `started` is the `time.perf_counter` of its beginning."""
    api = request.app[API]
    seconds = time.perf_counter() - started
    api.metrics.request(request.method, route_word(request), status, seconds)
    api.access(
        Access(
            time.time(),
            request.method,
            logged_path(request),
            status,
            seconds * 1000,
            told.request_id,
            told.video_id,
            told.key_id,
        )
    )


def logged_path(request: web.Request) -> str:
    """The path as a log may have it: somebody may have put a key into it by mistake."""
    path = request.rel_url.raw_path[:200]
    return _KEY.sub(KEY_PREFIX + "...", path) if KEY_PREFIX in path else path


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
