"""Google's Gemini API: Gemini Omni by the Interactions API, and Veo by `predictLongRunning`, as gateways serve it.

https://ai.google.dev/gemini-api/docs/omni and https://ai.google.dev/gemini-api/docs/video

`POST /v1beta/interactions` orders in the background and `GET …/{id}` says how it is; a finished interaction has steps,
and the model's has the film's address, or its bytes as base64. A file that has an address is ready once its state is
ACTIVE. The older shape answers the name of an operation, which ends with an address too. Files live for two days.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal, cast
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    JobError,
    Model,
    Options,
    PictureForm,
    Reply,
    Source,
    Spooled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    Variant,
    VideoRequest,
    hookimpl,
)

from ._gemini_models import OMNI, VEO
from ._gemini_steps import STATES, address, film, order, why
from ._gemini_steps import check as check_omni
from ._google import NO_CLIENTS_AFFAIR, failure, filtered, instance, parameters, refusal
from ._google import check as check_veo

GOOGLE: Final = "https://generativelanguage.googleapis.com"
FILE: Final = re.compile(r"https?://[^?#]*/v1beta/(files/[A-Za-z0-9_-]+)(?::download)?(?:\?.*)?")
FILE_STATES: Final = {"PROCESSING": "in_progress", "ACTIVE": "completed", "FAILED": "failed"}
FILE_LIFE: Final = 2 * 86_400
"""Seconds that a file is kept."""
# What Google says of a file that is gone, with a 403.
_NO_FILE: Final = re.compile(r"permission to access the file .{0,200}may not exist", re.IGNORECASE)
NOTHING: Final = "The upstream says that the video is done, but gives neither a video nor a reason."


class GeminiOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `gemini` may set."""

    shape: Literal["interactions", "predict"] = "interactions"
    """How videos are ordered: `interactions` for Gemini Omni, `predict` for Veo by `predictLongRunning`, which Google
    itself has retired here and gateways still serve (`base_url`). What runs already is asked for in its own shape."""
    delivery: Literal["uri", "inline"] = "uri"
    """How an interaction gives its film: as the address of a file that Google keeps for two days, or as base64 within
    the answer, which has been seen to work up to 4 MB."""


class Gemini(Channel):
    type = "gemini"
    options: GeminiOptions
    options_class = GeminiOptions
    base_url = GOOGLE
    models: ClassVar = {**OMNI, **VEO}
    default_model = Model(default_seconds=8, default_size="1280x720", max_images=3, last_frame=True)
    poll_every = 10.0
    picture_form = PictureForm(media_types=("image/png", "image/jpeg"))
    # What an account's other interactions hold is no client's affair either.
    priced_metadata = (Channel.priced_metadata | NO_CLIENTS_AFFAIR).union(
        """
        agent agent_config background cached_content continuation_token delivery environment labels max_output_tokens
        previous_interaction_id response_modalities store stream task thinking_level tool_choice tools
        """.split()  # noqa: SIM905 - as in Channel
    )

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        if cast("GeminiOptions", options).shape == "interactions":
            return None if name in VEO else cls.models.get(name, cls.default_model)
        return None if name in OMNI else VEO.get(name, replace(cls.default_model, native=("extend",)))

    def headers(self) -> Mapping[str, str]:
        return {"x-goog-api-key": self.options.api_key} if self.options.api_key else {}

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        if status == 403 and _NO_FILE.search(str(reply.get("error.message"))):
            return UpstreamGone("The upstream does not keep the file any more.")
        return refusal(status, reply)

    def check(self, request: VideoRequest) -> None:
        if self.options.shape == "interactions":
            check_omni(request)
            return
        check_veo(request, developer=True)
        if request.audio is False and request.model in VEO and VEO[request.model].audio:
            raise UnsupportedOperation("This model makes no video without sound.", param="audio")

    # -- submissions ---------------------------------------------------------------------------------------------------

    async def create(self, request: VideoRequest) -> UpstreamJob:
        if self.options.shape == "predict":
            return await self._predict(request, instance(request))
        return await self._interact(request)

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.edit(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        if self.options.shape == "predict":
            raise UnsupportedOperation("This channel changes no videos.")
        if source is not None and not is_operation(source):
            return await self._interact(request, previous=source.id)
        part = {"uri": uri_of(source)} if source else {"data": await request.clip.base64()}
        # Google's own word for QuickTime files.
        kind = request.video.media_type.replace("quicktime", "mov") if request.video else "video/mp4"
        return await self._interact(request, video={"type": "video", **part, "mime_type": kind})

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        if self.options.shape == "interactions":
            return await self.edit(request, source)
        clip = {"uri": uri_of(source)} if source else {"encodedVideo": await request.clip.base64()}
        kind = {"encoding": request.video.media_type} if request.video else {}
        return await self._predict(request, {"prompt": request.prompt, "video": {**clip, **kind}})

    async def _interact(self, request: VideoRequest, **start: Any) -> UpstreamJob:
        body = order(request, self.options.delivery, **start)
        reply = await self.upstream.post("/v1beta/interactions", json=body, spool=True)
        # Its id is worth keeping whatever its status says; the next poll judges that.
        return UpstreamJob(id=reply.need("id"))

    async def _predict(self, request: VideoRequest, instance: dict[str, Any]) -> UpstreamJob:
        settings = parameters(request)
        if request.audio is not None and request.model not in VEO:
            settings["generateAudio"] = request.audio
        path = f"/v1beta/models/{quote(request.model, safe='')}:predictLongRunning"
        reply = await self.upstream.post(path, json={"instances": [instance], "parameters": settings})
        # A gateway may call its operations as it likes.
        return UpstreamJob(id=reply.need("name"), facts={"shape": "predict"})

    # -- polls ---------------------------------------------------------------------------------------------------------

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        if is_operation(job):
            return await self._operation(job)
        reply = await self.upstream.get(path_of(job), spool=True)
        status = reply.choose("status", STATES)
        found, error = film(reply), why(reply)
        if status == "completed" and isinstance(found, str) and address(found):
            return await self._filed(job, found)
        if status == "completed" and found:
            return UpstreamJob(id=job.id, status=status, film=found if isinstance(found, Spooled) else None)
        if status == "completed" and error is None:
            raise UpstreamError(NOTHING)
        if status in ("completed", "failed"):
            word = str(reply.get("status")).replace("_", " ")
            return failed(job, error or JobError("upstream_failed", f"The upstream says that the video is {word}."))
        return UpstreamJob(id=job.id, status=status)

    async def _filed(self, job: UpstreamJob, uri: str) -> UpstreamJob:
        """A finished interaction whose film has an address: it is there once its file is ready."""
        status = "completed"
        if match := FILE.fullmatch(uri):
            reply = await self.upstream.get(f"/v1beta/{match[1]}")
            status = reply.choose("state", FILE_STATES)
            if status == "failed":
                sentence = "The upstream could not finish the video's file."
                return failed(job, failure(reply.get("error")) or JobError("upstream_failed", sentence))
        return completed(job, uri) if status == "completed" else UpstreamJob(id=job.id, status=status)

    async def _operation(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(f"/v1beta/{quote(job.id, safe='/:')}")
        reply.need("name")
        done = reply.get("done", False)
        if not isinstance(done, bool):
            raise UpstreamError("The upstream says neither that its operation is done nor that it is not.")
        if not done:
            return UpstreamJob(id=job.id, status="in_progress")
        answer = reply.get("response.generateVideoResponse")
        if uri := address(reply.get("response.generateVideoResponse.generatedSamples[0].video.uri")):
            return completed(job, uri)
        error = failure(reply.get("error")) or filtered(answer)
        if error is None:
            raise UpstreamError(NOTHING)
        return failed(job, error)

    # -- results -------------------------------------------------------------------------------------------------------

    async def content(self, job: UpstreamJob, variant: Variant) -> Source:
        if variant != "video":
            raise UnsupportedOperation(f"The channel of this video has no {variant}.", param="variant")
        if uri := address(job.facts.get("uri")):
            # What Google says of itself, a gateway serves under its own address.
            path = uri.removeprefix(f"{GOOGLE}/")
            return Source(url=uri if path == uri else self.upstream.url(path), headers=self.headers())
        found = film(await self.upstream.get(path_of(job), spool=True))
        if isinstance(found, Spooled):
            return Source(spooled=found)
        try:
            return Source(data=base64.b64decode(found or "?", validate=True))
        except (binascii.Error, ValueError):
            raise UpstreamError("The upstream's answer has no video in it, or a broken one.") from None

    async def cancel(self, job: UpstreamJob) -> None:
        if is_operation(job):
            raise UnsupportedOperation("The channel of this video cannot cancel a running one.")
        await self.upstream.post(f"{path_of(job)}/cancel", json={}, paid=False)

    async def delete(self, job: UpstreamJob) -> None:
        """Delete the file and the interaction; an operation cannot be deleted."""
        if match := FILE.fullmatch(str(job.facts.get("uri"))):
            # It may have had its two days.
            with contextlib.suppress(UpstreamGone):
                await self.upstream.delete(f"/v1beta/{match[1]}")
        if not is_operation(job):
            await self.upstream.delete(path_of(job))


def is_operation(job: UpstreamJob) -> bool:
    """Whether the job was made by `predictLongRunning`, also where no more than its id is known."""
    return job.facts.get("shape") == "predict" or "operations/" in job.id


def path_of(job: UpstreamJob) -> str:
    return f"/v1beta/interactions/{quote(job.id, safe='')}"


def completed(job: UpstreamJob, uri: str) -> UpstreamJob:
    # Asked again, a film that was known lives no longer.
    ends = job.expires_at or time.time() + FILE_LIFE
    return UpstreamJob(id=job.id, status="completed", expires_at=ends, facts={"uri": uri})


def failed(job: UpstreamJob, error: JobError) -> UpstreamJob:
    return UpstreamJob(id=job.id, status="failed", error=error)


def uri_of(source: UpstreamJob) -> str:
    """The address of the source's film, as the upstream said it."""
    if uri := address(source.facts.get("uri")):
        return uri
    raise UnsupportedOperation("This channel can go on only from videos whose file the upstream keeps.", param="video")


@hookimpl
def register_channel() -> type[Channel]:
    return Gemini
