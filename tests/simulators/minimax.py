"""MiniMax's video API, both generations on one host: V1 (Hailuo), whose errors are inside HTTP 200 and whose result
takes a third call, and V2 (H3), with real statuses. Results lie on another origin.

Rules: sections 6A and 6B of the fact sheet. Not confirmed there, and options here: whether fields that a route does not
have are refused (`strict`; else they are passed over), whether the bounds of a picture's sides hold (`bounds_sides`),
whether 2.3-Fast takes text alone (`fast_takes_text`), whether there is an H3-Max (`h3_max`), the code of a wrong key
in V1 (`bad_key`), what is said of a task or file that is not there (`missing_code` in V1, `missing_status` in V2),
whether every look gives a fresh link (`fresh_links`) and for how long those of V2 are good (`link_seconds`), the key of
the list (`listed_as`), the words of a deletion (`mainland`), who may regenerate (`may_regenerate`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, Literal

from proxy.testing import Answer, Call, Job, Refuse, operation
from tests.simulators.minimax_files import MinimaxFiles, denied
from tests.simulators.minimax_models import (
    DOLLARS,
    DOLLARS_PER_PICTURE,
    DOLLARS_REGENERATED,
    FREE_PICTURES,
    H3,
    PIXELS,
    RULES,
    TIERS,
    media,
    problems_v1,
    problems_v2,
)

WEEK: Final = 7 * 24 * 3600
OLD_WORDS: Final = {"queued": "Queueing", "running": "Processing", "succeeded": "Success", "failed": "Fail"}
"""How V1 calls the states of V2; it has one more, Preparing, where a task begins."""
CALLED_BACK: Final = {"succeeded": "success", "failed": "failed"}
"""How a callback of V1 calls them; all others are processing."""
CODES: Final = {400: 2013, 401: 1004, 402: 1008, 403: 2038, 408: 1001, 422: 1026, 429: 1002}
"""The code that V1 gives what V2 says by a status; 1000 where it is 500 or more."""
KINDS: Final = {
    401: "authorized_error",
    402: "insufficient_balance_error",
    422: "unprocessable_entity_error",
    429: "rate_limit_error",
}

_SAME: Final = {"cancel": "delete"}
"""What the contract asks for by another name."""


class MinimaxSimulator(MinimaxFiles):
    """Tasks of both generations; `prepare`, `cancel`, `expire`, `moderate`, `fail` and `put` choose their states.

    A task of V1 may be put into the words of V1. What `error` says is in the words of `generation`.
    """

    generation: ClassVar[Literal["v1", "v2"]] = "v1"
    words: ClassVar[Mapping[str, str]] = {"in_progress": "running", "completed": "succeeded"}

    def __init__(self, *, keys: Collection[str] = (f"sk-api-{'5e' * 40}",)) -> None:
        super().__init__(keys=keys)
        self.strict = True
        self.fast_takes_text = False
        self.h3_max = True
        self.bad_key = 1004
        self.missing_code = 2013
        self.missing_status = 404
        self.listed_as = "tasks"
        self.mainland = False
        self.may_regenerate = True
        self.forbidden = ""
        """A word that no prompt may have: it is refused before a task is taken."""
        self.penniless = False

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        """What that generation says instead of the status: V1 a 200, but for a path that is not there."""
        if self.generation == "v2":
            return self.problem(status, message)
        if status == 404:
            return Answer(status=404, body=b"404 page not found", headers={"Content-Type": "text/plain"})
        return self.coded(CODES.get(status, 2013 if status < 500 else 1000), message)

    def coded(self, code: int, message: str) -> Answer:
        """An error of V1."""
        return Answer(json={"task_id": "", "base_resp": {"status_code": code, "status_msg": message}})

    def problem(self, status: int, message: str) -> Answer:
        """An error of V2."""
        code = CODES.get(status, 2013 if status < 500 else 1000)
        kind = KINDS.get(status, "bad_request_error" if status < 500 else "server_error")
        inner = {"type": kind, "message": f"{message} ({code})", "http_code": str(status)}
        return Answer(
            status=status, json={"type": "error", "error": inner, "request_id": f"0217{secrets.token_hex(14)}"}
        )

    def refused(self, call: Call, status: int, message: str) -> Refuse:
        """A refusal in the words of the route that was called."""
        if call.path.startswith("/v2/"):
            return Refuse(self.problem(status, message))
        return Refuse(self.coded(CODES.get(status, 1000), message))

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(denied("MethodNotAllowed" if call.method == "HEAD" else "NoSuchKey"))
        return super().authenticate(call)

    def unauthorised(self, call: Call) -> Answer:
        sentence = "login fail: Please carry the API secret key in the 'Authorization' field of the request header"
        return self.problem(401, sentence) if call.path.startswith("/v2/") else self.coded(self.bad_key, sentence)

    async def _no_such_route(self, call: Call) -> Answer:
        return Answer(status=404, body=b"404 page not found", headers={"Content-Type": "text/plain"})

    def find(self, call: Call, job_id: object) -> Job:
        """The caller's own task of the generation that was called, for a week."""
        version = "v2" if call.path.startswith("/v2/") else "v1"
        job = self.jobs.get(job_id) if isinstance(job_id, str) else None
        seen = job is not None and not job.removed and job.account == call.account
        if job is None or not seen or job.facts["version"] != version or job.created_at < time.time() - WEEK:
            sentence = f"invalid params, task {job_id} does not exist"
            gone = self.problem(self.missing_status, sentence)
            raise Refuse(gone if version == "v2" else self.coded(self.missing_code, sentence))
        return job

    def new_id(self) -> str:
        # More than a float holds.
        return str(10**17 + secrets.randbelow(9 * 10**17))

    def old_task(self, job: Job) -> dict[str, Any]:
        """The answer to a poll of V1. The code of a failed task stands where other answers say that they are errors."""
        made, failed = job.state == "succeeded", job.state == "failed"
        width, height = job.facts["pixels"] if made else (0, 0)
        said = job.failure if failed and job.failure else ("0", "success")
        code = int(said[0]) if said[0].isdecimal() else 1000
        return {
            "task_id": job.id,
            "status": OLD_WORDS.get(job.state, job.state),
            "file_id": job.facts["file_id"] if made else "",
            "video_width": width,
            "video_height": height,
            "base_resp": {"status_code": code, "status_msg": said[1]},
        }

    def task(self, job: Job) -> dict[str, Any]:
        """The task as V2 shows it."""
        fields, seconds = job.facts["fields"], job.facts["seconds"]
        shown: dict[str, Any] = {
            "id": job.id,
            "model": fields["model"],
            "task_type": job.facts["type"],
            "status": job.state,
            "resolution": job.facts["tier"],
            "duration": seconds,
            "ratio": fields.get("ratio", "adaptive"),
            "created_at": job.created_at,
            "updated_at": job.completed_at or job.created_at,
        }
        if job.state == "succeeded":
            shown["content"] = {"url": self.link(job)}
            taken = {"total_seconds": seconds, "input_seconds": 0, "output_seconds": seconds}
            shown["usage"] = {**taken, "input_image_count": job.facts["pictures"]}
        elif job.state == "failed":
            code, message = job.failure or ("1000", "")
            shown["error"] = {"code": code, "message": message}
        return shown

    def cost(self, job: Job) -> float:
        """US dollars of a task of V2; one that did not succeed costs nothing."""
        if job.state != "succeeded":
            return 0.0
        again = job.facts["type"] == "regeneration"
        per_second = DOLLARS_REGENERATED if again else DOLLARS[job.facts["tier"]]
        further = max(0, job.facts["pictures"] - FREE_PICTURES)
        return float(round(per_second * job.facts["seconds"] + DOLLARS_PER_PICTURE * further, 4))

    # -- what a test does ----------------------------------------------------------------------------------------------

    def put(self, job_id: str, state: str, *, means: str | None = None) -> None:
        old = self.jobs[job_id].facts["version"] == "v1"
        meant = {word: ours for ours, word in OLD_WORDS.items()} if old else {}
        super().put(job_id, meant.get(state, state), means=means)

    def advance(self, job_id: str) -> None:
        waits = self.jobs[job_id].state in ("queued", "Preparing")
        means = "in_progress" if waits else "completed"
        self.put(job_id, self.words[means], means=means)

    def fail(self, job_id: str, *, code: str = "1000", message: str = "unknown error") -> None:
        """Let the task fail with one of MiniMax's numbers."""
        super().fail(job_id, code=code, message=message)

    def moderate(self, job_id: str) -> None:
        """Let the moderation hold back what was made."""
        self.fail(job_id, code="1027", message="output new_sensitive")

    def cancel(self, job_id: str) -> None:
        """End a task of V2 as cancelled, which can still be seen."""
        self.jobs[job_id].cancelled = True
        self.put(job_id, "cancelled", means="failed")

    async def notify(self, job_id: str) -> None:
        """Send the callback of the task's state to the address that it was ordered with; it is not signed."""
        job = self.jobs[job_id]
        old = job.facts["version"] == "v1"
        word = CALLED_BACK.get(job.state, "processing")
        body = {**self.old_task(job), "status": word} if old else {"task": self.task(job)}
        await self.call_back(job.facts["fields"]["callback_url"], body)

    def calls(self, operation: str) -> list[Call]:
        return super().calls(_SAME.get(operation, operation))

    def then(self, *answer: Any, on: str | None = None, **said: Any) -> None:
        super().then(*answer, on=_SAME.get(on or "", on), **said)

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        super().fault(kind, on=_SAME.get(on or "", on), times=times)

    # -- V1 ------------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/video_generation")
    async def create_v1(self, call: Call) -> Answer:
        fields = self.body(call)
        wrong = next(problems_v1(fields, strict=self.strict, fast_takes_text=self.fast_takes_text), "")
        if wrong:
            raise self.refused(call, 400, f"invalid params, {wrong}")
        await self.look(call, fields, fields.get("prompt", ""))
        lengths = RULES[fields["model"]].lengths
        tier = fields.get("resolution", lengths[fields.get("duration", 6)][0])
        job = self.take(call, version="v1", fields=fields, file_id=self.new_id(), pixels=PIXELS[tier])
        job.state = "Preparing"
        return Answer(json={"task_id": job.id, "base_resp": {"status_code": 0, "status_msg": "success"}})

    @operation("fetch", "GET", "/v1/query/video_generation")
    async def fetch_v1(self, call: Call) -> Answer:
        job = self.poll(call, call.query.get("task_id"))
        if job.state == "Preparing" and not job.held and job.polls > 1:
            job.state = "queued"
        return Answer(json=self.old_task(job))

    @operation("retrieve", "GET", "/v1/files/retrieve")
    async def retrieve(self, call: Call) -> Answer:
        """Where a result is. The id, a text before, is a number here, of up to 64 bits."""
        job = self.filed(call)
        file = {
            "file_id": int(job.facts["file_id"]),
            "bytes": len(self.content_of(job)),
            "created_at": job.completed_at,
            "filename": "output.mp4",
            "purpose": "video_generation",
            "download_url": self.link(job),
        }
        return Answer(json={"file": file, "base_resp": {"status_code": 0, "status_msg": "success"}})

    @operation("download", "GET", "/v1/files/download")
    async def download(self, call: Call) -> Answer:
        return self.serve(call, self.content_of(self.filed(call)))

    def filed(self, call: Call) -> Job:
        """The finished task of V1 whose result is the file that is asked for."""
        wanted = call.query.get("file_id")
        done = [job for job in self.jobs.values() if job.state == "succeeded" and job.account == call.account]
        found = [job for job in done if job.facts["version"] == "v1" and job.facts["file_id"] == wanted]
        if not found:
            raise Refuse(self.coded(self.missing_code, "invalid params, file does not exist"))
        return found[0]

    # -- V2 ------------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v2/video_generation")
    async def create_v2(self, call: Call) -> Answer:
        fields = self.body(call)
        if wrong := next(problems_v2(fields, strict=self.strict, h3_max=self.h3_max), ""):
            raise self.refused(call, 400, f"invalid params, {wrong}")
        await self.look(call, fields, " ".join(item.get("text", "") for item in fields["content"]))
        tier = fields.get("resolution", TIERS[fields["model"]][0])
        pictures = sum(kind == "image" for _, kind, _ in media(fields))
        return self.taken(call, fields, tier, fields.get("duration", 5), pictures=pictures)

    @operation("regenerate", "POST", "/v2/video_regeneration")
    async def regenerate(self, call: Call) -> Answer:
        """A 768P film once more in 2K, by the id of its task or as a `base_video` beside what it was made of."""
        fields = self.body(call)
        if not self.may_regenerate:
            raise self.refused(call, 403, "the account may not regenerate")
        if fields.get("model") != H3 or fields.get("resolution") != "2K":
            raise self.refused(call, 400, "invalid params, model or resolution is not supported")
        if ("source_task_id" in fields) == ("content" in fields):
            raise self.refused(call, 400, "invalid params, source_task_id or content is required")
        if "content" in fields:
            items = fields["content"] if isinstance(fields["content"], list) else []
            bases = [item for item in items if isinstance(item, dict) and item.get("role") == "base_video"]
            if len(bases) != 1 or bases[0].get("type") != "video_url":
                raise self.refused(call, 400, "invalid params, content needs one base_video")
            return self.taken(call, fields, "2K", 6, kind="edit", type="regeneration")
        source = self.find(call, fields["source_task_id"])
        if source.state != "succeeded" or source.facts["tier"] != "768P":
            raise self.refused(call, 400, "invalid params, source_task_id is no finished 768P task")
        fields["ratio"] = source.facts["fields"].get("ratio", "adaptive")
        return self.taken(call, fields, "2K", source.facts["seconds"], kind="edit", type="regeneration")

    def taken(self, call: Call, fields: dict[str, Any], tier: str, seconds: int, **facts: Any) -> Answer:
        usual = {"version": "v2", "type": "generation", "pictures": 0}
        job = self.take(call, **{**usual, **facts, "fields": fields, "tier": tier, "seconds": seconds})
        return Answer(json={"task_id": job.id})

    @operation("fetch", "GET", "/v2/query/video_generation/{id}")
    async def fetch_v2(self, call: Call) -> Answer:
        return Answer(json={"task": self.task(self.poll(call, call.match["id"]))})

    @operation("list", "GET", "/v2/query/video_generation")
    async def tasks(self, call: Call) -> Answer:
        """The newest first, a page at a time."""
        given = {name: call.query.get(name, usual) for name, usual in (("page_num", "1"), ("page_size", "20"))}
        if not all(text.isdecimal() and int(text) for text in given.values()):
            raise self.refused(call, 400, "invalid params, page_num and page_size must be above 0")
        page, size = (int(text) for text in given.values())
        own = [job for job in reversed(self.jobs.values()) if job.account == call.account and not job.removed]
        seen = [job for job in own if job.facts["version"] == "v2" and job.created_at > time.time() - WEEK]
        rows = [self.task(job) for job in seen[(page - 1) * size : page * size]]
        return Answer(json={self.listed_as: rows, "total": len(seen)})

    @operation("delete", "DELETE", "/v2/video_generation/{id}")
    async def delete(self, call: Call) -> Answer:
        """Cancels a queued task, free of charge, and removes the record of one that ended."""
        job = self.find(call, call.match["id"])
        if job.state == "queued":
            self.cancel(job.id)
            return Answer(json={"task_id": job.id, "action": "cancel" if self.mainland else "cancelled"})
        if job.state in ("succeeded", "failed", "expired"):
            job.removed = True
            return Answer(json={"task_id": job.id, "action": "delete" if self.mainland else "deleted"})
        raise self.refused(call, 400, f"invalid params, a task that is {job.state} cannot be deleted")

    # -- both ----------------------------------------------------------------------------------------------------------

    def body(self, call: Call) -> dict[str, Any]:
        """The fields of a body; what is null is not there."""
        data = call.json
        if call.content_type != "application/json" or not isinstance(data, dict):
            raise self.refused(call, 400, "invalid params, the body must be a JSON object")
        return {name: value for name, value in data.items() if value is not None}

    async def look(self, call: Call, fields: Mapping[str, Any], prompt: str) -> None:
        """Refuse media that cannot be read, what the moderation does not like, and who cannot pay."""
        for name, kind, url in media(fields):
            if why := await self.wrong_medium(call, kind, url):
                raise self.refused(call, 400, f"invalid params, {name} {why}")
        if self.forbidden and self.forbidden in prompt:
            raise self.refused(call, 422, "input new_sensitive")
        if self.penniless:
            raise self.refused(call, 402, "insufficient balance")
        if "callback_url" in fields:
            challenge = secrets.token_hex(16)
            if await self.call_back(fields["callback_url"], {"challenge": challenge}) != {"challenge": challenge}:
                raise self.refused(call, 400, "invalid params, callback_url did not answer the challenge")


class MinimaxV2Simulator(MinimaxSimulator):
    """The same, where `error` says what V2 says."""

    generation = "v2"
