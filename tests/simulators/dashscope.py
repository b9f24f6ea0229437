"""Alibaba's DashScope, the tasks of Wan and HappyHorse: orders on two routes, a list, cancelling, and temporary files.

Rules: https://help.aliyun.com/en/model-studio (the video models' references, manage-asynchronous-tasks, error-code,
get-temporary-file-url) and the wire of its SDK 2.0.2. Not documented, and options here: whether a prompt that is too
long is refused or cut (`strict_prompts`), whether the length in `usage` is a float (`float_durations`), and by which
words older models tell it (`old_usage`).
"""

from __future__ import annotations

import math
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from aiohttp import web

from proxy.testing import Answer, Call, Job, Operation, Refuse, operation
from tests.simulators.dashscope_files import API, BEIJING, DashScopeFiles
from tests.simulators.dashscope_models import LONGEST_NEGATIVE, SIZES, Rule, files, kind_of, problems, rule_of
from tests.simulators.media import duration

ORDERS: Final = f"{API}/services/aigc"
DAY: Final = 24 * 3600

FAILURES: Final = {
    "DataInspectionFailed": "Output data may contain inappropriate content.",
    "InternalError.Algo": "The video could not be made.",
    "InvalidParameter.DataInspection": "Unable to download the media resource during the data inspection process.",
    "IPInfringementSuspect": "Input data is suspected of being involved in IP infringement.",
}
"""What a task fails with, after it was taken."""
_SAME: Final = {"remix": "edit"}
"""What the contract asks for by another name: a new film of a film is an edit."""


class DashScopeSimulator(DashScopeFiles):
    """Tasks as strict as the documents are; `expire` lets one vanish, `put` holds it SUSPENDED or CANCELED."""

    words: ClassVar = {"queued": "PENDING", "in_progress": "RUNNING", "completed": "SUCCEEDED", "failed": "FAILED"}

    def __init__(self, *, keys: Collection[str] = (f"sk-{'5e' * 16}",)) -> None:
        super().__init__(keys=keys)
        self.strict_prompts = False
        self.float_durations = False
        self.old_usage = False
        """Whether `usage` is that of the models before 2.5."""
        self.link_seconds = DAY

    # -- the provider's own words --------------------------------------------------------------------------------------

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(self.denied(403, "SignatureDoesNotMatch"))
        return super().authenticate(call)

    def unauthorised(self, call: Call) -> Answer:
        return self.refusal("InvalidApiKey")

    def not_found(self, job_id: str) -> Answer:
        """A task that does not exist, or no longer, is no error: its state is UNKNOWN."""
        return self.said({"output": {"task_id": job_id, "task_status": "UNKNOWN"}})

    def new_id(self) -> str:
        return str(uuid.uuid4())

    async def _no_such_route(self, call: Call) -> Answer:
        return self.said({"code": "InvalidParameter", "message": "url error, please check url！"}, 400)

    def task(self, job: Job) -> dict[str, Any]:
        """The task as a poll shows it: `output`, and `usage` once it is billed."""
        if job.state == "UNKNOWN":
            return {"output": {"task_id": job.id, "task_status": "UNKNOWN"}}
        output: dict[str, Any] = {"task_id": job.id, "task_status": job.state, "submit_time": clock(job.created_at)}
        if job.state in ("RUNNING", "SUCCEEDED", "FAILED"):
            output["scheduled_time"] = clock(job.created_at)
        if job.completed_at is not None:
            output["end_time"] = clock(job.completed_at)
        if job.state == "SUCCEEDED":
            output["orig_prompt"] = job.facts["prompt"]
            if job.facts["extended"]:
                output["actual_prompt"] = f"{job.facts['prompt']}, in soft light, filmed from a low angle"
            output["video_url"] = self.link(job)
            return {"output": output, "usage": self.usage(job)}
        if job.state == "FAILED":
            output["code"], output["message"] = job.failure or ("InternalError.Algo", "")
        return {"output": output}

    def usage(self, job: Job) -> dict[str, Any]:
        """What is billed: of an extension, the clip that it began with too."""
        seconds: float = float(job.facts["seconds"]) if self.float_durations else job.facts["seconds"]
        size, tier = job.facts["size"], job.facts["tier"]
        if self.old_usage:
            return {"video_count": 1, "video_duration": seconds, "video_ratio": size}
        across, down = (int(side) for side in size.split("*"))
        shape = {"SR": int(tier.rstrip("P")), "size": size, "video_ratio": ratio(across, down)}
        return {"duration": seconds, "output_video_duration": seconds, "video_count": 1, **shape}

    def link(self, job: Job) -> str:
        """The public address of the result: the same one at every look, with a signature that runs out."""
        if "link" not in job.facts:
            expires_at = int(time.time()) + self.link_seconds
            signature = secrets.token_hex(14)
            self._links[signature] = (job.id, expires_at)
            query = f"Expires={expires_at}&OSSAccessKeyId=LTAI{'x' * 20}&Signature={signature}"
            job.facts["link"] = f"{self.files_url}/1d/{job.id}.mp4?{query}"
        link: str = job.facts["link"]
        return link

    # -- what a test does ----------------------------------------------------------------------------------------------

    def fail(self, job_id: str, *, code: str = "InternalError.Algo", message: str = "") -> None:
        super().fail(job_id, code=code, message=message or FAILURES.get(code, "The task failed."))

    def expire(self, job_id: str) -> None:
        """Let the 24 hours of a task be over: it is UNKNOWN, and its result is gone."""
        self.put(job_id, "UNKNOWN")
        self.expire_links(job_id)

    def expire_links(self, job_id: str | None = None) -> None:
        """Let the addresses of results run out, all or one task's."""
        gone = [word for word, (meant, _) in self._links.items() if job_id in (None, meant)]
        for word in gone:
            del self._links[word]

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    def mangle(self, change: Any, *, on: str | None = None, times: int | None = 1) -> None:
        super().mangle(change, on=_SAME.get(on or "", on), times=times)

    def _handler(
        self, operation: Operation, method: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = super()._handler
        if operation.name != "create":
            return handler(operation, method)
        # One route for several operations, which tests script and count apart.
        kinds = {kind: handler(replace(operation, name=kind), method) for kind in ("create", "edit", "extend")}

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                order = await request.json()
            except (ValueError, RecursionError):
                order = None
            return await kinds[kind_of(order)](request)

        return handle

    # -- tasks ---------------------------------------------------------------------------------------------------------

    @operation("create", "POST", f"{ORDERS}/{{group}}/video-synthesis")
    async def order(self, call: Call) -> Answer:
        """Answers also as "edit" and "extend", see `kind_of`."""
        if call.headers.get("x-dashscope-async") != "enable":
            raise Refuse(self.refusal("AccessDenied", "current user api does not support synchronous calls."))
        body = call.json
        if call.content_type != "application/json" or not isinstance(body, dict):
            raise self.invalid("Required body invalid, please check the request body format.")
        given, wanted = body.get("input"), body.get("parameters", {})
        if not isinstance(given, dict) or not isinstance(wanted, dict):
            raise self.invalid("input must be an object, and so must parameters")
        rule = rule_of(body.get("model"))
        if rule is None:
            raise Refuse(self.refusal("ModelNotFound"))
        if call.match["group"] != rule.route:
            raise self.invalid("url error, please check url！")
        given = {name: value for name, value in given.items() if value is not None}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if found := sorted(problems(rule, given, wanted)):
            raise self.invalid("; ".join(found))
        facts = self.facts(rule, given, wanted)
        clips = {name: await self.opened(call, name, kind, url) for name, kind, url in files(rule, given)}
        if (clip := clips.get("first_clip")) and facts["seconds"] <= math.ceil(duration(clip)):
            raise self.invalid("duration counts the first_clip too, and must be longer than it")
        job = self.take(call, kind=kind_of(body), model=body["model"], route=rule.route, **facts)
        return self.said({"output": {"task_status": job.state, "task_id": job.id}})

    def facts(self, rule: Rule, given: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        """What becomes of an order: its prompt, cut where it is too long, and the shape of its film."""
        prompt = given.get("prompt", "")
        for name, text, longest in (
            ("prompt", prompt, rule.prompt),
            ("negative_prompt", given.get("negative_prompt", ""), LONGEST_NEGATIVE),
        ):
            if self.strict_prompts and len(text) > longest:
                raise self.invalid(f"{name} must be no longer than {longest} characters")
        tiers = {size: tier for tier, sizes in SIZES.items() for size in sizes}
        tier = wanted.get("resolution") or tiers.get(wanted.get("size", ""), "720P")
        return {
            "prompt": prompt[: rule.prompt],
            "extended": wanted.get("prompt_extend", True),
            "seconds": wanted.get("duration", 5),
            "tier": tier,
            "size": wanted.get("size") or shaped(tier, wanted.get("ratio", "16:9")),
        }

    @operation("fetch", "GET", f"{API}/tasks/{{id}}")
    async def fetch(self, call: Call) -> Answer:
        return self.said(self.task(self.poll(call, call.match["id"])))

    @operation("list", "GET", f"{API}/tasks")
    async def listed(self, call: Call) -> Answer:
        """The tasks of the account within at most a day, newest first; without prompts and results."""
        query = call.query
        first, last = self.window(query.get("start_time"), query.get("end_time"))
        page, size = self.number(query, "page_no", 1), self.number(query, "page_size", 10)
        found = [
            job
            for job in reversed(self.jobs.values())
            if job.account == call.account
            and first <= job.created_at <= last
            and query.get("model_name") in (None, job.facts["model"])
            and query.get("status") in (None, job.state)
            and query.get("task_id") in (None, job.id)
        ]
        shown = [self.entry(job) for job in found[(page - 1) * size : page * size]]
        pages = math.ceil(len(found) / size)
        return self.said({"total": len(found), "data": shown, "total_page": pages, "page_no": page, "page_size": size})

    @operation("list", "GET", f"{API}/tasks/")
    async def listed_with_a_slash(self, call: Call) -> Answer:
        return await self.listed(call)

    def entry(self, job: Job) -> dict[str, Any]:
        route, model = job.facts["route"], job.facts["model"]
        times = {"gmt_create": job.created_at, "start_time": job.created_at, "end_time": job.completed_at}
        return {
            "api_key_id": "15001",
            "caller_parent_id": "1900000000000001",
            "caller_uid": "1900000000000001",
            **{name: int(moment * 1000) for name, moment in times.items() if moment is not None},
            "model_name": model,
            "region": "cn-beijing",
            "request_id": str(uuid.uuid4()),
            "status": job.state,
            "task_id": job.id,
            "user_api_unique_key": f"apikey:v1:aigc:{route}:video-synthesis:{model}",
        }

    @operation("cancel", "POST", f"{API}/tasks/{{id}}/cancel")
    async def cancel(self, call: Call) -> Answer:
        job = self.jobs.get(call.match["id"])
        if job is None or job.account != call.account or job.state != "PENDING":
            raise Refuse(self.refusal("UnsupportedOperation"))
        job.cancelled = True
        self.put(job.id, "CANCELED", means="failed")
        return self.said({})

    @operation("content", "GET", "/1d/{id}.mp4", open=True)
    async def content(self, call: Call) -> Answer:
        job = self.linked(call.match["id"], call.query.get("Signature", "")) if call.elsewhere else None
        return self.denied(403, "AccessDenied") if job is None else self.serve(call, self.content_of(job))

    # -- validation ----------------------------------------------------------------------------------------------------

    def number(self, query: dict[str, str], name: str, usual: int) -> int:
        value = query.get(name, str(usual))
        if not value.isdecimal() or not 1 <= int(value) <= 10_000:
            raise self.invalid(f"{name} must be a positive integer")
        return int(value)

    def window(self, start: str | None, end: str | None) -> tuple[float, float]:
        """The first and the last second that a list is about."""
        try:
            first, last = (
                datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp() if text else None
                for text in (start, end)
            )
        except ValueError:
            raise self.invalid("start_time and end_time must look like 20260101100000") from None
        if last is None:
            last = time.time() if first is None else first + DAY
        first = last - DAY if first is None else first
        if not 0 <= last - first <= DAY:
            raise self.invalid("the time range must not exceed 24 hours")
        return first, last


def clock(moment: float) -> str:
    """A time as DashScope tells it: Beijing's, with milliseconds, without a zone."""
    return f"{datetime.fromtimestamp(moment, UTC).astimezone(BEIJING):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def ratio(across: int, down: int) -> str:
    divisor = math.gcd(across, down)
    return f"{across // divisor}:{down // divisor}"


def shaped(tier: str, wanted: str) -> str:
    """The size of a tier that is nearest to a ratio."""
    across, down = (int(part) for part in wanted.split(":"))

    def distance(size: str) -> float:
        width, height = (int(side) for side in size.split("*"))
        return abs(math.log(width / height) - math.log(across / down))

    return min(SIZES[tier], key=distance)
