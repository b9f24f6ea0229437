"""Runway's API, version 2024-11-06: tasks on three create routes, uploads, and results on another origin.

Rules: https://docs.dev.runwayml.com (api, errors/errors, errors/task-failures, assets/inputs, assets/outputs) and the
types of its SDK. Not documented, and options here: the body of a 400 beyond `error` (`with_issues`), the status of a
dead link (`gone_status`), whether a failed task is refunded (`fail`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from tests.simulators.media import measure
from tests.simulators.runway_models import IMAGE, TEXT, VIDEO, assets, price, problems

VERSION = "2024-11-06"
DOCS = "https://docs.dev.runwayml.com/api"
DAY = 24 * 3600
MB = 1024 * 1024
DATA_URI_LIMIT = {"image": 5 * MB, "video": 16 * MB, "audio": 16 * MB}
"""Characters of a whole data URI."""
UPLOAD_LIMIT = 200 * MB
URL_LIMIT = 2048
MEDIA_TYPES = {
    "image": ("image/jpeg", "image/jpg", "image/png", "image/webp"),
    "video": ("video/mp4", "video/webm", "video/quicktime", "video/mov", "video/x-matroska", "video/ogg", "video/h264"),
    "audio": ("audio/mpeg", "audio/mp3", "audio/wav", "audio/wave", "audio/x-wav", "audio/flac", "audio/aac"),
}
FAILURES = {
    "SAFETY.INPUT.TEXT": "The prompt did not pass our moderation.",
    "SAFETY.INPUT.IMAGE": "The image did not pass our moderation.",
    "SAFETY.INPUT.VIDEO": "The video did not pass our moderation.",
    "SAFETY.OUTPUT.VIDEO": "The generated video did not pass our moderation.",
    "INPUT_PREPROCESSING.SAFETY.TEXT": "The prompt did not pass our moderation.",
    "INPUT_PREPROCESSING.INTERNAL": "The inputs could not be prepared.",
    "INTERNAL.BAD_OUTPUT.CODE01": "The generation was not good enough.",
    "ASSET.INVALID": "One of the assets cannot be used.",
    "INTERNAL": "An internal error occurred.",
}
"""One failureCode of each family, and a sentence."""
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")

_KNOWN = re.compile(rf"/v1/({IMAGE}|{TEXT}|{VIDEO}|uploads|organization|tasks/[^/]+)")
_SAME = {"remix": "edit", "extend": "edit", "cancel": "delete"}
"""What the contract asks for by another name: one call of Runway's does both."""


@dataclass(slots=True)
class Upload:
    """One upload: the form fields that its file must come with, and the file once it is there."""

    account: str
    fields: dict[str, str]
    expires_at: float
    data: bytes | None = None


class RunwaySimulator(Simulator):
    """Tasks as strict as the documents are; `throttle`, `cancel`, `fail` and `put` choose their states."""

    words: ClassVar[Mapping[str, str]] = {
        "queued": "PENDING",
        "in_progress": "RUNNING",
        "completed": "SUCCEEDED",
        "failed": "FAILED",
    }

    def __init__(self, *, keys: Collection[str] = (f"key_{'5e' * 64}",)) -> None:
        super().__init__(keys=keys)
        self.max_concurrent: int | None = None
        """How many tasks of one account and model may run; further ones become THROTTLED, which is no error."""
        self.max_daily: int | None = None
        """How many tasks one account may have of one model before a 429 comes."""
        self.with_issues = True
        """Whether a 400 about the body says what is wrong in `issues`; in the sentence without."""
        self.old_models = False
        """Whether gen4_aleph and gen3a_turbo are taken."""
        self.link_seconds = DAY
        self.gone_status = 403
        self.balance = 10_000
        """The credits that each account started with."""
        self.uploads: dict[str, Upload] = {}
        """By their runway:// address."""
        self._links: dict[str, tuple[str, float]] = {}

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"error": message})

    def invalid(self, *problems: tuple[str, str, str]) -> Refuse:
        """A 400 about the body, from (code, field, sentence)."""
        if not self.with_issues:
            return Refuse(self.error(400, "; ".join(f"{name}: {sentence}" for _, name, sentence in problems)))
        issues = [{"code": code, "path": [name], "message": sentence} for code, name, sentence in problems]
        body = {"error": "Validation of body failed", "issues": issues, "docUrl": DOCS}
        return Refuse(Answer(status=400, json=body))

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(self.denied(404, "NoSuchKey"))
        account = super().authenticate(call)
        if account is not None and call.headers.get("x-runway-version") != VERSION:
            raise Refuse(self.error(400, f"The X-Runway-Version header must be '{VERSION}'."))
        return account

    def unauthorised(self, call: Call) -> Answer:
        return self.error(401, "The API key is not valid.")

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"A task with the ID {job_id} was not found.")

    def denied(self, status: int, code: str) -> Answer:
        """What the other origin says, where files are."""
        page = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
        return Answer(status=status, body=page.encode(), headers={"Content-Type": "application/xml"})

    def new_id(self) -> str:
        return str(uuid.uuid4())

    async def _no_such_route(self, call: Call) -> Answer:
        if _KNOWN.fullmatch(call.path):
            return self.error(405, f"{call.method} is not possible here.")
        return self.error(404, "There is nothing here.")

    def task(self, job: Job) -> dict[str, Any]:
        """The task as it is shown, with fresh links."""
        shown: dict[str, Any] = {
            "id": job.id,
            "status": job.state,
            "createdAt": f"{datetime.fromtimestamp(job.created_at, UTC):%Y-%m-%dT%H:%M:%S}.000Z",
            "cost" if job.state in ENDED else "estimatedCost": {"credits": self.cost(job)},
        }
        if job.state == "RUNNING":
            shown["progress"] = job.progress / 100
        elif job.state == "SUCCEEDED":
            shown["output"] = [self.link(job)]
        elif job.state == "FAILED":
            code, sentence = job.failure or ("", "")
            shown.update(failure=sentence, failureCode=code or None)
        return shown

    def cost(self, job: Job) -> int:
        """What the task costs: the whole price until it ends, then what is left of it."""
        whole: int = job.facts["credits"]
        return job.facts.get("left", 0) if job.state in ("FAILED", "CANCELLED") else whole

    def link(self, job: Job) -> str:
        """A new public address of the result, with a signature that runs out."""
        expires_at = int(time.time()) + self.link_seconds
        words = ({"alg": "HS256"}, {"bucket": "artifacts", "exp": expires_at, "nonce": secrets.token_hex(8)})
        parts = [base64.urlsafe_b64encode(json.dumps(word).encode()).decode().rstrip("=") for word in words]
        token = ".".join((*parts, secrets.token_urlsafe(32)))
        self._links[token] = (job.id, expires_at)
        return f"{self.files_url}/artifacts/{job.id}.mp4?_jwt={token}"

    def linked(self, job_id: str, token: str) -> Job | None:
        """The task whose result a link shows, while it does."""
        meant, expires_at = self._links.get(token, ("", 0))
        job = self.jobs.get(meant)
        return job if job and job.id == job_id and not job.removed and expires_at > time.time() else None

    # -- what a test does ----------------------------------------------------------------------------------------------

    def throttle(self, job_id: str) -> None:
        """Hold the task where the concurrency limit holds it."""
        self.put(job_id, "THROTTLED", means="queued")

    def cancel(self, job_id: str) -> None:
        """End the task as CANCELLED, from elsewhere: it can still be seen."""
        self.put(job_id, "CANCELLED", means="failed")

    def fail(self, job_id: str, *, code: str | None = "INTERNAL", message: str = "", refunded: bool = True) -> None:
        """Let the task fail with a failureCode (None: without one); the credits come back, or they do not."""
        self.jobs[job_id].facts["left"] = 0 if refunded else self.jobs[job_id].facts["credits"]
        super().fail(job_id, code=code or "", message=message or FAILURES.get(code or "INTERNAL", "It failed."))

    def expire_links(self) -> None:
        """Let every address of a result that was handed out run out; the next GET of a task gives a new one."""
        self._links.clear()

    def expire_uploads(self) -> None:
        """Let every upload run out."""
        for upload in self.uploads.values():
            upload.expires_at = 0

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Any, *, on: str | None = None, times: int | None = 1) -> None:
        super().mangle(change, on=_SAME.get(on or "", on), times=times)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", f"/v1/{TEXT}")
    async def text_to_video(self, call: Call) -> Answer:
        return await self.order(call, TEXT)

    @operation("create", "POST", f"/v1/{IMAGE}")
    async def image_to_video(self, call: Call) -> Answer:
        return await self.order(call, IMAGE)

    @operation("edit", "POST", f"/v1/{VIDEO}")
    async def video_to_video(self, call: Call) -> Answer:
        return await self.order(call, VIDEO)

    @operation("fetch", "GET", "/v1/tasks/{id}")
    async def fetch(self, call: Call) -> Answer:
        return Answer(json=self.task(self.poll(call, call.match["id"])))

    @operation("delete", "DELETE", "/v1/tasks/{id}")
    async def delete(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if job.state not in ENDED:
            # What ran is paid for.
            job.facts["left"] = job.facts["credits"] if job.state == "RUNNING" else 0
            job.cancelled = True
            self.cancel(job.id)
        job.removed = True
        return Answer(status=204)

    @operation("organization", "GET", "/v1/organization")
    async def organization(self, call: Call) -> Answer:
        own = [job for job in self.jobs.values() if job.account == call.account]
        limits = {"maxConcurrentGenerations": self.max_concurrent, "maxDailyGenerations": self.max_daily}
        made = Counter(job.facts["model"] for job in own)
        body = {
            "creditBalance": self.balance - sum(self.cost(job) for job in own),
            "tier": {"maxMonthlyCreditSpend": 10_000, "models": dict.fromkeys(made, limits)},
            "usage": {"models": {model: {"dailyGenerations": number} for model, number in made.items()}},
        }
        return Answer(json=body)

    async def order(self, call: Call, route: str) -> Answer:
        """Take a task of one route, or say what is wrong with it."""
        fields = self.body(call)
        if found := sorted(problems(route, fields, old=self.old_models)):
            raise self.invalid(*found)
        for name, kind, uri in assets(fields):
            await self.asset(call, name, kind, uri)
        if "draftTaskId" in fields:
            draft = self.find(call, fields["draftTaskId"])
            if not (draft.facts["draft"] and draft.state == "SUCCEEDED"):
                raise self.invalid(("custom", "draftTaskId", "That task is no finished draft."))
        model = fields["model"]
        own = [job for job in self.jobs.values() if job.account == call.account and job.facts["model"] == model]
        if self.max_daily is not None and len(own) >= self.max_daily:
            raise Refuse(self.error(429, f"The daily limit of generations with {model} is reached."))
        facts = {"model": model, "route": route, "credits": price(fields), "draft": fields.get("draft", False)}
        job = self.take(call, kind="edit" if route == VIDEO else "create", **facts)
        return Answer(json={"id": job.id, "estimatedCost": {"credits": self.cost(job)}})

    def poll(self, call: Call, job_id: object) -> Job:
        job = self.find(call, job_id)
        if self.automatic and not job.held and job.state in ("PENDING", "THROTTLED"):
            alike = (job.account, job.facts["model"])
            running = [other for other in self.jobs.values() if other.state == "RUNNING"]
            busy = sum((other.account, other.facts["model"]) == alike for other in running)
            full = self.max_concurrent is not None and busy >= self.max_concurrent
            job.state = "THROTTLED" if full else "PENDING"
        return job if job.state == "THROTTLED" else super().poll(call, job_id)

    # -- files ---------------------------------------------------------------------------------------------------------

    @operation("begin_upload", "POST", "/v1/uploads")
    async def begin_upload(self, call: Call) -> Answer:
        fields = self.body(call)
        for name in fields.keys() - {"filename", "type"}:
            raise self.invalid(("unrecognized_keys", name, f"Unrecognized key: '{name}'."))
        if not isinstance(fields.get("filename"), str) or not fields["filename"]:
            raise self.invalid(("invalid_type", "filename", "Required."))
        if fields.get("type") != "ephemeral":
            raise self.invalid(("invalid_value", "type", "Expected 'ephemeral'."))
        uri = f"runway://{secrets.token_urlsafe(48)}"
        form = {
            "key": f"uploads/{uuid.uuid4()}",
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "Policy": secrets.token_urlsafe(96),
            "X-Amz-Signature": secrets.token_hex(32),
        }
        self.uploads[uri] = Upload(call.account or "", form, time.time() + DAY)
        return Answer(json={"uploadUrl": f"{self.files_url}/uploads", "fields": form, "runwayUri": uri})

    @operation("upload", "POST", "/uploads", open=True)
    async def upload(self, call: Call) -> Answer:
        """As an object store takes a form: the signed fields first, the file last, and no other credential."""
        if not call.elsewhere:
            return self.error(404, "There is nothing here.")
        if "authorization" in call.headers:
            return self.denied(400, "InvalidArgument")
        if not call.parts:
            return self.denied(400, "MalformedPOSTRequest")
        *texts, file = call.parts
        sent = {part.name: part.text for part in texts if part.filename is None}
        meant = [upload for upload in self.uploads.values() if upload.fields == sent]
        if file.name != "file" or file.filename is None or len(texts) != len(sent) or not meant:
            return self.denied(403, "AccessDenied")
        if len(file.data) > UPLOAD_LIMIT:
            return self.denied(400, "EntityTooLarge")
        meant[0].data = file.data
        return Answer(status=204)

    @operation("content", "GET", "/artifacts/{id}.mp4", open=True)
    async def content(self, call: Call) -> Answer:
        if not call.elsewhere:
            return self.error(404, "There is nothing here.")
        job = self.linked(call.match["id"], call.query.get("_jwt", ""))
        return self.denied(self.gone_status, "AccessDenied") if job is None else self.serve(call, self.content_of(job))

    # -- validation ----------------------------------------------------------------------------------------------------

    def body(self, call: Call) -> dict[str, Any]:
        fields = call.json
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise Refuse(self.error(400, "The body must be a JSON object."))
        return fields

    async def asset(self, call: Call, name: str, kind: str, uri: str) -> None:
        """Refuse an input that Runway could not read; addresses outside are not fetched."""
        if uri.startswith("runway://"):
            upload = self.uploads.get(uri)
            alive = upload is not None and upload.account == call.account and upload.expires_at > time.time()
            data = upload.data if upload is not None and alive else None
            why = "There is no such upload, or it is too old."
        elif uri.startswith("data:"):
            data, why = unpack(uri, kind)
        elif uri.startswith(f"{self.files_url}/"):
            # A result of this API is a public address like any other.
            parts = urlsplit(uri)
            token = parse_qs(parts.query).get("_jwt", [""])[0]
            job = self.linked(parts.path.removeprefix("/artifacts/").removesuffix(".mp4"), token)
            data = self.content_of(job) if job else None
            why = f'The asset could not be fetched: HTTP response code "{self.gone_status}".'
        else:
            data, why = None, wrong_address(uri)
            if not why:
                return
        if data and not await asyncio.to_thread(readable, kind, data):
            data, why = None, f"This is no {kind} that can be read."
        if not data:
            raise Refuse(self.error(400, f"Invalid asset for `{name}`. {why}"))


def unpack(uri: str, kind: str) -> tuple[bytes | None, str]:
    """The bytes of a data URI, or None and why it is refused."""
    head, _, text = uri.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    if len(uri) > DATA_URI_LIMIT[kind]:
        return None, f"The data URI is longer than {DATA_URI_LIMIT[kind] // MB} MB."
    if media_type not in MEDIA_TYPES[kind]:
        return None, f"The data URI must name a media type of {', '.join(MEDIA_TYPES[kind])}."
    try:
        data = base64.b64decode(text, validate=True) if "base64" in parameters else None
    except binascii.Error:
        data = None
    return data, "The data URI is malformed."


def wrong_address(uri: str) -> str:
    """Why an address outside is refused; empty where it is not."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "The URL is malformed."
    if parts.scheme != "https":
        return "Only HTTPS URLs can be used."
    host = parts.hostname or ""
    if "." not in host or host.rpartition(".")[2].isdigit():
        return "The URL must be on a domain, not an IP address."
    return f"The URL is longer than {URL_LIMIT} characters." if len(uri) > URL_LIMIT else ""


def readable(kind: str, data: bytes) -> bool:
    """Whether the bytes are of that kind; sounds are not looked into."""
    if kind == "image":
        return measure(data) is not None
    return kind == "audio" or data[4:8] == b"ftyp" or data.startswith(b"\x1aE\xdf\xa3")
