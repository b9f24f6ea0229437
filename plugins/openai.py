"""Any upstream that speaks the OpenAI Videos API: a gateway, a self-hosted server, Azure, another Reelgate.

OpenAI closed this API on 2026-09-24, so no address is built in: an entry of `channels.yaml` gives its `base_url`.

The wire is openapi.yaml of https://github.com/openai/openai-openapi (2026-08-21) as the official SDK 3.54 speaks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from proxy import (
    AccountRefused,
    ApiError,
    Channel,
    Clip,
    JobError,
    Model,
    ModerationBlocked,
    Options,
    Reply,
    Source,
    Throttled,
    UnsupportedOperation,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

# The four states of the API, each with the words that gateways in the wild put in its place.
STATES: Final = {
    "queued": ("queued", "pending", "submitted"),
    "in_progress": ("in_progress", "processing", "running"),
    "completed": ("completed", "succeeded", "success"),
    "failed": ("failed", "cancelled", "canceled", "expired"),
}
STATUS: Final = {word: status for status, words in STATES.items() for word in words}

MEDIA_TYPES: Final = {"video": "video/mp4", "thumbnail": "image/webp", "spritesheet": "image/jpeg"}

FIELDS: Final = ("prompt", "model", "seconds", "size", "input_reference", "characters", "video")

# Words of an error's `code`, `type` or (Azure) `inner_error.code`, in lower case.
MODERATION: Final = {"moderation_blocked", "content_policy_violation", "content_filter"} | {
    "input_moderation",
    "output_moderation",
    "responsibleaipolicyviolation",
}
QUOTA: Final = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
BUSY: Final = {"server_is_overloaded", "slow_down"}
NO_MODEL: Final = {"model_not_found", "deploymentnotfound"}
INCAPABLE: Final = {"unsupported_operation", "remix_unsupported"}


class OpenAIOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `openai` may set."""

    base_url: str
    """The address of the service, such as `https://video.example.com`; `…/v1` means the same."""
    dialect: Literal["openai"] = "openai"
    """What the service does otherwise than OpenAI's own API: nothing, so far."""
    auth: Literal["bearer", "api-key"] = "bearer"
    """How `api_key` is sent: `Authorization: Bearer`, or the header `api-key` that Azure asks for."""
    organization: str = ""
    """Sent as `OpenAI-Organization`."""
    project: str = ""
    """Sent as `OpenAI-Project`."""

    def __post_init__(self) -> None:
        if not self.base_url:
            raise ValueError("base_url is empty; give the address of the upstream")


class OpenAI(Channel):
    type = "openai"
    options: OpenAIOptions
    options_class = OpenAIOptions
    default_model = Model(exact_image=True, default_seconds=4, default_size="720x1280")
    closed_fields = True

    def headers(self) -> Mapping[str, str]:
        key = self.options.api_key
        headers = {
            "Authorization": f"Bearer {key}" if key and self.options.auth == "bearer" else "",
            "api-key": key if self.options.auth == "api-key" else "",
            "OpenAI-Organization": self.options.organization,
            "OpenAI-Project": self.options.project,
        }
        return {name: value for name, value in headers.items() if value}

    def check(self, request: VideoRequest) -> None:
        if len(request.images) > 1:
            raise UnsupportedOperation("This channel takes one input picture.", param="input_reference")

    async def create(self, request: VideoRequest) -> UpstreamJob:
        body: dict[str, Any] = {
            "prompt": request.prompt,
            "model": request.model,
            "seconds": str(request.seconds),
            "size": request.size,
        }
        # Characters are known as JSON only, so a picture beside them travels as a data URI.
        if request.image and not request.characters:
            return taken(await self.upstream.post("/v1/videos", form={**body, "input_reference": request.image}))
        if request.image:
            body["input_reference"] = {"image_url": request.image.data_uri}
        if request.characters:
            body["characters"] = [{"id": character} for character in request.characters]
        return taken(await self.upstream.post("/v1/videos", json=body))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(video_path(job))
        return told(reply, job.id, reply.choose("status", STATUS))

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        path = f"{video_path(source)}/remix"
        return taken(await self.upstream.post(path, json={"prompt": request.prompt}))

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        # The guide wants `model` with an uploaded clip; a source brings its own.
        model = {"model": request.model} if source is None and request.model else {}
        return await self._derive("/v1/videos/edits", {"prompt": request.prompt, **model}, request, source)

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        body = {"prompt": request.prompt, "seconds": str(request.seconds)}
        return await self._derive("/v1/videos/extensions", body, request, source)

    async def _derive(
        self, path: str, body: dict[str, str], request: VideoRequest, source: UpstreamJob | None
    ) -> UpstreamJob:
        if source is not None:
            return taken(await self.upstream.post(path, json={**body, "video": {"id": source.id}}))
        return taken(await self.upstream.post(path, form={**body, "video": request.clip}))

    async def character(self, name: str, video: Clip) -> str:
        reply = await self.upstream.post("/v1/videos/characters", form={"name": name, "video": video})
        return str(reply.need("id"))

    async def content(self, job: UpstreamJob, variant: Literal["video", "thumbnail", "spritesheet"]) -> Source:
        # The video is the default everywhere, and self-hosted servers know no word for it.
        query = "" if variant == "video" else f"?variant={variant}"
        url = self.upstream.url(f"{video_path(job)}/content{query}")
        return Source(url=url, headers=self.headers(), media_type=MEDIA_TYPES[variant])

    async def delete(self, job: UpstreamJob) -> None:
        await self.upstream.delete(video_path(job))

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        if status < 400:
            return None
        words, message, param = envelope(reply)
        if status < 500 and words & MODERATION:
            return ModerationBlocked(message, param=param)
        if status < 500 and words & INCAPABLE:
            return UnsupportedOperation(message, param=param)
        if words & NO_MODEL:
            return UpstreamRefused(message)
        if status == 429 and words & QUOTA:
            return AccountRefused("The upstream account has no quota left. Only the operator can change that.")
        if status == 503 and words & BUSY:
            return Throttled("The upstream is too busy; try again later.")
        # A Reelgate says so where it certainly took nothing.
        if status >= 500 and reply.headers.get("x-reelgate-not-taken") == "true":
            return UpstreamRefused(message)
        return None


def video_path(job: UpstreamJob) -> str:
    """The path of a video, encoded as the SDK does: an id is one segment whatever it holds."""
    return "/v1/videos/" + quote(job.id, safe="!$&'()*+,;=:@")


def taken(reply: Reply) -> UpstreamJob:
    """The job of a submission. Its id is worth keeping whatever the state says; the next poll judges that."""
    status = reply.get("status")
    return told(reply, reply.need("id"), STATUS.get(status, "queued") if isinstance(status, str) else "queued")


def told(reply: Reply, upstream_id: str, status: str) -> UpstreamJob:
    """A Video object as a job: nullable keys may be missing, and vendors put odd things into numeric ones."""
    wait = header_number(reply, "openai-poll-after-ms")
    return UpstreamJob(
        id=upstream_id,
        status=status,
        progress=number(reply.get("progress")),
        error=failure(reply) if status == "failed" else None,
        expires_at=number(reply.get("expires_at")),
        poll_after=None if wait is None else wait / 1000,
    )


def failure(reply: Reply) -> JobError:
    """Why a failed job failed, in our words and the upstream's sentence."""
    words, message, _ = envelope(reply)
    if words & MODERATION:
        return JobError("moderation_blocked", message)
    return JobError("expired" if reply.get("status") == "expired" else "upstream_failed", message)


def envelope(reply: Reply) -> tuple[set[str], str, str | None]:
    """The words, the sentence and the `param` of an error: wrapped in `error`, bare (Azure), or a mere string."""
    error = reply.get("error", reply.data)
    if not isinstance(error, dict):
        error = {"message": error}
    inner = error.get("inner_error")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    message, param = error.get("message"), error.get("param")
    return (
        {str(code).lower() for code in codes},
        message if isinstance(message, str) and message else "The upstream gave no reason.",
        param if param in FIELDS else None,
    )


def number(value: Any) -> float | None:
    """A JSON number that fits its field, or None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 else None


def header_number(reply: Reply, name: str) -> int | None:
    """A header that is a whole number, or None."""
    text = reply.headers.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None


@hookimpl
def register_channel() -> type[Channel]:
    return OpenAI
