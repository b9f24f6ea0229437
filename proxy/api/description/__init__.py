"""`GET /openapi.json`: the HTTP surface as OpenAPI 3.1, made once. A test holds that no route is missing."""

from __future__ import annotations

import functools
import hashlib
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from proxy.accounts.cookies import NAME as COOKIE
from proxy.api import render
from proxy.api.description import clients, operators, schemas, words
from proxy.api.description.words import Json, answer, ref

VERSION: Final = "1.0.0"
"""Of the surface, not of the product."""

_ABOUT: Final = """\
OpenAI's Videos API in front of every video model.

Everything under `/v1` is also there without it. Pages of the dashboard are not described here. The answer to an error
is always JSON, `{"error": {message, type, param, code}}`; `HEAD` is there wherever `GET` is.
"""


class Document(NamedTuple):
    """The description as it is sent, and its ETag."""

    body: bytes
    etag: str


@functools.cache
def document() -> Document:
    """The description."""
    body = render.encode(described())
    return Document(body, hashlib.sha256(body).hexdigest()[:32])


def described() -> Json:
    """The description as an object."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Reelgate", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [
            {"name": "Videos", "description": "Order, watch, download."},
            {"name": "Models", "description": "What there is, and what it can do."},
            {"name": "Files", "description": "Pictures and clips to make videos from."},
            {"name": "Webhooks", "description": "Being told when a video is finished."},
            {"name": "Usage", "description": "What it costs."},
            {"name": "Admin", "description": "For operators: an admin key, or the session of an admin."},
            {"name": "Server", "description": "For probes and scrapers."},
        ],
        "paths": {
            **{f"/v1{path}": methods for path, methods in clients.operations().items()},
            **operators.operations(),
            **clients.public(),
        },
        "webhooks": {
            "event": {
                "post": {
                    "summary": "A video is finished: signed as Standard Webhooks say",
                    "requestBody": words.body({words.JSON: ref("Event")}),
                    "responses": {"2XX": answer("Received; anything else is tried again.")},
                }
            }
        },
        "components": {
            "schemas": schemas.all_schemas(),
            "responses": words.refusals(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": f"A login of the dashboard; behind https `__Host-{COOKIE}`.",
                },
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-csrf-token",
                    "description": "With a change by session: the token of its pages.",
                },
                "link": {"type": "apiKey", "in": "query", "name": "sig", "description": "A signed link, as it is."},
                "link_expiry": {"type": "apiKey", "in": "query", "name": "exp", "description": "The same link's."},
            },
        },
    }


async def send(request: web.Request) -> web.StreamResponse:
    """Answer with the description; 304 where the client has it."""
    found = document()
    headers: dict[str, str] = {hdrs.ETAG: f'"{found.etag}"', hdrs.CACHE_CONTROL: "public, max-age=300"}
    if any(tag.value in (found.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return render.response(found.body, headers)
