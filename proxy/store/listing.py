"""SQL of the lists of videos that people look through, with filters.

A search reads a bounded stretch of the table, so that one for a rare word does not hold up everybody else's reads: what
lies further back is found from the last id that it came to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any, Final, Literal, NamedTuple

import msgspec

from proxy.ids import ID_PATTERN
from proxy.models import Kind, Status
from proxy.records import Stage

STRETCH: Final = 20_000
"""Videos that one search reads at most."""
COUNTED: Final = 5_000
"""Videos that are counted at most."""

State = Literal["queued", "unknown", "in_progress", "completed", "failed"]
"""A video's status, or `unknown` where the outcome of its submission is."""
STATES: Final[tuple[State, ...]] = ("queued", "in_progress", "unknown", "completed", "failed")

_STATE: Final = "CASE WHEN videos.stage = 'unknown' THEN 'unknown' ELSE videos.status END"
# All of these are put together of constants.
_COLUMNS: Final = (
    """
    SELECT videos.id, videos.tenant, videos.key_id, videos.kind, videos.model, videos.channel, videos.stage,
           videos.status, """  # noqa: S608
    + _STATE
    + """, videos.progress, substr(videos.prompt, 1, 300), videos.seconds, videos.size, videos.created_at,
           videos.completed_at, videos.error_code, COALESCE(videos.cost, videos.price), videos.cost IS NOT NULL,
           (SELECT name FROM keys WHERE id = videos.key_id), (SELECT name FROM users WHERE id = videos.key_id),
           (SELECT name FROM users WHERE tenant = videos.tenant)
    FROM videos
    """
)
_FILTER: Final = """
    AND (:model IS NULL OR model = :model) AND (:key IS NULL OR key_id = :key)
    AND (:channel IS NULL OR channel = :channel) AND (:status IS NULL OR status = :status)
    AND (:stage IS NULL OR stage = :stage) AND (:text IS NULL OR prompt LIKE :text ESCAPE '\\')
"""
_IN_STATE: Final = "AND (:state IS NULL OR " + _STATE + " = :state) "
_MINE: Final = "WHERE tenant = :tenant AND stage NOT IN ('refused', 'deleted') AND id > :above AND id < :below "
_ANYONES: Final = "WHERE stage NOT IN ('refused', 'deleted') AND id > :above AND id < :below "

_OLDER: Final = "ORDER BY id DESC LIMIT :limit"
_NEWER: Final = "ORDER BY id LIMIT :limit"
_MINE_OLDER: Final = _COLUMNS + _MINE + _FILTER + _IN_STATE + _OLDER
_MINE_NEWER: Final = _COLUMNS + _MINE + _FILTER + _IN_STATE + _NEWER
_ANYONES_OLDER: Final = _COLUMNS + _ANYONES + _FILTER + _IN_STATE + _OLDER
_ANYONES_NEWER: Final = _COLUMNS + _ANYONES + _FILTER + _IN_STATE + _NEWER
_COUNT: Final = "SELECT " + _STATE + ", COUNT(*) FROM videos "  # noqa: S608
_COUNT_MINE: Final = _COUNT + _MINE + _FILTER + "GROUP BY 1"
_COUNT_ANYONES: Final = _COUNT + _ANYONES + _FILTER + "GROUP BY 1"

# The last video of a stretch, and the first one behind it.
_END: Final = "LIMIT 2 OFFSET :stretch - 1"
_MINE_END: Final = "SELECT id FROM videos " + _MINE + "ORDER BY id DESC " + _END  # noqa: S608
_MINE_END_NEWER: Final = "SELECT id FROM videos " + _MINE + "ORDER BY id " + _END  # noqa: S608
_ANY: Final = "SELECT id FROM videos WHERE id > :above AND id < :below "
_ANYONES_END: Final = _ANY + "ORDER BY id DESC " + _END
_ANYONES_END_NEWER: Final = _ANY + "ORDER BY id " + _END

_SOME: Final = (
    _COLUMNS  # noqa: S608
    + """
    WHERE id IN (SELECT value FROM json_each(:ids)) AND (:tenant IS NULL OR tenant = :tenant)
        AND stage NOT IN ('refused', 'deleted')
    ORDER BY id DESC
    """
)
_FIRST: Final = ""
_LAST: Final = "~"
"""Sort before and after every id of ours."""


class Filter(NamedTuple):
    """What is looked for, None: whatever. `text` stands somewhere in the prompt; `since` and `until` (unix seconds, the
    end not included) are when it was ordered; `tenant` is whose it is."""

    tenant: str | None = None
    state: State | None = None
    model: str | None = None
    key_id: str | None = None
    channel: str | None = None
    text: str | None = None
    since: float | None = None
    until: float | None = None
    status: Status | None = None
    stage: Stage | None = None


class Row(NamedTuple):
    """A video in a list. `prompt` is the beginning of it. `amount` (see `proxy.money`) counts for it, and is `final` at
    its end. `key_name` is of an API key, `user_name` of who made it in the dashboard, `owner` of whose it is."""

    id: str
    tenant: str
    key_id: str
    kind: Kind
    model: str
    channel: str
    stage: Stage
    status: Status
    state: State
    progress: int
    prompt: str
    seconds: int
    size: str
    created_at: int
    completed_at: int | None
    error_code: str | None
    amount: int | None
    final: int
    key_name: str | None
    user_name: str | None
    owner: str | None


class Found(NamedTuple):
    """Newest first. `older` and `newer`: behind which id more may be found that way; `searched` is the id that a search
    came to without finding as many as it was to."""

    rows: list[Row]
    older: str | None
    newer: str | None
    searched: str | None


def find(
    db: sqlite3.Connection, wanted: Filter, *, after: str | None = None, before: str | None = None, limit: int
) -> Found:
    """The next `limit` videos behind the id `after`, or those before the id `before`; newest first."""
    if before is not None:
        return _newer(db, wanted, before, limit)
    mine, values = wanted.tenant is not None, _values(wanted) | {"limit": limit + 1, "stretch": STRETCH}
    values["below"] = min(values["below"], after or _LAST)
    end = (db.execute(_MINE_END, values) if mine else db.execute(_ANYONES_END, values)).fetchall()
    if len(end) == 2:
        values["above"] = end[1][0]
    found = db.execute(_MINE_OLDER, values) if mine else db.execute(_ANYONES_OLDER, values)
    rows = [Row(*row) for row in found]
    more, rows = len(rows) > limit, rows[:limit]
    searched = end[0][0] if len(end) == 2 and not more else None
    newer = None if after is None else rows[0].id if rows else after
    return Found(rows, rows[-1].id if more else searched, newer, searched)


def _newer(db: sqlite3.Connection, wanted: Filter, before: str, limit: int) -> Found:
    mine, values = wanted.tenant is not None, _values(wanted) | {"limit": limit + 1, "stretch": STRETCH}
    values["above"] = max(values["above"], before)
    end = (db.execute(_MINE_END_NEWER, values) if mine else db.execute(_ANYONES_END_NEWER, values)).fetchall()
    if len(end) == 2:
        values["below"] = end[1][0]
    found = db.execute(_MINE_NEWER, values) if mine else db.execute(_ANYONES_NEWER, values)
    rows = [Row(*row) for row in found]
    more, rows = len(rows) > limit, rows[:limit][::-1]
    if not more and len(end) < 2:
        # The newest ones: from the top, so that the first page is a full one.
        return find(db, wanted, limit=limit)
    return Found(rows, rows[-1].id if rows else before, rows[0].id if more else end[0][0], None)


def count(db: sqlite3.Connection, wanted: Filter) -> tuple[dict[State, int], bool]:
    """How many of each state there are among the newest `COUNTED`, whatever the state that is looked for; and whether
    there are more than those."""
    mine, values = wanted.tenant is not None, _values(wanted) | {"stretch": COUNTED}
    end = (db.execute(_MINE_END, values) if mine else db.execute(_ANYONES_END, values)).fetchall()
    if len(end) == 2:
        values["above"] = end[1][0]
    found = db.execute(_COUNT_MINE, values) if mine else db.execute(_COUNT_ANYONES, values)
    return dict(found.fetchall()), len(end) == 2


def some(db: sqlite3.Connection, ids: Collection[str], tenant: str | None) -> list[Row]:
    """Those of the videos `ids` that are there, of one tenant or for None of all; newest first."""
    return [Row(*row) for row in db.execute(_SOME, {"ids": msgspec.json.encode(sorted(ids)), "tenant": tenant})]


def _values(wanted: Filter) -> dict[str, Any]:
    return {
        "tenant": wanted.tenant,
        "state": wanted.state,
        "model": wanted.model,
        "key": wanted.key_id,
        "channel": wanted.channel,
        "status": wanted.status,
        "stage": wanted.stage,
        "text": None if wanted.text is None else f"%{_literally(wanted.text)}%",
        "above": _FIRST if wanted.since is None else _id_at(wanted.since),
        "below": _LAST if wanted.until is None else _id_at(wanted.until),
    }


def _literally(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _id_at(moment: float) -> str:
    """What sorts before every id that was made at or after a time, and after all earlier ones: ids begin with their
    milliseconds."""
    return f"video_{max(int(moment * 1000), 0):012x}"


def is_id(text: str) -> bool:
    """Whether it has the form of an id that can be paged by."""
    return ID_PATTERN.fullmatch(text) is not None and text.startswith("video_")
