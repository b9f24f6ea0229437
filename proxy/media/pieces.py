"""The pieces that a picture file is made of, counted before a decoder walks through them.

A picture of 20 MiB can have five million pieces of four bytes, or two hundred thousand scans over all its pixels, and
would keep a decoder busy for minutes or hours.
"""

from __future__ import annotations

import re
import struct
from typing import Final

MOST: Final = 20_000
"""Segments or chunks that a file may have: a PNG of 20 MiB, written in pieces of 1 KiB, has no more."""
MOST_SCANS: Final = 100
"""Of a JPEG. Encoders that count every byte make some 60; each takes as long as it takes to pass over all pixels."""

# ITU-T T.81, B.1.1: the rest stands alone, or is what may stand in coded pixels.
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SCAN: Final = 0xDA
_END: Final = 0xD9
_PROGRESSIVE: Final = (0xC2, 0xC6, 0xCA, 0xCE)
# Pillow does not skip what these say of themselves.
_ENTERED: Final = frozenset({0xC8, _END, *range(0xF0, 0xFE)})
_PHOTOSHOP: Final = 0xED
_DATA: Final = frozenset({*range(0xE0, 0xF0), 0xFE, _SCAN})
"""What may be long: the applications' own segments, and the comment."""

_INFLATED: Final = frozenset({b"iCCP", b"iTXt", b"zTXt"})
_INFLATED_WEIGHT: Final = 200
"""Each can become a mebibyte."""


def check_jpeg(data: bytes) -> bool:
    """Whether a JPEG is decoded in several passes, for which all of it is in memory at once. Raises a ValueError where
    it has too many pieces."""
    at, count, scans, progressive = 2, 0, 0, False
    while (found := _MARKER.search(data, at)) is not None:
        marker, start = data[found.end() - 1], found.end()
        if marker == _END and scans:
            break
        length = 0 if marker in _ENTERED else _number(data, start, ">H")
        count += 1
        if not scans:
            # Pillow looks at what is between the segments byte by byte, and at every table.
            count += found.start() - at
            if marker not in _DATA:
                count += length
            elif marker == _PHOTOSHOP:
                count += data.count(b"8BIM", start, start + length)
        scans += marker == _SCAN
        progressive = progressive or marker in _PROGRESSIVE
        at = start + length
        _check(count, scans)
    if not scans:
        _check(count + len(data) - at, 0)
    return progressive or scans > 1


def check_png(data: bytes) -> None:
    """Raise a ValueError where a PNG has too many pieces."""
    at, count = 8, 0
    while (kind := data[at + 4 : at + 8]) and kind != b"IEND":
        count += _INFLATED_WEIGHT if kind in _INFLATED else 1
        _check(count, 0)
        at += 12 + _number(data, at, ">I")


def _check(count: int, scans: int) -> None:
    if count > MOST or scans > MOST_SCANS:
        raise ValueError("it has too many pieces")


def _number(data: bytes, at: int, form: str) -> int:
    # The decoder tells what is cut off here.
    return int(struct.unpack_from(form, data, at)[0]) if at + struct.calcsize(form) <= len(data) else 0
