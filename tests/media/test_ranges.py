"""Ranges as pure functions: against a slice of bytes, and against aiohttp's own FileResponse."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import RangeNotSatisfiable
from proxy.media.ranges import (
    Claim,
    Part,
    Span,
    Suffix,
    claimed,
    not_modified,
    parse,
    precondition_failed,
    resolve,
    unchanged,
)
from proxy.models import Source
from proxy.spooled import Spooled
from tests.media.wire import Exchange, Front, RawUpstream

ETAG = '"abc"'
MODIFIED = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
LATER = "Tue, 14 Nov 2023 22:13:21 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        ("bytes=0-4", Span(0, 4)),
        ("BYTES=7-", Span(7, None)),
        ("bytes=-3", Suffix(3)),
        ("bytes=-0", Suffix(0)),
        ("bytes= 1-2 ", Span(1, 2)),
        ("bytes=,1-2,", Span(1, 2)),
        ("bytes=00000000000000000000000000005-6", Span(5, 6)),
        (f"bytes=0-{'9' * 6000}", Span(0, 10**18)),
    ],
)
def test_one_range_is_parsed(header: str, wish: Span | Suffix) -> None:
    """Open, closed and suffix ranges are read, numbers of any length too."""
    assert parse([header]) == wish


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=1-2,4-5", "items=0-1", "bytes=+1-2", "bytes=1",
     "bytes=0-1-2", "bytes=٣-٤", "bytes:0-1", "0-1", "bytes=--1"],
)  # fmt: skip
def test_what_is_no_single_range_is_ignored(header: str) -> None:
    """Malformed headers, other units and several ranges are ignored, so that the whole is sent."""
    assert parse([header]) is None


def test_two_range_lines_are_several_ranges() -> None:
    """Two header lines are one list."""
    assert parse(["bytes=0-1", "bytes=2-3"]) is None


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=300)
def test_parse_never_fails(header: str) -> None:
    """No header raises."""
    parse([header, "bytes=" + header])


@given(st.integers(0, 60), st.none() | st.integers(0, 60), st.integers(0, 50))
@settings(deadline=None, max_examples=300)
def test_a_span_is_the_slice_of_bytes(first: int, last: int | None, size: int) -> None:
    """The part of a span is what a slice gives, and there is none exactly where that is empty."""
    wish = parse([f"bytes={first}-{'' if last is None else last}"])
    if last is not None and last < first:
        assert wish is None
        return
    assert wish is not None
    expected = range(size)[first : None if last is None else last + 1]
    if not expected:
        with pytest.raises(RangeNotSatisfiable) as caught:
            resolve(wish, size)
        assert caught.value.size == size
    else:
        part = resolve(wish, size)
        assert range(part.first, part.last + 1) == expected
        assert (part.length, part.size) == (len(expected), size)


@given(st.integers(0, 60), st.integers(0, 50))
@settings(deadline=None, max_examples=200)
def test_a_suffix_is_the_end_of_the_bytes(length: int, size: int) -> None:
    """A suffix longer than the content is the whole; one of nothing, or of an empty content, cannot be satisfied."""
    expected = range(size)[max(size - length, 0) :] if length else range(0)
    if not expected:
        with pytest.raises(RangeNotSatisfiable):
            resolve(Suffix(length), size)
    else:
        part = resolve(Suffix(length), size)
        assert range(part.first, part.last + 1) == expected


def test_content_range_of_an_upstream() -> None:
    """The forms of RFC 9110, 14.4, and None for what is not one."""
    assert claimed("bytes 0-4/10") == Claim(0, 4, 10)
    assert claimed("bytes 0-4/*") == Claim(0, 4, None)
    assert claimed("bytes */10") == Claim(None, None, 10)
    for wrong in ("", "0-4/10", "bytes 0-4", "bytes -4/10", "items 0-4/10", "bytes 0-4/ten"):
        assert claimed(wrong) is None
    assert Part(0, 4, 10).content_range == "bytes 0-4/10"


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (None, True),
        (ETAG, True),
        (DATE, True),
        (f"W/{ETAG}", False),
        ('"other"', False),
        (EARLIER, False),
        (LATER, False),
        ("abc", False),
        ("*", False),
    ],
)
def test_if_range_needs_the_very_validator(value: str | None, counts: bool) -> None:
    """A range counts only with our strong tag or our very date."""
    assert unchanged(value, etag=ETAG, modified=MODIFIED) is counts


def test_preconditions_follow_their_precedence() -> None:
    """If-Match hides If-Unmodified-Since; If-None-Match, which compares weakly, hides If-Modified-Since."""
    known: dict[str, Any] = {"etag": ETAG, "modified": MODIFIED}
    assert not precondition_failed(None, None, **known)
    assert not precondition_failed('"x", "abc"', EARLIER, **known)
    assert not precondition_failed("*", None, **known)
    assert precondition_failed(f"W/{ETAG}", None, **known)
    assert precondition_failed(None, EARLIER, **known)
    assert not precondition_failed(None, DATE, **known)
    assert not precondition_failed(None, "yesterday", **known)
    assert not not_modified(None, None, **known)
    assert not_modified(f'"x", W/{ETAG}', None, **known)
    assert not_modified("*", None, **known)
    assert not not_modified('"x"', LATER, **known)
    assert not_modified(None, DATE, **known)
    assert not not_modified(None, EARLIER, **known)
    assert not not_modified(None, "Foo, 99 Bar 2023 99:99:99 GMT", **known)


def generated(count: int, size: int) -> list[str]:
    """Range headers of all kinds around the ends of `size` bytes."""
    dice = random.Random(20261122)

    def number() -> str:
        near = dice.choice((0, 1, size // 2, size - 1, size, size + 1, 10 * size, 10**25))
        return str(max(near + dice.randint(-3, 3), 0)) if dice.random() < 0.7 else str(dice.randint(0, size))

    headers: list[str] = []
    while len(headers) < count:
        first, last = number(), number()
        kinds = [f"{first}-{last}", f"{first}-", f"-{last}", f"{first}-{last},{last}-", f"{last}", f"{first}--{last}"]
        kind = dice.choices(kinds, (8, 4, 4, 1, 0.5, 0.5))[0]
        headers.append(dice.choice(("bytes", "bytes", "bytes", "Bytes")) + "=" + kind)
    return headers


async def test_a_thousand_ranges_as_file_response_answers_them(
    front: Front, upstream: RawUpstream, tmp_path: Path
) -> None:
    """Status, Content-Range, Content-Length and body are FileResponse's: from a file, one that was put aside, an
    upstream with ranges, one that ignores them, one without lengths, and a source that reads parts.

    Ours follows RFC 9110 where FileResponse does not: it answers 416 to what is malformed or lists several ranges
    (14.2: a server may ignore such a header, and the whole serves every client), and takes `-0` for the whole
    (14.1.2: a suffix of no bytes cannot be satisfied).
    """
    data = bytes(range(256)) * 3
    data = b"\x00\x00\x00\x18ftypisom" + data
    file = tmp_path / "video.mp4"
    file.write_bytes(data)

    async def theirs(request: web.Request) -> web.FileResponse:
        return web.FileResponse(file)

    async def ranges(exchange: Exchange) -> None:
        await exchange.ranged(data)

    async def ignores(exchange: Exchange) -> None:
        await exchange.head(Content_Length=len(data))
        await exchange.body(data)

    async def lengthless(exchange: Exchange) -> None:
        await exchange.head(Transfer_Encoding="chunked")
        await exchange.chunk(data[:300])
        await exchange.chunk(data[300:])
        await exchange.body(b"0\r\n\r\n")

    async def read(first: int, length: int) -> AsyncIterator[bytes]:
        yield data[first : first + length]

    kinds = [ranges, ignores, lengthless, None]
    shutil.copy(file, tmp_path / "aside")
    aside = Spooled(tmp_path / "aside", len(data))
    app = web.Application()
    app.router.add_get("/", theirs)
    server = TestServer(app, access_log=None)
    await server.start_server()
    try:
        for turn, header in enumerate(generated(1000, len(data))):
            async with front.session.get(server.make_url("/"), headers={"Range": header}) as response:
                names = ("Content-Range", "Content-Length")
                expected = [response.status, *(response.headers.get(name) for name in names), await response.read()]
            plain = re.fullmatch(r"bytes=(\d*)-(\d*)", header, re.IGNORECASE)
            if plain is None or (plain[1] and plain[2] and int(plain[1]) > int(plain[2])):
                assert expected[0] == 416
                expected = [200, None, str(len(data)), data]
            elif re.fullmatch("bytes=-0+", header, re.IGNORECASE):
                expected = [416, f"bytes */{len(data)}", None, b""]
            upstream.script = kinds[turn % 4]
            here = Source(path=file) if turn % 3 else Source(spooled=aside)
            away = Source(url=upstream.url) if upstream.script else Source(read=read, size=len(data))
            for source in (here, away):
                front.source = source
                status, headers, body = await front.ask(Range=header)
                if status == 416:
                    assert [416, headers["content-range"]] == expected[:2], header
                    continue
                length = headers.get("content-length", expected[2])
                found = [status, headers.get("content-range"), length, body]
                if upstream.script is lengthless and header.lower() == "bytes=0-" and source.url:
                    assert found == [200, None, expected[2], data]
                else:
                    assert found == expected, header
    finally:
        await server.close()
