"""What the upstream does wrong before the first byte is an error of ours."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from proxy.models import Source
from tests.media.wire import DATA, SIZE, Exchange, Front, RawUpstream, good


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("401 No", (502, "AccountRefused")),
        ("403 No", (502, "UpstreamGone")),
        ("404 No", (502, "UpstreamGone")),
        ("410 No", (502, "UpstreamGone")),
        ("429 No", (429, "Throttled")),
        ("500 No", (502, "UpstreamError")),
        ("302 No", (502, "UpstreamError")),
        ("204 No", (502, "UpstreamError")),
        ("206 No", (502, "UpstreamError")),
    ],
)
async def test_an_upstream_status_becomes_an_error(
    front: Front, upstream: RawUpstream, status: str, expected: tuple[int, str]
) -> None:
    """Errors of the upstream are ours before the first byte, and name neither address nor body."""

    async def refusing(exchange: Exchange) -> None:
        await exchange.head(status, Content_Length=14, Retry_After=7)
        await exchange.body(b"upstream words")

    upstream.script = refusing
    for method in ("GET", "HEAD"):
        if (method, status[:3]) == ("HEAD", "206"):
            continue
        found, _, body = await front.ask(method)
        assert found == expected[0]
        assert b"upstream words" not in body
        assert b"127.0.0.1" not in body
        assert b"secret" not in body
        if method == "GET":
            assert expected[1].encode() in body


@pytest.mark.parametrize(
    "page", [b"<html>gone</html>", b'{"error": {"message": "expired"}}', b"plain words", b"", b"\x00" * 50]
)
@pytest.mark.parametrize("asked", [None, "bytes=3-5", "bytes=0-"])
async def test_an_error_page_is_not_a_video(
    front: Front, upstream: RawUpstream, page: bytes, asked: str | None
) -> None:
    """A 200 whose first bytes are no MP4 is a 502, also where a range would have to be cut out of it."""

    async def pretending(exchange: Exchange) -> None:
        await exchange.head(Content_Length=len(page), Content_Type="video/mp4")
        await exchange.body(page)

    upstream.script = pretending
    front.options["known_size"] = SIZE
    status, _, body = await front.ask(**({"Range": asked} if asked else {}))
    if status == 416:
        assert (asked, page) == ("bytes=3-5", b"") or (asked, page) == ("bytes=0-", b"")
        return
    assert status == 502
    assert b"UpstreamError" in body


async def test_a_picture_may_not_be_an_error_page(front: Front) -> None:
    """Other variants are told by what an error page starts with."""
    front.options["media_type"] = "image/webp"
    front.source = Source(data=b"RIFF\x00\x00\x00\x00WEBPVP8 ")
    status, headers, _ = await front.ask()
    assert (status, headers["content-type"]) == (200, "image/webp")
    front.source = Source(data=b' {"error": 1}')
    assert (await front.ask())[0] == 502


async def test_the_two_byte_probe_of_players_works(front: Front, upstream: RawUpstream) -> None:
    """`bytes=0-1`, with which Safari begins, is too short to tell a video and passes."""
    upstream.script = good
    assert (await front.ask(Range="bytes=0-1"))[::2] == (206, DATA[:2])


async def test_a_compressed_answer_is_refused(front: Front, upstream: RawUpstream) -> None:
    """An upstream that compresses although nobody asked is a 502."""

    async def compressing(exchange: Exchange) -> None:
        assert exchange.headers["accept-encoding"] == "identity"
        await exchange.head(Content_Length=SIZE, Content_Encoding="gzip")
        await exchange.body(DATA)

    upstream.script = compressing
    assert (await front.ask())[0] == 502


async def test_no_answer_at_all_is_an_error(front: Front, upstream: RawUpstream) -> None:
    """Refused, closed and silent connections become errors of ours."""

    async def closed(exchange: Exchange) -> None:
        exchange.reset()

    async def silent(exchange: Exchange) -> None:
        await exchange.hung_up()

    upstream.script = closed
    assert (await front.ask())[0] == 502
    upstream.script = silent
    timeout = aiohttp.ClientTimeout(total=None, sock_read=0.1)
    async with aiohttp.ClientSession(timeout=timeout) as front.opener.session:
        assert (await front.ask())[0] == 504
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        front.source = Source(url=f"http://127.0.0.1:{unused.getsockname()[1]}/")
        async with aiohttp.ClientSession() as front.opener.session:
            assert (await front.ask())[0] == 502
