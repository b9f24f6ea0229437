"""Two server processes on one data folder: each keeps to its own videos, and one goes on where the other ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.ids import created_at, new_id
from proxy.models import UpstreamJob
from proxy.records import Attempt, Video
from proxy.testing import Call, SimulatorServer
from tests.process.conftest import Spawn
from tests.process.pair import Pair, Upstream
from tests.store.first_version import write_first_version

FOREVER = 600
"""Seconds of a lease that certainly does not end within a test."""
Duo = Callable[..., Pair]


@pytest.fixture
async def sim() -> AsyncIterator[Upstream]:
    async with SimulatorServer(Upstream()) as sim:
        yield sim


@pytest.fixture
async def duo(spawn: Spawn, sim: Upstream) -> AsyncIterator[Duo]:
    """Make a pair of servers, which are not started yet."""
    async with ClientSession() as session:

        def make(server: str = f"lease: {FOREVER}", channel: str = "") -> Pair:
            text = (
                f"server: {{submit_wait: 5, {server}}}\n"
                f"channels: [{{name: up, type: openai, models: [sora-2], poll_every: 0.05, base_url: '{sim.base_url}', "
                f"api_key: '${{WHO}}', {channel}}}]\n"
            )
            return Pair(spawn, sim, session, text)

        yield make


async def test_two_processes_share_a_store(duo: Duo, sim: Upstream) -> None:
    """Each job is made once and polled by the process that made it alone; a client that asks both by turns sees every
    video, and none going back; both end with 0."""
    pair = duo()
    await pair.start()
    ids = await asyncio.gather(*(pair.create(next(pair.turns), f"number {n}") for n in range(16)))
    assert set(await pair.done(ids)) == {"completed"}
    assert sim.paid == 16
    assert sim.twice == []
    makers = {job.id: job.call.headers["authorization"].removeprefix("Bearer ") for job in sim.jobs.values()}
    assert dict(sim.askers) == {job_id: [who] for job_id, who in makers.items()}
    assert sorted(makers.values()).count("sk-one") == 8
    assert await pair.one.stop() == 0
    assert await pair.two.stop() == 0


async def test_a_killed_process_is_replaced_at_once(duo: Duo, sim: Upstream) -> None:
    """After kill -9 the other process goes on with what runs, and a restart comes in beside it: nothing waits for the
    lease to end, nothing is polled by two or paid twice."""
    pair = duo()
    sim.automatic = False
    await pair.start()
    ids = [await pair.create(next(pair.turns)) for _ in range(6)]
    await pair.kill(pair.one)
    await pair.until(lambda: all(asked[-1:] == ["sk-two"] for asked in map(sim.askers.__getitem__, sim.jobs)))
    sim.dead.clear()
    await pair.one.start()
    ids.append(await pair.create(pair.one))
    await pair.until(lambda: sim.askers[sim.latest.id])
    sim.automatic = True
    assert set(await pair.done(ids)) == {"completed"}
    assert (sim.paid, sim.twice) == (7, [])
    assert sim.askers[sim.latest.id] == ["sk-one"]


async def test_a_restart_after_a_kill_does_not_wait(duo: Duo, sim: Upstream) -> None:
    """A process that was killed while it was alone goes on where it was as soon as it is started again."""
    pair = duo()
    sim.automatic = False
    await pair.one.start()
    ids = [await pair.create(pair.one) for _ in range(3)]
    for _ in range(2):
        await pair.kill(pair.one)
        sim.dead.clear()
        await pair.one.start()
        asked = len(sim.calls("fetch"))
        await pair.until(partial(polled_since, sim, asked + 3))
    sim.automatic = True
    assert set(await pair.done(ids, pair.one)) == {"completed"}
    assert (sim.paid, sim.twice) == (3, [])
    assert await pair.in_store("SELECT id FROM workers") == [(1,)]


async def test_a_clean_stop_hands_over_at_once(duo: Duo, sim: Upstream) -> None:
    """After SIGTERM the other process goes on with what runs and with what waits, long before the lease is over."""
    pair = duo(channel="max_running: 2")
    sim.automatic = False
    await pair.start()
    ids = [await pair.create(pair.one) for _ in range(4)]
    assert await pair.one.stop() == 0
    await pair.until(lambda: all(sim.askers[job_id][-1:] == ["sk-two"] for job_id in sim.jobs))
    sim.automatic = True
    assert set(await pair.done(ids, pair.two)) == {"completed"}
    assert (sim.paid, sim.twice, sim.most) == (4, [], 2)
    assert await pair.in_store("SELECT id, owner <> '' FROM workers ORDER BY id") == [(1, 1), (2, 1)]


async def test_a_paused_process_writes_nothing_and_ends(duo: Duo, sim: Upstream) -> None:
    """A process that was stopped for longer than its lease changes no video when it goes on, and ends by itself with
    1 and one clear line; the other one has its videos."""
    pair = duo("lease: 0.5")
    sim.automatic = False
    await pair.start()
    ids = [await pair.create(pair.one) for _ in range(5)]
    await pair.until(lambda: len(sim.askers) == 5)
    # That a client has read its answer is noted a moment later, by the process that gave it: also after a pause.
    await pair.until(lambda: len(pair.rows("SELECT id FROM videos WHERE answered")) == 5)
    await pair.pause(pair.one)
    await pair.until(lambda: all(sim.askers[job_id][-1:] == ["sk-two"] for job_id in sim.jobs))
    for job_id in list(sim.jobs)[:3]:
        sim.finish(job_id)
    await pair.until(lambda: len(pair.rows("SELECT id FROM videos WHERE status = 'completed'")) == 3)
    before = await pair.in_store("SELECT * FROM videos WHERE stage = 'ended' ORDER BY id")
    pair.one.send(signal.SIGCONT)
    assert await pair.one.ended() == 1
    assert await pair.in_store("SELECT * FROM videos WHERE stage = 'ended' ORDER BY id") == before
    told = [line for line in pair.one.log if "took this one for dead" in line]
    assert len(told) == 1
    assert not any("Traceback" in line for line in pair.one.log)
    assert {tuple(asked) for asked in sim.askers.values()} == {("sk-one", "sk-two")}
    sim.automatic = True
    for job_id in sim.jobs:
        sim.finish(job_id)
    assert set(await pair.done(ids, pair.two)) == {"completed"}
    assert (sim.paid, sim.twice) == (5, [])


async def test_what_a_paused_process_was_told_is_not_lost(duo: Duo, sim: Upstream) -> None:
    """A job whose answer came to a process that had lost its lease meanwhile is kept with its attempt: the other
    process takes the video up from there, and it is neither lost nor made twice."""
    pair = duo("lease: 0.5, unknown_grace: 120")
    sim.gate = asyncio.Event()
    await pair.start()
    ordering = asyncio.create_task(pair.call(pair.one, "POST", "/videos", json={"prompt": "a kite"}))
    await pair.until(lambda: sim.held)
    await pair.pause(pair.one)
    await pair.until(lambda: pair.rows("SELECT stage FROM videos") == [("unknown",)])
    pair.one.send(signal.SIGCONT)
    sim.gate.set()
    assert await pair.one.ended() == 1
    await asyncio.wait([ordering])
    ((video_id,),) = await pair.in_store("SELECT id FROM videos")
    assert await pair.done([video_id], pair.two) == ["completed"]
    assert (sim.paid, len(sim.calls("create"))) == (1, 1)
    assert await pair.in_store("SELECT state, upstream_id FROM attempts") == [("taken", sim.latest.id)]
    with contextlib.suppress(Exception):
        # Whatever its client was told, it was not that the video failed.
        status, body = ordering.result()
        assert status == 503 or body["id"] == video_id


async def test_places_at_a_channel_hold_over_both(duo: Duo, sim: Upstream) -> None:
    """However many are ordered at both processes at once, the upstream never has more than `max_running`, and all of
    its places are used."""
    pair = duo(channel="max_running: 3")
    await pair.start()
    ids = await asyncio.gather(*(pair.create(next(pair.turns)) for _ in range(20)))
    assert set(await pair.done(ids)) == {"completed"}
    assert (sim.paid, sim.most, sim.twice) == (20, 3, [])


async def test_the_queue_is_bounded_over_both(duo: Duo, sim: Upstream) -> None:
    """Of many orders at both processes at once as many wait as the bound says; the others get a 429 and a time."""
    pair = duo(f"lease: {FOREVER}, max_queued: 20, max_queued_per_key: 4", "max_running: 1")
    sim.automatic = False
    await pair.start()
    running = await pair.create(pair.one)
    answers = await asyncio.gather(
        *(pair.call(next(pair.turns), "POST", "/videos", json={"prompt": str(n)}) for n in range(24))
    )
    taken = [body["id"] for status, body in answers if status == 200]
    assert {status for status, _ in answers} == {200, 429}
    assert len(taken) == 4
    sim.automatic = True
    assert set(await pair.done([running, *taken])) == {"completed"}
    assert (sim.paid, sim.most) == (5, 1)


async def test_one_request_at_both_is_one_video(duo: Duo, sim: Upstream) -> None:
    """The same Idempotency-Key at both processes at the same time: one video, paid once, the same in all answers."""
    pair = duo()
    await pair.start()
    for number in range(5):
        answers = await asyncio.gather(
            *(
                pair.call(
                    next(pair.turns),
                    "POST",
                    "/videos",
                    json={"prompt": f"number {number}"},
                    headers={"Idempotency-Key": str(number)},
                )
                for _ in range(6)
            )
        )
        assert {status for status, _ in answers} == {200}
        assert len({body["id"] for _, body in answers}) == 1
    assert sim.paid == 5


async def test_a_deletion_is_known_to_both(duo: Duo, sim: Upstream) -> None:
    """A running video that is deleted at one process is gone at the other one, which polls it no more."""
    pair = duo()
    sim.automatic = False
    await pair.start()
    for maker, other in ((pair.one, pair.two), (pair.two, pair.one)):
        video_id = await pair.create(maker)
        await pair.until(lambda: sim.askers[sim.latest.id])
        assert (await pair.call(other, "DELETE", f"/videos/{video_id}?force=true"))[0] == 200
        for server in (maker, other):
            assert (await pair.call(server, "GET", f"/videos/{video_id}"))[0] == 404
        sim.advance(sim.latest.id)
        job_id, asked = sim.latest.id, len(sim.calls("fetch"))
        # The news makes the poll fail on the deleted row; after it there is none.
        later = await pair.create(maker)
        await pair.until(partial(polled_since, sim, asked + 10))
        tail = [call.match["id"] for call in sim.calls("fetch")[-5:]]
        assert job_id not in tail
        assert (await pair.call(maker, "DELETE", f"/videos/{later}?force=true"))[0] == 200


async def test_a_second_process_leaves_demo_renders_alone(spawn: Spawn, sim: Upstream) -> None:
    """A process that starts, or reloads, on the folder of another one's demo channel takes no film from under it."""
    async with ClientSession() as session:
        pair = Pair(spawn, sim, session, "channels: [{name: demo, type: demo, poll_every: 0.05}]")
        await pair.one.start()
        slow = {"prompt": "a kite [slow]", "size": "128x72", "seconds": 1}
        answers = [await pair.call(pair.one, "POST", "/videos", json=slow) for _ in range(2)]
        await pair.until(lambda: len(list(pair.database.parent.rglob("*.part"))) == 2)
        await pair.two.start()
        assert set(await pair.done([video["id"] for _, video in answers])) == {"completed"}
        assert await asyncio.to_thread(lambda: list(pair.database.parent.rglob("*.part"))) == []


async def test_a_store_of_the_first_version_goes_on(duo: Duo, sim: Upstream) -> None:
    """After an upgrade the videos that were unfinished go on as ever: what ran completes, what waited is submitted,
    and what was on its way is not submitted again."""
    pair = duo("unknown_grace: 0.5")
    call = Call(
        operation="create", method="POST", path="", query={}, headers={}, body=b"", match={}, account="the account"
    )
    job = sim.take(call, prompt="runs", model="sora-2", seconds="4", size="720x1280")
    old = {stage: old_video(stage) for stage in ("waiting", "submitting", "unknown")}
    old["running"] = old_video("running", status="in_progress", job=UpstreamJob(id=job.id, status="in_progress"))
    old["ended"] = old_video("ended", status="failed", error_code="upstream_failed", error_message="Too dark.")
    attempts = [
        Attempt(id=f"att_{stage}", video_id=video.id, channel="up", started_at=1.0)
        for stage, video in old.items()
        if stage != "waiting"
    ]
    await asyncio.to_thread(pair.database.parent.mkdir)
    await asyncio.to_thread(write_first_version, pair.database, old.values(), attempts)
    await pair.one.start()
    statuses = await pair.done([video.id for video in old.values()], pair.one)
    assert dict(zip(old, statuses, strict=True)) == {
        "waiting": "completed", "submitting": "failed", "unknown": "failed", "running": "completed", "ended": "failed",
    }  # fmt: skip
    assert (sim.paid, len(sim.calls("create"))) == (2, 1)
    _, unknown = await pair.call(pair.one, "GET", f"/videos/{old['submitting'].id}")
    assert unknown["error"]["code"] == "outcome_unknown"
    _, before = await pair.call(pair.one, "GET", f"/videos/{old['ended'].id}")
    assert before["error"] == {"code": "upstream_failed", "message": "Too dark."}


def polled_since(sim: Upstream, times: int) -> bool:
    return len(sim.calls("fetch")) > times


def old_video(stage: str, **fields: Any) -> Video:
    """A video of the admin key as the first version had it."""
    video_id = new_id("video")
    now = float(created_at(video_id))
    plain: dict[str, Any] = {
        "id": video_id, "tenant": "admin", "key_id": "admin", "model": "sora-2", "upstream_model": "sora-2",
        "channel": "up", "prompt": "a cat", "seconds": 4, "size": "720x1280", "created_at": int(now), "stage": stage,
        "changed_at": now, "attempt_id": None if stage == "waiting" else f"att_{stage}",
    }  # fmt: skip
    return Video(**(plain | fields))
