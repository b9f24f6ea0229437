"""A gateway of the family of new-api, as an upstream; what its forks and versions do otherwise is an option.

Rules: relay_task.go, video_proxy.go and the rest of SolveaCX/new-api, a fork of QuantumNous/new-api, August 2026.
Sentences that no source gives are ours.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Collection
from typing import Any, ClassVar, Literal

from proxy.testing import Answer, Call, Job, Part, Refuse, Simulator, operation

TEXTS = ("prompt", "model", "mode", "image", "size", "resolution", "ratio", "seconds", "input_reference")
ENVELOPE = {
    "queued": "QUEUED",
    "in_progress": "IN_PROGRESS",
    "completed": "SUCCESS",
    "failed": "FAILURE",
    "unknown": "UNKNOWN",
}
REALTIME = {"queued": "queued", "in_progress": "processing", "completed": "succeeded", "failed": "failed"}
"""The words of a task on Gemini or Vertex."""
BUSY = "当前分组上游负载已饱和，请稍后再试"
"""What every 429 says, whatever the upstream said."""
DEFAULT_SECONDS = 5


class NewApiSimulator(Simulator):
    """Two doors for one thing: /v1/videos and /v1/video/generations. The name of a model says whose channel it is."""

    readers: ClassVar = {
        "sora": "seconds",
        "doubao": "seconds",
        "kling": "duration",
        "vidu": "duration",
        "wan": "duration",
    }
    """The field that each kind of channel takes the length from; others take `seconds`, then `duration`."""

    def __init__(self, *, keys: Collection[str] = ("sk-test",)) -> None:
        super().__init__(keys=keys)
        self.models = {"sora-2", "sora-2-pro", "kling-v2-6", "doubao-seedance-1-5-pro", "veo-3.1-generate-001"}
        self.creates: Literal["video", "docs", "task_id", "raw"] = "video"
        """What a create answers: this fork's object, that of the published docs, an id alone, or the provider's own."""
        self.has_videos = True
        """False: GET /v1/videos/{id} answers 501, as for a platform that nobody taught to speak so."""
        self.white_label = False
        """Whether links lead to the gateway's own content route instead of the provider's."""
        self.own_origin: str | None = None
        """The address that the gateway takes for its own, in links of the white label."""
        self.links_in_fail_reason = False
        """Older versions have no `result_url`."""
        self.bare = False
        """Whether the body of Gemini's tasks comes without its envelope, as in the old docs."""
        self.archive: Literal["none", "kept", "expired"] = "none"
        self.content_is_open = True
        """This fork gives a film to whoever has the id; the main line wants the key."""
        self.penniless = False
        self.error_is_text = False
        """One fork's `error` is a string."""

    # -- the gateway's own words ---------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        if status in (401, 402, 403, 404, 503):
            return self.envelope(status, message)
        code = "invalid_request" if status in (400, 422) else "fail_to_fetch_task"
        return self.task_error(status, code, BUSY if status == 429 else message)

    def task_error(self, status: int, code: str, message: str) -> Answer:
        return Answer(status=status, json={"code": code, "message": message, "data": None})

    def envelope(self, status: int, message: str, code: str = "", type: str = "new_api_error") -> Answer:
        if self.error_is_text:
            return Answer(status=status, json={"error": message})
        said = f"{message} (request id: {secrets.token_hex(8)})"
        return Answer(status=status, json={"error": {"message": said, "type": type, "code": code}})

    def authenticate(self, call: Call) -> str | None:
        """The `sk-` of a key may be left out."""
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        return next((own for own in self.keys if scheme == "Bearer" and key in (own, own.removeprefix("sk-"))), None)

    def unauthorised(self, call: Call) -> Answer:
        return self.envelope(401, "无效的令牌")

    def not_found(self, job_id: str) -> Answer:
        return self.task_error(400, "task_not_exist", "task_not_exist")

    async def _no_such_route(self, call: Call) -> Answer:
        said = {"message": f"Invalid URL ({call.method} {call.path})", "type": "invalid_request_error"}
        return Answer(status=404, json={"error": {**said, "param": "", "code": ""}})

    def new_id(self) -> str:
        letters = string.ascii_letters + string.digits
        return f"task_{''.join(secrets.choice(letters) for _ in range(32))}"

    def refuse(self, message: str) -> Refuse:
        return Refuse(self.task_error(400, "invalid_request", message))

    def link(self, job: Job) -> str:
        if self.white_label:
            return f"{self.own_origin or self.base_url}/v1/videos/{job.id}/content"
        return f"{self.files_url}/{job.id}.mp4?sign={job.facts['sign']}"

    def video(self, job: Job) -> dict[str, Any]:
        """The object of /v1/videos; what is empty is left out."""
        done = job.state == "completed"
        known = {
            "id": job.id,
            "task_id": job.id,
            "object": "video",
            "model": job.facts["model"],
            "status": job.state,
            "progress": job.progress,
            "created_at": job.created_at,
            "completed_at": job.completed_at if done else None,
            "seconds": job.facts["seconds"],
            "size": job.facts["size"],
            "remixed_from_video_id": job.facts.get("source"),
            "error": {"message": job.failure[1], "code": job.failure[0]} if job.failure else None,
            "metadata": {"url": self.link(job)} if done else None,
            "usage": {"completion_tokens": 108_900, "total_tokens": 108_900} if done else None,
        }
        return {key: value for key, value in known.items() if value is not None}

    def task(self, job: Job) -> dict[str, Any]:
        """What /v1/video/generations/{id} says."""
        done = job.state == "completed"
        link = self.link(job) if done else ""
        if job.facts["model"].startswith("veo"):
            data: dict[str, Any] = {
                "task_id": job.id,
                "status": REALTIME.get(job.state, job.state),
                "url": link,
                "format": "mp4",
                "metadata": {},
                "error": {"message": job.failure[1], "code": 500} if job.failure else None,
            }
            return data if self.bare else {"code": "success", "message": "", "data": data}
        old = self.links_in_fail_reason
        data = {
            "id": list(self.jobs).index(job.id) + 1,
            "task_id": job.id,
            "platform": "50",
            "action": "generate",
            "status": ENVELOPE.get(job.state, job.state),
            "fail_reason": job.failure[1] if job.failure else link if old else "",
            "submit_time": job.created_at,
            "start_time": job.created_at if job.state != "queued" else 0,
            "finish_time": job.completed_at or 0,
            "progress": f"{job.progress}%",
            "properties": {"input": job.facts["prompt"]},
            "data": {"code": 0, "data": {"task_status": job.state}},
            **({} if old else {"result_url": link}),
        }
        return {"code": "success", "message": "", "data": data}

    # -- routes --------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/v1/videos")
    async def create(self, call: Call) -> Answer:
        fields = self.body(call)
        if not fields.get("model"):
            raise Refuse(self.envelope(400, "未指定模型名称，模型名称不能为空"))
        if fields["model"] not in self.models:
            absent = f"No available channel for model {fields['model']} under group default (distributor)"
            raise Refuse(self.envelope(503, absent, "model_not_found"))
        if not str(fields.get("prompt") or "").strip():
            raise self.refuse("prompt is required")
        self.charge()
        job = self.take(
            call,
            fields=fields,
            prompt=fields["prompt"],
            model=fields["model"],
            seconds=str(self.length(fields)),
            size=fields.get("size"),
            sign=secrets.token_hex(8),
        )
        return self.created(job)

    @operation("create", "POST", "/v1/video/generations")
    async def generate(self, call: Call) -> Answer:
        return await self.create(call)

    @operation("remix", "POST", "/v1/videos/{id}/remix")
    async def remix(self, call: Call) -> Answer:
        """A remix on the channel of its source, which is one of OpenAI's in practice."""
        source = self.jobs.get(call.match["id"])
        if source is None or source.account != call.account:
            raise Refuse(self.task_error(400, "task_not_exist", "task_origin_not_exist"))
        fields = self.body(call)
        if not fields.get("prompt"):
            raise self.refuse("prompt is required")
        if not source.facts["model"].startswith("sora"):
            raise self.refuse("remix is not supported by the channel of the origin task")
        if source.state != "completed":
            raise Refuse(self.task_error(400, "fail_to_fetch_task", "The source video is not completed."))
        self.charge()
        kept = {key: source.facts[key] for key in ("model", "seconds", "size")}
        told = {"prompt": fields["prompt"], "source": source.id, "sign": secrets.token_hex(8)}
        return self.created(self.take(call, kind="remix", **kept, **told))

    @operation("fetch", "GET", "/v1/videos/{id}")
    async def fetch(self, call: Call) -> Answer:
        if not self.has_videos:
            raise Refuse(self.task_error(501, "not_implemented", "not_implemented:50"))
        return Answer(json=self.video(self.poll(call, call.match["id"])))

    @operation("fetch", "GET", "/v1/video/generations/{id}")
    async def fetch_generation(self, call: Call) -> Answer:
        return Answer(json=self.task(self.poll(call, call.match["id"])))

    @operation("models", "GET", "/v1/models")
    async def list_models(self, call: Call) -> Answer:
        data = [{"id": name, "object": "model", "created": 1626777600, "owned_by": "custom"} for name in self.models]
        return Answer(json={"data": data, "object": "list", "success": True})

    @operation("content", "GET", "/v1/videos/{id}/content", open=True)
    async def content(self, call: Call) -> Answer:
        account = self.authenticate(call)
        if account is None and ("authorization" in call.headers or not self.content_is_open):
            return self.unauthorised(call)
        job = self.jobs.get(call.match["id"])
        if job is None or account not in (None, job.account):
            return self.trouble(404, "Task not found")
        if job.state != "completed":
            shown = ENVELOPE.get(job.state, job.state)
            return self.trouble(400, f"Task is not completed yet, current status: {shown}")
        if self.archive == "expired":
            return self.trouble(410, "video result has expired")
        if self.archive == "kept":
            where = {"Location": f"{self.files_url}/{job.id}.mp4?sign={job.facts['sign']}", "Pragma": "no-cache"}
            return Answer(status=302, headers={**where, "Cache-Control": "no-store"})
        # The origin's word that ranges are served is passed on, and the client's range is not.
        headers = {"Content-Type": "video/mp4", "Accept-Ranges": "bytes", "Cache-Control": "public, max-age=86400"}
        return Answer(
            body=self.content_of(job), headers=headers, chunked=not self.sends_length, cut_at=self.cut_content_at
        )

    @operation("file", "GET", "/{id}.mp4", open=True)
    async def file(self, call: Call) -> Answer:
        """The provider's storage: a signed link, and no keys."""
        job = self.jobs.get(call.match["id"])
        if not call.elsewhere or job is None or call.query.get("sign") != job.facts["sign"]:
            return Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
        return self.serve(call, self.content_of(job))

    # -- bodies --------------------------------------------------------------------------------------------------------

    def trouble(self, status: int, message: str) -> Answer:
        """An error of the content route, which has no code."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return Answer(status=status, json={"error": {"message": message, "type": kind}})

    def charge(self) -> None:
        if self.penniless:
            raise Refuse(self.task_error(403, "insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000"))

    def created(self, job: Job) -> Answer:
        if self.creates == "raw":
            return Answer(
                json={"code": 0, "message": "SUCCEED", "data": {"task_id": job.id, "task_status": "submitted"}}
            )
        if self.creates == "task_id":
            return Answer(json={"task_id": job.id})
        made = {key: value for key, value in self.video(job).items() if key not in ("seconds", "size")}
        return Answer(json={**made, "status": "processing"} if self.creates == "docs" else made)

    def body(self, call: Call) -> dict[str, Any]:
        """JSON or a form, as Go reads it into TaskSubmitReq: a number is no string, and the rest is ignored."""
        if call.content_type == "multipart/form-data":
            fields: dict[str, Any] = dict(call.form)
        elif isinstance(data := call.json, dict):
            fields = {key: value for key, value in data.items() if value is not None}
            for name in TEXTS:
                self.typed(fields, name, str, "string")
        else:
            raise self.refuse("invalid character looking for beginning of value")
        for name in ("metadata", "images"):
            if isinstance(fields.get(name), str):
                try:
                    fields[name] = json.loads(fields[name])
                except ValueError:
                    fields[name] = [fields[name]] if name == "images" else fields.pop(name)
        self.typed(fields, "metadata", dict, "map[string]interface {}")
        self.typed(fields, "images", list, "[]string")
        length = fields.get("duration", 0)
        if isinstance(length, bool) or not re.fullmatch(r"-?\d+", str(length), re.ASCII):
            raise self.unmarshalled("duration", length, "int")
        (fields.get("metadata") or {}).pop("model", None)
        return fields

    def typed(self, fields: dict[str, Any], name: str, kind: type, word: str) -> None:
        value = fields.get(name)
        if value is not None and not isinstance(value, (kind, Part)):
            raise self.unmarshalled(name, value, word)

    def unmarshalled(self, name: str, value: object, word: str) -> Refuse:
        found = {bool: "bool", int: "number", float: "number", dict: "object", list: "array"}.get(type(value), "string")
        return self.refuse(f"json: cannot unmarshal {found} into Go struct field TaskSubmitReq.{name} of type {word}")

    def length(self, fields: dict[str, Any]) -> int:
        """The seconds that the provider renders: what the client says in the other field is not heard."""
        family = fields["model"].partition("-")[0]
        names = [self.readers[family]] if family in self.readers else ["seconds", "duration"]
        said = [str(fields[name]) for name in names if name in fields]
        return int(said[0]) if said and re.fullmatch(r"[1-9]\d*", said[0], re.ASCII) else DEFAULT_SECONDS
