"""Pictures and videos that clients send in: checked, and kept until the submission that needs them is over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

import aiohttp

from proxy.config.rules import InputLimits
from proxy.errors import InvalidRequest
from proxy.inputs import Clip, Picture
from proxy.media import files, frames, pictures
from proxy.media.input_links import InputLinks
from proxy.media.room import OUT_OF_ROOM, room
from proxy.media.stills_child import RESULT_BYTES
from proxy.media.turns import Turns
from proxy.records import StoredFile, StoredInput, Upload

_FETCH: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)
_OWNER: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_AT_ONCE: Final = 4
_PICTURES_EACH: Final = 8
"""Pictures of one tenant that are fetched or read at once: slow addresses hold up nobody else's."""
_CLIPS_EACH: Final = 1
# Frames that we took ourselves: nobody could send a smaller one.
_FRAMES: Final = InputLimits(max_bytes=RESULT_BYTES)
_SUFFIXES: Final = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
}
_MEDIA_TYPES: Final = {suffix: media_type for media_type, suffix in _SUFFIXES.items()}
_NAME: Final = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{3,4})")


class Fetcher(Protocol):
    """Whoever fetches an address that a client chose, and refuses those that are not public."""

    def fetch(
        self, url: str, *, timeout: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...


class Library(Protocol):
    """Whoever has the files that clients uploaded before. A file may be deleted at any moment."""

    async def file(self, file_id: str, tenant: str) -> StoredFile | None: ...

    def path(self, stored: StoredFile) -> Path: ...


class Served(NamedTuple):
    """An input as it is handed out; `modified` in unix seconds."""

    path: Path
    media_type: str
    modified: float


class Inputs:
    """The inputs of all videos, in `folder`: one folder for each owner, which is the id of a video.

    What `picture` and `clip` return is durable: the file is there after a crash. `limits` may be changed at any time;
    `library` has the files that a `file_id` names, for None there are none; `links` make addresses of inputs, for None
    there are none. Every `InvalidRequest` blames the upload's `param`.
    """

    def __init__(
        self,
        folder: Path,
        http: Fetcher,
        *,
        limits: InputLimits = InputLimits(),  # noqa: B008 - frozen
        library: Library | None = None,
        links: InputLinks | None = None,
    ) -> None:
        self._folder = folder
        self._http = http
        self.limits = limits
        self.library = library
        self.links = links
        # Each holds a whole file in memory.
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._pictures = Turns(_PICTURES_EACH)
        self._clips = Turns(_CLIPS_EACH)

    async def picture(self, upload: Upload, *, owner: str, tenant: str | None = None) -> StoredInput:
        """Check the picture of `upload`, fetching it where it is an address, and keep it for `owner`.

        A `file_id` is one of the `tenant`; without a tenant there is none.
        """
        folder, limits = self._of(owner), self.limits
        async with self._pictures.of(tenant), room():
            if upload.url is not None:
                return await self._fetched(upload, upload.url, folder, limits)
            path = upload.path
            if upload.file_id is not None:
                path, filename = await self._filed(upload, tenant)
                upload = replace(upload, filename=filename)
            async with self._turn:
                try:
                    data = upload.data if path is None else await asyncio.to_thread(_read, path, limits.max_bytes + 1)
                except FileNotFoundError:
                    if upload.file_id is None:
                        raise
                    raise _no_file(upload) from None
                return await self._store(upload, data or b"", folder, limits)

    async def frame(self, data: bytes, *, owner: str) -> StoredInput:
        """Keep a frame of the video that the one of `owner` starts from, also where it is larger than what clients may
        send in."""
        async with room(), self._turn:
            return await self._store(Upload(param="video", filename="frame.png"), data, self._of(owner), _FRAMES)

    async def clip(self, upload: Upload, *, owner: str, tenant: str | None = None) -> StoredInput:
        """Check the video of `upload` and keep it for `owner`; a file at `upload.path` is moved away from there.

        A `file_id` is one of the `tenant`; without a tenant there is none.
        """
        folder = self._of(owner)
        if upload.url is not None:
            raise InvalidRequest(f"{upload.param} cannot be an address; send the video as a file.", param=upload.param)
        async with self._clips.of(tenant), room():
            path = upload.path
            if upload.file_id is not None:
                filed, filename = await self._filed(upload, tenant)
                upload = replace(upload, filename=filename)
                try:
                    path = await asyncio.to_thread(_shared, filed, folder)
                except FileNotFoundError:
                    raise _no_file(upload) from None
            elif path is None:
                path = folder / "upload"
                await asyncio.to_thread(files.keep, upload.data or b"", folder, path.name)
            try:
                seen = await frames.probe(path, upload.param)
                name = await asyncio.to_thread(_digest, path) + _SUFFIXES[seen.media_type]
                await asyncio.to_thread(files.take, path, folder, name)
            finally:
                if upload.path is None:
                    await asyncio.to_thread(path.unlink, missing_ok=True)
        return StoredInput(
            file=f"{owner}/{name}",
            media_type=seen.media_type,
            width=seen.width,
            height=seen.height,
            seconds=seen.seconds,
            filename=upload.filename,
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

    def load_clip(self, stored: StoredInput, *, now: float | None = None) -> Clip:
        """The video that `clip` kept, with a link that is made at `now` (unix seconds; None: the present)."""
        return Clip(
            self._folder / stored.file,
            stored.media_type,
            stored.filename or f"video{_SUFFIXES[stored.media_type]}",
            self._link(stored.file, now),
        )

    async def publish(self, picture: Picture, *, owner: str, now: float) -> str | None:
        """A link to `picture`, made at `now` (unix seconds), which is kept with the inputs of `owner` and lasts as long
        as they do at most; None where this server has no public address."""
        folder = self._of(owner)
        name = await asyncio.to_thread(_digest_of, picture.data) + _SUFFIXES[picture.media_type]
        link = self._link(f"{owner}/{name}", now)
        if link is not None and not await asyncio.to_thread((folder / name).is_file):
            async with room():
                await asyncio.to_thread(files.keep, picture.data, folder, name)
        return link

    async def served(self, owner: str, name: str) -> Served | None:
        """The input `name` of `owner`, as a link names it; None where there is none (any more)."""
        match = _NAME.fullmatch(name)
        media_type = _MEDIA_TYPES.get(match[1]) if match else None
        if media_type is None or not _OWNER.fullmatch(owner):
            return None
        path = self._folder / owner / name
        try:
            return Served(path, media_type, (await asyncio.to_thread(path.stat)).st_mtime)
        except FileNotFoundError:
            return None

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

    async def _filed(self, upload: Upload, tenant: str | None) -> tuple[Path, str]:
        """Where the file that `upload` names lies, and its name."""
        if self.library is not None and tenant is not None:
            stored = await self.library.file(upload.file_id or "", tenant)
            if stored is not None:
                return self.library.path(stored), stored.filename
        raise _no_file(upload)

    def _link(self, name: str, now: float | None) -> str | None:
        return None if self.links is None else self.links.link(name, now=time.time() if now is None else now)

    async def _fetched(self, upload: Upload, url: str, folder: Path, limits: InputLimits) -> StoredInput:
        file = await asyncio.to_thread(files.nameless, self._folder)
        try:
            await self._download(upload, url, file, limits)
            async with self._turn:
                return await self._store(upload, await asyncio.to_thread(_whole, file), folder, limits)
        finally:
            await asyncio.to_thread(file.close)

    async def _store(self, upload: Upload, data: bytes, folder: Path, limits: InputLimits) -> StoredInput:
        if len(data) > limits.max_bytes:
            raise _too_large(upload, limits)
        picture = await pictures.inspect(data, param=upload.param, max_pixels=limits.max_pixels)
        name = await asyncio.to_thread(_digest_of, data) + _SUFFIXES[picture.media_type]
        await asyncio.to_thread(files.keep, data, folder, name)
        return StoredInput(
            file=f"{folder.name}/{name}",
            media_type=picture.media_type,
            width=picture.width,
            height=picture.height,
            url=upload.url,
            filename=upload.filename,
            param=upload.param,
        )

    async def _download(self, upload: Upload, url: str, file: BinaryIO, limits: InputLimits) -> None:
        def failed(cause: str) -> InvalidRequest:
            return InvalidRequest(f"The picture in {upload.param} could not be fetched: {cause}.", param=upload.param)

        try:
            async with self._http.fetch(url, timeout=_FETCH) as response:
                if response.status != 200:
                    raise failed(f"its address answered {response.status}")
                if (response.content_length or 0) > limits.max_bytes:
                    raise _too_large(upload, limits)
                left = limits.max_bytes

                async def read() -> bytes:
                    nonlocal left
                    chunk = await response.content.readany()
                    left -= len(chunk)
                    if left < 0:
                        raise _too_large(upload, limits)
                    return chunk

                await files.spool(read, file)
        except InvalidRequest as error:
            if error.param is not None:
                raise
            raise failed(error.message.rstrip(".")) from error
        except TimeoutError as error:
            raise failed("its address did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and error.errno in OUT_OF_ROOM:
                # Our own trouble, which is no fault of the address.
                raise
            raise failed("the connection to its address failed") from error


def _too_large(upload: Upload, limits: InputLimits) -> InvalidRequest:
    mebibytes, rest = divmod(limits.max_bytes, 2**20)
    most = f"{limits.max_bytes} bytes" if rest else f"{mebibytes} MiB"
    return InvalidRequest(f"The picture in {upload.param} is larger than {most}.", param=upload.param)


def _no_file(upload: Upload) -> InvalidRequest:
    param = upload.param if upload.param.endswith("file_id") else f"{upload.param}.file_id"
    return InvalidRequest(
        f"No such file: {str(upload.file_id)[:100]!r}. Send it to POST /v1/files first; files expire.", param=param
    )


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _shared(path: Path, folder: Path) -> Path:
    """A second name in `folder` for the file at `path`, or a copy of it: what is deleted there stays here."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{secrets.token_hex(8)}"
    try:
        os.link(path, fresh)
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, or one without second names.
        shutil.copyfile(path, fresh)
    return fresh


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
