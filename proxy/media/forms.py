"""Input pictures in the form that an upstream takes: no byte is changed of one that has it already."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from PIL import Image

from proxy.errors import InvalidRequest
from proxy.inputs import PICTURE_TYPES, Picture, PictureForm
from proxy.media import pictures

_QUALITIES: Final = (90, 80, 70, 55, 40)
"""Of a JPEG or WebP that has to become smaller, tried before its sides are cut down."""
_STEPS: Final = (0.25, 0.9)
"""By how much its sides are cut down at once, at most and at least."""
_LARGEST: Final = {"image/jpeg": 65_500, "image/png": 2**31 - 1, "image/webp": 16_383}
"""The longest side that can be written, by the media types that can be written."""
_MOST_PIXELS: Final = 16_000_000
"""Pixels beyond which no picture is enlarged, and to which one is made smaller that has to be written again."""
_MOST_PIXELS_SLOW: Final = 8_300_000
"""The same of a WebP, which takes its encoder ten times as long and 32 bytes for each: those of a 4K video."""


async def formed(picture: Picture, form: PictureForm, *, param: str = "input_reference") -> Picture:
    """`picture`, which was inspected, upright and as `form` wants it; itself where nothing has to change.

    The same picture and form give the same bytes. What was changed has no `url`. Raises an `InvalidRequest` that
    blames `param` and names the limit where it cannot be done.
    """
    return await pictures.in_worker(_formed, picture, form, param)


def _formed(picture: Picture, form: PictureForm, param: str) -> Picture:
    media_type = _media_type(picture, form)
    size = _size(picture, form, media_type, param)
    is_light = form.max_bytes is None or len(picture.data) <= form.max_bytes
    same = media_type == picture.media_type and size == (picture.width, picture.height)
    if same and is_light and pictures.is_upright(picture):
        return picture
    size = _bounded(size, media_type, form)
    try:
        image, profile = pictures.decoded(picture, size)
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        found = _lightest(image, profile, media_type, form)
    except Exception as error:
        raise pictures.damaged(param, error) from error
    if found is None:
        raise InvalidRequest(
            f"The picture in {param} cannot be brought below {form.max_bytes} bytes, which is all that the channel "
            "takes; send a smaller one.",
            param=param,
        )
    data, media_type, size = found
    return replace(picture, data=data, media_type=media_type, width=size[0], height=size[1], url=None)


def _media_type(picture: Picture, form: PictureForm) -> str:
    if picture.media_type in form.media_types:
        return picture.media_type
    return next(media_type for media_type in form.media_types if media_type in PICTURE_TYPES)


def _size(picture: Picture, form: PictureForm, media_type: str, param: str) -> tuple[int, int]:
    """Width and height between the bounds, in the shape that the picture has."""
    sides = picture.width, picture.height
    least = form.min_side or 1
    most = form.max_side or _LARGEST["image/png"]
    if media_type != picture.media_type:
        most = min(most, _LARGEST[media_type])
    scale = 1.0
    if max(sides) > most:
        scale = most / max(sides)
    if min(sides) < least:
        scale = max(least / min(sides), scale)
    width, height = (max(round(side * scale), 1) for side in sides)
    enlarged = scale > 1 and width * height > _MOST_PIXELS
    if min(width, height) < least or max(width, height) > most or enlarged:
        bounds = f"at least {least} pixels" + (f" and at most {most}" if most != _LARGEST["image/png"] else "")
        raise InvalidRequest(
            f"The picture in {param} has {picture.width}x{picture.height} pixels, and the channel takes sides of "
            f"{bounds}; send one of another shape.",
            param=param,
        )
    return width, height


def _bounded(size: tuple[int, int], media_type: str, form: PictureForm) -> tuple[int, int]:
    """`size`, made smaller where writing it would take too long and too much memory."""
    falls_back = media_type == "image/png" and form.max_bytes is not None and "image/webp" in form.media_types
    most = _MOST_PIXELS_SLOW if media_type == "image/webp" or falls_back else _MOST_PIXELS
    excess = size[0] * size[1] / most
    # A whole number cuts the memory of decoding a very large one, too.
    scale = 1 / (math.sqrt(excess) if excess <= 2 else math.ceil(math.sqrt(excess)))
    scale = max(scale, (form.min_side or 1) / min(size))
    return size if scale >= 1 else (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))


def _lightest(
    image: Image.Image, profile: bytes | None, media_type: str, form: PictureForm
) -> tuple[bytes, str, tuple[int, int]] | None:
    """The file within `form.max_bytes` that loses the least, its media type and size; None where there is none."""
    whole = image
    while True:
        size = 0
        for kind in _kinds(image, media_type, form):
            flat = _on_white(image) if kind == "image/jpeg" else image
            data, fits = _best(flat, kind, profile, form.max_bytes)
            if fits:
                return data, kind, image.size
            size = len(data)
        shortest, floor = min(image.size), form.min_side or 1
        least, most = _STEPS
        scale = min(max(math.sqrt((form.max_bytes or 0) / size) * most, least), most)
        scale = max(scale, floor / shortest)
        smaller = (round(image.width * scale) or 1, round(image.height * scale) or 1)
        if smaller == image.size:
            return None
        image = whole.resize(smaller, Image.Resampling.LANCZOS)


def _best(image: Image.Image, kind: str, profile: bytes | None, most: int | None) -> tuple[bytes, bool]:
    """The file of the best quality that has at most `most` bytes, else the smallest; and whether it fits."""

    def tried(quality: int) -> tuple[bytes, bool]:
        data = pictures.encoded(image, kind, quality=quality, profile=profile)
        return data, most is None or len(data) <= most

    best = tried(pictures.QUALITY)
    if best[1] or kind == "image/png":
        return best
    # Where the lowest does not fit, none does: of a large picture each takes seconds.
    best = tried(_QUALITIES[-1])
    untried = list(_QUALITIES[:-1]) if best[1] else []
    while untried:
        middle = len(untried) // 2
        found = tried(untried[middle])
        if found[1]:
            best, untried = found, untried[:middle]
        else:
            untried = untried[middle + 1 :]
    return best


def _kinds(image: Image.Image, media_type: str, form: PictureForm) -> list[str]:
    """Media types to try, the best first."""
    if media_type != "image/png":
        return [media_type]
    # What can be seen through stays so where it can.
    lossy = ("image/webp", "image/jpeg") if _is_transparent(image) else ("image/jpeg", "image/webp")
    return [media_type, *[kind for kind in lossy if kind in form.media_types and max(image.size) <= _LARGEST[kind]][:1]]


def _is_transparent(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas
