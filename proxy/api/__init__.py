"""The OpenAI surface: parse, render, routes. Nothing here knows a provider."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from proxy.api import middleware, routes
from proxy.api.access import Access
from proxy.api.context import API, READY, Api, Ready

__all__ = ["API", "READY", "SERVER_OPTIONS", "Access", "Api", "Ready", "install"]

SERVER_OPTIONS: Final[dict[str, Any]] = {
    # The middleware writes its own; aiohttp's costs more than the whole request.
    "access_log": None,
    # An address of ten thousand characters gets its answer from us, not a line of text from the parser.
    "max_line_size": 32_768,
    "max_field_size": 32_768,
    # A compressed body is refused by its header; inflating it first would be the attacker's work done for him.
    "auto_decompress": False,
    "keepalive_timeout": 75.0,
    "lingering_time": 2.0,
}
"""What `web.AppRunner` and `TestServer.start_server` should be given for this surface."""


def install(app: web.Application, api: Api) -> None:
    """Add the middleware, the routes and the headers of every answer to `app`. Its owner sets `app[READY]`."""
    app[API] = api
    app.middlewares.append(middleware.around)
    app.on_response_prepare.append(middleware.stamp)
    app.on_cleanup.append(_close)
    routes.add(app)


async def _close(app: web.Application) -> None:
    app[API].receipts.close()
