"""`/dashboard/videos`: all videos that one may see, to be filtered and paged through.

The filters are the query of the address, so that a link to a search is a search, and a browser without a script has
them too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.store import keys as key_rows
from proxy.store import listing
from proxy.store.listing import STATES, Filter, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.records import Key

pages = Pages("videos")

HERE: Final = "/dashboard/videos"
PAGE: Final = 50
"""Videos on one page."""
OFFERED: Final = 500
"""Keys and users that a field proposes; others can be typed."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Search:
    """What the address asks for, as it was typed: it stands in the fields again. `everyones` is for admins."""

    state: State | None
    model: str
    key: str
    text: str
    since: str
    until: str
    everyones: bool
    channel: str
    owner: str

    @property
    def narrowed(self) -> bool:
        """Whether anything but the whole list was asked for."""
        typed = (self.model, self.key, self.text, self.since, self.until, self.channel, self.owner)
        return self.state is not None or any(typed)

    @property
    def has_more(self) -> bool:
        """Whether a filter is set that is folded away at first."""
        return any((self.key, self.since, self.until, self.channel, self.owner))


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page."""
    search, keys = _search(view), await _keys(view)
    wanted = await _filter(view, search, keys)
    query = view.request.query
    after, before = (
        word if listing.is_id(word) else None for word in (query.get("after", ""), query.get("before", ""))
    )
    read = view.site.store.read
    found = await read(partial(listing.find, wanted=wanted, after=after, before=before, limit=PAGE))
    numbers, many = await read(partial(listing.count, wanted=wanted))
    return view.render(
        "videos.html",
        search=search,
        rows=found.rows,
        older=None if found.older is None else view.address(after=found.older, before=None),
        newer=None if found.newer is None else view.address(before=found.newer, after=None),
        searched=None if found.searched is None else _made_at(found.searched),
        states=[(state, numbers.get(state, 0), _state_address(view, state)) for state in STATES],
        all_number=sum(numbers.values()),
        all_address=_state_address(view, None),
        counted=listing.COUNTED if many else None,
        proposals=await _proposals(view, keys),
    )


@pages.show(HERE + "/rows")
async def rows(view: View) -> web.StreamResponse:
    """The rows of the videos `ids` (with commas between), for the script that keeps unfinished ones up to date."""
    ids = [word for word in view.request.query.get("ids", "").split(",")[: 2 * PAGE] if listing.is_id(word)]
    tenant = None if view.is_admin else view.user.tenant
    found = await view.site.store.read(partial(listing.some, ids=ids, tenant=tenant))
    return view.render("video_rows.html", rows=found)


def _search(view: View) -> Search:
    def typed(name: str) -> str:
        # What no text of ours can hold is not there to be found.
        return view.request.query.get(name, "").strip().replace("\0", "")[:_LONGEST]

    admin = view.is_admin
    return Search(
        state=next((state for state in STATES if typed("state") == state), None),
        model=typed("model"),
        key=typed("key"),
        text=typed("text"),
        since=typed("since"),
        until=typed("until"),
        everyones=admin and typed("of") != "mine",
        channel=typed("channel") if admin else "",
        owner=typed("owner") if admin else "",
    )


async def _filter(view: View, search: Search, keys: Sequence[Key]) -> Filter:
    tenant: str | None = view.user.tenant
    if search.everyones:
        tenant = await _tenant(view, search.owner) if search.owner else None
    until = _midnight(search.until)
    return Filter(
        tenant=tenant,
        state=search.state,
        model=search.model or None,
        key_id=await _key_id(view, search.key, keys) if search.key else None,
        channel=search.channel or None,
        text=search.text or None,
        since=_unix(_midnight(search.since)),
        # The day itself is meant too.
        until=None if until is None else _unix(until + timedelta(days=1)),
    )


async def _tenant(view: View, owner: str) -> str:
    """Whose videos are meant: a user's by the name, or a tenant's by its own, as the keys page shows it."""
    user = await view.site.accounts.users.find(owner)
    return owner if user is None else user.tenant


async def _key_id(view: View, typed: str, keys: Sequence[Key]) -> str:
    """The id of the key that is meant by its name or its id; a user stands for what was made in the dashboard."""
    named = [key for key in keys if key.name == typed]
    if named:
        # Of several with one name, the newest that still works.
        return max(named, key=lambda key: (key.revoked_at is None, key.created_at)).id
    user = await view.site.accounts.users.find(typed)
    return typed if user is None else user.id


async def _keys(view: View) -> Sequence[Key]:
    if view.is_admin:
        return await view.site.store.read(key_rows.all_keys)
    return await view.site.store.read(partial(key_rows.of_tenant, tenant=view.user.tenant))


async def _proposals(view: View, keys: Sequence[Key]) -> dict[str, list[str]]:
    """What the fields propose."""
    engine = view.site.engine
    names = [key.name for key in keys][-OFFERED:]
    found = {
        "models": [card.name for card in engine.models(view.key)],
        "keys": [*dict.fromkeys([*names, view.user.name])],
    }
    if view.is_admin:
        configured, gone = await engine.reports.channels()
        found["channels"] = [*(report.name for report in configured), *gone]
        found["owners"] = [user.name for user in await view.site.accounts.users.all()][-OFFERED:]
    return found


def _state_address(view: View, state: State | None) -> str:
    return view.address(state=state, after=None, before=None)


def _midnight(day: str) -> datetime | None:
    """The beginning of a day (UTC) as a field for dates sends it; None for what is no day."""
    if _DAY.fullmatch(day) is None:
        return None
    try:
        found = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:
        return None
    # Beyond that, there is no day after it.
    return found if 1970 <= found.year < 9999 else None


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _made_at(video_id: str) -> int:
    return int(video_id.partition("_")[2][:12], 16) // 1000
