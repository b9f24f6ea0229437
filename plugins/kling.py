"""Kling: text or pictures to video, and edits and extensions of its videos.

https://app.klingai.com/global/dev/document-api: `POST /v1/videos/{kind}` answers a `task_id`, and
`GET /v1/videos/{kind}/{task_id}` tells how it is; the kind is that of the creation. Every answer has a `code`, which
is 0 where nothing is wrong. Instead of the task's id its path takes the id that we gave it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    InvalidRequest,
    Options,
    PictureForm,
    Reply,
    UnsupportedOperation,
    UpstreamGone,
    UpstreamJob,
    VideoRequest,
    hookimpl,
)

from ._kling_answers import CLOCK, refusal, taken, told
from ._kling_models import ADDED, KINDS, LONGEST_EXTENDED, MODELS, OTHER, Kind, check, is_omni, kind_of, mode, ratio
from ._kling_token import Tokens

EDITABLE: Final = (3.0, 10.5)
"""Seconds of a film that can be edited; one of ten may have a few frames more."""
EXTENDABLE: Final = ("text2video", "image2video", "video-extend")
LARGEST_PICTURE: Final = 10_000_000


class KlingOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `kling` may set."""

    api_key: str = ""
    """The one key, which is sent as it is; or a pair, as `access key|secret key`, which signs the tokens."""
    access_key: str = ""
    """The access key of a pair, instead of `api_key`."""
    secret_key: str = ""
    """The secret key of the pair. It never leaves this server."""
    edit_model: str = "kling-video-o1"
    """What remixes and edits a video of a model that cannot do so itself. Kling bills its price with a video input."""

    def __post_init__(self) -> None:
        if self.api_key and (self.access_key or self.secret_key):
            raise ValueError("give either api_key, or access_key and secret_key")
        if bool(self.access_key) != bool(self.secret_key):
            raise ValueError("access_key and secret_key belong together: one of them is missing")
        if "|" in self.api_key and not all(self.pair):
            raise ValueError("api_key must look like 'access key|secret key', or be one key without '|'")
        if not is_omni(self.edit_model):
            raise ValueError("edit_model must be a model that edits videos, such as kling-video-o1 or kling-v3-omni")

    @property
    def pair(self) -> tuple[str, str]:
        """Access and secret key; both empty where the one key goes as it is."""
        if "|" not in self.api_key:
            return self.access_key, self.secret_key
        access, _, secret = self.api_key.partition("|")
        return access.strip(), secret.strip()


class Kling(Channel):
    type = "kling"
    options: KlingOptions
    options_class = KlingOptions
    base_url = "https://api-singapore.klingai.com"
    models = MODELS
    default_model = OTHER
    picture_form = PictureForm(media_types=("image/jpeg", "image/png"), max_bytes=LARGEST_PICTURE, min_side=300)
    # A video as input and voices are billed; whom Kling notifies is no client's affair.
    priced_metadata = Channel.priced_metadata | {
        *("model_name", "sound", "multi_shot", "multi_prompt", "voice_list", "video_list", "video_url", "video_id"),
        *("callback_url", "external_task_id"),
    }

    @cached_property
    def _tokens(self) -> Tokens | None:
        access, secret = self.options.pair
        if not access:
            return None
        # What the configuration knows as one secret.
        self.upstream.redactor.add(access, secret)
        return Tokens(access, secret)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._tokens.current()}"} if self._tokens else super().headers()

    def check(self, request: VideoRequest) -> None:
        check(request)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        kind = kind_of(request)
        body: dict[str, Any] = {"duration": str(request.seconds)}
        if request.audio is not None and MODELS.get(request.model, OTHER).audio is not False:
            body["sound"] = "on" if request.audio else "off"
        if request.negative_prompt and kind != "omni-video":
            body["negative_prompt"] = request.negative_prompt
        if kind == "omni-video":
            body |= omni_pictures(request)
        elif kind == "multi-image2video":
            body["image_list"] = [{"image": image.base64} for image in request.images]
        elif kind == "image2video":
            ends = {"image": request.image, "image_tail": request.last_frame}
            body |= {name: end.base64 for name, end in ends.items() if end}
        if kind != "image2video" and not (kind == "omni-video" and len(request.images) == 1):
            body["aspect_ratio"] = ratio(request)
        return await self._order(kind, request, request.model, body)

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        # A job that the operator attached has no kind yet.
        *others, last = [job.facts["kind"]] if "kind" in job.facts else KINDS
        for kind in others:
            with contextlib.suppress(UpstreamGone):
                return told(await self._task(kind, job.id), kind, job)
        return told(await self._task(last, job.id), last, job)

    async def _task(self, kind: Kind, handle: str) -> Reply:
        return await self.upstream.get(f"/v1/videos/{kind}/{quote(handle, safe='')}")

    async def recover(self, request: VideoRequest) -> UpstreamJob | None:
        # Not found is no proof: it may still be on its way there.
        kind = kind_of(request)
        with contextlib.suppress(UpstreamGone):
            return taken(await self._task(kind, request.attempt_id), kind, self._maker(request))
        return None

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return await self.edit(request, source)

    async def edit(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        # Length and shape are those of the film.
        least, most = EDITABLE
        if source and not least <= source.facts.get("seconds", least) <= most:
            raise InvalidRequest("Kling edits videos of 3 to 10 seconds.", param="video")
        url = await self.film_url(source) if source else request.clip.url
        film: dict[str, Any] = {"video_url": url, "refer_type": "base"}
        if request.audio is not None:
            film["keep_original_sound"] = "yes" if request.audio else "no"
        return await self._order("omni-video", request, self._maker(request), {"video_list": [film]})

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        facts = source.facts if source else {}
        film, seconds = facts.get("film"), facts.get("seconds", 0)
        if not source or not film or facts.get("kind") not in EXTENDABLE:
            raise UnsupportedOperation("Kling extends only what it made of a text or of one picture.", param="video")
        # Model and mode are those of the source.
        if facts.get("model", request.model) != request.model:
            raise InvalidRequest("Kling extends a video with the model that made it. Leave 'model' out.", param="model")
        if seconds + ADDED > LONGEST_EXTENDED:
            raise InvalidRequest(f"The video would have more than {LONGEST_EXTENDED} seconds.", param="video")
        # It is named by its id, and yet must be there still.
        await self.film_url(source)
        body = {"video_id": film, "prompt": request.prompt, "external_task_id": request.attempt_id}
        if request.negative_prompt:
            body["negative_prompt"] = request.negative_prompt
        try:
            reply = await self.upstream.post("/v1/videos/video-extend", json={**request.metadata, **body})
        except UpstreamGone as error:
            # It was lost before its time: a later try would fare no better.
            raise InvalidRequest(error.message, param="video") from error
        return taken(reply, "video-extend", request.model)

    def _maker(self, request: VideoRequest) -> str:
        """The model that carries `request` out."""
        able = request.kind not in ("remix", "edit") or is_omni(request.model)
        return request.model if able else self.options.edit_model

    async def _order(self, kind: Kind, request: VideoRequest, maker: str, body: Mapping[str, Any]) -> UpstreamJob:
        word = mode(request, maker)
        ours = {
            **({"mode": word} if word else {}),
            **body,
            "model_name": maker,
            "prompt": request.prompt,
            "external_task_id": request.attempt_id,
        }
        return taken(await self.upstream.post(f"/v1/videos/{kind}", json={**request.metadata, **ours}), kind, maker)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        if reply.get("code") in CLOCK and self._tokens:
            self._tokens.forget()
        return refusal(status, reply)


def omni_pictures(request: VideoRequest) -> dict[str, Any]:
    """One picture is where the film begins, several are what the prompt calls <<<image_1>>> and so on."""
    pictures = [{"image_url": image.base64} for image in request.images]
    if len(pictures) == 1:
        pictures[0]["type"] = "first_frame"
    if request.last_frame:
        pictures.append({"image_url": request.last_frame.base64, "type": "end_frame"})
    return {"image_list": pictures} if pictures else {}


@hookimpl
def register_channel() -> type[Channel]:
    return Kling
