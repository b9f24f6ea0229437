"""Damaged, disguised and double files: each is refused with the field to blame, or comes out as the picture it is."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from proxy.errors import InvalidRequest
from proxy.inputs import Picture, PictureForm
from proxy.media import forms, pictures
from tests.media.looks import ALIKE, far, file_of, look, motif, opened
from tests.media.test_large_pngs import png

PARAM = "images"
IMAGE = motif(120, 80)
AGAIN = PictureForm(media_types=("image/jpeg", "image/png", "image/webp"), max_side=64)
PAGE = b"<html><script>alert(document.cookie)</script></html>"


def interlaced() -> bytes:
    """A PNG in seven passes, of one grey."""
    rows = [(-(-(40 - left) // across), -(-(30 - top) // down)) for left, top, across, down in pictures._PASSES]
    return png(40, 30, 8, 0, 1, b"".join((b"\0" + bytes([90]) * wide) * high for wide, high in rows))


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("evil.html", PAGE)
    return file.getvalue()


def animated(kind: str, frames: int) -> bytes:
    return file_of(IMAGE, kind, save_all=True, append_images=[IMAGE.rotate(90)] * (frames - 1), duration=50)


SOUND: dict[str, tuple[bytes, Image.Image]] = {
    "PNG": (file_of(IMAGE), IMAGE),
    "interlaced PNG": (interlaced(), Image.new("L", (40, 30), 90)),
    "palette PNG": (file_of(IMAGE.convert("P")), IMAGE),
    "transparent PNG": (file_of(motif(transparent=True)), motif(transparent=True)),
    "JPEG": (file_of(IMAGE, "JPEG"), IMAGE),
    "progressive JPEG": (file_of(IMAGE, "JPEG", progressive=True), IMAGE),
    "turned JPEG": (file_of(IMAGE, "JPEG", 6), IMAGE),
    "WebP": (file_of(IMAGE, "WEBP"), IMAGE),
    "lossless WebP": (file_of(IMAGE, "WEBP", lossless=True), IMAGE),
    "transparent WebP": (file_of(motif(transparent=True), "WEBP"), motif(transparent=True)),
    "APNG of one frame": (animated("PNG", 1), IMAGE),
}
DOUBLE: dict[str, bytes] = {
    "JPEG and ZIP": file_of(IMAGE, "JPEG") + archive(),
    "PNG and HTML": file_of(IMAGE) + PAGE,
    "PNG and ZIP": file_of(IMAGE) + archive(),
    "WebP and HTML": file_of(IMAGE, "WEBP") + PAGE,
    "HTML in the comment of a JPEG": file_of(IMAGE, "JPEG", comment=PAGE),
    "a PDF behind a JPEG": file_of(IMAGE, "JPEG") + b"%PDF-1.7\n%%EOF",
}
JPEG_HEAD = b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
BAD: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"\x89",
    "zeros": bytes(4096),
    "GIF": file_of(IMAGE, "GIF"),
    "animated GIF": animated("GIF", 3),
    "animated WebP": animated("WEBP", 3),
    "animated PNG": animated("PNG", 3),
    "AVIF": file_of(IMAGE, "AVIF"),
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200),
    "TIFF": file_of(IMAGE, "TIFF"),
    "big-endian TIFF": b"MM\x00*\x00\x00\x00\x08" + bytes(100),
    "BMP": file_of(IMAGE, "BMP"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "SVG with a declaration": b'\n<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF with a JPEG in it": b"%PDF-1.7\n" + file_of(IMAGE, "JPEG"),
    "ZIP in front of a JPEG": archive() + file_of(IMAGE, "JPEG"),
    "HTML in front of a PNG": PAGE + file_of(IMAGE),
    "GIF that is a script": b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)//",
    "JPEG of 65,535 a side": JPEG_HEAD + bytes(64),
    "JPEG of no side": b"\xff\xd8\xff\xc0\x00\x11\x08" + bytes(4) + JPEG_HEAD[11:] + bytes(64),
    "PNG of 2^31 a side": png(2**31 - 1, 2**31 - 1, 8, 2, 0, b""),
    "PNG of no side": png(0, 0, 8, 2, 0, b""),
    "PNG bomb of 1 bit": png(60_000, 60_000, 1, 0, 0, bytes(1000)),
    "PNG of an unknown colour": png(10, 10, 8, 5, 0, bytes(1000)),
    "PNG with rubbish for pixels": png(40, 30, 8, 2, 0, b"").replace(zlib.compress(b""), b"rubbish!"),
    "WebP of 16,384 a side": b"RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\x3f\x00\xff\x3f\x00",
    "WebP without a picture": b"RIFF\x04\x00\x00\x00WEBP",
    "WAV": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28),
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(50),
}


async def judged(data: bytes) -> Picture | None:
    """The picture, or None where it is refused as it should be."""
    try:
        return await pictures.inspect(data, param=PARAM)
    except InvalidRequest as error:
        refusal = error
    assert (refusal.param, refusal.status) == (PARAM, 400)
    assert PARAM in refusal.message
    assert refusal.message.isprintable()
    assert len(refusal.message) < 250
    return None


@pytest.mark.parametrize("name", SOUND)
async def test_cut_anywhere(name: str) -> None:
    """A file that ends early is refused, or it lacks nothing of its picture; it is whole where it is not cut."""
    data, image = SOUND[name]
    ends = {len(data) * part // 24 for part in range(24)} | {len(data) - less for less in (0, 1, 2, 3, 8, 12)}
    taken = []
    for end in sorted(ends):
        if (picture := await judged(data[:end])) is not None:
            made = await forms.formed(picture, AGAIN)
            assert far(look(opened(made.data)), look(image)) <= ALIKE, end
            taken.append(end)
    # A mark at the very end may be missing; a part of the pixels may not.
    assert len(data) in taken
    assert min(taken) >= len(data) - 12


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_picture_to_be_taken(name: str) -> None:
    """Other formats, animations, bombs, disguises and rubbish are refused, whatever they are called."""
    assert await judged(BAD[name]) is None


@pytest.mark.parametrize("name", DOUBLE)
async def test_what_is_two_things_goes_on_as_one(name: str) -> None:
    """A picture with something else in or behind it is that picture, and loses the rest where it is written again."""
    picture = await judged(DOUBLE[name])
    assert picture is not None
    assert await forms.formed(picture, PictureForm()) is picture
    made = await forms.formed(picture, AGAIN)
    assert far(look(opened(made.data)), look(IMAGE)) <= ALIKE
    for rest in (PAGE, b"PK\x03\x04", b"%PDF"):
        assert rest not in made.data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_one_wrong_byte(kind: str) -> None:
    """A byte changed anywhere is a refusal or a picture, never another error, and so in every form."""
    data = file_of(IMAGE, kind)
    for at in range(0, len(data), max(len(data) // 60, 1)):
        changed = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        picture = await judged(changed)
        if picture is not None:
            for form in (PictureForm(), AGAIN, replace(AGAIN, media_types=("image/png",), max_bytes=2_000)):
                with contextlib.suppress(InvalidRequest):
                    made = await forms.formed(picture, form, param=PARAM)
                    assert made is picture or opened(made.data).size == (made.width, made.height)
