"""A ComfyUI server: one queue and one worker for everybody, a history in memory, files on disk, and a websocket.

Rules: ComfyUI's own server.py and execution.py (002c3fb9, and what older ones do otherwise as options). It has no keys:
with `keys` a reverse proxy stands before it that wants one of them as a bearer.
"""

from __future__ import annotations

import posixpath
import uuid
from typing import Any

from proxy.testing import Answer, Call, Job, Refuse, operation
from tests.simulators.comfyui_machine import Machine, item, messages
from tests.simulators.comfyui_nodes import Validation, Verdict, wrong

MEDIA_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}


class ComfyUISimulator(Machine):
    """What the server answers over HTTP; every route is also under /api."""

    # -- the provider's own words --------------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        return Answer(status=status, json={"error": wrong("invalid_request", message, ""), "node_errors": {}})

    def authenticate(self, call: Call) -> str | None:
        if call.elsewhere:
            raise Refuse(bare(404, "Not Found"))
        if len(call.body) > self.max_body:
            raise Refuse(bare(413, "Request Entity Too Large"))
        if not self.guarded:
            return ""
        scheme, _, key = call.headers.get("authorization", "Bearer ").partition(" ")
        return key if scheme == "Bearer" and key in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        page = b"<html><head><title>401 Authorization Required</title></head></html>"
        return Answer(status=401, body=page, headers={"Content-Type": "text/html", "WWW-Authenticate": "Bearer"})

    async def _no_such_route(self, call: Call) -> Answer:
        return bare(404, "Not Found")

    # -- prompts -------------------------------------------------------------------------------------------------------

    @operation("create", "POST", "/prompt")
    async def create(self, call: Call) -> Answer:
        body = self.body(call)
        number = float(body["number"]) if "number" in body else self._number * (-1 if body.get("front") else 1)
        self._number += "number" not in body
        if "prompt" not in body:
            said = "No prompt provided"
            return Answer(status=400, json={"error": wrong("no_prompt", said, said), "node_errors": {}})
        graph, extra, own = body["prompt"], body.get("extra_data", {}), body.get("prompt_id")
        if self.own_ids == "uuid" and own is not None and not canonical(own):
            error = wrong("invalid_prompt_id", "prompt_id must be a valid UUID", "prompt_id must be a UUID string")
            return Answer(status=400, json={"error": error, "node_errors": {}})
        if not isinstance(graph, dict) or not all(isinstance(made, dict) for made in graph.values()):
            return crash()
        if not isinstance(extra, dict):
            return crash()
        try:
            targets = body.get("partial_execution_targets")
            ends, node_errors = Validation(graph, self.nodes, self._exists).outputs(targets)
        except Verdict as verdict:
            return Answer(status=400, json={"error": verdict.error, "node_errors": verdict.node_errors})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        job = self.take(call, number=number, graph=graph, extra=extra, ends=ends, client_id=extra.get("client_id"))
        if self.has_jobs_api:
            extra["create_time"] = job.created_at * 1000
        if (self.own_ids == "any" and "prompt_id" in body) or (self.own_ids == "uuid" and own is not None):
            del self.jobs[job.id]
            job.id = str(own)
            self.jobs[job.id] = job
        self._asked.clear()
        self._entered(job)
        return Answer(json={"prompt_id": job.id, "number": number, "node_errors": node_errors})

    @operation("info", "GET", "/prompt")
    async def info(self, call: Call) -> Answer:
        return Answer(json=self._info())

    @operation("fetch", "GET", "/history/{id}")
    async def fetch(self, call: Call) -> Answer:
        self._round(call.path)
        job = self.jobs.get(call.match["id"])
        return Answer(json={job.id: self.entry(job)} if job and self._ended(job) else {})

    @operation("history", "GET", "/history")
    async def history(self, call: Call) -> Answer:
        ended = [job for job in self.jobs.values() if self._ended(job)]
        if (most := call.query.get("max_items")) is not None:
            first = int(call.query.get("offset", -1))
            first = max(0, len(ended) - int(most)) if first < 0 else first
            ended = ended[first : first + int(most)]
        return Answer(json={job.id: self.entry(job) for job in ended})

    @operation("fetch", "GET", "/queue")
    async def queue(self, call: Call) -> Answer:
        self._round(call.path)
        running, pending = ([item(job) for job in self._in(state)] for state in ("running", "pending"))
        return Answer(json={"queue_running": running, "queue_pending": pending})

    @operation("fetch", "GET", "/api/jobs/{id}")
    async def job(self, call: Call) -> Answer:
        if not self.has_jobs_api:
            return bare(404, "Not Found")
        self._round(call.path)
        job = self.jobs.get(call.match["id"])
        if job is None or job.removed or job.state == "gap":
            return Answer(status=404, json={"error": "Job not found"})
        return Answer(json=self.summary(job))

    @operation("cancel", "POST", "/queue")
    async def change_queue(self, call: Call) -> Answer:
        body = self.body(call)
        for job in self._in("pending"):
            if body.get("clear") or job.id in list(body.get("delete", ())):
                job.cancelled = job.removed = True
                self.put(job.id, "deleted")
        return Answer()

    @operation("cancel", "POST", "/interrupt")
    async def stop_running(self, call: Call) -> Answer:
        body = self.body(call) if call.json is not None else {}
        meant = body.get("prompt_id") if self.targeted_interrupt else None
        for job in self._in("running"):
            if not meant or job.id == meant:
                self.interrupt(job.id)
        return Answer()

    @operation("delete", "POST", "/history")
    async def change_history(self, call: Call) -> Answer:
        body = self.body(call)
        for job in self.jobs.values():
            if self._ended(job) and (body.get("clear") or job.id in list(body.get("delete", ()))):
                job.removed = True
        return Answer()

    # -- files ---------------------------------------------------------------------------------------------------------

    @operation("upload", "POST", "/upload/image")
    async def upload(self, call: Call) -> Answer:
        form = {part.name: part for part in call.parts}
        file = form.get("image")
        words = {name: part.text for name, part in form.items() if part.filename is None}
        kind, folder = words.get("type", "input"), words.get("subfolder", "")
        if kind not in ("input", "temp", "output") or "image" in words:
            return crash()
        if file is None or not file.filename or leaves(folder, file.filename):
            return Answer(status=400)
        name, number = file.filename, 1
        stem, ending = posixpath.splitext(name)
        if words.get("overwrite") not in ("true", "1"):
            while self.files.get((kind, folder, name), file.data) != file.data:
                name = f"{stem} ({number}){ending}"
                number += 1
        self.files[kind, folder, name] = file.data
        return Answer(json={"name": name, "subfolder": folder, "type": kind})

    @operation("content", "GET", "/view")
    async def view(self, call: Call) -> Answer:
        name, folder = call.query.get("filename"), call.query.get("subfolder", "")
        kind = call.query.get("type", "output")
        if name is None:
            return Answer(status=404)
        if not name or name.startswith("/") or ".." in name or kind not in ("input", "temp", "output"):
            return Answer(status=400)
        if folder.startswith("/") or ".." in folder.split("/"):
            return Answer(status=403)
        found = self.files.get((kind, folder, name.rpartition("/")[2]))
        if found is None:
            return Answer(status=404)
        data = found if isinstance(found, bytes) else self.content_of(found)
        media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        answer = self.serve(call, data, media_type)
        named = {**answer.headers, "Content-Disposition": f'filename="{name}"'}
        return Answer(
            status=answer.status, body=answer.body, headers=named, chunked=answer.chunked, cut_at=answer.cut_at
        )

    def _exists(self, name: str) -> bool:
        folder, _, name = name.rpartition("/")
        return ("input", folder, name) in self.files

    # -- what is shown -------------------------------------------------------------------------------------------------

    def body(self, call: Call) -> dict[str, Any]:
        if not isinstance(call.json, dict):
            raise Refuse(crash())
        return call.json

    def entry(self, job: Job) -> dict[str, Any]:
        """The history's word about a job."""
        names = {"success": "success", "error": "error", "interrupted": "error"}
        status = {"status_str": names.get(job.state, job.state), "completed": job.state == "success"}
        outputs = job.facts.get("outputs") or {}
        meta = {name: {"node_id": name, "display_node": name, "parent_node": None} for name in outputs}
        return {
            "prompt": item(job),
            "outputs": outputs,
            "status": {**status, "messages": messages(job)},
            "meta": meta,
        }

    def summary(self, job: Job) -> dict[str, Any]:
        """The newer /api/jobs' word about a job: what there is nothing to say of is left out."""
        names = {"pending": "pending", "running": "in_progress", "error": "failed", "interrupted": "cancelled"}
        outputs = job.facts.get("outputs") or {}
        shown = [
            {**file, "nodeId": name, "mediaType": kind}
            for name, lists in outputs.items()
            for kind, files in lists.items()
            for file in files
            if kind != "animated"
        ]
        kept = [file for file in shown if file["type"] == "output"]
        broken = [data for kind, data in messages(job) if kind == "execution_error"] if self._ended(job) else []
        said = {
            "id": job.id,
            "status": names.get(job.state, "completed"),
            "priority": job.facts["number"],
            "create_time": job.created_at * 1000,
            "outputs_count": len(shown),
            "preview_output": next(iter(kept + shown), None),
            "execution_error": next(iter(broken), None),
            "outputs": outputs if self._ended(job) else None,
            "execution_status": self.entry(job)["status"] if self._ended(job) else None,
        }
        return {name: value for name, value in said.items() if value is not None}


def canonical(value: object) -> bool:
    """Whether a value is a UUID as it is usually written."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def leaves(folder: str, name: str) -> bool:
    """Whether a path leads out of the folder that it is meant for."""
    return posixpath.normpath(posixpath.join("/inputs", folder, name)).split("/")[1:2] != ["inputs"]


def bare(status: int, words: str) -> Answer:
    """What aiohttp says by itself."""
    body = f"{status}: {words}".encode()
    return Answer(status=status, body=body, headers={"Content-Type": "text/plain; charset=utf-8"})


def crash() -> Answer:
    """What becomes of a body that the server did not reckon with."""
    words = b"500 Internal Server Error\n\nServer got itself in trouble"
    return Answer(status=500, body=words, headers={"Content-Type": "text/plain; charset=utf-8"})
