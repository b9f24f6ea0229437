"""Kling's official API: tasks on a path of their own for each kind, JWTs made of a pair of keys, results elsewhere.

Rules: section 1 of the fact sheet (app.klingai.com). A key of the form `ak|sk` is a pair, whose secret key
signs JWTs; any other is the newer single key. Not documented, and options here: whether an error may come with HTTP 200
(`errors_in_200`), the status of a dead result (`gone_status`), how long an extension is (`added`). Fields that Kling
does not have are not looked at: `facts["ignored"]` names them. There is no cancel.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from aiohttp import web

from proxy.testing import Answer, Call, Job, Operation, Refuse, Simulator, operation
from tests.simulators.kling_models import (
    ADDED,
    DEFAULTS,
    EDITABLE,
    EXTEND,
    EXTENDABLE,
    FIELDS,
    IMAGE,
    KINDS,
    LONGEST_EXTENDED,
    MODELS,
    MOTION,
    OMNI,
    SEVERAL,
    TEXT,
    price,
    problems,
)
from tests.simulators.kling_wire import CODE_OF, CODES, asked_for, is_address, pictures, signer, wrong_picture

MONTH: Final = 30 * 24 * 3600
RISK: Final = "Failure to pass the risk control system"

_SAME: Final = {"remix": "edit"}
"""What the contract asks for by another name."""


class KlingSimulator(Simulator):
    """Tasks as strict as the documents are; `refuse`, `moderate`, `fail` and `put` choose what becomes of them."""

    words: ClassVar[Mapping[str, str]] = {
        "queued": "submitted",
        "in_progress": "processing",
        "completed": "succeed",
        "failed": "failed",
    }

    def __init__(self, *, keys: Collection[str] = (f"{'Ak' * 16}|{'Sk' * 16}",)) -> None:
        super().__init__(keys=keys)
        self.now: Callable[[], float] = time.time
        """The clock that JWTs are held against."""
        self.errors_in_200 = False
        """Whether errors come with HTTP 200, so that only their code tells them."""
        self.max_parallel: int | None = None
        """How many tasks one account may have that have not ended; further ones are a 1303."""
        self.unique_external_ids = True
        """Whether one external_task_id is taken once only. The laws of the contract give all their orders the same."""
        self.added = ADDED
        self.gone_status = 404

    # -- the provider's own words --------------------------------------------------------------------------------------

    def told(self, code: int, message: str = "", *, status: int | None = None) -> Answer:
        """The answer for an error code."""
        usual, sentence = CODES.get(code, (status or 400, ""))
        body = {"code": code, "message": message or sentence, "request_id": str(uuid.uuid4())}
        return Answer(status=200 if self.errors_in_200 else status or usual, json=body)

    def error(self, status: int, message: str) -> Answer:
        return self.told(CODE_OF.get(status, 5000), message, status=status)

    def wrong(self, field: str, sentence: str) -> Refuse:
        return Refuse(self.told(1201, f"{field} {sentence}"))

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(self.denied(404))
        sent = call.headers.get("authorization", "")
        if not sent:
            raise Refuse(self.told(1001))
        scheme, _, token = sent.partition(" ")
        if scheme != "Bearer" or not token:
            raise Refuse(self.told(1002))
        if token in self.keys and "|" not in token:
            return token
        found = signer(token, self.keys, self.now())
        if isinstance(found, int):
            raise Refuse(self.told(found))
        return found

    def unauthorised(self, call: Call) -> Answer:
        return self.told(1000)

    def not_found(self, job_id: str) -> Answer:
        return self.told(1203, "Task not found")

    def denied(self, status: int) -> Answer:
        """What the other origin says, where results are."""
        page = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>'
        return Answer(status=status, body=page, headers={"Content-Type": "application/xml"})

    def new_id(self) -> str:
        # Above 2**53, where a float is another number.
        return str(867_283_741_000_000_000 + secrets.randbelow(10**9))

    async def _no_such_route(self, call: Call) -> Answer:
        known = any(call.path == f"/v1/videos/{kind}" or call.path.startswith(f"/v1/videos/{kind}/") for kind in KINDS)
        return self.told(1202 if known else 1203)

    def task(self, job: Job, *, born: bool = False) -> dict[str, Any]:
        """The task as it is shown; `born` as a create shows it."""
        external = {"external_task_id": job.facts["external"]} if job.facts["external"] else {}
        ended = job.completed_at or job.created_at
        shown: dict[str, Any] = {
            "task_id": job.id,
            "task_status": job.state,
            "task_info": external,
            "created_at": job.created_at * 1000 + 166,
            "updated_at": ended * 1000 + 166,
        }
        if born:
            return shown
        shown |= {"task_status_msg": "", "watermark_info": {"enabled": job.facts["watermark"]}}
        if (parent := job.facts["parent"]) is not None:
            shown["task_info"] = {**external, "parent_video": self.film(parent)}
        if job.state == "failed":
            shown |= {"task_status_msg": (job.failure or ("", ""))[1], "final_unit_deduction": "0"}
        elif job.state == "succeed":
            shown |= {"task_result": {"videos": [self.film(job)]}, "final_unit_deduction": f"{job.facts['units']:g}"}
        return shown

    def film(self, job: Job) -> dict[str, Any]:
        shown = {"id": job.facts["video"], "url": self.link(job), "duration": f"{job.facts['seconds'] + 0.1:g}"}
        return {**shown, "watermark_url": self.link(job, "-watermark")} if job.facts["watermark"] else shown

    def link(self, job: Job, more: str = "") -> str:
        return f"{self.files_url}/bs2/upload-ylab/{job.id}{more}.mp4?x-kcdn-pid=112452"

    def linked(self, url: str) -> Job | None:
        """The task whose result lies at an address, while it does."""
        name = urlsplit(url).path.rpartition("/")[2].removesuffix(".mp4").removesuffix("-watermark")
        job = self.jobs.get(name)
        return job if job and job.state == "succeed" and self.keeps(job) else None

    def keeps(self, job: Job) -> bool:
        return "gone" not in job.facts and (job.completed_at or 0) + MONTH > time.time()

    # -- what a test does ----------------------------------------------------------------------------------------------

    def refuse(self, code: int, message: str = "", *, on: str = "create", times: int | None = 1) -> None:
        """Answer the next call with an error code."""
        self.then(self.told(code, message), on=on, times=times)

    def moderate(self, job_id: str) -> None:
        """Let the task fail because of what it shows: only its sentence says so."""
        self.fail(job_id, message=RISK)

    def expire_results(self) -> None:
        """Let the thirty days of every result be over."""
        for job in self.jobs.values():
            job.facts["gone"] = True

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Any, *, on: str | None = None, times: int | None = 1) -> None:
        super().mangle(change, on=_SAME.get(on or "", on), times=times)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", f"/v1/videos/{TEXT}")
    async def text2video(self, call: Call) -> Answer:
        return await self.order(call, TEXT)

    @operation("create", "POST", f"/v1/videos/{IMAGE}")
    async def image2video(self, call: Call) -> Answer:
        return await self.order(call, IMAGE)

    @operation("create", "POST", f"/v1/videos/{SEVERAL}")
    async def multi_image2video(self, call: Call) -> Answer:
        return await self.order(call, SEVERAL)

    @operation("create", "POST", f"/v1/videos/{OMNI}")
    async def omni_video(self, call: Call) -> Answer:
        """Answers also as "edit" and "extend", see `asked_for`."""
        return await self.order(call, OMNI)

    @operation("create", "POST", f"/v1/videos/{MOTION}")
    async def motion_control(self, call: Call) -> Answer:
        return await self.order(call, MOTION)

    @operation("extend", "POST", f"/v1/videos/{EXTEND}")
    async def video_extend(self, call: Call) -> Answer:
        return await self.order(call, EXTEND)

    @operation("fetch", "GET", "/v1/videos/{kind}/{id}")
    async def fetch(self, call: Call) -> Answer:
        """The path's id is the task's, or the one that its maker gave it; its kind must be the task's."""
        wanted = call.match["id"]
        named = (job for job in self.own(call) if wanted in (job.id, job.facts["external"]))
        job = next((job for job in named if job.facts["path"] == call.match["kind"]), None)
        if job is None:
            raise Refuse(self.not_found(wanted))
        return self.said(self.task(self.poll(call, job.id)))

    @operation("list", "GET", "/v1/videos/{kind}")
    async def list(self, call: Call) -> Answer:
        page, size = (call.query.get(*pair) for pair in (("pageNum", "1"), ("pageSize", "30")))
        if not page.isdecimal() or not 1 <= int(page) <= 1000:
            raise self.wrong("pageNum", "must be 1 to 1000")
        if not size.isdecimal() or not 1 <= int(size) <= 500:
            raise self.wrong("pageSize", "must be 1 to 500")
        alike = [job for job in self.own(call) if job.facts["path"] == call.match["kind"]][::-1]
        start = (int(page) - 1) * int(size)
        return self.said([self.task(job) for job in alike[start : start + int(size)]])

    @operation("content", "GET", "/bs2/upload-ylab/{name}", open=True)
    async def content(self, call: Call) -> Answer:
        """As a CDN gives it: to anybody who has the whole address, until the month is over."""
        job = self.linked(call.path)
        if not call.elsewhere or "x-kcdn-pid" not in call.query or job is None:
            return self.denied(self.gone_status)
        return self.serve(call, self.content_of(job))

    def own(self, call: Call) -> Iterator[Job]:
        return (job for job in self.jobs.values() if job.account == call.account)

    def said(self, data: Any) -> Answer:
        return Answer(json={"code": 0, "message": "SUCCEED", "request_id": str(uuid.uuid4()), "data": data})

    async def order(self, call: Call, kind: str) -> Answer:
        """Take a task of one kind, or say what is wrong with it."""
        data = call.json
        if call.content_type != "application/json" or not isinstance(data, dict):
            raise Refuse(self.told(1200, "The body must be a JSON object"))
        fields = {name: value for name, value in data.items() if name in FIELDS[kind] and value is not None}
        model = fields.get("model_name", DEFAULTS.get(kind))
        if kind != EXTEND and (not isinstance(model, str) or model not in MODELS):
            raise Refuse(self.told(1203, "model is not supported"))
        if found := next(problems(kind, fields), None):
            raise self.wrong(*found)
        for name, value in pictures(fields):
            if why := await asyncio.to_thread(wrong_picture, value):
                raise self.wrong(name, why)
        parent = self.parent(call, fields["video_id"]) if kind == EXTEND else None
        film = next((film["video_url"] for film in fields.get("video_list", [])), fields.get("video_url"))
        if film is not None and (why := self.wrong_film(film)):
            raise self.wrong("video_url", why)
        external = fields.get("external_task_id")
        if external and self.unique_external_ids and any(job.facts["external"] == external for job in self.own(call)):
            raise self.wrong("external_task_id", "already exists")
        busy = sum(job.state in ("submitted", "processing") for job in self.own(call))
        if self.max_parallel is not None and busy >= self.max_parallel:
            raise Refuse(self.told(1303))
        facts = self.inherited(parent) if parent else self.ordered(fields, model, film)
        facts |= {
            "path": kind,
            "video": str(uuid.uuid4()),
            "external": external,
            "watermark": fields.get("watermark_info", {}).get("enabled", False),
            "ignored": sorted(data.keys() - FIELDS[kind]),
            "parent": parent,
        }
        job = self.take(call, kind=call.operation, **facts)
        return self.said(self.task(job, born=True))

    def ordered(self, fields: Mapping[str, Any], model: Any, film: str | None) -> dict[str, Any]:
        rule = MODELS[model]
        mode, seconds = fields.get("mode", rule.usual_mode), int(fields.get("duration", "5"))
        units = price(rule, mode, seconds, sound=fields.get("sound") == "on", film=film is not None)
        return {"model": model, "mode": mode, "seconds": seconds, "units": units}

    def inherited(self, parent: Job) -> dict[str, Any]:
        model, mode = parent.facts["model"], parent.facts["mode"]
        units = price(MODELS[model], mode, self.added, sound=False, film=False)
        return {"model": model, "mode": mode, "seconds": parent.facts["seconds"] + self.added, "units": units}

    def parent(self, call: Call, video_id: str) -> Job:
        """The task whose film is extended: it is named by the id of the film, not of the task."""
        job = next((job for job in self.own(call) if job.facts["video"] == video_id), None)
        if job is None or job.state != "succeed" or not self.keeps(job):
            raise Refuse(self.told(1203, "video_id does not exist"))
        if job.facts["model"] not in EXTENDABLE or job.facts["path"] not in (TEXT, IMAGE, EXTEND):
            raise self.wrong("video_id", "this video cannot be extended")
        if job.facts["seconds"] + self.added > LONGEST_EXTENDED:
            raise self.wrong("video_id", f"the video would have more than {LONGEST_EXTENDED} seconds")
        return job

    def wrong_film(self, url: Any) -> str:
        """Why an input film cannot be used; addresses outside are not fetched."""
        if not is_address(url):
            return "must be a URL"
        if not url.startswith(f"{self.files_url}/"):
            return ""
        job = self.linked(url)
        if job is None:
            return "cannot be fetched"
        return "" if EDITABLE[0] <= job.facts["seconds"] <= EDITABLE[1] else "must have 3 to 10 seconds"

    def _handler(
        self, operation: Operation, method: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = super()._handler
        if operation.path != f"/v1/videos/{OMNI}":
            return handler(operation, method)
        # One route for several operations, which tests script and count apart.
        kinds = {kind: handler(replace(operation, name=kind), method) for kind in ("create", "edit", "extend")}

        async def handle(request: web.Request) -> web.StreamResponse:
            return await kinds[asked_for(request.path, await request.read())](request)

        return handle
