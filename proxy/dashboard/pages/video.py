"""`/dashboard/videos/{id}`: one video, what happened to it, what it cost and what can be done with it.

Somebody else's video is there for admins only: they see all that is known of it, but play, repeat and delete only their
own ones. For a member it is the very page of an unknown one (P5).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from proxy.dashboard import again, timeline
from proxy.dashboard.forms import Form
from proxy.dashboard.languages import text
from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.engine.reports import Story
from proxy.errors import ApiError, NotFound, Stopping, VideoNotDeletable, VideoNotFound
from proxy.store import families, ledger
from proxy.store import keys as key_rows

if TYPE_CHECKING:
    from proxy.records import Video

pages = Pages("videos")

HERE: Final = "/dashboard/videos"
RELATIVES: Final = 100
"""Videos of one family that are shown."""
UNKNOWN: Final = text("There is no such video. It may have been deleted.")

_ONCE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why something could not be done: `message` is said; `force` offers to delete all the same."""

    message: str
    force: bool = False
    status: int = 400


@dataclass(frozen=True, slots=True)
class Kin:
    """A video of the family; `depth` counts the generations from the first one."""

    video: Video
    depth: int


@pages.show(HERE + "/{id}")
async def show(view: View) -> web.StreamResponse:
    """The page."""
    return await _page(view, await _story(view))


@pages.take(HERE + "/{id}/again")
async def repeat(view: View, form: Form) -> web.StreamResponse:
    """Order another one like it; a form that is sent twice orders one."""
    story = await _story(view, own=True)
    video = story.dossier.video
    if again.obstacle(video) is not None:
        raise NotFound(view.say("What this video was made from was not kept: order it anew in the Studio."))
    once = form.text("once")[:_ONCE]
    engine = view.site.engine
    try:
        made, _ = await engine.order(
            again.ask_of(video), view.key, idempotency_key=f"dashboard-{once}" if once else None
        )
    except ApiError as error:
        return await _page(view, story, Trouble(message=error.message, status=error.status))
    engine.delivered(made)
    return view.go(f"{HERE}/{made.id}", notice=view.say("It was ordered again. This is the new video."))


@pages.take(HERE + "/{id}/delete")
async def delete(view: View, form: Form) -> web.StreamResponse:
    """Delete it; one that is being made is cancelled, or with `force` forgotten."""
    story = await _story(view, own=True)
    video_id = story.dossier.video.id
    try:
        await view.site.engine.delete(video_id, view.key, force=form.ticked("force"))
    except VideoNotFound:
        raise NotFound(UNKNOWN) from None
    except Stopping:
        raise
    except VideoNotDeletable:
        # As it is now: it may have gone on meanwhile.
        return await _page(view, await _story(view, own=True), Trouble(message="", force=True))
    except ApiError as error:
        return await _page(
            view, await _story(view, own=True), Trouble(message=error.message, force=True, status=error.status)
        )
    return view.go(HERE, notice=view.say("The video was deleted."))


async def _story(view: View, *, own: bool = False) -> Story:
    """All that is known of the video of this page. For a member, and where it must be one's `own`, others' are not
    there."""
    video_id = view.request.match_info["id"]
    try:
        if own or not view.is_admin:
            await view.site.engine.video(video_id, view.key)
        return await view.site.engine.reports.story(video_id)
    except VideoNotFound:
        raise NotFound(UNKNOWN) from None


async def _page(view: View, story: Story, trouble: Trouble | None = None) -> web.Response:
    dossier = story.dossier
    video = dossier.video
    mine = video.tenant == view.user.tenant and video.listed
    read = view.site.store.read
    rows = await read(partial(ledger.of_video, video_id=video.id))
    found = await read(
        partial(families.family, video_id=video.id, tenant=video.tenant, limit=RELATIVES + 1),
    )
    width, _, height = video.size.partition("x")
    return view.render(
        "video.html",
        status=200 if trouble is None else trouble.status,
        video=video,
        # Not what only the upstream calls unknown: a person is told.
        state="deleted" if video.stage == "deleted" else "unknown" if video.stage == "unknown" else video.status,
        unfinished=video.stage in ("waiting", "submitting", "unknown", "running"),
        mine=mine,
        owner=dossier.video.tenant,
        moments=timeline.timeline(story, admin=view.is_admin),
        rows=rows,
        kin=_kin(found[:RELATIVES]),
        more_kin=len(found) > RELATIVES,
        width=int(width),
        height=int(height),
        request_path=again.path_of(video),
        request_body=_pretty(again.body_of(video)),
        obstacle=again.obstacle(video),
        inputs=_inputs(video),
        once=secrets.token_urlsafe(16),
        trouble=trouble,
        admin=await _facts(view, story) if view.is_admin else None,
        made_with=await _made_with(view, story),
    )


async def _facts(view: View, story: Story) -> dict[str, Any]:
    """What only an admin may see."""
    video = story.dossier.video
    owners = [user.name for user in await view.site.accounts.users.all() if user.tenant == video.tenant]
    return {
        "owner": owners[0] if owners else video.tenant,
        "channel": video.channel if story.decided else None,
        "upstream_model": video.upstream_model if story.decided else None,
        "upstream_id": None if video.job is None else video.job.id,
        "key_id": video.key_id,
        "stage": video.stage,
        "settles": any(attempt.state == "unknown" and attempt.settled is None for attempt in story.dossier.attempts),
    }


async def _made_with(view: View, story: Story) -> str | None:
    """The name of the API key that it was ordered with; None for the dashboard."""
    key_id = story.dossier.video.key_id
    if story.dossier.key_name is not None:
        return story.dossier.key_name
    if await view.site.accounts.users.by_id(key_id) is not None:
        return None
    key = await view.site.store.read(partial(key_rows.by_id, key_id=key_id))
    return key_id if key is None else key.name


def _kin(found: Sequence[Video]) -> list[Kin]:
    """A family, each behind the one that it was made from; empty where there is only one."""
    if len(found) < 2:
        return []
    children: dict[str, list[Video]] = {}
    for video in found[1:]:
        children.setdefault(video.source_id or "", []).append(video)
    kin: list[Kin] = []
    todo = [Kin(found[0], 0)]
    while todo:
        one = todo.pop()
        kin.append(one)
        todo += [Kin(child, one.depth + 1) for child in reversed(children.get(one.video.id, []))]
    return kin


def _inputs(video: Video) -> list[str]:
    """What was sent along, by its name or its size in pixels."""
    order = video.order
    sent = [] if order.reimagine else [*order.images]
    sent += [one for one in (order.last_frame, order.video) if one is not None]
    return [one.filename or (f"{one.width} × {one.height}" if one.width else one.media_type) for one in sent]


def _pretty(body: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
