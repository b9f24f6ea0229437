"""Pictures and films as the simulators read and make them; Pillow's work belongs in a thread."""

from __future__ import annotations

import functools
import io
import struct

from PIL import Image, UnidentifiedImageError


def measure(data: bytes) -> str | None:
    """`WxH` of a JPEG, PNG or WebP, told by its bytes; None where it is none."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            return f"{image.width}x{image.height}"
    except (UnidentifiedImageError, OSError):
        return None


def duration(film: bytes) -> float:
    """Seconds of an MP4, from its `mvhd` box, version 0 (ISO/IEC 14496-12, 8.2.2); 0 where there is none."""
    at = film.find(b"mvhd")
    if at < 0 or len(film) < at + 24:
        return 0.0
    scale, length = struct.unpack_from(">II", film, at + 16)
    return length / scale if scale else 0.0


@functools.cache
def picture(form: str) -> bytes:
    """A small picture file."""
    file = io.BytesIO()
    Image.new("RGB", (32, 18), (40, 90, 160)).save(file, form)
    return file.getvalue()
