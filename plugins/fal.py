"""fal: any video endpoint of its queue, each model with fields of its own.

https://docs.fal.ai/model-endpoints/queue: `POST /{endpoint}` takes the model's input and answers `request_id` with the
addresses of the job: `status_url`, `response_url` and `cancel_url`. COMPLETED means that the job ended; whether it has
made a video is told by `response_url` alone. The wire is that of fal-client 1.0.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from proxy import (
    ApiError,
    Channel,
    Clip,
    InvalidRequest,
    Model,
    ModerationBlocked,
    Options,
    PictureForm,
    Reply,
    UnsupportedOperation,
    UpstreamError,
    UpstreamJob,
    VideoRequest,
    hookimpl,
)

from ._fal_answers import BadInput, OutOfTurn, RunFailed, doubted, ended, going, is_moderation, refusal
from ._fal_fields import DERIVED, ENDPOINT, UNLISTED, Fields, body, merged, slip
from ._fal_models import ENDED, MODELS, PICTURED, TABLE, able

STATES: Final = {
    "IN_QUEUE": "queued",
    "IN_PROGRESS": "in_progress",
    "COMPLETED": "completed",
    # Its own clients know no further words, some of its documents do.
    "FAILED": "failed",
    "CANCELED": "failed",
    "CANCELLED": "failed",
}
PROBED: Final = "fal-ai/veo3"
"""An app whose queue everybody may ask."""
ADDRESSES: Final = {"status_url": "/status", "response_url": "", "cancel_url": "/cancel"}
"""The addresses of a job, and how each ends after the job's id."""

LARGEST_INLINE: Final = 8_000_000
"""Bytes of a clip that goes within the body; a larger one is uploaded first."""

PRICED: Final = frozenset(
    """
    multi_prompt multi_shots generate_multi_clip_switch generate_audio_switch audio voice_ids video_urls
    reference_video_urls transitions bitrate_mode pro_mode num_inference_steps target_resolution video_size image_size
    num_images sync_mode fal_webhook webhook_url
    """.split()  # noqa: SIM905 - a table of words
)
"""Metadata that changes the price of one model or another, beside what does so everywhere."""


class FalOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `fal` may set."""

    api_key: str = ""
    """The whole key, `id:secret`, sent as `Authorization: Key`."""
    upload_url: str = "https://rest.fal.ai"
    """The service where clips above 8 MB are uploaded. The key goes there too."""
    fields: Mapping[str, Fields] = MappingProxyType({})
    """Endpoints that the plugin does not know, or has wrong: the name of each, and how it is asked. `image`,
    `last_frame`, `images`, `video`, `duration` and `audio` name its fields (empty: it has none); `duration_form` is
    `number` (8), `text` ("8") or `suffix` ("8s"); `seconds` lists what it takes; `aspect_ratio`, `resolution`, `seed`
    and `negative_prompt` say whether they are sent, `resolution` also by a mapping such as `{1440p: 2K}`;
    `image_endpoint`, `last_frame_endpoint` and `images_endpoint` take over where there are such pictures, and what is
    said here holds for them unless they have entries of their own; `edit_endpoint` edits and remixes videos,
    `extend_endpoint` extends them. Bounds of a model are said in `models`, as ever."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.upload_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("upload_url must be an address such as https://rest.fal.ai")
        for name, said in self.fields.items():
            if not ENDPOINT.fullmatch(name):
                raise ValueError(f"fields: {name} is no endpoint; write one such as fal-ai/veo3.1/image-to-video")
            if wrong := slip(said):
                raise ValueError(f"fields of {name}: {wrong}")


class Fal(Channel):
    type = "fal"
    options: FalOptions
    options_class = FalOptions
    base_url = "https://queue.fal.run"
    models = MODELS
    default_model = Model(default_seconds=5, default_size="1280x720", max_images=1, native=())
    picture_form = PictureForm(max_bytes=8_000_000)
    priced_metadata = Channel.priced_metadata | PRICED

    async def start(self) -> None:
        # A provider may repeat either half of the key.
        self.upstream.redactor.add(*self.options.api_key.split(":"))

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        if not ENDPOINT.fullmatch(name):
            return None
        known = cls.models.get(name, cls.default_model)
        given = cast("FalOptions", options).fields
        if name not in given:
            return known
        own = merged(TABLE.get(name, UNLISTED), given[name])
        if given[name].images or given[name].images_endpoint:
            known = replace(known, max_images=None)
        further = own.extend_endpoint or ""
        return able(known, own, merged(TABLE.get(further, DERIVED), given.get(further)))

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Key {self.options.api_key}"} if self.options.api_key else {}

    def check(self, request: VideoRequest) -> None:
        name, fields = self._target(request)
        count = len(request.images)
        if request.last_frame and not fields.last_frame:
            raise UnsupportedOperation("This endpoint takes no picture for the end.", param="last_frame")
        if request.last_frame and count != 1:
            raise UnsupportedOperation("A picture for the end needs one for the beginning.", param="last_frame")
        if request.kind == "create" and not count and name in PICTURED:
            raise InvalidRequest("This model needs an input picture.", param="input_reference")
        if request.last_frame is None and name in ENDED:
            raise InvalidRequest("This model needs a picture for the end.", param="last_frame")
        if count > bool(fields.image) and not fields.images:
            raise UnsupportedOperation("This endpoint does not take as many pictures.", param="input_reference")
        if fields.duration and fields.seconds and request.seconds not in fields.seconds:
            legal = ", ".join(map(str, fields.seconds))
            raise InvalidRequest(f"With these inputs 'seconds' must be one of {legal}.", param="seconds")
        sound = self.models.get(request.model, self.default_model).audio
        if request.audio is not None and not fields.audio and request.audio is not sound:
            raise UnsupportedOperation("The sound of this model cannot be switched.", param="audio")

    async def create(self, request: VideoRequest) -> UpstreamJob:
        name, fields = self._target(request)
        return await self._submit(name, body(request, fields))

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self._derive(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._derive(request, source)

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        return await self._derive(request, source)

    async def _derive(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        name, fields = self._target(request)
        with self.upstream.unpaid():
            film = await (self.film_url(source) if source else self._clip(request.clip))
        return await self._submit(name, {**body(request, fields), fields.video or "video_url": film})

    def _target(self, request: VideoRequest) -> tuple[str, Fields]:
        """The endpoint that makes this video, and how it is asked."""
        given = self.options.fields
        said = given.get(request.model)
        own = merged(TABLE.get(request.model, UNLISTED), said)
        if request.kind != "create":
            name = own.extend_endpoint if request.kind == "extend" else own.edit_endpoint
            if not name:
                raise UnsupportedOperation(f"fal has no endpoint that can {request.kind} a video of this model.")
            lasts = request.kind == "extend"
            further = Fields(duration=own.duration, duration_form=own.duration_form) if lasts else None
            return name, merged(TABLE.get(name) or merged(DERIVED, further), given.get(name))
        name = own.image_endpoint if request.images else None
        if request.last_frame:
            name = own.last_frame_endpoint or name
        elif len(request.images) > 1:
            name = own.images_endpoint or name
        if not name or name == request.model:
            return request.model, own
        return name, merged(TABLE.get(name, own), said, given.get(name))

    async def _submit(self, name: str, body: dict[str, Any]) -> UpstreamJob:
        reply = await self.upstream.post(f"/{quote(name, safe='/')}", json=body)
        made = UpstreamJob(id=reply.need("request_id"), facts={key: reply.get(key) for key in ADDRESSES})
        for key in ("status_url", "response_url"):
            # One that cannot be asked is better known now.
            self._address(made, key)
        return made

    def _address(self, job: UpstreamJob, key: str) -> str:
        """One of the addresses that fal gave the job: they cannot be made from its id, as the paths differ. Where fal
        names itself and `base_url` is a gateway before it, or has become one, it is the same path at the gateway."""
        found = job.facts.get(key)
        if not isinstance(found, str) or not found:
            raise UpstreamError(f"The upstream gave its job no {key}.")
        try:
            return self.upstream.url(found)
        except UpstreamError:
            path = found.partition("://")[2].partition("/")[2]
            if not path.endswith(f"/requests/{job.id}{ADDRESSES[key]}"):
                raise
            return self.upstream.url(path)

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        verdict: UpstreamJob | None = None
        if job.status != "completed":
            reply = await self.upstream.get(self._address(job, "status_url"))
            status, said = reply.choose("status", STATES), reply.get("error")
            if status == "failed" or said or reply.get("error_type"):
                verdict = ended(job, is_moderation(reply), said if isinstance(said, str) else "")
            if verdict and status == "failed":
                return verdict
            if status != "completed":
                return going(job, status)
        try:
            reply = await self.upstream.get(self._address(job, "response_url"))
            if isinstance(reply.data, dict) and not reply.get("video.url"):
                raise RunFailed("The upstream says that the run is done, but its result has no video.")
            return UpstreamJob(id=job.id, status="completed", url=reply.need("video.url"), facts=job.facts)
        except OutOfTurn:
            return going(job, "in_progress")
        except (ModerationBlocked, BadInput, RunFailed) as error:
            if isinstance(error, ModerationBlocked) or error.sure:
                return ended(job, isinstance(error, ModerationBlocked), error.message)
            return verdict or doubted(job, error)
        except ApiError:
            # What a run answered may have the status of a call that was refused, such as 403.
            if verdict is None:
                raise
            return verdict

    async def probe(self) -> None:
        # Its jobs are asked for where it said, and this one was never taken.
        await self.upstream.get(f"/{PROBED}/requests/{uuid.UUID(int=0)}/status")

    async def cancel(self, job: UpstreamJob) -> None:
        try:
            await self.upstream.put(self._address(job, "cancel_url"))
        except OutOfTurn:
            # There is nothing left to stop.
            return

    async def _clip(self, clip: Clip) -> str:
        """An uploaded clip as fal takes it."""
        if (await asyncio.to_thread(clip.path.stat)).st_size <= LARGEST_INLINE:
            return await clip.data_uri()
        store = self.upstream.beside(self.options.upload_url)
        store.headers, store.refusal = self.headers, self.refusal
        place = await store.post(
            "/storage/upload/initiate",
            params={"storage_type": "fal-cdn-v3"},
            json={"file_name": clip.filename, "content_type": clip.media_type},
            paid=False,
        )
        there, film = place.need("upload_url"), place.need("file_url")
        if not isinstance(there, str) or not isinstance(film, str):
            raise UpstreamError("The upstream gave a place for an upload that is no address.")
        await self.upstream.upload(clip, there)
        return film

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        return refusal(status, reply)


@hookimpl
def register_channel() -> type[Channel]:
    return Fal
