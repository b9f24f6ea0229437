"""First and last frames, from every kind of source."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from proxy.errors import UnsupportedOperation, UpstreamError
from proxy.media.frames import first_frame, last_frame
from proxy.models import Source
from tests.media.videos import COLOURS, clip, sound
from tests.media.wire import Exchange, Front, RawUpstream

VIDEO = clip(frames=60)


def shows(png: bytes, colour: str) -> bool:
    image = Image.open(BytesIO(png))
    assert (image.format, image.size) == ("PNG", (64, 48))
    found = image.convert("RGB").getpixel((32, 24))
    return all(abs(a - b) < 40 for a, b in zip(found, ImageColor.getrgb(colour), strict=True))


@pytest.mark.parametrize("kind", ["url", "path", "data", "stream"])
async def test_first_and_last_frame_of_each_source(
    front: Front, upstream: RawUpstream, tmp_path: Path, kind: str
) -> None:
    """An address, a file, bytes and a stream give the same frames; no file is left in the folder."""

    async def whole(exchange: Exchange) -> None:
        await exchange.ranged(VIDEO)

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(VIDEO), 500):
            yield VIDEO[start : start + 500]

    upstream.script = whole
    (tmp_path / "v.mp4").write_bytes(VIDEO)
    source = {
        "url": Source(url=upstream.url),
        "path": Source(path=tmp_path / "v.mp4"),
        "data": Source(data=VIDEO),
        "stream": Source(stream=stream),
    }[kind]
    folder = tmp_path / "frames"
    assert shows(await first_frame(source, front.opener, folder=folder), COLOURS[0])
    assert shows(await last_frame(source, front.opener, folder=folder), COLOURS[-1])
    assert list(folder.rglob("*")) == []


async def test_a_cut_video_gives_no_frame(front: Front, upstream: RawUpstream, tmp_path: Path) -> None:
    """A download that breaks is an UpstreamError, and leaves neither a file nor an open one."""

    async def cut(exchange: Exchange) -> None:
        await exchange.head(Content_Length=len(VIDEO))
        await exchange.body(VIDEO[:-100])

    upstream.script = cut
    with pytest.raises(UpstreamError):
        await first_frame(Source(url=upstream.url), front.opener, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    if sys.platform == "linux":
        links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
        assert [link for link in links if link.is_relative_to(tmp_path)] == []


@pytest.mark.parametrize("data", [sound(), b"\x00\x00\x00\x18ftypisom" + bytes(5000)], ids=["sound", "rubbish"])
async def test_what_cannot_be_decoded_is_said(front: Front, tmp_path: Path, data: bytes) -> None:
    """A video without pictures or of rubbish is the client's error, not a failure of the upstream."""
    for work in (first_frame, last_frame):
        with pytest.raises(UnsupportedOperation, match="cannot be decoded"):
            await work(Source(data=data), front.opener, folder=tmp_path)


async def test_without_pyav_the_error_says_what_to_install(
    front: Front, upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is downloaded where no frame could be taken."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedOperation, match=r"pip install 'reelgate\[media\]'"):
        await first_frame(Source(url=upstream.url), front.opener, folder=tmp_path)
    assert upstream.exchanges == []


async def test_a_large_video_takes_no_memory(front: Front, tmp_path: Path) -> None:
    """Of a video of 200 MB no more than a few are in memory."""
    import tracemalloc

    start = VIDEO + (200 * 10**6).to_bytes(4, "big") + b"free"
    rest = 200 * 10**6 - 8

    async def stream() -> AsyncIterator[bytes]:
        yield start
        for _ in range(rest // 10**5):
            yield bytes(10**5)
        yield bytes(rest % 10**5)

    tracemalloc.start()
    try:
        assert shows(await first_frame(Source(stream=stream), front.opener, folder=tmp_path), COLOURS[0])
        assert tracemalloc.get_traced_memory()[1] < 10 * 10**6
    finally:
        tracemalloc.stop()
