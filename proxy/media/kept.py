"""Small results, such as thumbnails, made once and kept on disk; those that were not used for longest make room."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from proxy.errors import VideoNotFound
from proxy.ids import ID_PATTERN
from proxy.media import files

Producer = Callable[[Path], Awaitable[None]]
"""Writes one result to the path, where nothing is yet."""

_VARIANT: Final = re.compile("[a-z]{1,32}", re.ASCII)
_IN_USE: Final = 60.0
"""Seconds after a use in which a file stays, so that who was given its path can open it."""


@dataclass(eq=False, slots=True)
class _Making:
    task: asyncio.Task[Path]
    waiting: int = 0


class _File(NamedTuple):
    used: float
    path: Path
    size: int


class Kept:
    """The results in `folder`, one file for each video and variant, of about `max_bytes` together.

    `max_bytes` may be changed at any time; the next result or `trim` heeds it. A path that `find` or `make` gave may be
    trimmed away, though hardly within a minute: who opens it asks again where it is gone. One process at a time may use
    the folder. A `video_id` or `variant` of another form is a ValueError.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._folder = folder
        self._making: dict[str, _Making] = {}
        # Never less than what is in the folder; None before the first count.
        self._bytes: int | None = None
        self._lock = threading.Lock()

    async def find(self, video_id: str, variant: str) -> Path | None:
        """The kept result, which counts as used now; None where there is none."""
        return await asyncio.to_thread(self._used, _name(video_id, variant))

    async def make(self, video_id: str, variant: str, producer: Producer) -> Path:
        """The kept result, made by `producer` where there is none; who asks meanwhile waits for the same one.

        Its error reaches all who wait, and is forgotten. It is cancelled when nobody waits any more. A `VideoNotFound`
        where the video was discarded meanwhile.
        """
        name = _name(video_id, variant)
        making = self._making.get(name)
        if making is None:
            making = _Making(asyncio.create_task(self._make(name, video_id, producer)))
            self._making[name] = making
            making.task.add_done_callback(lambda task: self._made(name, task))
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting and not making.task.done():
                self._forget(name, making.task)
                making.task.cancel()
                await asyncio.wait([making.task])

    async def discard(self, video_id: str, variant: str = "") -> None:
        """Remove all results of a video, or those of one variant; one that is being made is not kept."""
        prefix = _name(video_id, variant)
        for name in [name for name in self._making if name.startswith(prefix)]:
            del self._making[name]
        await asyncio.to_thread(self._remove, prefix)

    async def trim(self) -> None:
        """Remove what was not used for longest until the rest has 90 % of `max_bytes`, where it had more than all.

        What was used in the last minute stays, unless there is more than twice `max_bytes`.
        """
        await asyncio.to_thread(self._trim)

    async def sweep(self) -> None:
        """Remove what a killed process left half made. For the start, before anything is made."""
        await asyncio.to_thread(self._sweep)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _made(self, name: str, task: asyncio.Task[Path]) -> None:
        self._forget(name, task)
        if not task.cancelled():
            # Nobody may be left to look at it.
            task.exception()

    def _forget(self, name: str, task: asyncio.Task[Path]) -> None:
        making = self._making.get(name)
        if making is not None and making.task is task:
            del self._making[name]

    async def _make(self, name: str, video_id: str, producer: Producer) -> Path:
        # Another may have finished between our caller's `find` and now.
        found = await asyncio.to_thread(self._used, name)
        if found is not None:
            return found
        fresh = await asyncio.to_thread(self._fresh)
        try:
            await producer(fresh)
            path = await asyncio.to_thread(self._keep, fresh, name)
        finally:
            await asyncio.to_thread(fresh.unlink, missing_ok=True)
        making = self._making.get(name)
        if making is None or making.task is not asyncio.current_task():
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise VideoNotFound(f"Video with id '{video_id}' not found.")
        return path

    def _used(self, name: str) -> Path | None:
        path = self._folder / name
        try:
            # The time of modification stays, as clients are told it.
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except FileNotFoundError:
            return None
        return path

    def _fresh(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f".{secrets.token_hex(8)}"

    def _keep(self, fresh: Path, name: str) -> Path:
        path = self._folder / name
        size = fresh.stat().st_size
        files.take(fresh, self._folder, name)
        with self._lock:
            if self._bytes is not None:
                self._bytes += size
            if self._bytes is None or self._bytes > self.max_bytes:
                self._bytes = self._trimmed(path)
        return path

    def _trim(self) -> None:
        with self._lock:
            self._bytes = self._trimmed(None)

    def _trimmed(self, spared: Path | None) -> int:
        found = sorted(self._files())
        total = sum(file.size for file in found)
        if total > self.max_bytes:
            recent = time.time() - _IN_USE
            for file in found:
                if total <= self.max_bytes * 9 // 10 or (file.used > recent and total <= 2 * self.max_bytes):
                    break
                if file.path != spared:
                    file.path.unlink(missing_ok=True)
                    total -= file.size
        return total

    def _files(self) -> list[_File]:
        found = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    # It may be discarded at any moment.
                    with suppress(FileNotFoundError):
                        facts = entry.stat()
                        found.append(_File(facts.st_atime, Path(entry.path), facts.st_size))
        return found

    def _remove(self, prefix: str) -> None:
        for path in self._folder.glob(f"{prefix}*"):
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for path in self._folder.glob(".*"):
            path.unlink(missing_ok=True)


def _name(video_id: str, variant: str) -> str:
    if not ID_PATTERN.fullmatch(video_id):
        raise ValueError(f"{video_id[:80]!r} is no id of a video")
    if variant and not _VARIANT.fullmatch(variant):
        raise ValueError(f"{variant[:80]!r} is no variant")
    return f"{video_id}.{variant}"
