"""`GET /metrics`: what the process counts, for Prometheus; and the word that each route has there."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web

from proxy.api.auth import operator
from proxy.api.context import API
from proxy.metrics import OTHER, Snapshot

_OPEN_METRICS: Final = "application/openmetrics-text"


async def scrape(request: web.Request) -> web.StreamResponse:
    """Answer with all numbers: to everybody with `metrics: open`, else to an admin's key or session."""
    api = request.app[API]
    if api.settings.metrics == "admin":
        await operator(request)
    snapshot = await api.metrics.snapshot()
    accepted = request.headers.get(hdrs.ACCEPT, "")
    body, content_type = await asyncio.to_thread(_render, snapshot, _OPEN_METRICS in accepted.lower())
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


def route_word(request: web.Request) -> str:
    """What a request's route is called in the metrics: its template, the same with and without `/v1`."""
    resource = request.match_info.route.resource
    return OTHER if resource is None else resource.canonical.removeprefix("/v1")


def _render(snapshot: Snapshot, open_metrics: bool) -> tuple[bytes, str]:
    # prometheus-client takes a tenth of a second to import, and reads files for it.
    from proxy.api.exposition import render

    return render(snapshot, open_metrics=open_metrics)
