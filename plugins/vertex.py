"""Veo on Vertex AI ("Gemini Enterprise Agent Platform"), with a service account.

https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/generate-videos-from-text

`POST …/models/{model}:predictLongRunning` answers the name of an operation, `POST …:fetchPredictOperation` with that
name how it is. A finished one has the film in it as base64 each time, or, with `storage`, an address in Cloud Storage.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from proxy import (
    AccountRefused,
    ApiError,
    Channel,
    JobError,
    Model,
    Options,
    PictureForm,
    PluginError,
    Reply,
    Source,
    Spooled,
    UnsupportedOperation,
    UpstreamError,
    UpstreamJob,
    Variant,
    VideoRequest,
    hookimpl,
)

from ._google import (
    FAST,
    LITE,
    MOST_REFERENCES,
    NO_CLIENTS_AFFAIR,
    SIZES,
    SIZES_4K,
    STANDARD,
    check,
    failure,
    filtered,
    instance,
    parameters,
    refusal,
    veo,
)
from ._vertex_token import GRANT, Account, Tokens, account, assertion

GCS: Final = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,221})/(.+)", re.DOTALL)


class VertexOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry of type `vertex` may set."""

    paths: ClassVar[frozenset[str]] = frozenset(("credentials",))

    credentials: str | dict[str, Any]
    """The JSON file of a service account's key: its path (a relative one is relative to channels.yaml), or the JSON
    itself. Tokens come from its own `token_uri`; a key that is changed in the file counts from the next token on."""
    project: str = ""
    """The project that is billed; empty means the one of the credentials."""
    location: str = "us-central1"
    """The region, which is also part of the host; or `global`, which has a host of its own. Videos that still run in
    another region are not found any more after a change: add a second channel instead."""
    storage: str = ""
    """Where results are written: `gs://bucket/prefix`. Empty means that they come within the answer."""
    storage_url: str = "https://storage.googleapis.com"
    """Where objects of `storage` are read, with the channel's token; for a private endpoint."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", self.location):
            raise ValueError("location must be a region such as us-central1, or global")
        if self.storage and not GCS.fullmatch(f"{self.storage}/"):
            raise ValueError("storage must look like gs://bucket/prefix")
        if isinstance(self.credentials, dict) or self.credentials.lstrip().startswith("{"):
            account(self.credentials)
        elif not self.credentials:
            raise ValueError("credentials is empty; give the path of the service account's JSON file")


class TokenRefused(AccountRefused):
    """401: the access token, not the account's rights."""


class Vertex(Channel):
    type = "vertex"
    options: VertexOptions
    options_class = VertexOptions
    requires: ClassVar = {"cryptography": "run pip install 'reelgate[vertex]'"}
    models: ClassVar = {
        "veo-3.1-generate-001": veo(SIZES_4K, MOST_REFERENCES, STANDARD),
        "veo-3.1-fast-generate-001": veo(SIZES_4K, MOST_REFERENCES, FAST),
        "veo-3.1-lite-generate-001": veo(SIZES, 1, LITE),
    }
    default_model = Model(default_seconds=8, default_size="1280x720", max_images=MOST_REFERENCES, last_frame=True)
    poll_every = 10.0
    picture_form = PictureForm(media_types=("image/png", "image/jpeg"))
    priced_metadata = Channel.priced_metadata | NO_CLIENTS_AFFAIR

    @classmethod
    def address(cls, options: Options) -> str:
        location = getattr(options, "location", "global")
        return f"https://{'' if location == 'global' else f'{location}-'}aiplatform.googleapis.com"

    async def start(self) -> None:
        try:
            found = await asyncio.to_thread(self._account)
            # A key that cannot sign is better known now.
            await asyncio.to_thread(assertion, found, 0)
            endpoint = self.upstream.beside(found.token_uri)
            self.upstream.trust(self.options.storage_url)
        except (ValueError, ApiError) as error:
            raise PluginError(f"channel {self.name}", str(error)) from None
        self.project = self.options.project or found.project
        if not self.project:
            raise PluginError(f"channel {self.name}", "the credentials name no project; set project in the entry")
        self.upstream.redactor.add(found.private_key, found.key_id)
        bucket = GCS.fullmatch(f"{self.options.storage}/")
        names = "|".join(re.escape(name) for name in (self.project, bucket and bucket[1]) if name)
        self.names = re.compile(rf"(?<![\w-])(?:{names})(?![\w-])")
        endpoint.refusal = token_refusal

        async def exchange(signed: str) -> Reply:
            grant = {"grant_type": GRANT, "assertion": signed}
            return await endpoint.post(found.token_uri, fields=grant, paid=False)

        self.tokens = Tokens(self.name, self._account, exchange)

    async def close(self) -> None:
        if hasattr(self, "tokens"):
            await self.tokens.close()

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.tokens.current}"}

    def check(self, request: VideoRequest) -> None:
        check(request)

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return await self._submit(request, instance(request))

    async def extend(self, request: VideoRequest, source: UpstreamJob | None) -> UpstreamJob:
        if source is not None and source.facts.get("gcs"):
            film = {"gcsUri": source.facts["gcs"]}
        else:
            with self.upstream.unpaid():
                found = await self.content(source, "video") if source else Source(path=request.clip.path)
            film = {"bytesBase64Encoded": await asyncio.to_thread(encoded, found)}
        return await self._submit(request, {"prompt": request.prompt, "video": {**film, "mimeType": "video/mp4"}})

    async def _submit(self, request: VideoRequest, instance: dict[str, Any]) -> UpstreamJob:
        settings = parameters(request)
        if request.audio is not None or self.models.get(request.model, self.default_model).audio:
            settings["generateAudio"] = request.audio is not False
        if self.options.storage:
            settings["storageUri"] = self.options.storage
        place = f"projects/{quote(self.project, safe=':')}/locations/{self.options.location}"
        path = f"{place}/publishers/google/models/{quote(request.model, safe='')}:predictLongRunning"
        reply = await self._post(path, {"instances": [instance], "parameters": settings}, paid=True)
        return UpstreamJob(id=reply.need("name"), status="queued")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        reply = await self._operation(job)
        if not reply.get("done"):
            return UpstreamJob(id=job.id, status="in_progress")
        film = reply.get("response.videos[0]")
        if isinstance(film, dict) and GCS.fullmatch(str(film.get("gcsUri"))):
            return UpstreamJob(id=job.id, status="completed", facts={"gcs": film["gcsUri"]})
        if isinstance(film, dict) and isinstance(data := film.get("bytesBase64Encoded"), Spooled | str) and data:
            return UpstreamJob(id=job.id, status="completed", film=data if isinstance(data, Spooled) else None)
        error = failure(reply.get("error")) or filtered(reply.get("response"))
        if error is None:
            raise UpstreamError("The upstream says that the video is done, but gives neither a video nor a reason.")
        return UpstreamJob(
            id=job.id, status="failed", error=JobError(error.code, self.names.sub("[id]", error.message))
        )

    async def probe(self) -> None:
        # The name of an operation says where it runs, so that one of this project must be asked for.
        place = f"projects/{self.project}/locations/{self.options.location}"
        await self._operation(
            UpstreamJob(id=f"{place}/publishers/google/models/{next(iter(self.models))}/operations/0")
        )

    async def content(self, job: UpstreamJob, variant: Variant) -> Source:
        if variant != "video":
            raise UnsupportedOperation(f"The channel of this video has no {variant}.", param="variant")
        if match := GCS.fullmatch(str(job.facts.get("gcs"))):
            await self.tokens.get()
            base = self.options.storage_url.rstrip("/")
            url = f"{base}/storage/v1/b/{match[1]}/o/{quote(match[2], safe='')}?alt=media"
            return Source(url=url, headers=self.headers())
        data = (await self._operation(job)).need("response.videos[0].bytesBase64Encoded")
        if isinstance(data, Spooled):
            return Source(spooled=data)
        try:
            return Source(data=base64.b64decode(data, validate=True))
        except (binascii.Error, TypeError, ValueError):
            raise UpstreamError("The upstream's answer has a base64 text in it that is broken.") from None

    async def _operation(self, job: UpstreamJob) -> Reply:
        """The operation as it is now. Its name says where it runs."""
        resource, found, _ = job.id.partition("/operations/")
        if not found:
            raise UpstreamError("The upstream gave its operation a name that cannot be asked for.")
        path = f"{quote(resource, safe='/:')}:fetchPredictOperation"
        reply = await self._post(path, {"operationName": job.id}, paid=False, spool=True)
        reply.need("name")
        if not isinstance(reply.get("done", False), bool):
            raise UpstreamError("The upstream says neither that its operation is done nor that it is not.")
        return reply

    async def _post(self, path: str, body: dict[str, Any], *, paid: bool, spool: bool = False) -> Reply:
        """POST with a good token. One that was good for a while and is refused is renewed once: a 401 took no job."""
        token = await self.tokens.get()
        try:
            return await self.upstream.post(f"/v1/{path}", json=body, paid=paid, spool=spool)
        except TokenRefused:
            if not self.tokens.drop(token):
                raise
        await self.tokens.get()
        return await self.upstream.post(f"/v1/{path}", json=body, paid=paid, spool=spool)

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        if status == 401:
            return TokenRefused("The upstream does not accept this server's access token.")
        error = refusal(status, reply)
        if error is not None:
            error.message = self.names.sub("[id]", error.message)
        return error

    def _account(self) -> Account:
        return account(self.options.credentials)


def token_refusal(status: int, reply: Reply) -> ApiError | None:
    """Whatever the token endpoint does not like is about the operator's account."""
    if 400 <= status < 500 and status not in (408, 429):
        return AccountRefused("The upstream gives this server's account no access. Only the operator can change that.")
    return None


def encoded(film: Source) -> str:
    """The bytes of `film` as base64. Blocks."""
    file: Path | None = film.spooled.path if film.spooled else film.path
    return base64.b64encode(file.read_bytes() if file else film.data or b"").decode()


@hookimpl
def register_channel() -> type[Channel]:
    return Vertex
