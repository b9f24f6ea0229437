"""Whether an answer reached its client: what a kernel tells of a connection shortly after the last byte was written.

An answer that was handed to the kernel may still be lost: the network breaks, or the client gives up at that moment and
sends its request again. Such a POST must find the first video. A kernel acknowledges what it received, and resets a
connection that is closed with something unread; so for a second after the last byte the connection is kept in view.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

VIEW: Final = 1.0
"""Seconds after which a connection that was not broken is taken for one that delivered."""

MOST: Final = 256
"""Connections that are kept in view at the same time."""
_CLOSED: Final = 7
"""TCP_CLOSE in the first byte of Linux's `struct tcp_info` (tcp(7)): the other side has reset the connection."""


class _Seen(NamedTuple):
    socket: socket.socket
    timer: asyncio.TimerHandle
    delivered: Callable[[], None]


class Receipts:
    """The answers of the last second. Elsewhere than on Linux an answer that was written counts as delivered."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def expect(self, request: web.Request, delivered: Callable[[], None]) -> None:
        """The answer to `request` was written whole: call `delivered` once its client seems to have it."""
        transport = request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return
        sock = transport.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6) or sys.platform != "linux":
            delivered()
            return
        if len(self._seen) >= MOST:
            # The oldest are decided a little earlier.
            self._judge(next(iter(self._seen)))
        try:
            # A descriptor of our own, since the connection may be closed before we look.
            kept = socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        except OSError:
            # None is left; the answer itself is on its way, and that is what counts.
            return
        timer = asyncio.get_running_loop().call_later(VIEW, self._judge, kept.fileno())
        self._seen[kept.fileno()] = _Seen(kept, timer, delivered)

    def judge(self) -> None:
        """Decide now about all that is in view: somebody asks what was delivered."""
        for descriptor in list(self._seen):
            self._judge(descriptor)

    def close(self) -> None:
        """Look no more; what was not decided counts as not delivered."""
        for seen in self._seen.values():
            seen.timer.cancel()
            seen.socket.close()
        self._seen.clear()

    def _judge(self, descriptor: int) -> None:
        seen = self._seen.pop(descriptor)
        seen.timer.cancel()
        with contextlib.closing(seen.socket):
            if _received(seen.socket):
                seen.delivered()


def _received(sock: socket.socket) -> bool:
    """Whether the other side's kernel has all bytes, and did not break the connection."""
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        (waiting,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return False
    return state != _CLOSED and waiting == 0
