"""The upstreams of the state machine: puppets in the process, and behind each an account that outlives it.

An account keeps what it was paid for. What it answers next is said in words: see `SUBMISSIONS`, `POLLS`, `RECOVERIES`
and `CLEANUPS`. Where nothing was said it is healthy and honest.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from proxy import (
    ABSENT,
    Absent,
    AccountRefused,
    Channel,
    InvalidRequest,
    Model,
    ModerationBlocked,
    Source,
    Throttled,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
    VideoRequest,
)
from proxy.errors import ApiError

Outcome = Literal["taken", "client", "refused", "unknown"]

REFUSALS: Final[dict[str, Callable[[], ApiError]]] = {
    "wrong": lambda: InvalidRequest("The size is not one of ours."),
    "moderated": lambda: ModerationBlocked("The prompt is not allowed."),
    "busy": lambda: Throttled("Too many."),
    "busy for long": lambda: Throttled("Too many.", retry_after=40.0),
    "unreachable": lambda: UpstreamUnreachable("Connection refused."),
    "refused": lambda: UpstreamRefused("Not now."),
    "unpaid": lambda: AccountRefused("No credit."),
}
SUBMISSIONS: Final = (
    *("taken", "done at once", "failed at once", *REFUSALS),
    *("lost after taking", "nonsense after taking", "lost", "broken", "hang"),
)
"""How an account may answer a submission. "lost …" and "nonsense …" say nothing of what became of it."""
OUTCOMES: Final[dict[str, Outcome]] = {
    **dict.fromkeys(("taken", "done at once", "failed at once"), "taken"),
    **dict.fromkeys(("wrong", "moderated"), "client"),
    **dict.fromkeys(("busy", "busy for long", "unreachable", "refused", "unpaid"), "refused"),
    **dict.fromkeys(("lost after taking", "nonsense after taking", "lost", "broken"), "unknown"),
}
"""What the engine may know after each of the answers."""
TAKING: Final = frozenset({"taken", "done at once", "failed at once", "lost after taking", "nonsense after taking"})
FAILURES: Final = frozenset({"unreachable", "refused", "lost after taking", "nonsense after taking", "lost", "broken"})
"""The answers that a breaker counts."""
POLLS: Final = ("back", "odd", "gone", "error", "busy", "broken", "nonsense", "hang")
RECOVERIES: Final = ("cannot tell", "error", "broken")
CLEANUPS: Final = ("error", "broken")


class Broken(Exception):
    """A mistake of the plugin itself."""


@dataclass(eq=False)
class Job:
    """A job that an account took, and is paid for."""

    id: str
    prompt: str
    attempt_id: str
    status: Literal["queued", "in_progress", "completed", "failed"] = "in_progress"
    progress: int = 0
    forgotten: bool = False
    cancelled: bool = False
    deleted: bool = False
    gone: list[float] = field(default_factory=list)
    """When the account said that it does not know the job, since it last said anything else."""

    def told(self) -> UpstreamJob:
        """What an honest account says of it."""
        return UpstreamJob(
            id=self.id,
            status=self.status,
            progress=self.progress,
            error="It broke." if self.status == "failed" else None,
        )


@dataclass(eq=False)
class Submission:
    """A request for a video that came to an account. `at` is the world's time; `outcome` None: not answered yet."""

    channel: str
    prompt: str
    attempt_id: str
    kind: str
    source: str | None
    at: float
    answer: str = ""
    outcome: Outcome | None = None
    job: Job | None = None
    word: asyncio.Future[str] | None = None
    recovered: str = ""
    """What the last look-up of it was told."""
    video_id: str = ""
    interrupted: bool = False
    """Its process ended before it had recorded the answer."""


class Account:
    """One upstream account. `scripts` say what it answers next, by the operation."""

    def __init__(self, name: str, now: Callable[[], float], dead: Callable[[], bool]) -> None:
        self.name = name
        self.dead = dead
        """Whether the process that asks was killed."""
        self.jobs: dict[str, Job] = {}
        self.submissions: list[Submission] = []
        self.scripts: defaultdict[str, deque[str]] = defaultdict(deque)
        self.arrived: list[Submission] = []
        self.ended: list[Submission] = []
        """Those that the laws have not seen yet, as they come and as they are answered."""
        self._now = now

    def _next(self, operation: str, healthy: str = "") -> str:
        script = self.scripts[operation]
        return script.popleft() if script else healthy

    async def submit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        """Take a job or not."""
        submission = Submission(
            self.name,
            request.prompt,
            request.attempt_id,
            request.kind,
            None if source is None else source.id,
            self._now(),
        )
        self.submissions.append(submission)
        self.arrived.append(submission)
        word = self._next("submit", "taken")
        if word == "hang":
            submission.word = asyncio.get_running_loop().create_future()
            try:
                word = await submission.word
            except asyncio.CancelledError:
                # Given up by a process that lives on, the job all the same may have been taken. Here it has.
                if submission.outcome is None and not self.dead():
                    self.end(submission, "lost after taking")
                raise
        self.end(submission, word)
        if word in REFUSALS:
            raise REFUSALS[word]()
        match word:
            case "lost" | "lost after taking":
                raise UpstreamTimeout("No answer.")
            case "broken":
                raise Broken
            case "nonsense after taking":
                return None  # type: ignore[return-value]
        assert submission.job is not None
        return submission.job.told()

    def end(self, submission: Submission, word: str) -> None:
        """Decide what becomes of a submission."""
        submission.answer, submission.outcome = word, OUTCOMES[word]
        self.ended.append(submission)
        if word in TAKING:
            job = Job(f"{self.name}-{len(self.jobs) + 1}", submission.prompt, submission.attempt_id)
            if word == "done at once":
                job.status, job.progress = "completed", 100
            elif word == "failed at once":
                job.status = "failed"
            self.jobs[job.id] = submission.job = job

    @property
    def open(self) -> list[Submission]:
        """The submissions that wait for an answer."""
        return [one for one in self.submissions if one.outcome is None]

    async def poll(self, known: UpstreamJob) -> UpstreamJob:
        """Tell of a job, perhaps badly."""
        job = self.jobs[known.id]
        word = self._next("poll")
        if word == "gone" or (not word and job.forgotten):
            job.gone.append(self._now())
            raise UpstreamGone("No such job.")
        job.gone.clear()
        match word:
            case "back":
                return UpstreamJob(id=job.id, status="queued", progress=0)
            case "odd" | "error":
                raise UpstreamError(f"An {word} answer.")
            case "busy":
                raise Throttled("Too many.", retry_after=3.0)
            case "broken":
                raise Broken
            case "nonsense":
                return None  # type: ignore[return-value]
            case "hang":
                await asyncio.get_running_loop().create_future()
        return job.told()

    async def recover(self, attempt_id: str) -> UpstreamJob | Absent | None:
        """Look a submission up."""
        submission = next((one for one in self.submissions if one.attempt_id == attempt_id), None)
        word = self._next("recover")
        if submission is not None:
            submission.recovered = word
        match word:
            case "cannot tell":
                return None
            case "error":
                raise UpstreamError("No answer.")
            case "broken":
                raise Broken
        return ABSENT if submission is None or submission.job is None else submission.job.told()

    async def clean_up(self, operation: Literal["cancel", "delete"], known: UpstreamJob) -> None:
        """Cancel or delete a job."""
        job = self.jobs[known.id]
        match self._next(operation):
            case "error":
                raise UpstreamError("No answer.")
            case "broken":
                raise Broken
        if operation == "delete":
            job.deleted = True
        elif job.status in ("queued", "in_progress"):
            job.cancelled, job.status = True, "failed"


class Puppet(Channel):
    """A channel that passes everything on to its account."""

    type = "puppet"
    models: Mapping[str, Model] = {}

    @property
    def account(self) -> Account:
        loop: Any = asyncio.get_running_loop()
        account: Account = loop.world.accounts[self.name]
        return account

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return await self.account.submit(request, None)

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.account.submit(request, source)

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return await self.account.poll(job)

    async def content(self, job: UpstreamJob, variant: str) -> Source:
        return Source(data=job.id.encode())


class Lookup(Puppet):
    """One that can look a submission up, cancel and delete."""

    type = "lookup"

    async def recover(self, request: VideoRequest) -> UpstreamJob | Absent | None:
        return await self.account.recover(request.attempt_id)

    async def cancel(self, job: UpstreamJob) -> None:
        await self.account.clean_up("cancel", job)

    async def delete(self, job: UpstreamJob) -> None:
        await self.account.clean_up("delete", job)
