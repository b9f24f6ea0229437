"""What pictures look like, whatever file they are in."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from PIL import Image

TURNED: Final[dict[int, Callable[[Image.Image], Image.Image]]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}
"""How an upright picture lies in a file of each EXIF orientation."""


def motif(width: int = 96, height: int = 64, *, transparent: bool = False) -> Image.Image:
    """A picture without any symmetry: its left is darker than its right, and one corner is bright."""
    image = Image.linear_gradient("L").rotate(90).resize((width, height)).convert("RGB")
    image.paste((230, 40, 20), (0, 0, width // 3, height // 4))
    image.paste((250, 250, 200), (width // 2, height // 2, width * 3 // 4, height))
    if transparent:
        image.putalpha(Image.new("L", image.size, 255))
        image.paste((0, 0, 0, 0), (width * 3 // 4, 0, width, height // 3))
    return image


def file_of(image: Image.Image, kind: str = "PNG", orientation: int = 1, **options: Any) -> bytes:
    """`image` as a file that says it is to be turned as `orientation` wants it."""
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    file = BytesIO()
    TURNED[orientation](image).save(file, kind, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def look(image: Image.Image) -> int:
    """A perceptual hash of 128 bits: whether each of 8x8 places is brighter than the next one, across and down."""
    flat = image
    if image.mode in ("RGBA", "LA", "P"):
        shown = image.convert("RGBA")
        flat = Image.new("RGB", shown.size, "white")
        flat.paste(shown, mask=shown)
    bits = 0
    for across, down in ((1, 0), (0, 1)):
        small = flat.convert("L").resize((8 + across, 8 + down), Image.Resampling.BOX)
        for y in range(8):
            for x in range(8):
                here, there = small.getpixel((x, y)), small.getpixel((x + across, y + down))
                # What is nearly even may go either way.
                bits = bits << 1 | (here > there + 2)  # type: ignore[operator]
    return bits


def far(one: int, other: int) -> int:
    """How many places of two looks differ."""
    return (one ^ other).bit_count()


ALIKE: Final = 8
"""Places that may differ in one and the same picture; another one differs in 20 or more."""
