"""A file that vanishes with its object, whoever drops the last reference, wherever that happens."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxy.spooled import Spooled


class Locked(ThreadPoolExecutor):
    """An executor that tells who calls it from within a call of it: the lock of a real one would never open."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.inside = False
        self.reentered = False
        self.collect = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.reentered |= self.inside
        self.inside = True
        if self.collect:
            gc.collect()
        self.inside = False
        return super().submit(fn, *args, **kwargs)


def in_a_cycle(path: Path) -> None:
    """A spooled file that nothing but the garbage collector can find."""
    path.write_bytes(b"film")
    ring: list[object] = [Spooled(path, 4)]
    ring.append(ring)


async def test_the_collector_may_find_it_within_a_call_of_the_executor(tmp_path: Path) -> None:
    """The collector runs in the midst of anything, also while the executor holds its lock: nothing waits for itself."""
    loop, executor, path = asyncio.get_running_loop(), Locked(), tmp_path / "film"
    loop.set_default_executor(executor)
    gc.disable()
    try:
        in_a_cycle(path)
        executor.collect = True
        await asyncio.to_thread(str)
    finally:
        gc.enable()
    executor.collect = False
    # The executor has one thread: behind what removes the file.
    await asyncio.sleep(0)
    await asyncio.to_thread(str)
    assert not executor.reentered
    assert not path.exists()


@pytest.mark.parametrize("taken", [False, True])
def test_it_vanishes_without_a_loop_too(tmp_path: Path, taken: bool) -> None:
    """In a thread without a loop the file goes at once; one that was taken stays."""
    path, kept = tmp_path / "film", tmp_path / "kept"
    path.write_bytes(b"film")
    spooled = Spooled(path, 4)
    if taken:
        spooled.take(kept)
    del spooled
    assert not path.exists()
    assert kept.exists() is taken
