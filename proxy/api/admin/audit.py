"""`/admin/api/audit`: what operators did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.api import queries, render
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import shown
from proxy.errors import InvalidRequest

if TYPE_CHECKING:
    from proxy.store.inbox import Audited

_ROW: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/audit`: what operators did, newest first."""
    await operator(request)
    after = request.query.get("after")
    if after is not None and _ROW.fullmatch(after) is None:
        raise InvalidRequest(f"Invalid value: '{shown(after)}'. 'after' must be the id of a row.", param="after")
    rows, has_more = await request.app[API].engine.reports.audit(
        after=None if after is None else int(after), limit=queries.limit(request)
    )
    return render.response(render.listing([entry(row) for row in rows], has_more))


def entry(row: Audited) -> dict[str, Any]:
    """A row of the audit as JSON."""
    return {
        "id": str(row.id),
        "object": "audit",
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "details": row.details,
    }
