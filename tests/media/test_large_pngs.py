"""Large PNGs are held against their header before they are decoded: as Pillow judges them, without its memory."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from proxy.errors import InvalidRequest
from proxy.media import pictures

FORMS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]


def png(width: int, height: int, depth: int, colour: int, interlaced: int, pixels: bytes) -> bytes:
    """A PNG file by hand; its pixels in two chunks."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    packed = zlib.compress(pixels)
    halves = chunk(b"IDAT", packed[:5]) + chunk(b"IDAT", packed[5:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + halves + chunk(b"IEND", b"")


def pillow_takes(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).load()
    except (OSError, SyntaxError):
        return False
    return True


def we_take(data: bytes) -> bool:
    try:
        pictures._check_pixels(data)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("depth", "colour"), FORMS)
def test_the_length_that_pillow_wants(depth: int, colour: int, interlaced: int) -> None:
    """For every form and small size, the shortest pixels that Pillow takes are the shortest that the check takes."""
    for width, height in ((1, 1), (3, 2), (5, 9), (8, 8), (17, 4)):
        taken = [
            length
            for length in range((width + 8) * (height + 8) * 8)
            if we_take(png(width, height, depth, colour, interlaced, bytes(length)))
        ]
        shortest = taken[0]
        assert pillow_takes(png(width, height, depth, colour, interlaced, bytes(shortest))), (width, height)
        assert not pillow_takes(png(width, height, depth, colour, interlaced, bytes(shortest - 1))), (width, height)


async def test_large_ones() -> None:
    """A large PNG that is whole is taken, one whose pixels end early is refused as damaged."""
    whole = bytes((1 + 3000) * 3000)
    found = await pictures.inspect(png(3000, 3000, 8, 0, 0, whole))
    assert (found.width, found.height) == (3000, 3000)
    for pixels in (whole[:-1], whole[: len(whole) // 2], b""):
        with pytest.raises(InvalidRequest, match="cannot be decoded"):
            await pictures.inspect(png(3000, 3000, 8, 0, 0, pixels))
