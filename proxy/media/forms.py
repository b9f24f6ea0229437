"""Input pictures in the form that an upstream takes: no byte is changed of one that has it already."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from PIL import Image

from proxy.errors import InvalidRequest
from proxy.media import pictures
from proxy.models import Picture, PictureForm

_QUALITIES: Final = (pictures.QUALITY, 90, 80, 70, 55, 40)
"""Of a JPEG or WebP that has to become smaller, tried before its sides are cut down."""
_STEPS: Final = (0.25, 0.9)
"""By how much its sides are cut down at once, at most and at least."""
_LARGEST: Final = {"image/jpeg": 65_500, "image/png": 2**31 - 1, "image/webp": 16_383}
"""The longest side that can be written, by the media types that can be written."""
_MOST_PIXELS: Final = 16_000_000
"""Pixels beyond which no picture is enlarged."""


async def formed(picture: Picture, form: PictureForm, *, param: str = "input_reference") -> Picture:
    """`picture`, which was inspected, upright and as `form` wants it; itself where nothing has to change.

    The same picture and form give the same bytes. What was changed has no `url`. Raises an `InvalidRequest` that
    blames `param` and names the limit where it cannot be done.
    """
    return await pictures.in_worker(_formed, picture, form, param)


def _formed(picture: Picture, form: PictureForm, param: str) -> Picture:
    media_type = _media_type(picture, form, param)
    size = _size(picture, form, media_type, param)
    is_light = form.max_bytes is None or len(picture.data) <= form.max_bytes
    same = media_type == picture.media_type and size == (picture.width, picture.height)
    if same and is_light and pictures.is_upright(picture):
        return picture
    try:
        image, profile = pictures.decoded(picture, max(size))
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


def _media_type(picture: Picture, form: PictureForm, param: str) -> str:
    if picture.media_type in form.media_types:
        return picture.media_type
    for media_type in form.media_types:
        if media_type in _LARGEST:
            return media_type
    raise InvalidRequest(
        f"The picture in {param} is {picture.media_type}, and the channel takes nothing but "
        f"{', '.join(form.media_types)}.",
        param=param,
    )


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


def _lightest(
    image: Image.Image, profile: bytes | None, media_type: str, form: PictureForm
) -> tuple[bytes, str, tuple[int, int]] | None:
    """The file within `form.max_bytes` that loses the least, its media type and size; None where there is none."""
    whole = image
    while True:
        size = 0
        for kind, quality in _ways(image, media_type, form):
            flat = _on_white(image) if kind == "image/jpeg" else image
            data = pictures.encoded(flat, kind, quality=quality, profile=profile)
            size = len(data)
            if form.max_bytes is None or size <= form.max_bytes:
                return data, kind, image.size
        shortest, floor = min(image.size), form.min_side or 1
        least, most = _STEPS
        scale = min(max(math.sqrt((form.max_bytes or 0) / size) * most, least), most)
        scale = max(scale, floor / shortest)
        smaller = (round(image.width * scale) or 1, round(image.height * scale) or 1)
        if smaller == image.size:
            return None
        image = whole.resize(smaller, Image.Resampling.LANCZOS)


def _ways(image: Image.Image, media_type: str, form: PictureForm) -> Iterator[tuple[str, int]]:
    """Media types and qualities to try, the best first."""
    if media_type == "image/png":
        yield media_type, pictures.QUALITY
        # What can be seen through stays so where it can.
        lossy = ("image/webp", "image/jpeg") if _is_transparent(image) else ("image/jpeg", "image/webp")
        kinds = [kind for kind in lossy if kind in form.media_types and max(image.size) <= _LARGEST[kind]]
    else:
        kinds = [media_type]
    for kind in kinds[:1]:
        for quality in _QUALITIES:
            yield kind, quality


def _is_transparent(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas
