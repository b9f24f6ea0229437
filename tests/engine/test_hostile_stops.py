"""Stops and kills in the middle of something: what was sent is waited for, and what was written stays true."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from proxy.engine import recovery, submissions
from proxy.engine.requests import Submittable, build
from proxy.errors import AccountRefused
from proxy.models import ABSENT
from proxy.records import Video
from tests.conftest import Launch, Product
from tests.engine.deleting import COMPLETED, PLUGINS, RUNNING, blocked, reaches, word
from tests.engine.doubts import LOOKUP, engine_of, failed

GRACE = 30.0
TWO = """
server: {submit_wait: 0.05}
channels:
  - {name: a, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}
  - {name: b, type: puppet, models: [veo], poll_every: 0.01}
"""
NARROW = "channels: [{name: a, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}]"
PAIR = """
server: {submit_wait: 0.05, unknown_grace: 30}
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10, poll_every: 0.01}
  - {name: b, type: lookup, models: [sora-2], poll_every: 0.01}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes are looked up soon."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.02)


def works(product: Product, name: str) -> bool:
    """Whether the engine has a task of this name."""
    return any(task.get_name() == name for task in product.core._tasks)


async def stored(product: Product, video_id: str) -> Video:
    video = await product.core.store.video(video_id)
    assert video is not None
    return video


async def test_a_submission_that_the_queue_has_begun_is_not_cut(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that comes while the queue prepares a submission has its word too, not only that of those on the wire."""
    product = await launch(TWO, plugins=PLUGINS)
    a, b = product.channel("a"), product.channel("b")
    going, second = await blocked(product)
    other, answer = word(), word()
    b.then("create", other)
    third = await product.create(model="veo")
    a.then("create", answer)
    prepares, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Submittable:
        prepares.set()
        await goes_on.wait()
        return await build(*args)

    monkeypatch.setattr(submissions, "build", slow)
    going.set_result(COMPLETED)
    await prepares.wait()
    stopping = asyncio.create_task(engine_of(product).stop(GRACE))
    await asyncio.sleep(0)
    goes_on.set()
    await reaches(lambda: len(a.asked("create")) == 2)
    other.set_result(RUNNING)
    await reaches(lambda: not works(product, f"submit {third['id']}"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not stopping.done()
    answer.set_result(RUNNING)
    await stopping
    video = await stored(product, second["id"])
    assert (video.stage, video.job) == ("running", RUNNING)


async def test_a_stop_in_the_commit_of_an_attempt_leaves_none_that_was_not_sent(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that becomes durable while the server stops is carried out: the next process has nothing to doubt."""
    product = await launch(NARROW, plugins=PLUGINS)
    going, second = await blocked(product)
    store = product.core.store
    change = store.change
    stopping: list[asyncio.Task[None]] = []

    async def stops(video: Video, **kwargs: Any) -> Video:
        if video.stage == "submitting":
            stopping.append(asyncio.create_task(engine_of(product).stop(GRACE)))
        return await change(video, **kwargs)

    monkeypatch.setattr(store, "change", stops)
    going.set_result(COMPLETED)
    await reaches(lambda: bool(stopping))
    await stopping[0]
    assert len(product.channel("a").asked("create")) == 2
    assert (await stored(product, second["id"])).stage == "running"


async def test_nothing_that_waits_is_begun_by_a_server_that_stops(launch: Launch) -> None:
    """A place that gets free during a stop stays free: what waits is the next process's."""
    product = await launch(TWO, plugins=PLUGINS)
    going, second = await blocked(product)
    other = word()
    product.channel("b").then("create", other)
    await product.create(model="veo")
    stopping = asyncio.create_task(engine_of(product).stop(GRACE))
    going.set_result(COMPLETED)
    await reaches(lambda: not product.core.places["a"])
    other.set_result(RUNNING)
    await stopping
    assert len(product.channel("a").asked("create")) == 1
    assert (await stored(product, second["id"])).stage == "waiting"


async def test_a_job_attached_during_a_stop_is_not_stranded(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that gave its leases back attaches nothing; another one does, and delivers the job."""
    brief = LOOKUP.replace("3600", "0.05")
    stays, leaves = await launch(brief, plugins=PLUGINS), await launch(brief, plugins=PLUGINS)
    video_id = await failed(leaves)
    await engine_of(leaves).stop(GRACE)
    path, answer = f"/admin/api/videos/{video_id}/resolve", {"answer": "attach", "upstream_id": "job-9"}
    status, body, headers = await leaves.call("POST", path, json=answer)
    assert (status, body["error"]["code"]) == (503, "channel_unavailable"), body
    assert "retry-after" in headers
    status, body, _ = await stays.call("POST", path, json=answer)
    assert status == 200, body
    async with asyncio.timeout(30):
        new = (await stored(stays, video_id)).replaced_by_id
        assert new is not None
        assert (await stays.done(new))["status"] == "completed"


async def test_a_refusal_stays_one_wherever_the_process_is_killed(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after the commit of a refusal, on the way to the next channel: the refused attempt is never doubted,
    and of the next one the upstream is asked."""
    product = await launch(PAIR, plugins=PLUGINS)
    refused = word()
    product.channel("a").then("create", refused)
    video = await product.create()
    store = product.core.store
    change = store.change
    killed, images = tmp_path / "killed", 0

    async def imaged(after: Video, **kwargs: Any) -> Video:
        nonlocal images
        saved = await change(after, **kwargs)
        if not images and "refused" in [one.state for one in await store.attempts(video["id"])]:
            images += 1
            await crash_image(product, killed)
        return saved

    monkeypatch.setattr(store, "change", imaged)
    refused.set_exception(AccountRefused("No money."))
    assert (await product.done(video["id"]))["status"] == "completed"
    after = await launch(PAIR, plugins=PLUGINS, data=killed)
    after.channel("b").then("recover", ABSENT)
    told = await after.done(video["id"])
    attempts = [(one.channel, one.state) for one in await after.core.store.attempts(video["id"])]
    assert attempts == [("a", "refused"), ("b", "absent")]
    assert told["error"]["code"] == "upstream_failed"
    assert await after.core.store.unsettled() == 0


async def crash_image(product: Product, folder: Path) -> None:
    """What a kill -9 at this moment leaves on the disk."""
    path = product.core.store.path

    def copy(db: sqlite3.Connection) -> None:
        # Copies of the lock files are locked by nobody, like those of the dead.
        shutil.copytree(path.parent / "workers", folder / "workers")
        with contextlib.closing(sqlite3.connect(folder / path.name)) as image:
            db.backup(image)

    await product.core.store.read(copy)
