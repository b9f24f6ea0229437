"""Reading a result from wherever it is, whatever its upstream makes of ranges and lengths."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import aiohttp

from proxy.errors import (
    AccountRefused,
    ApiError,
    InvalidRequest,
    NotFound,
    RangeNotSatisfiable,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.media import ranges
from proxy.media.ranges import Span, Suffix
from proxy.models import Source

_HEAD: Final = 12
_SLICE: Final = 256 * 1024

Receive = Callable[[], Awaitable[bytes]]
"""Gives the next bytes, none at the end; raises an `UpstreamError` where they break off."""


class Opener(Protocol):
    """Whoever fetches the `url` of a source. `range` is the value of a `Range` header.

    Contract: a GET with the source's headers and `Accept-Encoding: identity`, without decoding the body; no limit on
    the total time, but one on the time between two bytes. What is left unread at the end is dropped with the
    connection, never drained (as aiohttp does by itself).
    """

    def open(
        self, source: Source, *, range: str | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...


class _NoAddress:
    def open(self, source: Source, *, range: str | None = None) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        raise RuntimeError("this source has no address to open")


NO_ADDRESS: Final[Opener] = _NoAddress()
"""The opener of sources that lie here."""


class Body:
    """Content that is being read: `size` bytes in all (None: not known), of which `read` gives `part` (None: all).

    `receive` gives bytes from the start of the content, or from the start of the part where `ranged`.
    """

    def __init__(
        self, receive: Receive, *, size: int | None, wish: Span | Suffix | None = None, ranged: bool = False
    ) -> None:
        self.size = size
        self.part = ranges.resolve(wish, size) if wish and size is not None else None
        first, self._left = (self.part.first, self.part.length) if self.part else (0, size)
        self._receive = receive
        self._skip = 0 if ranged else first
        self._exact = ranged or self.part is None
        self._head = b""
        self._telling = not ranged or (first == 0 and (self._left or 0) >= _HEAD)

    async def check(self, media_type: str) -> None:
        """Look at the first bytes, where they come; an `UpstreamError` where they are not `media_type`."""
        if self._telling:
            while len(self._head) < _HEAD and (chunk := await self._receive()):
                self._head += chunk
            _check_head(self._head, media_type)

    async def read(self) -> bytes:
        """The next bytes, none at the end; an `UpstreamError` where the content has fewer or more than was promised."""
        while self._left != 0:
            chunk, self._head = self._head or await self._receive(), b""
            if not chunk:
                if self._left is None:
                    break
                raise UpstreamError(f"The upstream ended its answer {self._left + self._skip} bytes too early.")
            if self._skip:
                skipped = min(self._skip, len(chunk))
                self._skip -= skipped
                chunk = chunk[skipped:]
            if self._left is not None:
                # Before the last bytes leave: what a wrong size cuts off must not look like the end.
                if self._exact and (len(chunk) > self._left or (len(chunk) == self._left and await self._receive())):
                    raise UpstreamError("The upstream has more bytes than it had announced.")
                chunk = chunk[: self._left]
                self._left -= len(chunk)
            if chunk:
                return chunk
        return b""


def _check_head(head: bytes, media_type: str) -> None:
    if not head:
        raise UpstreamError("The upstream answered with an empty file.")
    # Every MP4 starts with the box `ftyp` (ISO/IEC 14496-12, 4.3); an error page starts otherwise.
    is_film = head[4:8] == b"ftyp"
    if is_film and media_type.startswith("image/"):
        # Many servers ignore the query `variant` and send the video.
        raise _no_variant()
    if not is_film if media_type == "video/mp4" else head.lstrip()[:1] in (b"<", b"{", b"["):
        raise UpstreamError(f"The upstream answered with something that is not {media_type}.")


# ---------------------------------------------------------------- opening


@asynccontextmanager
async def opened(
    source: Source,
    opener: Opener,
    *,
    wish: Span | Suffix | None = None,
    size: int | None = None,
    media_type: str = "video/mp4",
) -> AsyncIterator[Body]:
    """Open `source` at the part that `wish` means; `size` is what else is known of its length.

    Raises `RangeNotSatisfiable`, `NotFound` for a lost file, and an `UpstreamError` for what the upstream does wrong,
    before anything is given; `UpstreamGone` among them where its address may have run out.
    The body's `part` is None without a wish, and for the wish `bytes=0-` where nobody tells the size: the whole is
    what that asks for.
    """
    size = source.size if source.size is not None else size
    async with AsyncExitStack() as stack:
        if source.data is not None:
            body = Body(_slices(source.data), size=len(source.data), wish=wish)
        elif source.stream is not None:
            if size is None and _needs_size(wish):
                size = await count(source, opener)
            body = Body(await _iterated(stack, source.stream()), size=size, wish=wish)
        elif source.read is not None and source.size is not None:
            part = ranges.resolve(wish, source.size) if wish else None
            stream = source.read(part.first, part.length) if part else source.read(0, source.size)
            body = Body(await _iterated(stack, stream), size=source.size, wish=wish, ranged=True)
        elif file_of(source) is not None:
            file, size = await asyncio.to_thread(open_file, source, media_type)
            stack.push_async_callback(asyncio.to_thread, file.close)
            body = Body(partial(asyncio.to_thread, file.read, _SLICE), size=size, wish=wish)
        else:
            body = await _answered(stack, source, opener, wish, size)
        await body.check(media_type)
        yield body


async def measure(source: Source, opener: Opener, size: int | None = None) -> int | None:
    """The number of bytes of `source`, which is not a file, without reading it; `size` where nobody else tells."""
    size = source.size if source.size is not None else size
    if source.data is not None:
        return len(source.data)
    if source.url is None:
        return size
    async with AsyncExitStack() as stack:
        # Signed URLs are good for one method, so that a HEAD would be refused.
        response = await _get(stack, source, opener, "bytes=0-0")
        if response.status == 200:
            return size if response.content_length is None else response.content_length
        claim = ranges.claimed(response.headers.get("Content-Range", ""))
        if response.status == 416 and claim and claim.size == 0:
            raise UpstreamError("The upstream answered with an empty file.")
        return size if claim is None or claim.size is None else claim.size


async def count(source: Source, opener: Opener) -> int:
    """The size of a content whose length nobody tells: it is read to its end once."""
    async with AsyncExitStack() as stack:
        if source.url is not None:
            receive = _receiver(await _get(stack, source, opener, None))
        else:
            assert source.stream is not None
            receive = await _iterated(stack, source.stream())
        size = 0
        while chunk := await receive():
            size += len(chunk)
        return size


def _needs_size(wish: Span | Suffix | None) -> bool:
    return wish is not None and wish != Span(0, None)


# ---------------------------------------------------------------- an upstream's answer


async def _answered(
    stack: AsyncExitStack, source: Source, opener: Opener, wish: Span | Suffix | None, size: int | None
) -> Body:
    response = None
    if wish is not None:
        response = await _get(stack, source, opener, await _asked(source, opener, wish, size))
        body = _ranged(response, wish, size)
        if body is not None:
            return body
        if response.status != 200:
            await stack.aclose()
            response = None
    if response is None:
        response = await _get(stack, source, opener, None)
    size = size if response.content_length is None else response.content_length
    if size is None and _needs_size(wish):
        await stack.aclose()
        size = await count(source, opener)
        response = await _get(stack, source, opener, None)
    return Body(_receiver(response), size=size, wish=wish)


async def _asked(source: Source, opener: Opener, wish: Span | Suffix, size: int | None) -> str | None:
    """The `Range` that is sent upstream: never a suffix, which some upstreams take for a position."""
    if size is None and isinstance(wish, Suffix):
        size = await measure(source, opener)
    if size is not None:
        part = ranges.resolve(wish, size)
        return f"bytes={part.first}-{part.last}"
    return None if isinstance(wish, Suffix) else f"bytes={wish.first}-{'' if wish.last is None else wish.last}"


def _ranged(response: aiohttp.ClientResponse, wish: Span | Suffix, size: int | None) -> Body | None:
    """The part that a 206 brings; None where the answer is no 206, or one that does not fit to what was asked."""
    claim = ranges.claimed(response.headers.get("Content-Range", ""))
    if claim is None or response.status == 200:
        return None
    size = size if claim.size is None else claim.size
    if response.status == 416 or size is None:
        if claim.size is not None:
            ranges.resolve(wish, claim.size)
        return None
    try:
        part = ranges.resolve(wish, size)
    except RangeNotSatisfiable:
        return None
    fits = (claim.first, claim.last) == part[:2] and response.content_length in (None, part.length)
    return Body(_receiver(response), size=size, wish=wish, ranged=True) if fits else None


async def _get(stack: AsyncExitStack, source: Source, opener: Opener, range: str | None) -> aiohttp.ClientResponse:
    """The head of the answer: 200, or with a `range` also 206 and 416. The connection is closed with `stack`."""
    try:
        response = await stack.enter_async_context(opener.open(source, range=range))
    except InvalidRequest as error:
        # The guard blames whoever gave the address, and that was not the client.
        raise UpstreamError("The upstream gave an address for this video that cannot be fetched from.") from error
    except ApiError:
        raise
    except aiohttp.ClientConnectorError as error:
        raise UpstreamUnreachable("The upstream of this video cannot be reached.") from error
    except TimeoutError as error:
        raise UpstreamTimeout("The upstream of this video did not answer in time.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamError("The upstream of this video broke the connection off.") from error
    if response.status != 200 and not (range and response.status in (206, 416)):
        raise _refused(response, source)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UpstreamError("The upstream answered with a compressed file although none was asked for.")
    return response


def _refused(response: aiohttp.ClientResponse, source: Source) -> ApiError:
    status = response.status
    if source.media_type.startswith("image/") and status in (400, 405, 422, 501):
        return _no_variant()
    # A signed address that has run out is a 403, at Google's storage a 400; where our key went with the request, it is
    # our key that is refused.
    if status in (404, 410) or (status in (400, 403) and not source.headers):
        return UpstreamGone(f"The upstream no longer has this content (it answered {status}).")
    if status in (401, 402, 403):
        return AccountRefused(f"The upstream refused access to this content (it answered {status}).")
    if status == 429:
        wait = response.headers.get("Retry-After", "")
        seconds = float(wait) if re.fullmatch("[0-9]{1,6}", wait) else None
        return Throttled("The upstream is too busy; try again.", retry_after=seconds)
    return UpstreamError(f"The upstream answered {status} instead of the content.")


def may_have_run_out(source: Source, error: ApiError) -> bool:
    """Whether `error`, of opening `source`, may mean that its address has run out or its file is gone, so that another
    one might do."""
    # Without a key there is none that could have been refused.
    return isinstance(error, UpstreamGone | NotFound) or (isinstance(error, AccountRefused) and not source.headers)


def _no_variant() -> UnsupportedOperation:
    return UnsupportedOperation("The upstream of this video has no such variant of it.", param="variant")


def _receiver(response: aiohttp.ClientResponse) -> Receive:
    content = response.content
    lost: asyncio.Future[None] | None = None
    protocol = response.connection.protocol if response.connection is not None else None
    if response.content_length is None and protocol is not None:
        # Where the end of the connection is the end of the content, aiohttp takes a reset for an end too.
        lost = protocol.closed
        if lost is not None:
            lost.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def receive() -> bytes:
        try:
            chunk = await content.readany()
        except TimeoutError as error:
            raise UpstreamTimeout("The upstream stopped sending in the middle of the content.") from error
        # Beside ClientError, a malformed chunk raises an HttpProcessingError and a lost connection a RuntimeError.
        except Exception as error:
            raise UpstreamError("The upstream broke its answer off.") from error
        if not chunk and lost is not None and lost.done() and not lost.cancelled() and lost.exception():
            raise UpstreamError("The upstream reset the connection.")
        return chunk

    return receive


# ---------------------------------------------------------------- files, bytes and streams


def file_of(source: Source) -> Path | None:
    """The file that `source` is, if it is one; it may vanish with the source."""
    return source.spooled.path if source.spooled is not None else source.path


def open_file(source: Source, media_type: str) -> tuple[BinaryIO, int]:
    """The file that `source` is, and its size; a `NotFound` where it is gone, an `UpstreamError` where an upstream put
    something else into it than `media_type`. Blocks."""
    path = file_of(source)
    assert path is not None
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise NotFound("The file of this video is no longer there.") from error
    facts = os.fstat(file.fileno())
    if not stat.S_ISREG(facts.st_mode):
        file.close()
        raise NotFound("The file of this video is no longer there.")
    if source.spooled is not None:
        try:
            _check_head(file.read(_HEAD), media_type)
        except ApiError:
            file.close()
            raise
        file.seek(0)
    return file, facts.st_size


def _slices(data: bytes) -> Receive:
    position = 0

    async def receive() -> bytes:
        nonlocal position
        chunk = data[position : position + _SLICE]
        position += len(chunk)
        return chunk

    return receive


async def _iterated(stack: AsyncExitStack, stream: AsyncIterator[bytes]) -> Receive:
    if isinstance(stream, AsyncGenerator):
        await stack.enter_async_context(aclosing(stream))

    async def receive() -> bytes:
        try:
            while True:
                chunk = await anext(stream, None)
                if chunk is None:
                    return b""
                if chunk:
                    return chunk
        except ApiError:
            raise
        except Exception as error:
            raise UpstreamError("The content broke off.") from error

    return receive
