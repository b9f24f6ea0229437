"""First and last frames, from every kind of source, and what is a video at all."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from proxy.errors import InvalidRequest, UnsupportedOperation, UpstreamError
from proxy.media import stills
from proxy.media.frames import frame, on_disk, probe
from proxy.models import Source
from proxy.spooled import Spooled
from tests.media.videos import COLOURS, clip, sound
from tests.media.wire import Exchange, Front, RawUpstream

VIDEO = clip(frames=60)


def shows(png: bytes, colour: str) -> bool:
    image = Image.open(BytesIO(png))
    assert (image.format, image.size) == ("PNG", (64, 48))
    found = image.convert("RGB").getpixel((32, 24))
    assert isinstance(found, tuple)
    return all(abs(a - b) < 40 for a, b in zip(found, ImageColor.getrgb(colour), strict=True))


async def pieces(first: int = 0, size: int = len(VIDEO)) -> AsyncIterator[bytes]:
    for start in range(first, first + size, 500):
        yield VIDEO[start : min(start + 500, first + size)]


@pytest.mark.parametrize("kind", ["url", "path", "data", "spooled", "stream", "read"])
async def test_every_source_is_a_file(front: Front, upstream: RawUpstream, tmp_path: Path, kind: str) -> None:
    """An address, a file, bytes and streams all become a file; one that is on our disk stays where it is, and nothing
    is left of the others."""

    async def whole(exchange: Exchange) -> None:
        await exchange.ranged(VIDEO)

    upstream.script = whole
    path = tmp_path / "v.mp4"
    path.write_bytes(VIDEO)
    source = {
        "url": lambda: Source(url=upstream.url),
        "path": lambda: Source(path=path),
        "data": lambda: Source(data=VIDEO),
        "spooled": lambda: Source(spooled=Spooled(path, len(VIDEO))),
        "stream": lambda: Source(stream=pieces),
        "read": lambda: Source(read=pieces, size=len(VIDEO)),
    }[kind]()
    folder = tmp_path / "frames"
    async with on_disk(source, front.opener, folder=folder) as file:
        assert (file == path) == (kind in ("path", "spooled"))
        # As another process reads it.
        with open(file if isinstance(file, Path) else f"/proc/self/fd/{file.fileno()}", "rb") as again:
            assert again.read() == VIDEO
    assert list(folder.rglob("*")) == []
    assert isinstance(file, Path) or file.closed


async def test_first_and_last_frame(front: Front, tmp_path: Path) -> None:
    """A video that has to be copied first shows its first and its last picture."""
    source = Source(stream=pieces)
    assert shows(await frame(source, front.opener, folder=tmp_path, last=False), COLOURS[0])
    assert shows(await frame(source, front.opener, folder=tmp_path, last=True), COLOURS[-1])
    assert list(tmp_path.iterdir()) == []


async def test_a_cut_video_gives_no_frame(front: Front, upstream: RawUpstream, tmp_path: Path) -> None:
    """A download that breaks is an UpstreamError, and leaves neither a file nor an open one."""

    async def cut(exchange: Exchange) -> None:
        await exchange.head(Content_Length=len(VIDEO))
        await exchange.body(VIDEO[:-100])

    upstream.script = cut
    with pytest.raises(UpstreamError):
        await frame(Source(url=upstream.url), front.opener, folder=tmp_path, last=False)
    assert list(tmp_path.iterdir()) == []
    if sys.platform == "linux":
        links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
        assert [link for link in links if link.is_relative_to(tmp_path)] == []


async def test_what_cannot_be_decoded_is_said(front: Front, tmp_path: Path) -> None:
    """A video without pictures is the client's error, not a failure of the upstream."""
    with pytest.raises(UnsupportedOperation, match="cannot be decoded, so that no frame"):
        await frame(Source(data=sound()), front.opener, folder=tmp_path, last=True)


async def test_without_pyav_the_error_says_what_to_install(
    front: Front, upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is downloaded where no frame could be taken."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedOperation, match=r"pip install 'reelgate\[media\]'"):
        await frame(Source(url=upstream.url), front.opener, folder=tmp_path, last=False)
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
        assert shows(await frame(Source(stream=stream), front.opener, folder=tmp_path, last=True), COLOURS[-1])
        assert tracemalloc.get_traced_memory()[1] < 10 * 10**6
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- what is a video


async def test_an_uploaded_video_is_measured(tmp_path: Path) -> None:
    """A video tells its type, its size and its length, a broken one is refused with the name of its field."""
    path = tmp_path / "upload"
    path.write_bytes(clip("webm", frames=5))
    assert await probe(path, "video") == ("video/webm", 64, 48, 0.5)
    path.write_bytes(VIDEO[:40] + bytes(1000))
    with pytest.raises(InvalidRequest, match="The video in clip cannot be decoded") as error:
        await probe(path, "clip")
    assert error.value.param == "clip"


@pytest.mark.parametrize(
    "head", [b"", b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x18ftypheic", b"\x1a\x45\xdf\xa3\x42\x82dat"]
)
async def test_no_process_for_what_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """What does not begin as a video does is refused without being decoded."""
    monkeypatch.setattr(stills, "command", lambda: pytest.fail("a process was started"))
    path = tmp_path / "upload"
    path.write_bytes(head + bytes(100))
    with pytest.raises(InvalidRequest, match="The file in video is not a video; send an MP4, MOV or WebM"):
        await probe(path, "video")


async def test_without_pyav_a_video_is_taken_unmeasured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads work without PyAV: only their first bytes are looked at."""
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "upload"
    path.write_bytes(VIDEO)
    assert await probe(path, "video") == ("video/mp4", 0, 0, None)
