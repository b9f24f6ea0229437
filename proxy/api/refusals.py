"""Errors -> answers in OpenAI's envelope, and how to part from a client that is still sending."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from proxy.api.values import shown
from proxy.errors import (
    ApiError,
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Outcome,
    RangeNotSatisfiable,
    RateLimited,
    Stopping,
    Throttled,
    Unauthorized,
    VideoNotFound,
)

LONGEST_WAIT: Final = 60.0
"""Seconds: openai-node ignores a longer `Retry-After`, openai-python does not retry at all above 120."""
FAREWELL: Final = 2.0
"""Seconds that a refused client may go on sending until the connection is closed."""

NOT_TAKEN: Final = "x-reelgate-not-taken"
"""The header of a failed POST that certainly made no video."""

SIBLING_PREFIXES: Final = ("/v1/video/generations", "/video/generations")
"""Routes whose errors carry `code`, `message` and `data` beside OpenAI's `error`."""


def video_not_found(video_id: str) -> VideoNotFound:
    """The one 404 for every id that is unknown, foreign or malformed."""
    return VideoNotFound(f"Video with id '{shown(video_id, 64)}' not found.")


def unexpected(request: web.Request) -> ApiError:
    """What a client learns of a fault of ours: nothing but that it was one."""
    # A POST that broke in the middle may have been paid for: the SDKs must not send it again.
    again = False if request.method == hdrs.METH_POST else None
    return ApiError("The server had an error while processing your request.", should_retry=again)


def from_http(request: web.Request, error: web.HTTPException) -> web.Response:
    """The answer to what aiohttp itself refuses: an unknown route, a wrong method and the like."""
    where = f"{shown(request.method, 20)} {shown(request.path, 200)}"
    if isinstance(error, web.HTTPNotFound):
        return answer(request, NotFound(f"Invalid URL ({where})"))
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        response = answer(request, MethodNotAllowed(f"Not allowed: {where}. This URL takes {allowed}."))
        response.headers[hdrs.ALLOW] = allowed
        return response
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return answer(request, BodyTooLarge("The request body is too large."))
    if error.status < 500:
        return answer(request, InvalidRequest(f"{error.reason} ({where})"), status=error.status)
    return answer(request, unexpected(request), status=error.status)


def answer(request: web.Request, error: ApiError, *, status: int | None = None) -> web.Response:
    """The answer that tells `error`, with `status` instead of its own where given."""
    told = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    body: dict[str, Any] = {"error": told}
    if request.path.startswith(SIBLING_PREFIXES):
        body = {"code": error.code or error.type, "message": error.message, "data": None, "error": told}
    response = web.Response(
        status=status or error.status, body=msgspec.json.encode(body), content_type="application/json"
    )
    if error.should_retry is not None:
        response.headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.retry_after is not None:
        seconds = max(0.0, error.retry_after)
        if isinstance(error, RateLimited | Throttled | Stopping) and error.should_retry is not False:
            seconds = min(seconds, LONGEST_WAIT)
        response.headers[hdrs.RETRY_AFTER] = str(math.ceil(seconds))
        response.headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
    if request.method == hdrs.METH_POST and response.status >= 500 and error.outcome is not Outcome.UNKNOWN:
        # For a Reelgate in front of this one: no other status of 5xx says that nothing was taken.
        response.headers[NOT_TAKEN] = "true"
    if isinstance(error, RangeNotSatisfiable):
        # RFC 9110, 15.5.17: tells a client that resumes how long the content is.
        response.headers[hdrs.CONTENT_RANGE] = f"bytes */{error.size}"
    if isinstance(error, Unauthorized):
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response


async def part(request: web.Request, response: web.Response) -> None:
    """Send `response` to a client that has not sent its whole body, and close the connection soon.

    The client learns the answer and the end of the stream at once, but what it still sends is read and thrown away for
    a moment: closing with unread bytes would reset the connection, and the answer could be lost on its way.
    """
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()
    # What is compressed would be inflated only to be thrown away.
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity":
        with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
            async with asyncio.timeout(FAREWELL):
                while not request.content.at_eof():
                    await request.content.readany()
    request.protocol.force_close()
