"""A file that is watched: every way to change it is noticed, once, and never in the middle."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy import watch
from proxy.watch import Watch

EVERY = 0.01


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "channels.yaml"
    file.write_text("one")
    return file


async def begun(file: Path) -> Watch:
    watching = Watch(file, every=EVERY)
    await watching.begin()
    return watching


async def looks(monkeypatch: pytest.MonkeyPatch, *seen: int | None) -> list[int | None]:
    """What a watch looks at, from now on, as identities; the last one stays."""
    waiting = list(seen)

    def look(file: Path) -> tuple[int, ...] | None:
        now = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return None if now is None else (now,)

    monkeypatch.setattr(watch, "_identity", look)
    return waiting


async def changed(watching: Watch) -> None:
    async with asyncio.timeout(10):
        await watching.change()


async def quiet(watching: Watch) -> bool:
    """Whether many looks find nothing new."""
    try:
        async with asyncio.timeout(20 * EVERY):
            await watching.change()
    except TimeoutError:
        return True
    return False


def in_place(file: Path) -> None:
    file.write_text("two")


def same_size_and_time(file: Path) -> None:
    before = file.stat()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    before = file.stat()
    other = file.with_suffix(".new")
    other.write_text("two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def away_and_back(file: Path) -> None:
    file.unlink()
    file.write_text("two")


@pytest.mark.parametrize("way", [in_place, same_size_and_time, replaced, away_and_back])
async def test_each_way_to_change_a_file_is_noticed_once(file: Path, way: Callable[[Path], None]) -> None:
    """Written in place, also with its size and time kept, replaced by another file, removed and made anew."""
    watching = await begun(file)
    assert await quiet(watching)
    for _ in range(2):
        await asyncio.to_thread(way, file)
        await changed(watching)
        assert await quiet(watching)


async def test_a_link_that_moves_is_noticed(tmp_path: Path) -> None:
    """A config map of Kubernetes: the file is a link through `..data`, a link to a folder that is swapped."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "channels.yaml").write_text("one")
    data, file = tmp_path / "..data", tmp_path / "channels.yaml"
    data.symlink_to("first")
    file.symlink_to("..data/channels.yaml")
    watching = await begun(file)
    assert await quiet(watching)
    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").replace(data)
    await changed(watching)
    assert await quiet(watching)


async def test_a_file_that_is_still_written_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as each look finds another file, nothing is told; then the last one counts."""
    await looks(monkeypatch, 1)
    watching = await begun(file)
    waiting = await looks(monkeypatch, 1, 2, 3, 4, 5, 5, 6)
    await changed(watching)
    assert waiting == [6]


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        # It comes back as another file.
        ([1, None, None, None, 2, 2, 9], [9]),
        # It comes back, and what it is then is not known at once.
        ([None, 2, None, 3, 3, 9], [9]),
    ],
)
async def test_a_file_that_is_away_is_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int | None], left: list[int]
) -> None:
    """A file that vanished is no change, however long it is away; the one that comes back is."""
    await looks(monkeypatch, 1)
    watching = await begun(file)
    waiting = await looks(monkeypatch, *seen)
    await changed(watching)
    assert waiting == left
    await looks(monkeypatch, None)
    assert await quiet(watching)


async def test_a_file_that_comes_back_as_it_was_is_no_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that was away for a moment, or a change that was taken back before anyone looked twice."""
    await looks(monkeypatch, 1)
    watching = await begun(file)
    waiting = await looks(monkeypatch, None, None, 1, 1, 2, 1, 1)
    assert await quiet(watching)
    assert waiting == [1]


async def test_who_asks_waits_for_no_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ask` ends the wait, also when it came before; what changed until then is known and not told again."""
    watching = Watch(file, every=60)
    await watching.begin()
    watching.ask()
    watching.ask()
    await changed(watching)
    waiting = asyncio.create_task(watching.change())
    await asyncio.sleep(0)
    in_place(file)
    watching.ask()
    async with asyncio.timeout(10):
        await waiting
    watching._every = EVERY
    assert await quiet(watching)


async def test_a_change_between_two_waits_is_noticed(file: Path) -> None:
    """What changes while the file is being applied is told by the next wait."""
    watching = await begun(file)
    await asyncio.to_thread(in_place, file)
    await changed(watching)
    await asyncio.to_thread(file.write_text, "three")
    await changed(watching)
    assert await quiet(watching)
