"""Byte ranges and conditional requests: RFC 9110, sections 13 and 14, as pure functions."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from email.utils import formatdate, parsedate
from typing import Final, NamedTuple

from proxy.errors import RangeNotSatisfiable

_SPEC: Final = re.compile(r"(\d*)[ \t]*-[ \t]*(\d*)", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes[ \t]+(?:(\d+)-(\d+)|\*)/(\d+|\*)", re.ASCII | re.IGNORECASE)
_LARGEST: Final = 10**18
"""Stands for every longer number: no content is as large, and `int()` refuses more than 4,300 digits."""


class Span(NamedTuple):
    """`bytes=first-last`; `last` is None where the end is open."""

    first: int
    last: int | None


class Suffix(NamedTuple):
    """`bytes=-length`: the last `length` bytes."""

    length: int


class Part(NamedTuple):
    """The bytes `first` to `last`, both included, of content that has `size` bytes."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        return f"bytes {self.first}-{self.last}/{self.size}"


class Claim(NamedTuple):
    """What a `Content-Range` of an upstream says: `first` is None in a 416, `size` where it is not told."""

    first: int | None
    last: int | None
    size: int | None


def parse(values: Sequence[str]) -> Span | Suffix | None:
    """The one range that the `Range` header lines ask for; None where they are to be ignored.

    Ignored, so that the whole is sent: none, several ranges, another unit, and what is malformed.
    """
    unit, equals, text = ",".join(values).partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes":
        return None
    specs = [spec for spec in (spec.strip(" \t") for spec in text.split(",")) if spec]
    match = _SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    if match is None or not (match[1] or match[2]):
        return None
    last = _number(match[2]) if match[2] else None
    if not match[1]:
        return None if last is None else Suffix(last)
    first = _number(match[1])
    return None if last is not None and last < first else Span(first, last)


def resolve(wish: Span | Suffix, size: int) -> Part:
    """The part of `size` bytes that `wish` means; `RangeNotSatisfiable` where there is none."""
    if isinstance(wish, Suffix):
        first, last = max(size - wish.length, 0), size - 1
    else:
        first, last = wish.first, size - 1 if wish.last is None else min(wish.last, size - 1)
    if first > last:
        raise RangeNotSatisfiable(f"The range lies outside of the content, which has {size} bytes.", size=size)
    return Part(first, last, size)


def claimed(content_range: str) -> Claim | None:
    """What an upstream's `Content-Range` says; None where it is not one."""
    match = _CONTENT_RANGE.fullmatch(content_range.strip(" \t"))
    if match is None:
        return None
    first, last, size = (None if text in (None, "*") else _number(text) for text in match.groups())
    return Claim(first, last, size)


def unchanged(if_range: str | None, *, etag: str, modified: int) -> bool:
    """Whether `Range` counts: true without an `If-Range`, and where that names exactly what we have.

    `etag` is quoted and strong. A weak tag never matches, and a date only when it is the very one (RFC 9110, 13.1.5).
    """
    if if_range is None:
        return True
    return if_range.strip() in (etag, formatdate(modified, usegmt=True))


def precondition_failed(if_match: str | None, if_unmodified_since: str | None, *, etag: str, modified: int) -> bool:
    """Whether the answer is 412: the client wanted content that is not what we have."""
    if if_match is not None:
        return not _names(if_match, etag, weakly=False)
    date = _seconds(if_unmodified_since)
    return date is not None and modified > date


def not_modified(if_none_match: str | None, if_modified_since: str | None, *, etag: str, modified: int) -> bool:
    """Whether the answer is 304: the client has what we have."""
    if if_none_match is not None:
        return _names(if_none_match, etag, weakly=True)
    date = _seconds(if_modified_since)
    return date is not None and modified <= date


_TAG: Final = re.compile(r'(W/)?("[^"]*")')


def _names(header: str, etag: str, *, weakly: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(match[2] == etag and (weakly or not match[1]) for match in _TAG.finditer(header))


def _seconds(date: str | None) -> int | None:
    try:
        fields = parsedate(date) if date else None
        return calendar.timegm(fields) if fields else None
    except (ValueError, OverflowError):
        return None


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 18 else _LARGEST
