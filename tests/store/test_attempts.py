"""Attempts and Idempotency-Keys in the store."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.ids import new_id
from proxy.models import UpstreamJob
from proxy.records import Attempt, Idempotent
from proxy.store import DuplicateKey, StaleVideo

NOW = 1_800_000_000.0


def attempt_of(video, **fields):
    plain = {"id": new_id("att"), "video_id": video.id, "channel": video.channel, "started_at": NOW}
    return Attempt(**(plain | fields))


def idempotent_of(video, name="once", **fields):
    plain = {
        "key_id": video.key_id,
        "idempotency_key": name,
        "fingerprint": b"f" * 32,
        "video_id": video.id,
        "created_at": NOW,
    }
    return Idempotent(**(plain | fields))


async def test_attempts_are_recorded_and_updated_with_their_video(store, video_of):
    """An attempt is stored with the video, updated by id with a change, and listed oldest first."""
    video = video_of()
    first = attempt_of(video)
    await store.accept(video, first)
    done = msgspec.structs.replace(first, state="refused", ended_at=NOW + 1, note="busy", upstream_id="u")
    video = await store.change(video, attempt=done)
    second = attempt_of(video, channel="other")
    await store.change(video, attempt=second)
    assert await store.attempts(video.id) == [done, second]


async def test_an_idempotency_key_stands_for_one_video(store, video_of):
    """Of 50 simultaneous accepts with one Idempotency-Key one is stored; the other rivals do not exist at all."""
    rivals = [video_of() for _ in range(50)]
    outcomes = await asyncio.gather(
        *(store.accept(video, attempt_of(video), idempotent_of(video)) for video in rivals), return_exceptions=True
    )
    won = [video for video, outcome in zip(rivals, outcomes, strict=True) if outcome is None]
    assert len(won) == 1
    assert all(isinstance(outcome, DuplicateKey) for outcome in outcomes if outcome is not None)
    assert await store.unfinished() == won
    assert sum([bool(store.cached(video.id)) for video in rivals]) == 1
    kept = await store.idempotent("key_a", "once")
    assert kept == idempotent_of(won[0])

    other = video_of(key_id="key_b")
    await store.accept(other, None, idempotent_of(other))
    assert (await store.idempotent("key_b", "once")).video_id == other.id
    assert await store.idempotent("key_c", "once") is None


async def test_the_first_answer_stays(store, video_of):
    """The stored answer of an Idempotency-Key is the first one, byte for byte."""
    video = video_of()
    await store.accept(video, None, idempotent_of(video))
    await store.save_answer("key_a", "once", b'{"first": true}')
    await store.save_answer("key_a", "once", b'{"second": true}')
    assert (await store.idempotent("key_a", "once")).answer == b'{"first": true}'


async def test_a_refused_create_frees_its_idempotency_key(store, video_of):
    """`forget_idempotency` deletes the rows of this video only, in the change's own commit."""
    refused, other = video_of(), video_of()
    await store.accept(refused, None, idempotent_of(refused, "a"))
    await store.accept(other, None, idempotent_of(other, "b"))
    with pytest.raises(StaleVideo):
        await store.change(msgspec.structs.replace(refused, version=7), forget_idempotency=True)
    assert await store.idempotent("key_a", "a") is not None
    await store.change(msgspec.structs.replace(refused, stage="refused"), forget_idempotency=True)
    assert await store.idempotent("key_a", "a") is None
    assert await store.idempotent("key_a", "b") is not None
    again = video_of()
    await store.accept(again, None, idempotent_of(again, "a"))


async def test_prune_frees_what_is_older_than_a_day(store, video_of):
    """Pruning deletes all Idempotency-Keys older than 24 hours, more than one batch of them, and no younger one."""
    video = video_of()
    await store.accept(video)
    old = [idempotent_of(video_of(id=video.id), f"old-{n}", created_at=NOW - 86_401) for n in range(1100)]
    young = idempotent_of(video, "young", created_at=NOW - 86_399)
    sql = "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?, ?)"
    rows = [(r.key_id, r.idempotency_key, r.fingerprint, r.video_id, r.created_at, r.answer) for r in [*old, young]]
    await store._writer.do(lambda db: db.executemany(sql, rows) and None)
    await store.prune(NOW)
    left = await store._reading.run(lambda db: db.execute("SELECT idempotency_key FROM idempotency").fetchall())
    assert left == [("young",)]


async def test_every_field_of_an_attempt_survives_the_file(store, video_of):
    """An attempt is read back equal; why it was made and a job once recorded stay through later records of it."""
    video = video_of()
    await store.accept(video)
    first = attempt_of(
        video,
        state="taken",
        ended_at=NOW + 1,
        upstream_id="u",
        note="n",
        decision='{"because": "it is the only one"}',
        job=UpstreamJob(id="u", status="in_progress", facts={"a": [1]}),
    )
    await store.save_attempt(first)
    assert await store.attempts(video.id) == [first]
    later = msgspec.structs.replace(first, note="again", decision="", job=None)
    await store.save_attempt(later)
    assert await store.attempts(video.id) == [msgspec.structs.replace(first, note="n; again")]
