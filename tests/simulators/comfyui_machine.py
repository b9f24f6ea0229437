"""The machine room of the ComfyUI simulator: its queue and worker, the files that jobs leave, and the websocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from aiohttp import web

from proxy.testing import Call, Job, Simulator
from tests.simulators.comfyui_nodes import NODES, Node
from tests.simulators.media import picture

FILMS = ("mp4", "webm")
OPEN = ("pending", "running", "gap")
"""States of a job that has not come into the history yet."""
Place = tuple[str, str, str]
"""Type, subfolder and name of a file."""
Said: TypeAlias = "asyncio.Queue[str | bytes | None]"
"""What is still to be said over one websocket; None breaks it."""


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
        self.own_ids: Literal["uuid", "any", "none"] = "uuid"
        """What a client's `prompt_id` may be: the newest servers take a UUID in lower case alone, older ones any word,
        and the oldest, which ignore it, make every id themselves."""
        self.cached: Collection[str] = ()
        """Nodes of the next jobs that need not run, because an earlier job left what they make."""
        self.refuses_websockets = 0
        """The status with which a reverse proxy that knows no websockets answers them."""
        self._number = 0
        self._asked: set[str] = set()
        self._hearing: dict[str, Said] = {}
        self._listeners: set[Said] = set()

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

    def progress(self, job_id: str, value: int, most: int, *, node: str | None = None, preview: bool = False) -> None:
        """Say over the websocket that a node (the first sampler) did `value` of its `most` steps, with a picture of it.

        A job that waits begins to run; another node than before ends the node before.
        """
        job = self.jobs[job_id]
        if job.state == "pending":
            self.advance(job_id)
        worker = node or sampler(job)
        if job.facts["node"] != worker:
            self._run(job, worker)
        job.progress = min(99, 100 * value // most)
        job.facts["steps"][worker] = (value, most)
        self._tell_steps(job)
        self._tell(job, "progress", {"value": value, "max": most, "prompt_id": job.id, "node": worker}, aloud=True)
        if preview:
            self._send(self._owner(job, aloud=True), struct.pack(">II", 1, 1) + picture("JPEG"))

    def hang_up(self) -> None:
        """Break every websocket, as a dying process or an impatient reverse proxy does; what was said arrives."""
        for said in self._listeners:
            said.put_nowait(None)

    def restart(self) -> None:
        """Lose queue and history, connections and what is temporary, as a new process does; other files stay."""
        self.hang_up()
        for job in self.jobs.values():
            job.removed = True
        self.files = {place: file for place, file in self.files.items() if place[0] != "temp"}
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

    def _info(self, *running: Job) -> dict[str, Any]:
        there = {job.id for job in (*self._in("pending"), *self._in("running"), *running)}
        return {"exec_info": {"queue_remaining": len(there)}}

    def _entered(self, job: Job) -> None:
        """Say what a job's new state makes the server say."""
        if job.state in ("pending", "deleted"):
            self._tell_status()
        elif not job.removed and "node" not in job.facts:
            self._begin(job)
        if job.state in ("pending", "running", "deleted") or job.removed:
            return
        self._tell_end(job)
        if job.state != "gap":
            self._tell_status()
            self._tell(job, "executing", {"node": None, "prompt_id": job.id})

    def _begin(self, job: Job) -> None:
        self._tell_status(job)
        job.facts.update(node=None, steps={}, cached=[name for name in job.facts["graph"] if name in self.cached])
        for kind, data in messages(job)[:2]:
            self._tell(job, kind, data)
        self._run(job, sampler(job))

    def _run(self, job: Job, until: str) -> None:
        """Let the nodes work that `until` stands on, and that did not yet; it is the one at work then."""
        steps = job.facts["steps"]
        for name in order(job.facts["graph"], [until]):
            if name in job.facts["cached"] or (name in steps and name != until):
                continue
            if job.facts["node"] is not None:
                steps[job.facts["node"]] = (1, 1)
            job.facts["node"] = name
            steps[name] = (0, 1)
            self._tell_steps(job)
            self._tell(job, "executing", {"node": name, "display_node": name, "prompt_id": job.id})

    def _tell_end(self, job: Job) -> None:
        """The end is told once, before the history has it."""
        if "told" in job.facts:
            return
        job.facts["told"] = True
        if job.state in ("gap", "success"):
            outputs = job.facts["outputs"] if "outputs" in job.facts else self.produced(job)
            job.facts["outputs"] = outputs
            for end in job.facts["ends"]:
                self._run(job, end)
                if end in outputs:
                    data = {"node": end, "display_node": end, "output": outputs[end], "prompt_id": job.id}
                    self._tell(job, "executed", data)
        for kind, data in messages(job)[2:]:
            self._tell(job, kind, data, aloud=kind == "execution_interrupted")

    def _tell_steps(self, job: Job) -> None:
        """The newer account of all nodes that began, with the steps that each did."""
        nodes = {
            name: {
                "value": value,
                "max": most,
                "state": "running" if name == job.facts["node"] else "finished",
                "node_id": name,
                "prompt_id": job.id,
                "display_node_id": name,
                "parent_node_id": None,
                "real_node_id": name,
            }
            for name, (value, most) in job.facts["steps"].items()
        }
        self._tell(job, "progress_state", {"prompt_id": job.id, "nodes": nodes}, aloud=True)

    def _tell_status(self, *running: Job) -> None:
        for sid in self._hearing:
            self._say(sid, "status", {"status": self._info(*running)})

    def _owner(self, job: Job, *, aloud: bool) -> list[str]:
        """Who hears of a job: the client that ordered it. Where none is named, everybody hears what is said `aloud`."""
        if job.facts["client_id"] is None:
            return list(self._hearing) if aloud else []
        return [job.facts["client_id"]]

    def _tell(self, job: Job, kind: str, data: Any, *, aloud: bool = False) -> None:
        for sid in self._owner(job, aloud=aloud):
            self._say(sid, kind, data)

    def _say(self, sid: str, kind: str, data: Any) -> None:
        self._send([sid], json.dumps({"type": kind, "data": data}))

    def _send(self, sids: Collection[str], message: str | bytes) -> None:
        for sid in sids:
            if sid in self._hearing:
                self._hearing[sid].put_nowait(message)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = dict(request.query)
        call = Call(
            operation="websocket", method="GET", path=request.path, query=query, headers=headers, body=b"", match={}
        )
        self.requests.append(call)
        call.account = self.authenticate(call)
        refused = 401 if call.account is None else self.refuses_websockets
        if refused or str(request.url.origin()) == self.files_url:
            return web.Response(status=refused or 404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = query.get("clientId") or uuid.uuid4().hex
        said = self._hearing[sid] = asyncio.Queue()
        self._listeners.add(said)
        self._say(sid, "status", {"status": self._info(), "sid": sid})
        for job in self._in("running"):
            if job.facts["client_id"] == sid:
                self._say(sid, "executing", {"node": job.facts["node"]})

        async def write() -> None:
            while (message := await said.get()) is not None:
                await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
            if request.transport is not None:
                request.transport.close()

        writer = asyncio.create_task(write())
        async for _ in socket:
            pass
        # Whoever leaves takes the name along, even where a later socket goes by it: that one hears nothing any more.
        self._hearing.pop(sid, None)
        self._listeners.discard(said)
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await writer
        return socket

    async def start(self) -> None:
        # Pillow reads files when it is first used.
        for form in ("PNG", "JPEG"):
            await asyncio.to_thread(picture, form)
        await super().start()

    async def stop(self) -> None:
        self.hang_up()
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
    needed = order(graph, job.facts["ends"])
    return next((name for name in needed if "Sampler" in graph[name]["class_type"]), str(job.facts["ends"][-1]))


def order(graph: Mapping[str, Any], ends: Collection[str], seen: set[str] | None = None) -> Iterator[str]:
    """The nodes that `ends` stand on, and `ends`, each after those that it stands on."""
    seen = set() if seen is None else seen
    for name in ends:
        if name not in seen:
            seen.add(name)
            links = [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
            yield from order(graph, links, seen)
            yield name


def messages(job: Job) -> list[list[Any]]:
    """What was said while the job ran, the last of it why it ended."""
    usual = {"prompt_id": job.id, "timestamp": job.created_at * 1000}
    told: list[list[Any]] = [["execution_start", usual], ["execution_cached", {"nodes": job.facts["cached"], **usual}]]
    node, steps = job.facts["node"], job.facts["steps"]
    kind = job.facts["graph"][node]["class_type"] if node else ""
    worker = {"node_id": node, "node_type": kind, "executed": [name for name in steps if name != node]}
    if job.state in ("gap", "success"):
        told.append(["execution_success", usual])
    elif job.state == "interrupted":
        told.append(["execution_interrupted", {**usual, **worker}])
    elif job.state == "error":
        error, sentence = job.failure or ("", "")
        trace = ['  File "/comfy/execution.py", line 518, in execute\n']
        why = {"exception_message": sentence, "exception_type": error, "traceback": trace}
        told.append(["execution_error", {**usual, **worker, **why, "current_inputs": {}, "current_outputs": []}])
    return told
