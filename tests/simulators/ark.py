"""Volcengine Ark and BytePlus ModelArk (Seedance): tasks behind one route, and results on another origin.

Rules: sections 4 and 5 of the fact sheet. Not in it, and options here: whether parameters that a model does not have
are refused (`strict`; else they are passed over), whether a ratio may be named beside frames (`free_ratio`), whether
what is not set is null or absent in an answer (`nulls`), what is said of a task that is not there (`unknown_task`) and
of one that cannot be deleted (`undeletable`). Flags in the prompt win over the body, the worst that the sheet's words
allow. A link is the same at each look, and dies a day after its video was made.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web

from proxy.testing import Answer, Call, Job, Refuse, Simulator, operation
from proxy.testing.simulator import Operation
from tests.simulators.ark_models import (
    ADAPTIVE,
    AUTO,
    CARDS,
    FPS,
    RATIOS,
    WORDS,
    Card,
    Content,
    Problem,
    Region,
    flags,
    foreign,
    read,
    unfit,
    without_nulls,
    wrong,
)
from tests.simulators.media import picture

TASKS: Final = "/api/v3/contents/generations/tasks"
STATES: Final = ("queued", "running", "cancelled", "succeeded", "failed", "expired")
DAY: Final = 24 * 3600
VISIBLE: Final = 7 * DAY
"""Seconds that a task can be seen, and that a draft can be made into a video."""
LARGEST_PAGE: Final = 500
_SAME: Final = {"remix": "edit", "cancel": "delete"}
"""What the contract asks for by another name."""
_CODES: Final = {
    401: ("AuthenticationError", "Unauthorized"),
    402: ("AccountOverdueError", "Forbidden"),
    403: ("AccessDenied", "Forbidden"),
    404: ("InvalidEndpointOrModel.NotFound", "NotFound"),
    429: ("RateLimitExceeded.EndpointRPMExceeded", "TooManyRequests"),
}


class ArkSimulator(Simulator):
    """Tasks as strict as the sheet; `put`, `fail` and `expire_links` choose their ends. All states can be `put`."""

    region: ClassVar[Region] = "volcengine"
    words: ClassVar[Mapping[str, str]] = {"in_progress": "running", "completed": "succeeded"}

    def __init__(self, *, keys: Collection[str] = (f"{'5e' * 4}-5e5e-5e5e-5e5e-{'5e' * 6}",)) -> None:
        super().__init__(keys=keys)
        self.strict = True
        self.free_ratio = True
        self.nulls = False
        self.unknown_task = (404, "ResourceNotFound")
        self.undeletable = (400, "InvalidParameter")
        self.endpoints: dict[str, str] = {}
        """The model behind each endpoint id (`ep-…`) of the accounts; an empty one has been closed."""
        self.not_open: set[str] = set()
        """Models that the accounts have not activated."""
        self.forbidden = ""
        """A word that no prompt may have: it is refused before a task is taken."""
        self.penniless = False
        self.assets: set[str] = set()
        """Ids of assets, which the 2.x family takes as `asset://…`."""
        self.link_seconds = DAY

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str, *, code: str = "", param: str = "") -> Answer:
        other = ("InternalServiceError", "InternalServerError") if status >= 500 else ("InvalidParameter", "BadRequest")
        usual, kind = _CODES.get(status, other)
        said = f"{message} Request id: 0217{secrets.token_hex(20)}"
        inner = {"code": code or usual, "message": said, "param": param, "type": kind}
        return Answer(status=status, json={"error": inner})

    def refuse(self, problem: Problem) -> Refuse:
        code, param, sentence = problem
        return Refuse(self.error(400, f"The parameter `{param}` is not valid: {sentence}", code=code, param=param))

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(denied("MethodNotAllowed" if call.method == "HEAD" else "NoSuchKey"))
        return super().authenticate(call)

    def unauthorised(self, call: Call) -> Answer:
        return self.error(401, "The API key or AK/SK in the request is missing or invalid.")

    def not_found(self, job_id: str) -> Answer:
        status, code = self.unknown_task
        return self.error(status, f"The specified task {job_id} is not found.", code=code)

    def new_id(self) -> str:
        tail = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))
        return f"cgt-{datetime.now(UTC):%Y%m%d%H%M%S}-{tail}"

    def task(self, job: Job) -> dict[str, Any]:
        """The task as it is shown; as long as it waits, most fields are not there."""
        facts, made = job.facts, job.state == "succeeded"
        shown: dict[str, Any] = {
            "id": job.id,
            "model": facts["model"],
            "status": job.state,
            "error": None,
            "created_at": job.created_at,
            "updated_at": job.completed_at or job.created_at,
            "service_tier": facts["body"].get("service_tier", "default"),
            "execution_expires_after": facts["body"].get("execution_expires_after", 2 * DAY),
        }
        later: dict[str, Any] = dict.fromkeys(("content", "usage", "seed", "resolution", "ratio", "framespersecond"))
        if job.state == "failed":
            code, message = job.failure or ("", "")
            shown["error"] = {"code": code, "message": message}
        if made:
            tokens = facts["tokens"]
            later["content"] = {"video_url": self.link(job)}
            if facts["body"].get("return_last_frame"):
                later["content"]["last_frame_url"] = self.link(job, "png")
            later["usage"] = {"completion_tokens": tokens, "total_tokens": tokens}
            later.update({name: facts["made"][name] for name in later.keys() & facts["made"].keys()})
            later.update(facts["length"], framespersecond=FPS)
            if facts["card"].family != "1.0":
                later["generate_audio"] = facts["made"]["generate_audio"]
            if facts["body"].get("draft"):
                later["draft"] = True
            if facts["draft"]:
                later["draft_task_id"] = facts["draft"]
        whole = {**shown, **later}
        return whole if self.nulls else {name: value for name, value in whole.items() if value is not None or made}

    def link(self, job: Job, kind: str = "mp4") -> str:
        """The public address of a result, signed for a day from when it was made."""
        if "signature" not in job.facts:
            job.facts["signature"] = secrets.token_hex(32)
        moment = datetime.fromtimestamp(job.completed_at or job.created_at, UTC)
        query = {
            "X-Tos-Algorithm": "TOS4-HMAC-SHA256",
            "X-Tos-Credential": f"AKLT{'7a' * 12}/{moment:%Y%m%d}/cn-beijing/tos/request",
            "X-Tos-Date": f"{moment:%Y%m%dT%H%M%SZ}",
            "X-Tos-Expires": str(self.link_seconds),
            "X-Tos-Signature": job.facts["signature"],
            "X-Tos-SignedHeaders": "host",
        }
        return f"{self.files_url}/{job.facts['model']}/{job.id}.{kind}?{urlencode(query)}"

    def linked(self, url: str) -> Job | None:
        """The task whose result an address shows, while it does."""
        parts = urlsplit(url)
        job = self.jobs.get(parts.path.rpartition("/")[2].partition(".")[0])
        signed = parse_qs(parts.query).get("X-Tos-Signature", [""])[0]
        if job is None or job.completed_at is None or signed != job.facts.get("signature"):
            return None
        return job if job.completed_at + self.link_seconds > time.time() else None

    # -- what a test does ----------------------------------------------------------------------------------------------

    def expire_links(self) -> None:
        """Let every address of a result run out; there is no way to a new one."""
        for job in self.jobs.values():
            job.facts["signature"] = secrets.token_hex(32)

    def age(self, job_id: str, seconds: float) -> None:
        """Let a task be older by so many seconds."""
        job = self.jobs[job_id]
        job.created_at -= int(seconds)
        if job.completed_at is not None:
            job.completed_at -= int(seconds)

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Callable[[Any], Any], *, on: str | None = None, times: int | None = 1) -> None:
        super().mangle(change, on=_SAME.get(on or "", on), times=times)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", TASKS)
    async def create(self, call: Call) -> Answer:
        fields = without_nulls(call.json)
        if call.content_type != "application/json" or not isinstance(fields, dict):
            raise self.refuse(("InvalidParameter", "body", "it must be a JSON object."))
        for name in ("model", "content"):
            if not fields.get(name):
                raise self.refuse(("MissingParameter", name, "it is missing."))
        model, card = self.card(fields["model"])
        content = read(fields["content"])
        if not isinstance(content, Content):
            raise self.refuse(content)
        if not self.strict:
            fields = {name: value for name, value in fields.items() if name not in foreign(fields, card)}
        if problem := next(wrong(fields, content, card, free=self.free_ratio), None):
            raise self.refuse(problem)
        if self.forbidden and self.forbidden in content.text:
            said = "The request failed because the input text may contain sensitive information."
            raise Refuse(self.error(400, said, code="InputTextSensitiveContentDetected"))
        await self.media(content, card)
        if self.penniless:
            raise Refuse(self.error(403, "The account has an overdue balance.", code="AccountOverdueError"))
        job = self.take(call, kind=call.operation, **self.ordered(call, fields, content, model, card))
        return Answer(json={"id": job.id})

    @operation("list", "GET", TASKS)
    async def list(self, call: Call) -> Answer:
        ids = list(filter(None, call.query.get("filter.task_ids", "").split(",")))
        wanted = {name: call.query.get(f"filter.{name}") for name in ("status", "model", "service_tier")}
        page = [call.query.get(name, usual) for name, usual in (("page_num", "1"), ("page_size", "20"))]
        for name, word in zip(("page_num", "page_size"), page, strict=True):
            if not word.isdecimal() or not 1 <= int(word) <= LARGEST_PAGE:
                raise self.refuse(("InvalidParameter", name, f"it must be 1 to {LARGEST_PAGE}."))
        for name, legal in (("status", STATES), ("service_tier", WORDS["service_tier"])):
            if wanted[name] not in (None, *legal):
                raise self.refuse(("InvalidParameter", f"filter.{name}", f"it must be one of {', '.join(legal)}."))
        number, size = map(int, page)
        found = [
            shown
            for job in reversed(self.jobs.values())
            if job.account == call.account and self.visible(job) and (not ids or job.id in ids)
            for shown in (self.task(job),)
            if wanted["model"] in (None, shown["model"], job.facts["body"]["model"])
            if all(wanted[name] in (None, shown[name]) for name in ("status", "service_tier"))
        ]
        return Answer(json={"total": len(found), "items": found[(number - 1) * size : number * size]})

    @operation("fetch", "GET", f"{TASKS}/{{id}}")
    async def fetch(self, call: Call) -> Answer:
        return Answer(json=self.task(self.poll(call, call.match["id"])))

    @operation("delete", "DELETE", f"{TASKS}/{{id}}")
    async def delete(self, call: Call) -> Answer:
        job = self.find(call, call.match["id"])
        if job.state == "queued":
            job.cancelled = True
            self.put(job.id, "cancelled", means="failed")
        elif job.state in ("succeeded", "failed", "expired"):
            job.removed = True
        else:
            status, code = self.undeletable
            raise Refuse(self.error(status, f"A task that is {job.state} cannot be deleted.", code=code))
        return Answer()

    @operation("content", "GET", "/{model}/{name}", open=True)
    async def content(self, call: Call) -> Answer:
        """As the object storage gives a result: to whoever has the address, and no key."""
        if not call.elsewhere:
            return self.error(404, "There is nothing here.")
        job = self.linked(f"{call.path}?{urlencode(call.query)}")
        if job is None or "authorization" in call.headers:
            return denied("AccessDenied")
        if call.path.endswith(".png"):
            return self.serve(call, await asyncio.to_thread(picture, "PNG"), "image/png")
        return self.serve(call, self.content_of(job))

    def visible(self, job: Job) -> bool:
        return not job.removed and job.created_at + VISIBLE > time.time()

    def find(self, call: Call, job_id: object) -> Job:
        job = super().find(call, job_id)
        if not self.visible(job):
            raise Refuse(self.not_found(job.id))
        return job

    def card(self, name: Any) -> tuple[str, Card]:
        """The model that a body names, by its own id or by that of an endpoint."""
        model = self.endpoints.get(name, name) if isinstance(name, str) else None
        if model == "":
            raise Refuse(self.error(400, "The endpoint is closed.", code="InvalidEndpoint.ClosedEndpoint"))
        card = CARDS[self.region].get(model) if model else None
        if model is None or card is None:
            raise Refuse(self.error(404, f"The model or endpoint {name} does not exist or you have no access to it."))
        if model in self.not_open:
            raise Refuse(self.error(404, f"Your account has not activated the model {model}.", code="ModelNotOpen"))
        return model, card

    def ordered(self, call: Call, body: dict[str, Any], content: Content, model: str, card: Card) -> dict[str, Any]:
        """What a task is to make: the body, what flags in its prompt change, and what a draft hands on."""
        text, flagged = flags(content.text, card)
        made: dict[str, Any] = {"resolution": "480p" if body.get("draft") else card.default, "duration": 5, "seed": -1}
        made |= {"ratio": ADAPTIVE if content.pictures else RATIOS[0], "watermark": False}
        made |= {"generate_audio": card.family != "1.0"}
        if content.draft is not None:
            draft = self.find(call, content.draft)
            if not draft.facts["body"].get("draft") or draft.state != "succeeded":
                raise self.refuse(("InvalidParameter", "content.draft_task", "that task is no finished draft."))
            made |= {**draft.facts["made"], "resolution": card.default}
            text = draft.facts["prompt"]
        made |= {name: value for name, value in {**body, **flagged}.items() if name not in ("model", "content")}
        made["seed"] = secrets.randbelow(2**32) if made["seed"] == -1 else made["seed"]
        made["ratio"] = RATIOS[0] if made["ratio"] == ADAPTIVE else made["ratio"]
        seconds = 5 if made["duration"] == AUTO else made["duration"]
        frames = made.get("frames", FPS * seconds + 1)
        sources = [self.linked(url) for url in content.videos]
        frames += sum(FPS * source.facts["length"].get("duration", 5) for source in sources if source)
        width, height = card.pixels(made["resolution"], made["ratio"])
        return {
            "model": model,
            "card": card,
            "body": body,
            "prompt": text,
            "flags": flagged,
            "made": made,
            "draft": content.draft,
            "length": {"frames": made["frames"]} if "frames" in made else {"duration": seconds},
            "tokens": width * height * frames // 1024,
        }

    # -- inputs --------------------------------------------------------------------------------------------------------

    async def media(self, content: Content, card: Card) -> None:
        """Refuse an input that Ark could not read; addresses outside are not fetched."""
        kinds = {"image_url": content.pictures, "video_url": content.videos, "audio_url": content.sounds}
        for name, url in ((name, url) for name, urls in kinds.items() for url in urls):
            if why := await self.unreadable(name, url, card):
                raise self.refuse(("InvalidParameter", f"content.{name}", why))

    async def unreadable(self, name: str, url: str, card: Card) -> str:
        if url.startswith("asset://"):
            known = card.family == "2.x" and url.removeprefix("asset://") in self.assets
            return "" if known else "there is no such asset for this model."
        if url.startswith("data:"):
            return await asyncio.to_thread(unfit, url, card) if name == "image_url" else "it must be an address."
        if url.startswith(f"{self.files_url}/"):
            return "" if self.linked(url) else "the resource could not be downloaded."
        try:
            parts = urlsplit(url)
        except ValueError:
            return "the address is malformed."
        return "" if parts.scheme == "https" and parts.hostname else "it must be an HTTPS address."

    # -- inside --------------------------------------------------------------------------------------------------------

    def _handler(
        self, operation: Operation, method: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = super()._handler
        if operation.name not in ("create", "list"):
            return handler(operation, method)
        kinds = {kind: handler(replace(operation, name=kind), method) for kind in ("create", "edit", "extend")}
        kinds["list"] = handler(operation, method)

        async def handle(request: web.Request) -> web.StreamResponse:
            if operation.name == "create":
                # One route for several operations, which tests script and count apart.
                return await kinds[kind_of(await request.read())](request)
            # A `Call` keeps one value of a name.
            ids = ",".join(request.query.getall("filter.task_ids", []))
            return await kinds["list"](request.clone(rel_url=request.rel_url.update_query({"filter.task_ids": ids})))

        return handle


class ModelArkSimulator(ArkSimulator):
    """The international twin: the same wire, other names of the models."""

    region: ClassVar[Region] = "byteplus"


def kind_of(body: bytes) -> str:
    """What a body asks for: "create", "edit" or "extend"."""
    try:
        word = json.loads(body).get("omni_reference_task_type")
    except (ValueError, AttributeError):
        return "create"
    return word if word in ("edit", "extend") else "create"


def denied(code: str) -> Answer:
    """What the object storage says to an address that is no good."""
    page = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Answer(status=403, body=page.encode(), headers={"Content-Type": "application/xml"})
