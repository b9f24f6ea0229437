"""A store, and time that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.store import Store

NOW = 1_800_000_000.0


class Clock:
    """Seconds, which go on when they are told to."""

    def __init__(self, time: float) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """Unix time."""
    return Clock(NOW)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open, empty store."""
    opened = await Store.open(tmp_path / "reelgate.db")
    yield opened
    await opened.close()
