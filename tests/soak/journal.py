"""What each party of a run writes down: lines of JSON, in order, never changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


def now() -> float:
    """Seconds of a clock that all processes of this machine share and nobody sets."""
    return time.monotonic()


class Journal:
    """A file that entries are appended to; each is in the file when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, **entry: Any) -> None:
        """Append `entry` and the time `t` at which it was written."""
        self._file.write(json.dumps({"t": round(now(), 4), **entry}).encode() + b"\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def read(path: Path) -> list[Entry]:
    """The entries of one file; none where there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class Follower:
    """Reads what is added to a journal that another process writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> Iterator[Entry]:
        """What is there since the last call."""
        if not self._path.exists() or self._path.stat().st_size <= self._offset:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield json.loads(line)
