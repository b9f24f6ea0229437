"""What happened to a video, moment by moment, for the people who may know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec

from proxy.engine.reports import Story
from proxy.records import Attempt, Video
from proxy.store.inbox import Audited

What = Literal[
    "accepted",
    "submitted",
    "on_its_way",
    "taken",
    "refused",
    "in_doubt",
    "absent",
    "attach",
    "not_created",
    "give_up",
    "waiting",
    "running",
    "completed",
    "failed",
    "deleted",
]
"""What a moment is; the template has the words for each."""

_OUTCOMES: Final[dict[str, What]] = {
    "recorded": "on_its_way",
    "taken": "taken",
    "refused": "refused",
    "unknown": "in_doubt",
    "absent": "absent",
}
_TONES: Final[dict[What, str]] = {
    **dict.fromkeys(("taken", "completed", "attach"), "good"),
    **dict.fromkeys(("failed",), "bad"),
    **dict.fromkeys(("in_doubt", "refused", "absent", "not_created", "give_up"), "warn"),
    **dict.fromkeys(("on_its_way", "waiting", "running"), "busy"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What only an admin may know of a moment (see P4): the channel and why it, why each of the `others` not, by their
    names; the upstream's id; and a sentence."""

    channel: str = ""
    because: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    upstream_id: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """`at` is in unix seconds, None for what lasts until now; `facts` are None for who is no admin."""

    at: float | None
    what: What
    tone: str
    facts: Facts | None


def timeline(story: Story, *, admin: bool) -> list[Moment]:
    """The moments of a video, the first one first; their facts are there for an `admin` only."""
    dossier = story.dossier
    video = dossier.video
    past = [_moment(video.created_at, "accepted")]
    for attempt in dossier.attempts:
        past += _tried(attempt)
    past += [_settled(row) for row in story.audit if row.action in ("attach", "not_created", "give_up")]
    # Stable: what is of the same moment stays in the order of its causes.
    past.sort(key=lambda one: one.at or 0.0)
    past += _now(video, story.waits_for)
    return past if admin else [replace(one, facts=None) for one in past]


def _moment(at: float | None, what: What, **facts: Any) -> Moment:
    return Moment(at=at, what=what, tone=_TONES.get(what, "plain"), facts=Facts(**facts))


def _tried(attempt: Attempt) -> Sequence[Moment]:
    decision = msgspec.json.decode(attempt.decision) if attempt.decision else {}
    begun = _moment(
        *(attempt.started_at, "submitted"),
        channel=attempt.channel,
        because=decision.get("because", ""),
        others=decision.get("others", {}),
    )
    job_id = attempt.upstream_id or (None if attempt.job is None else attempt.job.id)
    outcome = _moment(attempt.ended_at, _OUTCOMES[attempt.state], upstream_id=job_id, note=attempt.note)
    return (begun, replace(outcome, at=attempt.started_at) if attempt.ended_at is None else outcome)


def _settled(row: Audited) -> Moment:
    what: What = "attach" if row.action == "attach" else "not_created" if row.action == "not_created" else "give_up"
    return _moment(row.at, what, note=row.details.get("note", ""), upstream_id=row.details.get("upstream_id"))


def _now(video: Video, waits_for: dict[str, str] | None) -> Sequence[Moment]:
    match video.stage:
        case "waiting":
            return (_moment(None, "waiting", others=waits_for or {}),)
        case "running":
            return (_moment(None, "running"),)
        case "deleted":
            ended = (_moment(video.completed_at, "completed"),) if video.completed_at is not None else ()
            return (*ended, _moment(video.changed_at, "deleted"))
        case "ended" if video.status == "completed":
            return (_moment(video.completed_at, "completed"),)
        case "ended" | "refused":
            return (_moment(video.changed_at, "failed"),)
        case _:
            return ()
