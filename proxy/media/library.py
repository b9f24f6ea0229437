"""The files that clients upload once and name by their id afterwards: durable, bounded for each tenant, expiring."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Final, Literal

from proxy.errors import BodyTooLarge, InvalidRequest
from proxy.ids import ID_PATTERN, new_id
from proxy.media import files, pictures
from proxy.media.room import room
from proxy.media.turns import Turns
from proxy.records import Key, StoredFile
from proxy.store import Store
from proxy.store import files as table

log = logging.getLogger(__name__)

Purpose = Literal["vision", "user_data"]
PURPOSES: Final[tuple[Purpose, ...]] = ("vision", "user_data")

MAX_FILES: Final = 10_000
"""Files that a tenant can have, however small they are."""
UNTOLD: Final = "application/octet-stream"
"""The media type of a file that is neither a picture nor a video."""

_PRUNED_AT_ONCE: Final = 500
_AT_ONCE: Final = 2
_HEAD: Final = 64
# https://mp4ra.org/registered-types/brands: those of films; pictures and sounds have the same container.
_FILM: Final = re.compile(rb".{4}ftyp(?:isom|iso[2-9a-c]|mp4[12]|avc1|av01|dash|MSNV|M4V |3g[2p].)", re.DOTALL)
_QUICKTIME: Final = re.compile(rb".{4}ftypqt  ", re.DOTALL)
_EBML: Final = b"\x1a\x45\xdf\xa3"


class Library:
    """The files of all tenants: their rows in `store`, their bytes in `folder`, each under its id.

    A file that has expired, and somebody else's, is as unknown as one that never was. `clock` gives unix seconds.
    """

    def __init__(self, folder: Path, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._store = store
        self._clock = clock
        # Each holds a whole picture in memory.
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._turns = Turns(1)

    async def add(
        self,
        path: Path,
        key: Key,
        *,
        filename: str,
        purpose: Purpose,
        lifetime: int,
        most_bytes: int,
        max_bytes: int,
        max_pixels: int,
        param: str = "file",
    ) -> StoredFile:
        """Keep the uploaded file at `path`, which is moved away from there, for `lifetime` seconds.

        The answer is durable, bytes and row. A tenant may have `most_bytes` bytes in all; a picture (purpose `vision`)
        may have `max_bytes` bytes and `max_pixels` pixels. Raises an `InvalidRequest` that blames `param` where the
        file is empty, is not the picture that it should be, or finds no room.
        """
        size = (await asyncio.to_thread(path.stat)).st_size
        if size == 0:
            raise InvalidRequest(f"The file in {param} is empty.", param=param)
        if size > most_bytes:
            raise BodyTooLarge(
                f"The file in {param} has {size} bytes; all files together may have {most_bytes} bytes.", param=param
            )
        if purpose == "vision":
            media_type = await self._picture(path, key.tenant, param, max_bytes, max_pixels)
        else:
            media_type = told_by(await asyncio.to_thread(_read, path, _HEAD))
        now = int(self._clock())
        stored = StoredFile(
            id=new_id("file"),
            tenant=key.tenant,
            key_id=key.id,
            filename=filename,
            purpose=purpose,
            media_type=media_type,
            size=size,
            created_at=now,
            expires_at=now + lifetime,
        )
        # Bytes before row: a crash between them leaves a file that nobody knows, never a row without its bytes.
        async with room():
            await asyncio.to_thread(files.take, path, self._folder, stored.id)
        try:
            # Only there is the count of the tenant's bytes what it will be when this file is added to it.
            kept = await self._store.write(
                partial(table.insert, file=stored, most_bytes=most_bytes, most_files=MAX_FILES)
            )
        except Exception:
            # Not when cancelled, for then the row may be written all the same.
            await self._unlink([stored.id])
            raise
        if not kept:
            await self._unlink([stored.id])
            raise InvalidRequest(
                f"There is no room for this file of {size} bytes: all files together may have {most_bytes} bytes, and "
                f"there may be {MAX_FILES} of them. Delete some, or wait until they expire.",
                param=param,
            )
        return stored

    async def file(self, file_id: str, tenant: str) -> StoredFile | None:
        """The tenant's file of that id, which may be any text."""
        if ID_PATTERN.fullmatch(file_id) is None:
            return None
        return await self._store.read(partial(table.find, tenant=tenant, file_id=file_id, now=self._clock()))

    def path(self, stored: StoredFile) -> Path:
        """Where the bytes are. They vanish when the file is deleted or expires, be it the next moment."""
        return self._folder / stored.id

    async def page(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None = None
    ) -> tuple[list[StoredFile], bool]:
        """The next `limit` files behind the id `after`, and whether there are more; of one purpose, or for None of
        all."""
        found = await self._store.read(
            partial(
                table.page,
                tenant=tenant,
                after=after,
                limit=limit + 1,
                newest_first=newest_first,
                purpose=purpose,
                now=self._clock(),
            )
        )
        return found[:limit], len(found) > limit

    async def remove(self, file_id: str, tenant: str) -> bool:
        """Delete the tenant's file; whether there was one. Who is reading its bytes gets them to the end."""
        if ID_PATTERN.fullmatch(file_id) is None:
            return False
        if not await self._store.write(partial(table.delete, tenant=tenant, file_id=file_id, now=self._clock())):
            return False
        await self._unlink([file_id])
        return True

    async def prune(self, now: float) -> int:
        """Remove the files that have expired at `now`, in unix seconds; how many it was."""
        count = 0
        while gone := await self._store.write(partial(table.prune, now=now, limit=_PRUNED_AT_ONCE)):
            await self._unlink(gone)
            count += len(gone)
        return count

    async def sweep(self) -> int:
        """Remove the bytes that no row knows, which a crash left behind; how many files it was.

        For the start of the only process on this store, before anything is accepted.
        """
        known = await self._store.read(table.ids)
        count = await asyncio.to_thread(_sweep, self._folder, known)
        if count:
            log.info("removed %d uploaded files that were never completed or are deleted", count)
        return count

    async def _picture(self, path: Path, tenant: str, param: str, max_bytes: int, max_pixels: int) -> str:
        async with self._turns.of(tenant), self._turn:
            data = await asyncio.to_thread(_read, path, max_bytes + 1)
            if len(data) > max_bytes:
                raise InvalidRequest(f"The picture in {param} has more than {max_bytes} bytes.", param=param)
            return (await pictures.inspect(data, param=param, max_pixels=max_pixels)).media_type

    async def _unlink(self, names: Iterable[str]) -> None:
        paths = [self._folder / name for name in names]
        await asyncio.to_thread(_unlink, paths)


def told_by(head: bytes) -> str:
    """The media type of a file that begins with `head`, which should have 64 bytes."""
    if _FILM.match(head):
        return "video/mp4"
    if _QUICKTIME.match(head):
        return "video/quicktime"
    if head.startswith(_EBML) and b"webm" in head:
        return "video/webm"
    return pictures.media_type(head) or UNTOLD


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _sweep(folder: Path, known: Collection[str]) -> int:
    if not folder.is_dir():
        return 0
    strange = [entry for entry in folder.iterdir() if entry.name not in known and entry.is_file()]
    _unlink(strange)
    return len(strange)
