"""fal's queue, the storage service of its REST API, and files on another origin, as the fact sheet has them.

Rules: https://docs.fal.ai (queue, errors, webhooks) and fal's own clients. Not certain, and options here: the status of
a poll (`poll_statuses`) and of a late cancel (`late_cancel_status`), where a wrong input is told (`refuses_late`), what
becomes of a job that was cancelled (`runs_on`, `cancelled_state`), whether a status names the error (`tells_error`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from tests.simulators.fal_models import CONTENT_POLICY, ENDPOINTS, Shape, app_of, assets, issue, problems
from tests.simulators.media import measure

ERRORS = {
    CONTENT_POLICY: (422, "The content could not be processed because it was flagged by a content checker."),
    "no_media_generated": (422, "No media was generated. Try rephrasing your prompt."),
    "image_too_small": (422, "The image is too small."),
    "image_too_large": (422, "The image is too large."),
    "file_download_error": (422, "Failed to download the file."),
    "face_detection_error": (422, "No face could be found in the image."),
    "generation_timeout": (504, "The generation took too long."),
    "downstream_service_error": (500, "A service downstream did not answer."),
    "internal_server_error": (500, "The model crashed."),
}
"""Errors of a model, which tell of themselves in a list: the status of the result, and a sentence."""
INFRASTRUCTURE = {
    "request_timeout": (504, "Request timed out"),
    "startup_timeout": (504, "Runner failed to start in time"),
    "runner_disconnected": (503, "Runner disconnected"),
    "request_cancelled": (499, "Request was cancelled"),
}
"""Errors of fal's own, in one sentence; the last one's word and status are not documented."""
ENDED = ("COMPLETED", "ERROR", "FAILED", "CANCELED")
STORAGES = ("fal-cdn-v3", "gcs")
EDITS = "edit|edit-video|video-edit|modify|retake-video|reframe"
EXTENSIONS = "extend|extend-video"
FOLLOW = r"/{app:(?:(?:workflows|comfy)/)?[^/]+/[^/]+}/requests/{id}"
MEDIA_TYPES = {
    "image": ("image/jpeg", "image/png", "image/webp"),
    "video": ("video/mp4", "video/webm", "video/quicktime"),
    "audio": ("audio/mpeg", "audio/wav", "audio/ogg"),
}

_SAME = {"remix": "edit"}
"""What the contract asks for by another name: it is a call to the same endpoints."""


@dataclass(slots=True)
class Upload:
    """A file that was announced, and its bytes once they are there."""

    media_type: str
    signature: str
    data: bytes | None = None


class FalSimulator(Simulator):
    """The queue. A job's `state` is the word of its status but for ERROR, a run that failed: that is COMPLETED on the
    wire too, and only its `error` and the answer to the GET of the result tell. FAILED and CANCELED are words of third
    parties, which end a run with an error as well.

    Status and result are both the operation "fetch"; "edit" and "extend" are submissions to endpoints that do that. The
    `facts` of a job are its endpoint, app, input, webhook, and what of it the endpoint does not know, `ignored`.
    """

    words: ClassVar[Mapping[str, str]] = {
        "queued": "IN_QUEUE",
        "in_progress": "IN_PROGRESS",
        "completed": "COMPLETED",
        "failed": "ERROR",
    }

    def __init__(self, *, keys: Collection[str] = ("3f1c5d7e-0000-4000-8000-8d2f6a9be01c:9e107d9d372bb682",)) -> None:
        super().__init__(keys=keys)
        self.endpoints: dict[str, Shape] = dict(ENDPOINTS)
        self.any_endpoint = False
        """Whether endpoints outside the table are taken, with any input."""
        self.strict_fields = False
        """Whether a field that the endpoint does not know is a 422; ignored without."""
        self.refuses_late = False
        """Whether a wrong input is taken and fails as a run; a 422 at once without."""
        self.forbidden: set[str] = set()
        """Words of a prompt that the content policy does not like."""
        self.locked: set[str] = set()
        """Accounts without balance."""
        self.max_concurrent: int | None = None
        """How many requests of one account may be unfinished; a 429 beyond."""
        self.retry_after: int | None = None
        """The Retry-After of that 429, which nothing promises."""
        self.poll_statuses = (202, 200)
        """The HTTP statuses of a status: of a request that runs, and of one that ended."""
        self.late_cancel_status = 400
        self.runs_on = False
        """Whether a running request finishes although it was cancelled."""
        self.cancelled_state = "ERROR"
        self.tells_error = True
        """Whether the status of a failed run has `error` and `error_type`."""
        self.gone_status: int | None = None
        """What results answer once they are gone."""
        self.mangles: Literal["status", "result"] = "result"
        """Which of the two answers about a run that succeeded `mangle` changes."""
        self.uploads: dict[str, Upload] = {}
        """By the path of their file."""
        self._changes: list[tuple[Callable[[Any], Any], int | None]] = []

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"detail": message}, headers={"x-fal-request-id": str(uuid.uuid4())})

    def invalid(self, *items: dict[str, Any]) -> Answer:
        """A 422 that lists what is wrong."""
        return replace(self.error(422, ""), json={"detail": list(items)})

    def authenticate(self, call: Call) -> str | None:
        # The files are public; the REST API is on either origin, the queue on its own.
        if call.elsewhere and not call.path.startswith("/storage/"):
            raise Refuse(self.error(404, "Not Found"))
        word, _, key = call.headers.get("authorization", "").partition(" ")
        return key if word == "Key" and key in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        return self.error(401, "Cannot access the application. Authentication is required.")

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"Request {job_id} not found")

    def new_id(self) -> str:
        return str(uuid.uuid4())

    async def _no_such_route(self, call: Call) -> Answer:
        return self.error(404, "Not Found")

    def urls(self, job: Job) -> dict[str, str]:
        base = f"{self.base_url}/{job.facts['app']}/requests/{job.id}"
        return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}

    def place(self, job: Job) -> int:
        """How many requests of its app are in the queue before it."""
        alike = [other for other in self.jobs.values() if other.facts["app"] == job.facts["app"]]
        return sum(other.state == "IN_QUEUE" for other in alike[: alike.index(job)])

    def status(self, job: Job, *, logs: bool) -> dict[str, Any]:
        """The status as it is shown; `logs` and `queue_position` are always there, for fal's client needs them."""
        if job.state == "IN_QUEUE":
            return {"status": job.state, "queue_position": self.place(job)}
        line = {"message": "Loading", "timestamp": "2026-11-01T00:00:00.000000", "level": "INFO", "source": "USER"}
        shown: dict[str, Any] = {
            "status": "COMPLETED" if job.state == "ERROR" else job.state,
            "logs": [line] if logs else None,
        }
        if job.state in ENDED:
            shown["metrics"] = {"inference_time": 1.0}
        if self.failed(job) and self.tells_error:
            code, sentence = job.failure or ("", "")
            shown |= {"error": sentence, "error_type": code}
        return shown

    def result(self, job: Job) -> Any:
        """What a run that succeeded answers."""
        made = {
            "url": self.file_url(job),
            "content_type": "video/mp4",
            "file_name": f"{job.id}_output.mp4",
            "file_size": len(self.content_of(job)),
        }
        seed = job.facts["input"].get("seed")
        return job.facts.get("result", {"video": made, **({} if seed is None else {"seed": seed})})

    def failed(self, job: Job) -> bool:
        return job.state in ENDED and (job.state != "COMPLETED" or job.failure is not None)

    def failure(self, job: Job) -> Answer:
        """What the GET of the result answers where the run failed."""
        code, sentence = job.failure or ("internal_server_error", "It failed.")
        status = job.facts.get("status") or {**ERRORS, **INFRASTRUCTURE}.get(code, (500, ""))[0]
        place = ("image_url",) if code.startswith(("image", "face", "file")) else ("prompt",)
        items = [issue(code, sentence, *place, given=job.facts["input"])] if code in ERRORS else None
        headers = {
            "x-fal-request-id": job.id,
            "x-fal-error-type": code,
            "X-Fal-Retryable": "true" if status >= 500 else "false",
        }
        detail = job.facts.get("items") or items or sentence
        return Answer(status=status, json={"detail": detail}, headers=headers)

    def file_url(self, job: Job) -> str:
        return f"{self.files_url}/files/b/{job.id}_output.mp4"

    # -- what a test does ----------------------------------------------------------------------------------------------

    def fail(self, job_id: str, *, code: str = "internal_server_error", message: str = "", status: int = 0) -> None:
        """End the run with an error: a code of `ERRORS` is told in a list, another one in a sentence. `status` is that
        of the result, if not the code's own."""
        known = {**ERRORS, **INFRASTRUCTURE}.get(code, (500, "It failed."))
        self.jobs[job_id].facts |= {"status": status, "items": None}
        super().fail(job_id, code=code, message=message or known[1])

    def give(self, job_id: str, result: Any) -> None:
        """Complete the job with another result, such as one without a video."""
        self.jobs[job_id].facts["result"] = result
        self.finish(job_id)

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Callable[[Any], Any], *, on: str | None = None, times: int | None = 1) -> None:
        """Of a poll, one answer is changed: the status, or the result (see `mangles`) of a run that succeeded."""
        if on == "fetch":
            self._changes.append((change, times))
        else:
            super().mangle(change, on=_SAME.get(on or "", on), times=times)

    def calm(self) -> None:
        super().calm()
        self._changes.clear()

    # -- requests ------------------------------------------------------------------------------------------------------

    @operation("create", "POST", rf"/{{endpoint:(?!.*/(?:{EDITS}|{EXTENSIONS})$).+}}")
    async def create(self, call: Call) -> Answer:
        return await self.submit(call)

    @operation("edit", "POST", rf"/{{endpoint:.+/(?:{EDITS})}}")
    async def edit(self, call: Call) -> Answer:
        return await self.submit(call)

    @operation("extend", "POST", rf"/{{endpoint:.+/(?:{EXTENSIONS})}}")
    async def extend(self, call: Call) -> Answer:
        return await self.submit(call)

    @operation("fetch", "GET", f"{FOLLOW}/status")
    async def show_status(self, call: Call) -> Answer:
        job = self.poll(call, self.follow(call).id)
        ended = job.state in ENDED
        data = self.status(job, logs=call.query.get("logs", "").lower() in ("1", "true"))
        good = ended and not self.failed(job)
        return self.told(job, data, self.poll_statuses[ended], change=self.mangles == "status" or not good)

    @operation("fetch", "GET", FOLLOW)
    async def show_result(self, call: Call) -> Answer:
        job = self.follow(call)
        if self.failed(job):
            return self.failure(job)
        if job.state != "COMPLETED":
            return replace(self.error(400, "Request is still in progress"), headers={"x-fal-request-id": job.id})
        return self.told(job, self.result(job), 200, change=self.mangles == "result")

    @operation("cancel", "PUT", f"{FOLLOW}/cancel")
    async def cancel(self, call: Call) -> Answer:
        job = self.follow(call)
        headers = {"x-fal-request-id": job.id}
        if job.state in ENDED:
            return Answer(status=self.late_cancel_status, json={"status": "ALREADY_COMPLETED"}, headers=headers)
        job.cancelled = True
        if job.state == "IN_QUEUE" or not self.runs_on:
            self.fail(job.id, code="request_cancelled")
            job.state = self.cancelled_state
        return Answer(status=202, json={"status": "CANCELLATION_REQUESTED"}, headers=headers)

    async def submit(self, call: Call) -> Answer:
        endpoint = call.match["endpoint"]
        shape = self.endpoints.get(endpoint, Shape({}, frozenset()) if self.any_endpoint else None)
        account = call.account or ""
        if account in self.locked:
            raise Refuse(self.error(403, "User is locked. Reason: Exhausted balance. Top up your balance."))
        if shape is None:
            raise Refuse(self.error(404, f"Application '{endpoint}' not found"))
        open_jobs = [job for job in self.jobs.values() if job.account == account and job.state not in ENDED]
        if self.max_concurrent is not None and len(open_jobs) >= self.max_concurrent:
            headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
            refusal = self.error(429, "Reached the limit of concurrent requests.")
            raise Refuse(replace(refusal, headers={**refusal.headers, **headers}))
        if call.headers.get("x-fal-queue-priority", "normal") not in ("normal", "low"):
            raise Refuse(self.error(422, "X-Fal-Queue-Priority must be normal or low."))
        fields = call.json
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise Refuse(self.invalid(issue("dict_type", "Input should be a valid dictionary", given=fields)))
        ignored = sorted(fields.keys() - shape.rules.keys())
        found = [*problems(shape, fields)] or [item async for item in self.doubts(shape, fields)]
        if self.strict_fields:
            found += [issue("extra_forbidden", "Extra inputs are not permitted", name) for name in ignored]
        if found and not self.refuses_late:
            raise Refuse(self.invalid(*found))
        facts = {"endpoint": endpoint, "app": app_of(endpoint), "input": fields, "ignored": ignored}
        job = self.take(call, kind=call.operation, **facts, webhook=call.query.get("fal_webhook"))
        if found:
            self.fail(job.id, code=found[0]["type"], message=found[0]["msg"], status=422)
            job.facts["items"] = found
        said = {"request_id": job.id, **self.urls(job), "status": "IN_QUEUE", "queue_position": self.place(job)}
        return Answer(json=said, headers={"x-fal-request-id": job.id})

    def follow(self, call: Call) -> Job:
        """The request of a follow-up call, which is below its app and nowhere else."""
        job = self.find(call, call.match["id"])
        if call.match["app"] != job.facts["app"]:
            raise Refuse(self.not_found(job.id))
        return job

    def told(self, job: Job, data: Any, status: int, *, change: bool) -> Answer:
        """`data`, changed where a test asked for that."""
        if change and self._changes:
            alter, times = self._changes.pop(0)
            if times is None or times > 1:
                self._changes.insert(0, (alter, None if times is None else times - 1))
            data = alter(data)
        return Answer(status=status, json=data, headers={"x-fal-request-id": job.id})

    # -- files ---------------------------------------------------------------------------------------------------------

    @operation("begin_upload", "POST", "/storage/upload/initiate")
    async def begin_upload(self, call: Call) -> Answer:
        fields = call.json if isinstance(call.json, dict) else {}
        for name in ("file_name", "content_type"):
            if not isinstance(fields.get(name), str) or not fields[name]:
                raise Refuse(self.invalid(issue("missing", "Field required", name, given=fields)))
        if call.query.get("storage_type") not in STORAGES:
            raise Refuse(self.error(422, f"storage_type must be one of {', '.join(STORAGES)}"))
        path = f"/files/b/{secrets.token_urlsafe(16)}_{fields['file_name']}"
        upload = self.uploads[path] = Upload(fields["content_type"], secrets.token_hex(32))
        file_url = f"{self.files_url}{path}"
        return Answer(json={"upload_url": f"{file_url}?signature={upload.signature}", "file_url": file_url})

    @operation("upload", "PUT", "/files/b/{name}", open=True)
    async def upload(self, call: Call) -> Answer:
        upload = self.uploads.get(call.path) if call.elsewhere else None
        if upload is None or call.query.get("signature") != upload.signature:
            return self.error(403, "Access denied")
        upload.data = call.body
        return Answer()

    @operation("content", "GET", "/files/b/{name}", open=True)
    async def content(self, call: Call) -> Answer:
        data = self.file(call.path) if call.elsewhere else None
        if self.gone_status is not None or data is None:
            return self.error(self.gone_status or 404, "Not Found")
        return self.serve(call, data)

    def file(self, path: str) -> bytes | None:
        """The bytes of a public file: an upload or a result."""
        if path in self.uploads:
            return self.uploads[path].data
        job = self.jobs.get(path.rpartition("/")[2].removesuffix("_output.mp4"))
        return self.content_of(job) if job is not None and job.state == "COMPLETED" else None

    # -- validation ----------------------------------------------------------------------------------------------------

    async def doubts(self, shape: Shape, fields: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """What a model does not like about an input of the right form; addresses outside are not fetched."""
        for word in sorted(self.forbidden):
            if word in str(fields.get("prompt")):
                yield issue(CONTENT_POLICY, ERRORS[CONTENT_POLICY][1], "prompt", given=fields["prompt"])
        for place, kind, url in assets(shape, fields):
            if url.startswith("data:"):
                right = await asyncio.to_thread(readable, kind, url)
            elif url.startswith(self.files_url):
                right = bool(self.file(url.removeprefix(self.files_url)))
            else:
                right = url.startswith(("https://", "http://"))
            if not right:
                yield issue("file_download_error", ERRORS["file_download_error"][1], *place, given=url[:100])


def readable(kind: str, uri: str) -> bool:
    """Whether a data URI has what its type says; sounds are not looked into."""
    head, _, text = uri.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    try:
        data = base64.b64decode(text, validate=True) if "base64" in parameters else b""
    except binascii.Error:
        return False
    if media_type not in MEDIA_TYPES[kind] or not data:
        return False
    if kind == "image":
        return measure(data) is not None
    return kind == "audio" or data[4:8] == b"ftyp" or data.startswith(b"\x1aE\xdf\xa3")
