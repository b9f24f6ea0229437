"""Replicate's HTTP API: predictions of official models, versions and deployments, files, and results elsewhere.

Rules: section 8 of the fact sheet (replicate.com/docs/reference/http, topics/predictions/lifecycle) and the Python SDK
1.0.7. Not documented, and options here: Retry-After (`retry_after`), the shorter error body (`bare_errors`), whether
inputs that a model does not have are refused (`closed_inputs`; else they are left out, and `facts["ignored"]` names
them), whether a `Prefer: wait` is long enough (`in_time`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from proxy.testing.wire import Part
from tests.simulators.media import measure
from tests.simulators.replicate_models import CARDS, Card, problems

HOUR = 3600
DAY = 24 * HOUR
ENDED = ("succeeded", "failed", "canceled", "aborted")
EVENTS = ("start", "output", "logs", "completed")
FLAGGED = "The input or output was flagged as sensitive. Please try again with different inputs. (E005) ({code})"
NO_VERSION = "The specified version does not exist (or perhaps you don't have permission to use it?)"
THROTTLED = "Request was throttled. Your rate limit resets in ~30s."
TITLES = {400: "Bad request", 401: "Unauthenticated", 402: "Insufficient credit", 404: "Not found"}
"""Of the problem body, by status."""

_ID = "abcdefghjkmnpqrstvwxyz0123456789"
_VERSION = re.compile(r"(?:(?P<model>[^/:]+/[^/:]+)(?::(?P<pinned>[0-9a-f]{64}))?|(?P<bare>[0-9a-f]{64}))")
_WAIT = re.compile(r"wait(?:=(\d+))?", re.ASCII)
_CANCEL_AFTER = re.compile(r"(?:\d+h)?(?:\d+m)?(?:\d+s?)?", re.ASCII)


@dataclass(slots=True)
class File:
    """One uploaded file."""

    account: str
    shown: dict[str, Any]
    data: bytes


class ReplicateSimulator(Simulator):
    """Predictions as the documents have them; `moderate`, `abort`, `vanish`, `fail` and `put` choose their ends."""

    words: ClassVar[Mapping[str, str]] = {
        "queued": "starting",
        "in_progress": "processing",
        "completed": "succeeded",
        "failed": "failed",
    }

    def __init__(self, *, keys: Collection[str] = (f"r8_{'5e' * 18}a",)) -> None:
        super().__init__(keys=keys)
        self.models: dict[str, Card] = {card.name: card for card in CARDS}
        self.deployments: dict[str, str] = {"acme/flipbook-farm": "acme/flipbook"}
        """The name of a deployment, and of its model."""
        self.files: dict[str, File] = {}
        self.closed_inputs = False
        self.bare_errors = False
        self.in_time = False
        self.penniless = False
        """Whether the account has no credit left, so that a create is a 402."""
        self.creates_left: int | None = None
        """How many creates the minute still has; then comes a 429."""
        self.retry_after: int | None = None
        self.result_seconds = HOUR
        """How long a result is kept."""

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        if self.bare_errors or status == 429:
            return Answer(status=status, json={"detail": message})
        return Answer(status=status, json={"title": TITLES.get(status, "Error"), "detail": message, "status": status})

    def invalid(self, *found: tuple[str, str, str]) -> Refuse:
        """A 422 about the body, from (type, field, description)."""
        said = "".join(f"- {field}: {text}\n" if field else f"- {text}\n" for _, field, text in found)
        fields = [{"type": kind, "field": field, "description": text} for kind, field, text in found]
        body = {"title": "Input validation failed", "detail": said, "status": 422, "invalid_fields": fields}
        return Refuse(Answer(status=422, json=body))

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(Answer(status=404, body=b"Not Found"))
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        # `Token` is what older clients send.
        return key if scheme in ("Bearer", "Token") and key in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        return self.error(401, "You did not pass a valid authentication token")

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, "The requested resource could not be found.")

    def new_id(self) -> str:
        return "".join(secrets.choice(_ID) for _ in range(26))

    async def _no_such_route(self, call: Call) -> Answer:
        return self.not_found("")

    def vanished(self, job: Job) -> bool:
        """Whether inputs, output and logs of the prediction have been removed."""
        ended = job.completed_at if job.state in ENDED else None
        return ended is not None and ("vanished" in job.facts or time.time() >= ended + self.result_seconds)

    def prediction(self, job: Job) -> dict[str, Any]:
        """The prediction as it is shown."""
        path = f"{self.base_url}/v1/predictions/{job.id}"
        card: Card = job.facts["card"]
        gone = self.vanished(job)
        return {
            "id": job.id,
            "model": card.name,
            "version": "hidden" if card.official else card.version,
            "input": {} if gone else job.facts["input"],
            "logs": "" if gone else self.logs(job),
            "output": self.output(job) if job.state == "succeeded" and not gone else None,
            "error": job.failure[1] if job.failure and job.state == "failed" else None,
            "status": job.state,
            "created_at": stamp(job.created_at),
            "data_removed": gone,
            **({} if job.state == "starting" else {"started_at": stamp(job.created_at)}),
            **({"completed_at": stamp(job.completed_at)} if job.completed_at and job.state in ENDED else {}),
            **({"metrics": {"predict_time": 1.5}} if job.state == "succeeded" else {}),
            "urls": {"get": path, "cancel": f"{path}/cancel", "web": f"https://replicate.com/p/{job.id}"},
        }

    def output(self, job: Job) -> str | list[str]:
        """Where the result is: an address, or a list of one."""
        url = f"{self.files_url}/pbxt/{job.facts['place']}/output.mp4"
        return [url] if job.facts["card"].several else url

    def logs(self, job: Job) -> str:
        """What a model prints; the only place where a progress shows."""
        if job.state == "starting":
            return ""
        done = job.progress // 10
        return f"Using seed: 4\n{job.progress:3d}%|{'█' * done:<10}| {done}/10 [00:0{done}<00:01,  1.00it/s]\n"

    # -- what a test does ----------------------------------------------------------------------------------------------

    def moderate(self, job_id: str) -> None:
        """Let the prediction fail because its content was flagged."""
        self.fail(job_id, message=FLAGGED.format(code=secrets.token_urlsafe(8)))

    def abort(self, job_id: str) -> None:
        """End the prediction before it ran. The Python SDK cannot read this."""
        self.put(job_id, "aborted", means="failed")

    def vanish(self, job_id: str) -> None:
        """Let the hour of a finished prediction's data be over."""
        self.jobs[job_id].facts["vanished"] = True

    # -- predictions ---------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/predictions")
    async def create_by_version(self, call: Call) -> Answer:
        body = self.body(call, "version")
        match = _VERSION.fullmatch(body["version"]) if isinstance(body["version"], str) else None
        card = self.card_of(match) if match else None
        if card is None:
            told = {"title": "Invalid version or not permitted", "detail": NO_VERSION, "status": 422}
            raise Refuse(Answer(status=422, json=told))
        return await self.order(call, card, body)

    @operation("create", "POST", "/v1/models/{owner}/{name}/predictions")
    async def create_by_model(self, call: Call) -> Answer:
        card = self.models.get(f"{call.match['owner']}/{call.match['name']}")
        if card is None or not card.official:
            raise Refuse(self.not_found(call.match["name"]))
        return await self.order(call, card, self.body(call))

    @operation("create", "POST", "/v1/deployments/{owner}/{name}/predictions")
    async def create_by_deployment(self, call: Call) -> Answer:
        model = self.deployments.get(f"{call.match['owner']}/{call.match['name']}")
        if model is None:
            raise Refuse(self.not_found(call.match["name"]))
        return await self.order(call, self.models[model], self.body(call))

    @operation("fetch", "GET", "/v1/predictions/{id}")
    async def fetch(self, call: Call) -> Answer:
        return Answer(json=self.prediction(self.poll(call, call.match["id"])))

    @operation("cancel", "POST", "/v1/predictions/{id}/cancel")
    async def cancel(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if job.state not in ENDED:
            job.cancelled = True
            self.put(job.id, "canceled", means="failed")
        return Answer(json=self.prediction(job))

    @operation("list", "GET", "/v1/predictions")
    async def list_predictions(self, call: Call) -> Answer:
        own = [self.prediction(job) for job in self.jobs.values() if job.account == call.account]
        return Answer(json={"previous": None, "next": None, "results": own[::-1][:100]})

    def card_of(self, match: re.Match[str]) -> Card | None:
        """The model that a `version` names."""
        if match["model"]:
            card = self.models.get(match["model"])
            return card if card and match["pinned"] in (None, card.version) else None
        return next((card for card in self.models.values() if card.version == match["bare"]), None)

    def body(self, call: Call, *required: str) -> dict[str, Any]:
        """The JSON object of a create, whose own fields are closed."""
        fields = call.json
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise Refuse(self.error(400, "The request body must be a JSON object."))
        required = ("input", *required)
        known = {*required, "webhook", "webhook_completed", "webhook_events_filter", "stream"}
        found = [("required", "", f"{name} is required") for name in required if name not in fields]
        closed = "additional_property_not_allowed"
        found += [(closed, "", f"Additional property {name} is not allowed") for name in fields.keys() - known]
        if not isinstance(fields.get("input", {}), dict):
            found.append(("invalid_type", "input", "Invalid type. Expected: object, given: other"))
        events = fields.get("webhook_events_filter", [])
        if not isinstance(events, list) or not all(event in EVENTS for event in events):
            found.append(("enum", "webhook_events_filter", f"Must be among {', '.join(EVENTS)}"))
        if not str(fields.get("webhook", "https://")).startswith("https://"):
            found.append(("format", "webhook", "Must be an HTTPS URL"))
        if found:
            raise self.invalid(*found)
        return fields

    async def order(self, call: Call, card: Card, body: dict[str, Any]) -> Answer:
        """Take a prediction of a model, or say what is wrong with it."""
        waits = self.waits(call)
        given = body["input"]
        if found := list(problems(card, given, closed=self.closed_inputs)):
            raise self.invalid(*found)
        known = {name: value for name, value in given.items() if name in card.inputs}
        for name, uri in addresses(known, card):
            if why := await self.unreadable(call, name, uri):
                raise self.invalid(("custom", f"input.{name}", why))
        if self.penniless:
            raise Refuse(self.error(402, "You have insufficient credit to run this model."))
        if self.creates_left is not None:
            if self.creates_left <= 0:
                headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
                raise Refuse(Answer(status=429, json={"detail": THROTTLED}, headers=headers))
            self.creates_left -= 1
        ignored = sorted(given.keys() - known.keys())
        place = secrets.token_urlsafe(24)
        job = self.take(call, card=card, input=given, ignored=ignored, place=place)
        if waits and self.in_time:
            self.finish(job.id)
        return Answer(status=202 if waits and not self.in_time else 201, json=self.prediction(job))

    def waits(self, call: Call) -> bool:
        """Whether the caller asks for an answer that waits; a 422 where that, or Cancel-After, is malformed."""
        wait = _WAIT.fullmatch(call.headers.get("prefer", "wait"))
        if wait is None or not 1 <= int(wait[1] or 60) <= 60:
            raise self.invalid(("custom", "", "Prefer must be wait or wait=1 to wait=60"))
        if not _CANCEL_AFTER.fullmatch(call.headers.get("cancel-after", "")):
            raise self.invalid(("custom", "", "Cancel-After must be a duration such as 90s or 5m"))
        return "prefer" in call.headers

    async def unreadable(self, call: Call, name: str, uri: str) -> str:
        """Why an input cannot be read; empty where it can. Addresses outside are not fetched."""
        if uri.startswith(f"{self.base_url}/v1/files/"):
            file = self.files.get(uri.rpartition("/")[2])
            if file is None or file.account != call.account:
                return "There is no such file."
            data: bytes | None = file.data
        elif uri.startswith("data:"):
            data = unpack(uri)
        else:
            return ""
        if not data:
            return "There is nothing in it, or it is malformed."
        size = await asyncio.to_thread(measure, data)
        return "" if size or not ("image" in name or "frame" in name) else "This is no picture."

    # -- models --------------------------------------------------------------------------------------------------------

    @operation("model", "GET", "/v1/models/{owner}/{name}")
    async def model(self, call: Call) -> Answer:
        card = self.known(call)
        shown = {
            "url": f"https://replicate.com/{card.name}",
            "owner": call.match["owner"],
            "name": call.match["name"],
            "description": None,
            "visibility": "public",
            "is_official": card.official,
            "run_count": self.paid,
            **dict.fromkeys(("github_url", "paper_url", "license_url", "cover_image_url", "default_example")),
            "latest_version": version_of(card),
        }
        return Answer(json=shown)

    @operation("version", "GET", "/v1/models/{owner}/{name}/versions/{version}")
    async def version(self, call: Call) -> Answer:
        card = self.known(call)
        if call.match["version"] != card.version:
            raise Refuse(self.not_found(call.match["version"]))
        return Answer(json=version_of(card))

    def known(self, call: Call) -> Card:
        card = self.models.get(f"{call.match['owner']}/{call.match['name']}")
        if card is None:
            raise Refuse(self.not_found(call.match["name"]))
        return card

    # -- files ---------------------------------------------------------------------------------------------------------

    @operation("upload", "POST", "/v1/files")
    async def upload(self, call: Call) -> Answer:
        content = call.form.get("content")
        if not isinstance(content, Part):
            raise Refuse(self.error(400, "Missing content"))
        file_id, now = self.new_id(), int(time.time())
        metadata = call.form.get("metadata", "{}")
        shown = {
            "id": file_id,
            "name": content.filename,
            "content_type": content.content_type or "application/octet-stream",
            "size": len(content.data),
            "etag": hashlib.md5(content.data).hexdigest(),
            "checksums": {"sha256": hashlib.sha256(content.data).hexdigest()},
            "metadata": json.loads(metadata) if isinstance(metadata, str) else {},
            "created_at": stamp(now),
            "expires_at": stamp(now + DAY),
            "urls": {"get": f"{self.base_url}/v1/files/{file_id}"},
        }
        self.files[file_id] = File(call.account or "", shown, content.data)
        return Answer(status=201, json=shown)

    @operation("file", "GET", "/v1/files/{id}")
    async def file(self, call: Call) -> Answer:
        return Answer(json=self.file_of(call).shown)

    @operation("remove_file", "DELETE", "/v1/files/{id}")
    async def remove_file(self, call: Call) -> Answer:
        del self.files[self.file_of(call).shown["id"]]
        return Answer(status=204)

    def file_of(self, call: Call) -> File:
        file = self.files.get(call.match["id"])
        if file is None or file.account != call.account:
            raise Refuse(self.not_found(call.match["id"]))
        return file

    @operation("content", "GET", "/pbxt/{place}/output.mp4", open=True)
    async def content(self, call: Call) -> Answer:
        """As replicate.delivery gives a result: to anybody, for an hour."""
        made = [job for job in self.jobs.values() if job.facts["place"] == call.match["place"]]
        if not call.elsewhere or not made or made[0].state != "succeeded" or self.vanished(made[0]):
            return Answer(status=404, body=b"Not Found")
        return self.serve(call, self.content_of(made[0]))


def stamp(moment: int | None) -> str:
    """A moment as Replicate writes it."""
    return f"{datetime.fromtimestamp(moment or 0, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def version_of(card: Card) -> dict[str, Any]:
    stamped = {"created_at": stamp(1_760_000_000), "cog_version": "0.16.2"}
    return {"id": card.version, **stamped, "openapi_schema": card.openapi}


def addresses(given: Mapping[str, Any], card: Card) -> Iterator[tuple[str, str]]:
    """The inputs that are files, each with its field."""
    for name, value in given.items():
        schema = card.inputs[name]
        if schema.get("format") == "uri":
            yield name, value
        elif schema["type"] == "array":
            yield from ((name, item) for item in value)


def unpack(uri: str) -> bytes | None:
    """The bytes of a data URI; None where it is malformed."""
    head, _, text = uri.partition(",")
    try:
        return base64.b64decode(text, validate=True) if head.endswith(";base64") else None
    except binascii.Error:
        return None
