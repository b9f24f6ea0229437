"""A store that is busy for a moment, or that another process writes too: nothing leaks or is lost for it."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from proxy.engine import core, polling, recovery, waiting
from proxy.errors import AccountRefused, UpstreamTimeout
from proxy.models import UpstreamJob
from proxy.records import Video
from proxy.store import StoreBusy
from proxy.store.workers import Worker
from tests.checklist.desk import png
from tests.conftest import Launch, Product
from tests.engine.conftest import Start
from tests.engine.deleting import CAN, COMPLETED, FAILED, PLUGINS, RUNNING, blocked, delete, reaches, word
from tests.engine.doubts import engine_of, resolve

PAIR = """
server: {submit_wait: 0.05}
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10, max_running: 1, poll_every: 0.01}
  - {name: b, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}
"""
NARROW = "channels: [{name: a, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}]"
BUSY = StoreBusy("disk I/O error")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again after a fault is tried soon."""
    monkeypatch.setattr(polling, "ERROR_WAIT_MOST", 0.1)
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(waiting, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(core, "WRITE_AGAIN", 0.02)


def task_is(prefix: str) -> bool:
    """Whether the caller runs in a task of the engine whose name begins so."""
    task = asyncio.current_task()
    return task is not None and task.get_name().startswith(prefix)


def fails_once(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception, when: Callable[..., bool]
) -> list[object]:
    """Let the method `name` of `owner` raise `error` at the first call that `when` picks; answers what was hit."""
    method = getattr(owner, name)
    hit: list[object] = []

    async def failing(*args: Any, **kwargs: Any) -> Any:
        if not hit and when(*args):
            hit.append(args)
            raise error
        return await method(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return hit


def free(product: Product) -> Callable[[], bool]:
    return lambda: not product.core.places["a"]


# ---------------------------------------------------------------- two processes


async def test_a_deletion_elsewhere_gives_the_place_back(launch: Launch) -> None:
    """A video that is deleted through another process takes no place of its channel any more, here or there."""
    one, two = await launch(CAN, plugins=PLUGINS), await launch(CAN, plugins=PLUGINS)
    going = word()
    one.channel("a").then("fetch", going)
    video = await one.create()
    await reaches(lambda: bool(one.channel("a").asked("fetch")))
    assert await delete(two, video["id"]) == (200, None)
    going.set_result(FAILED)
    await reaches(free(one))
    assert free(two)()
    assert (await one.done((await one.create())["id"]))["status"] == "completed"


async def test_an_attached_job_takes_a_place_only_where_it_is_polled(launch: Launch) -> None:
    """An operator's word to one process about a video of another leaves nothing taken in the one that was asked."""
    one, two = await launch(CAN, plugins=PLUGINS), await launch(CAN, plugins=PLUGINS)
    going = word()
    one.channel("a").then("create", UpstreamTimeout("slow"))
    one.channel("a").then("fetch", going)
    video = await one.create()
    await resolve(two, video["id"], "attach", "job-9", force=True)
    assert free(two)()
    await reaches(lambda: bool(one.channel("a").asked("fetch")))
    assert one.core.places["a"] == {video["id"]}
    going.set_result(COMPLETED)
    assert (await two.done(video["id"]))["status"] == "completed"
    await reaches(free(one))


async def test_a_take_over_that_failed_half_way_is_made_up_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store was busy between the rows of two dead processes, the videos of both go on all the same."""
    survivor, *dead = [await start() for _ in range(3)]
    videos = [await process.accept() for process in dead]
    await survivor.turn()
    for process in dead:
        await process.die()
    adopt = survivor.leases._adopt_one

    def busy(dead_one: Worker, db: sqlite3.Connection) -> Worker | None:
        if dead_one.owner == dead[1].leases.owner:
            raise BUSY
        return adopt(dead_one, db)

    with monkeypatch.context() as patch, pytest.raises(StoreBusy):
        patch.setattr(survivor.leases, "_adopt_one", busy)
        await survivor.turn()
    await survivor.turn()
    assert sorted(survivor.taken) == sorted(video.id for video in videos)
    assert survivor.leases.held == {1, 2, 3}


# ---------------------------------------------------------------- a store that is busy


async def test_a_busy_read_does_not_lose_what_the_upstream_said(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was taken is delivered although the store could not be read just then."""
    product = await launch(PAIR, plugins=PLUGINS)
    taken = word()
    product.channel("a").then("create", taken)
    video = await product.create()
    hit = fails_once(monkeypatch, core.Core, "newest", BUSY, lambda *_: task_is("submit "))
    taken.set_result(RUNNING)
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(hit) == 1
    (attempt,) = await product.core.store.attempts(video["id"])
    assert (attempt.state, attempt.upstream_id) == ("taken", RUNNING.id)


async def test_a_busy_read_does_not_end_a_look_up(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown outcome ends after its grace time although the store could not be read meanwhile."""
    product = await launch("server: {unknown_grace: 0.1}\n" + NARROW, plugins=PLUGINS)
    hit = fails_once(monkeypatch, product.core.store, "attempts", BUSY, lambda *_: task_is("recover "))
    product.channel("a").then("create", UpstreamTimeout("slow"))
    video = await product.create()
    assert (await product.done(video["id"]))["error"]["code"] == "outcome_unknown"
    assert len(hit) == 1
    assert free(product)()


async def test_a_busy_store_fails_no_accepted_video_on_its_way_to_another_channel(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A next attempt that cannot be recorded now is made later; nothing was sent meanwhile."""
    product = await launch(PAIR, plugins=PLUGINS)
    refused = word()
    product.channel("a").then("create", refused)
    video = await product.create()

    def goes_on(after: Video) -> bool:
        return after.channel == "b"

    hit = fails_once(monkeypatch, product.core.store, "change", BUSY, goes_on)
    refused.set_exception(AccountRefused("No money."))
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(hit) == 1
    assert len(product.channel("a").asked("create")) + len(product.channel("b").asked("create")) == 2


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), BUSY])
async def test_an_input_that_cannot_be_read_now_fails_no_accepted_video(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A picture that could not be opened for want of descriptors is opened later, and the video is made of it."""
    product = await launch(NARROW, plugins=PLUGINS)
    going, _ = await blocked(product)
    picture = "data:image/png;base64," + base64.b64encode(png(64, 64)).decode()
    video = await product.create(prompt="of a picture", input_reference={"image_url": picture})

    hit = fails_once(monkeypatch, product.core.inputs, "load_picture", error, lambda *_: True)
    going.set_result(COMPLETED)
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(hit) == 1
    (request,) = [one for one in product.channel("a").asked("create") if one.prompt == "of a picture"]
    assert len(request.images) == 1


async def test_a_poll_is_not_cut_off_in_its_commit(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that takes longer than a poll may is waited for: the video completes, and its place is free."""
    product = await launch(NARROW, plugins=PLUGINS)
    going = word()
    product.channel("a").then("fetch", going)
    video = await product.create()
    store, poller = product.core.store, engine_of(product)._poller
    change = store.change
    written, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(after: Video, **kwargs: Any) -> Video:
        # As in the writer: it is committed, whoever waits for it.
        saved = await asyncio.shield(change(after, **kwargs))
        written.set()
        await goes_on.wait()
        return saved

    monkeypatch.setattr(store, "change", slow)
    going.set_result(COMPLETED)
    await written.wait()
    poller._look_for_hanging_polls(poller._now() + 1e6)
    await asyncio.sleep(0)
    goes_on.set()
    assert (await product.done(video["id"]))["status"] == "completed"
    await reaches(free(product))
    assert len(poller) == 0


async def test_one_that_hangs_is_still_given_up(launch: Launch) -> None:
    """A poll whose plugin does not answer at all is taken for missed, and the video is polled again."""
    product = await launch(NARROW, plugins=PLUGINS)
    product.channel("a").then("fetch", word(), UpstreamJob(id="x", status="completed"))
    video = await product.create()
    poller = engine_of(product)._poller
    await reaches(lambda: bool(product.channel("a").asked("fetch")))
    poller._look_for_hanging_polls(poller._now() + 1e6)
    assert (await product.done(video["id"]))["status"] == "completed"
