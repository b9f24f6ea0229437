"""The answer to `GET|HEAD …/content`: any source, in constant memory, whole or one range, never a clean short 200."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial
from typing import BinaryIO, Final
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from proxy.errors import ApiError, UpstreamError
from proxy.media import ranges
from proxy.media.delivery import ClientGone, Delivery
from proxy.media.ranges import Part, Span, Suffix
from proxy.media.sources import Opener, file_of, may_have_run_out, measure, open_file, opened
from proxy.models import Source

__all__ = ["STALL", "Opener", "send"]

log = logging.getLogger(__name__)

STALL: Final = 600.0
"""Seconds after which a client that reads nothing is cut off."""


async def send(
    request: web.Request,
    source: Source,
    *,
    opener: Opener,
    etag: str,
    media_type: str = "video/mp4",
    filename: str,
    modified: float,
    known_size: int | None = None,
    stall: float = STALL,
    told: Callable[[int], None] = lambda count: None,
    renew: Callable[[], Awaitable[Source]] | None = None,
    attachment: bool = False,
) -> web.StreamResponse:
    """Answer `request` with the bytes of `source`.

    `etag` is opaque and strong, with or without its quotes; `modified` unix seconds; `known_size` the number of bytes
    where it is known from elsewhere. The query `download=1`, or `attachment`, makes it an attachment. Raises an
    `ApiError` (`RangeNotSatisfiable`, `NotFound` for a lost file, an `UpstreamError`) as long as nothing was sent.
    Afterwards what goes wrong breaks the client's connection, and the answer that was begun is returned. A client that
    goes away, or reads nothing for `stall` seconds, ends the upstream's transfer.

    Where the upstream refuses the address of `source` because it may have run out, `renew` is asked once for another.
    """
    etag, changed = f'"{etag.strip(chr(34))}"', int(modified)
    asked = request.headers
    headers = CIMultiDict(
        {
            "ETag": etag,
            "Last-Modified": formatdate(changed, usegmt=True),
            "Cache-Control": "private, max-age=0, must-revalidate",
            "X-Content-Type-Options": "nosniff",
            # A browser that opens a video builds a page around it, and that page loads the video once more.
            "Content-Security-Policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
        }
    )
    if ranges.precondition_failed(asked.get("If-Match"), asked.get("If-Unmodified-Since"), etag=etag, modified=changed):
        return web.Response(status=412, headers=headers)
    if ranges.not_modified(asked.get("If-None-Match"), asked.get("If-Modified-Since"), etag=etag, modified=changed):
        return web.Response(status=304, headers=headers)
    headers["Accept-Ranges"] = "bytes"
    headers["Content-Type"] = media_type
    attachment = attachment or request.query.get("download") == "1"
    headers["Content-Disposition"] = _disposition(filename, attachment=attachment)
    response = web.StreamResponse(headers=headers)
    # A HEAD has no ranges: RFC 9110, 14.2.
    wish = ranges.parse(asked.getall("Range", [])) if request.method == "GET" else None
    if not ranges.unchanged(asked.get("If-Range"), etag=etag, modified=changed):
        wish = None
    answer = partial(_answer, request, response, wish=wish, opener=opener, known_size=known_size)
    try:
        async with Delivery(request, response, stall=stall, told=told) as delivery:
            try:
                await answer(delivery, source)
            except ApiError as error:
                if renew is None or response.prepared or not may_have_run_out(source, error):
                    raise
                await answer(delivery, await renew())
    except (ClientGone, ConnectionError) as error:
        log.info("%s: the client went away (%s)", request.path, type(error).__name__)
    except ApiError as error:
        if not response.prepared:
            raise
        log.warning("%s: broken off: %s", request.path, error)
    return response


async def _answer(
    request: web.Request,
    response: web.StreamResponse,
    delivery: Delivery,
    source: Source,
    *,
    wish: Span | Suffix | None,
    opener: Opener,
    known_size: int | None,
) -> None:
    if file_of(source) is not None:
        await _send_file(request, response, delivery, source, wish)
        return
    if request.method == "HEAD":
        response.content_length = await measure(source, opener, known_size)
        return
    media_type = response.headers["Content-Type"]
    async with opened(source, opener, wish=wish, size=known_size, media_type=media_type) as body:
        chunk = await body.read()
        _state(response, body.part, body.size)
        await delivery.begin()
        while chunk:
            await delivery.write(chunk)
            chunk = await body.read()
        await delivery.end()


async def _send_file(
    request: web.Request,
    response: web.StreamResponse,
    delivery: Delivery,
    source: Source,
    wish: Span | Suffix | None,
) -> None:
    opening = asyncio.ensure_future(asyncio.to_thread(open_file, source, response.headers["Content-Type"]))
    try:
        file, size = await asyncio.shield(opening)
    except asyncio.CancelledError:
        # The thread opens it all the same.
        opening.add_done_callback(_let_go)
        raise
    with file:
        part = ranges.resolve(wish, size) if wish else None
        _state(response, part, size)
        if request.method == "HEAD":
            return
        await delivery.begin()
        first, length = (part.first, part.length) if part else (0, size)
        if await delivery.push(file, first, length) != length:
            raise UpstreamError("The file became shorter while it was sent.")
        await delivery.end()


def _let_go(opening: asyncio.Future[tuple[BinaryIO, int]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


def _state(response: web.StreamResponse, part: Part | None, size: int | None) -> None:
    if part is not None:
        response.set_status(206)
        response.headers["Content-Range"] = part.content_range
    response.content_length = part.length if part else size


_UNSAFE: Final = re.compile(r"[^\w .()+@,=-]+", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\ud800-\udfff]+")
_LONGEST_NAME: Final = 150


def _disposition(filename: str, *, attachment: bool) -> str:
    """`Content-Disposition` as RFC 6266, appendix D wants it: a plain name for all, the true one beside it."""
    kind = "attachment" if attachment else "inline"
    name = _CONTROL.sub("_", filename)[:_LONGEST_NAME]
    plain = _UNSAFE.sub("_", name)
    return f'{kind}; filename="{plain}"' + ("" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}")
