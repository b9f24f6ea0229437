"""What an upstream tells over a websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

import aiohttp
from aiohttp.http_websocket import WebSocketError

from proxy.errors import ApiError, UpstreamError
from proxy.reply import Reply
from proxy.upstream.answers import LARGEST_BODY, TRANSPORT_ERRORS, decode, transport_error
from proxy.upstream.http import Timeout

HEARTBEAT: Final = 30.0
"""Seconds of silence after which the upstream is asked whether it is still there."""
GOODBYE: Final = 1.0
"""Seconds that an upstream has to answer that the connection is closed."""

Settle = Callable[[ApiError], ApiError]


class Messages:
    """The messages of an open websocket, one by one.

    Each text is a `Reply`, without `data` where it is no JSON; binary messages are passed over. It ends when the
    upstream closes the connection; an `UpstreamError` where that breaks, or a message has more than 8 MiB.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], settled: Settle) -> None:
        self._socket = socket
        self._settled = settled

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        while True:
            try:
                message = await self._socket.receive()
            except TRANSPORT_ERRORS as cause:
                raise self._settled(failure(cause)) from None
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    return decode(message.data, status=200, headers={})
                case aiohttp.WSMsgType.ERROR:
                    raise self._settled(failure(message.data)) from None
                case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.CLOSED:
                    if self._socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
                        raise self._settled(failure(aiohttp.ServerDisconnectedError()))
                    raise StopAsyncIteration


@asynccontextmanager
async def messages(
    session: aiohttp.ClientSession,
    url: str,
    *,
    params: Mapping[str, str] | None,
    headers: Mapping[str, str],
    limits: Timeout,
    settled: Settle,
) -> AsyncIterator[Messages]:
    """An open websocket of `url`; `settled` is asked for each error. `session` must not follow redirects."""
    try:
        async with asyncio.timeout(limits.connect + limits.first_byte):
            socket = await session.ws_connect(
                url,
                params=params,
                headers=headers,
                timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE),
                heartbeat=HEARTBEAT,
                max_msg_size=LARGEST_BODY,
                decode_text=False,
            )
    except TRANSPORT_ERRORS as cause:
        raise settled(failure(cause)) from None
    async with socket:
        yield Messages(socket, settled)


def failure(cause: BaseException) -> UpstreamError:
    """What it means that a websocket cannot be opened, or broke."""
    if isinstance(cause, aiohttp.WSServerHandshakeError):
        return UpstreamError(f"The upstream opened no websocket (HTTP {cause.status}).")
    if isinstance(cause, WebSocketError) and cause.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return UpstreamError(f"A message of the upstream has more than {LARGEST_BODY} bytes.")
    return transport_error(cause)
