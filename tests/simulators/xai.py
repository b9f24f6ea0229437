"""xAI's video API (Grok Imagine): generations, edits and extensions behind one poll, and results on another origin.

Rules: section 9 of the fact sheet (docs.x.ai, video guide; @ai-sdk/xai 5.0.12). Not documented, and options here: which
of its three shapes an error has (`shape`), the status of a prompt that is refused (`moderation_status`), whether fields
that the API does not have are refused (`strict`; else they are left out, and `facts["ignored"]` names them), whether
what only 1.5 can holds for its lite sister (`lite_is_1_5`), the status of a dead link (`gone_status`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from tests.simulators.media import duration, measure

PLAIN: Final = "grok-imagine-video"
NEWER: Final = "grok-imagine-video-1.5"
LITE: Final = "grok-imagine-video-1.5-lite"
ALIASES: Final = {f"{NEWER}-preview": NEWER, f"{NEWER}-2026-05-30": NEWER}
MODELS: Final = (PLAIN, NEWER, LITE)
RATIOS: Final = ("16:9", "1:1", "9:16", "4:3", "3:4", "3:2", "2:3")
RESOLUTIONS: Final = ("480p", "720p", "1080p")
"""The defaults first."""
DAY: Final = 24 * 3600
MONTH: Final = 2_592_000
LONGEST_EDITED: Final = 8.7
EXTENDABLE: Final = (2.0, 30.0)
"""Seconds of a film that can be edited, and of one that can be extended."""
TICKS: Final = 2_500_000_000
"""What any job costs; 10**10 are a dollar."""

EVERYWHERE: Final = frozenset(("model", "prompt", "user", "storage_options"))
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "create": EVERYWHERE
    | frozenset(("duration", "aspect_ratio", "resolution", "image", "last_frame", "keyframes"))
    | frozenset(("reference_images", "reference_audios", "generate_audio")),
    "edit": EVERYWHERE | {"video"},
    "extend": EVERYWHERE | {"video", "duration"},
}
_SAME: Final = {"remix": "edit"}
"""What the contract asks for by another name."""
_CODES: Final = {401: "unauthenticated", 403: "permission_denied", 404: "not_found", 429: "resource_exhausted"}

Problem = tuple[int, str, str]
"""Status, field and sentence."""


class XaiSimulator(Simulator):
    """Requests as the documents have them; `moderate`, `block`, `lose`, `forget`, `fail` and `put` choose their ends.

    `put(id, "pending", means="in_progress")` gives a progress; without one a poll finds an empty 202.
    """

    words: ClassVar[Mapping[str, str]] = {
        "queued": "pending",
        "in_progress": "pending",
        "completed": "done",
        "failed": "failed",
    }

    def __init__(self, *, keys: Collection[str] = (f"xai-{'5e' * 40}",)) -> None:
        super().__init__(keys=keys)
        self.shape: Literal["object", "code", "text"] = "object"
        self.strict = True
        self.lite_is_1_5 = True
        self.talkative = False
        """Whether a poll that finds no progress says so in a body."""
        self.forbidden = ""
        """A word that no prompt may have: it is refused before a job is taken."""
        self.moderation_status = 400
        self.penniless = False
        """Whether the account has no credits left, so that a create is a 403."""
        self.result_seconds = DAY
        """How long the address of a result is good for."""
        self.gone_status = 404
        self.files: dict[str, bytes] = {}
        """The files of the account, by their ids."""

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str, *, field: str | None = None) -> Answer:
        code = _CODES.get(status, "invalid_argument" if status < 500 else "internal")
        if self.shape == "text":
            return Answer(status=status, json={"error": message})
        if self.shape == "code":
            return Answer(status=status, json={"code": code, "error": message})
        inner = {"message": message, "type": "invalid_request_error", "param": field, "code": code}
        return Answer(status=status, json={"error": inner})

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(Answer(status=404, body=b"Not Found"))
        return super().authenticate(call)

    def unauthorised(self, call: Call) -> Answer:
        return self.error(401, "Incorrect API key provided.")

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, "The requested resource was not found.")

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def shown(self, job: Job) -> Answer:
        """The answer to a poll: 202 as long as there is something to wait for."""
        if job.state == "pending":
            if not job.progress and not self.talkative:
                return Answer(status=202)
            return Answer(status=202, json={"status": "pending", "progress": job.progress})
        if job.state == "failed":
            code, message = job.failure or ("internal", "")
            return Answer(json={"status": "failed", "error": {"code": code, "message": message}})
        if job.state != "done":
            return Answer(json={"status": job.state})
        body = {
            "status": None if "forgotten" in job.facts else "done",
            "progress": 100,
            "model": job.facts["model"],
            "video": self.video(job),
            "usage": {"cost_in_usd_ticks": TICKS},
        }
        return Answer(json=body)

    def video(self, job: Job) -> dict[str, Any]:
        """The result: without an address where it was blocked or got lost."""
        blocked, lost = "blocked" in job.facts, "lost" in job.facts
        shown: dict[str, Any] = {
            "url": "" if blocked or lost else self.link(job),
            "duration": job.facts["seconds"],
            "respect_moderation": not blocked,
        }
        if (storage := job.facts["storage"]) is None or blocked:
            return shown
        if lost:
            return {**shown, "storage_error": "The file could not be stored."}
        ends = {"expires_at": job.created_at + storage["expires_after"]} if "expires_after" in storage else {}
        public = {"public_url": self.link(job)} if storage.get("public_url") else {}
        return {
            **shown,
            "file_output": {"file_id": f"file_{job.id}", "filename": storage["filename"], **ends, **public},
        }

    def link(self, job: Job) -> str:
        return f"{self.files_url}/xai-vidgen-bucket/xai-video-{job.id}.mp4"

    def linked(self, job_id: str) -> Job | None:
        """The job whose result lies at an address, while it does."""
        job = self.jobs.get(job_id)
        alive = job is not None and (job.completed_at or 0) + self.result_seconds > time.time()
        return (
            job
            if job and alive and job.state == "done" and not {"blocked", "lost", "gone"} & job.facts.keys()
            else None
        )

    # -- what a test does ----------------------------------------------------------------------------------------------

    def put(self, job_id: str, state: str, *, means: str | None = None) -> None:
        super().put(job_id, state, means=means)
        if means == "in_progress":
            self.jobs[job_id].progress = 40

    def advance(self, job_id: str) -> None:
        waits = self.jobs[job_id].state == "pending" and not self.jobs[job_id].progress
        self.put(job_id, "pending" if waits else "done", means="in_progress" if waits else "completed")

    def moderate(self, job_id: str) -> None:
        """Let the job fail because of what was asked for."""
        self.fail(job_id, code="invalid_argument", message="The content was rejected by moderation.")

    def block(self, job_id: str) -> None:
        """Let the job be done, its result withheld by moderation. It may be billed all the same."""
        self._done(job_id, "blocked")

    def lose(self, job_id: str) -> None:
        """Let the job be done without an address, for no reason that is told."""
        self._done(job_id, "lost")

    def forget(self, job_id: str) -> None:
        """Let the job be done, with a null where its status should be."""
        self._done(job_id, "forgotten")

    def expire_results(self) -> None:
        """Let every address of a result run out."""
        for job in self.jobs.values():
            job.facts["gone"] = True

    def _done(self, job_id: str, fact: str) -> None:
        self.jobs[job_id].facts[fact] = True
        self.finish(job_id)

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Callable[[Any], Any], *, on: str | None = None, times: int | None = 1) -> None:
        super().mangle(change, on=_SAME.get(on or "", on), times=times)

    # -- requests ------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/videos/generations")
    async def create(self, call: Call) -> Answer:
        fields, ignored = self.body(call, "create")
        self.refuse(self.wrong_creation(fields))
        pictures = [("image", fields.get("image")), ("last_frame", fields.get("last_frame"))]
        pictures += [(f"keyframes.{n}", key["image"]) for n, key in enumerate(fields.get("keyframes", []))]
        pictures += [(f"reference_images.{n}", item) for n, item in enumerate(fields.get("reference_images", []))]
        for name, item in pictures:
            if item is not None and (why := await self.wrong_picture(item)):
                raise Refuse(self.error(400, f"{name}: {why}", field=name))
        return self.taken(call, fields, ignored, seconds=fields.get("duration", 6))

    @operation("edit", "POST", "/v1/videos/edits")
    async def edit(self, call: Call) -> Answer:
        fields, ignored = self.body(call, "edit")
        seconds = await self.source(fields, 0.0, LONGEST_EDITED)
        return self.taken(call, fields, ignored, kind="edit", seconds=seconds)

    @operation("extend", "POST", "/v1/videos/extensions")
    async def extend(self, call: Call) -> Answer:
        fields, ignored = self.body(call, "extend")
        self.refuse(whole(fields, "duration", 1, 10))
        seconds = await self.source(fields, *EXTENDABLE)
        return self.taken(call, fields, ignored, kind="extend", seconds=seconds + fields.get("duration", 6))

    @operation("fetch", "GET", "/v1/videos/{id}")
    async def fetch(self, call: Call) -> Answer:
        return self.shown(self.poll(call, call.match["id"]))

    @operation("content", "GET", "/xai-vidgen-bucket/{name}", open=True)
    async def content(self, call: Call) -> Answer:
        """As vidgen.x.ai gives a result: to anybody, for about a day."""
        job = self.linked(call.match["name"].removeprefix("xai-video-").removesuffix(".mp4"))
        if job is None or not call.elsewhere:
            return Answer(status=self.gone_status, body=b"Not Found")
        return self.serve(call, self.content_of(job))

    def taken(self, call: Call, fields: Mapping[str, Any], ignored: list[str], **facts: Any) -> Answer:
        if self.penniless:
            raise Refuse(self.error(403, "Your team has run out of credits or has no permission for this model."))
        storage = fields.get("storage_options")
        job = self.take(call, model=fields["model"], storage=storage, ignored=ignored, **facts)
        return Answer(json={"request_id": job.id})

    # -- validation ----------------------------------------------------------------------------------------------------

    def refuse(self, problems: Iterator[Problem]) -> None:
        """Raise the first of `problems`, if there is one."""
        if found := next(problems, None):
            status, field, sentence = found
            raise Refuse(self.error(status, f"{field}: {sentence}", field=field))

    def body(self, call: Call, kind: str) -> tuple[dict[str, Any], list[str]]:
        """The fields of a request that the API has, and the names of the others."""
        fields = call.json
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise Refuse(self.error(400, "The body must be a JSON object."))
        ignored = sorted(fields.keys() - FIELDS[kind])
        if ignored and self.strict:
            raise Refuse(self.error(400, f"{ignored[0]}: this field is not supported here.", field=ignored[0]))
        known = {name: value for name, value in fields.items() if name in FIELDS[kind] and value is not None}
        self.refuse(self.wrong_everywhere(known))
        if self.forbidden and self.forbidden in known.get("prompt", ""):
            raise Refuse(self.error(self.moderation_status, "The prompt was rejected by content moderation."))
        return known, ignored

    def wrong_everywhere(self, fields: Mapping[str, Any]) -> Iterator[Problem]:
        model = fields.get("model")
        if not isinstance(model, str):
            yield 422, "model", "it is missing, or no text."
        elif ALIASES.get(model, model) not in MODELS:
            yield 404, "model", f"the model {model} does not exist."
        if not isinstance(fields.get("prompt", ""), str):
            yield 422, "prompt", "it must be a text."
        if not fields.get("prompt") and not fields.keys() & {"image", "reference_images"}:
            yield 400, "prompt", "it is missing."
        if not isinstance(fields.get("user", ""), str):
            yield 422, "user", "it must be a text."
        storage = fields.get("storage_options", {"filename": "x"})
        if not isinstance(storage, dict) or not isinstance(storage.get("filename"), str) or not storage["filename"]:
            yield 422, "storage_options", "it must be an object with a filename."
        else:
            yield from whole(storage, "expires_after", 1, MONTH)
            public = storage.get("public_url", False)
            if isinstance(public, dict):
                yield from whole(public, "expires_after", 1, MONTH)
            elif not isinstance(public, bool):
                yield 422, "storage_options", "public_url must be true or an object."

    def wrong_creation(self, fields: Mapping[str, Any]) -> Iterator[Problem]:
        model = ALIASES.get(fields["model"], fields["model"])
        newer = model == NEWER or (model == LITE and self.lite_is_1_5)
        yield from whole(fields, "duration", 1, 15)
        for name, legal in (("aspect_ratio", RATIOS), ("resolution", RESOLUTIONS)):
            if name in fields and fields[name] not in legal:
                yield 400, name, f"it must be one of {', '.join(legal)}."
        if not isinstance(fields.get("generate_audio", True), bool):
            yield 422, "generate_audio", "it must be true or false."
        for name in ("last_frame", "keyframes"):
            if name in fields and not newer:
                yield 400, name, f"the model {model} has no such field."
        if fields.get("resolution") == "1080p" and (not newer or "reference_images" in fields):
            yield 400, "resolution", "1080p is not possible here."
        for name, least, most in (("keyframes", 0, 4), ("reference_images", 1, 7), ("reference_audios", 0, 3)):
            items = fields.get(name, [{}] * least)
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                yield 422, name, "it must be a list of objects."
            elif not least <= len(items) <= most:
                yield 400, name, f"there must be {least} to {most}."
        for key in fields.get("keyframes", []):
            moment = key.get("timestamp_s")
            if "image" not in key or isinstance(moment, bool) or not isinstance(moment, int | float) or moment < 0:
                yield 422, "keyframes", "each has an image and a timestamp_s."
        for sound in fields.get("reference_audios", []):
            if len(sound.keys() & {"url", "voice_id"}) != 1 or not all(isinstance(it, str) for it in sound.values()):
                yield 422, "reference_audios", "each has a url or a voice_id."

    async def wrong_picture(self, item: Any) -> str:
        """Why an input picture cannot be used; empty where it can. Addresses outside are not fetched."""
        if not isinstance(item, dict) or len(item.keys() & {"url", "file_id"}) != 1:
            return "it must be an object with a url or a file_id."
        data = self.files.get(item["file_id"]) if "file_id" in item else unpack(item["url"], "image/")
        if data is None and "url" in item and is_address(item["url"]):
            return ""
        size = await asyncio.to_thread(measure, data or b"")
        return "" if size else "this is no picture that can be read."

    async def source(self, fields: Mapping[str, Any], least: float, most: float) -> float:
        """The seconds of the film that is edited or extended, or a refusal."""
        item = fields.get("video")
        url = item.get("url") if isinstance(item, dict) else None
        if not isinstance(url, str):
            raise Refuse(self.error(422, "video: it must be an object with a url.", field="video"))
        if url.startswith(f"{self.files_url}/"):
            job = self.linked(urlsplit(url).path.rpartition("xai-video-")[2].removesuffix(".mp4"))
            seconds = job.facts["seconds"] if job else 0.0
        elif url.startswith("data:"):
            seconds = duration(unpack(url, "video/") or b"")
        else:
            # What lies outside is taken to be as it should.
            seconds = 5.0 if is_address(url) else 0.0
        if not seconds:
            raise Refuse(self.error(400, "video: the film cannot be read.", field="video"))
        if not least <= seconds <= most:
            raise Refuse(self.error(400, f"video: it must have {least} to {most} seconds.", field="video"))
        return float(seconds)


def whole(fields: Mapping[str, Any], name: str, least: int, most: int) -> Iterator[Problem]:
    """What is wrong with a whole number, where there is one."""
    value = fields.get(name, least)
    if isinstance(value, bool) or not isinstance(value, int):
        yield 422, name, "it must be a whole number."
    elif not least <= value <= most:
        yield 400, name, f"it must be {least} to {most}."


def is_address(url: Any) -> bool:
    try:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def unpack(uri: Any, kind: str) -> bytes | None:
    """The bytes of a data URI of that kind; None where it is none."""
    head, _, text = uri.partition(",") if isinstance(uri, str) else ("", "", "")
    if not head.startswith(f"data:{kind}") or not head.endswith(";base64"):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
