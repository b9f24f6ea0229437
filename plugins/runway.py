"""Runway: text, a picture or a video to video, by its own models and those of its partners.

https://docs.dev.runwayml.com/api: `POST /v1/text_to_video`, `/v1/image_to_video` and `/v1/video_to_video` answer the id
of a task; `/v1/tasks/{id}` tells how it is, and stops and removes it. The wire is that of the official SDK 5.24.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal
from urllib.parse import quote

from proxy import (
    AccountRefused,
    ApiError,
    Channel,
    Clip,
    InvalidRequest,
    JobError,
    Model,
    Options,
    PictureForm,
    Reply,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

from ._runway_models import EDITORS, EXTENDER, MODELS, SOURCE, UNLISTED, check_creation, check_words, shape, wishes

STATES: Final = {
    "PENDING": "queued",
    # The account has too many tasks at once: this one waits its turn.
    "THROTTLED": "queued",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "failed",
}

LINK_LIFE: Final = 24 * 3600
"""Seconds that the address of a result is good for at least."""
LARGEST_PICTURE: Final = 3_700_000
"""Bytes of a picture whose data URI is within 5 MB: base64 makes four of three."""
LARGEST_UPLOAD: Final = 200_000_000

PASSED: Final = (
    *("contentModeration", "cfgScale", "providerSettings", "keyframes"),
    *("references", "referenceAudio", "referenceVideos", "resolution", "targetAspectRatio"),
)
"""Metadata that is sent on: Runway refuses a request for any field that it does not know, and others change the price
or the kind of file."""
PARAMS: Final = {
    "promptText": "prompt",
    "promptImage": "input_reference",
    "videoUri": "video",
    "promptVideo": "video",
    "duration": "seconds",
    "ratio": "size",
}


class RunwayOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `runway` may set."""

    version: str = "2024-11-06"
    """The version of the API: the header `X-Runway-Version`."""
    edit_model: Literal["aleph2", "gemini_omni_flash", "gemini_omni_flash_1.1", "kling_4", "seedance2_5"] = "aleph2"
    """What remixes and edits a video of a model that cannot do so itself. Runway bills its price."""


class Runway(Channel):
    type = "runway"
    options: RunwayOptions
    options_class = RunwayOptions
    base_url = "https://api.dev.runwayml.com"
    models = MODELS
    default_model = UNLISTED
    picture_form = PictureForm(max_bytes=LARGEST_PICTURE)

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        assert isinstance(options, RunwayOptions)
        model = cls.models.get(name, UNLISTED).priced_as("extend", MODELS[EXTENDER])
        if name in EDITORS or options.edit_model not in MODELS:
            return model
        editor = MODELS[options.edit_model]
        return model.priced_as("remix", editor).priced_as("edit", editor)

    def headers(self) -> Mapping[str, str]:
        return {**super().headers(), "X-Runway-Version": self.options.version}

    def check(self, request: VideoRequest) -> None:
        check_words(request, self._maker(request))
        if request.kind == "create":
            check_creation(request)

    def _maker(self, request: VideoRequest) -> str:
        """The model that carries `request` out."""
        if request.kind == "extend":
            return EXTENDER
        able = request.kind == "create" or request.model in EDITORS
        return request.model if able else self.options.edit_model

    async def create(self, request: VideoRequest) -> UpstreamJob:
        body = {**shape(request), "duration": request.seconds}
        # Without a position some models take a picture for a mere reference.
        ends = {"first": request.image, "last": request.last_frame}
        frames = [{"uri": end.data_uri, "position": place} for place, end in ends.items() if end]
        if frames:
            body["promptImage"] = frames
        return await self._order("image_to_video" if frames else "text_to_video", request, body)

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(task_path(job))
        status = reply.choose("status", STATES)
        progress, done = reply.get("progress"), status == "completed"
        return UpstreamJob(
            id=job.id,
            status=status,
            progress=100 * progress if isinstance(progress, int | float) else None,
            url=reply.need("output[0]") if done else None,
            url_expires_at=time.time() + LINK_LIFE if done else None,
            error=failure(reply) if status == "failed" else None,
        )

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.edit(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        maker = self._maker(request)
        film = {SOURCE.get(maker, "videoUri"): await self._address(request, source)}
        return await self._order("video_to_video", request, {**EDITORS[maker], **film})

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        film = await self._address(request, source)
        body = {"mode": "extend", "duration": request.seconds, "videoUri": film}
        return await self._order("video_to_video", request, body)

    async def _order(self, route: str, request: VideoRequest, body: dict[str, Any]) -> UpstreamJob:
        maker = self._maker(request)
        passed = {name: value for name, value in request.metadata.items() if name in PASSED}
        ours = {**wishes(request, maker), "model": maker, "promptText": request.prompt, **body}
        reply = await self.upstream.post(f"/v1/{route}", json={**passed, **ours})
        return UpstreamJob(id=reply.need("id"))

    async def _address(self, request: VideoRequest, source: UpstreamJob | None) -> str:
        """Where Runway finds the film that is edited or extended."""
        if source is not None:
            return await self.film_url(source)
        with self.upstream.unpaid():
            return await self._uploaded(request.clip)

    async def _uploaded(self, clip: Clip) -> str:
        """The runway:// address of a client's file, which Runway keeps for a day."""
        if (await asyncio.to_thread(clip.path.stat)).st_size > LARGEST_UPLOAD:
            raise InvalidRequest(f"The video has more than {LARGEST_UPLOAD} bytes.", param="video")
        # Not the client's own name for it: the ending is what Runway goes by, and the rest is no affair of others.
        clip = replace(clip, filename=f"video{clip.path.suffix}")
        body = {"filename": clip.filename, "type": "ephemeral"}
        place = await self.upstream.post("/v1/uploads", json=body, paid=False)
        fields, address = place.need("fields"), str(place.need("runwayUri"))
        if not isinstance(fields, dict):
            raise UpstreamRefused("The upstream gave no fields for an upload.")
        signed = {name: str(value) for name, value in fields.items()}
        await self.upstream.upload(clip, str(place.need("uploadUrl")), fields=signed)
        return address

    async def cancel(self, job: UpstreamJob) -> None:
        await self.upstream.delete(task_path(job))

    async def delete(self, job: UpstreamJob) -> None:
        await self.upstream.delete(task_path(job))

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        if status != 400:
            return None
        said, why, field = (reply.get(path) for path in ("error", "issues[0].message", "issues[0].path[0]"))
        if isinstance(said, str) and "enough credits" in said:
            return AccountRefused("The upstream account has no credits left. Only the operator can change that.")
        if isinstance(said, str) and "X-Runway-Version" in said:
            return AccountRefused(
                "The upstream does not take this server's version. Only the operator can change that."
            )
        if isinstance(said, str) and isinstance(why, str):
            param = PARAMS.get(field) if isinstance(field, str) else None
            return InvalidRequest(f"The upstream refused the request: {said}: {why}", param=param)
        return None


def task_path(job: UpstreamJob) -> str:
    return f"/v1/tasks/{quote(job.id, safe='')}"


def failure(reply: Reply) -> JobError:
    """Why a task failed. The families of `failureCode` that have SAFETY in them are moderation, before and after."""
    said, code = reply.get("failure"), reply.get("failureCode")
    if reply.get("status") == "CANCELLED":
        return JobError("upstream_failed", "The task was cancelled at the upstream.")
    words = code.split(".") if isinstance(code, str) else []
    message = said if isinstance(said, str) and said else f"The upstream says {code}." if words else ""
    return JobError("moderation_blocked" if "SAFETY" in words else "upstream_failed", message)


@hookimpl
def register_channel() -> type[Channel]:
    return Runway
