"""`GET /usage`: what a client's videos cost. Its operator's view of it, also as CSV, is in the admin API."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

from aiohttp import web

from proxy import money
from proxy.accounts.limits import since
from proxy.api import queries, render
from proxy.api.auth import authenticate
from proxy.api.context import API, Api
from proxy.api.values import shown
from proxy.errors import Forbidden, InvalidRequest
from proxy.records import Key
from proxy.store import ledger
from proxy.store.usage import DIMENSIONS, Dimension, Usage, totals

DAYS: Final = 30
"""Days that are looked at where a client does not say."""
LONGEST: Final = 366 * 86_400
MOST_ROWS: Final = 10_000

_DAY: Final = 86_400
# At the beginning of a cell, or where a spreadsheet that parts cells at semicolons sees one.
_FORMULA: Final = re.compile(r"(?:^|[;\t]) *(?=[=+\-@\t\r\n＝＋－＠])")


class Window(NamedTuple):
    """What a request looks at: orders from `start` to before `end` (unix seconds), in groups."""

    start: int
    end: int
    by: tuple[Dimension, ...]


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /usage`: of this key, or with `scope=tenant` of all keys that share its videos."""
    key = await authenticate(request)
    api = request.app[API]
    scope = request.query.get("scope", "key")
    if scope not in ("key", "tenant"):
        raise InvalidRequest(
            f"Invalid value: '{shown(scope)}'. Supported values are: 'key' and 'tenant'.", param="scope"
        )
    looked_at = window(request)
    if "channel" in looked_at.by and not key.admin:
        raise Forbidden("Only an admin key may see the usage of channels: leave 'channel' out of 'group_by'.")
    only = key.id if scope == "key" else None
    rows = await found(api, looked_at, tenant=key.tenant, key_id=only)
    whole = await found(api, looked_at._replace(by=()), tenant=key.tenant, key_id=only)
    answer = listing(looked_at, rows, whole)
    return render.response(answer | {"budget": await budget(api, key)})


async def found(api: Api, looked_at: Window, *, tenant: str | None = None, key_id: str | None = None) -> list[Usage]:
    """The usage of one tenant or key, None: of all."""
    read = partial(totals, since=looked_at.start, until=looked_at.end, by=looked_at.by, limit=MOST_ROWS)
    return await api.engine.reports.read(partial(read, tenant=tenant, key_id=key_id))


async def budget(api: Api, key: Key) -> dict[str, Any] | None:
    """How much of its budget a key has left; None for one without."""
    limits = key.limits
    if limits.budget is None:
        return None
    began = since(limits.period, time.time())
    spent = await api.engine.reports.read(partial(ledger.spent, key_id=key.id, since=began))
    left = max(limits.budget - spent, 0)
    return {
        "period": limits.period,
        "limit": _dollars(limits.budget),
        "spent": _dollars(spent),
        "left": _dollars(left),
    }


def window(request: web.Request) -> Window:
    """What the query asks for: `start_time` and `end_time` (unix seconds), `group_by` (words with commas between)."""
    now = int(time.time())
    end = queries.moment(request, "end_time") or now + 1
    start = queries.moment(request, "start_time")
    if start is None:
        start = max(end - 1, 0) // _DAY * _DAY - (DAYS - 1) * _DAY
    if not 0 < end - start <= LONGEST:
        raise InvalidRequest("'end_time' must be after 'start_time', by a year at most.", param="end_time")
    words = [word for word in request.query.get("group_by", "day").split(",") if word]
    by = tuple(known for word in words for known in DIMENSIONS if word == known)
    if len(by) != len(words) or len(set(by)) != len(by):
        raise InvalidRequest(
            "'group_by' takes each of 'day', 'model', 'channel' and 'key' once, with commas between.", param="group_by"
        )
    return Window(start, end, by)


def listing(looked_at: Window, rows: Sequence[Usage], whole: Sequence[Usage]) -> dict[str, Any]:
    """Rows of usage, and the `whole` of it, as JSON."""
    nothing = Usage((), 0, 0, 0, 0, 0)
    return {
        "object": "usage",
        "start_time": looked_at.start,
        "end_time": looked_at.end,
        "group_by": list(looked_at.by),
        "data": [_group(looked_at.by, row) | _numbers(row) for row in rows],
        "total": _numbers(whole[0] if whole else nothing),
    }


def as_csv(looked_at: Window, rows: Sequence[Usage]) -> web.Response:
    """Rows of usage as a file for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*looked_at.by, "videos", "completed", "failed", "seconds", "cost_usd"])
    for row in rows:
        group = [_safe(one) for one in _group(looked_at.by, row).values()]
        writer.writerow([*group, row.videos, row.completed, row.failed, row.seconds, f"{money.dollars(row.amount):f}"])
    headers = {"Content-Disposition": 'attachment; filename="reelgate-usage.csv"'}
    return web.Response(text=text.getvalue(), content_type="text/csv", charset="utf-8", headers=headers)


def _group(by: Sequence[Dimension], row: Usage) -> dict[str, str]:
    return {name: _date(value) if name == "day" else str(value) for name, value in zip(by, row.group, strict=True)}


def _numbers(row: Usage) -> dict[str, Any]:
    return {
        "videos": row.videos,
        "completed": row.completed,
        "failed": row.failed,
        "seconds": row.seconds,
        "cost": _dollars(row.amount),
    }


def _dollars(amount: int) -> dict[str, Any]:
    return {"value": float(money.dollars(amount)), "currency": "usd"}


def _date(value: str | int) -> str:
    return datetime.fromtimestamp(int(value), UTC).date().isoformat()


def _safe(text: str) -> str:
    # A spreadsheet takes such a cell for a formula, and clients name models.
    return _FORMULA.sub(lambda match: f"{match[0]}'", text)
