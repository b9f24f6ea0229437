"""Small results on disk: made once, kept while they are used, gone with their video."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from proxy.errors import UnsupportedOperation, VideoNotFound
from proxy.media.kept import Kept

FIRST, SECOND, THIRD = (f"video_{number:032x}" for number in (1, 2, 3))


class Making:
    """A producer of `data` that counts its calls; it waits for `go` where it is told to."""

    def __init__(self, data: bytes = b"made", *, waits: bool = False, error: Exception | None = None) -> None:
        self.data = data
        self.error = error
        self.calls = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = False
        if not waits:
            self.go.set()

    async def __call__(self, path: Path) -> None:
        self.calls += 1
        await asyncio.to_thread(path.write_bytes, self.data[:1])
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        await asyncio.to_thread(path.write_bytes, self.data)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "kept", 1000)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "kept").glob("*"))


def rested(path: Path, seconds: float) -> None:
    """Let the last use of a file be so long ago."""
    os.utime(path, (time.time() - seconds, path.stat().st_mtime))


async def test_made_once_and_found(kept: Kept) -> None:
    """What was made is found and not made again; another variant and another video are other results."""
    assert await kept.find(FIRST, "thumbnail") is None
    making = Making(b"one")
    path = await kept.make(FIRST, "thumbnail", making)
    assert path.read_bytes() == b"one"
    assert await kept.find(FIRST, "thumbnail") == path
    assert await kept.make(FIRST, "thumbnail", making) == path
    assert making.calls == 1
    assert await kept.find(FIRST, "spritesheet") is None
    assert await kept.find(SECOND, "thumbnail") is None


async def test_five_at_once_are_one(kept: Kept, tmp_path: Path) -> None:
    """Five who ask at once get one result, which is nowhere before it is whole."""
    making = Making(waits=True)
    tasks = [asyncio.create_task(kept.make(FIRST, "thumbnail", making)) for _ in range(5)]
    await making.started.wait()
    assert await kept.find(FIRST, "thumbnail") is None
    making.go.set()
    paths = await asyncio.gather(*tasks)
    assert (making.calls, len(set(paths))) == (1, 1)
    assert names(tmp_path) == [paths[0].name]


async def test_who_leaves_first_fails_nobody(kept: Kept) -> None:
    """The first caller's end leaves the result to the second."""
    making = Making(waits=True)
    first = asyncio.create_task(kept.make(FIRST, "thumbnail", making))
    await making.started.wait()
    second = asyncio.create_task(kept.make(FIRST, "thumbnail", making))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    making.go.set()
    assert (await second).read_bytes() == b"made"
    assert (making.calls, making.cancelled) == (1, False)


async def test_what_nobody_waits_for_ends(kept: Kept, tmp_path: Path) -> None:
    """When the last caller is gone the work is cancelled, leaves nothing, and can be begun again."""
    making = Making(waits=True)
    task = asyncio.create_task(kept.make(FIRST, "thumbnail", making))
    await making.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert making.cancelled
    assert names(tmp_path) == []
    assert (await kept.make(FIRST, "thumbnail", Making())).read_bytes() == b"made"


async def test_a_failure_reaches_all_and_is_forgotten(kept: Kept, tmp_path: Path) -> None:
    """All who wait get the error, nothing is kept, and the next one tries again."""
    making = Making(waits=True, error=UnsupportedOperation("no"))
    tasks = [asyncio.create_task(kept.make(FIRST, "thumbnail", making)) for _ in range(3)]
    await making.started.wait()
    making.go.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [UnsupportedOperation] * 3
    assert names(tmp_path) == []
    await kept.make(FIRST, "thumbnail", Making())


async def test_a_discarded_video_has_nothing(kept: Kept, tmp_path: Path) -> None:
    """All of a video goes, also what is being made of it, and nothing of another one."""
    await kept.make(FIRST, "thumbnail", Making())
    other = await kept.make(SECOND, "thumbnail", Making())
    making = Making(waits=True)
    task = asyncio.create_task(kept.make(FIRST, "spritesheet", making))
    await making.started.wait()
    await kept.discard(FIRST)
    making.go.set()
    with pytest.raises(VideoNotFound, match=FIRST):
        await task
    assert names(tmp_path) == [other.name]
    await kept.discard(THIRD)


async def test_trim_keeps_what_is_used(kept: Kept) -> None:
    """Over the bound the least recently used goes first: a use counts, not the age."""
    paths = [await kept.make(video, "thumbnail", Making(bytes(480))) for video in (FIRST, SECOND)]
    rested(paths[0], 3000)
    rested(paths[1], 2000)
    await kept.trim()
    assert all(path.exists() for path in paths)
    modified = paths[0].stat().st_mtime_ns
    assert await kept.find(FIRST, "thumbnail") == paths[0]
    assert paths[0].stat().st_mtime_ns == modified
    third = await kept.make(THIRD, "thumbnail", Making(bytes(480)))
    assert [path.exists() for path in (*paths, third)] == [True, False, True]


async def test_what_was_just_used_stays(kept: Kept) -> None:
    """What was used within a minute outlives the bound, but not twice the bound; the one just made outlives both."""
    paths = [await kept.make(video, "thumbnail", Making(bytes(800))) for video in (FIRST, SECOND)]
    rested(paths[0], 50)
    await kept.trim()
    assert all(path.exists() for path in paths)
    paths.append(await kept.make(THIRD, "thumbnail", Making(bytes(5000))))
    assert [path.exists() for path in paths] == [False, False, True]


async def test_the_bound_may_change(kept: Kept) -> None:
    """A new bound holds from the next trim on."""
    path = await kept.make(FIRST, "thumbnail", Making(bytes(800)))
    rested(path, 3000)
    kept.max_bytes = 700
    await kept.trim()
    assert not path.exists()


async def test_what_is_being_made_is_not_trimmed(kept: Kept, tmp_path: Path) -> None:
    """A result that is still being written is no file to make room with."""
    making = Making(bytes(10), waits=True)
    task = asyncio.create_task(kept.make(FIRST, "thumbnail", making))
    await making.started.wait()
    kept.max_bytes = 0
    await kept.trim()
    assert len(names(tmp_path)) == 1
    making.go.set()
    assert (await task).read_bytes() == bytes(10)


async def test_leftovers_are_swept(kept: Kept, tmp_path: Path) -> None:
    """At the start, what a killed process left half made goes, and what is whole stays."""
    await kept.sweep()
    await kept.trim()
    path = await kept.make(FIRST, "thumbnail", Making())
    (tmp_path / "kept" / ".0123").write_bytes(b"half")
    await kept.sweep()
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == b"made"


@pytest.mark.parametrize("video_id", ["", "../escape", f"{FIRST}/..", f"{FIRST}\n", "video_*"])
async def test_an_id_is_no_path(kept: Kept, video_id: str) -> None:
    """Nothing but an id of ours and the word of a variant becomes the name of a file."""
    with pytest.raises(ValueError, match="is no id"):
        await kept.find(video_id, "thumbnail")
    with pytest.raises(ValueError, match="is no id"):
        await kept.discard(video_id)
    with pytest.raises(ValueError, match="is no variant"):
        await kept.make(FIRST, "../thumbnail", Making())
