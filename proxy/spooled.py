"""Bytes that were too many for the memory: a file that nobody has to remember to remove."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from pathlib import Path
from typing import Final


class Spooled:
    """Bytes that were too many for the memory, in a temporary file that vanishes with this object: see
    `Upstream.get(..., spool=True)`. `path` is good as long as the object lives and nobody has taken the file."""

    __slots__ = ("__weakref__", "_gone", "path", "size")

    def __init__(self, path: Path, size: int) -> None:
        self.path: Final = path
        self.size: Final = size
        self._gone = weakref.finalize(self, _remove, path)

    def take(self, to: Path) -> None:
        """Move the file to `to`, where it stays; blocks. It must be on the same file system."""
        self.path.replace(to)
        self._gone.detach()


def _remove(path: Path) -> None:
    # Whoever drops the last reference may be the loop, and to remove a large file takes the disk a while. It may also
    # be the garbage collector in the midst of anything, such as a call of the executor, which would wait for itself:
    # nothing that takes a lock may be called here.
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        path.unlink(missing_ok=True)
    else:
        loop.call_soon(_remove_aside, loop, path)


def _remove_aside(loop: asyncio.AbstractEventLoop, path: Path) -> None:
    loop.run_in_executor(None, partial(path.unlink, missing_ok=True))
