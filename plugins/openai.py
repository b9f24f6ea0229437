"""Any upstream that speaks the OpenAI Videos API: a gateway, a self-hosted server, Azure, another Reelgate.

OpenAI closed this API on 2026-09-24, so no address is built in: an entry of `channels.yaml` gives its `base_url`.

The wire is openapi.yaml of https://github.com/openai/openai-openapi (2026-08-21) as the official SDK 3.54 speaks it.
What servers of other kinds do otherwise is in `_openai_dialects.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from proxy import (
    Absent,
    ApiError,
    Channel,
    Clip,
    Model,
    Options,
    Reply,
    Source,
    UpstreamJob,
    VideoRequest,
    hookimpl,
    hops,
)

from ._openai_dialects import DIALECTS, OWN, PRICED, Dialect, Word, texts
from ._openai_errors import Ended, NotTold, refusal
from ._openai_jobs import STATUS, segment, taken, told, video_path

GENERATIONS: Final = "/v1/video/generations"
"""The older door of a new-api."""

MEDIA_TYPES: Final = {"video": "video/mp4", "thumbnail": "image/webp", "spritesheet": "image/jpeg"}


class OpenAIOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `openai` may set."""

    base_url: str
    """The address of the service, such as `https://video.example.com`; `…/v1` means the same."""
    dialect: Word = "openai"
    """What the service is, if it does something otherwise than OpenAI's own API: `reelgate` (another Reelgate, which
    then gets all that its client asked for; say in `models` what its own can do), `sglang` (SGLang-diffusion),
    `vllm_omni` (vLLM-Omni), `newapi` (gateways of the new-api family) or `litellm`. What stands between two Reelgates
    must pass on `x-reelgate-hops`, by which they notice that they stand in a circle."""
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

    def able(self, operation: str) -> bool:
        # What is made from a video is the model's affair.
        return operation in self.dialect.can or operation in ("remix", "edit", "extend")

    def headers(self) -> Mapping[str, str]:
        key = self.options.api_key
        headers = {
            "Authorization": f"Bearer {key}" if key and self.options.auth == "bearer" else "",
            "api-key": key if self.options.auth == "api-key" else "",
            "OpenAI-Organization": self.options.organization,
            "OpenAI-Project": self.options.project,
        }
        return {name: value for name, value in headers.items() if value}

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return await self._order(self._door(), request, **self.dialect.body(request))

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
        url = self.dialect.address(reply, job.id) if status == "completed" else None
        return told(reply, job.id, status, self.dialect.failures, url)

    async def probe(self) -> Collection[str] | None:
        if not self.dialect.lists:
            return await super().probe()
        found = (await self.upstream.get("/v1/models")).need("data")
        listed = found if isinstance(found, list) else []
        return {str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one} or None

    async def _order(
        self, path: str, request: VideoRequest, *, headers: Mapping[str, str] = {}, **body: Any
    ) -> UpstreamJob:
        named = {"Idempotency-Key": request.attempt_id} if self.able("recover") else {}
        reply = await self.upstream.post(path, headers={**hops.onward(), **named, **headers}, **body)
        return taken(self.dialect.read(reply), self.dialect.failures)

    def _door(self) -> str:
        return "/v1/videos" if self.options.door == "videos" else GENERATIONS

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        body = {"prompt": request.prompt, **self.dialect.further(request)}
        return await self._order(f"{video_path(source)}/remix", request, json=body)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        # The guide wants `model` with an uploaded clip; a source brings its own.
        model = {"model": request.model} if source is None and request.model else {}
        return await self._derive("/v1/videos/edits", {"prompt": request.prompt, **model}, request, source)

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        body = {"prompt": request.prompt, "seconds": str(request.seconds)}
        return await self._derive("/v1/videos/extensions", body, request, source)

    async def _derive(
        self, path: str, body: dict[str, Any], request: VideoRequest, source: UpstreamJob | None
    ) -> UpstreamJob:
        body |= self.dialect.further(request)
        if source is not None:
            return await self._order(path, request, json={**body, "video": {"id": source.id}})
        return await self._order(path, request, form={**texts(body), "video": request.clip})

    async def character(self, name: str, video: Clip) -> str:
        if "character" not in self.dialect.can:
            return await super().character(name, video)
        reply = await self.upstream.post(
            "/v1/videos/characters", headers=hops.onward(), form={"name": name, "video": video}
        )
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

    async def recover(self, request: VideoRequest) -> UpstreamJob | Absent | None:
        if not self.able("recover"):
            return None
        reply = await self.upstream.get("/v1/videos", params={"idempotency_key": request.attempt_id})
        video = reply.get("data[0]")
        # A Reelgate that does not know the question answers with the list of all its videos. And that there is none
        # proves nothing: the order may still be on its way.
        if video is None or reply.get("idempotency_key") != request.attempt_id:
            return None
        found = Reply(video, status=reply.status, headers=reply.headers, channel=reply.channel)
        return taken(found, self.dialect.failures)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


@hookimpl
def register_channel() -> type[Channel]:
    return OpenAI
