"""Clients that read slowly, not at all, or go away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.media.delivery import Progress
from proxy.models import Source
from tests.media.wire import DATA, SIZE, Exchange, Front, RawUpstream, good, ignoring, video_of


async def endless(exchange: Exchange) -> None:
    """50 MB, sent as fast as somebody takes them."""
    await exchange.head(Content_Length=50_000_000)
    await exchange.body(video_of(1_000_000))
    block = b"\x00" * 1_000_000
    for _ in range(49):
        await exchange.body(block)


async def begin(front: Front, *, buffer: int = 65536) -> socket.socket:
    """A client that has sent its request and reads nothing."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    link.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(link, ("127.0.0.1", front.port))
    await loop.sock_sendall(link, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return link


async def test_a_client_that_does_not_read_stops_the_upstream(front: Front, upstream: RawUpstream) -> None:
    """Nothing piles up for a client that reads nothing: the upstream can send what the sockets hold, then waits; the
    client is cut off after the given time without progress, and the upstream with it."""
    upstream.script = endless
    front.options["stall"] = 1.0
    link = await begin(front)
    await upstream.arrived.wait()
    await front.left.wait()
    await upstream.exchanges[0].finished.wait()
    # Loopback's kernel buffers grow to about 6 MB on each of the two connections.
    assert upstream.exchanges[0].taken < 20_000_000
    with link:
        link.setblocking(True)
        link.settimeout(10)

        def drain() -> int:
            size = 0
            try:
                while piece := link.recv(2**20):
                    size += len(piece)
            except ConnectionResetError:
                pass
            return size

        assert await asyncio.to_thread(drain) < 20_000_000


async def test_a_client_that_does_not_read_a_file_is_cut_off(front: Front, tmp_path: Path) -> None:
    """A file is not kept open for a client that reads nothing."""
    file = tmp_path / "v.mp4"
    with file.open("wb") as sparse:
        sparse.truncate(32 * 2**20)
    front.source = Source(path=file)
    front.options["stall"] = 0.2
    with await begin(front):
        await front.left.wait()


async def test_the_last_bytes_are_not_kept_for_ever(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads nothing of a complete answer is cut off too, when the kernel cannot take all of it."""

    async def stream(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 20_000):
            yield DATA[:20_000] if start == 0 else bytes(20_000)

    front.options["stall"] = 0.5
    # Until the answer is a little larger than what the kernel takes, and the rest small enough to end the handler.
    for size in range(100_000, 20_000_000, 40_000):
        front.source = Source(stream=partial(stream, size))
        front.left.clear()
        with await begin(front):
            await front.left.wait()
            if front.waiting:
                assert front.transport is not None
                cut, abort = asyncio.Event(), front.transport.abort
                monkeypatch.setattr(front.transport, "abort", lambda: (cut.set(), abort()))
                await cut.wait()
                return
    raise AssertionError("nothing was left behind")


def test_progress_counts_and_not_time() -> None:
    """A slow reader is served for ever, and so is one that waits for the upstream; who takes nothing is not."""
    progress = Progress(10, now=0)
    assert not progress.stalled(9, gone=1, waiting=True)
    assert not progress.stalled(18, gone=2, waiting=True)
    assert not progress.stalled(27, gone=2, waiting=True)
    assert not progress.stalled(36, gone=2, waiting=False)
    assert not progress.stalled(45, gone=2, waiting=True)
    assert progress.stalled(46, gone=2, waiting=True)


async def test_a_client_that_leaves_stops_a_running_transfer(front: Front, upstream: RawUpstream) -> None:
    """When the client is gone, the upstream's connection is closed."""
    upstream.script = endless
    link = await begin(front)
    await upstream.arrived.wait()
    link.close()
    await front.left.wait()
    await upstream.exchanges[0].finished.wait()
    assert upstream.exchanges[0].taken < 20_000_000


@pytest.mark.parametrize("sent", [0, 1000])
async def test_a_client_that_leaves_stops_the_wait_for_a_silent_upstream(
    front: Front, upstream: RawUpstream, sent: int
) -> None:
    """A client's leaving is noticed while nothing comes from the upstream, before and after the first byte."""

    async def silent(exchange: Exchange) -> None:
        if sent:
            await exchange.head(Content_Length=SIZE)
            await exchange.body(DATA[:sent])
        await exchange.hung_up()

    upstream.script = silent
    link = await begin(front)
    await upstream.arrived.wait()
    if sent:
        await asyncio.get_running_loop().sock_recv(link, 1)
    link.close()
    await front.left.wait()
    await upstream.exchanges[0].finished.wait()


@pytest.mark.parametrize("script", [good, ignoring])
async def test_a_connection_is_used_again_after_a_whole_transfer(
    front: Front, upstream: RawUpstream, script: Any
) -> None:
    """A complete answer leaves the client's connection usable, also one that was cut out of the whole."""
    upstream.script = script
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 206")
        assert await reader.readexactly(10) == DATA[:10]
    writer.close()
