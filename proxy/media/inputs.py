"""Pictures and videos that clients send in: checked, and kept until the submission that needs them is over."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import aiohttp

from proxy.errors import InvalidRequest
from proxy.media import files, frames, pictures
from proxy.models import Clip, Picture
from proxy.records import StoredInput, Upload

MAX_BYTES: Final = 20 * 2**20

_FETCH: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)
_OWNER: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_AT_ONCE: Final = 4
_SUFFIXES: Final = {"image/jpeg": ".jpg", "video/quicktime": ".mov"}


class Fetcher(Protocol):
    """Whoever fetches an address that a client chose, and refuses those that are not public."""

    def fetch(
        self, url: str, *, timeout: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...


class Inputs:
    """The inputs of all videos, in `folder`: one folder for each owner, which is the id of a video.

    What `picture` and `clip` return is durable: the file is there after a crash. `max_bytes` and `max_pixels` bound
    a picture. Every `InvalidRequest` blames the upload's `param`.
    """

    def __init__(
        self, folder: Path, http: Fetcher, *, max_bytes: int = MAX_BYTES, max_pixels: int = pictures.MAX_PIXELS
    ) -> None:
        self._folder = folder
        self._http = http
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        # Each holds a whole file in memory.
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def picture(self, upload: Upload, *, owner: str) -> StoredInput:
        """Check the picture of `upload`, fetching it where it is an address, and keep it for `owner`."""
        folder = self._of(owner)
        if upload.file_id is not None:
            raise _no_file(upload)
        if upload.url is not None:
            file = await asyncio.to_thread(files.nameless, self._folder)
            try:
                await self._download(upload, upload.url, file)
                async with self._turn:
                    return await self._store(upload, await asyncio.to_thread(_whole, file), folder)
            finally:
                await asyncio.to_thread(file.close)
        async with self._turn:
            data = upload.data if upload.path is None else await asyncio.to_thread(self._read, upload.path)
            return await self._store(upload, data or b"", folder)

    async def clip(self, upload: Upload, *, owner: str) -> StoredInput:
        """Check the uploaded video and keep it for `owner`; a file at `upload.path` is moved away from there."""
        folder = self._of(owner)
        if upload.file_id is not None:
            raise _no_file(upload)
        if upload.url is not None:
            raise InvalidRequest(f"{upload.param} cannot be an address; send the video as a file.", param=upload.param)
        path = upload.path
        if path is None:
            path = folder / "upload"
            await asyncio.to_thread(files.keep, upload.data or b"", folder, path.name)
        try:
            media_type, width, height = await asyncio.to_thread(frames.probe, path, upload.param)
            name = await asyncio.to_thread(_digest, path) + _suffix(media_type)
            await asyncio.to_thread(files.take, path, folder, name)
        finally:
            if upload.path is None:
                await asyncio.to_thread(path.unlink, missing_ok=True)
        return StoredInput(
            file=f"{owner}/{name}", media_type=media_type, width=width, height=height, filename=upload.filename
        )

    async def load_picture(self, stored: StoredInput) -> Picture:
        """The picture that `picture` kept."""
        try:
            data = await asyncio.to_thread((self._folder / stored.file).read_bytes)
        except FileNotFoundError:
            raise InvalidRequest(
                "The input picture of this video is no longer on the server; send the request again."
            ) from None
        return Picture(data, stored.media_type, stored.width, stored.height, stored.url)

    def load_clip(self, stored: StoredInput) -> Clip:
        """The video that `clip` kept."""
        return Clip(
            self._folder / stored.file, stored.media_type, stored.filename or f"video{_suffix(stored.media_type)}"
        )

    async def discard(self, owner: str) -> None:
        """Remove all inputs of `owner`, which may have none."""
        await asyncio.to_thread(shutil.rmtree, self._of(owner), ignore_errors=True)

    async def sweep(self, keep: Collection[str]) -> None:
        """Remove the inputs of all owners but those in `keep`. For the start, before anything is accepted."""
        await asyncio.to_thread(self._sweep, frozenset(keep))

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _of(self, owner: str) -> Path:
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} is no id of a video")
        return self._folder / owner

    def _sweep(self, keep: frozenset[str]) -> None:
        if self._folder.is_dir():
            for entry in list(self._folder.iterdir()):
                if entry.is_dir() and entry.name not in keep:
                    shutil.rmtree(entry, ignore_errors=True)

    async def _store(self, upload: Upload, data: bytes, folder: Path) -> StoredInput:
        if len(data) > self._max_bytes:
            raise self._too_large(upload)
        picture = await pictures.inspect(data, param=upload.param, max_pixels=self._max_pixels)
        name = await asyncio.to_thread(_digest_of, data) + _suffix(picture.media_type)
        await asyncio.to_thread(files.keep, data, folder, name)
        return StoredInput(
            file=f"{folder.name}/{name}",
            media_type=picture.media_type,
            width=picture.width,
            height=picture.height,
            url=upload.url,
            filename=upload.filename,
        )

    def _read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            return file.read(self._max_bytes + 1)

    async def _download(self, upload: Upload, url: str, file: BinaryIO) -> None:
        def failed(cause: str) -> InvalidRequest:
            return InvalidRequest(f"The picture in {upload.param} could not be fetched: {cause}.", param=upload.param)

        try:
            async with self._http.fetch(url, timeout=_FETCH) as response:
                if response.status != 200:
                    raise failed(f"its address answered {response.status}")
                if (response.content_length or 0) > self._max_bytes:
                    raise self._too_large(upload)
                left = self._max_bytes

                async def read() -> bytes:
                    nonlocal left
                    chunk = await response.content.readany()
                    left -= len(chunk)
                    if left < 0:
                        raise self._too_large(upload)
                    return chunk

                await files.spool(read, file)
        except InvalidRequest as error:
            if error.param is not None:
                raise
            raise failed(error.message.rstrip(".")) from error
        except TimeoutError as error:
            raise failed("its address did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise failed("the connection to its address failed") from error

    def _too_large(self, upload: Upload) -> InvalidRequest:
        return InvalidRequest(
            f"The picture in {upload.param} is larger than {self._max_bytes // 2**20} MiB.", param=upload.param
        )


def _no_file(upload: Upload) -> InvalidRequest:
    param = upload.param if upload.param.endswith("file_id") else f"{upload.param}.file_id"
    return InvalidRequest(f"No such file: {str(upload.file_id)[:100]!r}.", param=param)


def _suffix(media_type: str) -> str:
    return _SUFFIXES.get(media_type, "." + media_type.partition("/")[2])


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
