"""MiniMax Hailuo: text or pictures to video, on two wires of one host.

https://platform.minimax.io/docs/api-reference/video-generation-intro and video-generation-v2

V1 (Hailuo 02 and 2.3, the -01 family): `POST /v1/video_generation`, `GET /v1/query/video_generation`, and `GET
/v1/files/retrieve` for the address of the result. Its errors lie in `base_resp` of an HTTP 200. V2 (MiniMax-H3): `POST
/v2/video_generation` with a list of contents; `/v2/query/video_generation/{id}` tells how it is and where. Its errors
have a status of their own, and V1's number in brackets at the end of the sentence. V1 has no list of tasks, and that of
V2 nothing that an order could be told by, so that none is recovered.
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    InvalidRequest,
    Model,
    Options,
    PictureForm,
    Reply,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

from ._minimax_errors import ending, failure, refusal
from ._minimax_models import FIXED, MODELS, OTHER, SUBJECT, Version, check, model_of, tier, version_of

STATES_V1: Final = {
    "Preparing": "queued",
    "Queueing": "queued",
    "Processing": "in_progress",
    "Success": "completed",
    "Fail": "failed",
}
STATES_V2: Final = {
    "queued": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "expired": "failed",
}

LINK_LIFE_V1: Final = 9 * 3600
"""Seconds that an address of V1 is good for; the next one is another."""
KEPT_V2: Final = 7 * 86_400
"""Seconds after its creation that a task of V2 can be asked for."""
LARGEST_PICTURE: Final = 20_000_000
SMALLEST_SIDE: Final = 301
"""Pixels; of both bounds only the first is sure, and a larger picture does no harm."""


class MiniMaxOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `minimax` may set. Accounts of mainland China have the `base_url` https://api.minimaxi.com."""

    version: Literal["", "v1", "v2"] = ""
    """The wire of all models of the entry. Empty means that of each model: v2 for MiniMax-H3, v1 for the older ones."""
    image_ratio: Literal["adaptive", "size"] = "adaptive"
    """What gives a V2 video that begins with a picture its shape: the picture, or the size that is asked for."""
    link_life: int = 3600
    """Seconds that the address of a V2 result is taken to be good for: MiniMax says that it is short, and no more."""

    def __post_init__(self) -> None:
        if self.link_life < 1:
            raise ValueError(f"link_life is {self.link_life}; it must be above 0")


class MiniMax(Channel):
    type = "minimax"
    options: MiniMaxOptions
    options_class = MiniMaxOptions
    base_url = "https://api.minimax.io"
    models = MODELS
    default_model = OTHER["v1"]
    poll_every = 10.0
    picture_form = PictureForm(max_bytes=LARGEST_PICTURE, min_side=SMALLEST_SIDE)
    # Inputs are billed too, and whom MiniMax calls back is no client's affair.
    priced_metadata = Channel.priced_metadata | frozenset(
        ("callback_url", "content", "first_frame_image", "last_frame_image", "subject_reference")
    )

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        version = options.version if isinstance(options, MiniMaxOptions) else ""
        return model_of(name, version or version_of(name))

    def check(self, request: VideoRequest) -> None:
        check(request, self._version(request))

    def _version(self, request: VideoRequest) -> Version:
        return self.options.version or version_of(request.model)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        version = self._version(request)
        own = first_body(request) if version == "v1" else self._second_body(request)
        reply = await self.upstream.post(f"/{version}/video_generation", json={**request.metadata, **own})
        return UpstreamJob(id=reply.need("task_id"), facts={"version": version})

    def _second_body(self, request: VideoRequest) -> dict[str, Any]:
        roles = ["reference_image"] * len(request.images) if len(request.images) > 1 else ["first_frame"]
        pictures = list(zip(roles, request.images, strict=False))
        if request.last_frame:
            pictures.append(("last_frame", request.last_frame))
        items = [{"type": "image_url", "image_url": {"url": one.data_uri}, "role": role} for role, one in pictures]
        adaptive = len(request.images) == 1 and self.options.image_ratio == "adaptive"
        return {
            "model": request.model,
            "content": [{"type": "text", "text": request.prompt}, *items],
            "duration": request.seconds,
            "resolution": tier(request, "v2"),
            "ratio": "adaptive" if adaptive else request.ratio,
        }

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        version = job.facts.get("version") or self.options.version
        if version == "v1":
            return await self._fetch_first(job)
        try:
            return await self._fetch_second(job)
        except (UpstreamRefused, InvalidRequest):
            if version == "v2":
                raise
        # Of a lost order that an operator found, nothing but the id is known.
        return await self._fetch_first(job)

    async def _fetch_first(self, job: UpstreamJob) -> UpstreamJob:
        try:
            reply = await self.upstream.get("/v1/query/video_generation", params={"task_id": job.id})
        except InvalidRequest as refused:
            # Nothing in it can be wrong but the id.
            raise UpstreamGone(f"The upstream does not know the task. {refused.message}") from None
        status, facts = reply.choose("status", STATES_V1), {"version": "v1"}
        if status != "completed":
            error = failure(reply) if status == "failed" else None
            return UpstreamJob(id=job.id, status=status, error=error, facts=facts)
        file_id = reply.need("file_id")
        if isinstance(file_id, bool) or not isinstance(file_id, str | int):
            raise UpstreamError("The upstream gave no id of the finished file.")
        try:
            # The number may have 64 bits: it goes as the text that it came as.
            file = await self.upstream.get("/v1/files/retrieve", params={"file_id": str(file_id)})
        except InvalidRequest as error:
            raise UpstreamError(f"The upstream does not give the finished file. {error.message}") from None
        url, until = file.need("file.download_url"), time.time() + LINK_LIFE_V1
        return UpstreamJob(id=job.id, status=status, url=url, url_expires_at=until, facts=facts)

    async def _fetch_second(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(f"/v2/query/video_generation/{quote(job.id, safe='')}")
        status, facts = reply.choose("task.status", STATES_V2), {"version": "v2"}
        if status != "completed":
            error = ending(reply) if status == "failed" else None
            return UpstreamJob(id=job.id, status=status, error=error, facts=facts)
        url = reply.need("task.content.url")
        # The same address does not live longer for being told again.
        known = job.url_expires_at if job.url == url else None
        return UpstreamJob(
            id=job.id,
            status=status,
            url=url,
            url_expires_at=known or time.time() + self.options.link_life,
            expires_at=kept_until(reply.get("task.created_at")),
            facts=facts,
            delivered=reply.get("task.duration"),
        )

    async def cancel(self, job: UpstreamJob) -> None:
        await (self._remove(job) if is_second(job) else super().cancel(job))

    async def delete(self, job: UpstreamJob) -> None:
        await (self._remove(job) if is_second(job) else super().delete(job))

    async def _remove(self, job: UpstreamJob) -> None:
        """Cancel a task that waits, or forget one that ended; MiniMax refuses it for one that runs."""
        await self.upstream.delete(f"/v2/video_generation/{quote(job.id, safe='')}")

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


def first_body(request: VideoRequest) -> dict[str, Any]:
    """The body of a creation of V1."""
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
    if request.model not in FIXED:
        body |= {"duration": request.seconds, "resolution": tier(request, "v1")}
    if request.image and request.model == SUBJECT:
        body["subject_reference"] = [{"type": "character", "image": [request.image.data_uri]}]
    elif request.image:
        body["first_frame_image"] = request.image.data_uri
    if request.last_frame:
        body["last_frame_image"] = request.last_frame.data_uri
    return body


def kept_until(made: object) -> float | None:
    """When MiniMax forgets a task of V2; None where what it says cannot be, as it still knows the task."""
    now = time.time()
    return made + KEPT_V2 if isinstance(made, int | float) and now - KEPT_V2 < made < now + KEPT_V2 else None


def is_second(job: UpstreamJob) -> bool:
    return job.facts.get("version") == "v2"


@hookimpl
def register_channel() -> type[Channel]:
    return MiniMax
