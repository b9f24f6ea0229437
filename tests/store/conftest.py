"""A store in a folder of its own, and videos to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.ids import new_id
from proxy.records import Video
from proxy.store import Store


def make_video(**fields: Any) -> Video:
    """A video that waits; `fields` win."""
    plain: dict[str, Any] = {
        "id": new_id("video"),
        "tenant": "tenant-a",
        "key_id": "key_a",
        "model": "sora-2",
        "upstream_model": "lumen-1",
        "channel": "lumen",
        "prompt": "a cat",
        "seconds": 4,
        "size": "1280x720",
        "created_at": 1_800_000_000,
    }
    return Video(**(plain | fields))


@pytest.fixture(scope="session")
def video_of() -> Any:
    """`make_video`."""
    return make_video


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open, empty store."""
    opened = await Store.open(tmp_path / "reelgate.db")
    yield opened
    await opened.close()
