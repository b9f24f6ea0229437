"""Submitting: an attempt recorded before the upstream is called, its outcome classed, never repeated blindly (P2)."""

from __future__ import annotations

import asyncio
import enum
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from proxy.accounts.limits import check_dearer
from proxy.channels import LiveChannel
from proxy.engine import states
from proxy.engine.core import Core, NotSent, log, plugin_fault
from proxy.engine.decisions import explain
from proxy.engine.limits import Settled, price_of
from proxy.engine.requests import Placement, Submittable, build, current, submit
from proxy.engine.states import IllegalMove
from proxy.errors import ApiError, Outcome, Throttled
from proxy.ids import new_id
from proxy.logs import log_context
from proxy.models import UpstreamJob
from proxy.records import Attempt, AttemptState, Video
from proxy.store import ChannelFull, LeaseLost, StoreBusy, attempts

REQUEUE_FIRST = 1.0
REQUEUE_MOST = 60.0
"""Seconds before a submission that was refused is tried again: the first time, and at most."""


Step = Callable[[Video], Video]


class Moved(enum.Enum):
    """Why a refused submission did not go on to another channel."""

    NOWHERE = "no other channel has room"
    OVER = "its video ended"


@dataclass(slots=True)
class Submission:
    """One video on its way to an upstream, and what its client may still be told.

    `detached`: the client has its 200, so that a refusal can only fail the video. `verdict`: the refusal that the
    client is told instead of a 200. Whichever is set first holds; both are set without an await in between. `job` is
    what the upstream has taken, as soon as that is known.
    """

    video: Video
    detached: bool = False
    verdict: ApiError | None = None
    job: UpstreamJob | None = None
    task: asyncio.Task[None] | None = None


class Submitter:
    """Carries submissions out, one task each."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tries: dict[str, int] = {}
        self.taken = asyncio.Queue[Video]()
        """Videos that an upstream took, for the poller."""
        self.uncertain = asyncio.Queue[Video]()
        """Videos with an unknown outcome, for the recovery."""
        self.requeued = asyncio.Queue[Video]()
        """Videos that go back to the queue."""

    def start(self, submission: Submission, ready: Submittable, placements: Sequence[Placement]) -> None:
        """Submit a video whose attempt is recorded on `placements[0]`; the others are tried after a refusal."""
        submission.task = self._core.spawn(
            self._run(submission, ready, list(placements)), f"submit {submission.video.id}"
        )

    def forget(self, video_id: str) -> None:
        """Count no more how often a video was tried that ended while it waited."""
        self._tries.pop(video_id, None)

    async def _run(self, submission: Submission, ready: Submittable, placements: list[Placement]) -> None:
        log_context(video_id=submission.video.id)
        try:
            await self._carry_out(submission, ready, placements)
        except Exception as error:
            # An attempt is recorded and may be paid for: whatever broke here, the video must not stay on its way.
            log.exception("the submission of video %s broke", submission.video.id)
            self._core.abandoned(submission.video.channel, submission.video.id)
            attempt_id = submission.video.attempt_id or ready.request.attempt_id
            attempt = Attempt(
                id=attempt_id,
                video_id=submission.video.id,
                channel=submission.video.channel,
                started_at=submission_start(submission.video),
            )
            ended = _ended(attempt, self._core.clock(), "unknown", type(error).__name__)
            if submission.job is not None:
                ended = replace(ended, state="taken", upstream_id=submission.job.id)
                # Its id alone: what else came with it may be what cannot be stored.
                await self._core.keep(replace(ended, job=UpstreamJob(id=submission.job.id)))
            await self._unknown(submission, ended)

    async def _carry_out(self, submission: Submission, ready: Submittable, placements: list[Placement]) -> None:
        placement = placements.pop(0)
        throttled = False
        while True:
            job, error = await self._attempt(placement.live, ready)
            attempt = self._attempt_of(submission.video, placement.live, ready)
            self._core.concluded(placement.live, submission.video.id, error)
            if job is not None:
                submission.job = job
                await self._taken(submission, placement.live, job, attempt)
                return
            assert error is not None
            note = f"{type(error).__name__}: {error.message}"
            if error.outcome is Outcome.UNKNOWN:
                await self._unknown(submission, _ended(attempt, self._core.clock(), "unknown", note))
                return
            attempt = _ended(attempt, self._core.clock(), "refused", note)
            if error.outcome is Outcome.CLIENT:
                await self._reject(submission, error, attempt)
                return
            if isinstance(error, Throttled):
                throttled = True
                wait = REQUEUE_FIRST if error.retry_after is None else error.retry_after
                self._core.throttle(placement.live.name, wait)
            moved = await self._move_on(submission, placements, attempt)
            if moved is Moved.OVER:
                return
            if isinstance(moved, tuple):
                placement, ready = moved
                continue
            if throttled or placements or submission.detached or isinstance(error, NotSent):
                # Throttled, or another channel is only full for now, or the client counts on it already.
                await self._requeue(submission, placement.live, attempt)
            else:
                await self._reject(submission, error, attempt)
            return

    async def _attempt(self, live: LiveChannel, ready: Submittable) -> tuple[UpstreamJob | None, ApiError | None]:
        if not self._core.leases.current():
            # This process was paused after the attempt was recorded: another one may have taken the video over.
            return None, NotSent("The lease of this process ran out before anything was sent.")
        began = self._core.clock()
        try:
            job, error = await submit(live, ready), None
        except ApiError as refusal:
            job, error = None, refusal
        self._core.metrics.submission(live.name, _outcome_word(error), self._core.clock() - began)
        return job, error

    def _attempt_of(self, video: Video, live: LiveChannel, ready: Submittable) -> Attempt:
        return Attempt(
            id=ready.request.attempt_id, video_id=video.id, channel=live.name, started_at=submission_start(video)
        )

    async def _moved(
        self, submission: Submission, step: Step, attempt: Attempt, job: UpstreamJob | None = None, **options: Any
    ) -> bool:
        """Move the video and record how its attempt went. False where the video is not this process's to move any more:
        then the attempt alone keeps what the upstream said, and the job."""
        try:
            submission.video = await self._core.move(submission.video.id, step, attempt=attempt, surely=True, **options)
        except (IllegalMove, LeaseLost) as error:
            log.warning(
                "video %s: what its upstream said is kept with attempt %s: %s", submission.video.id, attempt.id, error
            )
            if attempt.state == "refused":
                await self._unpaid(attempt)
            else:
                await self._core.keep(replace(attempt, job=job))
            return False
        return True

    async def _unpaid(self, attempt: Attempt) -> None:
        """Record how an attempt went that costs nothing, and give its price back where the owner of the video deleted
        that while it was on its way."""
        now = self._core.clock()
        step = partial(states.unpaid, attempt_id=attempt.id, now=now)
        try:
            await self._core.move(attempt.video_id, step, attempt=attempt, surely=True, anyones=True)
        except (IllegalMove, LeaseLost):
            await self._core.keep(attempt)

    async def _taken(self, submission: Submission, live: LiveChannel, job: UpstreamJob, attempt: Attempt) -> None:
        core = self._core
        now = core.clock()
        ended = _ended(attempt, now, "taken", "", upstream_id=job.id)
        self._tries.pop(submission.video.id, None)
        if await self._moved(
            submission, lambda video: clean_failure(core, states.taken(video, job, now=now)), ended, job
        ):
            if submission.video.stage == "running":
                self.taken.put_nowait(submission.video)
            return
        if job.status == "failed":
            await self._unpaid(ended)
            return
        video = await core.newest(submission.video.id)
        if video is not None and video.stage == "deleted" and live.channel.able("cancel"):
            # Its owner deleted it by force while the request was on the wire. A cancel that fails is no fault of the
            # submission, whose attempt says already what was taken.
            try:
                await live.channel.cancel(job)
            except ApiError as error:
                said = core.redactor.text(error.message, (job.id,))
                log.warning("video %s was not cancelled at channel %s: %s", video.id, live.name, said)
            except Exception as error:
                plugin_fault(live, error, "cancel", (job.id,))
            else:
                if job.status != "completed":
                    await self._unpaid(ended)

    async def _unknown(self, submission: Submission, attempt: Attempt) -> None:
        now = self._core.clock()
        log.warning("the outcome of %s on channel %s is unknown: %s", attempt.id, attempt.channel, attempt.note)
        if await self._moved(submission, lambda video: states.uncertain(video, now=now), attempt):
            self.uncertain.put_nowait(submission.video)

    async def _reject(self, submission: Submission, error: ApiError, attempt: Attempt) -> None:
        core = self._core
        now = core.clock()
        self._tries.pop(submission.video.id, None)
        if not submission.detached:
            submission.verdict = error
        if submission.verdict is not None:
            await self._moved(
                submission, lambda video: states.refused(video, now=now), attempt, forget_idempotency=True
            )
        else:
            await self._moved(
                submission, lambda video: states.failed(video, core.job_error(error, video), now=now), attempt
            )

    async def _requeue(self, submission: Submission, live: LiveChannel, attempt: Attempt) -> None:
        core = self._core
        now = core.clock()
        tries = self._tries[submission.video.id] = self._tries.get(submission.video.id, 0) + 1
        wait = min(REQUEUE_FIRST * 2 ** (tries - 1), REQUEUE_MOST)
        again = now + wait
        if await self._moved(submission, lambda video: states.requeued(video, submit_after=again, now=now), attempt):
            self.requeued.put_nowait(submission.video)

    async def _move_on(
        self, submission: Submission, placements: list[Placement], attempt: Attempt
    ) -> tuple[Placement, Submittable] | Moved:
        """Go to the next channel that has room: the refused attempt and the next one are recorded before it is called.

        `Moved.NOWHERE` where none has room: `placements` are those that may have some later.
        """
        core, video_id = self._core, submission.video.id
        ranked = [found for placement in placements if (found := current(core, placement)) is not None]
        # As they are now: a reload may have rebuilt a channel, or switched it off, while another one was asked.
        placements[:] = ranked
        excluded = {attempt.channel: attempt.note}
        for placement in ranked:
            if not core.reserve(placement.live, video_id):
                continue
            because = f"the next after {attempt.channel} refused it"
            decision = explain(core, placement, ranked, because=because, excluded=excluded)
            try:
                submission.video, ready = await record_attempt(core, submission.video, placement, decision, attempt)
            except ChannelFull:
                core.filled(placement.live.name, video_id)
                continue
            except (IllegalMove, LeaseLost):
                core.release(placement.live.name, video_id)
                await self._unpaid(attempt)
                return Moved.OVER
            except (StoreBusy, OSError) as error:
                # Nothing was sent there; it waits in the queue for a disk that can be used.
                core.release(placement.live.name, video_id)
                log.warning("video %s cannot go to channel %s now: %s", video_id, placement.live.name, error)
                return Moved.NOWHERE
            except Exception as error:
                # What this channel cannot take, another one may.
                core.release(placement.live.name, video_id)
                excluded[placement.live.name] = refusal_of(placement.live, error).message
                placements.remove(placement)
                continue
            placements.remove(placement)
            return placement, ready
        return Moved.NOWHERE


async def record_attempt(
    core: Core, video: Video, placement: Placement, decision: str, refused: Attempt | None = None
) -> tuple[Video, Submittable]:
    """Make the next attempt of a waiting or refused video durable, with why it goes there, and how the one before it
    ended; answers the video and what to submit.

    Raises `ChannelFull` where another process took the last place, an `InvalidRequest` where the channel cannot take
    it, `InsufficientQuota` where it is dearer there than the budget of its key allows."""
    attempt_id = new_id("att")
    now = core.clock()
    last = video

    def began(current: Video) -> Video:
        nonlocal last
        last = current
        return began_on(current, placement, attempt_id, now)

    def also(db: sqlite3.Connection) -> None:
        if refused is not None:
            attempts.save(db, refused)
        check_dearer(db, last, began(last))

    ready = await build(core, placement.live, placement.offer.limits, began(video), attempt_id)
    attempt = Attempt(id=attempt_id, video_id=video.id, channel=placement.live.name, started_at=now, decision=decision)
    return await core.move(video.id, began, attempt=attempt, cap=core.cap(placement.live), also=also), ready


def refusal_of(live: LiveChannel, error: Exception) -> ApiError:
    """Why a channel cannot take a video, of what was raised before anything was sent."""
    return error if isinstance(error, ApiError) else plugin_fault(live, error, "check")


def began_on(video: Video, placement: Placement, attempt_id: str, now: float) -> Video:
    """`video` with an attempt on `placement`, and the values ordered there."""
    # What starts from a video of ours has that one's size and length: they are not of the channel. What is to be added
    # was said, and the object shows it with the length of what it is added to.
    ours, before = video.source_id is not None, video.seconds - video.billed_seconds
    ordered = Settled(
        video.billed_seconds if ours or video.kind == "extend" else placement.settled.seconds,
        video.size if ours else placement.settled.size,
    )
    clip = video.order.video
    price = price_of(
        placement.offer.limits,
        ordered,
        audio=video.order.audio,
        kind="create" if video.order.reimagine else video.kind,
        source_seconds=None if clip and clip.seconds is None else before,
    )
    return states.began(
        video,
        channel=placement.live.name,
        upstream_model=placement.offer.upstream,
        attempt_id=attempt_id,
        now=now,
        seconds=before + ordered.seconds,
        size=ordered.size,
        price=price,
    )


def submission_start(video: Video) -> float:
    """Unix seconds at which the attempt of a submitting video was recorded."""
    return video.changed_at


def clean_failure(core: Core, video: Video) -> Video:
    """The video with its failure's sentence redacted, as it may be shown and stored."""
    if video.error_message is None:
        return video
    return replace(video, error_message=core.clean(video.error_message, video))


def _outcome_word(error: ApiError | None) -> str:
    """The word for the metrics: taken, throttled, client, refused or unknown."""
    if error is None:
        return "taken"
    return "throttled" if isinstance(error, Throttled) else error.outcome.value


def _ended(attempt: Attempt, now: float, state: AttemptState, note: str, upstream_id: str | None = None) -> Attempt:
    return replace(attempt, state=state, ended_at=now, note=note, upstream_id=upstream_id)
