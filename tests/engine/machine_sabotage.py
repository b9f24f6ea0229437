"""Engines that break a promise each, for the proof that the state machine would notice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest
from msgspec.structs import replace

from proxy.engine import core, polling, states
from proxy.engine.breakers import Trial
from proxy.engine.clocks import Clock
from proxy.engine.core import Core
from proxy.engine.deletion import Deleter
from proxy.engine.dispatch import AT_ONCE, Dispatcher
from proxy.engine.engine import Engine
from proxy.engine.fairness import FairQueue
from proxy.engine.recovery import Recovery
from proxy.engine.replays import Replays
from proxy.engine.submissions import Submission, Submitter
from proxy.engine.waiting import WaitingQueue
from proxy.models import UpstreamJob
from proxy.records import Attempt, Key, Video
from proxy.store import Store, attempts, idempotency, ledger, outbox

Sabotage = Callable[[pytest.MonkeyPatch], None]


def an_unknown_outcome_is_submitted_again(patch: pytest.MonkeyPatch) -> None:
    async def again(self: Submitter, submission: Submission, attempt: Attempt) -> None:
        live = self._core.channels.get(attempt.channel)
        assert live is not None
        await self._requeue(submission, live, replace(attempt, state="refused"))

    patch.setattr(Submitter, "_unknown", again)


def an_interrupted_submission_is_submitted_again(patch: pytest.MonkeyPatch) -> None:
    async def again(self: Engine, video: Video) -> None:
        now = self._core.clock()
        self._queue.add(await self._core.move(video.id, lambda one: states.requeued(one, submit_after=now, now=now)))

    patch.setattr(Engine, "_interrupted", again)


def an_attempt_is_not_recorded_before(patch: pytest.MonkeyPatch) -> None:
    save = attempts.save

    def later(db: sqlite3.Connection, attempt: Attempt) -> None:
        if attempt.state != "recorded":
            save(db, attempt)

    patch.setattr(attempts, "save", later)


def it_is_submitted_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    accept, tasks = Store.accept, []

    async def soon(self: Store, video: Video, *rest: Any, **options: Any) -> None:
        self._recent.put(video)
        tasks.append(asyncio.create_task(accept(self, video, *rest, **options)))

    patch.setattr(Store, "accept", soon)


def progress_falls(patch: pytest.MonkeyPatch) -> None:
    told = states._told

    def fallen(video: Video, job: UpstreamJob, *, now: float) -> Video:
        after = told(video, job, now=now)
        return after if after.stage != "running" else replace(after, progress=int(job.progress or 0))

    patch.setattr(states, "_told", fallen)
    patch.setattr(Clock, "is_news", lambda self, job: True)


def an_end_is_not_final(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(states, "_need", lambda video, *stages: None)


def a_bad_poll_fails_a_video(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(polling, "GONE_TIMES", 1)
    patch.setattr(polling, "GONE_SECONDS", 0.0)


def what_waits_is_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    take_up = Engine._take_up

    async def forgetful(self: Engine, unfinished: list[Video]) -> None:
        await take_up(self, [video for video in unfinished if video.stage != "waiting"])

    patch.setattr(Engine, "_take_up", forgetful)


def a_place_is_freed_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(core, "AT_UPSTREAM", frozenset({"submitting", "running"}))


def more_run_than_may(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Core, "why_not", lambda self, live: None)
    patch.setattr(Core, "cap", lambda self, live: None)


def the_queue_is_overtaken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WaitingQueue, "waits_like", lambda self, video: False)


def keys_take_no_turns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FairQueue, "served", lambda self, key_id: None)


def an_idempotency_key_says_nothing(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Replays, *request: Any) -> None:
        return None

    patch.setattr(Replays, "_stored", nothing)
    patch.setattr(idempotency, "insert", lambda db, row: None)


def a_refusal_keeps_its_idempotency_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(idempotency, "forget", lambda db, video_id: None)


def a_replay_has_another_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(idempotency, "save_answer", lambda db, **row: row["answer"])


def a_failure_is_not_told(patch: pytest.MonkeyPatch) -> None:
    note = outbox.note

    def but_failures(db: sqlite3.Connection, before: Video, after: Video) -> None:
        if after.status != "failed":
            note(db, before, after)

    patch.setattr(outbox, "note", but_failures)


def a_change_is_told_at_most_once(patch: pytest.MonkeyPatch) -> None:
    some = Dispatcher._some

    async def first_removed(self: Dispatcher) -> bool:
        store = self._core.store
        changes = await store.read(partial(outbox.oldest, limit=AT_ONCE))
        if changes:
            await store.write(partial(outbox.remove, up_to=changes[-1].seq))
        for change in changes:
            if (video := await self._core.newest(change.video_id)) is not None:
                await self._tell(video, change)
        return await some(self)

    patch.setattr(Dispatcher, "_some", first_removed)


def tenants_see_each_other(patch: pytest.MonkeyPatch) -> None:
    video = Engine.video

    async def anybodys(self: Engine, video_id: str, key: Key | None) -> Video:
        return await video(self, video_id, None)

    patch.setattr(Engine, "video", anybodys)


def a_deletion_is_answered_and_not_made(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Deleter, video: Video, *, force: bool) -> None:
        pass

    patch.setattr(Deleter, "delete", nothing)


def nothing_is_looked_up(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Recovery, *video: Any) -> None:
        return None

    patch.setattr(Recovery, "_look_up", nothing)


def nothing_is_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(states, "_nothing", lambda video: video.price)


def another_channels_price_is_booked_twice(patch: pytest.MonkeyPatch) -> None:
    write = ledger._write

    def forgetful(db: sqlite3.Connection, video: Video, kind: str, amount: int, **rest: Any) -> None:
        if kind != "moved" or amount > 0:
            write(db, video, kind, amount, **rest)  # type: ignore[arg-type]

    patch.setattr(ledger, "_write", forgetful)


def a_breaker_never_trips(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trial, "failed", lambda self, why: None)


SABOTAGES: Final[tuple[Sabotage, ...]] = (
    an_unknown_outcome_is_submitted_again,
    an_interrupted_submission_is_submitted_again,
    an_attempt_is_not_recorded_before,
    it_is_submitted_before_it_is_durable,
    progress_falls,
    an_end_is_not_final,
    a_bad_poll_fails_a_video,
    what_waits_is_forgotten_at_a_restart,
    a_place_is_freed_too_early,
    more_run_than_may,
    the_queue_is_overtaken,
    keys_take_no_turns,
    an_idempotency_key_says_nothing,
    a_refusal_keeps_its_idempotency_key,
    a_replay_has_another_answer,
    a_failure_is_not_told,
    a_change_is_told_at_most_once,
    tenants_see_each_other,
    a_deletion_is_answered_and_not_made,
    nothing_is_looked_up,
    nothing_is_given_back,
    another_channels_price_is_booked_twice,
    a_breaker_never_trips,
)
