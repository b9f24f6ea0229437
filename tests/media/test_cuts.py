"""A transfer that the upstream cuts is a broken transfer for the client, never a clean end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientPayloadError

from proxy.errors import UpstreamGone
from proxy.models import Source
from tests.media.wire import DATA, SIZE, Exchange, Front, RawUpstream, chunked, closing


def cut_at(count: int, framing: str, how: str) -> Any:
    async def script(exchange: Exchange) -> None:
        if framing == "chunked":
            await exchange.head(Transfer_Encoding="chunked")
            for start in range(0, count, 9_973):
                await exchange.chunk(DATA[start : min(start + 9_973, count)])
        else:
            await exchange.head(**({"Content_Length": SIZE} if framing == "length" else {"Connection": "close"}))
            await exchange.body(DATA[:count])
        if how == "reset":
            exchange.reset()

    return script


@pytest.mark.parametrize(
    ("framing", "how"),
    [
        ("length", "end"),
        ("length", "reset"),
        ("chunked", "end"),
        ("chunked", "reset"),
        ("close", "reset"),
        ("close, but the size is known", "end"),
    ],
)
async def test_cut_at_every_tenth_is_a_broken_transfer(
    front: Front, upstream: RawUpstream, framing: str, how: str
) -> None:
    """Wherever the upstream cuts, by a clean end or a reset, the client sees a broken transfer or an error: also when
    all bytes were there and only the last chunk, or the end of the connection, is missing."""
    if "known" in framing:
        front.options["known_size"] = SIZE
    whole = framing in ("chunked", "close")
    for tenth in range(11 if whole else 10):
        upstream.script = cut_at(SIZE * tenth // 10, framing, how)
        try:
            status, _, body = await front.ask()
        except ClientPayloadError:
            continue
        assert status == 502, f"{len(body)} bytes passed for the whole at {tenth}0 %"


@pytest.mark.parametrize("how", ["end", "error", "gone"])
@pytest.mark.parametrize("asked", [None, "bytes=1000-", "bytes=-150000"])
async def test_a_read_that_breaks_at_any_tenth_is_a_broken_transfer(front: Front, how: str, asked: str | None) -> None:
    """What a plugin, or the archive, reads for us breaks the transfer where it ends early or fails, in a part too."""

    async def read(tenth: int, first: int, length: int) -> AsyncIterator[bytes]:
        left = length * tenth // 10
        for start in range(first, first + left, 9_973):
            yield DATA[start : min(start + 9_973, first + left)]
        if how != "end":
            raise UpstreamGone("it is gone") if how == "gone" else OSError("disk")

    for tenth in range(10):
        front.source = Source(read=partial(read, tenth), size=SIZE)
        try:
            status, _, body = await front.ask(**({"Range": asked} if asked else {}))
        except ClientPayloadError:
            continue
        assert (status, tenth) == (502, 0), f"{len(body)} bytes passed for the whole at {tenth}0 %"


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=100000-299998", "bytes=-150000"])
@pytest.mark.parametrize("ranged", [True, False])
async def test_a_cut_range_is_a_broken_transfer(front: Front, upstream: RawUpstream, asked: str, ranged: bool) -> None:
    """A range that the upstream cuts breaks, whether it came as a range or was cut out of the whole."""

    async def script(exchange: Exchange) -> None:
        if exchange.headers.get("range") == "bytes=0-0":
            await exchange.head("206 OK", Content_Range=f"bytes 0-0/{SIZE}", Content_Length=1)
        elif ranged:
            first, last = (int(text) if text else SIZE - 1 for text in exchange.headers["range"][6:].split("-"))
            length = last - first + 1
            await exchange.head("206 OK", Content_Range=f"bytes {first}-{last}/{SIZE}", Content_Length=length)
            await exchange.body(DATA[first : last - 10])
        else:
            await exchange.head(Content_Length=SIZE)
            await exchange.body(DATA[: SIZE - 20])

    upstream.script = script
    with pytest.raises(ClientPayloadError):
        await front.ask(Range=asked)


async def test_a_known_size_binds_an_answer_without_length(front: Front, upstream: RawUpstream) -> None:
    """Where only we know the size, it is promised: less and more break the transfer, whole or the end of it."""
    upstream.script = closing
    for size in (SIZE + 1, SIZE - 1, SIZE - 100_000):
        front.options["known_size"] = size
        with pytest.raises(ClientPayloadError):
            await front.ask()
    front.options["known_size"] = SIZE
    assert (await front.ask())[2] == DATA


@pytest.mark.parametrize("wrong", [-70_000, -1, 1, 70_000])
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=10-"}])
async def test_a_read_of_another_size_breaks_the_transfer(front: Front, wrong: int, asked: dict[str, str]) -> None:
    """A source whose `read` gives more or less than it is asked for never looks like a shorter or longer video."""

    async def read(first: int, length: int) -> AsyncIterator[bytes]:
        for start in range(first, first + length + wrong, 65_536):
            yield DATA[start : min(start + 65_536, first + length + wrong)]

    front.source = Source(read=read, size=SIZE - 80_000)
    with pytest.raises(ClientPayloadError):
        await front.ask(**asked)


async def test_a_stream_of_another_size_breaks_the_transfer(front: Front) -> None:
    """A stream that has more or less than the size that its plugin told never looks like a whole video."""

    async def stream() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        yield DATA[1000:-1]
        yield DATA[-1:]

    for size in (SIZE - 1, SIZE - 2, SIZE + 1):
        front.source = Source(stream=stream, size=size)
        with pytest.raises(ClientPayloadError):
            await front.ask()


async def test_bytes_beyond_the_length_are_cut(front: Front, upstream: RawUpstream) -> None:
    """An upstream that sends more than its Content-Length adds nothing to the content."""

    async def talkative(exchange: Exchange) -> None:
        await exchange.head(Content_Length=SIZE)
        await exchange.body(DATA + b"more")

    upstream.script = talkative
    assert (await front.ask())[2] == DATA


async def test_a_stalled_upstream_breaks_the_transfer(front: Front, upstream: RawUpstream) -> None:
    """An upstream that stops sending longer than the read timeout breaks the transfer."""

    async def stalling(exchange: Exchange) -> None:
        await exchange.head(Content_Length=SIZE)
        await exchange.body(DATA[: SIZE // 2])
        await exchange.hung_up()

    upstream.script = stalling
    timeout = aiohttp.ClientTimeout(total=None, sock_read=0.1)
    async with aiohttp.ClientSession(timeout=timeout) as front.opener.session:
        with pytest.raises(ClientPayloadError):
            await front.ask()


async def test_a_reset_is_no_end_of_a_lengthless_answer(front: Front, upstream: RawUpstream) -> None:
    """Where the end of the connection ends the content, a reset breaks the transfer."""
    read = asyncio.Event()

    async def resetting(exchange: Exchange) -> None:
        await exchange.head(Connection="close")
        await exchange.body(DATA)
        await read.wait()
        exchange.reset()

    upstream.script = resetting
    async with front.session.get(front.url) as response:
        await response.content.readexactly(SIZE)
        read.set()
        with pytest.raises(ClientPayloadError):
            await response.read()


async def test_a_broken_stream_breaks_the_transfer(front: Front) -> None:
    """A plugin's stream that raises, or ends before its size, breaks the transfer."""

    async def raising() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        raise OSError("disk")

    async def short() -> AsyncIterator[bytes]:
        yield DATA[:1000]

    for source in (Source(stream=raising), Source(stream=short, size=1001)):
        front.source = source
        with pytest.raises(ClientPayloadError):
            await front.ask()


async def test_to_http_1_0_a_break_is_a_reset(front: Front, upstream: RawUpstream) -> None:
    """Without a length and without chunks only a reset tells an old client that the transfer broke."""

    async def cut(exchange: Exchange) -> None:
        await exchange.head(Transfer_Encoding="chunked")
        await exchange.chunk(DATA[:1000])

    async def fetch() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return await reader.read(-1)
        finally:
            writer.close()

    upstream.script = chunked
    assert (await fetch()).endswith(DATA)
    upstream.script = cut
    with pytest.raises(ConnectionResetError):
        await fetch()
