"""`/dashboard/usage`: what was spent, by day, model and key, and for admins by channel and user; also as CSV."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from proxy import money
from proxy.accounts.keys import ADMIN
from proxy.accounts.limits import since
from proxy.dashboard import charts
from proxy.dashboard.languages import text
from proxy.dashboard.routing import Pages
from proxy.dashboard.templating import shown_money
from proxy.dashboard.view import View
from proxy.errors import InvalidRequest, NotFound
from proxy.records import Key, User
from proxy.store import keys as key_rows
from proxy.store import ledger
from proxy.store import users as user_rows
from proxy.store.usage import Dimension, Usage, totals

pages = Pages("usage")

HERE: Final = "/dashboard/usage"
RANGES: Final = (7, 30, 90)
"""Days that a click shows."""
USUAL: Final = 30
LONGEST: Final = 366
MOST_GROUPS: Final = 100_000
"""Rows of the store that one look adds up; beyond them, less has to be looked at."""

NOBODY: Final = text("There is no such user.")

# Where the decimal comma is at home, spreadsheets part cells at semicolons.
_WITHIN: Final = re.compile(r"[;\t] *(?=[=+\-@＝＋－＠])")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(slots=True)
class Sum:
    """Numbers of videos, seconds of the completed ones, and the amount (see `proxy.money`)."""

    videos: int = 0
    completed: int = 0
    failed: int = 0
    seconds: int = 0
    amount: int = 0

    def add(self, row: Usage) -> None:
        """Count the videos of `row` too."""
        self.videos += row.videos
        self.completed += row.completed
        self.failed += row.failed
        self.seconds += row.seconds
        self.amount += row.amount


class Looked(NamedTuple):
    """What is looked at: the days from `first` to `last` (UTC, both with), and whose; `tenant` None is everybody's."""

    first: date
    last: date
    tenant: str | None

    @property
    def start(self) -> int:
        return _midnight(self.first)

    @property
    def end(self) -> int:
        return _midnight(self.last + timedelta(days=1))

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=place) for place in range((self.last - self.first).days + 1)]


class Budget(NamedTuple):
    """What a key with a budget spent of it in its running period."""

    key: Key
    spent: int
    limit: int

    @property
    def percent(self) -> float:
        return charts.filled(self.spent, self.limit)


@dataclass(slots=True)
class Found:
    """All that the page tells, from one look into the store, so that its numbers agree."""

    by: tuple[Dimension, ...]
    rows: list[Usage]
    keys: dict[str, Key]
    users: list[User]
    budgets: list[Budget] = field(default_factory=list)

    def sums(self, dimension: Dimension | None) -> dict[str | int, Sum]:
        """The sums by one dimension, or for None of everything under an empty name."""
        place = None if dimension is None else self.by.index(dimension)
        found: dict[str | int, Sum] = {} if place is not None else {"": Sum()}
        for row in self.rows:
            found.setdefault("" if place is None else row.group[place], Sum()).add(row)
        return found


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page, or with `format=csv` the same numbers as a file.

    A range that cannot be is told beside its field, and the usual one shown.
    """
    errors: dict[str, str] = {}
    try:
        looked = _looked(view)
    except InvalidRequest as wrong:
        errors[wrong.param or "to"] = wrong.message
        looked = _usual(view, USUAL)
    found = await _find(view, looked)
    # Adding up a hundred thousand rows must not keep others waiting.
    if view.request.query.get("format") == "csv" and not errors:
        return await asyncio.to_thread(_as_csv, view, found, looked)
    return await asyncio.to_thread(_as_page, view, found, looked, errors)


def _as_page(view: View, found: Found, looked: Looked, errors: dict[str, str]) -> web.Response:
    whole = found.sums(None)[""]
    measures = (("amount", view.say("Spend")), ("videos", view.say("Videos")))
    measure = view.request.query.get("of", "")
    if measure not in ("amount", "videos"):
        # What costs nothing, as with the demo channel, is still worth a look.
        measure = "amount" if whole.amount else "videos"
    return view.render(
        "usage.html",
        status=422 if errors else 200,
        errors=errors,
        looked=looked,
        whole=whole,
        ranges=RANGES,
        shown_days=None if "from" in view.request.query or "to" in view.request.query else len(looked.days),
        typed={name: view.request.query.get(name, "") for name in ("from", "to")},
        measure=measure,
        measures=measures,
        shown=_shown(measure),
        value=partial(_value, measure=measure),
        days=_days(found, looked, measure),
        groups=[group for group in _groups(view, found, looked, measure) if group.lines],
        budgets=found.budgets,
        owners=_owners(view, found) if view.is_admin else [],
        csv=view.address(format="csv"),
    )


def _as_csv(view: View, found: Found, looked: Looked) -> web.Response:
    """A file for a spreadsheet, a row for each day, model and key (for admins: channel and user)."""
    names = {"day": _day, "key": _namer(view, found, "key"), "tenant": _namer(view, found, "tenant")}
    file = io.StringIO()
    writer = csv.writer(file)
    columns = ["user" if name == "tenant" else name for name in found.by]
    writer.writerow([*columns, "videos", "completed", "failed", "seconds", "cost_usd"])
    for row in found.rows:
        group = [names.get(name, str)(value) for name, value in zip(found.by, row.group, strict=True)]
        numbers = (row.videos, row.completed, row.failed, row.seconds, f"{money.dollars(row.amount):f}")
        writer.writerow([*map(safe, group), *numbers])
    name = f"reelgate-usage-{looked.first}-{looked.last}.csv"
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"'}
    # The mark at the beginning tells spreadsheets that it is UTF-8.
    return web.Response(text="\ufeff" + file.getvalue(), content_type="text/csv", charset="utf-8", headers=headers)


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: clients name models and keys."""
    text = _WITHIN.sub(lambda match: f"{match[0]}'", text)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


# ---------------------------------------------------------------- what is looked at


def _looked(view: View) -> Looked:
    query = view.request.query
    if not query.get("from") and not query.get("to"):
        days = query.get("days", "")
        return _usual(view, next((known for known in RANGES if str(known) == days), USUAL))
    last = _date(view, "to") if query.get("to") else _today()
    first = _date(view, "from") if query.get("from") else last - timedelta(days=USUAL - 1)
    if not 0 <= (last - first).days < LONGEST:
        words = view.say("Must not be before the first day, and at most {days} days after it.", days=LONGEST - 1)
        raise InvalidRequest(words, param="to")
    return Looked(first, last, _whose(view))


def _usual(view: View, days: int) -> Looked:
    return Looked(_today() - timedelta(days=days - 1), _today(), _whose(view))


def _whose(view: View) -> str | None:
    wanted = view.request.query.get("tenant") or None
    if view.is_admin:
        return wanted
    if wanted not in (None, view.user.tenant):
        raise NotFound(NOBODY)
    return view.user.tenant


def _date(view: View, name: str) -> date:
    try:
        found = date.fromisoformat(view.request.query[name])
    except ValueError:
        raise InvalidRequest(view.say("Write a day as 2026-01-31."), param=name) from None
    if not 2000 <= found.year < 9999:
        raise InvalidRequest(view.say("Write a day as 2026-01-31."), param=name)
    return found


async def _find(view: View, looked: Looked) -> Found:
    """What the store knows of it. An admin's `tenant` that nobody has is a `NotFound`."""
    by: tuple[Dimension, ...] = ("day", "model", "key")
    if view.is_admin:
        by = (*by, "channel", "tenant")
    now = time.time()

    def read(db: sqlite3.Connection) -> Found:
        keys = key_rows.all_keys(db) if looked.tenant is None else key_rows.of_tenant(db, looked.tenant)
        users = user_rows.all_users(db) if view.is_admin else [view.user]
        rows = totals(db, since=looked.start, until=looked.end, by=by, tenant=looked.tenant, limit=MOST_GROUPS + 1)
        found = Found(by, rows, {key.id: key for key in keys}, users)
        for key in keys:
            limits = key.limits
            if limits.budget is not None and key.revoked_at is None:
                spent = ledger.spent(db, key.id, since(limits.period, now))
                found.budgets.append(Budget(key, spent, limits.budget))
        return found

    found = await view.site.store.read(read)
    if looked.tenant is not None and looked.tenant != view.user.tenant:
        known = {user.tenant for user in found.users} | {key.tenant for key in found.keys.values()}
        if looked.tenant not in known:
            raise NotFound(NOBODY)
    if len(found.rows) > MOST_GROUPS:
        words = view.say("This is too much to add up at once. Choose fewer days, or one user.")
        raise InvalidRequest(words, param="to")
    return found


# ---------------------------------------------------------------- how it is shown


class Line(NamedTuple):
    """A row of a table; `address` shows it alone, where that is possible."""

    name: str
    sum: Sum
    address: str | None = None


class Group(NamedTuple):
    """A dimension: its `id` in the page, its table and the chart above it."""

    id: str
    series: str
    lines: list[Line]
    chart: charts.Bars


class Days(NamedTuple):
    """The table of the days on which something was ordered, and the chart of all of them."""

    lines: list[Line]
    chart: charts.Columns
    most: Line | None


def _days(found: Found, looked: Looked, measure: str) -> Days:
    sums = found.sums("day")
    # Corrections can make a day's sum negative; a column cannot be.
    points = [(day.isoformat(), max(_value(sums.get(_midnight(day), Sum()), measure), 0)) for day in looked.days]
    lines = [Line(_day(at), one) for at, one in sorted(sums.items(), key=lambda item: int(item[0]), reverse=True)]
    most = max(lines, key=lambda line: _value(line.sum, measure), default=None)
    return Days(lines, charts.columns(points, _shown(measure)), most)


def _groups(view: View, found: Found, looked: Looked, measure: str) -> list[Group]:
    dimensions: list[tuple[Dimension, str]] = [("model", "series-1"), ("key", "series-5")]
    if view.is_admin:
        dimensions.insert(1, ("channel", "series-3"))
        if looked.tenant is None:
            dimensions.append(("tenant", "series-2"))
    made = []
    for dimension, series in dimensions:
        name = _namer(view, found, dimension)
        lines = [
            Line(name(value), one, view.address(tenant=value) if dimension == "tenant" else None)
            for value, one in found.sums(dimension).items()
        ]
        lines.sort(key=lambda line: (-_value(line.sum, measure), line.name))
        points = [(line.name, _value(line.sum, measure)) for line in lines]
        made.append(Group(dimension, series, lines, charts.bars(points, _shown(measure), view.say("All others"))))
    return made


def _namer(view: View, found: Found, dimension: Dimension) -> Callable[[str | int], str]:
    """What a value of a dimension is called."""
    if dimension == "key":
        people = {user.id: view.say("{name}, in the dashboard", name=user.name) for user in found.users}
        keys = {key.id: key.name for key in found.keys.values()}
        return lambda value: people.get(str(value)) or keys.get(str(value)) or str(value)
    if dimension == "tenant":
        owners = dict(_owners(view, found))
        return lambda value: owners.get(str(value)) or str(value)
    return str


def _owners(view: View, found: Found) -> list[tuple[str, str]]:
    """The tenants and what each is called: a user, or a key that is one by itself."""
    names = {key.tenant: view.say("{name} (a key without a user)", name=key.name) for key in found.keys.values()}
    names |= {ADMIN.tenant: ADMIN.name}
    names |= {user.tenant: user.name for user in found.users}
    return sorted(names.items(), key=lambda item: item[1].lower())


def _value(one: Sum, measure: str) -> int:
    return one.amount if measure == "amount" else one.videos


def _shown(measure: str) -> Callable[[int], str]:
    return shown_money if measure == "amount" else str


def _day(value: str | int) -> str:
    return datetime.fromtimestamp(int(value), UTC).date().isoformat()


def _today() -> date:
    return datetime.fromtimestamp(time.time(), UTC).date()


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
