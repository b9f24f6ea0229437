"""`/admin/api/usage`: what was ordered and what it costs, over all tenants or of one; also as CSV."""

from __future__ import annotations

from aiohttp import web

from proxy.api import render, usage
from proxy.api.admin import asked
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import shown
from proxy.errors import InvalidRequest


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /admin/api/usage`: by `group_by`, of a `tenant` or a `key`; with `format=csv` as a file."""
    await operator(request)
    api = request.app[API]
    form = request.query.get("format", "json")
    if form not in ("json", "csv"):
        raise InvalidRequest(f"Invalid value: '{shown(form)}'. Supported values are: 'json' and 'csv'.", param="format")
    looked_at = usage.window(request)
    tenant, key_id = asked.word(request, "tenant"), asked.word(request, "key")
    rows = await usage.found(api, looked_at, tenant=tenant, key_id=key_id)
    if form == "csv":
        return usage.as_csv(looked_at, rows)
    whole = await usage.found(api, looked_at._replace(by=()), tenant=tenant, key_id=key_id)
    return render.response(usage.listing(looked_at, rows, whole))
