"""What can go wrong on the wire, each as a function that answers one call to a simulator.

The faults that break an answer do their worst first: the operation runs, so that the job is taken and paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from proxy.testing.wire import Answer

_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Stage:
    """One call that is being answered: `run` does the operation, `stopping` is set when the server stops."""

    request: web.Request
    run: Callable[[], Awaitable[Answer]]
    stopping: asyncio.Event


Act = Callable[[Stage], Awaitable[web.StreamResponse]]


async def send(stage: Stage, answer: Answer) -> web.StreamResponse:
    """Write `answer` as it says, whole or cut."""
    payload = answer.payload
    if not answer.chunked and answer.cut_at is None:
        return web.Response(status=answer.status, body=payload, headers=answer.all_headers)
    response = web.StreamResponse(status=answer.status, headers=answer.all_headers)
    if answer.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(payload)
    # A client that hangs up early is none of the simulator's concern.
    with contextlib.suppress(ConnectionError):
        await response.prepare(stage.request)
        if answer.cut_at is None:
            for start in range(0, len(payload), 65_536):
                await response.write(payload[start : start + 65_536])
        else:
            await response.write(payload[: int(len(payload) * answer.cut_at)])
            _hang_up(stage)
    return response


def saying(answer: Answer) -> Act:
    """Answer `answer` without doing the operation."""

    async def act(stage: Stage) -> web.StreamResponse:
        return await send(stage, answer)

    return act


def mangling(change: Callable[[Any], Any]) -> Act:
    """Do the operation and pass the JSON of its answer through `change`."""

    async def act(stage: Stage) -> web.StreamResponse:
        answer = await stage.run()
        headers = {**answer.headers, "Content-Type": "application/json"}
        return await send(
            stage, replace(answer, json=None, body=json.dumps(change(answer.json)).encode(), headers=headers)
        )

    return act


def _hang_up(stage: Stage) -> None:
    if stage.request.transport is not None:
        stage.request.transport.close()


def _reset(stage: Stage) -> web.Response:
    if stage.request.transport is not None:
        stage.request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        stage.request.transport.abort()
    return web.Response()


async def hang(stage: Stage) -> web.StreamResponse:
    """The operation is done; no answer ever comes."""
    await stage.run()
    await stage.stopping.wait()
    return _reset(stage)


async def reset_before_reply(stage: Stage) -> web.StreamResponse:
    """The connection is reset after the request was read; the operation is not done."""
    return _reset(stage)


async def reset_after_taking(stage: Stage) -> web.StreamResponse:
    """The operation is done, then the connection is reset."""
    await stage.run()
    return _reset(stage)


async def cut_body(stage: Stage) -> web.StreamResponse:
    """The operation is done; the connection ends in the middle of the answer."""
    return await send(stage, replace(await stage.run(), cut_at=0.5))


async def html_502(stage: Stage) -> web.StreamResponse:
    """The operation is done; the provider's front answers 502 with a page."""
    await stage.run()
    return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")


async def html_200(stage: Stage) -> web.StreamResponse:
    """The operation is done; a page comes instead of JSON, as a success."""
    await stage.run()
    return web.Response(text="<html><h1>Maintenance</h1></html>", content_type="text/html")


async def empty_200(stage: Stage) -> web.StreamResponse:
    """The operation is done; the answer is empty."""
    await stage.run()
    return web.Response()


async def redirect_307(stage: Stage) -> web.StreamResponse:
    """Sent to the same place again: who follows submits twice."""
    await stage.run()
    return web.Response(status=307, headers={"Location": str(stage.request.rel_url)})


async def huge(stage: Stage) -> web.StreamResponse:
    """The right answer, followed by 256 MB of white space."""
    answer = await stage.run()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    with contextlib.suppress(ConnectionError):
        await response.prepare(stage.request)
        await response.write(answer.payload)
        for _ in range(256):
            await response.write(b" " * 2**20)
    return response


FAULTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        hang,
        reset_before_reply,
        reset_after_taking,
        cut_body,
        html_502,
        html_200,
        empty_200,
        redirect_307,
        huge,
    )
}
