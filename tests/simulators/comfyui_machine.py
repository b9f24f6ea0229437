"""The machine room of the ComfyUI simulator: its queue and worker, the files that jobs leave, and the websocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from aiohttp import web

from proxy.testing import Call, Job, Simulator
from tests.simulators.comfyui_nodes import NODES, Node
from tests.simulators.media import picture

FILMS = ("mp4", "webm")
OPEN = ("pending", "running", "gap")
"""States of a job that has not come into the history yet."""
Place = tuple[str, str, str]
"""Type, subfolder and name of a file."""


class Machine(Simulator):
    """One worker: a job runs when it is the first of the queue and none other runs; `put`, `fail` and `interrupt`
    choose otherwise. States are "pending", "running", "gap" (in neither queue nor history), "success", "error",
    "interrupted", "deleted"; any other word becomes the `status_str` of the history."""

    words: ClassVar[Mapping[str, str]] = {
        "queued": "pending",
        "in_progress": "running",
        "completed": "success",
        "failed": "error",
    }

    def __init__(self, *, keys: Collection[str] = ()) -> None:
        super().__init__(keys=keys)
        self.guarded = bool(keys)
        self.gap_polls = 0
        """How many polls find a finished job in neither queue nor history."""
        self.has_jobs_api = True
        """Whether /api/jobs is there; older servers answer 404."""
        self.targeted_interrupt = True
        """Whether /interrupt heeds its `prompt_id`; older servers stop whatever runs."""
        self.films_under: str | None = None
        """Another list for films than that of the node, such as `videos` or `video`, as some custom nodes have it."""
        self.nodes: dict[str, Node] = dict(NODES)
        self.files: dict[Place, bytes | Job] = {}
        """What lies on the disk; a `Job` stands for its result."""
        self.max_body = 100 * 2**20
        self._number = 0
        self._asked: set[str] = set()
        self._sockets: dict[str, asyncio.Queue[str | bytes]] = {}
        self._connected: set[web.WebSocketResponse] = set()

    def new_id(self) -> str:
        return str(uuid.uuid4())

    # -- what a test does ----------------------------------------------------------------------------------------------

    def put(self, job_id: str, state: str, *, means: str | None = None) -> None:
        super().put(job_id, state, means=means)
        self._entered(self.jobs[job_id])

    def interrupt(self, job_id: str) -> None:
        """End a running job as /interrupt does."""
        self.jobs[job_id].cancelled = True
        self.put(job_id, "interrupted", means="failed")

    def withhold(self, job_id: str) -> None:
        """Let the job end without any output."""
        self.jobs[job_id].facts["outputs"] = {}

    def progress(self, job_id: str, value: int, most: int, *, preview: bool = False) -> None:
        """Say over the websocket that the sampler did `value` of its `most` steps, with a picture of it."""
        job = self.jobs[job_id]
        job.progress = min(99, 100 * value // most)
        worker = sampler(job)
        step = {"value": value, "max": most, "prompt_id": job.id}
        state = {**step, "state": "running", "node_id": worker, "display_node_id": worker, "real_node_id": worker}
        self._tell(job, "progress", {**step, "node": worker})
        self._tell(job, "progress_state", {"prompt_id": job.id, "nodes": {worker: {**state, "parent_node_id": None}}})
        if preview and (queue := self._sockets.get(job.facts["client_id"])):
            queue.put_nowait(struct.pack(">II", 1, 1) + picture("JPEG"))

    def restart(self) -> None:
        """Lose queue and history, as a new process does; files stay."""
        for job in self.jobs.values():
            job.removed = True
        self._number = 0

    def remove_files(self) -> None:
        """Empty the disk."""
        self.files.clear()

    # -- files ---------------------------------------------------------------------------------------------------------

    def produced(self, job: Job) -> dict[str, Any]:
        """Write the files of a job that ended well; what its output nodes say of them."""
        return {name: self._output(job, name) for name in job.facts["ends"]}

    def _output(self, job: Job, name: str) -> dict[str, Any]:
        made = job.facts["graph"][name]
        inputs, shows = made["inputs"], self.nodes[made["class_type"]].shows
        kind = "temp" if shows == "preview" or inputs.get("save_output") is False else "output"
        combined = str(inputs.get("format", "")) if shows == "gifs" else ""
        # "video/h264-mp4" and "image/gif" end in the ending of their files.
        ending = combined.replace("-", "/").rpartition("/")[2] if combined else "png" if shows == "preview" else shows
        folder, _, stem = str(inputs.get("filename_prefix", "ComfyUI_temp")).rpartition("/")
        number = 1
        while (place := (kind, folder, f"{stem}_{number:05}_.{ending}")) in self.files:
            number += 1
        self.files[place] = job if ending in FILMS else picture("PNG")
        file: dict[str, Any] = {"filename": place[2], "subfolder": folder, "type": kind}
        if combined:
            facts = {"format": combined, "frame_rate": inputs["frame_rate"], "fullpath": f"/comfy/{kind}/{place[2]}"}
            return {(ending in FILMS and self.films_under) or "gifs": [{**file, **facts}]}
        films = ending in (*FILMS, "webp")
        return {(films and self.films_under) or "images": [file], **({"animated": [True]} if films else {})}

    # -- the worker ----------------------------------------------------------------------------------------------------

    def _in(self, state: str) -> list[Job]:
        """The jobs in a state, in the order of the queue."""
        there = [job for job in self.jobs.values() if job.state == state and not job.removed]
        return sorted(there, key=lambda job: job.facts["number"])

    def _ended(self, job: Job) -> bool:
        return not job.removed and job.state not in OPEN

    def _round(self, path: str) -> None:
        """One client polls one job by several calls: the worker goes on when a call comes again."""
        if self.automatic and (not self._asked or path in self._asked):
            self._asked.clear()
            self._step()
        self._asked.add(path)

    def _step(self) -> None:
        for job in [job for job in self._in("gap") if not job.held]:
            job.facts["gap"] -= 1
            if not job.facts["gap"]:
                self._move(job, "completed")
        for job in [job for job in self._in("pending") + self._in("running") if not job.held]:
            job.polls += 1
        running = self._in("running")
        free = not running or (not running[0].held and running[0].polls > self.running_polls)
        if running and free:
            self._end(running[0])
        elif running and not running[0].held:
            self.progress(running[0].id, running[0].polls, self.running_polls + 1)
        waiting = [job for job in self._in("pending") if not job.held]
        if free and waiting and waiting[0].polls > self.queued_polls:
            waiting[0].polls = 1
            self._move(waiting[0], "in_progress")
            if not self.running_polls:
                self._end(waiting[0])

    def _end(self, job: Job) -> None:
        if self.gap_polls:
            job.state, job.facts["gap"] = "gap", self.gap_polls
            self._entered(job)
        else:
            self._move(job, "completed")

    def _move(self, job: Job, status: str) -> None:
        self._become(job, status)
        self._entered(job)

    # -- the websocket -------------------------------------------------------------------------------------------------

    def _info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self._in("pending")) + len(self._in("running"))}}

    def _entered(self, job: Job) -> None:
        """Say what a job's new state makes the server say."""
        if job.state in ("gap", "success") and job.facts.get("outputs") is None:
            job.facts["outputs"] = self.produced(job)
        told = messages(job)
        if job.state == "running":
            for kind, data in told:
                self._tell(job, kind, data)
            self._tell(job, "executing", {"node": sampler(job), "display_node": sampler(job), "prompt_id": job.id})
        elif job.state != "pending" and not job.removed:
            self._tell_end(job, *told[-1])
        for sid in self._sockets:
            self._send(sid, "status", {"status": self._info()})

    def _tell_end(self, job: Job, kind: str, data: Any) -> None:
        """The end is told once, before the history has it; that nothing runs any more is told after that."""
        if not job.facts.get("told"):
            job.facts["told"] = True
            for name, output in (job.facts.get("outputs") or {}).items():
                self._tell(job, "executed", {"node": name, "display_node": name, "output": output, "prompt_id": job.id})
            # An interruption is told to everybody.
            for sid in self._sockets if kind == "execution_interrupted" else (job.facts["client_id"],):
                self._send(sid, kind, data)
        if job.state != "gap":
            self._tell(job, "executing", {"node": None, "prompt_id": job.id})

    def _tell(self, job: Job, kind: str, data: Any) -> None:
        self._send(job.facts["client_id"], kind, data)

    def _send(self, sid: str, kind: str, data: Any) -> None:
        if sid in self._sockets:
            self._sockets[sid].put_nowait(json.dumps({"type": kind, "data": data}))

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(
            operation="websocket",
            method="GET",
            path=request.path,
            query=dict(request.query),
            headers=headers,
            body=b"",
            match={},
        )
        self.requests.append(call)
        call.account = self.authenticate(call)
        if call.account is None:
            return web.Response(status=401)
        sid = call.query.get("clientId") or uuid.uuid4().hex
        queue = self._sockets[sid] = asyncio.Queue()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._connected.add(socket)
        self._send(sid, "status", {"status": self._info(), "sid": sid})
        for job in self._in("running"):
            if job.facts["client_id"] == sid:
                self._send(sid, "executing", {"node": sampler(job)})

        async def write() -> None:
            while True:
                message = await queue.get()
                await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

        writer = asyncio.create_task(write())
        async for _ in socket:
            pass
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await writer
        self._connected.discard(socket)
        if self._sockets.get(sid) is queue:
            del self._sockets[sid]
        return socket

    async def start(self) -> None:
        # Pillow reads files when it is first used.
        for form in ("PNG", "JPEG"):
            await asyncio.to_thread(picture, form)
        await super().start()

    async def stop(self) -> None:
        for socket in list(self._connected):
            await socket.close()
        await super().stop()

    def _app(self) -> web.Application:
        app = super()._app()
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/api/ws", self._websocket)
        for name in dir(type(self)):
            found = getattr(getattr(type(self), name), "operation", None)
            if found is not None and not found.path.startswith("/api/"):
                app.router.add_route(found.method, f"/api{found.path}", self._handler(found, getattr(self, name)))
        return app


def item(job: Job) -> list[Any]:
    """A job as the queue holds it."""
    facts = job.facts
    return [facts["number"], job.id, facts["graph"], facts["extra"], facts["ends"]]


def sampler(job: Job) -> str:
    """The node that takes the time."""
    graph: dict[str, Any] = job.facts["graph"]
    return next((name for name, made in graph.items() if "Sampler" in made["class_type"]), str(job.facts["ends"][-1]))


def messages(job: Job) -> list[list[Any]]:
    """What was said while the job ran, the last of it why it ended."""
    now = int(time.time() * 1000)
    usual = {"prompt_id": job.id, "timestamp": now}
    told: list[list[Any]] = [["execution_start", usual], ["execution_cached", {"nodes": [], **usual}]]
    worker = {"node_id": sampler(job), "node_type": job.facts["graph"][sampler(job)]["class_type"], "executed": []}
    if job.state in ("gap", "success"):
        told.append(["execution_success", usual])
    elif job.state == "interrupted":
        told.append(["execution_interrupted", {**usual, **worker}])
    elif job.state == "error":
        kind, sentence = job.failure or ("", "")
        trace = ['  File "/comfy/execution.py", line 518, in execute\n']
        why = {"exception_message": sentence, "exception_type": kind, "traceback": trace}
        told.append(["execution_error", {**usual, **worker, **why, "current_inputs": {}, "current_outputs": []}])
    return told
