"""What goes out: the bytes that the upstream made, under headers of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from proxy.errors import NotFound
from proxy.media.ranges import Span, Suffix
from proxy.media.sources import opened
from proxy.models import Source
from proxy.spooled import Spooled
from tests.media.wire import DATA, ETAG, SIZE, Exchange, Front, RawUpstream, chunked, closing, good, ignoring

LAST_MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


# ---------------------------------------------------------------- whole, ranges and headers


@pytest.mark.parametrize("script", [good, ignoring, chunked, closing])
async def test_the_whole_is_byte_for_byte(front: Front, upstream: RawUpstream, script: Any) -> None:
    """Whatever the upstream's framing is, the client gets its bytes; the length where it is known."""
    upstream.script = script
    status, headers, body = await front.ask()
    assert (status, body) == (200, DATA)
    assert headers.get("content-length") == (str(SIZE) if script in (good, ignoring) else None)
    assert headers["accept-ranges"] == "bytes"
    assert headers["etag"] == f'"{ETAG}"'
    assert headers["last-modified"] == LAST_MODIFIED
    assert front.opener.opened == [None]


@pytest.mark.parametrize("script", [good, ignoring, chunked, closing])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=1000-1999", 1000, 1999), ("bytes=299990-", 299_990, 299_999), ("bytes=-5", 299_995, 299_999)],
)
async def test_ranges_whatever_the_upstream_can(
    front: Front, upstream: RawUpstream, script: Any, asked: str, first: int, last: int
) -> None:
    """A range is answered with 206 also where the upstream has no ranges and tells no length."""
    upstream.script = script
    status, headers, body = await front.ask(Range=asked)
    assert (status, body) == (206, DATA[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert headers["content-length"] == str(last - first + 1)


async def test_ranges_of_bytes_and_streams(front: Front) -> None:
    """Bytes and streams of a plugin have ranges too; a stream of unknown size is read once to count it."""
    runs = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal runs
        runs += 1
        for start in range(0, SIZE, 10_000):
            yield b""
            yield DATA[start : start + 10_000]

    for source in (Source(data=DATA), Source(stream=stream, size=SIZE), Source(stream=stream)):
        front.source = source
        assert (await front.ask())[2] == DATA
        status, headers, body = await front.ask(Range="bytes=-70000")
        assert (status, headers["content-range"]) == (206, f"bytes 230000-299999/{SIZE}")
        assert body == DATA[-70_000:]
        assert (await front.ask(Range="bytes=300000-"))[0] == 416
    assert runs == 2 + 3 + 1


async def test_a_read_is_asked_for_exactly_the_part(front: Front) -> None:
    """A source that can read a part is asked for that part alone; nothing is skipped and nothing measured."""
    asked: list[tuple[int, int]] = []

    async def read(first: int, length: int) -> AsyncIterator[bytes]:
        asked.append((first, length))
        for start in range(first, first + length, 10_000):
            yield DATA[start : min(start + 10_000, first + length)]

    front.source = Source(read=read, size=SIZE)
    assert (await front.ask())[2] == DATA
    for header, first, last in (
        ("bytes=5-9", 5, 9),
        ("bytes=299990-", 299_990, SIZE - 1),
        ("bytes=-5", SIZE - 5, SIZE - 1),
    ):
        status, headers, body = await front.ask(Range=header)
        assert (status, headers["content-range"]) == (206, f"bytes {first}-{last}/{SIZE}")
        assert body == DATA[first : last + 1]
    assert (await front.ask("HEAD"))[1]["content-length"] == str(SIZE)
    assert (await front.ask(Range="bytes=300000-"))[0] == 416
    assert asked == [(0, SIZE), (5, 5), (299_990, 10), (SIZE - 5, 5)]


async def test_unsatisfiable_is_416_with_the_size(front: Front, upstream: RawUpstream) -> None:
    """A range beyond the end is 416 whether the upstream says so, tells the size, or we know it."""
    for upstream.script in (good, ignoring, chunked):
        status, headers, _ = await front.ask(Range="bytes=300000-")
        assert (status, headers["content-range"]) == (416, f"bytes */{SIZE}")
    front.options["known_size"] = SIZE
    asked = len(upstream.exchanges)
    assert (await front.ask(Range="bytes=300000-"))[0] == 416
    assert len(upstream.exchanges) == asked


async def test_only_one_plain_range_goes_upstream(front: Front, upstream: RawUpstream) -> None:
    """The upstream sees a single normalised range: no suffix, no list, nothing that the client wrote."""
    upstream.script = good
    front.options["known_size"] = SIZE
    for asked, sent in (
        ("bytes=-5", "bytes=299995-299999"),
        ("Bytes=10-99999999", "bytes=10-299999"),
        ("bytes=0-", "bytes=0-299999"),
        ("bytes=1-2,5-6", None),
        ("bytes=x", None),
    ):
        await front.ask(Range=asked)
        assert front.opener.opened[-1] == sent
    front.options.clear()
    await front.ask(Range="bytes=-5")
    assert front.opener.opened[-2:] == ["bytes=0-0", "bytes=299995-299999"]


@pytest.mark.parametrize(
    ("content_range", "length"),
    [
        ("bytes 0-99/300000", 100),
        ("bytes 2000-2999/300000", 1000),
        ("bytes 1000-1998/300000", 999),
        ("bytes 1000-1999/1500", 1000),
        ("bytes 1000-1999/*", 1000),
        ("bytes 1000-1999/300000", 77),
        ("garbage", 1000),
        (None, 1000),
    ],
)
async def test_a_wrong_content_range_is_not_believed(
    front: Front, upstream: RawUpstream, content_range: str | None, length: int
) -> None:
    """A 206 that does not fit to what was asked is dropped, and the range cut out of the whole."""

    async def lying(exchange: Exchange) -> None:
        if "range" not in exchange.headers:
            await ignoring(exchange)
            return
        more = {"Content_Range": content_range} if content_range else {}
        await exchange.head("206 Partial Content", Content_Length=length, **more)
        await exchange.body(b"x" * length)

    upstream.script = lying
    status, headers, body = await front.ask(Range="bytes=1000-1999")
    assert (status, headers["content-range"]) == (206, f"bytes 1000-1999/{SIZE}")
    assert body == DATA[1000:2000]


async def test_a_wrong_416_is_not_believed(front: Front, upstream: RawUpstream) -> None:
    """An upstream that refuses a range which exists is asked for the whole."""

    async def refusing(exchange: Exchange) -> None:
        if "range" in exchange.headers:
            await exchange.head("416 Range Not Satisfiable", Content_Length=0)
        else:
            await ignoring(exchange)

    upstream.script = refusing
    assert (await front.ask(Range="bytes=1000-1999"))[::2] == (206, DATA[1000:2000])
    assert (await front.ask(Range="bytes=300000-"))[0] == 416


async def test_if_range_decides_whether_the_range_counts(front: Front, upstream: RawUpstream) -> None:
    """With our tag or date the range is sent, else the whole."""
    upstream.script = good
    for value, status in ((f'"{ETAG}"', 206), (LAST_MODIFIED, 206), ('"old"', 200), (f'W/"{ETAG}"', 200)):
        assert (await front.ask(Range="bytes=0-9", If_Range=value))[0] == status


async def test_what_the_client_has_is_not_sent_again(front: Front, upstream: RawUpstream) -> None:
    """304 and 412 are answered from the validators alone: the upstream is not asked."""
    for name, value, status in (
        ("If-None-Match", f'"{ETAG}"', 304),
        ("If-Modified-Since", LAST_MODIFIED, 304),
        ("If-Match", '"old"', 412),
        ("If-Unmodified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", 412),
    ):
        for method in ("GET", "HEAD"):
            found, headers, body = await front.ask(method, **{name: value})
            assert (found, body, headers["etag"]) == (status, b"", f'"{ETAG}"')
    assert upstream.exchanges == []


@pytest.mark.parametrize("script", [good, ignoring, chunked])
async def test_head_is_a_get_of_one_byte(front: Front, upstream: RawUpstream, script: Any) -> None:
    """HEAD asks the upstream for one byte with GET, tells the size that it learnt, and reads no body."""
    upstream.script = script
    status, headers, body = await front.ask("HEAD", Range="bytes=5-9")
    assert (status, body, "content-range" in headers) == (200, b"", False)
    assert headers.get("content-length") == (None if script is chunked else str(SIZE))
    assert headers["content-type"] == "video/mp4"
    assert [(e.method, e.headers["range"]) for e in upstream.exchanges] == [("GET", "bytes=0-0")]


async def test_head_of_what_is_here(front: Front, tmp_path: Path) -> None:
    """HEAD of a file, bytes and a stream tells their sizes."""

    async def stream() -> AsyncIterator[bytes]:
        raise AssertionError("nobody reads for a HEAD")
        yield b""

    file = tmp_path / "v.mp4"
    file.write_bytes(DATA)
    for source, size in ((Source(path=file), SIZE), (Source(data=DATA), SIZE), (Source(stream=stream), None)):
        front.source = source
        status, headers, _ = await front.ask("HEAD")
        assert (status, headers.get("content-length")) == (200, size and str(size))


async def test_no_header_of_the_upstream_passes(front: Front, upstream: RawUpstream) -> None:
    """Our headers only: the type is ours, and the browser is told to run nothing."""

    async def chatty(exchange: Exchange) -> None:
        await exchange.ranged(
            DATA, Content_Type="text/html", Set_Cookie="a=b", ETag='"theirs"', X_Request_Id="upstream-1", Server="them"
        )

    upstream.script = chatty
    _, headers, _ = await front.ask()
    assert headers.pop("date")
    assert headers.pop("server") != "them"
    assert headers == {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=0, must-revalidate",
        "content-disposition": 'inline; filename="video.mp4"',
        "content-length": str(SIZE),
        "content-security-policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
        "content-type": "video/mp4",
        "etag": f'"{ETAG}"',
        "last-modified": LAST_MODIFIED,
        "x-content-type-options": "nosniff",
    }


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("video_1.mp4", 'attachment; filename="video_1.mp4"'),
        ('a"b\r\nX: y/..\\.mp4', "attachment; filename=\"a_b_X_ y_.._.mp4\"; filename*=UTF-8''a%22b_X%3A%20y_.._.mp4"),
        ("Käse €.mp4", "attachment; filename=\"K_se _.mp4\"; filename*=UTF-8''K%C3%A4se%20%E2%82%AC.mp4"),
    ],
)
async def test_download_names_the_file_safely(front: Front, filename: str, expected: str) -> None:
    """`download=1` makes an attachment, whose name breaks out of nothing (RFC 6266)."""
    front.source = Source(data=DATA)
    front.options["filename"] = filename
    _, headers, _ = await front.ask(query="?download=1")
    assert headers["content-disposition"] == expected
    assert "x" not in headers


# ---------------------------------------------------------------- files


async def test_a_file_is_sent_itself(front: Front, tmp_path: Path) -> None:
    """A file is sent with ranges, and never a compressed sibling in its place."""
    file = tmp_path / "v.mp4"
    file.write_bytes(DATA)
    (tmp_path / "v.mp4.gz").write_bytes(b"compressed")
    front.source = Source(path=file)
    status, headers, body = await front.ask(Accept_Encoding="gzip")
    assert (status, body, "content-encoding" in headers) == (200, DATA, False)
    assert (await front.ask(Range="bytes=5-9"))[::2] == (206, DATA[5:10])


async def test_what_was_put_aside_is_sent_as_a_file(front: Front, tmp_path: Path) -> None:
    """A spooled result is sent with ranges and a length, and checked to be a video, as nobody did before."""

    def spooled(data: bytes) -> Spooled:
        path = tmp_path / f"spool-{len(data)}"
        path.write_bytes(data)
        return Spooled(path, len(data))

    front.source = Source(spooled=spooled(DATA))
    assert (await front.ask())[::2] == (200, DATA)
    status, headers, body = await front.ask(Range="bytes=-7")
    assert (status, headers["content-range"], body) == (206, f"bytes {SIZE - 7}-{SIZE - 1}/{SIZE}", DATA[-7:])
    assert (await front.ask("HEAD"))[1]["content-length"] == str(SIZE)
    front.source = Source(spooled=spooled(b'{"error": "no such video"}'))
    assert (await front.ask())[0] == 502


async def test_files_can_be_read_without_a_request(front: Front, tmp_path: Path) -> None:
    """Whoever copies a video reads a file like any other source, whole or a part; a lost one is told."""
    file, aside = tmp_path / "v.mp4", tmp_path / "aside"
    file.write_bytes(DATA)
    aside.write_bytes(DATA)
    spooled = Source(spooled=Spooled(aside, SIZE))
    for source, wish, expected in (
        (Source(path=file), None, DATA),
        (Source(path=file), Suffix(70_000), DATA[-70_000:]),
        (spooled, None, DATA),
        (spooled, Span(5, 300), DATA[5:301]),
    ):
        async with opened(source, front.opener, wish=wish) as body:
            read = b""
            while chunk := await body.read():
                read += chunk
        assert (body.size, read) == (SIZE, expected)
    file.unlink()
    with pytest.raises(NotFound):
        async with opened(Source(path=file), front.opener):
            pass


async def test_a_loop_without_sendfile_reads_the_file(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the loop has no sendfile (uvloop), the same bytes are read and written."""

    async def missing(*arguments: Any) -> int:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "sendfile", missing)
    file = tmp_path / "v.mp4"
    file.write_bytes(DATA)
    front.source = Source(path=file)
    assert (await front.ask())[2] == DATA
    assert (await front.ask(Range="bytes=10-290009"))[::2] == (206, DATA[10:290_010])


async def test_a_lost_file_is_404(front: Front, tmp_path: Path) -> None:
    """A file that is gone, or is none, is a 404 that does not name it."""
    for path in (tmp_path / "secret-name.mp4", tmp_path):
        front.source = Source(path=path)
        status, _, body = await front.ask()
        assert (status, b"secret-name" in body) == (404, False)


async def test_a_file_that_shrinks_breaks_the_transfer(front: Front, tmp_path: Path) -> None:
    """A file that ends before its length breaks the transfer; nothing is made up."""
    file = tmp_path / "v.mp4"
    with file.open("wb") as sparse:
        sparse.truncate(32 * 2**20)
    front.source = Source(path=file)
    async with front.session.get(front.url) as response:
        await response.content.readexactly(1000)
        file.write_bytes(b"short")
        with pytest.raises(ClientPayloadError):
            await response.read()
