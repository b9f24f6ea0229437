"""LiteLLM's proxy, 1.106.2, in front of OpenAI's Videos API.

Rules: its litellm/proxy/video_endpoints, litellm/types/videos and litellm/llms/openai/videos, and what was measured of
it. It keeps no jobs: the id that a client has is all that it knows of a video. Sentences that no source gives are ours.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Collection
from typing import Any, NamedTuple

from proxy.testing import Answer, Call, Job, Refuse, operation
from tests.simulators.openai import NOT_READY, OpenAISimulator

PROVIDER = "openai"
ATTEMPTS = 3
"""How often it sends one order, with its default settings, when the upstream fails."""
OWN_FIELDS = ("custom_llm_provider", "target_model_names", "user", "extra_body", "parameters", "image", "resolution")
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "Timeout",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}


class Name(NamedTuple):
    """What an id says, to anybody who decodes it."""

    provider: str
    model: str
    video: str


def encode(name: Name) -> str:
    text = f"litellm:custom_llm_provider:{name.provider};model_id:{name.model};video_id:{name.video}"
    return f"video_{base64.b64encode(text.encode()).decode()}"


def decode(video_id: str) -> Name | None:
    """What is in an id of its own; None for any other."""
    try:
        text = base64.b64decode(video_id.removeprefix("video_") + "==").decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    match = re.fullmatch(r"litellm:custom_llm_provider:([^;]*);model_id:([^;]*);video_id:([^;]*)", text)
    return Name(*match.groups()) if match else None


class LiteLLMSimulator(OpenAISimulator):
    """What it serves of the ten operations: no list and no delete, and contents whole or not at all."""

    def __init__(self, *, keys: Collection[str] = ("sk-test",)) -> None:
        super().__init__(keys=keys)
        self.deployments = {"sora-2": "sora-2", "sora-2-pro": "sora-2-pro"}
        """Public model -> the upstream's; an alias is one where they differ."""
        self.upstream_breaks = False
        """Whether the upstream bills each order and then fails."""
        self.strays = 0
        """How many follow-ups go to another deployment, whose account has no such video."""
        self._next_id = ""

    # -- its own words -------------------------------------------------------------------------------------------------

    def error(
        self, status: int, message: str, *, type: str | None = None, param: str | None = None, code: str | None = None
    ) -> Answer:
        """The upstream's sentence behind the name of a class; its param and code are lost, ours is the status."""
        kind = CLASSES.get(status, "InternalServerError" if status >= 500 else "APIError")
        return self.plain(status, f"litellm.{kind}: OpenAIException - {message}")

    def plain(self, status: int, message: str, type: str | None = None, param: str | None = None) -> Answer:
        body = {"message": message, "type": type, "param": param, "code": str(status)}
        return self.said({"error": body}, status)

    def said(self, data: Any, status: int = 200) -> Answer:
        return Answer(status=status, json=data, headers={"x-litellm-call-id": secrets.token_hex(16)})

    def unauthorised(self, call: Call) -> Answer:
        key = call.headers.get("authorization", "").removeprefix("Bearer ")
        if not key:
            return self.plain(401, "Authentication Error, No api key passed in.", "auth_error", "None")
        shown = f"Received API Key = sk-...{key[-4:]}, Unable to find token in cache or `LiteLLM_VerificationTable`"
        wrong = f"Authentication Error, Invalid proxy server token passed. {shown}"
        return self.plain(401, wrong, "token_not_found_in_db", "key")

    async def _no_such_route(self, call: Call) -> Answer:
        if re.fullmatch(r"(/v1)?/videos(/[^/]+(/content|/remix)?)?", call.path):
            return Answer(status=405, json={"detail": "Method Not Allowed"})
        return Answer(status=404, json={"detail": "Not Found"})

    def new_id(self) -> str:
        return self._next_id

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        """A job under the id that its first answer gives: only that of a create names the model."""
        video = super().new_id()
        self._next_id = encode(Name(PROVIDER, facts["model"] if kind == "create" else "", video))
        return super().take(call, kind=kind, video=video, fresh=True, **facts)

    def find(self, call: Call, job_id: object) -> Job:
        """The job that an id speaks of, of whatever key: nobody owns one."""
        name = decode(str(job_id))
        if name is None or name.model not in self.deployments:
            # No deployment is known by the id, so that the provider's own address is asked, without its key.
            raise Refuse(self.error(401, "Incorrect API key provided."))
        job = next((job for job in self.jobs.values() if job.facts["video"] == name.video), None)
        if job is None or self.strays:
            self.strays = max(0, self.strays - 1)
            raise Refuse(self.not_found(name.video))
        return job

    def filter(self, job_id: str) -> None:
        """End the job as one of Veo's that was filtered: completed, and without a film."""
        self.jobs[job_id].facts["filtered"] = True
        self.finish(job_id)

    def video(self, job: Job) -> dict[str, Any]:
        """The object with all nulls and without the prompt; after the first answer its id has lost the model."""
        first = job.facts.pop("fresh", False)
        theirs = super().video(job)
        keys = (
            *("object", "status", "created_at", "completed_at", "expires_at", "error", "progress"),
            *("remixed_from_video_id", "seconds", "size", "model"),
        )
        timed = first and job.kind in ("create", "remix")
        return {
            "id": job.id if first else encode(Name(PROVIDER, "", job.facts["video"])),
            **{key: theirs.get(key) for key in keys},
            "usage": {"duration_seconds": float(job.facts["seconds"])} if timed else None,
        }

    # -- routes --------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/videos")
    async def create(self, call: Call) -> Answer:
        answer = await super().create(call)
        if not self.upstream_breaks:
            return answer
        for _ in range(ATTEMPTS - 1):
            await super().create(call)
        return self.error(500, "The server had an error while processing your request.")

    @operation("create", "POST", "/videos")
    async def create_unversioned(self, call: Call) -> Answer:
        return await self.create(call)

    @operation("list", "GET", "/v1/videos")
    async def list(self, call: Call) -> Answer:
        return self.error(400, "No provider is named to list the videos of.")

    @operation("fetch", "GET", "/videos/{id}")
    async def fetch_unversioned(self, call: Call) -> Answer:
        return await self.fetch(call)

    @operation("models", "GET", "/v1/models")
    async def list_models(self, call: Call) -> Answer:
        data = [
            {"id": name, "object": "model", "created": 1677610602, "owned_by": "openai"} for name in self.deployments
        ]
        return self.said({"data": data, "object": "list"})

    delete = None  # type: ignore[assignment]
    """There is no such route."""

    @operation("remix", "POST", "/v1/videos/{id}/remix")
    async def remix(self, call: Call) -> Answer:
        answer = await super().remix(call)
        # The source goes by its upstream's name.
        answer.json["remixed_from_video_id"] = self.find(call, call.match["id"]).facts["video"]
        return answer

    @operation("content", "GET", "/v1/videos/{id}/content")
    async def content(self, call: Call) -> Answer:
        """The film, read whole into memory: neither a range nor a variant is heard."""
        job = self.find(call, call.match["id"])
        if job.state != "completed":
            raise Refuse(self.error(404, NOT_READY))
        if job.facts.get("filtered"):
            raise Refuse(self.error(500, "The response has no video."))
        name = f"attachment; filename=video_{call.match['id']}.mp4"
        return Answer(
            body=self.content_of(job),
            headers={"Content-Type": "video/mp4", "Content-Disposition": name},
            chunked=not self.sends_length,
            cut_at=self.cut_content_at,
        )

    @operation("content", "GET", "/videos/{id}/content")
    async def content_unversioned(self, call: Call) -> Answer:
        return await self.content(call)

    def body(self, call: Call, *known: str) -> dict[str, Any]:
        """The fields that go upstream; of a create, the model under the upstream's name."""
        fields = super().body(call, *known, *OWN_FIELDS)
        extra = fields.get("extra_body")
        fields |= extra if isinstance(extra, dict) else {}
        if "size" in known:
            model = fields.get("model")
            if model not in self.deployments:
                unknown = f"/videos: Invalid model name passed in model={model}. Call `/v1/models` to view"
                raise Refuse(self.plain(400, f"{unknown} available models for your key.", "None", "None"))
            fields["model"] = self.deployments[model]
        return {key: value for key, value in fields.items() if key not in OWN_FIELDS}
