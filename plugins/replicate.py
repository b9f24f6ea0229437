"""Replicate: predictions of official models, of versions that the community made, and of deployments.

https://replicate.com/docs/reference/http

An entry names a model as Replicate does: `owner/name` is an official one, `owner/name:version` or the 64 digits of a
version alone a community one, `deployments/owner/name` a deployment; each kind is ordered on a route of its own. `GET
/v1/predictions/{id}` tells how a prediction is, and its output vanishes after an hour. What a model calls its inputs is
in `_replicate_models.py`, in its own schema, or in the option `fields`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, cast
from urllib.parse import quote

from proxy import (
    ApiError,
    Channel,
    InvalidRequest,
    JobError,
    Model,
    ModerationBlocked,
    Options,
    Picture,
    Reply,
    Throttled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamGone,
    UpstreamJob,
    UpstreamRefused,
    VideoRequest,
    hookimpl,
)

from ._replicate_models import (
    NAMED,
    TABLE,
    WORDS,
    Fields,
    arguments,
    fit,
    of_schema,
    param_of,
    slip,
    target,
)

STATES: Final = {
    "starting": "queued",
    "processing": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "failed",
    "aborted": "failed",
}
ENDINGS: Final = {
    "canceled": "The prediction was cancelled at the upstream.",
    "aborted": "The prediction was aborted at the upstream.",
}

MODERATION: Final = re.compile(r"\bE005\b|flagged as sensitive", re.IGNORECASE)
RESETS: Final = re.compile(r"resets in ~?(\d{1,5})s", re.ASCII)
KEPT: Final = 3600
"""Seconds that the output of a prediction is there after its end."""
LARGEST_INLINE: Final = 256_000
"""Bytes of a picture that goes within the body; Replicate wants larger ones as files."""

PATIENCE: Final = 10.0
"""Seconds that the schema of a model may take."""
FRESH: Final = 3600.0
"""Seconds that a schema is taken as it was read; after a failure it is asked for again in a minute."""


class ReplicateOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `replicate` may set."""

    fields: Mapping[str, Mapping[str, str | None]] = {}
    """What a model calls its inputs, by the upstream's name of the model: `{acme/film: {image: start_image, seed: }}`.
    The parts are `prompt`, `image`, `images` (takes a list), `last_frame`, `duration`, `aspect_ratio`, `resolution`,
    `audio`, `seed` and `negative_prompt`; an empty name says that the model has none. `duration_form` is how it wants
    its seconds: `number` (8), `text` ("8") or `seconds` ("8s"). Parts that are not named keep the name that the
    bundled table, the schema of the model, or else habit gives them."""
    read_schema: bool = True
    """Whether the schema of a model that is not in the bundled table is asked for, at most once an hour. It counts for
    a version that is the latest of its model, and not for versions without a name, nor for deployments."""
    cancel_after: str = ""
    """How long a prediction may take before Replicate cancels it, such as `90s` or `5m`: the header `Cancel-After`."""

    def __post_init__(self) -> None:
        if self.cancel_after and not re.fullmatch(r"[1-9]\d{0,5}[smh]", self.cancel_after, re.ASCII):
            raise ValueError("cancel_after must look like 90s or 5m")
        for model, names in self.fields.items():
            if wrong := slip(model, names):
                raise ValueError(f"fields of {model}: {wrong}")

    def names(self, model: str) -> Fields | None:
        """The names of a model's inputs; None where its schema has to be read for them."""
        if model not in TABLE and self.read_schema and NAMED.fullmatch(model):
            return None
        usual = TABLE[model][1] if model in TABLE else Fields()
        return usual.changed(self.fields.get(model, {}))


class Replicate(Channel):
    type = "replicate"
    options: ReplicateOptions
    options_class = ReplicateOptions
    base_url = "https://api.replicate.com"
    models: ClassVar = {name: model for name, (model, _) in TABLE.items()}
    default_model = Model(last_frame=True)
    # Many community models bill the time that a machine takes.
    priced_metadata = Channel.priced_metadata.union(
        ("webhook", "webhook_events_filter", "stream", "version", "video_length", "num_inference_steps", "steps"),
        *(WORDS[part] for part in ("duration", "aspect_ratio", "resolution", "audio")),
    )

    async def start(self) -> None:
        self._schemas: dict[str, tuple[float, Fields | None]] = {}

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        try:
            target(name)
        except UnsupportedOperation:
            return None
        known = cls.models.get(name, cls.default_model)
        fields = cast("ReplicateOptions", options).names(name)
        if fields is None:
            return known
        several = None if known.max_images == 1 else known.max_images
        return replace(
            known,
            image=bool(fields.image or fields.images),
            max_images=several if fields.images else 1,
            last_frame=bool(fields.last_frame),
        )

    def check(self, request: VideoRequest) -> None:
        target(request.model)
        fit(request, self._named(request.model) or Fields(images="any", last_frame="any"))

    async def create(self, request: VideoRequest) -> UpstreamJob:
        path, version = target(request.model)
        if (fields := self._named(request.model)) is None:
            fields = await self._read(request.model)
            fit(request, fields)
        pictures = [await self._place(image) for image in request.images]
        last = await self._place(request.last_frame) if request.last_frame else None
        body = {**version, "input": arguments(request, fields, pictures, last)}
        limit = {"Cancel-After": self.options.cancel_after} if self.options.cancel_after else None
        return UpstreamJob(id=(await self.upstream.post(path, json=body, headers=limit)).need("id"))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self.upstream.get(prediction(job))
        status = reply.choose("status", STATES)
        if status == "failed":
            return UpstreamJob(id=job.id, status="failed", error=failure(reply))
        if status != "completed":
            return UpstreamJob(id=job.id, status=status)
        if not reply.get("output") and reply.get("data_removed") is True:
            gone = JobError("expired", "The upstream has removed the result of the prediction.")
            return UpstreamJob(id=job.id, status="failed", error=gone)
        return UpstreamJob(id=job.id, status="completed", url=film(reply), expires_at=vanishes(reply, job))

    async def cancel(self, job: UpstreamJob) -> None:
        await self.upstream.post(f"{prediction(job)}/cancel", paid=False)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        said = reply.get("detail")
        if not 400 <= status < 500 or not isinstance(said, str):
            return None
        if MODERATION.search(said):
            return ModerationBlocked(said)
        if status == 429 and "retry-after" not in reply.headers and (match := RESETS.search(said)):
            return Throttled("The upstream is too busy; try again later.", retry_after=float(match[1]))
        blamed = reply.get("invalid_fields[0].field", reply.get("invalid_fields[0]"))
        if status == 422 and isinstance(blamed, str):
            return InvalidRequest(f"The upstream refused the request: {said}", param=param_of(blamed))
        return None

    # -- what a model calls its inputs ---------------------------------------------------------------------------------

    def _named(self, model: str) -> Fields | None:
        """The names of a model's inputs; None where its schema has to be read, or read again, for them."""
        if (said := self.options.names(model)) is not None:
            return said
        until, found = self._schemas.get(model, (0.0, None))
        if time.monotonic() >= until:
            return None
        return (found or Fields()).changed(self.options.fields.get(model, {}))

    async def _read(self, model: str) -> Fields:
        """The names that the schema of a model gives, or gave. Without one, a prediction is still worth a try."""
        name, _, version = model.partition(":")
        found = None
        _, earlier = self._schemas.get(model, (0.0, None))
        try:
            async with asyncio.timeout(PATIENCE):
                reply = await self.upstream.get(f"/v1/models/{name}")
            if version in ("", reply.get("latest_version.id")):
                found = of_schema(reply.get("latest_version.openapi_schema.components.schemas"))
        except (ApiError, TimeoutError):
            pass
        wait = FRESH if found else 60.0
        # The usual names would be wrong for a model that has others, and Replicate takes inputs that nobody knows.
        found = found or earlier
        self._schemas[model] = (time.monotonic() + wait, found)
        return (found or Fields()).changed(self.options.fields.get(model, {}))

    async def serves(self, model: str) -> bool | None:
        if NAMED.fullmatch(model) is None:
            return None
        try:
            await self.upstream.get(f"/v1/models/{model.partition(':')[0]}")
        except UpstreamGone:
            return False
        return True

    async def _place(self, picture: Picture) -> str:
        """`picture` as an input: within the body, or the address of a file that Replicate keeps for a day."""
        if len(picture.data) <= LARGEST_INLINE:
            return picture.data_uri
        place = (await self.upstream.post("/v1/files", form={"content": picture}, paid=False)).get("urls.get")
        if not isinstance(place, str) or not place:
            raise UpstreamRefused("The upstream took a picture, but gave no address for it.")
        return place


def prediction(job: UpstreamJob) -> str:
    return f"/v1/predictions/{quote(job.id, safe='')}"


def film(reply: Reply) -> str:
    """The address of the result, which is the output or the first of several."""
    output = reply.need("output")
    found = output[0] if isinstance(output, list) and output else output
    if not isinstance(found, str) or not found:
        raise UpstreamError("The upstream says that the video is done, but its output is no address.")
    return found


def vanishes(reply: Reply, job: UpstreamJob) -> float:
    """When the result will be gone: an hour after the end, or after the first look where that is not told."""
    latest = job.expires_at or time.time() + KEPT
    try:
        ended = datetime.fromisoformat(reply.get("completed_at"))
        return min((ended if ended.tzinfo else ended.replace(tzinfo=UTC)).timestamp() + KEPT, latest)
    except (TypeError, ValueError, OverflowError):
        return latest


def failure(reply: Reply) -> JobError:
    """Why a prediction failed. Moderation has a number or a phrase in the sentence, and no word of its own."""
    said: Any = reply.get("error")
    if not isinstance(said, str) or not said:
        return JobError("upstream_failed", ENDINGS.get(reply.get("status"), ""))
    return JobError("moderation_blocked" if MODERATION.search(said) else "upstream_failed", said)


@hookimpl
def register_channel() -> type[Channel]:
    return Replicate
