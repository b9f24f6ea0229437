"""Single frames of videos that lie anywhere, and whether a file is a video at all, with PyAV (the extra `media`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from proxy.errors import InvalidRequest, UnsupportedOperation
from proxy.media import files, stills
from proxy.media.sources import Opener, file_of, opened
from proxy.models import Source

LONGEST: Final = 3600
"""Seconds that an uploaded video may have. Providers take a minute or two, and a forged one may claim a century."""

# https://mp4ra.org/registered-types/brands: pictures in the same container.
_PICTURE_BRANDS: Final = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# QuickTime files older than `ftyp` start with one of these boxes.
_OLD_BOXES: Final = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_EBML: Final = b"\x1a\x45\xdf\xa3"


async def frame(source: Source, opener: Opener, *, folder: Path, last: bool) -> bytes:
    """The first or the last frame of a video as a PNG.

    Raises an `UpstreamError` where the video cannot be had whole, and an `UnsupportedOperation` where PyAV is missing
    (then nothing is fetched) or cannot decode it.
    """
    await stills.require()
    async with on_disk(source, opener, folder=folder) as file:
        return await stills.frame(file, last=last)


@asynccontextmanager
async def on_disk(source: Source, opener: Opener, *, folder: Path) -> AsyncIterator[Path | BinaryIO]:
    """The video as a file: where it lies already, or else copied, in constant memory, to a nameless file in `folder`
    that vanishes afterwards. Raises an `UpstreamError` where it cannot be had whole."""
    path = file_of(source)
    if path is not None:
        yield path
    else:
        file = await asyncio.to_thread(files.nameless, folder)
        try:
            async with opened(source, opener) as body:
                await files.spool(body.read, file)
            await asyncio.to_thread(file.flush)
            yield file
        finally:
            await asyncio.to_thread(file.close)


class Probe(NamedTuple):
    """What an uploaded video is; without PyAV width and height are 0 and `seconds` is None."""

    media_type: str
    width: int = 0
    height: int = 0
    seconds: float | None = None


async def probe(path: Path, param: str) -> Probe:
    """What the uploaded video at `path` is; an `InvalidRequest` where it is none, or longer than `LONGEST`.

    Without PyAV only the first bytes are looked at.
    """
    media_type = _media_type(await asyncio.to_thread(_head, path))
    if media_type is None:
        raise InvalidRequest(f"The file in {param} is not a video; send an MP4, MOV or WebM.", param=param)
    try:
        seen = await stills.look(path)
    except UnsupportedOperation as error:
        raise InvalidRequest(
            f"The video in {param} cannot be decoded, or takes too long to: send a shorter one, or an MP4 of H.264.",
            param=param,
        ) from error
    if seen is None:
        return Probe(media_type)
    if seen.seconds > LONGEST:
        raise InvalidRequest(f"The video in {param} is longer than {LONGEST} seconds.", param=param)
    return Probe(media_type, *seen)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _media_type(head: bytes) -> str | None:
    if head.startswith(_EBML):
        return "video/webm" if b"webm" in head else None
    if head[4:8] == b"ftyp":
        if head[8:12] in _PICTURE_BRANDS:
            return None
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    return "video/quicktime" if head[4:8] in _OLD_BOXES else None
