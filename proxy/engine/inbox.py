"""The three answers of an operator to a submission whose outcome is in doubt.

    attach        the upstream has it under this id: the video is delivered from there
    not_created   the upstream certainly has no such job: nothing was paid
    give_up       nobody will find out

A pending video itself goes on, or ends, by the answer. One that has ended stays as it is (P6): what is attached then is
delivered as a new video, linked to the old one. Each answer is one transaction with its row in the audit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from msgspec.structs import replace

from proxy.engine import states
from proxy.engine.core import Core, log
from proxy.engine.requests import fetch
from proxy.engine.states import IllegalMove
from proxy.engine.submissions import clean_failure
from proxy.errors import ApiError, ChannelUnavailable, InvalidRequest, Stopping, UpstreamGone, VideoNotFound
from proxy.ids import created_at, new_id
from proxy.models import JobError, UpstreamJob
from proxy.records import Attempt, AttemptState, Key, Settlement, Video
from proxy.store import inbox, outbox
from proxy.store.inbox import Dossier, DoubtGone, JobTaken, Settled

CHECK_WITHIN = 20.0
"""Seconds that the upstream has to say whether it knows a job that is to be attached."""
MAX_UPSTREAM_ID: Final = 512

Word = Literal["attach", "not_created", "give_up"]
WORDS: Final[tuple[Word, ...]] = ("attach", "not_created", "give_up")

_SETTLED: Final[dict[Word, Settlement]] = {
    "attach": "attached",
    "not_created": "not_created",
    "give_up": "given_up",
}
_SAID: Final[dict[Settlement, str]] = {
    "attached": "attached to an upstream's job",
    "not_created": "confirmed as not created",
    "given_up": "given up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An operator's answer. `upstream_id` goes with "attach"; `note` is for the audit; `force` attaches a job although
    the upstream says that it has none, or told another id."""

    word: Word
    upstream_id: str | None = None
    note: str = ""
    force: bool = False


class Resolution(NamedTuple):
    """The video that was asked about, as it is now, and the one that delivers its job where one does: a new one, or
    itself."""

    video: Video
    delivered_as: Video | None


class Inbox:
    """What waits for an operator's word; `reports.Reports.doubts` lists it. `hand_over` is given each video that runs
    from now on."""

    def __init__(self, core: Core, hand_over: Callable[[Video], None]) -> None:
        self._core = core
        self._hand_over = hand_over

    # -- settling ------------------------------------------------------------------------------------------------------

    async def resolve(self, video_id: str, answer: Answer, key: Key) -> Resolution:
        """Settle the doubt about a video by the word of `key`, an operator's.

        The same answer again changes nothing; another one than was given before is an `InvalidRequest`, as is one for
        a video that is not in doubt. `VideoNotFound`; `Stopping`; to attach also `ChannelUnavailable`.
        """
        if answer.word == "attach":
            _check_upstream_id(answer.upstream_id)
        # In a task of its own: an operator who hangs up leaves nothing half done.
        return await asyncio.shield(self._core.carry(self._resolve(video_id, answer, key), f"resolve {video_id}"))

    async def _resolve(self, video_id: str, answer: Answer, key: Key) -> Resolution:
        job: UpstreamJob | None = None
        while True:
            if self._core.closing:
                raise Stopping("This server is stopping. Please try again.", retry_after=1)
            dossier = await self._core.store.read(partial(inbox.dossier, video_id=video_id))
            if dossier is None:
                raise VideoNotFound(f"Video with id '{video_id}' not found.")
            attempt = _in_doubt(dossier)
            if attempt is None:
                return await self._settled_before(dossier, answer)
            if answer.word == "attach" and job is None:
                job = await self._look(attempt, answer)
                # That may have taken long.
                continue
            try:
                return await self._settle(dossier.video, attempt, answer, key, job)
            except (DoubtGone, IllegalMove):
                # A look-up, the end of the grace time or another operator was faster: decide by what is so now.
                continue
            except JobTaken as error:
                raise InvalidRequest(
                    f"Channel '{attempt.channel}' delivers this job as video '{error.video_id}' already; attaching it "
                    "here would deliver it twice. Check the upstream's id.",
                    param="upstream_id",
                ) from None

    async def _settle(
        self, video: Video, attempt: Attempt, answer: Answer, key: Key, job: UpstreamJob | None
    ) -> Resolution:
        if job is not None:
            if video.stage == "unknown":
                return await self._go_on(video, attempt, answer, key, job)
            if video.stage == "deleted" or video.status == "failed":
                return await self._replace(video, attempt, answer, key, job)
            raise InvalidRequest(
                f"Video '{video.id}' is {video.status} by another submission, so that nobody waits for this job; "
                "answer give_up."
            )
        if answer.word == "not_created" and attempt.state == "taken":
            raise InvalidRequest(
                f"Channel '{attempt.channel}' has answered that it took this job, so that it was created: attach it, "
                "or give it up.",
                param="answer",
            )
        state: AttemptState = "absent" if answer.word == "not_created" else attempt.state
        write = self._writing(video, attempt, answer, key, state)
        if video.stage == "unknown":
            return Resolution(await self._end(video, answer.word, write), None)
        if answer.word == "not_created" and video.stage == "deleted":
            now = self._core.clock()
            unpaid = partial(_given_back, attempt_id=attempt.id, now=now)
            return Resolution(await self._core.move(video.id, unpaid, anyones=True, also=write), None)
        await self._core.store.write(write)
        return Resolution(video, None)

    async def _end(self, video: Video, word: Word, write: Callable[[sqlite3.Connection], None]) -> Video:
        now = self._core.clock()
        if word == "not_created":
            error = JobError(
                "upstream_failed", "The upstream never took this video; nothing was paid. Please ask again."
            )
        else:
            error = JobError(
                "outcome_unknown",
                "The upstream did not say whether it took this video, and that could not be found out. It was not "
                "sent again.",
            )

        return await self._core.move(
            video.id, lambda current: states.failed(current, error, now=now), anyones=True, also=write
        )

    async def _go_on(self, video: Video, attempt: Attempt, answer: Answer, key: Key, job: UpstreamJob) -> Resolution:
        """The pending video runs, from the job that was found, or ends as that has."""
        core = self._core
        now = core.clock()
        taken = replace(attempt, upstream_id=answer.upstream_id)
        settle = self._writing(video, attempt, answer, key, "taken")

        def write(db: sqlite3.Connection) -> None:
            settle(db)
            inbox.attach(db, taken, None)

        def step(current: Video) -> Video:
            return clean_failure(core, states.taken(replace(current, job=_known(attempt, answer)), job, now=now))

        moved = await core.move(video.id, step, anyones=True, also=write)
        self._start(moved)
        return Resolution(moved, moved)

    async def _replace(self, video: Video, attempt: Attempt, answer: Answer, key: Key, job: UpstreamJob) -> Resolution:
        """The video has ended, which is final: a new one stands in its place, as far as its job is."""
        core = self._core
        now = core.clock()
        new_video_id, attempt_id = new_id("video"), new_id("att")
        begun = replace(
            video,
            id=new_video_id,
            channel=attempt.channel,
            stage="submitting",
            status="queued",
            progress=0,
            created_at=created_at(new_video_id),
            completed_at=None,
            expires_at=None,
            error_code=None,
            error_message=None,
            cost=None,
            job=_known(attempt, answer),
            attempt_id=attempt_id,
            changed_at=now,
            submit_after=0.0,
            version=0,
            holder=core.leases.primary,
            replaces_id=video.id,
            replaced_by_id=None,
        )
        new = clean_failure(core, states.taken(begun, job, now=now))
        taken = Attempt(
            id=attempt_id,
            video_id=new.id,
            channel=new.channel,
            state="taken",
            started_at=attempt.started_at,
            ended_at=now,
            upstream_id=answer.upstream_id,
            note="attached by an operator",
        )
        settle = self._writing(video, attempt, answer, key, attempt.state, delivered_as=new.id)

        def write(db: sqlite3.Connection) -> None:
            # First: where the same answer was given at the same time, the other's video has the job already.
            settle(db)
            inbox.attach(db, taken, new)
            outbox.note(db, begun, new)

        def step(current: Video) -> Video:
            # The job is paid for once: by the video that delivers it.
            return replace(_given_back(current, attempt_id=attempt.id, now=now), replaced_by_id=new.id)

        old = await core.move(video.id, step, anyones=True, also=write)
        core.track(new)
        for heard in core.listeners:
            heard(begun, new)
        self._start(new)
        return Resolution(old, new)

    def _start(self, video: Video) -> None:
        # What another process holds, that one polls: it sees the change in the store.
        if video.stage == "running" and self._core.leases.holds(video):
            self._hand_over(video)

    def _writing(
        self,
        video: Video,
        attempt: Attempt,
        answer: Answer,
        key: Key,
        state: AttemptState,
        *,
        delivered_as: str | None = None,
    ) -> Callable[[sqlite3.Connection], None]:
        """What settles the attempt and tells the audit of it."""
        upstream_id = answer.upstream_id if answer.word == "attach" else None
        how = Settled(attempt.id, attempt.state, _SETTLED[answer.word], state, upstream_id)
        details: dict[str, Any] = {"attempt": attempt.id, "channel": attempt.channel, "found": video.stage}
        if answer.word == "attach":
            details |= {"upstream_id": upstream_id, "delivered_as": delivered_as or video.id}
        if answer.note:
            details["note"] = answer.note
        if answer.force:
            details["force"] = True
        at = self._core.clock()

        def write(db: sqlite3.Connection) -> None:
            inbox.settle(db, how)
            inbox.note(db, at=at, actor=key.id, action=answer.word, subject=video.id, details=details)

        return write

    async def _settled_before(self, dossier: Dossier, answer: Answer) -> Resolution:
        video = dossier.video
        settled = next((attempt for attempt in reversed(dossier.attempts) if attempt.settled is not None), None)
        if settled is None or settled.settled is None:
            raise InvalidRequest(
                f"The outcome of video '{video.id}' is not in doubt: there is nothing to settle. The list of unknown "
                "outcomes says which are."
            )
        same_job = answer.word != "attach" or answer.upstream_id == settled.upstream_id
        if settled.settled != _SETTLED[answer.word] or not same_job:
            raise InvalidRequest(
                f"Video '{video.id}' was {_SAID[settled.settled]} before, and that is final; the audit says by whom.",
                param="answer" if same_job else "upstream_id",
            )
        if answer.word != "attach":
            return Resolution(video, None)
        if video.replaced_by_id is None:
            return Resolution(video, video)
        return Resolution(video, await self._core.newest(video.replaced_by_id))

    # -- asking the upstream -------------------------------------------------------------------------------------------

    async def _look(self, attempt: Attempt, answer: Answer) -> UpstreamJob:
        """The job as its channel says that it is, or as it is known where the channel cannot say now. Refuses one that
        the channel says at once it does not have, or that it gave another id."""
        live = self._core.channels.get(attempt.channel)
        if live is None:
            raise ChannelUnavailable(
                f"Channel '{attempt.channel}', which would deliver this job, is not configured: put it back into "
                "channels.yaml first."
            )
        known = _known(attempt, answer)
        if answer.force:
            return known
        if attempt.job is not None and attempt.job.id != answer.upstream_id:
            raise InvalidRequest(
                f"Channel '{live.name}' has answered that it took this job as '{attempt.job.id}': attach that one, or "
                'another all the same with "force": true.',
                param="upstream_id",
            )
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                return await fetch(live, known)
        except UpstreamGone:
            raise InvalidRequest(
                f"Channel '{live.name}' says that it has no job with this id. Check it for typing mistakes, or attach "
                'it all the same with "force": true.',
                param="upstream_id",
            ) from None
        except (ApiError, TimeoutError) as error:
            # Whatever keeps it from answering now, the polls will find out.
            log.info("a job to be attached could not be looked at on channel %s: %s", live.name, type(error).__name__)
            return known


def _in_doubt(dossier: Dossier) -> Attempt | None:
    """The newest attempt that an operator can settle."""
    video = dossier.video
    for attempt in reversed(dossier.attempts):
        late = attempt.state == "taken" and attempt.job is not None
        nobodys = video.job is None or video.attempt_id != attempt.id
        if attempt.settled is None and (attempt.state == "unknown" or (late and nobodys)):
            return attempt
    return None


def _check_upstream_id(upstream_id: str | None) -> None:
    if upstream_id is None or not 1 <= len(upstream_id) <= MAX_UPSTREAM_ID:
        raise InvalidRequest(
            f"To attach a job, give the upstream's id of it: 1 to {MAX_UPSTREAM_ID} characters.", param="upstream_id"
        )
    if not upstream_id.isprintable() or " " in upstream_id:
        raise InvalidRequest(
            "The upstream's id has a space or a character in it that cannot be printed; copy it again.",
            param="upstream_id",
        )


def _given_back(video: Video, *, attempt_id: str, now: float) -> Video:
    """The video, not paying for this attempt any more where it was forgotten while that was on its way."""
    try:
        return states.unpaid(video, attempt_id, now=now)
    except IllegalMove:
        return video


def _known(attempt: Attempt, answer: Answer) -> UpstreamJob:
    """The job to attach, as it is known without its channel."""
    assert answer.upstream_id is not None
    if attempt.job is not None and attempt.job.id == answer.upstream_id:
        return attempt.job
    return UpstreamJob(id=answer.upstream_id, status="queued")
