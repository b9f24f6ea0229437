"""Where finished videos are kept for good: a folder, or a bucket of an object store.

Every key is made here of one of our own ids. What has a key is whole and durable; a copy that breaks off leaves nothing
that could be taken for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol, TypeVar

from proxy.errors import NotFound, ReelgateError, StartupError, UpstreamError, UpstreamUnreachable
from proxy.ids import ID_PATTERN
from proxy.models import Source

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")

Read = Callable[[], Awaitable[bytes]]
"""Gives the next bytes, none at the end; raises where they break off."""

PARTIAL: Final = ".partial"
"""The folder of what is being written, inside of the archive's so that a rename makes it appear at once."""
THREADS: Final = 4
"""Of a local archive's own: a disk that is slow to write must not hold up those who read."""

_BATCH: Final = 2**20
_SLICE: Final = 256 * 1024
# 10,000 parts at most, and 5 MiB at least, are the rules of S3.
_PART: Final = 5 * 2**20
_PARTS_AT_ONCE: Final = 2
_ABORT_WAIT: Final = 5.0

_SCHEMES: Final = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az", "memory": "memory"}
_MORE_WORDS: Final = 200


class ArchiveError(ReelgateError):
    """The archive itself cannot be written or emptied now; it says nothing about any one video."""


class Stored(NamedTuple):
    """What was stored: the number of bytes, and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Archive(Protocol):
    """Keeps files by key. `put` and `delete` raise `ArchiveError` where the archive cannot be used now."""

    async def put(self, key: str, read: Read, size: int | None) -> Stored:
        """Store what `read` gives as `key`, in place of what was there; durable when it returns.

        `size` is the number of bytes that must come, where it is known. An `UpstreamError` where others come, or none.
        Whatever is raised, nothing is stored; after a cancellation nothing or the whole.
        """

    def source(self, key: str, size: int) -> Source:
        """Where the bytes of `key` are read from, of which there are `size`."""

    async def delete(self, key: str) -> None:
        """Remove `key`; fine where there is none."""

    async def sweep(self) -> None:
        """Remove what writers that were killed have left; only while no other process writes."""

    async def close(self) -> None:
        """Let go of it, after the last call of the others."""


def key_of(video_id: str) -> str:
    """The key of a video's copy. The id's end is chance, so that no folder holds too many."""
    if ID_PATTERN.fullmatch(video_id) is None:
        raise ValueError(f"{video_id[:80]!r} is no id of ours")
    return f"{video_id[-2:]}/{video_id}.mp4"


def open_archive(address: str) -> Archive:
    """The archive at `address`: an absolute folder, which is made, or `scheme://bucket/prefix`. Blocks.

    `StartupError` where it cannot be used. Credentials come from the environment, by the names that the providers' own
    tools know: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME…
    """
    if "://" in address:
        return ObjectArchive(_connect(address))
    folder = Path(address)
    try:
        (folder / PARTIAL).mkdir(parents=True, exist_ok=True)
        probe = folder / PARTIAL / secrets.token_hex(8)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartupError(_unwritable(folder, error)) from error
    return LocalArchive(folder)


def problem(address: str) -> str | None:
    """Why the archive at `address` cannot be used, in one sentence; None where nothing speaks against it. Blocks, makes
    nothing, and asks no network."""
    if "://" in address:
        try:
            _connect(address)
        except StartupError as error:
            return str(error)
        return None
    folder = Path(address)
    # The folder, or the one that it will be made in.
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return None
    return _unwritable(folder, None)


def _unwritable(folder: Path, error: OSError | None) -> str:
    reason = f" ({error.strerror or error})" if error is not None else ""
    return f"server.archive: {folder} must be a folder that can be written{reason}; name another one"


# ---------------------------------------------------------------- what comes in


class _Intake:
    """The bytes of one copy on their way in: taken in batches, counted and hashed."""

    def __init__(self, read: Read, size: int | None) -> None:
        self._read = read
        self._size = size
        self._total = 0
        self._digest = hashlib.sha256()
        self._ended = self._stopped = False
        self._reading: asyncio.Task[list[bytes]] | None = None
        self.error: BaseException | None = None
        """Why no more came."""

    async def batch(self) -> list[bytes]:
        """About 1 MiB of chunks, none at the end."""
        if self._stopped:
            raise asyncio.CancelledError
        self._reading = asyncio.ensure_future(self._gather())
        try:
            return await self._reading
        except BaseException as error:
            self.error = error
            raise

    def stop(self) -> None:
        """Break off at once: `batch` raises."""
        self._stopped = True
        if self._reading is not None:
            self._reading.cancel()

    def hash(self, batch: Sequence[bytes]) -> None:
        """Take `batch` into account; for a thread."""
        for chunk in batch:
            self._digest.update(chunk)

    def stored(self) -> Stored:
        return Stored(self._total, self._digest.hexdigest())

    async def _gather(self) -> list[bytes]:
        batch, waiting = [], 0
        while not self._ended and waiting < _BATCH:
            chunk = await self._read()
            if not chunk:
                self._ended = True
                self._check()
                break
            batch.append(chunk)
            waiting += len(chunk)
            self._total += len(chunk)
            if self._size is not None and self._total > self._size:
                raise UpstreamError(f"The upstream sent more than the {self._size} bytes that it had announced.")
        return batch

    def _check(self) -> None:
        if not self._total:
            raise UpstreamError("The upstream sent an empty file.")
        if self._size is not None and self._total != self._size:
            raise UpstreamError(f"The upstream sent {self._total} bytes of {self._size}.")


# ---------------------------------------------------------------- a folder


class LocalArchive:
    """An archive in `folder`, which `open_archive` has made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="archive")
        self._writing: set[Path] = set()

    async def put(self, key: str, read: Read, size: int | None) -> Stored:
        intake = _Intake(read, size)
        draft = _Draft(self._folder / PARTIAL / secrets.token_hex(8))
        self._writing.add(draft.path)
        try:
            while batch := await intake.batch():
                await self._carry(draft.write, intake, batch)
            await self._carry(draft.settle, self._folder / key)
        finally:
            await self._carry(draft.discard)
            self._writing.discard(draft.path)
        return intake.stored()

    def source(self, key: str, size: int) -> Source:
        return Source(path=self._folder / key, size=size)

    async def delete(self, key: str) -> None:
        await self._carry((self._folder / key).unlink, True)

    async def sweep(self) -> None:
        await self._carry(self._sweep)

    def _sweep(self) -> None:
        for path in (self._folder / PARTIAL).glob("*"):
            if path not in self._writing:
                path.unlink(missing_ok=True)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def _carry(self, function: Callable[..., T], *arguments: object) -> T:
        work = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # What a thread does cannot be stopped, and the file must not be closed under it.
            await asyncio.wait([work])
            work.exception()
            raise
        except OSError as error:
            raise ArchiveError(f"{self._folder} cannot be written ({error.strerror or error})") from error


class _Draft:
    """A file that is being written at `path`, and has no name yet that anybody looks for. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def write(self, intake: _Intake, batch: list[bytes]) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb")
        intake.hash(batch)
        self._file.writelines(batch)

    def settle(self, path: Path) -> None:
        """Let it be the file at `path`, durably; it is not empty."""
        assert self._file is not None
        # A name must never lead to less than the whole: the bytes, then the name, then the names above it.
        self._file.flush()
        os.fsync(self._file.fileno())
        path.parent.mkdir(exist_ok=True)
        self.path.replace(path)
        for folder in (path.parent, path.parent.parent):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def discard(self) -> None:
        """Close it, and remove what has not become a file of its own."""
        try:
            if self._file is not None:
                self._file.close()
        finally:
            self.path.unlink(missing_ok=True)


# ---------------------------------------------------------------- an object store


class ObjectArchive:
    """An archive in a bucket."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, key: str, read: Read, size: int | None) -> Stored:
        intake = _Intake(read, size)
        upload = asyncio.ensure_future(self._upload(key, intake))
        try:
            return await asyncio.shield(upload)
        except asyncio.CancelledError:
            # An upload whose bytes break off is aborted; one that is cancelled would leave its parts in the bucket.
            intake.stop()
            await asyncio.wait([upload], timeout=_ABORT_WAIT)
            if not upload.cancel() and not upload.cancelled():
                upload.exception()
            raise

    async def _upload(self, key: str, intake: _Intake) -> Stored:
        import obstore

        async def parts() -> AsyncIterator[bytes]:
            while batch := await intake.batch():
                part = b"".join(batch)
                await asyncio.to_thread(intake.hash, (part,))
                yield part

        try:
            await obstore.put_async(
                self._store, key, parts(), use_multipart=True, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )
        except Exception as error:
            if intake.error is not None:
                raise intake.error from None
            raise ArchiveError(f"the object store took no file: {_words(error)}") from error
        return intake.stored()

    def source(self, key: str, size: int) -> Source:
        return Source(read=partial(self._read, key), size=size)

    async def _read(self, key: str, first: int, length: int) -> AsyncIterator[bytes]:
        import obstore

        at, end = first, first + length
        while at < end:
            began = at
            try:
                answer = await obstore.get_async(self._store, key, options={"range": (at, end)})
                async for chunk in answer.stream(min_chunk_size=_SLICE):
                    at += len(chunk)
                    yield chunk
            except FileNotFoundError as error:
                raise NotFound("The file of this video is no longer there.") from error
            except Exception as error:
                # A store may lose patience with a slow reader: what came counts, and the rest is asked for anew.
                if at == began:
                    raise UpstreamUnreachable("The archive of this server cannot be read now; try again.") from error

    async def delete(self, key: str) -> None:
        import obstore

        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise ArchiveError(f"the object store removed no file: {_words(error)}") from error

    async def sweep(self) -> None:
        """The parts that a killed upload left are not to be seen from here: a rule of the bucket removes them."""

    async def close(self) -> None:
        """There is nothing to let go of."""


def _connect(address: str) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise StartupError(
            f"server.archive: {address} needs a package that is not installed: pip install 'reelgate[s3]'"
        ) from error
    scheme, _, rest = address.partition("://")
    # A reader may take hours, but nobody is silent for a minute. What fails is tried again by those who ask.
    client: ClientConfig = {
        "timeout": timedelta(days=365),
        "read_timeout": timedelta(seconds=60),
        "allow_http": any(
            os.environ.get(f"{provider}_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")
            for provider in ("AWS", "AZURE", "GOOGLE")
        ),
    }
    retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
    # What is given here wins over the environment, and an in-memory store takes none of it.
    options: dict[str, Any] = {} if scheme == "memory" else {"client_options": client, "retry_config": retry}
    try:
        return from_url(f"{_SCHEMES.get(scheme, scheme)}://{rest}", **options)
    except Exception as error:
        raise StartupError(
            f"server.archive: {address} cannot be used ({_words(error)}); its credentials belong in the environment"
        ) from error


def _words(error: Exception) -> str:
    """What an object store said, in a line, without the query of an address: it may hold a signature."""
    return re.sub(r"\?\S*", "?…", str(error).partition("\n")[0])[:_MORE_WORDS]
