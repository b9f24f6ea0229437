"""Files that no upstream should get for a picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image

MIB: Final = 2**20


def png(width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file by hand, `data` being the compressed pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    inner = b"".join(chunk(*one) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + inner + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, kind, **more)
    return file.getvalue()


def pictures() -> Iterator[tuple[str, bytes]]:
    """Files that are no pictures to be taken: none at all, of other formats, broken, too large, bombs."""
    good = saved("PNG")
    zeros = zlib.compress(bytes(3 * 8000 * 7900))
    yield "nothing but text", b"this is not a picture, although it is long enough to be one in base64"
    yield "HTML", b"<html><body>" + b"x" * 100
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>' + b" " * 50
    for kind in ("GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000", "AVIF"):
        try:
            yield kind, saved(kind)
        except (KeyError, OSError):
            continue
    yield "a truncated PNG", good[: len(good) // 2]
    yield "a truncated JPEG", saved("JPEG")[:300]
    yield "a truncated WebP", saved("WEBP")[:100]
    yield "a PNG of nothing", b"\x89PNG\r\n\x1a\n"
    yield "a PNG of 30,000 a side", png(30_000, 30_000, zlib.compress(bytes(10_000)))
    yield "a PNG of 2^31 a side", png(2**31 - 1, 2**31 - 1, b"")
    yield "a PNG of zero a side", png(0, 0, b"")
    yield "a large PNG whose pixels end early", png(8000, 7900, zeros[: len(zeros) // 2])
    yield "a large PNG whose pixels end at once", png(8000, 7900, zeros[:100])
    yield "a PNG with text that inflates", png(64, 64, b"", (b"zTXt", b"k\0\0" + zlib.compress(bytes(200 * MIB), 9)))
    yield (
        "a PNG with a profile that inflates",
        png(64, 64, b"", (b"iCCP", b"k\0\0" + zlib.compress(bytes(200 * MIB), 9))),
    )
    frames = [Image.new("RGB", (64, 64), (n, n, n)) for n in range(50)]
    for kind in ("GIF", "WEBP", "PNG"):
        yield f"an animation in {kind}", saved_frames(frames, kind)
    yield (
        "a JPEG of 65,535 a side",
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01" + b"\0" * 64),
    )


def saved_frames(frames: list[Image.Image], kind: str) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()
