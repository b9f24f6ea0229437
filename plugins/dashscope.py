"""Alibaba DashScope (Model Studio, Bailian): Wan and HappyHorse, text or pictures to video, and edits of videos.

https://help.aliyun.com/en/model-studio: `POST /api/v1/services/aigc/video-generation/video-synthesis`, or
`…/image2video/video-synthesis` for a first and a last frame, answers the id of a task; `/api/v1/tasks/{id}` tells how
it is for 24 hours, and stops it before it begins. The list of tasks has nothing that an order could be told by, so that
none is recovered. The wire is that of the official SDK `dashscope` 2.0.2.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    Clip,
    InvalidRequest,
    Model,
    Options,
    PictureForm,
    Reply,
    UnsupportedOperation,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

from ._dashscope_answers import is_number, refusal, told
from ._dashscope_models import INPUTS, LONGEST_EXTENDED, MODELS, OTHER, check, is_able, limits, pictures, shape, wire_of

UPLOAD_FIELDS: Final = {
    "OSSAccessKeyId": "oss_access_key_id",
    "Signature": "signature",
    "policy": "policy",
    "x-oss-object-acl": "x_oss_object_acl",
    "x-oss-forbid-overwrite": "x_oss_forbid_overwrite",
}
"""The fields of an upload's form, and where DashScope tells them."""


class DashScopeOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `dashscope` may set. Its `base_url` chooses the region, to which the key belongs."""

    workspace: str = ""
    """The workspace that the key's account works in: the header `X-DashScope-WorkSpace`."""
    prompt_extend: bool = True
    """Whether DashScope rewrites prompts, where the client's metadata does not say."""
    watermark: bool = False
    """Whether videos get a watermark, where the client's metadata does not say."""
    edit_model: str = "wan2.7-videoedit"
    """What remixes and edits a video of a model that cannot do so itself, at its own price. Empty: nothing does."""
    extend_model: str = "wan2.7-i2v"
    """What extends a video of a model that cannot do so itself, at its own price for the whole. Empty: nothing does."""

    def __post_init__(self) -> None:
        for operation, name in (("edit", self.edit_model), ("extend", self.extend_model)):
            if name and not is_able(operation, name):
                usual = {"edit": "wan2.7-videoedit", "extend": "wan2.7-i2v"}[operation]
                raise ValueError(f"{operation}_model: {name} cannot {operation} videos; write {usual}, or '' for none")


class DashScope(Channel):
    type = "dashscope"
    options: DashScopeOptions
    options_class = DashScopeOptions
    base_url = "https://dashscope-intl.aliyuncs.com"
    models = MODELS
    default_model = OTHER
    picture_form = PictureForm(max_bytes=10_000_000, min_side=360, max_side=2000)
    # Films that are put in are billed too.
    priced_metadata = Channel.priced_metadata | INPUTS | {"audio", "enable_thinking"}

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        assert isinstance(options, DashScopeOptions)
        edits, extends = _maker("edit", name, options), _maker("extend", name, options)
        able = (*(("remix", "edit") if edits else ()), *(("extend",) if extends else ()))
        model = dataclasses.replace(limits(name), native=able, extend_bills_whole=True)
        if edits not in ("", name):
            model = model.priced_as("remix", limits(edits)).priced_as("edit", limits(edits))
        return model if extends in ("", name) else model.priced_as("extend", limits(extends))

    def headers(self) -> Mapping[str, str]:
        place = self.options.workspace
        return {**super().headers(), **({"X-DashScope-WorkSpace": place} if place else {})}

    def check(self, request: VideoRequest) -> None:
        check(request)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return await self._order(request, request.model, pictures(request), {"duration": request.seconds})

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return told(await self.upstream.get(task_path(job)), job)

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.edit(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        model = self._able("edit", request)
        with self.upstream.unpaid():
            film = await (self.film_url(source) if source else self._uploaded(request.clip, model))
        return await self._order(request, model, {"media": [{"type": "video", "url": film}]}, {})

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        model = self._able("extend", request)
        if source is None:
            raise UnsupportedOperation("This channel extends only videos that it made itself.", param="video")
        if "seconds" not in source.facts:
            raise UpstreamRefused("The upstream does not say how long the source is.")
        # The duration that is ordered, and billed, is that of the whole.
        whole = round(source.facts["seconds"]) + request.seconds
        if whole > LONGEST_EXTENDED:
            message = f"The extended video would have {whole} seconds; it may have at most {LONGEST_EXTENDED}."
            raise InvalidRequest(message, param="seconds")
        film = await self.film_url(source)
        return await self._order(request, model, {"media": [{"type": "first_clip", "url": film}]}, {"duration": whole})

    async def _order(
        self, request: VideoRequest, model: str, given: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> UpstreamJob:
        wire, metadata = wire_of(model), request.metadata
        usual = {"watermark": self.options.watermark}
        if not wire.horse:
            usual["prompt_extend"] = self.options.prompt_extend
        parameters = {
            **usual,
            **{name: value for name, value in metadata.items() if name not in INPUTS},
            **shape(request),
            **wanted,
        }
        if request.seed is not None:
            parameters["seed"] = request.seed
        if request.audio is not None and limits(model).audio is not False:
            parameters["audio"] = request.audio
        words = {"prompt": request.prompt}
        if request.negative_prompt:
            words["negative_prompt"] = request.negative_prompt
        into = {name: value for name, value in metadata.items() if name in INPUTS}
        body = {"model": model, "input": {**into, **words, **given}, "parameters": parameters}
        headers = {"X-DashScope-Async": "enable"}
        own = [str(item.get("url")) for item in given.get("media", ())]
        if any(url.startswith("oss://") for url in own) or "oss://" in str(into):
            headers["X-DashScope-OssResourceResolve"] = "enable"
        route = "image2video" if wire.kind == "kf2v" else "video-generation"
        path = f"/api/v1/services/aigc/{route}/video-synthesis"
        return UpstreamJob(id=(await self.upstream.post(path, json=body, headers=headers)).need("output.task_id"))

    def _able(self, operation: str, request: VideoRequest) -> str:
        """The model that edits or extends."""
        model = _maker(operation, request.model, self.options)
        if not model:
            raise UnsupportedOperation(f"The channel of this video cannot {operation}.")
        return model

    async def _uploaded(self, clip: Clip, model: str) -> str:
        """The oss:// address of a client's file, which DashScope keeps for two days."""
        place = await self.upstream.get("/api/v1/uploads", params={"action": "getPolicy", "model": model})
        # Its own name may have anything in it, and becomes a part of an address.
        clip = dataclasses.replace(clip, filename=f"video{clip.path.suffix}")
        most = place.get("data.max_file_size_mb")
        if is_number(most) and (await asyncio.to_thread(clip.path.stat)).st_size > most * 2**20:
            raise InvalidRequest(f"The video has more than {most} MB.", param="video")
        key = f"{place.need('data.upload_dir')}/{clip.filename}"
        signed = {field: str(place.need(f"data.{name}")) for field, name in UPLOAD_FIELDS.items()}
        fields = {**signed, "key": key, "success_action_status": "200"}
        await self.upstream.upload(clip, str(place.need("data.upload_host")), fields=fields)
        return f"oss://{key}"

    async def cancel(self, job: UpstreamJob) -> None:
        await self.upstream.post(f"{task_path(job)}/cancel", paid=False)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


def _maker(operation: str, name: str, options: DashScopeOptions) -> str:
    """The model that edits or extends a video of the model `name`; empty where none does."""
    other = options.edit_model if operation == "edit" else options.extend_model
    return name if wire_of(name).kind != "any" and is_able(operation, name) else other


def task_path(job: UpstreamJob) -> str:
    return f"/api/v1/tasks/{quote(job.id, safe='')}"


@hookimpl
def register_channel() -> type[Channel]:
    return DashScope
