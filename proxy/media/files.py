"""Files that must survive a crash, and files that must not survive their use.

All but `spool` block: they are called in a thread.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, Final, cast

_BATCH: Final = 2**20


def nameless(folder: Path) -> BinaryIO:
    """An empty file in `folder` (which is made) that vanishes when it is closed, also by a crash."""
    folder.mkdir(parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


async def spool(read: Callable[[], Awaitable[bytes]], file: BinaryIO) -> int:
    """Write what `read` gives, until it gives nothing, to `file`; answers the number of bytes."""
    size, batch, waiting = 0, [], 0
    while chunk := await read():
        size += len(chunk)
        waiting += len(chunk)
        batch.append(chunk)
        if waiting >= _BATCH:
            await asyncio.to_thread(file.writelines, batch)
            batch, waiting = [], 0
    await asyncio.to_thread(file.writelines, batch)
    return size


def keep(data: bytes, folder: Path, name: str) -> None:
    """Write `data` as `name` into `folder`: afterwards it is there, whole, also after a power cut."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{secrets.token_hex(8)}"
    try:
        with fresh.open("xb") as file:
            file.write(data)
        _settle(fresh, folder, name)
    finally:
        fresh.unlink(missing_ok=True)


def take(path: Path, folder: Path, name: str) -> None:
    """Move the file at `path` into `folder` as `name`, as durably as `keep`, also from another file system."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{secrets.token_hex(8)}"
    try:
        try:
            path.rename(fresh)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(path, fresh)
            path.unlink()
        _settle(fresh, folder, name)
    finally:
        fresh.unlink(missing_ok=True)


def _settle(fresh: Path, folder: Path, name: str) -> None:
    # A name must never lead to less than the whole: the bytes, then the name, then the names above it.
    _sync(fresh)
    fresh.replace(folder / name)
    _sync(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
