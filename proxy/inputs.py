"""What a client sends along with its words, as plugins get it: pictures and clips. All are frozen."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PICTURE_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
"""The media types that clients may send, and that the core can turn pictures into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """What an upstream takes as an input picture. The core brings a client's picture into this form, and changes no
    byte of one that has it already.

    `media_types` are those it takes, the one to turn others into first; `max_bytes` bounds the file (before any
    base64), `min_side` and `max_side` its width and height in pixels. `address` says that it takes nothing but a public
    URL, so that `Picture.url` is never None: the client's own, or a signed link to this server.
    """

    media_types: tuple[str, ...] = PICTURE_TYPES
    max_bytes: int | None = None
    min_side: int | None = None
    max_side: int | None = None
    address: bool = False

    def __post_init__(self) -> None:
        # A text would pass for a list of its letters.
        if isinstance(self.media_types, str) or not set(self.media_types) & set(PICTURE_TYPES):
            raise ValueError(f"media_types of a PictureForm must be a tuple with one of {', '.join(PICTURE_TYPES)}")
        if any(bound is not None and bound < 1 for bound in (self.max_bytes, self.min_side, self.max_side)):
            raise ValueError("max_bytes, min_side and max_side of a PictureForm must be above 0")
        if self.min_side is not None and self.max_side is not None and self.min_side > self.max_side:
            raise ValueError("min_side of a PictureForm is above its max_side")


@dataclass(frozen=True, slots=True)
class Picture:
    """An input picture, already fetched, sniffed, decoded once and upright: `data` is a whole image file.

    A plugin takes what its upstream wants: `data`, `base64`, `data_uri` or `url`, which is the address that the client
    gave, if it gave one; where the channel's `picture_form` asks for an address it is never None.
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    url: str | None = None

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{self.base64}"

    @property
    def filename(self) -> str:
        return "image." + {"image/jpeg": "jpg"}.get(self.media_type, self.media_type.removeprefix("image/"))


@dataclass(frozen=True, slots=True)
class Clip:
    """A video file that the client uploaded, on our disk until the submission is over.

    `url` is a signed link to it, for upstreams that take nothing else; None where the server has no `public_url`.
    """

    path: Path
    media_type: str = "video/mp4"
    filename: str = "video.mp4"
    url: str | None = None

    async def base64(self) -> str:
        """The whole file as base64."""
        return await asyncio.to_thread(lambda: base64.b64encode(self.path.read_bytes()).decode("ascii"))

    async def data_uri(self) -> str:
        """The whole file as a `data:` address."""
        return f"data:{self.media_type};base64,{await self.base64()}"
