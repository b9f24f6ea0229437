"""Input pictures: told by their bytes, decoded once, turned upright, cut or padded to a size.

Pillow works in one thread of its own: one picture is in memory at a time, and the event loop stays free.
"""

from __future__ import annotations

import asyncio
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import Any, Final, Literal, TypeVar

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from proxy.errors import InvalidRequest
from proxy.inputs import Picture
from proxy.media import pieces

MAX_PIXELS: Final = 64_000_000
_LARGE_PNG: Final = 8_000_000
"""Pixels from which on decoding a PNG takes more memory than a look at it may cost."""
_PIECE: Final = 2**18
_PORTION: Final = 2**16
_STRIP: Final = 2_000_000
"""Pixels of a large picture that are converted at once."""
_LAST_FILTER: Final = 4
QUALITY: Final = 95
"""Of a JPEG or WebP that is written again, where nothing forces a lower one."""

Fit = Literal["cover", "contain", "exact"]
_T = TypeVar("_T")

_WORKER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")

# The classes are used as they are: Image.open() would try every format, and print a warning for a large picture.
_READERS: Final[dict[str, Callable[[BytesIO], ImageFile]]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}
_WANTED: Final = "send a JPEG, PNG or WebP"

# Adam7: first column, first row, and the steps between columns and rows.
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# EXIF 2.32, tag 0x0112: how to turn what is stored so that it stands upright.
_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = (5, 6, 7, 8)


async def inspect(data: bytes, *, param: str = "input_reference", max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture that `data` is, decoded once to be sure; `width` and `height` are those of the upright picture.

    Raises an `InvalidRequest` that blames `param` and says what `data` is instead: another format, animated, too
    large (told by its header, before anything is decoded), truncated.
    """
    return await in_worker(_inspect, data, param, max_pixels)


async def fit(
    picture: Picture, width: int, height: int, mode: Fit = "cover", *, param: str = "input_reference"
) -> Picture:
    """`picture` upright and exactly `width` by `height`, in its own format; itself where nothing has to change.

    `cover` cuts off what sticks out, `contain` adds black bars, `exact` refuses another size (`InvalidRequest`).
    """
    if mode == "exact" and (picture.width, picture.height) != (width, height):
        # The sentence is OpenAI's own: openai-videos.md, section 2.
        raise InvalidRequest(
            "Inpaint image must match the requested width and height "
            f"(it is {picture.width}x{picture.height}, not {width}x{height}).",
            param=param,
        )
    return await in_worker(_fit, picture, width, height, mode, param)


async def in_worker(work: Callable[..., _T], *arguments: Any) -> _T:
    """What `work` answers, which is called in the one thread that works on pictures."""
    return await asyncio.get_running_loop().run_in_executor(_WORKER, _quietly, work, *arguments)


def _quietly(work: Callable[..., _T], *arguments: Any) -> _T:
    # Pillow warns of odd metadata on stderr. The filters are the process's, which is one more reason for one thread.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work(*arguments)


# ---------------------------------------------------------------- by bytes


def media_type(head: bytes) -> str | None:
    """The media type of a picture that can be taken, by its first 12 bytes; else None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None


_OTHERS: Final = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\x00", "a TIFF"),
    (0, b"MM\x00*", "a TIFF"),
    (0, b"\x00\x00\x01\x00", "an ICO"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (0, b"8BPS", "a PSD"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a ZIP"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftyphei", "a HEIC"),
    (4, b"ftyphev", "a HEIC"),
    (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypmsf1", "a HEIC"),
    (4, b"ftyp", "a video"),
)


def _otherwise(head: bytes) -> str:
    for offset, magic, name in _OTHERS:
        if head.startswith(magic, offset):
            return name
    text = head.lstrip().lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "an SVG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if text.startswith((b"{", b"[")):
        return "JSON"
    return "not a picture"


# ---------------------------------------------------------------- in the worker


def _inspect(data: bytes, param: str, max_pixels: int) -> Picture:
    if not data:
        raise InvalidRequest(f"The picture in {param} is empty; {_WANTED}.", param=param)
    kind = media_type(data[:12])
    if kind is None:
        raise InvalidRequest(f"The picture in {param} is {_otherwise(data[:512])}; {_WANTED}.", param=param)
    try:
        width, height = _header(kind, data, param, max_pixels)
        # Checksums, and with them a cut PNG, without memory for the pixels.
        _READERS[kind](BytesIO(data)).verify()
        if kind == "image/png" and width * height > _LARGE_PNG:
            _check_pixels(data)
        else:
            image = _READERS[kind](BytesIO(data))
            # An eighth of each side: libjpeg reads the whole file all the same, with a 64th of the memory.
            image.draft(None, (1, 1))
            image.load()
    except InvalidRequest:
        raise
    except Exception as error:
        raise damaged(param, error) from error
    return Picture(data, kind, width, height)


def _header(kind: str, data: bytes, param: str, max_pixels: int) -> tuple[int, int]:
    if kind == "image/png":
        pieces.check_png(data)
    elif kind == "image/jpeg" and pieces.check_jpeg(data):
        # Twelve bytes for each pixel, up to three times what others take.
        max_pixels //= 2
    image = _READERS[kind](BytesIO(data))
    width, height = image.size
    if kind == "image/webp":
        # Its decoder takes 16 bytes for each pixel, four times what the others take.
        max_pixels //= 4
    if width * height > max_pixels:
        raise InvalidRequest(
            f"The picture in {param} has {width}x{height} pixels; at most {max_pixels // 1_000_000} million are taken.",
            param=param,
        )
    if getattr(image, "is_animated", False):
        raise InvalidRequest(f"The picture in {param} is animated; send a still one.", param=param)
    return (height, width) if _turned(image, data) in _SIDEWAYS else (width, height)


def _check_pixels(data: bytes) -> None:
    """Raise where the pixels of a PNG end early or cannot be decoded, without memory for them: its chunks may be whole
    all the same.

    PNG specification, 11.2.1 (header), 8.1 (passes), 9 (each row begins with a byte for its filter), 5.6 (the chunks of
    pixels follow one another).
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows: list[tuple[int, int]] = []
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        wide, high = -(-(width - left) // across), -(-(height - top) // down)
        if wide > 0 and high > 0:
            length = 1 + -(-wide * bits // 8)
            rows.append((high * length, length))
    pixels = _pixels(data)
    piece = b""
    for expected, length in rows:
        done = 0
        while done < expected:
            piece = piece or next(pixels, b"")
            if not piece:
                raise ValueError("its pixels end early")
            taken = piece[: expected - done]
            # The first byte of each row that begins in this piece.
            if max(taken[-done % length :: length], default=0) > _LAST_FILTER:
                raise ValueError("its pixels have an unknown filter")
            done += len(taken)
            piece = piece[len(taken) :]


def _pixels(data: bytes) -> Iterator[bytes]:
    """The inflated pixels of a PNG, piece by piece."""
    inflate = zlib.decompressobj()
    at, begun = 8, False
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            begun = True
            # In small portions: what is left of one is copied for each piece that comes out.
            for start in range(at + 8, at + 8 + length, _PORTION):
                packed = data[start : min(start + _PORTION, at + 8 + length)]
                while packed:
                    if piece := inflate.decompress(packed, _PIECE):
                        yield piece
                    packed = inflate.unconsumed_tail
        elif begun or kind == b"IEND":
            return
        at += 12 + length


def damaged(param: str, error: Exception) -> InvalidRequest:
    """The error for a picture that Pillow cannot work on."""
    # Of what ends too early a decoder tells what that means to its own buffers.
    why = str(error)[:100] if isinstance(error, ValueError) else "it is damaged or cut off"
    return InvalidRequest(f"The picture in {param} cannot be decoded ({why}); {_WANTED}.", param=param)


def _turned(image: ImageFile, data: bytes) -> int:
    # Pillow would decode a whole PNG to look for metadata behind the pixels.
    if isinstance(image, PngImageFile) and b"eXIf" not in data:
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return 1
    return orientation if orientation in _TURNS else 1


def _fit(picture: Picture, width: int, height: int, mode: Fit, param: str) -> Picture:
    if (picture.width, picture.height) == (width, height) and is_upright(picture):
        return picture
    try:
        sides = picture.width, picture.height
        image, profile = decoded(picture, (width, height) if mode == "cover" else _inside(sides, width, height))
        if image.size != (width, height):
            image = _cover(image, width, height) if mode == "cover" else _contain(image, width, height)
        data = encoded(image, picture.media_type, profile=profile)
    except Exception as error:
        raise damaged(param, error) from error
    return replace(picture, data=data, width=width, height=height, url=None)


def is_upright(picture: Picture) -> bool:
    """Whether its EXIF leaves an inspected picture as it is. For the worker."""
    return _turned(_READERS[picture.media_type](BytesIO(picture.data)), picture.data) == 1


def decoded(picture: Picture, least: tuple[int, int]) -> tuple[Image.Image, bytes | None]:
    """An inspected picture upright, in 8 bits of grey or colour with its transparency; and its colour profile, where
    that still holds. It may be smaller than it is, but not than `least`. For the worker; raises anything."""
    image = _READERS[picture.media_type](BytesIO(picture.data))
    turned = _turned(image, picture.data)
    width, height = reversed(least) if turned in _SIDEWAYS else least
    image.draft(None, (width, height))
    image.load()
    profile = image.info.get("icc_profile")
    plain, same_colours = _plain(image, min(image.width // width, image.height // height))
    if turned in _TURNS:
        plain = plain.transpose(_TURNS[turned])
    return plain, profile if same_colours else None


def encoded(image: Image.Image, media_type: str, *, quality: int = QUALITY, profile: bytes | None = None) -> bytes:
    """A picture file with nothing in it but the pixels and their colour profile. For the worker; raises anything."""
    # Else comments, and a colour profile that no longer holds, would be written again.
    image.info = {}
    if media_type == "image/webp" and image.mode == "L":
        # It has no grey, so that the profile would be wrong.
        profile = None
    file = BytesIO()
    image.save(file, media_type.removeprefix("image/").upper(), quality=quality, icc_profile=profile)
    return file.getvalue()


def _plain(image: Image.Image, factor: int) -> tuple[Image.Image, bool]:
    """`image` in 8 bits of grey or colour, with its transparency, and its sides divided by `factor`; and whether its
    colour profile still holds."""
    if factor < 2:
        return _simple(image)
    # In strips, because each step makes a copy, which may take 256 MB of a whole picture.
    step = factor * max(_STRIP // (factor * image.width), 1)
    mode, same_colours = "", False
    strips = []
    for top in range(0, image.height, step):
        strip, same_colours = _simple(image.crop((0, top, image.width, min(top + step, image.height))))
        strips.append(strip.reduce(factor))
        mode = strip.mode
    small = Image.new(mode, (strips[0].width, sum(strip.height for strip in strips)))
    for place, strip in enumerate(strips):
        small.paste(strip, (0, place * step // factor))
    return small, same_colours


def _simple(image: Image.Image) -> tuple[Image.Image, bool]:
    if image.mode in ("L", "RGB", "RGBA"):
        return image, True
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits instead of scaling them.
        return image.convert("I").point(lambda value: value / 256).convert("L"), False
    if image.mode in ("P", "PA", "LA", "La") or "transparency" in image.info:
        return image.convert("RGBA"), image.mode != "LA"
    return image.convert("L" if image.mode == "1" else "RGB"), False


def _cover(image: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    # What is cut off first is not converted.
    wide, high = math.ceil(left + width * scale), math.ceil(top + height * scale)
    kept = image.crop((int(left), int(top), min(wide, image.width), min(high, image.height)))
    left, top = left - int(left), top - int(top)
    box = (left, top, min(left + width * scale, kept.width), min(top + height * scale, kept.height))
    return kept.resize((width, height), Image.Resampling.LANCZOS, box=box)


def _contain(image: Image.Image, width: int, height: int) -> Image.Image:
    size = _inside(image.size, width, height)
    canvas = Image.new(image.mode, (width, height), "black")
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas


def _inside(sides: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    scale = min(width / sides[0], height / sides[1])
    return max(round(sides[0] * scale), 1), max(round(sides[1] * scale), 1)
