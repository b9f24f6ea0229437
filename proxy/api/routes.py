"""Which URL is whose."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.api import (
    admin,
    characters,
    content,
    description,
    events,
    files,
    generations,
    health,
    inputs,
    metrics,
    models,
    usage,
    videos,
    webhooks,
)
from proxy.api.expectations import expect

PREFIXES: Final = ("/v1", "")

# An id takes all between two slashes, also what only decodes to one, so that it answers like any unknown id; but the
# words that are routes of their own are no ids.
_VIDEO: Final = "/videos/{id:(?!(?:characters|edits|extensions|models)(?:/|$))[^/]+}"

_FILE: Final = "/files/{id:[^/]+}"
_ENDPOINT: Final = "/webhook_endpoints/{id:[^/]+}"


TABLE: Final[tuple[tuple[str, str, Handler], ...]] = (
    # First, because the router looks in this order, and clients look at videos all the time.
    ("GET", _VIDEO, videos.retrieve),
    ("DELETE", _VIDEO, videos.delete),
    ("POST", "/videos", videos.create),
    ("GET", "/videos", videos.page),
    ("POST", "/videos/edits", videos.edit),
    ("POST", "/videos/extensions", videos.extend),
    ("POST", "/videos/characters", characters.create),
    ("GET", "/videos/characters/{id:[^/]+}", characters.retrieve),
    ("GET", "/videos/models", models.capabilities),
    ("POST", _VIDEO + "/remix", videos.remix),
    ("GET", _VIDEO + "/content", content.send),
    ("GET", _VIDEO + "/events", events.send),
    ("GET", "/models", models.catalogue),
    ("GET", "/models/{id:.+}", models.retrieve),
    ("POST", "/video/generations", generations.create),
    ("GET", "/video/generations/{id:[^/]+}", generations.retrieve),
    ("POST", "/files", files.create),
    ("GET", "/files", files.page),
    ("GET", _FILE, files.retrieve),
    ("DELETE", _FILE, files.delete),
    ("GET", _FILE + "/content", files.content),
    ("GET", "/inputs/{owner:[^/]+}/{name:[^/]+}", inputs.send),
    ("POST", "/webhook_endpoints", webhooks.create),
    ("GET", "/webhook_endpoints", webhooks.page),
    ("GET", _ENDPOINT, webhooks.retrieve),
    ("POST", _ENDPOINT, webhooks.update),
    ("DELETE", _ENDPOINT, webhooks.delete),
    ("POST", _ENDPOINT + "/rotate_secret", webhooks.rotate_secret),
    ("POST", _ENDPOINT + "/test", webhooks.test),
    ("GET", "/webhook_event_types", webhooks.event_types),
    ("GET", "/usage", usage.retrieve),
)
"""Method, path and handler of every route that is there under `/v1` and without it."""


def add(app: web.Application) -> None:
    """Add every route of the surface, under `/v1` and without it."""
    for prefix in PREFIXES:
        for method, path, handler in TABLE:
            _add(app, method, prefix + path, handler)
    for method, path, handler in admin.ROUTES:
        _add(app, method, path, handler)
    _add(app, "GET", "/healthz", health.healthz)
    _add(app, "GET", "/readyz", health.readyz)
    _add(app, "GET", "/metrics", metrics.scrape)
    _add(app, "GET", "/openapi.json", description.send)


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    app.router.add_route(method, path, handler, expect_handler=expect)
    if method == "GET":
        app.router.add_route("HEAD", path, handler, expect_handler=expect)
