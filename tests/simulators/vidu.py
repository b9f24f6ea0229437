"""Vidu's API, version 2: tasks on six create routes behind one poll, and results on another origin.

Rules: section 2 of the fact sheet; the answer of the task list is that of https://platform.vidu.com/docs/tasks-list.
Not confirmed there, and options here: whether fields that a route does not have are refused (`strict`), how long a
prompt may be (`longest_prompt`), whether there is a viduq3-turbo (`turbo`), which states count as scheduled
(`scheduled`), whether polls tell a progress (`talkative`), whether a later poll gives a fresh link (`fresh_links`),
whether the list tells the payload (`lists_payload`), how long results are there (`result_seconds`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from tests.simulators.media import measure, picture
from tests.simulators.vidu_models import ENDS, EXTEND, FRAMES, IMAGE, REFERENCE, TEXT, filled, pictures, problems
from tests.simulators.vidu_models import credits as price

DAY: Final = 24 * 3600
MB: Final = 1024 * 1024
LARGEST_BODY: Final = 20 * MB
LARGEST_PICTURE: Final = 50 * MB
REASONS: Final = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "TaskNotFound",
    409: "Conflict",
    429: "TooManyRequests",
    499: "Canceled",
}
STATES: Final = ("created", "queueing", "processing", "success", "failed")

_DATA_URI: Final = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,")


class ViduSimulator(Simulator):
    """Tasks as the sheet has them; `enqueue`, `moderate`, `fail` and `put` choose their states."""

    words: ClassVar[Mapping[str, str]] = {
        "queued": "created",
        "in_progress": "processing",
        "completed": "success",
        "failed": "failed",
    }

    def __init__(self, *, keys: Collection[str] = ("vda_852400000000_5e5e5e5e5e5e",)) -> None:
        super().__init__(keys=keys)
        self.strict = True
        self.longest_prompt = 2000
        self.turbo = True
        self.scheduled: Collection[str] = ("processing", "success", "failed")
        self.talkative = False
        self.fresh_links = True
        self.lists_payload = True
        self.result_seconds = DAY
        self.max_running = 5
        """How many tasks of one account run at once; others wait, and are no error."""
        self.balance = 100_000
        """The credits that each account started with."""
        self.forbidden = ""
        """A word that no prompt may have: it is refused with `moderation` before a task is taken."""
        self.moderation = "AuditSubmitIllegal"
        self._links: dict[str, tuple[str, float]] = {}

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        reason = REASONS.get(status, "BadRequest" if status < 500 else "InternalServiceFailure")
        return self.problem(status, reason, message)

    def problem(self, status: int, reason: str, message: str) -> Answer:
        """An error of that name."""
        trace = {"trace_id": secrets.token_hex(16)}
        return Answer(status=status, json={"code": status, "reason": reason, "message": message, "metadata": trace})

    def invalid(self, reason: str, field: str, sentence: str) -> Refuse:
        return Refuse(self.problem(400, reason, f"{field}: {sentence}"))

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(self.denied("MethodNotAllowed"))
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        return key if scheme == "Token" and key in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        return self.error(401, "The api key is missing or wrong.")

    def not_found(self, job_id: str) -> Answer:
        return self.error(404, f"task {job_id} not found")

    async def _no_such_route(self, call: Call) -> Answer:
        return self.problem(404, "NotFound", f"{call.method} {call.path} is not there")

    def denied(self, code: str) -> Answer:
        """What the other origin says, where results are."""
        page = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
        return Answer(status=403, body=page.encode(), headers={"Content-Type": "application/xml"})

    def new_id(self) -> str:
        # More than a float holds.
        return str(8 * 10**17 + secrets.randbelow(10**17))

    def created(self, job: Job) -> dict[str, Any]:
        """The answer to a create: the id is `task_id` here."""
        moment = datetime.fromtimestamp(job.created_at, UTC)
        shown = [item if item.startswith("http") else f"{self.files_url}/inputs" for _, item in job.facts["pictures"]]
        echo = {name: value for name, value in job.facts["fields"].items() if name not in ("subjects", "images")}
        echo = {name: value for name, value in echo.items() if name not in ("start_image", "image_settings")}
        return {
            "task_id": job.id,
            "state": job.state,
            **echo,
            "images": shown,
            "seed": echo.get("seed") or job.created_at % 2**31,
            "credits": job.facts["credits"],
            "created_at": f"{moment:%Y-%m-%dT%H:%M:%S}.123456789Z",
        }

    def shown(self, job: Job) -> dict[str, Any]:
        """The answer to a poll, and the body of a callback: the id is `id` here."""
        fields = job.facts["fields"]
        body = {
            "id": job.id,
            "state": job.state,
            "err_code": job.failure[0] if job.state == "failed" and job.failure else "",
            "credits": job.facts["credits"],
            "payload": fields["payload"],
            "bgm": fields["bgm"],
            "off_peak": fields["off_peak"],
            "creations": [self.creation(job)] if job.state == "success" else [],
        }
        return {**body, "progress": job.progress} if self.talkative else body

    def creation(self, job: Job) -> dict[str, Any]:
        """The result, with its links."""
        if self.fresh_links or "links" not in job.facts:
            number = job.facts.setdefault("creation", self.new_id())
            ends = int(time.time()) + self.result_seconds
            names = {"url": "video.mp4", "cover_url": "cover.jpeg", "watermarked_url": "watermarked.mp4"}
            token = secrets.token_urlsafe(32)
            self._links[token] = (job.id, ends)
            signed = f"X-Amz-Expires={self.result_seconds}&X-Amz-Signature={token}"
            job.facts["links"] = {
                field: f"{self.files_url}/vidu/{number}/{name}?{signed}" for field, name in names.items()
            }
        return {"id": job.facts["creation"], **job.facts["links"]}

    def linked(self, number: str, token: str) -> Job | None:
        """The task whose result a link shows, while it does."""
        meant, ends = self._links.get(token, ("", 0))
        job = self.jobs.get(meant)
        return job if job and ends > time.time() and job.facts["creation"] == number else None

    def callback(self, job: Job, *, path: str, query: str, date: str, nonce: str) -> tuple[dict[str, str], Any]:
        """Headers and body of the callback that would be sent now. What is signed does not cover the body."""
        sent = {"Date": date, "x-request-nonce": nonce}
        signed = {
            **sent,
            "X-HMAC-SIGNED-HEADERS": ";".join(sent),
            "X-HMAC-ALGORITHM": "hmac-sha256",
            "X-HMAC-ACCESS-KEY": "vidu",
            "X-HMAC-SIGNATURE": signature(job.account, "POST", path, query, sent),
        }
        return signed, self.shown(job)

    # -- what a test does ----------------------------------------------------------------------------------------------

    def enqueue(self, job_id: str) -> None:
        """Hold the task where it waits for a free place."""
        self.put(job_id, "queueing", means="queued")

    def advance(self, job_id: str) -> None:
        means = "in_progress" if self.jobs[job_id].state in ("created", "queueing") else "completed"
        self.put(job_id, self.words[means], means=means)

    def fail(self, job_id: str, *, code: str = "InternalServiceFailure", message: str = "") -> None:
        """Let the task fail with that err_code; Vidu tells no sentence."""
        super().fail(job_id, code=code, message=message)

    def moderate(self, job_id: str) -> None:
        """Let the moderation hold back what was made."""
        self.fail(job_id, code="CreationPolicyViolation")

    def expire_links(self) -> None:
        """Let every address of a result that was handed out run out."""
        self._links.clear()

    # -- tasks ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", f"/ent/v2/{TEXT}")
    async def text2video(self, call: Call) -> Answer:
        return await self.order(call, TEXT)

    @operation("create", "POST", f"/ent/v2/{IMAGE}")
    async def img2video(self, call: Call) -> Answer:
        return await self.order(call, IMAGE)

    @operation("create", "POST", f"/ent/v2/{ENDS}")
    async def start_end2video(self, call: Call) -> Answer:
        return await self.order(call, ENDS)

    @operation("create", "POST", f"/ent/v2/{REFERENCE}")
    async def reference2video(self, call: Call) -> Answer:
        return await self.order(call, REFERENCE)

    @operation("create", "POST", f"/ent/v2/{FRAMES}")
    async def multiframe(self, call: Call) -> Answer:
        return await self.order(call, FRAMES)

    @operation("extend", "POST", f"/ent/v2/{EXTEND}")
    async def extend(self, call: Call) -> Answer:
        return await self.order(call, EXTEND)

    @operation("fetch", "GET", "/ent/v2/tasks/{id}/creations")
    async def fetch(self, call: Call) -> Answer:
        return Answer(json=self.shown(self.poll(call, call.match["id"])))

    @operation("cancel", "POST", "/ent/v2/tasks/{id}/cancel")
    async def cancel(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if not isinstance(call.json, dict) or call.json.get("id") != job.id:
            raise self.invalid("FieldInvalid", "id", "it must be that of the task")
        if job.state in self.scheduled:
            raise Refuse(self.problem(400, "BadRequest", "task state is scheduled, can not cancel"))
        self.fail(job.id, code="UserCancelled")
        job.cancelled = True
        return Answer(json={})

    @operation("list", "GET", "/ent/v2/tasks")
    async def tasks(self, call: Call) -> Answer:
        """The newest first; a list in the query has commas between its words."""
        query = call.query
        states, wanted = ([word for word in query.get(name, "").split(",") if word] for name in ("states", "task_ids"))
        if unknown := [word for word in states if word not in STATES]:
            raise self.invalid("FieldInvalid", "states", f"{unknown[0]} is no state")
        page, size = (self.number(query, name, usual) for name, usual in (("pager.page", 0), ("pager.pagesz", 10)))
        if not 1 <= size <= 100:
            raise self.invalid("FieldInvalid", "pager.pagesz", "it must be 1 to 100")
        first = self.number(query, "pager.page_token", page * size)
        since, until = moment(query.get("created_at.from"), 0.0), moment(query.get("created_at.to"), 2.0**40)
        own = [job for job in reversed(self.jobs.values()) if job.account == call.account]
        found = [
            job
            for job in own
            if (not states or job.state in states)
            and (not wanted or job.id in wanted)
            and since <= job.created_at <= until
        ]
        rows = [{**self.created(job), **self.shown(job)} for job in found[first : first + size]]
        hidden = {"task_id"} | (set() if self.lists_payload else {"payload"})
        body = [{name: value for name, value in row.items() if name not in hidden} for row in rows]
        more = str(first + size) if len(found) > first + size else ""
        return Answer(json={"tasks": body, "next_page_token": more})

    @operation("content", "GET", "/vidu/{number}/{name}", open=True)
    async def content(self, call: Call) -> Answer:
        """As an object store gives a result: to anybody who has the link, while it lives."""
        job = self.linked(call.match["number"], call.query.get("X-Amz-Signature", "")) if call.elsewhere else None
        if job is None:
            return self.denied("AccessDenied")
        if call.match["name"] == "cover.jpeg":
            return self.serve(call, await asyncio.to_thread(picture, "JPEG"), "image/jpeg")
        return self.serve(call, self.content_of(job))

    async def order(self, call: Call, route: str) -> Answer:
        """Take a task of one route, or say what is wrong with it."""
        data = call.json
        if call.content_type != "application/json" or not isinstance(data, dict):
            raise Refuse(self.problem(400, "BadRequest", "The body must be a JSON object."))
        if len(call.body) > LARGEST_BODY:
            raise Refuse(self.problem(400, "BadRequest", "The body is larger than 20 MB."))
        given = {name: value for name, value in data.items() if value is not None}
        found = problems(route, given, strict=self.strict, longest=self.longest_prompt, turbo=self.turbo)
        if wrong := next(found, None):
            raise self.invalid(*wrong)
        await self.look(route, given)
        if route == EXTEND:
            self.source(call, given)
        if self.forbidden and self.forbidden in given.get("prompt", ""):
            raise Refuse(self.problem(400, self.moderation, "The prompt did not pass the audit."))
        fields = filled(route, given)
        cost = price(route, fields)
        own = [job for job in self.jobs.values() if job.account == call.account]
        if sum(job.facts["credits"] for job in own if job.state != "failed") + cost > self.balance:
            raise Refuse(self.problem(400, "CreditInsufficient", "The credits are not enough."))
        kind = "extend" if route == EXTEND else "create"
        job = self.take(call, kind=kind, fields=fields, credits=cost, pictures=pictures(given))
        return Answer(json=self.created(job))

    def poll(self, call: Call, job_id: object) -> Job:
        job = self.find(call, job_id)
        if self.automatic and not job.held and job.state in ("created", "queueing"):
            running = [other for other in self.jobs.values() if other.account == job.account]
            if sum(other.state == "processing" for other in running) >= self.max_running:
                job.state = "queueing"
                return job
        super().poll(call, job_id)
        if self.automatic and not job.held and job.state == "created":
            job.state = "queueing"
        return job

    # -- inputs --------------------------------------------------------------------------------------------------------

    async def look(self, route: str, fields: Mapping[str, Any]) -> None:
        """Refuse pictures that cannot be used. Addresses outside are not fetched."""
        sizes = [await self.size_of(name, item) for name, item in pictures(fields)]
        known = [wide * high for wide, high in filter(None, sizes)]
        if route == ENDS and len(known) == 2:
            first, last = known
            if not 0.8 <= first / last <= 1.25:
                raise self.invalid("FieldInvalid", "images", "the two must have about the same resolution")

    async def size_of(self, field: str, item: Any) -> tuple[int, int] | None:
        """Width and height of a picture; None where it lies outside."""
        if isinstance(item, str) and item.startswith("http"):
            if not is_address(item):
                raise self.invalid("ImageDownloadFailure", field, "a picture cannot be fetched")
            return None
        head = _DATA_URI.match(item) if isinstance(item, str) else None
        if head is None:
            raise self.invalid("ImageFormatInvalid", field, "a picture is no address and no data URI of a known type")
        try:
            data = base64.b64decode(item[head.end() :], validate=True)
        except binascii.Error:
            raise self.invalid("ImageFormatInvalid", field, "a data URI is malformed") from None
        size = await asyncio.to_thread(measure, data)
        if size is None:
            raise self.invalid("ImageFormatInvalid", field, "a picture cannot be read")
        wide, high = (int(side) for side in size.split("x"))
        if len(data) > LARGEST_PICTURE or not 0.25 <= wide / high <= 4:
            raise self.invalid("PageSizeOutOfRange", field, "a picture is too large or too long")
        return wide, high

    def source(self, call: Call, fields: Mapping[str, Any]) -> None:
        """Refuse an extension of what is not there."""
        if "video_url" in fields:
            url = fields["video_url"]
            own = url.startswith(f"{self.files_url}/")
            token = urlsplit(url).query.rpartition("X-Amz-Signature=")[2] if own else ""
            if token not in self._links if own else not is_address(url):
                raise self.invalid("FieldInvalid", "video_url", "the video cannot be fetched")
            return
        made = [job for job in self.jobs.values() if job.account == call.account and job.state == "success"]
        if fields["video_creation_id"] not in [job.facts.get("creation") for job in made]:
            raise Refuse(self.problem(404, "CreationNotFound", "There is no such creation."))

    def number(self, query: Mapping[str, str], name: str, usual: int) -> int:
        word = query.get(name, str(usual))
        if not (word.isascii() and word.isdecimal()):
            raise self.invalid("FieldInvalid", name, "it must be a whole number")
        return int(word)


def signature(key: str, method: str, path: str, query: str, headers: Mapping[str, str]) -> str:
    """The signature of a callback: `headers` are those that are signed, in their order, `Date` among them."""
    lines = [method, path, query, "vidu", headers["Date"], *(f"{name}:{value}" for name, value in headers.items())]
    text = "".join(f"{line}\n" for line in lines)
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def moment(word: str | None, usual: float) -> float:
    """Unix seconds of an RFC 3339 time in a query."""
    try:
        return datetime.fromisoformat(word.replace(" ", "+")).timestamp() if word else usual
    except ValueError:
        return usual


def is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)
