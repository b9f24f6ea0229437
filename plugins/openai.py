"""Any upstream that speaks the OpenAI Videos API: a gateway, a self-hosted server, Azure, another Reelgate.

OpenAI closed this API on 2026-09-24, so no address is built in: an entry of `channels.yaml` gives its `base_url`.

The wire is openapi.yaml of https://github.com/openai/openai-openapi (2026-08-21) as the official SDK 3.54 speaks it.
What servers of other kinds do otherwise is in `_openai_dialects.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    Clip,
    Model,
    Options,
    Reply,
    Source,
    UnsupportedOperation,
    UpstreamJob,
    VideoRequest,
    hookimpl,
)

from ._openai_dialects import DIALECTS, OWN, PRICED, Dialect, Word
from ._openai_errors import Ended, NotTold, failure, refusal

# The four states of the API, each with the words that gateways in the wild put in its place.
STATES: Final = {
    "queued": ("queued", "pending", "submitted"),
    "in_progress": ("in_progress", "processing", "running"),
    "completed": ("completed", "succeeded", "success"),
    "failed": ("failed", "cancelled", "canceled", "expired"),
}
STATUS: Final = {word: status for status, words in STATES.items() for word in words}

GENERATIONS: Final = "/v1/video/generations"
"""The older door of a new-api."""

MEDIA_TYPES: Final = {"video": "video/mp4", "thumbnail": "image/webp", "spritesheet": "image/jpeg"}


class OpenAIOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `openai` may set."""

    base_url: str
    """The address of the service, such as `https://video.example.com`; `…/v1` means the same."""
    dialect: Word = "openai"
    """What the service is, if it does something otherwise than OpenAI's own API, which another Reelgate does not:
    `sglang` (SGLang-diffusion), `vllm_omni` (vLLM-Omni), `newapi` (gateways of the new-api family) or `litellm`."""
    door: Literal["videos", "generations"] = "videos"
    """Where a `newapi` makes videos and tells of them: `/v1/videos`, or `/v1/video/generations` if it is an old one."""
    auth: Literal["bearer", "api-key"] = "bearer"
    """How `api_key` is sent: `Authorization: Bearer`, or the header `api-key` that Azure asks for."""
    organization: str = ""
    """Sent as `OpenAI-Organization`."""
    project: str = ""
    """Sent as `OpenAI-Project`."""

    def __post_init__(self) -> None:
        if not self.base_url:
            raise ValueError("base_url is empty; give the address of the upstream")
        if self.door != "videos" and self.dialect != "newapi":
            raise ValueError("door is for the dialect newapi only")


class OpenAI(Channel):
    type = "openai"
    options: OpenAIOptions
    options_class = OpenAIOptions
    default_model = OWN
    # Which metadata goes on is the dialect's affair; OpenAI's own takes none.
    priced_metadata = Channel.priced_metadata | PRICED

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        return DIALECTS[options.dialect].limits(name) if isinstance(options, OpenAIOptions) else cls.default_model

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.options.dialect]

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
        if len(request.images) > 1 and not self.dialect.several:
            raise UnsupportedOperation("This channel takes one input picture.", param="input_reference")

    async def create(self, request: VideoRequest) -> UpstreamJob:
        reply = await self.upstream.post(self._door(), **self.dialect.body(request))
        return taken(self.dialect.read(reply))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        try:
            reply = await self.upstream.get(f"{self._door()}/{segment(job)}")
        except Ended as ended:
            if ended.reply.get("id") != job.id:
                raise
            reply = ended.reply
        except NotTold:
            if self.options.dialect != "newapi":
                raise
            reply = await self.upstream.get(f"{GENERATIONS}/{segment(job)}")
        reply = self.dialect.read(reply)
        status = reply.choose("status", {**STATUS, **self.dialect.states})
        return told(reply, job.id, status, self.dialect.address(reply, job.id) if status == "completed" else None)

    def _door(self) -> str:
        return "/v1/videos" if self.options.door == "videos" else GENERATIONS

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        path = f"{video_path(source)}/remix"
        return taken(self.dialect.read(await self.upstream.post(path, json={"prompt": request.prompt})))

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
        if "character" not in self.dialect.can:
            return await super().character(name, video)
        reply = await self.upstream.post("/v1/videos/characters", form={"name": name, "video": video})
        return str(reply.need("id"))

    async def content(self, job: UpstreamJob, variant: Literal["video", "thumbnail", "spritesheet"]) -> Source:
        if job.url or (variant != "video" and variant not in self.dialect.can):
            return await super().content(job, variant)
        # The video is the default everywhere, and self-hosted servers know no word for it.
        query = "" if variant == "video" else f"?variant={variant}"
        url = self.upstream.url(f"{video_path(job)}/content{query}")
        return Source(url=url, headers=self.headers(), media_type=MEDIA_TYPES[variant])

    async def cancel(self, job: UpstreamJob) -> None:
        await (self.upstream.delete(video_path(job)) if "cancel" in self.dialect.can else super().cancel(job))

    async def delete(self, job: UpstreamJob) -> None:
        await (self.upstream.delete(video_path(job)) if "delete" in self.dialect.can else super().delete(job))

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


def video_path(job: UpstreamJob) -> str:
    return f"/v1/videos/{segment(job)}"


def segment(job: UpstreamJob) -> str:
    """The id of a video in a path, encoded as the SDK does: it is one segment whatever it holds."""
    return quote(job.id, safe="!$&'()*+,;=:@")


def taken(reply: Reply) -> UpstreamJob:
    """The job of a submission. Its id is worth keeping whatever the state says; the next poll judges that."""
    status = reply.get("status")
    return told(reply, reply.need("id"), STATUS.get(status, "queued") if isinstance(status, str) else "queued")


def told(reply: Reply, upstream_id: str, status: str, url: str | None = None) -> UpstreamJob:
    """A Video object as a job: nullable keys may be missing, and vendors put odd things into numeric ones."""
    wait = header_number(reply, "openai-poll-after-ms")
    return UpstreamJob(
        id=upstream_id,
        status=status,
        progress=number(reply.get("progress")),
        url=url,
        error=failure(reply) if status == "failed" else None,
        expires_at=number(reply.get("expires_at")),
        poll_after=None if wait is None else wait / 1000,
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
