"""`/dashboard/audit`: who did what, and when."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.dashboard.languages import text
from proxy.dashboard.routing import Pages
from proxy.dashboard.templating import clock, shown_money
from proxy.dashboard.view import View
from proxy.store import keys as key_rows

if TYPE_CHECKING:
    from proxy.store.inbox import Audited

pages = Pages("audit", admin=True)

HERE: Final = "/dashboard/audit"
PAGE: Final = 50

_ROW: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_LABELS: Final = {
    "name": text("Name"),
    "role": text("Role"),
    "tenant": text("Owner"),
    "sessions": text("Sessions"),
    "admin": text("Admin key"),
    "chooses_channel": text("May choose its channel"),
    "models": text("Models"),
    "channels": text("Channels"),
    "expires_at": text("Expires"),
    "requests_per_minute": text("Requests a minute"),
    "running": text("Videos at once"),
    "budget": text("Budget"),
    "period": text("The budget is"),
    "addresses": text("Only from these addresses"),
    "attempt": text("Handle"),
    "channel": text("Channel"),
    "found": text("Stage"),
    "upstream_id": text("Upstream id"),
    "delivered_as": text("Delivered as"),
    "note": text("Note"),
    "force": text("By force"),
}
_VALUES: Final = {
    ("role", "admin"): text("Admin"),
    ("role", "member"): text("Member"),
    ("period", "day"): text("for each day, UTC"),
    ("period", "month"): text("for each month, UTC"),
    ("period", "total"): text("in all"),
}


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page."""
    after = view.request.query.get("after", "")
    known = int(after) if _ROW.fullmatch(after) else None
    rows, more = await view.site.engine.reports.audit(after=known, limit=PAGE)
    return view.render(
        "audit.html",
        rows=[(row, _details(view, row)) for row in rows],
        names=await _names(view, rows),
        older=f"{HERE}?after={rows[-1].id}" if more else None,
        newest=HERE if known is not None else None,
    )


async def _names(view: View, rows: list[Audited]) -> dict[str, str]:
    """What the keys and users that are spoken of are called."""
    names = {user.id: user.name for user in await view.site.accounts.users.all()}
    wanted = {one for row in rows for one in (row.actor, row.subject)} - set(names)
    for key_id in sorted(one for one in wanted if one.startswith("key_")):
        key = await view.site.store.read(partial(key_rows.by_id, key_id=key_id))
        if key is not None:
            names[key_id] = key.name
    return names


def _details(view: View, row: Audited) -> list[tuple[str, str]]:
    """What is known beside, in words; of a record within it, such as a key's limits, each field.

    What is not so, is not said."""
    inner = (value if isinstance(value, dict) else {name: value} for name, value in row.details.items())
    return [
        (view.say(_LABELS.get(name, name.replace("_", " "))), _shown(view, name, value))
        for fields in inner
        for name, value in fields.items()
        if value is not False and value not in (None, "")
    ]


def _shown(view: View, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "✓"
    if isinstance(value, int) and name in ("budget", "expires_at"):
        return shown_money(value) if name == "budget" else clock(value)
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return view.say(_VALUES[name, value]) if (name, value) in _VALUES else str(value)
