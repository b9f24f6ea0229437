"""Silence and breakage: what may have been taken is unknown, what was not sent is a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from proxy.errors import (
    Outcome,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.inputs import Clip
from proxy.upstream import Timeout, submission
from proxy.upstream.answers import TRANSPORT_ERRORS, transport_error
from proxy.upstream.http import Http
from tests.upstream.conftest import (
    Wires,
    channel,
    close,
    cut,
    failure,
    garbage,
    hang,
    open_files,
)


async def hang_after_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def cut_refusal(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{")
    writer.close()


async def cut_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{"id": "x"}\r\n')
    writer.close()


async def bad_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")


async def cut_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    writer.close()


async def long_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")


async def bad_gzip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnope!")


async def bad_length(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}")


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (hang, UpstreamTimeout),
        (hang_after_headers, UpstreamTimeout),
        (drip, UpstreamTimeout),
        (close, UpstreamError),
        (reset, UpstreamError),
        (cut, UpstreamError),
        (cut_refusal, UpstreamError),
        (cut_chunks, UpstreamError),
        (bad_chunks, UpstreamError),
        (garbage, UpstreamError),
        (cut_headers, UpstreamError),
        (long_header, UpstreamError),
        (bad_gzip, UpstreamError),
        (bad_length, UpstreamError),
    ],
)
async def test_broken_answers_are_unknown(
    http: Http, wires: Wires, script: Callable[[asyncio.StreamWriter], Awaitable[None]], kind: type[UpstreamError]
) -> None:
    """Once a paid POST may have left, silence and breakage are unknown and never sent again; unpaid, a refusal."""
    wire = await wires(script)
    hasty = kind is UpstreamTimeout
    timeout = Timeout(connect=5, first_byte=0.3, total=0.6) if hasty else Timeout()
    upstream = channel(http, wire.url, timeout=timeout)
    error = await failure(upstream.post("/v1/videos", json={"a": 1}))
    assert type(error) is kind
    assert error.outcome is Outcome.UNKNOWN
    assert error.should_retry is False
    assert len(wire.received) == 1
    for call in (upstream.post("/v1/files", json={}, paid=False), upstream.get("/v1/videos/x")):
        error = await failure(call)
        assert type(error) is kind
        assert error.outcome is Outcome.REFUSED


class NoNames(aiohttp.abc.AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[aiohttp.abc.ResolveResult]:
        raise OSError(None, "no such name")

    async def close(self) -> None:
        pass


async def test_what_cannot_be_reached_was_not_sent(wires: Wires, tmp_path: Path) -> None:
    """An unknown name, a refused connection, failed and endless TLS: certainly not taken, the SDK may try again."""
    http = Http(resolver=NoNames())
    await http.start()
    plain = await wires(garbage)
    silent = await wires(hang)
    urls = [
        "http://unknown.example",
        f"http://127.0.0.1:{unused_port()}",
        plain.url.replace("http:", "https:"),
        silent.url.replace("http:", "https:"),
    ]
    for url in urls:
        upstream = channel(http, url, timeout=Timeout(connect=0.3, first_byte=5, total=5))
        for call in (
            upstream.post("/v1/x", json={}),
            upstream.post("/v1/x", json={}, paid=False),
            upstream.get("/v1/x"),
        ):
            error = await failure(call)
            assert type(error) is UpstreamUnreachable, url
            assert error.outcome is Outcome.REFUSED
            assert error.should_retry is None
            assert "127.0.0.1" not in str(error)
    # Even when all of the time is over before the connection stands.
    upstream = channel(http, urls[-1], timeout=Timeout(connect=5, first_byte=5, total=0.2))
    assert type(await failure(upstream.post("/v1/x", json={}))) is UpstreamUnreachable
    assert plain.received == silent.received == []
    await http.close()


def every_class(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(every_class(kind) for kind in root.__subclasses__()))


def test_every_client_error_maps() -> None:
    """Each class of aiohttp's tree is caught and means one of ours; only those before a connection mean "not sent"."""
    unsent = set()
    for kind in every_class(aiohttp.ClientError) | {TimeoutError, ConnectionResetError}:
        instance = kind.__new__(kind)
        assert isinstance(instance, TRANSPORT_ERRORS)
        for connected in (True, False, None):
            error = transport_error(instance, connected=connected)
            assert isinstance(error, UpstreamError)
            if connected is True:
                assert error.outcome is Outcome.UNKNOWN
            elif connected is False:
                assert type(error) is UpstreamUnreachable
            elif type(error) is UpstreamUnreachable:
                unsent.add(kind.__name__)
    assert unsent == {
        "ClientConnectorCertificateError",
        "ClientConnectorDNSError",
        "ClientConnectorError",
        "ClientConnectorSSLError",
        "ClientProxyConnectionError",
        "ClientSSLError",
        "ConnectionTimeoutError",
        "InvalidURL",
        "InvalidUrlClientError",
        "InvalidUrlRedirectClientError",
        "NonHttpUrlClientError",
        "NonHttpUrlRedirectClientError",
        "ServerFingerprintMismatch",
        "UnixClientConnectorError",
    }


async def test_cancelled_calls_leave_nothing(http: Http, wires: Wires, tmp_path: Path) -> None:
    """A cancelled call closes its connection and its files, and the submission counts as taken."""
    wire = await wires(hang)
    path = tmp_path / "in.mp4"
    path.write_bytes(b"x" * 100_000)
    upstream = channel(http, wire.url)
    with submission() as sent:
        task = asyncio.create_task(upstream.post("/v1/x", form={"video": Clip(path)}))
        while not wire.received:
            await asyncio.sleep(0)
        assert not sent.taken
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sent.taken
    await wire.stop()
    assert str(path) not in await asyncio.to_thread(open_files)
    assert not http.paid.connector._acquired  # type: ignore[union-attr]
