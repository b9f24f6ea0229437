"""The routes that say which models there are and what they can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from proxy.api import render
from proxy.api.auth import authenticate
from proxy.api.context import API
from proxy.api.values import shown
from proxy.errors import ModelNotFound

if TYPE_CHECKING:
    from proxy.engine.cards import ModelCard


async def catalogue(request: web.Request) -> web.StreamResponse:
    """`GET /models`: the form that every OpenAI client knows, and what each can do beside it."""
    key = await authenticate(request)
    api = request.app[API]
    return render.response({"object": "list", "data": [_model(card) for card in api.engine.models(key)]})


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /models/{id}`; names of models may have slashes in them."""
    key = await authenticate(request)
    api = request.app[API]
    name = request.match_info["id"]
    for card in api.engine.models(key):
        if card.name == name:
            return render.response(_model(card))
    raise ModelNotFound(f"The model '{shown(name)}' does not exist.", param="model")


async def capabilities(request: web.Request) -> web.StreamResponse:
    """`GET /videos/models`: what each model can do."""
    key = await authenticate(request)
    api = request.app[API]
    data = [{"id": card.name, "object": "video.model", **_capabilities(card)} for card in api.engine.models(key)]
    return render.response({"object": "list", "data": data})


def _model(card: ModelCard) -> dict[str, Any]:
    return {
        "id": card.name,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "shutdown_date": None,
        **_capabilities(card),
    }


def _capabilities(card: ModelCard) -> dict[str, Any]:
    """Empty lists mean that any value of the right form is passed on, and `max_images` null that nothing is known of a
    bound; seconds are texts, as in a video object."""
    return {
        "supported_seconds": [str(seconds) for seconds in card.seconds],
        "supported_sizes": list(card.sizes),
        "default_seconds": str(card.default_seconds),
        "default_size": card.default_size,
        "image_input": card.image,
        "max_images": card.max_images,
        "last_frame": card.last_frame,
        "audio": card.audio,
        "remix": card.remix,
        "edit": card.edit,
        "extend": card.extend,
        "supported_extension_seconds": [str(seconds) for seconds in card.extend_seconds],
        "price_per_second": card.price_per_second,
        "prices_per_second": dict(card.prices),
    }
