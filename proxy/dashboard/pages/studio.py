"""`/dashboard`: make a video, watch it come, and make others from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from proxy.dashboard.routing import Pages
from proxy.dashboard.templating import decimal
from proxy.dashboard.view import View
from proxy.engine.routing import DEFAULT_MODEL
from proxy.errors import VideoNotFound
from proxy.store import families

if TYPE_CHECKING:
    from proxy.engine.cards import ModelCard
    from proxy.engine.follow_ups import FollowUp
    from proxy.records import Video

pages = Pages("studio")

HERE: Final = "/dashboard"
NEWEST: Final = 12
"""Cards on the page; the Videos pages have the others."""
RELATIVES: Final = 200
"""Videos of one family that are shown."""


class Shot(NamedTuple):
    """A video as a card shows it: what can be made from it now, and how many were."""

    video: Video
    follow_ups: Sequence[FollowUp]
    children: int


class Relative(NamedTuple):
    """A video in its family, and what was made from it."""

    video: Video
    children: list[Relative]


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page; `?from=ID` fills its form with what a video of one's own was made with."""
    engine = view.site.engine
    models = [described(card) for card in engine.models(view.key)]
    videos, more = await engine.videos(view.key, after=None, limit=NEWEST, order="desc")
    return view.render(
        "studio.html",
        models=models,
        usual_model=DEFAULT_MODEL,
        shots=await shots_of(view, videos),
        origin=await _origin(view),
        more=more,
        max_pictures=view.site.settings.inputs.max_count,
        max_bytes=view.site.settings.max_body,
    )


@pages.show(HERE + "/cards/{id}")
async def card(view: View) -> web.StreamResponse:
    """One card, which the script puts in the place of an older one."""
    video = await view.site.engine.video(view.request.match_info["id"], view.key)
    [shot] = await shots_of(view, [video])
    return view.render("card.html", shot=shot)


@pages.show(HERE + "/cards/{id}/family")
async def family(view: View) -> web.StreamResponse:
    """The family tree of a video, for the dialog that shows it."""
    video = await view.site.engine.video(view.request.match_info["id"], view.key)
    read = partial(families.family, video_id=video.id, tenant=view.key.tenant, limit=RELATIVES + 1)
    found = await view.site.store.read(read)
    if not found:
        raise VideoNotFound(f"Video with id '{video.id}' not found.")
    return view.render("family.html", root=tree(found[:RELATIVES]), present=video.id, more=len(found) > RELATIVES)


async def _origin(view: View) -> Video | None:
    try:
        return await view.site.engine.video(view.request.query.get("from", ""), view.key)
    except VideoNotFound:
        return None


async def shots_of(view: View, videos: Sequence[Video]) -> list[Shot]:
    """What cards show of these videos, which are the user's own."""
    ids = [video.id for video in videos]
    made = await view.site.store.read(partial(families.children, video_ids=ids, tenant=view.key.tenant))
    return [Shot(video, view.site.engine.follow_ups(video), made.get(video.id, 0)) for video in videos]


def described(card: ModelCard) -> dict[str, Any]:
    """A model for the script: prices are decimal texts, so that it can reckon with them exactly."""
    return {
        "name": card.name,
        "seconds": card.seconds,
        "default_seconds": card.default_seconds,
        "sizes": card.sizes,
        "default_size": card.default_size,
        "max_images": card.max_images if card.image else 0,
        "last_frame": card.last_frame,
        "audio": card.audio,
        "price": None if card.price_per_second is None else decimal(card.price_per_second),
        "prices": {words: decimal(price) for words, price in card.prices.items()},
    }


def tree(videos: Sequence[Video]) -> Relative:
    """A family, parents before children, as a tree."""
    known: dict[str, Relative] = {}
    for video in videos:
        relative = known[video.id] = Relative(video, [])
        parent = known.get(video.source_id or "")
        if parent is not None:
            parent.children.append(relative)
    return known[videos[0].id]
