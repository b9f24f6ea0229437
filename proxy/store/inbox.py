"""SQL of what an operator settles and reads: submissions whose outcome is in doubt, and the audit of who said what."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from proxy.errors import ReelgateError
from proxy.records import Attempt, AttemptState, Settlement, Video
from proxy.store import attempts, ledger, videos

# In doubt is an attempt with an unknown outcome, and one that the upstream took when the video could not have it any
# more: a paid job that nobody delivers. Each half is served by its own partial index.
_PAGE: Final = """
    SELECT id, video_id FROM attempts WHERE state = 'unknown' AND settled IS NULL AND id < ?
    UNION ALL
    SELECT attempts.id, attempts.video_id FROM attempts JOIN videos ON videos.id = attempts.video_id
    WHERE attempts.state = 'taken' AND attempts.job_json IS NOT NULL AND attempts.settled IS NULL AND attempts.id < ?
        AND (videos.job_json IS NULL OR videos.attempt_id IS NOT attempts.id)
    ORDER BY 1 DESC LIMIT ?
"""
_AFTER_ALL: Final = "~"
_KEY_NAME: Final = "SELECT name FROM keys WHERE id = ?"
_SETTLE: Final = """
    UPDATE attempts SET settled = ?, state = ?, upstream_id = coalesce(?, upstream_id)
    WHERE id = ? AND state = ? AND settled IS NULL
"""
_HOLDER: Final = "SELECT video_id FROM attempts WHERE channel = ? AND upstream_id = ? AND video_id <> ? LIMIT 1"
_AUDIT: Final = "INSERT INTO audit (at, actor, action, subject, details) VALUES (?, ?, ?, ?, ?)"
_AUDIT_PAGE: Final = """
    SELECT id, at, actor, action, subject, details FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?
"""
_AUDIT_OF: Final = "SELECT id, at, actor, action, subject, details FROM audit WHERE subject = ? ORDER BY id"
_NO_ROW: Final = 2**63 - 1
# A waiting video belongs to a channel only where no other one may make it: see `routing.pin_of`.
_UNFINISHED: Final = """
    SELECT channel, count(*) FROM videos WHERE stage IN ('submitting', 'unknown', 'running') GROUP BY channel
"""
_WAITING: Final = """
    SELECT DISTINCT channel FROM videos WHERE stage = 'waiting' AND (
        kind <> 'create' OR json_extract(CAST(order_json AS TEXT), '$.channel') IS NOT NULL
        OR json_extract(CAST(order_json AS TEXT), '$.characters') IS NOT NULL
    )
"""


class DoubtGone(ReelgateError):
    """The attempt is no longer in the state that it was seen in: look again and decide anew."""


class JobTaken(ReelgateError):
    """Another video of the channel, `video_id`, already has this upstream job."""

    def __init__(self, video_id: str) -> None:
        super().__init__(f"the upstream's job belongs to video {video_id} already")
        self.video_id = video_id


class Dossier(NamedTuple):
    """A video with the name of its API key (None where that is not in the store) and its attempts, oldest first."""

    video: Video
    key_name: str | None
    attempts: list[Attempt]


class Audited(NamedTuple):
    """Who (`actor`, the id of an API key) did what to which `subject`, and when (unix seconds)."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


class Settled(NamedTuple):
    """How the attempt `id`, seen in the state `seen`, is settled: what its columns become."""

    id: str
    seen: AttemptState
    settled: Settlement
    state: AttemptState
    upstream_id: str | None = None


def page(db: sqlite3.Connection, after: str | None, limit: int) -> list[tuple[str, Dossier]]:
    """The next `limit` attempts in doubt, newest first, behind the id `after`, each with the dossier of its video."""
    before = after or _AFTER_ALL
    found = db.execute(_PAGE, (before, before, limit)).fetchall()
    return [(attempt_id, one) for attempt_id, video_id in found if (one := dossier(db, video_id)) is not None]


def dossier(db: sqlite3.Connection, video_id: str) -> Dossier | None:
    """All that is stored of a video, whatever its stage."""
    video = videos.find(db, video_id)
    if video is None:
        return None
    name = db.execute(_KEY_NAME, (video.key_id,)).fetchone()
    return Dossier(video, None if name is None else name[0], attempts.of_video(db, video_id))


def settle(db: sqlite3.Connection, how: Settled) -> None:
    """Settle an attempt, whose times and note stay as evidence; `DoubtGone` where it is not as it was seen, or settled
    already."""
    values = (how.settled, how.state, how.upstream_id, how.id, how.seen)
    if db.execute(_SETTLE, values).rowcount == 0:
        raise DoubtGone(f"the attempt {how.id} has changed in the meantime: look at it again")


def attach(db: sqlite3.Connection, attempt: Attempt, new: Video | None) -> None:
    """Give the job that `attempt` names to its video: one that is stored, or the `new` one, stored here with it.

    `JobTaken` where another video has the job: `attempt.video_id`, and for a new video the one that it replaces, are
    no others.
    """
    mine = attempt.video_id if new is None else new.replaces_id
    row = db.execute(_HOLDER, (attempt.channel, attempt.upstream_id, mine)).fetchone()
    if row is not None:
        raise JobTaken(row[0])
    if new is not None:
        videos.insert(db, new)
        ledger.note(db, None, new)
        attempts.save(db, attempt)


def note(
    db: sqlite3.Connection, *, at: float, actor: str, action: str, subject: str, details: Mapping[str, Any]
) -> None:
    """Write a row of the audit: belongs into the transaction of what it tells."""
    db.execute(_AUDIT, (at, actor, action, subject, msgspec.json.encode(details).decode()))


def audit(db: sqlite3.Connection, after: int | None, limit: int) -> list[Audited]:
    """The next `limit` rows of the audit, newest first, behind the row `after`."""
    rows = db.execute(_AUDIT_PAGE, (_NO_ROW if after is None else after, limit))
    return [_audited(*row) for row in rows]


def audit_of(db: sqlite3.Connection, subject: str) -> list[Audited]:
    """What was done to `subject`, oldest first."""
    return [_audited(*row) for row in db.execute(_AUDIT_OF, (subject,))]


def unfinished(db: sqlite3.Connection) -> dict[str, int]:
    """Channel -> number of videos that its upstream may be working on, over all processes; 0 where there are only some
    that wait for it."""
    return {channel: 0 for (channel,) in db.execute(_WAITING)} | dict(db.execute(_UNFINISHED).fetchall())


def _audited(id_: int, at: float, actor: str, action: str, subject: str, details: str) -> Audited:
    return Audited(id_, at, actor, action, subject, msgspec.json.decode(details))
