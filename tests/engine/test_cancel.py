"""DELETE: what waits costs nothing, what runs is cancelled where that can be, and whatever is deleted is gone (P2)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from proxy.app import WIRING
from proxy.errors import InvalidRequest, Throttled, UpstreamError, UpstreamRefused, UpstreamTimeout
from proxy.models import UpstreamJob
from tests.conftest import Launch
from tests.engine.deleting import (
    CAN,
    CANNOT,
    COMPLETED,
    EMPTY,
    FAILED,
    PLUGINS,
    RUNNING,
    Commits,
    asked_for,
    blocked,
    check_gone,
    delete,
    listed,
    reaches,
    running,
    word,
)

# ---------------------------------------------------------------- what waits


@pytest.mark.parametrize("force", [False, True])
async def test_what_waits_is_never_submitted(launch: Launch, force: bool) -> None:
    """Deleted while it waits: gone at once, and its turn never comes, in this process or in the next."""
    product = await launch(CAN, plugins=PLUGINS)
    going, waiting = await blocked(product)
    assert await delete(product, waiting["id"], force=force) == (200, None)
    engine = product.server.app[WIRING].engine
    assert engine is not None
    assert len(engine._queue) == 0
    await check_gone(product, waiting)
    going.set_result(COMPLETED)
    await product.done((await product.create(prompt="last"))["id"])
    assert asked_for(product, "waiting") == 0
    assert product.channel("a").asked("cancel") == []
    await product.server.close()
    product = await launch(CAN, plugins=PLUGINS)
    await product.done((await product.create(prompt="last"))["id"])
    assert asked_for(product, "waiting") == 0
    await check_gone(product, waiting)


async def test_a_deletion_that_comes_first_stops_the_submission(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue had taken the video up already, but nothing was recorded: it is deleted, and nothing is sent."""
    product = await launch(CAN, plugins=PLUGINS)
    going, waiting = await blocked(product)
    commits = Commits(product, waiting["id"], monkeypatch)
    going.set_result(COMPLETED)
    await commits.at["submitting"].wait()
    commits.go["deleted"].set()
    assert await delete(product, waiting["id"]) == (200, None)
    commits.go["submitting"].set()
    await product.done((await product.create(prompt="last"))["id"])
    assert asked_for(product, "waiting") == 0
    assert product.core.places["a"] == set()
    await check_gone(product, waiting)


@pytest.mark.parametrize("taken", [False, True])
async def test_a_deletion_that_comes_second_is_told_so(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """What was submitted while its deletion was decided stays listed: its owner is told, and nothing is hidden that is
    paid for."""
    product = await launch(CAN, plugins=PLUGINS)
    channel = product.channel("a")
    going, waiting = await blocked(product)
    commits = Commits(product, waiting["id"], monkeypatch)
    commits.go["submitting"].set()
    answer, last = word(), word()
    channel.then("create", answer)
    channel.then("fetch", last)
    deleting = asyncio.create_task(delete(product, waiting["id"]))
    await commits.at["deleted"].wait()
    going.set_result(COMPLETED)
    await reaches(lambda: asked_for(product, "waiting") == 1)
    if taken:
        answer.set_result(RUNNING)
        await product.until(waiting["id"], "in_progress")
    commits.go["deleted"].set()
    assert await deleting == (400, "video_not_deletable")
    assert waiting["id"] in await listed(product)
    if not taken:
        answer.set_result(RUNNING)
    last.set_result(COMPLETED)
    assert (await product.done(waiting["id"]))["status"] == "completed"


async def test_a_refusal_meanwhile_lets_the_deletion_pass(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted and certainly not taken while its deletion was decided: it waits again, and is deleted."""
    product = await launch(CAN, plugins=PLUGINS)
    going, waiting = await blocked(product)
    commits = Commits(product, waiting["id"], monkeypatch)
    commits.go["submitting"].set()
    product.channel("a").then("create", Throttled("Busy.", retry_after=0.3))
    deleting = asyncio.create_task(delete(product, waiting["id"]))
    await commits.at["deleted"].wait()
    going.set_result(COMPLETED)
    await reaches(lambda: asked_for(product, "waiting") == 1)
    await reaches(lambda: not product.core.places["a"])
    commits.go["deleted"].set()
    assert await deleting == (200, None)
    await check_gone(product, waiting)
    await product.done((await product.create(prompt="last"))["id"])
    assert asked_for(product, "waiting") == 1


async def test_what_ended_meanwhile_is_deleted_upstream_too(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited when its owner asked and is finished when the deletion counts: it is deleted as a finished one."""
    product = await launch(CAN, plugins=PLUGINS)
    going, waiting = await blocked(product)
    commits = Commits(product, waiting["id"], monkeypatch)
    commits.go["submitting"].set()
    deleting = asyncio.create_task(delete(product, waiting["id"]))
    await commits.at["deleted"].wait()
    going.set_result(COMPLETED)
    finished = await product.done(waiting["id"])
    commits.go["deleted"].set()
    assert await deleting == (200, None)
    assert len(product.channel("a").asked("delete")) == 1
    await check_gone(product, finished)


# ---------------------------------------------------------------- what is on its way


@pytest.mark.parametrize("text", [CAN, CANNOT])
async def test_what_is_on_its_way_is_not_deletable(launch: Launch, text: str) -> None:
    """A request on the wire may be paid for: 400, and the video goes its way."""
    product = await launch(text, plugins=PLUGINS)
    answer = word()
    product.channel("a").then("create", answer)
    creating = asyncio.create_task(product.create(prompt="x"))
    await reaches(lambda: asked_for(product, "x") == 1)
    (video_id,) = await listed(product)
    assert await delete(product, video_id) == (400, "video_not_deletable")
    answer.set_result(RUNNING)
    assert (await creating)["id"] == video_id
    assert (await product.done(video_id))["status"] == "completed"


@pytest.mark.parametrize("fault", [None, UpstreamError("Not now."), KeyError("a bug")])
@pytest.mark.parametrize("text", [CAN, CANNOT])
async def test_forgotten_on_its_way_its_upstream_id_is_kept(launch: Launch, text: str, fault: Exception | None) -> None:
    """Force forgets it here at once; when the upstream takes it all the same, it is cancelled where that can be, and
    the attempt tells the operator under which id, whatever comes of the cancelling."""
    product = await launch(text, plugins=PLUGINS)
    channel = product.channel("a")
    answer = word()
    channel.then("create", answer)
    if fault is not None:
        channel.then("cancel", fault)
    creating = asyncio.create_task(product.call("POST", "/v1/videos", json={"prompt": "x"}))
    await reaches(lambda: asked_for(product, "x") == 1)
    (video_id,) = await listed(product)
    assert await delete(product, video_id, force=True) == (200, None)
    await check_gone(product, {"id": video_id})
    # Should this process end now, or the upstream never answer, the operator still has the doubt to settle.
    (doubt,) = await product.core.store.attempts(video_id)
    assert (doubt.state, doubt.upstream_id, await product.core.store.unsettled()) == ("unknown", None, 1)
    answer.set_result(RUNNING)
    await creating
    assert [job.id for job in channel.asked("cancel")] == (["up-1"] if text == CAN else [])
    await product.done((await product.create(prompt="last"))["id"])
    (attempt,) = await product.core.store.attempts(video_id)
    assert (attempt.state, attempt.upstream_id) == ("taken", "up-1")
    await check_gone(product, {"id": video_id})
    assert asked_for(product, "x") == 1


async def test_forgotten_on_its_way_and_refused_leaves_no_doubt(launch: Launch) -> None:
    """The upstream's late word that it did not take it settles the matter: there is nothing for the operator to do."""
    product = await launch(CAN, plugins=PLUGINS)
    answer = word()
    product.channel("a").then("create", answer)
    creating = asyncio.create_task(product.call("POST", "/v1/videos", json={"prompt": "x"}))
    await reaches(lambda: asked_for(product, "x") == 1)
    (video_id,) = await listed(product)
    assert await delete(product, video_id, force=True) == (200, None)
    assert await product.core.store.unsettled() == 1
    answer.set_exception(UpstreamRefused("Not here."))
    await creating
    (attempt,) = await product.core.store.attempts(video_id)
    assert (attempt.state, await product.core.store.unsettled()) == ("refused", 0)


async def test_an_unknown_outcome_is_deleted_by_force_alone(launch: Launch) -> None:
    """What may be running and paid for is not forgotten by the way; forced, nobody looks for it any more."""
    product = await launch("server: {unknown_grace: 60}\n" + CAN, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("create", UpstreamTimeout("Too slow."))
    video = await product.create()
    assert await delete(product, video["id"]) == (400, "video_not_deletable")
    assert video["id"] in await listed(product)
    assert await delete(product, video["id"], force=True) == (200, None)
    await check_gone(product, video)
    # Its place is free again.
    await product.done((await product.create())["id"])
    assert len(channel.asked("create")) == 2


# ---------------------------------------------------------------- what runs


async def test_what_runs_is_cancelled_upstream(launch: Launch) -> None:
    """Where the plugin can: once, under the upstream's id; its place is free and nobody polls it any more."""
    product = await launch(CAN, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("create", RUNNING)
    video = await running(product)
    assert await delete(product, video["id"]) == (200, None)
    assert [job.id for job in channel.asked("cancel")] == ["up-1"]
    assert channel.asked("delete") == []
    await check_gone(product, video)
    channel.script["fetch"].clear()
    await product.done((await product.create())["id"])
    assert product.core.places["a"] == set()


async def test_what_cannot_be_cancelled_is_forgotten_by_force_alone(launch: Launch) -> None:
    """400 with its own code and the way out; forced, it is gone here and nobody polls it."""
    product = await launch(CANNOT, plugins=PLUGINS)
    channel = product.channel("a")
    video = await running(product)
    status, body, _ = await product.call("DELETE", f"/v1/videos/{video['id']}")
    assert (status, body["error"]["code"]) == (400, "video_not_deletable")
    assert "?force=true" in body["error"]["message"]
    assert (await product.call("GET", f"/v1/videos/{video['id']}"))[1]["status"] == "in_progress"
    assert await delete(product, video["id"], force=True) == (200, None)
    await check_gone(product, video)
    channel.script["fetch"].clear()
    await product.done((await product.create())["id"])
    assert len(channel.asked("create")) == 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (UpstreamError("Broken."), (502, "upstream_error")),
        (UpstreamTimeout("Slow."), (504, "upstream_timeout")),
        (KeyError("a bug"), (502, "upstream_error")),
        # The provider refuses: this one it cannot cancel.
        (InvalidRequest("It has started."), (400, "video_not_deletable")),
    ],
)
async def test_a_failed_cancel_deletes_nothing(launch: Launch, fault: Exception, told: tuple[int, str]) -> None:
    """What may still run stays listed and is polled to its end; force forgets it all the same."""
    product = await launch(CAN, plugins=PLUGINS)
    channel = product.channel("a")
    first = await running(product)
    channel.then("cancel", fault, fault)
    assert await delete(product, first["id"]) == told
    assert first["id"] in await listed(product)
    assert await delete(product, first["id"], force=True) == (200, None)
    await check_gone(product, first)
    channel.script["fetch"].clear()
    channel.then("fetch", RUNNING, RUNNING)
    channel.then("cancel", fault)
    second = await product.create()
    await delete(product, second["id"])
    assert (await product.done(second["id"]))["status"] == "completed"


async def test_a_refused_cancel_is_discreet(launch: Launch, caplog: pytest.LogCaptureFixture) -> None:
    """What the plugin says of it passes without the upstream's id, in the answer and in the log."""
    caplog.set_level(logging.DEBUG)
    product = await launch(CAN, plugins=PLUGINS)
    product.channel("a").then("create", RUNNING)
    video = await running(product)
    fault = "Job up-1 is too far."
    product.channel("a").then("cancel", InvalidRequest(fault), UpstreamError(fault), UpstreamError(fault))
    for told, force in (("video_not_deletable", ""), ("upstream_error", ""), (None, "?force=true")):
        _, body, _ = await product.call("DELETE", f"/v1/videos/{video['id']}{force}")
        if told is not None:
            assert body["error"]["code"] == told
            assert "is too far" in body["error"]["message"]
            assert "up-1" not in body["error"]["message"]
    assert "is too far" in caplog.text
    assert "up-1" not in caplog.text


@pytest.mark.parametrize("end", [COMPLETED, FAILED], ids=["completed", "failed"])
@pytest.mark.parametrize("fault", [None, InvalidRequest("It is finished."), UpstreamError("Broken.")])
async def test_what_ends_while_it_is_cancelled_is_deleted_as_finished(
    launch: Launch, end: UpstreamJob, fault: Exception | None
) -> None:
    """The upstream was faster than the cancel: there is nothing left to cancel, and the finished one is deleted here
    and upstream."""
    product = await launch(CAN, plugins=PLUGINS)
    channel = product.channel("a")
    video = await running(product)
    cancelled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    channel.then("cancel", cancelled)
    deleting = asyncio.create_task(delete(product, video["id"]))
    await reaches(lambda: len(channel.asked("cancel")) == 1)
    channel.script["fetch"][:] = [end]
    finished = await product.done(video["id"])
    if fault is None:
        cancelled.set_result(None)
    else:
        cancelled.set_exception(fault)
    assert await deleting == (200, None)
    assert len(channel.asked("delete")) == 1
    await check_gone(product, finished)


async def test_the_channel_of_a_running_video_left_the_file(launch: Launch) -> None:
    """Nobody can be asked to cancel: 503 that is not repeated; force forgets it."""
    product = await launch(CAN, plugins=PLUGINS)
    video = await running(product)
    await product.reload(EMPTY)
    assert await delete(product, video["id"]) == (503, "channel_unavailable")
    assert video["id"] in await listed(product)
    assert await delete(product, video["id"], force=True) == (200, None)
    await check_gone(product, video)


# ---------------------------------------------------------------- what is finished


@pytest.mark.parametrize("end", [COMPLETED, FAILED], ids=["completed", "failed"])
@pytest.mark.parametrize("fault", [None, UpstreamError("Broken."), KeyError("a bug")])
async def test_what_is_finished_is_deleted_here_and_upstream(
    launch: Launch, end: UpstreamJob, fault: Exception | None
) -> None:
    """An upstream that will not delete it keeps nobody from being rid of it."""
    product = await launch(CAN, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", end)
    if fault is not None:
        channel.then("delete", fault)
    video = await product.done((await product.create())["id"])
    assert await delete(product, video["id"]) == (200, None)
    assert [job.id for job in channel.asked("delete")] == ["up-1"]
    assert channel.asked("cancel") == []
    await check_gone(product, video)


async def test_a_finished_one_of_a_plugin_that_deletes_nothing(launch: Launch) -> None:
    """It is deleted here."""
    product = await launch(CANNOT, plugins=PLUGINS)
    video = await product.done((await product.create())["id"])
    assert await delete(product, video["id"]) == (200, None)
    await check_gone(product, video)


# ---------------------------------------------------------------- whose it is


async def test_nobody_elses(launch: Launch) -> None:
    """A foreign key's DELETE is the 404 of an unknown video, forced or not, and reaches no upstream."""
    product = await launch(CAN, plugins=PLUGINS)
    plain = await product.key("other")
    video = await running(product)
    waiting = await product.create(prompt="waiting")
    for video_id in (video["id"], waiting["id"]):
        for force in (False, True):
            assert await delete(product, video_id, key=plain, force=force) == (404, "video_not_found")
    assert product.channel("a").asked("cancel") == []
    assert sorted(await listed(product)) == sorted([video["id"], waiting["id"]])


@pytest.mark.parametrize("stage", ["waiting", "running", "finished"])
async def test_many_deletions_at_once(launch: Launch, stage: str) -> None:
    """One of them deletes it; the others find it deleted, or delete it too: none of them breaks."""
    product = await launch(CAN, plugins=PLUGINS)
    if stage == "finished":
        video = await product.done((await product.create())["id"])
    else:
        video = await running(product)
        if stage == "waiting":
            video = await product.create(prompt="waiting")
    answers = await asyncio.gather(*(delete(product, video["id"]) for _ in range(10)))
    assert answers.count((200, None)) == 1
    assert set(answers) == {(200, None), (404, "video_not_found")}
    await check_gone(product, video)
