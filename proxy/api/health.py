"""Whether the process lives, and whether it takes requests. Public, for probes."""

from __future__ import annotations

from aiohttp import web

from proxy.api import render
from proxy.api.context import READY


async def healthz(request: web.Request) -> web.StreamResponse:
    """`GET /healthz`: 200 as long as the event loop turns."""
    return render.response({"status": "ok"})


async def readyz(request: web.Request) -> web.StreamResponse:
    """`GET /readyz`: 200 while requests are taken, 503 before and after."""
    if request.app[READY].ready:
        return render.response({"status": "ready"})
    return render.response({"status": "not ready"}, status=503)
