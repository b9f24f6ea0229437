"""The operator's inbox: what is in it, answers that need no upstream, and each of them once and on the record."""

import sqlite3
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.engine import recovery
from proxy.errors import InvalidRequest, VideoNotFound
from proxy.models import UpstreamJob
from proxy.records import Attempt
from proxy.store import StoreBusy, attempts, inbox
from tests.conftest import Launch
from tests.engine.doubts import (
    BRIEF,
    KEY,
    LOOKUP,
    PENDING,
    PLUGINS,
    audited,
    core_of,
    doubts,
    engine_of,
    failed,
    late,
    only_attempt,
    pending,
    resolve,
    stored,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups come soon."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.02)


# ---------------------------------------------------------------- what is in the inbox


async def test_the_inbox_has_pending_and_failed_ones_newest_first(launch: Launch) -> None:
    """A submission is in doubt from the moment when its outcome is unknown, also after its video failed; what an
    upstream took or refused is not."""
    product = await launch(BRIEF, plugins=PLUGINS)
    await product.done((await product.create())["id"])
    first, second = await failed(product), await failed(product)
    found = await doubts(product)
    assert [doubt.dossier.video.id for doubt in found] == [second, first]
    assert [(doubt.late, doubt.grace_ends, doubt.recovers) for doubt in found] == [(False, None, False)] * 2
    page, more = await engine_of(product).reports.doubts(after=None, limit=1)
    rest, no_more = await engine_of(product).reports.doubts(after=page[0].attempt.id, limit=1)
    assert [one.dossier.video.id for one in page + rest] == [second, first]
    assert (more, no_more) == (True, False)


async def test_the_evidence_says_what_an_operator_needs(launch: Launch) -> None:
    """When a pending one fails by itself, what it may have cost, whether it can be looked up, and each attempt."""
    product = await launch(LOOKUP, plugins=PLUGINS)
    video_id = await pending(product, seconds="8")
    (doubt,) = await doubts(product)
    video = await stored(product, video_id)
    assert doubt.grace_ends == video.changed_at + 3600
    assert (doubt.price, doubt.recovers, doubt.late) == (2.0, True, False)
    (attempt,) = doubt.dossier.attempts
    assert (attempt, attempt.state, attempt.channel) == (doubt.attempt, "unknown", "a")
    assert "slow" in attempt.note


async def test_the_end_of_the_grace_time_keeps_the_evidence(launch: Launch) -> None:
    """When and how the submission broke is still there once its video has failed."""
    product = await launch(BRIEF, plugins=PLUGINS)
    video_id = await failed(product)
    attempt, video = await only_attempt(product, video_id), await stored(product, video_id)
    assert "slow" in attempt.note
    assert "the grace time passed" in attempt.note
    assert attempt.ended_at is not None
    assert attempt.ended_at < video.changed_at


async def test_a_channel_that_left_hides_nothing(launch: Launch) -> None:
    """Without its channel a doubt stays in the inbox, with what it was to cost; what the channel would know is left
    out."""
    product = await launch(BRIEF, plugins=PLUGINS)
    video_id = await failed(product)
    await core_of(product).channels.apply([])
    (doubt,) = await doubts(product)
    assert (doubt.dossier.video.id, doubt.recovers, doubt.price) == (video_id, None, 1.0)


# ---------------------------------------------------------------- not created, given up


async def test_not_created_ends_a_pending_video(launch: Launch) -> None:
    """It fails at once, with the word that nothing was paid; the attempt is as one that was proved absent."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    video, delivered = await resolve(product, video_id, "not_created")
    assert (video.status, video.error_code, delivered) == ("failed", "upstream_failed", None)
    assert "nothing was paid" in (await product.call("GET", f"/v1/videos/{video_id}"))[1]["error"]["message"]
    attempt = await only_attempt(product, video_id)
    assert (attempt.state, attempt.settled, attempt.upstream_id) == ("absent", "not_created", None)
    assert core_of(product).places["a"] == set()
    assert await doubts(product) == []


async def test_give_up_ends_a_pending_video(launch: Launch) -> None:
    """It fails now as it would at the end of the grace time."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    video, delivered = await resolve(product, video_id, "give_up")
    assert (video.status, video.error_code, delivered) == ("failed", "outcome_unknown", None)
    attempt = await only_attempt(product, video_id)
    assert (attempt.state, attempt.settled) == ("unknown", "given_up")
    assert await doubts(product) == []


@pytest.mark.parametrize(("word", "state"), [("not_created", "absent"), ("give_up", "unknown")])
async def test_a_failed_video_stays_as_it_is(launch: Launch, word: str, state: str) -> None:
    """What has ended does not end again: only the attempt is settled."""
    product = await launch(BRIEF, plugins=PLUGINS)
    video_id = await failed(product)
    before = await stored(product, video_id)
    video, _ = await resolve(product, video_id, word)
    assert video == before == await stored(product, video_id)
    assert (await only_attempt(product, video_id)).state == state


# ---------------------------------------------------------------- late jobs


async def test_a_job_that_was_taken_too_late_is_in_the_inbox(launch: Launch) -> None:
    """Paid for and delivered to nobody: an operator sees it, and may deliver it as a new video."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await late(product)
    (doubt,) = await doubts(product)
    assert (doubt.dossier.video.id, doubt.late, doubt.grace_ends) == (video_id, True, None)
    assert doubt.attempt.job is not None
    assert doubt.attempt.job.id == "paid"
    delivered = (await resolve(product, video_id, "attach", "paid")).delivered_as
    assert (await product.done(delivered.id))["replaces_video_id"] == video_id
    assert (await product.call("GET", f"/v1/videos/{video_id}"))[0] == 404
    assert await doubts(product) == []


async def test_a_late_job_that_its_video_got_after_all_is_in_no_doubt(launch: Launch) -> None:
    """What a process that no longer held the video could only keep was taken up by the one that does."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    job = UpstreamJob(id="kept", status="in_progress")
    attempt = await only_attempt(product, video_id)
    await core_of(product).store.save_attempt(replace(attempt, state="taken", upstream_id=job.id, job=job))
    assert (await product.done(video_id))["status"] == "completed"
    assert await doubts(product) == []
    with pytest.raises(InvalidRequest, match="not in doubt"):
        await resolve(product, video_id, "give_up")


@pytest.mark.parametrize("word", ["not_created", "give_up"])
async def test_an_answer_that_the_upstream_proves_wrong_is_asked_again(launch: Launch, word: str) -> None:
    """The upstream's word came after an operator's: the job is paid for, so that the doubt is back, as a late one."""
    product = await launch(BRIEF, plugins=PLUGINS)
    video_id = await failed(product)
    attempt = await only_attempt(product, video_id)
    await resolve(product, video_id, word)
    job = UpstreamJob(id="paid", status="in_progress")
    await core_of(product).store.save_attempt(replace(attempt, state="taken", upstream_id=job.id, job=job))
    (doubt,) = await doubts(product)
    assert (doubt.late, doubt.dossier.video.id) == (True, video_id)
    delivered = (await resolve(product, video_id, "attach", "paid")).delivered_as
    assert (await product.done(delivered.id))["replaces_video_id"] == video_id


async def test_a_late_job_is_neither_absent_nor_another(launch: Launch) -> None:
    """The upstream's own word stands against `not_created` and against another id; it may be given up."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await late(product)
    with pytest.raises(InvalidRequest, match="took this job"):
        await resolve(product, video_id, "not_created")
    with pytest.raises(InvalidRequest, match="'paid'"):
        await resolve(product, video_id, "attach", "another")
    await resolve(product, video_id, "give_up")
    attempt = await only_attempt(product, video_id)
    assert (attempt.state, attempt.settled, await doubts(product)) == ("taken", "given_up", [])


async def test_a_late_job_of_a_video_that_was_made_is_not_delivered_twice(launch: Launch) -> None:
    """Where another submission made the video, its owner has it: the other job can only be given up."""
    product = await launch(PENDING, plugins=PLUGINS)
    video = await product.done((await product.create())["id"])
    other = Attempt(
        id="att_" + "0" * 32,
        video_id=video["id"],
        channel="a",
        state="taken",
        started_at=1.0,
        ended_at=2.0,
        upstream_id="second",
        job=UpstreamJob(id="second"),
    )
    await core_of(product).store.write(partial(attempts.save, attempt=other))
    assert [doubt.attempt.id for doubt in await doubts(product)] == [other.id]
    with pytest.raises(InvalidRequest, match="give_up"):
        await resolve(product, video["id"], "attach", "second")
    await resolve(product, video["id"], "give_up")
    assert (await product.call("GET", f"/v1/videos/{video['id']}"))[1]["status"] == "completed"
    assert await doubts(product) == []


# ---------------------------------------------------------------- once, and on the record


@pytest.mark.parametrize("text", [PENDING, BRIEF], ids=["pending", "failed"])
@pytest.mark.parametrize("word", ["attach", "not_created", "give_up"])
async def test_an_answer_is_given_once(launch: Launch, text: str, word: str) -> None:
    """The same answer again changes nothing and answers the same; any other one is refused; the audit has one row."""
    product = await launch(text, plugins=PLUGINS)
    video_id = await (pending if text is PENDING else failed)(product)
    upstream_id = "found-1" if word == "attach" else None
    first = await resolve(product, video_id, word, upstream_id, note="asked the provider")
    again = await resolve(product, video_id, word, upstream_id)
    assert again.video.id == first.video.id == video_id
    assert (again.delivered_as and again.delivered_as.id) == (first.delivered_as and first.delivered_as.id)
    for other in {"attach", "not_created", "give_up"} - {word}:
        with pytest.raises(InvalidRequest, match="before"):
            await resolve(product, video_id, other, "found-1" if other == "attach" else None)
    if word == "attach":
        with pytest.raises(InvalidRequest, match="before"):
            await resolve(product, video_id, "attach", "found-2")
    ((actor, action, subject, details),) = await audited(product)
    assert (actor, action, subject) == (KEY.id, word, video_id)
    attempt = (await core_of(product).store.attempts(video_id))[0]
    assert (details["attempt"], details["channel"], details["note"]) == (attempt.id, "a", "asked the provider")
    assert details["found"] == ("unknown" if text is PENDING else "ended")
    delivered = first.delivered_as and first.delivered_as.id
    assert (details.get("upstream_id"), details.get("delivered_as")) == (upstream_id, delivered)


@pytest.mark.parametrize("text", [PENDING, BRIEF], ids=["pending", "failed"])
@pytest.mark.parametrize("word", ["attach", "not_created", "give_up"])
async def test_an_answer_is_one_transaction(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, text: str, word: str
) -> None:
    """Where the audit cannot be written, nothing of the answer is: video, attempt and new video are as before."""
    product = await launch(text, plugins=PLUGINS)
    video_id = await (pending if text is PENDING else failed)(product)
    video, attempt = await stored(product, video_id), await only_attempt(product, video_id)

    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(inbox, "note", full)
        with pytest.raises((sqlite3.OperationalError, StoreBusy)):
            await resolve(product, video_id, word, "found-1" if word == "attach" else None)
    now = await core_of(product).store.video(video_id)
    assert now is not None
    assert (now.version, now.stage, now.replaced_by_id) == (video.version, video.stage, None)
    assert await only_attempt(product, video_id) == attempt
    assert len((await product.call("GET", "/v1/videos"))[1]["data"]) == 1
    assert len(await doubts(product)) == 1
    await resolve(product, video_id, word, "found-1" if word == "attach" else None)
    assert await doubts(product) == []


async def test_what_is_not_in_doubt_is_not_settled(launch: Launch) -> None:
    """A video that its upstream took has nothing to settle, and an unknown id is a 404."""
    product = await launch(PENDING, plugins=PLUGINS)
    video = await product.done((await product.create())["id"])
    for word in ("attach", "not_created", "give_up"):
        with pytest.raises(InvalidRequest, match="not in doubt"):
            await resolve(product, video["id"], word, "found-1" if word == "attach" else None)
        with pytest.raises(VideoNotFound):
            await resolve(product, "video_" + "0" * 32, word, "found-1" if word == "attach" else None)
    assert await audited(product) == []
