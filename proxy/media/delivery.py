"""Bytes on their way to a client: who notices when it goes away or stops reading, and how a transfer is broken off."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Final, Self

from aiohttp import HttpVersion11, web

_TICK: Final = 0.5
_PUSH: Final = 4 * 2**20
_READ: Final = 256 * 1024


class ClientGone(Exception):
    """The client went away, or reads nothing any more."""


class Progress:
    """Whether a client takes what there is for it, judged now and then; times are in seconds of any one clock."""

    def __init__(self, stall: float, now: float) -> None:
        self._stall = stall
        self._gone = -1
        self._since = now

    def stalled(self, now: float, *, gone: int, waiting: bool) -> bool:
        """Whether for `stall` seconds the count of bytes `gone` stood still although something was `waiting`."""
        if gone != self._gone or not waiting:
            self._gone, self._since = gone, now
        return now - self._since >= self._stall


class Delivery:
    """The body of one answer: an async context in which `write` and `push` send it, and `end` completes it.

    aiohttp's server has no limit on the time that a write takes, and notices a lost client only when it writes. So
    this looks every `tick` seconds, and raises `ClientGone` out of whatever the block is waiting for, upstream or
    downstream: when the client is away, or took nothing for `stall` seconds although something was there to take. A
    block that is left with an answer begun and not completed breaks the connection, so that no client takes what it
    got for the whole.
    """

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        *,
        stall: float,
        told: Callable[[int], None],
        tick: float = _TICK,
    ) -> None:
        self._request = request
        self._response = response
        self._tick_every = min(tick, stall / 4)
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._told = told
        self._pushing = False
        self._complete = False
        self._progress = Progress(stall, self._loop.time())

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._timer = self._loop.call_later(self._tick_every, self._look)
        return self

    async def begin(self) -> None:
        """Send the head of the answer."""
        await self._response.prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        """Send `chunk`; returns when there is room for more."""
        self._sent += len(chunk)
        await self._response.write(chunk)
        self._told(len(chunk))

    async def push(self, file: BinaryIO, offset: int, count: int) -> int:
        """Send `count` bytes of `file`, without reading them where the loop can; answers how many it had."""
        transport = self._request.transport
        sent = 0
        self._pushing = True
        try:
            while sent < count:
                if transport is None or transport.is_closing():
                    raise ClientGone
                # In slices, because how far the kernel has come in one cannot be seen: a reader that takes less than a
                # slice in the time of a stall (7 kB/s at 600 s) counts as stalled.
                more = await self._loop.sendfile(transport, file, offset + sent, min(_PUSH, count - sent))
                if not more:
                    break
                sent += more
                self._sent += more
                self._told(more)
        except NotImplementedError:
            # uvloop has no sendfile.
            while sent < count and (chunk := await asyncio.to_thread(_read, file, offset + sent, count - sent)):
                sent += len(chunk)
                await self.write(chunk)
        finally:
            self._pushing = False
        return sent

    async def end(self) -> None:
        """Complete the answer."""
        await self._response.write_eof()
        self._complete = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            raise ClientGone from None
        finally:
            if self._response.prepared and not self._complete:
                self._break()
            # After a complete answer the look-out stays until the last bytes have left for the kernel.
            if not self._complete and self._timer is not None:
                self._timer.cancel()

    def _look(self) -> None:
        transport = self._request.transport
        now = self._loop.time()
        waiting = 0
        gone = transport is None or transport.is_closing()
        if transport is not None and not gone:
            waiting = transport.get_write_buffer_size()
            gone = self._progress.stalled(now, gone=self._sent - waiting, waiting=bool(waiting) or self._pushing)
        if self._complete:
            if gone and transport is not None:
                transport.abort()
            if gone or not waiting:
                return
        elif gone:
            self._scope.reschedule(now)
            return
        self._timer = self._loop.call_later(self._tick_every, self._look)

    def _break(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._request.version < HttpVersion11 and self._response.content_length is None:
            # To HTTP/1.0 the end of the connection is the end of the content; a reset is not.
            link: socket.socket | None = transport.get_extra_info("socket")
            if link is not None:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(min(count, _READ))
