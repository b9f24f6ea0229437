"""Seedance on Volcengine Ark and BytePlus ModelArk, which differ in their address, keys and names of models.

https://www.volcengine.com/docs/82379/1520757 and https://docs.byteplus.com/en/docs/ModelArk/1520757

`POST /api/v3/contents/generations/tasks` with a list `content` of texts, pictures and films answers the id of a task;
`GET …/{id}` tells how it is, `GET …` lists the tasks of seven days, `DELETE …/{id}` cancels one that waits and forgets
one that ended. The wire is that of volcengine-python-sdk[ark] 5.0.54. The region is the entry's `base_url`.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from proxy import (
    ApiError,
    Channel,
    InvalidRequest,
    Model,
    Options,
    Reply,
    Source,
    UpstreamJob,
    Variant,
    VideoRequest,
    hookimpl,
)

from ._ark_models import BYTEPLUS, OTHER, PICTURE, VOLCENGINE, check, pictures, plain, shape
from ._ark_words import STATES, failure, refusal, vanishes

TASKS: Final = "/api/v3/contents/generations/tasks"
PAGE: Final = 500
PAGES: Final = 20

PASSED: Final = (
    *("camera_fixed", "watermark", "return_last_frame", "execution_expires_after", "safety_identifier"),
    *("service_tier", "priority", "draft", "frames", "tools", "output_format"),
)
"""Metadata that is sent on; Ark refuses what it does not know. The second half changes the price or the file."""


class ArkOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `ark` may set."""

    last_frame: bool = False
    """Whether Ark makes a picture of the last frame too: it is the video's thumbnail then."""
    name_attempts: bool = True
    """Whether each task gets a `safety_identifier` of its own, by which a submission without an answer is found in the
    list of tasks. Without one it is found by its seed, as long as no client gave that, which Ark shows once a film is
    there; and the field, which Ark means for an end user's name, may come from the client's metadata."""


class Ark(Channel):
    type = "ark"
    options: ArkOptions
    options_class = ArkOptions
    base_url = "https://ark.cn-beijing.volces.com"
    models: ClassVar = {**VOLCENGINE, **BYTEPLUS}
    default_model = OTHER
    picture_form = PICTURE
    # Whom the operator's account notifies, and who waits for whom in it, is no client's affair.
    priced_metadata = Channel.priced_metadata | frozenset(
        ("content", "draft", "draft_task", "priority", "tools", "output_format", "callback_url")
    )

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        host = urlsplit(options.base_url or cls.base_url).hostname or ""
        foreign = {"volces.com": BYTEPLUS, "bytepluses.com": VOLCENGINE}.get(".".join(host.split(".")[-2:]), {})
        return None if name in foreign else super().limits(options, name)

    def check(self, request: VideoRequest) -> None:
        check(request, self.models.get(request.model, self.default_model))

    async def create(self, request: VideoRequest) -> UpstreamJob:
        resolution, ratio = shape(request)
        given = list(pictures(request))
        # A first frame has a shape already, which some models insist on.
        framed = given and given[0]["role"] == "first_frame"
        return await self._order(request, given, resolution, "adaptive" if framed else ratio)

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.edit(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._derive(request, source, "edit")

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._derive(request, source, "extend")

    async def _derive(self, request: VideoRequest, source: UpstreamJob | None, task: str) -> UpstreamJob:
        url = await self.film_url(source) if source else request.clip.url
        film = {"type": "video_url", "video_url": {"url": url}, "role": "reference_video"}
        return await self._order(request, [film], shape(request)[0], "adaptive", omni_reference_task_type=task)

    async def _order(
        self, request: VideoRequest, given: list[dict[str, Any]], resolution: str, ratio: str, **more: str
    ) -> UpstreamJob:
        body: dict[str, Any] = {
            **{name: value for name, value in request.metadata.items() if name in PASSED},
            "model": request.model,
            "content": [{"type": "text", "text": plain(request.prompt)}, *given],
            "resolution": resolution,
            "ratio": ratio,
            "duration": request.seconds,
            **self._handles(request),
            **more,
        }
        if request.seed is not None:
            body["seed"] = request.seed
        audible = self.models.get(request.model, self.default_model).audio
        if audible is not False and (audible or request.audio is not None):
            body["generate_audio"] = request.audio is not False
        if self.options.last_frame:
            body["return_last_frame"] = True
        return UpstreamJob(id=(await self.upstream.post(TASKS, json=body)).need("id"))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(task_path(job))
        status = reply.choose("status", STATES)
        if status != "completed":
            return UpstreamJob(id=job.id, status=status, error=failure(reply) if status == "failed" else None)
        still = reply.get("content.last_frame_url")
        url = reply.need("content.video_url")
        end = vanishes(url, reply.get("updated_at"))
        return UpstreamJob(
            id=job.id,
            status="completed",
            url=url,
            expires_at=end,
            # Whether a later look has an address that is signed anew is not documented.
            url_expires_at=end,
            facts={"last_frame": still} if isinstance(still, str) and still else {},
            delivered=reply.get("duration"),
        )

    async def content(self, job: UpstreamJob, variant: Variant) -> Source:
        if variant == "thumbnail" and isinstance(still := job.facts.get("last_frame"), str):
            return Source(url=still, media_type="image/png")
        return await super().content(job, variant)

    async def cancel(self, job: UpstreamJob) -> None:
        # Ark refuses it for one that runs or is cancelled already, in words that are not documented.
        status = (await self.fetch(job)).status
        if status == "in_progress":
            raise InvalidRequest("The upstream cancels a task only while that waits for its turn.")
        if status != "failed":
            await self.upstream.delete(task_path(job))

    async def delete(self, job: UpstreamJob) -> None:
        await self.upstream.delete(task_path(job))

    async def recover(self, request: VideoRequest) -> UpstreamJob | None:
        """That it is not there proves nothing: Ark may still be at it."""
        handles = self._handles(request).items()
        for page in range(1, PAGES + 1 if handles else 1):
            params = {"page_num": str(page), "page_size": str(PAGE), "filter.model": request.model}
            items = (await self.upstream.get(TASKS, params=params)).get("items")
            tasks = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
            if found := [task for task in tasks if any(task.get(name) == value for name, value in handles)]:
                return UpstreamJob(id=found[0].get("id", ""))
            if len(tasks) < PAGE:
                break
        return None

    def _handles(self, request: VideoRequest) -> dict[str, Any]:
        """The fields by which the task of this very attempt can be told from others."""
        named = {"safety_identifier": request.attempt_id} if self.options.name_attempts else {}
        if request.seed is not None:
            return named
        return {**named, "seed": int.from_bytes(hashlib.sha256(request.attempt_id.encode()).digest()[:4])}

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


def task_path(job: UpstreamJob) -> str:
    return f"{TASKS}/{quote(job.id, safe='')}"


@hookimpl
def register_channel() -> type[Channel]:
    return Ark
