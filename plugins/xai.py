"""Grok Imagine of xAI: text or pictures to video, and edits and extensions of videos.

https://docs.x.ai/docs/guides/video-generations: `POST /v1/videos/generations`, `/v1/videos/edits` and
`/v1/videos/extensions` answer a `request_id`; `GET /v1/videos/{request_id}` is a 202, with or without a body, until the
video is done or has failed. The wire is that of @ai-sdk/xai 5.0.12.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from proxy import (
    AccountRefused,
    ApiError,
    Channel,
    Clip,
    InvalidRequest,
    JobError,
    ModerationBlocked,
    Options,
    Reply,
    UnsupportedOperation,
    UpstreamJob,
    VideoRequest,
    hookimpl,
)

from ._xai_models import MODELS, OTHER, check, ratio, resolution

STATES: Final = {"pending": "queued", "done": "completed", "failed": "failed", "expired": "failed"}

LINK_LIFE: Final = 24 * 3600
"""Seconds that the address of a result is good for, about."""

LOOKS: Final = 3
"""How often a request is found done without a film, and without a word of the moderation's, before that is believed."""
LENGTHS: Final = {"edits": (0, 8.7), "extensions": (2, 30)}
"""Seconds that a source has at least and at most, by the route."""

PARAMS: Final = {
    "prompt": "prompt",
    "model": "model",
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
    "image": "input_reference",
    "reference_images": "input_reference",
    "last_frame": "last_frame",
    "video": "video",
}
"""The name of a field of xAI's in OpenAI's words."""
# None of the three has a code of its own.
MODERATION: Final = re.compile(
    r"moderat|safety|(?:usage|content|community) (?:guideline|polic)|acceptable use", re.IGNORECASE
)
BAD_KEY: Final = re.compile(r"(?:incorrect|invalid) api key", re.IGNORECASE)
# A 429 that only asks for patience may point to the pages about billing too.
NO_CREDIT: Final = re.compile(r"\bcredits?\b|spending limit", re.IGNORECASE)


class XaiOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `xai` may set."""

    edit_model: str = ""
    """The model that remixes, edits and extends. Empty means that of the source, or the one that the client names."""
    clips: Literal["link", "data_uri"] = "link"
    """How an uploaded clip is handed to xAI: as a signed link to this server, which needs `public_url`, or within the
    request. xAI documents the latter for pictures only."""


class Xai(Channel):
    type = "xai"
    options: XaiOptions
    options_class = XaiOptions
    base_url = "https://api.x.ai"
    models = MODELS
    default_model = OTHER
    # Inputs are billed too. Where a result goes is no client's affair: what is put elsewhere looks like none here.
    priced_metadata = Channel.priced_metadata.union(
        ("image", "last_frame", "keyframes", "reference_images", "reference_audios", "video"),
        ("storage_options", "output"),
    )

    def check(self, request: VideoRequest) -> None:
        check(request)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        body = {
            **request.metadata,
            "model": request.model,
            "prompt": request.prompt,
            "duration": request.seconds,
            "aspect_ratio": ratio(request),
            "resolution": resolution(request),
        }
        if len(request.images) > 1:
            body["reference_images"] = [{"url": image.data_uri} for image in request.images]
        elif request.image:
            body["image"] = {"url": request.image.data_uri}
        if request.last_frame:
            body["last_frame"] = {"url": request.last_frame.data_uri}
        if request.audio is not None:
            body["generate_audio"] = request.audio
        return taken(await self.upstream.post("/v1/videos/generations", json=body))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(f"/v1/videos/{quote(job.id, safe='')}")
        if reply.status == 202 and reply.data is None and not reply.text.strip():
            return UpstreamJob(id=job.id)
        # A film without a word about the state is there all the same.
        film = reply.get("status") is None and reply.get("video.url")
        status = "completed" if film else reply.choose("status", STATES)
        if status == "completed":
            return finished(reply, job)
        progress = reply.get("progress")
        begun = status == "queued" and isinstance(progress, int | float) and progress > 0
        return UpstreamJob(
            id=job.id,
            status="in_progress" if begun else status,
            progress=progress,
            error=failure(reply) if status == "failed" else None,
        )

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.edit(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        # Length and shape are those of the source.
        return await self._derive("edits", request, source, {})

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._derive("extensions", request, source, {"duration": request.seconds})

    async def _derive(
        self, route: str, request: VideoRequest, source: UpstreamJob | None, own: Mapping[str, Any]
    ) -> UpstreamJob:
        with self.upstream.unpaid():
            url = await (self._clip(request.clip) if source is None else self._address(source, *LENGTHS[route]))
        model = self.options.edit_model or request.model
        body = {**request.metadata, **own, "model": model, "prompt": request.prompt, "video": {"url": url}}
        return taken(await self.upstream.post(f"/v1/videos/{route}", json=body))

    async def _address(self, source: UpstreamJob, shortest: float, longest: float) -> str:
        """Where the source's film is, for long enough; refused where its length is known to be out of bounds."""
        seconds = source.facts.get("seconds")
        if isinstance(seconds, int | float) and not shortest <= seconds <= longest:
            bounds = f"{shortest} to {longest}" if shortest else f"at most {longest}"
            raise InvalidRequest(f"The video has {seconds} seconds; this takes one of {bounds} seconds.", param="video")
        return await self.film_url(source)

    async def _clip(self, clip: Clip) -> str:
        """An uploaded clip, in the way that the entry names."""
        if self.options.clips == "data_uri":
            return await clip.data_uri()
        if clip.url is None:
            raise UnsupportedOperation("This server has no public address, which uploads here need.", param="video")
        return clip.url

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        if status < 400:
            return None
        said, code, field = words(reply)
        if status in (400, 403, 422) and MODERATION.search(f"{said} {code}"):
            return ModerationBlocked(said or "The upstream's moderation refuses the request.")
        if (status == 400 and BAD_KEY.search(said)) or (status == 429 and NO_CREDIT.search(said)):
            return AccountRefused("The upstream account cannot be used. Only the operator can change that.")
        if status in (400, 422) and said:
            return InvalidRequest(f"The upstream refused the request: {said}", param=PARAMS.get(field))
        return None


def taken(reply: Reply) -> UpstreamJob:
    return UpstreamJob(id=reply.need("request_id"))


def finished(reply: Reply, job: UpstreamJob) -> UpstreamJob:
    """A request that is done: with a film, or without one because the moderation took it."""
    # The latter where `storage_options` are allowed.
    url = reply.get("video.url") or reply.get("video.file_output.public_url")
    respected, seconds = reply.get("video.respect_moderation"), reply.get("video.duration")
    if not url and respected is not False and (looks := job.facts.get("looks", 0) + 1) < LOOKS:
        return UpstreamJob(id=job.id, status="in_progress", facts={"looks": looks})
    if not url or respected is False:
        error = JobError("upstream_failed", "The upstream says that the video is done, but gave none.")
        if respected is not True:
            error = JobError("moderation_blocked", "The upstream's moderation held the video back.")
        return UpstreamJob(id=job.id, status="failed", error=error)
    # The same address does not live longer for being told again.
    known = job.url_expires_at if job.url == url else None
    return UpstreamJob(
        id=job.id,
        status="completed",
        url=url,
        url_expires_at=known or time.time() + LINK_LIFE,
        facts={"seconds": seconds} if isinstance(seconds, int | float) else {},
        delivered=seconds,
    )


def failure(reply: Reply) -> JobError:
    """Why a request failed."""
    if reply.get("status") == "expired":
        return JobError("expired", "The upstream let the request expire.")
    said, code, _ = words(reply)
    reason = said or (code and f"The upstream says {code}.")
    return JobError("moderation_blocked" if MODERATION.search(f"{said} {code}") else "upstream_failed", reason)


def words(reply: Reply) -> tuple[str, str, str]:
    """Sentence, code and field of the three shapes of an error: an object, a text beside a code, and a text alone."""
    error = reply.get("error")
    places = ("error.message", "error.code", "error.param") if isinstance(error, dict) else ("error", "code", "param")
    said, code, field = (word if isinstance(word := reply.get(place), str) else "" for place in places)
    return said, code, field


@hookimpl
def register_channel() -> type[Channel]:
    return Xai
