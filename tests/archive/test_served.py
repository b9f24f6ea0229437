"""The product with an archive: one transfer from the provider, and then every byte from here."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.media.archive import key_of
from proxy.records import Archived
from proxy.store import archive as table
from proxy.testing import SimulatorServer
from tests.archive.conftest import Place
from tests.conftest import Launch, Product
from tests.simulators.openai import OpenAISimulator


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    async with SimulatorServer(OpenAISimulator()) as sim:
        yield sim


def config(sim: OpenAISimulator, address: str, **more: Any) -> str:
    return (
        f"server: {{archive: '{address}'}}\n"
        f"channels: [{{name: up, type: openai, models: [sora-2], poll_every: 0.02, base_url: '{sim.base_url}', "
        f"api_key: sk-test{''.join(f', {key}: {value}' for key, value in more.items())}}}]\n"
    )


async def copied(product: Product, video_id: str) -> Archived:
    """The row of the copy, once it is stored."""
    async with asyncio.timeout(20):
        while True:
            row = await product.core.store.read(partial(table.of, video_id=video_id))
            if row is not None and row.state == "stored":
                return row
            await asyncio.sleep(0.01)


async def test_the_archive_outlives_the_upstream(
    launch: Launch, sim: OpenAISimulator, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished video is copied without anybody asking; once its upstream is gone, and its time there is over, it is
    served from the archive, whole, in parts and by HEAD, with the length and the SHA-256 that the store knows."""
    product = await launch(config(sim, place.address))
    video = await product.done((await product.create())["id"])
    row = await copied(product, video["id"])
    made = sim.video_bytes
    assert (row.size, row.sha256) == (len(made), hashlib.sha256(made).hexdigest())
    assert await asyncio.to_thread(place.files) == {key_of(video["id"]): made}
    await sim.stop()
    monkeypatch.setattr(product.core, "clock", lambda: time.time() + 1e6)
    path = f"/v1/videos/{video['id']}/content"
    assert (await product.call("GET", path))[:2] == (200, made)
    for wish, part in (("bytes=1000-1999", made[1000:2000]), ("bytes=-77", made[-77:]), ("bytes=5-", made[5:])):
        status, body, headers = await product.call("GET", path, headers={"Range": wish})
        assert (status, body) == (206, part)
        assert headers["content-range"].endswith(f"/{len(made)}")
    assert (await product.call("GET", path, headers={"Range": f"bytes={len(made)}-"}))[0] == 416
    status, body, headers = await product.call("HEAD", path)
    assert (status, body, headers["content-length"]) == (200, b"", str(len(made)))
    assert len(sim.calls("content")) == 1


async def test_a_deleted_video_leaves_the_archive(launch: Launch, sim: OpenAISimulator, place: Place) -> None:
    """After a DELETE the copy is removed."""
    product = await launch(config(sim, place.address))
    video = await product.done((await product.create())["id"])
    await copied(product, video["id"])
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    async with asyncio.timeout(20):
        while await asyncio.to_thread(place.files):
            await asyncio.sleep(0.01)


async def test_content_archive_means_one_transfer(launch: Launch, sim: OpenAISimulator, tmp_path: Path) -> None:
    """With `content: archive`, clients who ask the moment a video is completed wait for its copy: the provider sends it
    once, however many they are."""
    product = await launch(config(sim, str(tmp_path / "videos"), content="archive"))
    video = await product.done((await product.create())["id"])
    path = f"/v1/videos/{video['id']}/content"
    answers = await asyncio.gather(*(product.call("GET", path) for _ in range(8)))
    assert [answer[:2] for answer in answers] == [(200, sim.video_bytes)] * 8
    assert len(sim.calls("content")) == 1
