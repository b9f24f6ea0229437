"""Veo on Vertex AI, Google's token endpoint beside it, and Cloud Storage on an origin of its own.

Rules: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/generate-videos-from-text and
…/models/veo/3-1-generate, as the fact sheet has them. What it does not prove is taken, not refused: upper and lower
case of words, unknown parameters, 4 seconds of 1080p. Texts that no document gives are Google's usual ones.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from proxy.testing import Answer, Call, Job, Operation, Refuse, operation
from tests.simulators.google import EMAIL, GoogleSimulator, project_of
from tests.simulators.media import duration, measure

RESPONSE = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
FILTERED = "The generated video was blocked by Google's safety filters. Support codes: 58061214, 17301594."
MODEL_PATH = "projects/{project}/locations/{location}/publishers/google/models/{model}"
RETIRED = (
    "veo-2.0-generate-001",
    "veo-3.0-generate-001",
    "veo-3.0-fast-generate-001",
    "veo-3.1-generate-preview",
    "veo-3.1-fast-generate-preview",
)
# google.rpc.Code, which an operation's error says as a number.
CODES = {"CANCELLED": 1, "INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8}
CODES |= {"FAILED_PRECONDITION": 9, "ABORTED": 10, "INTERNAL": 13, "UNAVAILABLE": 14, "UNAUTHENTICATED": 16}

IMAGES, FILMS = ("image/jpeg", "image/png", "image/webp"), ("video/mp4",)
RATIOS = ("16:9", "9:16")
WORDS: dict[str, Collection[str]] = {
    "personGeneration": ("allow_all", "allow_adult", "dont_allow"),
    "compressionQuality": ("optimized", "lossless"),
    "resizeMode": ("crop", "pad"),
}
MASKS = ("insert", "remove", "remove_static", "outpaint")
KINDS: dict[str, type] = {
    "negativePrompt": str,
    "pubsubTopic": str,
    "storageUri": str,
    "enhancePrompt": bool,
    "generateAudio": bool,
    "fps": int,
}
DEFAULTS = {"sampleCount": 1, "durationSeconds": 8, "aspectRatio": "16:9", "resolution": "720p"}
NUMBERS = {"sampleCount": range(1, 5), "durationSeconds": (4, 6, 8), "seed": range(2**32)}


@dataclass(frozen=True, slots=True)
class Veo:
    """What one model takes."""

    resolutions: tuple[str, ...] = ("720p", "1080p", "4k")
    references: int = 3


MODELS = {
    "veo-3.1-generate-001": Veo(),
    "veo-3.1-fast-generate-001": Veo(),
    "veo-3.1-lite-generate-001": Veo(("720p", "1080p"), references=0),
}


def kind_of(body: bytes) -> str:
    """What a predictLongRunning asks for: a video as its input makes it an extension, a mask beside it an edit."""
    try:
        instance = json.loads(body)["instances"][0]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "create"
    if not isinstance(instance, dict) or "video" not in instance:
        return "create"
    return "edit" if "mask" in instance else "extend"


class VertexSimulator(GoogleSimulator):
    """Veo's two calls, the token endpoint and Cloud Storage, which is at `files_url`.

    A job's id is the operation's whole name. Its states are the kit's own (no word is on the wire: "queued" has no
    `done`, "in_progress" a false one) and two odd ends that say `done` without a film: "filtered" and "empty".
    """

    def __init__(self, *, keys: Collection[str] = (EMAIL,)) -> None:
        super().__init__(keys=keys)
        self.grants: set[tuple[str, str]] = set()
        """(address, project): projects that an account may use beside its own."""
        self.models = dict(MODELS)
        self.retired = set(RETIRED)
        self.objects: dict[str, Job] = {}
        """The objects in Cloud Storage by their gs:// address."""
        self.per_minute: int | None = None
        """How many jobs a project may start in a minute before a 429 comes."""
        self.retry_delay: str | None = None
        """What the RetryInfo of that 429 says, such as "37s"; None: it has none."""
        self.high_needs_eight = False
        """Whether 1080p and 4k take 8 seconds only, as on the Developer API; not confirmed for Vertex."""

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"Operation {job_id} is not found.")

    def new_id(self) -> str:
        return str(uuid.uuid4())

    # -- Veo -----------------------------------------------------------------------------------------------------------

    @operation("create", "POST", f"/v1/{MODEL_PATH}:predictLongRunning")
    async def create(self, call: Call) -> Answer:
        """Answers also as "extend" and "edit", see `kind_of`."""
        parent = self.parent(call)
        model = self.models[call.match["model"]]
        body = self.body(call, "instances", "parameters", "labels")
        instances, labels = body.get("instances"), body.get("labels", {})
        if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
            raise self.refuse("Exactly one instance is needed.")
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise self.refuse("Invalid value at 'labels': a map of strings.")
        parameters, ignored = self.parameters(body.get("parameters", {}), model, call.operation)
        await self.inputs(instances[0], parameters, model)
        self.room(call)
        job = self.take(
            call,
            kind=call.operation,
            project=call.match["project"],
            instance=instances[0],
            parameters=parameters,
            ignored=ignored,
            folder=str(secrets.randbelow(10**20)),
        )
        # The whole name is what the wire knows a job by.
        del self.jobs[job.id]
        job.id = f"{parent}/operations/{job.id}"
        self.jobs[job.id] = job
        return Answer(json={"name": job.id})

    @operation("fetch", "POST", f"/v1/{MODEL_PATH}:fetchPredictOperation")
    async def fetch(self, call: Call) -> Answer:
        parent = self.parent(call)
        name = self.body(call, "operationName").get("operationName")
        if not isinstance(name, str) or not name.startswith(f"{parent}/operations/"):
            raise self.refuse(f"'{name}' is no operation of {parent}.")
        job = self.poll(call, name)
        answer = Answer(json=self.shown(job))
        if job.state != "completed" or "storageUri" in job.facts["parameters"]:
            return answer
        # With the film's bytes in it the answer is the content, and breaks as content does.
        return replace(answer, chunked=not self.sends_length, cut_at=self.cut_content_at)

    def shown(self, job: Job) -> dict[str, Any]:
        """The operation as it is now."""
        shown: dict[str, Any] = {"name": job.id}
        if job.state == "in_progress":
            shown["done"] = False
        elif job.state == "failed":
            code, message = job.failure or ("", "")
            shown |= {"done": True, "error": {"code": CODES.get(code, CODES["INTERNAL"]), "message": message}}
        elif job.state in ("completed", "filtered", "empty"):
            shown |= {"done": True, "response": self.response(job)}
        return shown

    def response(self, job: Job) -> dict[str, Any]:
        wanted = job.facts["parameters"]["sampleCount"]
        filtered = wanted if job.state == "filtered" else job.facts.get("filtered", 0)
        response: dict[str, Any] = {"@type": RESPONSE, "raiMediaFilteredCount": filtered}
        if filtered:
            reason = job.failure[1] if job.failure else FILTERED
            response["raiMediaFilteredReasons"] = [reason] * filtered
        if job.state == "completed":
            response["videos"] = [self.video(job, number) for number in range(wanted - filtered)]
        return response

    def video(self, job: Job, number: int) -> dict[str, str]:
        """One film: an object in the caller's bucket, or else its bytes, again with every poll."""
        storage = job.facts["parameters"].get("storageUri")
        if storage is None:
            return {"bytesBase64Encoded": base64.b64encode(self.content_of(job)).decode(), "mimeType": "video/mp4"}
        uri = f"{storage.rstrip('/')}/{job.facts['folder']}/sample_{number}.mp4"
        self.objects[uri] = job
        return {"gcsUri": uri, "mimeType": "video/mp4"}

    def moderate(self, job_id: str, *, count: int | None = None) -> None:
        """Let the filter stop `count` of the job's films, by default all: it is done, and none is there."""
        job = self.jobs[job_id]
        some = count is not None and count < job.facts["parameters"]["sampleCount"]
        job.facts["filtered"] = count or 0
        self.put(job_id, "completed" if some else "filtered", means="completed")

    # -- Cloud Storage -------------------------------------------------------------------------------------------------

    @operation("content", "GET", "/storage/v1/b/{bucket}/o/{object}")
    async def content(self, call: Call) -> Answer:
        if not call.elsewhere:
            raise self.refuse("Not found: Cloud Storage is at storage.googleapis.com.", 404)
        bucket, name = call.match["bucket"], call.match["object"]
        job = self.objects.get(f"gs://{bucket}/{name}")
        if job is None or job.removed or job.account != call.account:
            raise self.refuse(f"No such object: {bucket}/{name}", 404)
        data = self.content_of(job)
        if call.query.get("alt") == "media":
            return self.serve(call, data)
        about = {"kind": "storage#object", "bucket": bucket, "name": name, "contentType": "video/mp4"}
        return Answer(json={**about, "size": str(len(data))})

    # -- validation ----------------------------------------------------------------------------------------------------

    def parent(self, call: Call) -> str:
        """The model's resource name; refused where the caller may not use it, or there is none."""
        if call.elsewhere:
            raise self.refuse(f"Invalid URL ({call.method} {call.path})", 404)
        project, model = call.match["project"], call.match["model"]
        account = call.account or ""
        if project != project_of(account) and (account, project) not in self.grants:
            raise Refuse(self.denied(call))
        parent = MODEL_PATH.format(**call.match)
        if model in self.retired:
            raise self.refuse(f"Publisher Model `{parent}` is no longer available.", 404)
        if model not in self.models:
            raise self.refuse(f"Publisher Model `{parent}` is not found.", 404)
        return parent

    def body(self, call: Call, *known: str) -> Mapping[str, Any]:
        fields = call.json
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise self.refuse("Invalid JSON payload received.")
        for name in fields:
            if name not in known:
                raise self.refuse(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        return fields

    def parameters(self, given: Any, model: Veo, kind: str) -> tuple[dict[str, Any], list[str]]:
        """The parameters that hold, and the names of those that are ignored, as `gcsOutputDirectory` is."""
        if not isinstance(given, dict):
            raise self.refuse("Invalid value at 'parameters': an object.")
        words = {**WORDS, "aspectRatio": RATIOS, "resolution": model.resolutions}
        # An extension adds seven seconds, which no document lists as a durationSeconds.
        numbers = {**NUMBERS, "durationSeconds": (7, 8)} if kind == "extend" else NUMBERS
        for name, value in given.items():
            if name in words and (not isinstance(value, str) or value.lower() not in words[name]):
                raise self.refuse(f"Unsupported value '{value}' for {name}; supported are {', '.join(words[name])}.")
            if name in numbers and (type(value) is not int or value not in numbers[name]):
                raise self.refuse(f"Unsupported output video {name} {value!r}.")
            if name in KINDS and type(value) is not KINDS[name]:
                raise self.refuse(f"Invalid value for {name}: a {KINDS[name].__name__} is needed.")
        if not given.get("storageUri", "gs://").startswith("gs://"):
            raise self.refuse("storageUri must be a Cloud Storage address that begins with gs://.")
        holding = {**DEFAULTS, **given}
        high = str(holding["resolution"]).lower() != "720p"
        if self.high_needs_eight and high and holding["durationSeconds"] != 8:
            raise self.refuse(f"{holding['resolution']} needs a durationSeconds of 8.")
        return holding, [name for name in given if name not in {**words, **numbers, **KINDS}]

    async def inputs(self, instance: Mapping[str, Any], parameters: Mapping[str, Any], model: Veo) -> None:
        """Refuse a prompt, picture, film, mask or reference that Veo does not take."""
        prompt = instance.get("prompt", "")
        if not isinstance(prompt, str) or not (prompt or "image" in instance or "video" in instance):
            raise self.refuse("A text prompt is needed.")
        for name, types in (("image", IMAGES), ("lastFrame", IMAGES), ("video", FILMS), ("mask", (*IMAGES, *FILMS))):
            if name in instance:
                await self.media(name, instance[name], types)
        if "lastFrame" in instance and "image" not in instance:
            raise self.refuse("lastFrame is supported for image to video only.")
        if "mask" in instance and str(instance["mask"].get("maskMode")).lower() not in MASKS:
            raise self.refuse(f"maskMode must be one of {', '.join(MASKS)}.")
        references = instance.get("referenceImages", [])
        if not isinstance(references, list) or len(references) > model.references:
            raise self.refuse(f"This model takes at most {model.references} referenceImages.")
        for reference in references:
            if not isinstance(reference, dict) or str(reference.get("referenceType")).lower() not in ("asset", "style"):
                raise self.refuse("referenceType must be asset or style.")
            await self.media("referenceImages", reference.get("image"), IMAGES)
        if references and (parameters["durationSeconds"], parameters["aspectRatio"]) != (8, "16:9"):
            raise self.refuse("referenceImages need a durationSeconds of 8 and an aspectRatio of 16:9.")

    async def media(self, name: str, value: Any, types: Collection[str]) -> None:
        """Refuse what is neither bytes in base64 nor an object in Cloud Storage, of one of `types`."""
        given = {"bytesBase64Encoded", "gcsUri"} & set(value) if isinstance(value, dict) else set()
        if len(given) != 1 or not isinstance(text := value[given.pop()], str):
            raise self.refuse(f"{name} needs exactly one of bytesBase64Encoded and gcsUri.")
        if value.get("mimeType") not in types:
            raise self.refuse(f"Unsupported mimeType of {name}; supported are {', '.join(types)}.")
        if "gcsUri" in value:
            if not text.startswith("gs://"):
                raise self.refuse(f"The gcsUri of {name} must begin with gs://.")
            return
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise self.refuse(f"Invalid value at {name}.bytesBase64Encoded: Base64 decoding failed.") from None
        if value["mimeType"] in IMAGES and await asyncio.to_thread(measure, data) is None:
            raise self.refuse(f"The {name} could not be decoded as an image.")
        if value["mimeType"] in FILMS and (data[4:8] != b"ftyp" or not 1 <= duration(data) <= 30):
            raise self.refuse(f"The {name} must be an MP4 of 1 to 30 seconds.")

    def room(self, call: Call) -> None:
        """Refuse a job beyond the project's quota."""
        since, project = int(time.time()) - 60, call.match["project"]
        recent = sum(job.facts["project"] == project and job.created_at > since for job in self.jobs.values())
        if self.per_minute is not None and recent >= self.per_minute:
            details = [{"@type": RETRY_INFO, "retryDelay": self.retry_delay}] if self.retry_delay else []
            base = f"online_prediction_requests_per_base_model with base model: {call.match['model']}"
            raise Refuse(self.error(429, f"Quota exceeded for aiplatform.googleapis.com/{base}.", details=details))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _handler(
        self, operation: Operation, method: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = super()._handler
        if operation.name != "create":
            return handler(operation, method)
        # One route for three operations, which tests script and count apart.
        kinds = {kind: handler(replace(operation, name=kind), method) for kind in ("create", "extend", "edit")}

        async def handle(request: web.Request) -> web.StreamResponse:
            return await kinds[kind_of(await request.read())](request)

        return handle
