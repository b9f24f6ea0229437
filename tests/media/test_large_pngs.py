"""Large PNGs are held against their header before they are decoded: as Pillow judges them, without its memory."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

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


@pytest.mark.parametrize("interlaced", [0, 1])
def test_filters_are_judged_as_pillow_does(interlaced: int) -> None:
    """One byte of the pixels changed: whatever Pillow refuses for it is refused, and nothing else."""
    chance = random.Random(7)
    for depth, colour in FORMS:
        start = png(19, 13, depth, colour, interlaced, bytes(20_000))
        assert we_take(start)
        for _ in range(60):
            pixels = bytearray(3_000)
            pixels[chance.randrange(1_500)] = chance.choice([1, 2, 3, 4, 5, 200])
            data = png(19, 13, depth, colour, interlaced, bytes(pixels))
            assert we_take(data) is pillow_takes(data)


def test_pixels_in_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the pieces of the pixels are cut makes no difference."""
    pixels = bytearray((1 + 40 * 3) * 30)
    whole = png(40, 30, 8, 2, 0, bytes(pixels))
    pixels[121 * 7] = 9
    broken = png(40, 30, 8, 2, 0, bytes(pixels))
    for size in (1, 7, 121, 122, 1000):
        monkeypatch.setattr(pictures, "_PIECE", size)
        assert we_take(whole)
        assert not we_take(broken)


def test_pixels_are_in_one_place() -> None:
    """Pixels that go on behind another chunk are none, as for Pillow."""
    data = png(40, 30, 8, 2, 0, bytes((1 + 40 * 3) * 30))
    at = data.index(b"IDAT", data.index(b"IDAT") + 4) - 4
    between = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    split = data[:at] + between + data[at:]
    assert we_take(data)
    assert not we_take(split)
    assert not pillow_takes(split)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_whole_one_is_not_decoded_to_be_taken() -> None:
    """Looking at a whole PNG of 64 million pixels takes a tenth of the memory of its pixels."""
    code = """
import asyncio
from proxy.media import pictures
from tests.media.test_large_pngs import png
import zlib

def resident(word):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(word)) // 1024

def packed(pixels):
    deflate = zlib.compressobj(1)
    return b"".join(deflate.compress(pixels) for row in range(8000)) + deflate.flush()

zlib.compress = packed
data = png(8000, 8000, 8, 2, 0, bytes(1 + 8000 * 3))
before = resident("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
found = asyncio.run(pictures.inspect(data))
assert (found.width, found.height) == (8000, 8000)
print(resident("VmHWM") - before)
"""
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert int(result.stdout) < 24
