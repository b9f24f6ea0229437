"""The style sheet, the script and the icon: read once, and served under names that change with their content."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import hdrs, web

PREFIX: Final = "/dashboard/static/"
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_IMPORTED: Final = re.compile(rb'(?<=from )"\./([a-z_]+\.js)"')
_FOREVER: Final = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file as it is served: `address` carries a hash of `body`, in which the modules that it imports from `./name.js`
    are called by their addresses."""

    address: str
    media_type: str
    body: bytes


@cache
def assets() -> dict[str, Asset]:
    """Every file of `static/` by its plain name, read at the first call (which therefore belongs into a thread)."""
    folder = files(__package__) / "static"
    bodies = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in TYPES}
    found: dict[str, Asset] = {}

    def add(name: str) -> str:
        stem, _, suffix = name.rpartition(".")
        if name not in found:
            # What a module imports has another name whenever it changes, so that the module changes with it.
            body = _IMPORTED.sub(lambda match: f'"{add(match[1].decode())}"'.encode(), bodies[name])
            address = f"{PREFIX}{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{suffix}"
            found[name] = Asset(address, TYPES[suffix], body)
        return found[name].address

    for name in bodies:
        add(name)
    return found


def address(name: str) -> str:
    """Where the file `app.css` is had from."""
    return assets()[name].address


async def send(request: web.Request) -> web.StreamResponse:
    """`GET /dashboard/static/{name}`."""
    for asset in assets().values():
        if asset.address == request.path:
            headers = {hdrs.CONTENT_TYPE: asset.media_type, hdrs.CACHE_CONTROL: _FOREVER}
            return web.Response(body=asset.body, headers=headers)
    raise web.HTTPNotFound
