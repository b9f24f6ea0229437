"""The moves of a video's life (P6)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine import states
from proxy.engine.states import IllegalMove
from proxy.models import JobError, UpstreamJob
from proxy.records import Video

RANK = {"queued": 0, "in_progress": 1, "completed": 2, "failed": 2}


def a_video(**values: object) -> Video:
    fields = {
        "id": "video_1",
        "tenant": "t",
        "key_id": "k",
        "model": "m",
        "upstream_model": "m",
        "channel": "a",
        "prompt": "p",
        "seconds": 4,
        "size": "720x1280",
        "created_at": 1000,
    }
    return Video(**{**fields, **values})  # type: ignore[arg-type]


jobs = st.builds(
    UpstreamJob,
    id=st.just("job"),
    status=st.sampled_from(["queued", "in_progress", "completed", "failed"]),
    progress=st.one_of(st.none(), st.floats(), st.integers(-50, 500)),
    url=st.one_of(st.none(), st.just("https://x.example/v.mp4")),
    error=st.one_of(st.none(), st.just("broken"), st.just(JobError("moderation_blocked", "no"))),
    expires_at=st.one_of(st.none(), st.integers(0, 5000)),
    facts=st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
)
moves = st.one_of(
    st.tuples(st.just("began")),
    st.tuples(st.just("requeued")),
    st.tuples(st.just("uncertain")),
    st.tuples(st.just("refused")),
    st.tuples(st.just("taken"), jobs),
    st.tuples(st.just("polled"), jobs),
    st.tuples(st.just("failed")),
    st.tuples(st.just("deleted")),
)


def apply(video: Video, move: tuple[object, ...], now: float) -> Video:
    match move:
        case ("began",):
            return states.began(video, channel="b", upstream_model="n", attempt_id="att_1", now=now)
        case ("requeued",):
            return states.requeued(video, submit_after=now + 1, now=now)
        case ("uncertain",):
            return states.uncertain(video, now=now)
        case ("refused",):
            return states.refused(video, now=now)
        case ("taken", UpstreamJob() as job):
            return states.taken(video, job, now=now)
        case ("polled", UpstreamJob() as job):
            return states.polled(video, job, now=now)
        case ("failed",):
            return states.failed(video, JobError("queue_timeout", "late"), now=now)
        case _:
            return states.deleted(video, now=now)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(moves, st.integers(-100, 100)), max_size=14))
def test_states_only_move_forward(script: list[tuple[tuple[object, ...], int]]) -> None:
    """Whatever happens in whatever order: no state moves back, progress never falls, an end is final."""
    video, now = a_video(), 1000.0
    for move, step in script:
        now += step
        try:
            after = apply(video, move, now)
        except IllegalMove:
            continue
        assert RANK[after.status] >= RANK[video.status]
        assert after.progress >= video.progress
        assert 0 <= after.progress <= 100
        assert (after.progress == 100) == (after.status == "completed")
        if video.stage in ("ended", "refused"):
            assert after.stage == "deleted"
            assert (after.status, after.progress, after.error_code) == (video.status, video.progress, video.error_code)
        assert video.stage != "deleted"
        if after.status == "completed":
            assert after.completed_at is not None
            assert after.completed_at >= after.created_at
            assert after.expires_at is None or after.expires_at >= after.completed_at
            assert after.error_code is None
        if after.status == "failed" and after.stage == "ended":
            assert after.error_code
            assert after.error_message
        video = after


def test_a_submission_is_never_repeated_once_its_outcome_is_unknown() -> None:
    """From `unknown` no move leads back to a submission (P2)."""
    unknown = a_video(stage="unknown")
    with pytest.raises(IllegalMove):
        states.began(unknown, channel="a", upstream_model="m", attempt_id="att_2", now=1.0)
    with pytest.raises(IllegalMove):
        states.requeued(unknown, submit_after=1.0, now=1.0)


def test_what_a_poll_leaves_out_is_kept() -> None:
    """A plugin's facts, link and expiry survive a poll that does not repeat them."""
    first = UpstreamJob(id="j", facts={"model": "x", "n": 1}, url="https://x.example/1", expires_at=2000)
    video = states.taken(a_video(stage="submitting"), first, now=1001.0)
    video = states.polled(video, UpstreamJob(id="j", status="completed", facts={"n": 2}), now=1002.0)
    assert video.job is not None
    assert video.job.facts == {"model": "x", "n": 2}
    assert video.job.url == "https://x.example/1"
    assert video.expires_at == 2000


def test_a_job_without_a_reason_still_says_something() -> None:
    """A failed job that gives no error ends with a code and a sentence."""
    video = states.polled(a_video(stage="running"), UpstreamJob(id="j", status="failed"), now=1.0)
    assert (video.status, video.error_code) == ("failed", "upstream_failed")
    assert video.error_message
