"""Vidu of Shengshu: text, frames or pictures of things to video, and extensions of videos.

https://platform.vidu.com/docs: `POST /ent/v2/text2video`, `/img2video`, `/start-end2video`, `/reference2video` and
`/extend` answer a `task_id`; `GET /ent/v2/tasks/{id}/creations` tells how it is, `POST …/cancel` takes back what waits,
`GET /ent/v2/tasks` lists all. The mainland's `base_url` is https://api.vidu.cn.

One picture begins the film, two begin and end it, more show things that appear in it. A client whose one or two show
things too says so with the metadata `{"action": "reference2video"}`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    Options,
    PictureForm,
    Reply,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

from ._vidu_answers import STATES, credits_of, failure, refusal
from ._vidu_models import (
    EXTENDERS,
    LARGEST_PICTURE,
    MODELS,
    OTHER,
    REFERENCES,
    TEXT,
    check,
    ratio,
    resolution,
    way,
)

PAGE: Final = 100
PAGES: Final = 20
PASSED: Final = (
    *("style", "movement_amplitude", "bgm", "voice_id", "meta_data"),
    *("watermark", "wm_position", "wm_url", "is_rec", "off_peak", "callback_url"),
)
"""Metadata that is sent on: Vidu refuses fields that are not wanted."""


class ViduOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `vidu` may set. One that allows the metadata `off_peak` needs a `poll_timeout` of more than
    the 48 hours that such a task may wait."""

    extend_model: Literal["viduq2-turbo", "viduq2-pro"] = "viduq2-turbo"
    """What extends a video of a model that cannot do so itself. Vidu bills its price."""
    link_seconds: int = 86_400
    """How long the address of a result is good for; older documents of Vidu's say 3600."""

    def __post_init__(self) -> None:
        if self.link_seconds < 1:
            raise ValueError(f"link_seconds is {self.link_seconds}; it must be above 0")


class Vidu(Channel):
    type = "vidu"
    options: ViduOptions
    options_class = ViduOptions
    base_url = "https://api.vidu.com"
    models = MODELS
    default_model = OTHER
    picture_form = PictureForm(max_bytes=LARGEST_PICTURE)
    # Sound and Vidu's own prompts cost more; whom the operator's account calls back is no client's affair.
    priced_metadata = Channel.priced_metadata | frozenset(
        ("audio", "bgm", "voice_id", "is_rec", "off_peak", "callback_url", "watermark", "wm_position", "wm_url")
    )

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Token {self.options.api_key}"} if self.options.api_key else {}

    def check(self, request: VideoRequest) -> None:
        check(request)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        path = way(request)
        body: dict[str, Any] = {"model": request.model}
        if path in (TEXT, REFERENCES):
            body["aspect_ratio"] = ratio(request)
        if request.audio is not None:
            body["audio"] = request.audio
        if request.seed is not None:
            body["seed"] = request.seed
        passed = {name: value for name, value in request.metadata.items() if name in PASSED}
        return await self._order(path, request, {**passed, **body})

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        able = request.model in EXTENDERS
        body: dict[str, Any] = {"model": request.model if able else self.options.extend_model}
        if source is None:
            body["video_url"] = request.clip.url
        else:
            with self.upstream.unpaid():
                body["video_creation_id"] = await self._creation(source)
        return await self._order("extend", request, body)

    async def _order(self, path: str, request: VideoRequest, body: Mapping[str, Any]) -> UpstreamJob:
        given = [*request.images, *([request.last_frame] if request.last_frame else [])]
        usual: dict[str, Any] = {
            "prompt": request.prompt,
            "duration": request.seconds,
            "resolution": resolution(request),
            # Shown with the task again: see `recover`.
            "payload": request.attempt_id,
        }
        if given:
            usual["images"] = [picture.data_uri for picture in given]
        reply = await self.upstream.post(f"/ent/v2/{path}", json={**body, **usual})
        return UpstreamJob(id=reply.need("task_id"), facts=credits_of(reply))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(f"{task_path(job.id)}/creations")
        status = reply.choose("state", STATES)
        facts = credits_of(reply)
        if status != "completed":
            error = failure(reply) if status == "failed" else None
            return UpstreamJob(id=job.id, status=status, progress=reply.get("progress"), error=error, facts=facts)
        url, creation = reply.need("creations[0].url"), reply.get("creations[0].id")
        # The same address does not live longer for being told again.
        known = job.url_expires_at if job.url == url else None
        return UpstreamJob(
            id=job.id,
            status=status,
            url=url,
            url_expires_at=known or time.time() + self.options.link_seconds,
            facts=facts if creation is None else {**facts, "creation": str(creation)},
        )

    async def _creation(self, source: UpstreamJob) -> str:
        """Vidu's id of the film of `source`."""
        if "creation" not in source.facts:
            source = await self.fetch(source)
        if (creation := source.facts.get("creation")) is None:
            raise UpstreamRefused("The upstream has no result of the source any more.")
        return str(creation)

    async def cancel(self, job: UpstreamJob) -> None:
        # Refused in Vidu's own words for a task that is scheduled already.
        await self.upstream.post(f"{task_path(job.id)}/cancel", json={"id": job.id}, paid=False)

    async def recover(self, request: VideoRequest) -> UpstreamJob | None:
        """The task with our `payload`. That none is there proves nothing: Vidu may still be at it."""
        token = ""
        for _ in range(PAGES):
            params = {"pager.pagesz": str(PAGE), **({"pager.page_token": token} if token else {})}
            reply = await self.upstream.get("/ent/v2/tasks", params=params)
            tasks = reply.get("tasks")
            for task in tasks if isinstance(tasks, list) else []:
                if isinstance(task, dict) and await self._is_of(task, request):
                    return UpstreamJob(id=task.get("id") or task.get("task_id") or "")
            token = reply.get("next_page_token")
            if not tasks or not isinstance(token, str) or not token:
                break
        return None

    async def _is_of(self, task: Mapping[str, Any], request: VideoRequest) -> bool:
        """Whether a listed task is this attempt's. It is not certain that a list shows payloads; a task itself does."""
        if task.get("payload"):
            return bool(task["payload"] == request.attempt_id)
        task_id = task.get("id") or task.get("task_id")
        if not isinstance(task_id, str) or task.get("prompt") != request.prompt:
            return False
        found = await self.upstream.get(f"{task_path(task_id)}/creations")
        return bool(found.get("payload") == request.attempt_id)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


def task_path(task_id: str) -> str:
    return f"/ent/v2/tasks/{quote(task_id, safe='')}"


@hookimpl
def register_channel() -> type[Channel]:
    return Vidu
