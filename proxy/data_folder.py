"""Whether the data folder can be used, told before anything is written to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

WITHIN: Final = ("channels", "files", "inputs", "kept", "uploads", "work", "workers")
"""The folders that the server makes in it."""


def problem(data: Path) -> str | None:
    """A sentence that says why `data`, or a folder in it, cannot be used, and what to do; None where it can, or can be
    made. Blocks for a moment."""
    # The data folder, or the one that it will be made in.
    there = next(folder for folder in (data, *data.absolute().parents) if os.path.lexists(folder))
    if (said := _unusable(there)) is not None:
        where = "" if there == data else f"cannot be made: {there} "
        return f"{data}: the data folder {where}{said}, or name another one with --data DIR"
    for folder in (data / name for name in WITHIN):
        if os.path.lexists(folder) and (said := _unusable(folder)) is not None:
            return f"{folder}: a folder of the data folder {said}"
    return None


def _unusable(folder: Path) -> str | None:
    if not folder.is_dir():
        return "must be a folder, and something else is in its place: move that away"
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "is on a disk that is mounted read-only: mount it writable"
    owner = folder.stat()
    return (
        f"cannot be written: it belongs to user {owner.st_uid} (mode {owner.st_mode & 0o7777:o}) and this is user "
        f"{os.geteuid()}, so change its owner or its permissions"
    )
