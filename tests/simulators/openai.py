"""OpenAI's Videos API as it was until 2026-09-24.

Rules: https://github.com/openai/openai-openapi (openapi.yaml, 2026-08-21) and OpenAI's video generation guide. Where
the two differ, the guide's longer lists hold. Texts and codes that no document gives are OpenAI's usual ones.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from proxy.testing import Answer, Call, Job, Part, Refuse, Simulator, operation
from tests.simulators.media import duration, measure, picture

SECONDS = ("4", "8", "12", "16", "20")
SMALL = ("720x1280", "1280x720")
SIZES = {"sora-2": SMALL, "sora-2-pro": (*SMALL, "1024x1792", "1792x1024", "1080x1920", "1920x1080")}
MODELS = {
    **SIZES,
    "sora-2-2025-10-06": SIZES["sora-2"],
    "sora-2-2025-12-08": SIZES["sora-2"],
    "sora-2-pro-2025-10-06": SIZES["sora-2-pro"],
}
MAX_IMAGE_URL = 20_971_520
MAX_EXTENSIONS, MAX_SECONDS = 6, 120
LIFETIME = 3600
NOT_READY = "Video is not ready yet, use GET /v1/videos/{video_id} to check status."
BLOCKED = ("moderation_blocked", "Your request was blocked by our moderation system.")

_BRACKET = re.compile(r"(\w+)\[(\w*)\](?:\[(\w+)\])?", re.ASCII)


class OpenAISimulator(Simulator):
    """All ten operations, as strict as the documents are."""

    def __init__(self, *, keys: Collection[str] = ("sk-test",)) -> None:
        super().__init__(keys=keys)
        self.files: dict[str, bytes] = {}
        """Uploaded files by id, for `input_reference: {file_id}`."""
        self.characters: dict[str, dict[str, Any]] = {}
        self.max_running: int | None = None
        """How many jobs of one account may run before a 429 comes."""

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(
        self, status: int, message: str, *, type: str | None = None, param: str | None = None, code: str | None = None
    ) -> Answer:
        usual = {429: "rate_limit_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")
        body = {"message": message, "type": type or usual, "param": param, "code": code}
        return self.said({"error": body}, status)

    def said(self, data: Any, status: int = 200) -> Answer:
        return Answer(status=status, json=data, headers={"x-request-id": f"req_{secrets.token_hex(16)}"})

    def refuse(self, message: str, *, param: str | None = None, code: str | None = "invalid_value") -> Refuse:
        return Refuse(self.error(400, message, param=param, code=code))

    def unauthorised(self, call: Call) -> Answer:
        if "authorization" not in call.headers:
            return self.error(401, "You didn't provide an API key.")
        return self.error(401, "Incorrect API key provided.", code="invalid_api_key")

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"Video with id '{job_id}' not found.")

    def new_id(self) -> str:
        return f"video_{secrets.token_hex(24)}"

    def moderate(self, job_id: str) -> None:
        """Let the job fail as one that the moderation stopped."""
        self.fail(job_id, code=BLOCKED[0], message=BLOCKED[1])

    def expire(self, job_id: str) -> None:
        """Let the completed job's assets vanish; the job itself stays."""
        self.jobs[job_id].facts["expires_at"] = int(time.time()) - 1

    def video(self, job: Job) -> dict[str, Any]:
        """The object as OpenAI shows it: `quality` beside the schema, null keys left out while it is pending."""
        ended = job.state in ("completed", "failed")
        if job.state == "completed":
            job.facts.setdefault("expires_at", (job.completed_at or job.created_at) + LIFETIME)
        nullable = {
            "completed_at": job.completed_at if job.state == "completed" else None,
            "expires_at": job.facts.get("expires_at"),
            "error": {"code": job.failure[0], "message": job.failure[1]} if job.failure else None,
            "prompt": job.facts["prompt"] if ended else None,
            "remixed_from_video_id": job.facts.get("remixed_from"),
        }
        return {
            "id": job.id,
            "object": "video",
            "created_at": job.created_at,
            "status": job.state,
            "model": job.facts["model"],
            "progress": job.progress,
            "seconds": job.facts["seconds"],
            "size": job.facts["size"],
            "quality": "standard",
            **{key: value for key, value in nullable.items() if ended or value is not None},
        }

    # -- create, list, retrieve, delete, content -----------------------------------------------------------------------

    @operation("create", "POST", "/v1/videos")
    async def create(self, call: Call) -> Answer:
        fields = self.body(call, "prompt", "model", "seconds", "size", "input_reference", "characters")
        prompt = self.prompt(fields)
        model = self.choice(fields, "model", MODELS, "sora-2", code="model_not_found")
        seconds = self.choice(fields, "seconds", SECONDS, "4")
        size = self.choice(fields, "size", MODELS[model], "720x1280")
        await self.reference(call, fields.get("input_reference"), size)
        characters = self.cast(fields.get("characters"))
        self.room(call)
        return self.said(
            self.video(self.take(call, prompt=prompt, model=model, seconds=seconds, size=size, characters=characters))
        )

    @operation("list", "GET", "/v1/videos")
    async def list(self, call: Call) -> Answer:
        limit = call.query.get("limit", "20")
        if not re.fullmatch(r"\d{1,3}", limit, re.ASCII) or int(limit) > 100:
            raise self.refuse(f"Invalid 'limit': expected an integer from 0 to 100, got '{limit}'.", param="limit")
        order = self.choice(call.query, "order", ("asc", "desc"), "desc")
        jobs = [job for job in self.jobs.values() if job.account == call.account and not job.removed]
        if order == "desc":
            jobs.reverse()
        if (after := call.query.get("after")) is not None:
            ids = [job.id for job in jobs]
            if after not in ids:
                raise self.refuse(f"Invalid 'after': '{after}' is not a video of this project.", param="after")
            jobs = jobs[ids.index(after) + 1 :]
        page = [self.video(job) for job in jobs[: int(limit)]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return self.said({"object": "list", "data": page, **ends, "has_more": len(jobs) > len(page)})

    @operation("fetch", "GET", "/v1/videos/{id}")
    async def fetch(self, call: Call) -> Answer:
        return self.said(self.video(self.poll(call, call.match["id"])))

    @operation("delete", "DELETE", "/v1/videos/{id}")
    async def delete(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if job.state not in ("completed", "failed"):
            raise self.refuse("Only completed or failed videos can be deleted.", code=None)
        job.removed = True
        return self.said({"id": job.id, "object": "video.deleted", "deleted": True})

    @operation("content", "GET", "/v1/videos/{id}/content")
    async def content(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        variant = self.choice(call.query, "variant", ("video", "thumbnail", "spritesheet"), "video")
        if job.state != "completed":
            raise Refuse(self.error(404, NOT_READY))
        if self.video(job)["expires_at"] <= time.time():
            raise Refuse(self.error(404, "The assets of this video have expired."))
        if variant == "thumbnail":
            return self.serve(call, await asyncio.to_thread(picture, "WEBP"), "image/webp")
        if variant == "spritesheet":
            return self.serve(call, await asyncio.to_thread(picture, "JPEG"), "image/jpeg")
        return self.serve(call, self.content_of(job))

    # -- from one video to the next ------------------------------------------------------------------------------------

    @operation("remix", "POST", "/v1/videos/{id}/remix")
    async def remix(self, call: Call) -> Answer:
        source = self.completed(call, call.match["id"])
        facts = {**self.settings(source), "prompt": self.prompt(self.body(call, "prompt"))}
        self.room(call)
        return self.said(self.video(self.take(call, kind="remix", remixed_from=source.id, **facts)))

    @operation("edit", "POST", "/v1/videos/edits")
    async def edit(self, call: Call) -> Answer:
        fields = self.body(call, "prompt", "video", "model")
        prompt, video = self.prompt(fields), self.clip(fields)
        if isinstance(video, Part):
            if "model" not in fields:
                raise self.missing("model")
            model = self.choice(fields, "model", MODELS, "sora-2", code="model_not_found")
            facts = {"model": model, "seconds": str(round(duration(video.data))), "size": "720x1280"}
        else:
            facts = self.settings(self.completed(call, video))
        self.room(call)
        return self.said(self.video(self.take(call, kind="edit", **{**facts, "prompt": prompt})))

    @operation("extend", "POST", "/v1/videos/extensions")
    async def extend(self, call: Call) -> Answer:
        fields = self.body(call, "prompt", "video", "seconds")
        prompt, video = self.prompt(fields), self.clip(fields)
        if "seconds" not in fields:
            raise self.missing("seconds")
        more = int(self.choice(fields, "seconds", SECONDS, ""))
        if isinstance(video, Part):
            facts = {"model": "sora-2", "seconds": str(round(duration(video.data))), "size": "720x1280", "times": 0}
        else:
            source = self.completed(call, video)
            facts = {**self.settings(source), "times": source.facts.get("times", 0)}
        total = int(facts["seconds"]) + more
        if facts["times"] >= MAX_EXTENSIONS or total > MAX_SECONDS:
            raise self.refuse("A video can be extended 6 times and to 120 seconds in total.", param="seconds")
        self.room(call)
        facts.update(prompt=prompt, seconds=str(total), times=facts["times"] + 1)
        return self.said(self.video(self.take(call, kind="extend", **facts)))

    # -- characters ----------------------------------------------------------------------------------------------------

    @operation("character", "POST", "/v1/videos/characters")
    async def create_character(self, call: Call) -> Answer:
        if call.content_type != "multipart/form-data":
            raise self.refuse("Invalid content type: expected 'multipart/form-data'.", code=None)
        fields = self.body(call, "name", "video")
        name, video = fields.get("name"), fields.get("video")
        if not isinstance(name, str) or not 1 <= len(name) <= 80:
            raise self.refuse("Invalid 'name': expected a string of 1 to 80 characters.", param="name")
        if not isinstance(video, Part):
            raise self.refuse("Invalid type for 'video': expected a file.", param="video", code="invalid_type")
        self.film(video)
        made = {"id": f"char_{secrets.token_hex(24)}", "name": name, "created_at": int(time.time())}
        self.characters[made["id"]] = {**made, "account": call.account}
        return self.said(made)

    @operation("get_character", "GET", "/v1/videos/characters/{id}")
    async def get_character(self, call: Call) -> Answer:
        made = self.characters.get(call.match["id"])
        if made is None or made["account"] != call.account:
            raise Refuse(self.error(404, f"Character with id '{call.match['id']}' not found."))
        return self.said({key: made[key] for key in ("id", "name", "created_at")})

    # -- validation ----------------------------------------------------------------------------------------------------

    def missing(self, param: str) -> Refuse:
        return self.refuse(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")

    def body(self, call: Call, *known: str) -> dict[str, Any]:
        """The fields of a JSON or multipart body; the set is closed."""
        if call.content_type == "application/json":
            fields = call.json
            if not isinstance(fields, dict):
                raise self.refuse("We could not parse the JSON body of your request.", code=None)
            # The SDK keeps nulls in a JSON body.
            fields = {key: value for key, value in fields.items() if value is not None}
        elif call.content_type == "multipart/form-data":
            fields = unbracket(call.parts, self.refuse)
        else:
            raise self.refuse(f"Unsupported content type: '{call.content_type}'.", code="unsupported_content_type")
        for name in fields:
            if name not in known:
                raise self.refuse(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        return fields

    def prompt(self, fields: Mapping[str, Any]) -> str:
        prompt = fields.get("prompt")
        if prompt is None:
            raise self.missing("prompt")
        if not isinstance(prompt, str):
            raise self.refuse("Invalid type for 'prompt': expected a string.", param="prompt", code="invalid_type")
        if not 1 <= len(prompt) <= 32_000:
            length = f"expected 1 to 32000 characters, but got {len(prompt)}"
            raise self.refuse(f"Invalid length for 'prompt': {length}.", param="prompt")
        return prompt

    def choice(
        self, fields: Mapping[str, Any], name: str, legal: Collection[str], default: str, *, code: str = "invalid_value"
    ) -> str:
        value = fields.get(name, default)
        words = [f"'{word}'" for word in legal]
        if not isinstance(value, str):
            kind = "an integer" if isinstance(value, int) else f"a {type(value).__name__}"
            expected = f"expected one of {', '.join(words[:-1])}, or {words[-1]}"
            message = f"Invalid type for '{name}': {expected}, but got {kind} instead."
            raise self.refuse(message, param=name, code="invalid_type")
        if value not in legal:
            supported = f"Supported values are: {', '.join(words[:-1])}, and {words[-1]}."
            raise self.refuse(f"Invalid value: '{value}'. {supported}", param=name, code=code)
        return value

    async def reference(self, call: Call, value: Any, size: str) -> None:
        """Refuse an input picture that is none, or has another size than the video."""
        if value is None:
            return
        wrong_type = functools.partial(self.refuse, param="input_reference", code="invalid_type")
        if isinstance(value, str):
            expected = "an object" if call.content_type == "application/json" else "a file"
            raise wrong_type(f"Invalid type for 'input_reference': expected {expected}, but got a string instead.")
        if isinstance(value, Part):
            data: bytes | None = value.data
        elif isinstance(value, dict):
            data = self.referred(value)
        else:
            raise wrong_type("Invalid type for 'input_reference': expected one file or object.")
        if data is not None:
            found = await asyncio.to_thread(measure, data)
            if found is None:
                raise self.refuse("The input reference is not a JPEG, PNG or WebP image.", param="input_reference")
            if found != size:
                raise self.refuse("Inpaint image must match the requested width and height", code=None)

    def referred(self, value: Mapping[str, Any]) -> bytes | None:
        """The bytes behind {image_url} or {file_id}; None for an address, which this stand-in does not fetch."""
        if set(value) not in ({"image_url"}, {"file_id"}) or not all(isinstance(word, str) for word in value.values()):
            raise self.refuse("'input_reference' takes exactly one of image_url and file_id.", param="input_reference")
        if "file_id" in value:
            if value["file_id"] not in self.files:
                raise Refuse(self.error(404, f"No such File object: {value['file_id']}", param="input_reference"))
            return self.files[value["file_id"]]
        url = value["image_url"]
        if len(url) > MAX_IMAGE_URL:
            raise self.refuse("'image_url' is too long.", param="input_reference.image_url")
        if url.startswith("data:"):
            try:
                return base64.b64decode(url.partition(";base64,")[2], validate=True)
            except binascii.Error:
                raise self.refuse("'image_url' is not base64.", param="input_reference.image_url") from None
        if not url.startswith(("http://", "https://")):
            raise self.refuse("'image_url' is no URL.", param="input_reference.image_url")
        return None

    def cast(self, value: Any) -> list[str]:
        """The ids of at most two known characters."""
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) and set(one) == {"id"} for one in value):
            raise self.refuse("'characters' is an array of {id}.", param="characters", code="invalid_type")
        if len(value) > 2 or any(one["id"] not in self.characters for one in value):
            raise self.refuse("'characters' takes at most two characters of this project.", param="characters")
        return [one["id"] for one in value]

    def clip(self, fields: Mapping[str, Any]) -> Part | str:
        """The uploaded film, or the id of a video."""
        value = fields.get("video")
        if value is None:
            raise self.missing("video")
        if isinstance(value, Part):
            return self.film(value)
        if isinstance(value, dict) and set(value) == {"id"} and isinstance(value["id"], str):
            return value["id"]
        raise self.refuse("Invalid type for 'video': expected a file or {id}.", param="video", code="invalid_type")

    def film(self, part: Part) -> Part:
        if part.data[4:8] != b"ftyp":
            raise self.refuse("The uploaded video could not be read.", param="video")
        return part

    def completed(self, call: Call, job_id: str) -> Job:
        job = self.find(call, job_id)
        if job.state != "completed":
            raise self.refuse("The source video is not completed.", param="video", code=None)
        return job

    def settings(self, job: Job) -> dict[str, Any]:
        return {key: job.facts[key] for key in ("model", "seconds", "size")}

    def room(self, call: Call) -> None:
        """Refuse a job beyond the account's limit."""
        running = [job for job in self.jobs.values() if job.account == call.account and not job.removed]
        busy = sum(job.state in ("queued", "in_progress") for job in running)
        if self.max_running is not None and busy >= self.max_running:
            raise Refuse(self.error(429, "Too many running tasks", type="video_generation_user_error"))


def unbracket(parts: list[Part], refuse: Callable[..., Refuse]) -> dict[str, Any]:
    """The fields of a form: `a[b]` is an object, `a[][b]` and `a[0][b]` are arrays of objects, `a[]` an array."""
    fields: dict[str, Any] = {}
    for part in parts:
        value = part.text if part.filename is None else part
        match = _BRACKET.fullmatch(part.name)
        if match is None:
            if part.name in fields:
                raise refuse(f"Duplicate parameter: '{part.name}'.", param=part.name)
            fields[part.name] = value
            continue
        name, key, inner = match.groups()
        of_list = not key or key.isdigit()
        holder = fields.setdefault(name, [] if of_list else {})
        if not isinstance(holder, list if of_list else dict):
            raise refuse(f"Invalid type for '{name}'.", param=name, code="invalid_type")
        if of_list:
            holder.append({inner: value} if inner else value)
        else:
            holder[key] = value
    return fields
