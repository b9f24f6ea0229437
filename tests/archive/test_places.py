"""What an archive promises, held by a folder and by an S3-compatible server alike."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import obstore
import pytest

from proxy.errors import NotFound, UpstreamError, UpstreamUnreachable
from proxy.ids import new_id
from proxy.media.archive import PARTIAL, ArchiveError, key_of, open_archive
from proxy.models import Source
from tests.archive.conftest import Bucket, Place

KEY = "ab/video_x.mp4"
SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(12 * 2**20 + 17)
"""More than two of the parts that a bucket gets."""


def reading(*chunks: bytes | Exception) -> Callable[[], Awaitable[bytes]]:
    """Gives `chunks` and then nothing more; an error among them is raised."""
    script = list(chunks)

    async def read() -> bytes:
        chunk = script.pop(0) if script else b""
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    return read


def pieces(data: bytes, length: int = 65_536) -> Iterable[bytes]:
    return (data[at : at + length] for at in range(0, len(data), length))


async def content(source: Source, first: int = 0, length: int | None = None) -> bytes:
    """What a reader of `source` gets."""
    assert source.size is not None
    length = source.size - first if length is None else length
    if source.path is not None:
        return (await asyncio.to_thread(source.path.read_bytes))[first : first + length]
    assert source.read is not None
    return b"".join([chunk async for chunk in source.read(first, length)])


@asynccontextmanager
async def begun(place: Place, *chunks: bytes) -> AsyncIterator[asyncio.Task[Any]]:
    """A put that has got `chunks` and waits for more."""
    waits = asyncio.Event()
    before = reading(*chunks)

    async def read() -> bytes:
        chunk = await before()
        if not chunk:
            waits.set()
            await asyncio.Event().wait()
        return chunk

    task = asyncio.create_task(place.archive.put(KEY, read, None))
    await waits.wait()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_what_is_stored_is_what_came(place: Place, data: bytes) -> None:
    """The object has the very bytes, their number and their SHA-256; any part of it can be read."""
    stored = await place.archive.put(KEY, reading(*pieces(data)), len(data))
    assert stored == (len(data), hashlib.sha256(data).hexdigest())
    assert await asyncio.to_thread(place.files) == {KEY: data}
    assert await asyncio.to_thread(place.leftovers) == 0
    source = place.archive.source(KEY, stored.size)
    assert await content(source) == data
    assert await content(source, 1000, 1) == data[1000:1001]
    assert await content(source, len(data) - 77_777) == data[-77_777:]


async def test_a_second_copy_takes_the_place_of_the_first(place: Place) -> None:
    """A copy that is made again, as after a crash, replaces the one that is there."""
    await place.archive.put(KEY, reading(b"first"), None)
    await place.archive.put(KEY, reading(SMALL), None)
    assert await asyncio.to_thread(place.files) == {KEY: SMALL}


WRONG: dict[str, tuple[list[bytes | Exception], int | None, str]] = {
    "short": ([SMALL], len(SMALL) + 1, "sent 300000 bytes of 300001"),
    "long": ([SMALL, b"x"], len(SMALL), "more than the 300000 bytes"),
    "empty": ([], None, "an empty file"),
    "broken at once": ([UpstreamError("cut")], None, "cut"),
    "broken in the second part": ([*pieces(LARGE[: 7 * 2**20]), UpstreamError("cut")], len(LARGE), "cut"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_length_is_never_stored(place: Place, case: str) -> None:
    """What is shorter or longer than it should be, empty, or breaks off raises its own error and leaves nothing."""
    chunks, size, said = WRONG[case]
    with pytest.raises(UpstreamError, match=said):
        await place.archive.put(KEY, reading(*chunks), size)
    assert await asyncio.to_thread(place.files) == {}
    assert await asyncio.to_thread(place.leftovers) == 0


async def test_a_cancelled_copy_leaves_nothing(place: Place) -> None:
    """A copy that is cancelled in the middle is seen nowhere, neither before nor after."""
    async with begun(place, *pieces(LARGE)) as task:
        assert await asyncio.to_thread(place.files) == {}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(place.files) == {}
        assert await asyncio.to_thread(place.leftovers) == 0


async def test_what_is_deleted_is_gone(place: Place) -> None:
    """Deleting removes the object, and is fine where there is none; reading it then is a 404."""
    await place.archive.put(KEY, reading(SMALL), None)
    await place.archive.delete(KEY)
    await place.archive.delete(KEY)
    assert await asyncio.to_thread(place.files) == {}
    source = place.archive.source(KEY, len(SMALL))
    if source.path is None:
        with pytest.raises(NotFound, match="no longer there"):
            await content(source)


@pytest.mark.parametrize("place", ["folder"], indirect=True)
async def test_leftovers_of_a_kill_are_swept(place: Place, tmp_path: Path) -> None:
    """What a killed writer left in a folder goes; what is stored, and what is being written right now, stays."""
    await place.archive.put(KEY, reading(SMALL), None)
    async with begun(place, *pieces(LARGE)):
        left = tmp_path / "archive" / PARTIAL / "left"
        await asyncio.to_thread(left.write_bytes, SMALL)
        await place.archive.sweep()
        assert await asyncio.to_thread(place.leftovers) == 1
        assert not await asyncio.to_thread(left.exists)
    assert await asyncio.to_thread(place.files) == {KEY: SMALL}


@pytest.mark.parametrize("place", ["folder"], indirect=True)
async def test_a_full_disk_is_the_archives_trouble(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no more is an `ArchiveError`, not the upstream's, and nothing half written stays."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ArchiveError, match=r"archive cannot be written \(No space left on device\)"):
            await place.archive.put(KEY, reading(SMALL), None)
    assert await asyncio.to_thread(place.files) == {}
    assert await asyncio.to_thread(place.leftovers) == 0
    await place.archive.put(KEY, reading(SMALL), None)


async def test_a_bucket_that_is_not_there_is_the_archives_trouble(bucket: Bucket) -> None:
    """What the object store refuses is an `ArchiveError` in one line that holds no query of an address."""
    archive = await asyncio.to_thread(open_archive, f"s3://{bucket.name}-not/videos")
    with pytest.raises(ArchiveError, match="the object store took no file") as caught:
        await archive.put(KEY, reading(SMALL), None)
    assert "\n" not in str(caught.value)
    assert "uploads=" not in str(caught.value)


@pytest.mark.parametrize("place", ["s3"], indirect=True)
async def test_a_bucket_that_is_away_is_told_to_both_sides(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store that cannot be asked is the archive's trouble, and its readers are told to try again."""

    async def refuse(*args: Any, **options: Any) -> Any:
        raise OSError("away")

    for name in ("get_async", "delete_async"):
        monkeypatch.setattr(obstore, name, refuse)
    with pytest.raises(ArchiveError, match="the object store removed no file: away"):
        await place.archive.delete(KEY)
    with pytest.raises(UpstreamUnreachable, match="archive of this server cannot be read now; try again"):
        await content(place.archive.source(KEY, 5))


@pytest.mark.parametrize("place", ["folder"], indirect=True)
async def test_a_cancellation_waits_for_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is closed or removed while a thread still works on it."""
    began, goes_on = threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        began.set()
        goes_on.wait(20)

    monkeypatch.setattr(os, "fsync", slow)
    task = asyncio.create_task(place.archive.put(KEY, reading(SMALL), None))
    await asyncio.to_thread(began.wait, 20)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.05)
    goes_on.set()
    assert not done
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(place.leftovers) == 0


@pytest.mark.parametrize("place", ["s3"], indirect=True)
async def test_a_reader_that_is_cut_off_goes_on_where_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a bucket loses patience with a slow reader, the rest is asked for, and every byte comes once."""
    archive = place.archive
    await archive.put(KEY, reading(LARGE), None)
    get, asked = obstore.get_async, []

    class Cut:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        async def stream(self, **options: Any) -> AsyncIterator[bytes]:
            sent = 0
            async for chunk in self.answer.stream(**options):
                yield chunk
                sent += len(chunk)
                if sent > 3_000_000:
                    raise OSError("cut")

    async def cutting(*args: Any, **options: Any) -> Any:
        asked.append(options["options"]["range"])
        return Cut(await get(*args, **options))

    monkeypatch.setattr(obstore, "get_async", cutting)
    assert await content(archive.source(KEY, len(LARGE)), 5, len(LARGE) - 10) == LARGE[5:-5]
    assert len(asked) > 3


def test_a_key_is_made_of_an_id_of_ours_alone() -> None:
    """Keys are spread over folders by chance, and nothing but one of our own ids becomes a part of one."""
    video_id = new_id("video")
    assert key_of(video_id) == f"{video_id[-2:]}/{video_id}.mp4"
    for text in ("../../etc/passwd", f"{video_id}/x", "video_x", f"{video_id}\n", ""):
        with pytest.raises(ValueError, match="no id of ours"):
            key_of(text)
