"""What must hold of the file and of the upstreams' books, looked at after each commit and each turn of the loop.

The laws know the promises of DESIGN §2 and nothing of how the engine keeps them.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.engine.machine_upstream import FAILURES, Account, Job, Submission
from tests.engine.machine_world import BEGINNING, World

UNKNOWN_GRACE: Final = 40.0
QUEUE_TIMEOUT: Final = 90.0
POLL_TIMEOUT: Final = 200.0
PAUSE: Final = 20.0
PRICES: Final = {"alpha": 0.1, "beta": 0.25, "gamma": 0.0}
"""US dollars per second, by channel."""
TRIES: Final = 3
"""Of a breaker: the failures in a row that trip it, and its first pause."""
MOST_WAITING: Final = 8

AT_UPSTREAM: Final = ("submitting", "unknown", "running")
NEXT: Final[Mapping[str, tuple[str, ...]]] = {
    "waiting": ("submitting", "ended", "deleted"),
    "submitting": ("submitting", "waiting", "unknown", "running", "ended", "refused", "deleted"),
    "unknown": ("running", "ended", "deleted"),
    "running": ("running", "ended", "deleted"),
    "ended": ("deleted",),
    # It was forgotten while it was on its way, and is given back.
    "deleted": ("deleted",),
}
RANK: Final = {"queued": 0, "in_progress": 1, "completed": 2, "failed": 2}
NEXT_OF_ATTEMPT: Final[Mapping[str, tuple[str, ...]]] = {
    "recorded": ("taken", "refused", "unknown", "absent"),
    "unknown": ("taken", "absent", "refused"),
}

_VIDEOS: Final = """
    SELECT id, tenant, key_id, kind, model, channel, stage, status, progress, prompt, source_id, error_code,
           error_message, completed_at, attempt_id, changed_at, submit_after, created_at, version, order_json, job_json
    FROM videos ORDER BY id
"""
_ATTEMPTS: Final = "SELECT id, video_id, channel, state, started_at, upstream_id FROM attempts"
_BILLS: Final = """
    SELECT videos.id, stage, status, seconds, videos.channel, price, cost, SUM(amount),
           SUM(ledger.kind IN ('settled', 'refunded')), SUM(ledger.kind = 'reserved'),
           (SELECT state FROM attempts WHERE attempts.id = videos.attempt_id)
    FROM videos LEFT JOIN ledger ON ledger.video_id = videos.id GROUP BY videos.id
"""
_OUTBOX: Final = "SELECT seq, video_id, before, after FROM outbox WHERE seq > ? ORDER BY seq"


class Row(NamedTuple):
    """A row of `videos`."""

    id: str
    tenant: str
    key_id: str
    kind: str
    model: str
    channel: str
    stage: str
    status: str
    progress: int
    prompt: str
    source_id: str | None
    error_code: str | None
    error_message: str | None
    completed_at: int | None
    attempt_id: str | None
    changed_at: float
    submit_after: float
    created_at: int
    version: int
    order_json: bytes
    job_json: bytes | None

    @property
    def listed(self) -> bool:
        return self.stage not in ("refused", "deleted")

    @property
    def job_id(self) -> str | None:
        return None if self.job_json is None else json.loads(self.job_json)["id"]

    @property
    def demand(self) -> tuple[str, str | None]:
        """Which channels could make it: all that serve the model, or one."""
        pin = json.loads(self.order_json).get("channel") if self.kind == "create" else self.channel
        return ("" if self.kind != "create" else self.model), pin


class Try(NamedTuple):
    """A row of `attempts`."""

    id: str
    video_id: str
    channel: str
    state: str
    started_at: float
    upstream_id: str | None


@dataclass
class Setting:
    """What an entry of channels.yaml says. `since_rest` has what it said since the world was last at rest."""

    type: str
    models: tuple[str, ...]
    max_running: int
    priority: int = 0
    present: bool = True
    enabled: bool = True
    since_rest: list[tuple[bool, int]] = field(default_factory=list)

    @property
    def now(self) -> tuple[bool, int]:
        """Whether it takes submissions, and how many at once."""
        return self.present and self.enabled, self.max_running


def _check_bill(
    video_id: str,
    stage: str,
    status: str,
    seconds: int,
    channel: str,
    price: int,
    cost: int | None,
    booked: int,
    ends: int,
    reserved: int,
    last: str | None,
) -> None:
    """The ledger says what the video says, at every moment: reserved once, settled or given back once."""
    over = stage in ("ended", "refused", "deleted")
    assert price == round(seconds * PRICES[channel] * 10**9), f"{video_id} costs {price} at {channel}"
    assert (cost is not None) == over, f"{video_id} is {stage} and its cost is {cost}"
    assert reserved == 1, f"{video_id} was reserved {reserved} times"
    assert over <= ends <= over + (stage == "deleted"), f"{video_id} is {stage} and was settled {ends} times"
    assert booked == (cost if over else price), f"{video_id}: {booked} is booked of {price}, {cost}"
    assert not (stage == "deleted" and last in ("refused", "absent") and cost), f"{video_id} was refused: {cost}"
    if over and stage != "deleted":
        due = price if status == "completed" else 0
        assert cost == due, f"{video_id} is {status} and costs {cost}"


class Laws:
    """Raises an `AssertionError` that says which promise was broken."""

    def __init__(self, world: World, accounts: Mapping[str, Account], settings: Mapping[str, Setting]) -> None:
        self.world = world
        self.accounts = accounts
        self.settings = settings
        self.videos: dict[str, Row] = {}
        self.attempts: dict[str, Try] = {}
        self.changes: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """Every change of a public status so far, by the video."""
        self.deleted: set[str] = set()
        """Videos whose deletion was answered."""
        self.standing: dict[str, Row] = {}
        """What waited when the world was last at rest."""
        self._overtaken: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._submissions: dict[str, Submission] = {}
        self._failures: Counter[str] = Counter()
        self._closed: dict[str, tuple[float, float]] = {}
        """Channels that must not be asked from and until when: their breaker tripped, or they said when to come."""
        self._seq = 0
        self._db: sqlite3.Connection | None = None

    def read(self, sql: str, *values: object) -> list[Any]:
        """What the file holds."""
        if self._db is None:
            self._db = sqlite3.connect(self.world.file, isolation_level=None)
            self.world.callback(self._db.close)
        return self._db.execute(sql, values).fetchall()

    def by_prompt(self, prompt: str) -> list[Submission]:
        """All submissions of one call."""
        return [one for account in self.accounts.values() for one in account.submissions if one.prompt == prompt]

    # -- after each commit ---------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """What is durable now follows from what was."""
        attempts = {row[0]: Try(*row) for row in self.read(_ATTEMPTS)}
        for known in self.attempts.values():
            now = attempts.get(known.id)
            assert now is not None, f"attempt {known.id} has vanished"
            forward = now.state == known.state or now.state in NEXT_OF_ATTEMPT.get(known.state, ())
            assert forward, f"attempt {known.id} was {known.state} and is {now.state}"
        self.attempts = attempts
        before, self.videos = self.videos, {row[0]: Row(*row) for row in self.read(_VIDEOS)}
        assert before.keys() <= self.videos.keys(), "a video has vanished"
        noted: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for seq, video_id, old, new in self.read(_OUTBOX, self._seq):
            self._seq = seq
            noted[video_id].append((old, new))
        for row in self.videos.values():
            known_row = before.get(row.id)
            change: list[tuple[str, str]] = []
            if known_row is None:
                self._accepted(row)
            elif row != known_row:
                change = self._moved(known_row, row)
            assert noted.get(row.id, []) == change, f"{row.id}: {change} happened, {noted.get(row.id)} is to be told"
            self.changes[row.id] += change
        for bill in self.read(_BILLS):
            _check_bill(*bill)

    def _accepted(self, row: Row) -> None:
        assert row.status == "queued", row
        assert row.progress == 0, row
        if row.stage == "waiting":
            waiting = sum(one.stage == "waiting" for one in self.videos.values())
            assert waiting <= MOST_WAITING, "more wait than may"
        else:
            assert row.stage == "submitting", row
            self._placed(row)

    def _moved(self, before: Row, row: Row) -> list[tuple[str, str]]:
        where = f"{before.stage} -> {row.stage} of {row.id}"
        assert row.stage in NEXT.get(before.stage, ()), f"no way leads {where}"
        assert row.version == before.version + 1, f"two changes in one: {where}"
        assert RANK[row.status] >= RANK[before.status], f"{before.status} -> {row.status} of {row.id}"
        assert row.progress >= before.progress, f"progress {before.progress} -> {row.progress} of {row.id}"
        assert (row.tenant, row.key_id, row.prompt, row.model) == (
            before.tenant,
            before.key_id,
            before.prompt,
            row.model,
        )
        if before.stage == "ended":
            same = (row.status, row.progress, row.completed_at, row.error_code, row.job_id)
            assert same == (before.status, before.progress, before.completed_at, before.error_code, before.job_id)
        if row.stage == "submitting" and row.attempt_id != before.attempt_id:
            assert before.stage != "submitting" or self.attempts[before.attempt_id or ""].state == "refused", (
                f"{row.id} goes on although what became of its attempt is not recorded"
            )
            self._placed(row, failover=before.stage == "submitting")
        if row.stage == "ended":
            self._ended(before, row)
        word = "deleted" if row.stage == "deleted" else row.status
        unseen = row.stage == "refused" or before.stage == "deleted"
        return [] if word == before.status or unseen else [(before.status, word)]

    def _placed(self, row: Row, *, failover: bool = False) -> None:
        """It takes a place at a channel."""
        setting = self.settings[row.channel]
        allowed = [most for open_, most in (*setting.since_rest, setting.now) if open_]
        assert allowed, f"{row.id} goes to {row.channel}, which takes nothing"
        taken = [one for one in self.videos.values() if one.channel == row.channel and one.stage in AT_UPSTREAM]
        assert len(taken) <= max(allowed), f"{len(taken)} are at {row.channel}, which has {max(allowed)} places"
        attempt = self.attempts.get(row.attempt_id or "")
        assert attempt is not None, f"{row.id} is on its way without a recorded attempt"
        assert (attempt.video_id, attempt.channel, attempt.state) == (row.id, row.channel, "recorded"), attempt
        # A clear moment before and after: what happens at the very second may have been decided before.
        since, until = self._closed.get(row.channel, (0.0, 0.0))
        began = attempt.started_at - BEGINNING
        assert not since + 0.01 < began < until - 0.01, f"{row.channel} should have been left alone until {until}"
        if not failover:
            self._in_turn(row)

    def _in_turn(self, row: Row) -> None:
        for key_id, head in self._heads(row.demand).items():
            if key_id == row.key_id:
                assert head.id > row.id, f"{row.id} overtakes {head.id} of the same key"
            elif head.submit_after == 0.0:
                self._overtaken[head.id][row.key_id] += 1
                again = self._overtaken[head.id][row.key_id]
                assert again < 2, f"{row.key_id} is served again before {head.id}, whose key waits for its turn"
        for other in self.standing.values():
            if other.key_id == row.key_id:
                self._overtaken.pop(other.id, None)

    def _heads(self, demand: tuple[str, str | None]) -> dict[str, Row]:
        """The oldest that waits of each key, where it waited already when the world was last at rest."""
        heads: dict[str, Row] = {}
        for row in self.videos.values():
            if row.stage == "waiting" and row.demand == demand:
                heads.setdefault(row.key_id, row)
        # One that was tried meanwhile has had its turn.
        return {key_id: row for key_id, row in heads.items() if self.standing.get(row.id) == row}

    # -- how a video ends ----------------------------------------------------------------------------------------------

    def _ended(self, before: Row, row: Row) -> None:
        job = self._job(row)
        if row.status == "completed":
            assert job is not None and job.status == "completed", f"{row.id} is completed, its upstream knows nothing"
            assert job.prompt == row.prompt, f"{row.id} shows the result of another"
            assert row.progress == 100, row
            return
        reason = f"{row.id} ({before.stage}) fails with {row.error_code}: {row.error_message}"
        now, tries = self.world.wall(), self.by_prompt(row.prompt)
        last = max(tries, key=lambda one: one.attempt_id, default=None)
        match row.error_code, before.stage:
            case "queue_timeout", "waiting":
                assert now - row.created_at >= QUEUE_TIMEOUT, reason
                assert all(one.outcome == "refused" for one in tries), reason
            case "outcome_unknown", "unknown":
                assert now - before.changed_at >= UNKNOWN_GRACE, reason
                told = last is not None and last.job is not None and last.attempt_id == row.attempt_id
                setting = self.settings[row.channel]
                blind = setting.type == "puppet" or not setting.present or (last is not None and last.recovered)
                assert blind or not told, f"{reason}, but it could be found"
            case "poll_timeout", "running":
                assert now - before.changed_at >= POLL_TIMEOUT, reason
            case _, "running":
                assert job is not None, reason
                forgotten = len(job.gone) >= 5 and job.gone[-1] - job.gone[0] >= 30.0
                assert job.status == "failed" or forgotten, reason
            case _, "unknown":
                absent = job is None and not any(one.job for one in tries)
                assert absent or (job is not None and job.status == "failed"), reason
            case _, "submitting":
                clear = last is not None and last.outcome == "client" and last.attempt_id == before.attempt_id
                assert clear or (job is not None and job.status == "failed"), reason
            case _, "waiting":
                assert row.source_id and not self.videos[row.source_id].listed, reason
            case _:
                raise AssertionError(reason)

    def _job(self, row: Row) -> Job | None:
        return self.accounts[row.channel].jobs.get(row.job_id or "")

    # -- after each turn -----------------------------------------------------------------------------------------------

    def turned(self) -> None:
        """The upstreams were asked only for what may be asked."""
        for account in self.accounts.values():
            for submission in account.arrived:
                self._arrived(submission)
            account.arrived.clear()
            for submission in account.ended:
                self._answered(submission)
            account.ended.clear()

    def _arrived(self, submission: Submission) -> None:
        what = f"submission {submission.attempt_id} of {submission.prompt!r} to {submission.channel}"
        attempt = self.attempts.get(submission.attempt_id)
        assert attempt is not None, f"{what} was not recorded before"
        assert submission.attempt_id not in self._submissions, f"{what} comes a second time"
        assert (attempt.channel, attempt.state) == (submission.channel, "recorded"), f"{what}: {attempt}"
        row = self.videos[attempt.video_id]
        assert row.prompt == submission.prompt, f"{what}: {row}"
        assert row.id not in self.deleted, f"{what} comes after its deletion"
        assert row.stage in ("submitting", "deleted"), f"{what}: {row}"
        for earlier in self._submissions.values():
            if earlier.prompt == submission.prompt:
                sure = earlier.outcome == "refused" or (earlier.outcome == "client" and earlier.video_id != row.id)
                gone = earlier.video_id != row.id and not self.videos[earlier.video_id].listed
                assert sure or gone, f"{what}, but {earlier.attempt_id} was {earlier.answer or 'not answered'}"
        for other in self.attempts.values():
            if other.video_id == row.id and other.id != attempt.id:
                assert other.state == "refused", f"{what}, but {other} stands"
        if row.kind == "remix":
            source = self.videos[row.source_id or ""]
            assert (submission.channel, submission.source) == (source.channel, source.job_id), f"{what}: not its pin"
        named = json.loads(row.order_json).get("channel")
        assert named in (None, submission.channel), f"{what}, but {named} was asked for"
        assert row.kind != "create" or row.model in self.settings[row.channel].models, f"{what}: {row.model}"
        submission.video_id = row.id
        self._submissions[submission.attempt_id] = submission

    def _answered(self, submission: Submission) -> None:
        name, now = submission.channel, self.world.now
        if submission.outcome == "taken":
            self._failures[name] = 0
        elif submission.answer in FAILURES and self.videos[submission.video_id].listed:
            self._failures[name] += 1
            if self._failures[name] == TRIES and name not in self._closed:
                self._closed[name] = (now, now + PAUSE)
        elif submission.answer == "busy for long":
            self._closed[name] = (now, max(now + 40.0, self._closed.get(name, (0.0, 0.0))[1]))

    def forgotten(self) -> None:
        """The process has forgotten how its channels are, or the operator has changed them."""
        self._failures.clear()
        self._closed.clear()
        self._overtaken.clear()
        for account in self.accounts.values():
            # What was under way says nothing to a new breaker, nor to a process that is gone.
            account.ended.clear()

    def rested(self) -> None:
        """Nothing more happens without time."""
        self.standing = {row.id: row for row in self.videos.values() if row.stage == "waiting"}
        for setting in self.settings.values():
            setting.since_rest.clear()
