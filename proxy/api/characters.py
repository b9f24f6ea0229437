"""The routes of characters."""

from __future__ import annotations

from aiohttp import web

from proxy import hops
from proxy.api import asks, bodies, render
from proxy.api.auth import authenticate
from proxy.api.context import API
from proxy.api.values import shown
from proxy.errors import NotFound
from proxy.records import Character


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /videos/characters`."""
    key = await authenticate(request)
    api = request.app[API]
    hops.arrive(request.headers.get(hops.HEADER, ""), api.hop)
    async with bodies.fields_of(api, request, files=asks.VIDEO_FILES, forms=bodies.MULTIPART_ONLY) as fields:
        name, video = asks.character(fields)
        character = await api.engine.create_character(name, video, key)
    return render.response(_object(character))


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /videos/characters/{id}`."""
    key = await authenticate(request)
    api = request.app[API]
    character_id = request.match_info["id"]
    if asks.ID_FORM.fullmatch(character_id) is None:
        raise NotFound(f"Character with id '{shown(character_id, 64)}' not found.")
    return render.response(_object(await api.engine.character(character_id, key)))


def _object(character: Character) -> dict[str, str | int]:
    return {"id": character.id, "name": character.name, "created_at": character.created_at}
