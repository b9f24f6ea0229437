"""Single frames out of videos, and whether a file is a video at all, with PyAV (the extra `media`)."""

from __future__ import annotations

import asyncio
from collections import deque
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from proxy.errors import InvalidRequest, UnsupportedOperation
from proxy.media import files
from proxy.media.sources import Opener, opened
from proxy.models import Source

if TYPE_CHECKING:
    from PIL import Image

_MAX_PIXELS: Final = 64_000_000

# https://mp4ra.org/registered-types/brands: pictures in the same container.
_PICTURE_BRANDS: Final = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# QuickTime files older than `ftyp` start with one of these boxes.
_OLD_BOXES: Final = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_EBML: Final = b"\x1a\x45\xdf\xa3"


async def first_frame(source: Source, opener: Opener, *, folder: Path) -> bytes:
    """The first frame of a video as a PNG.

    The video is copied to a nameless file in `folder`, in constant memory; one that lies on our disk is read there.
    Raises an `UpstreamError` where it cannot be had whole, and an `UnsupportedOperation` where PyAV is missing or
    cannot decode it.
    """
    return await _frame(source, opener, folder, last=False)


async def last_frame(source: Source, opener: Opener, *, folder: Path) -> bytes:
    """The last frame of a video as a PNG; see `first_frame`."""
    return await _frame(source, opener, folder, last=True)


async def _frame(source: Source, opener: Opener, folder: Path, *, last: bool) -> bytes:
    await asyncio.to_thread(_av)
    if source.path is not None:
        return await asyncio.to_thread(_decode, source.path, last)
    file = await asyncio.to_thread(files.nameless, folder)
    try:
        async with opened(source, opener) as body:
            await files.spool(body.read, file)
        return await asyncio.to_thread(_decode, file, last)
    finally:
        await asyncio.to_thread(file.close)


def probe(path: Path, param: str) -> tuple[str, int, int]:
    """Media type, width and height of the uploaded video at `path`; an `InvalidRequest` where it is none. Blocks.

    Without PyAV only the first bytes are looked at, and width and height are 0.
    """
    with path.open("rb") as file:
        head = file.read(64)
    media_type = _media_type(head)
    if media_type is None:
        raise InvalidRequest(f"The file in {param} is not a video; send an MP4, MOV or WebM.", param=param)
    try:
        av = _av()
    except UnsupportedOperation:
        return media_type, 0, 0
    try:
        frame = _some_frame(av, path, last=False)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InvalidRequest(f"The video in {param} cannot be decoded.", param=param) from error
    return media_type, frame.width, frame.height


def _media_type(head: bytes) -> str | None:
    if head.startswith(_EBML):
        return "video/webm" if b"webm" in head else None
    if head[4:8] == b"ftyp":
        if head[8:12] in _PICTURE_BRANDS:
            return None
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    return "video/quicktime" if head[4:8] in _OLD_BOXES else None


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UnsupportedOperation(
            "This needs a frame of the video, and PyAV is not installed here: "
            "the operator can add it with pip install 'reelgate[media]'."
        ) from error
    return av


def _decode(file: Path | BinaryIO, last: bool) -> bytes:
    av = _av()
    try:
        picture: Image.Image = _some_frame(av, file, last=last).to_image()
    except (av.FFmpegError, ValueError, OSError) as error:
        raise UnsupportedOperation(
            "The source video cannot be decoded, so that no frame can be taken of it."
        ) from error
    png = BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def _some_frame(av: Any, file: Path | BinaryIO, *, last: bool) -> Any:
    """The first or the last frame; a ValueError where there is no video or its frames are too large."""
    if not isinstance(file, Path):
        file.seek(0)
    with av.open(file) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        if stream.codec_context.width * stream.codec_context.height > _MAX_PIXELS:
            raise ValueError("too many pixels")
        if last and stream.duration:
            # To the last key frame, so that only what follows it is decoded.
            container.seek((stream.start_time or 0) + stream.duration, stream=stream)
        frames = container.decode(stream)
        found = deque(frames, maxlen=1) if last else deque(islice(frames, 1))
        if not found:
            raise ValueError("no frame")
        return found[0]
