"""The simulator kit: a local stand-in that speaks a provider's wire, remembers its jobs and can be told to misbehave.

class LumenSimulator(Simulator):
    @operation("create", "POST", "/generations")
    async def create(self, call: Call) -> Answer:
        ...

async with SimulatorServer(LumenSimulator(keys={"key-a"})) as sim:
    sim.then(status=429, headers={"Retry-After": "7"}, on="create")
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import web

from proxy.testing.faults import FAULTS, Act, Stage, mangling, saying, send
from proxy.testing.sample import sample_video
from proxy.testing.wire import Answer, Call, Refuse

Method = TypeVar("Method", bound=Callable[..., Awaitable[Answer]])
Sim = TypeVar("Sim", bound="Simulator")

_SENTENCE = "The renderer ran out of light."
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the provider's API. `open` needs no credential."""

    name: str
    method: str
    path: str
    open: bool


def operation(name: str, method: str, path: str, *, open: bool = False) -> Callable[[Method], Method]:
    """Make a method of a `Simulator` answer `method` on `path`, as the operation `name`.

    The contract looks for the names create, fetch, content, remix, edit, extend, character, cancel and delete.
    """

    def mark(function: Method) -> Method:
        function.operation = Operation(name, method, path, open)  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(slots=True, kw_only=True)
class Job:
    """One job that a simulator took, and that its provider would bill.

    `id` and `state` are the provider's words, as texts also where they are numbers in its answers. `failure` is (code,
    sentence). `held` stops the automatic progress: it is set as soon as a test moves the job by hand. `facts` are the
    simulator's own. `content` overrides the sample video.
    """

    id: str
    account: str
    kind: str
    call: Call
    state: str
    created_at: int
    progress: int = 0
    polls: int = 0
    held: bool = False
    completed_at: int | None = None
    failure: tuple[str, str] | None = None
    content: bytes | None = None
    cancelled: bool = False
    removed: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Step:
    act: Act
    on: str | None
    times: int | None


class Simulator:
    """A provider on loopback. Subclasses add operations; tests read `requests` and `paid` and script what goes wrong.

    `keys` are the credentials that it knows; each is an account, and jobs belong to the account that made them.
    """

    words: ClassVar[Mapping[str, str]] = {}
    """Our status -> the provider's word for it, where they differ; `advance`, `finish` and `fail` use it."""

    def __init__(self, *, keys: Collection[str] = ("test-key",)) -> None:
        self.keys = set(keys)
        self.requests: list[Call] = []
        self.jobs: dict[str, Job] = {}
        self.paid = 0
        """How many jobs were really taken."""
        self.automatic = True
        """Whether polls move a job; False leaves it where it is until a test moves it."""
        self.queued_polls = 1
        """How many polls find a job queued."""
        self.running_polls = 1
        """How many polls find it in progress after that."""
        self.honours_range = True
        self.sends_length = True
        """Whether content comes with a Content-Length; chunked without."""
        self.cut_content_at: float | None = None
        """The share (0 to 1) of the content after which the connection breaks."""
        self.base_url = ""
        """Where the API is, once it is started."""
        self.files_url = ""
        """A second origin, for results that the provider keeps elsewhere."""
        self.video_bytes = b""
        """The result of every job that has none of its own; there once the simulator is started."""
        self._script: list[_Step] = []
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    # -- what a subclass may say otherwise -----------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Answer:
        """An error in the provider's envelope."""
        return Answer(status=status, json={"error": {"message": message}})

    def authenticate(self, call: Call) -> str | None:
        """The account that `call` proves to come from, or None."""
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        return key if scheme == "Bearer" and key in self.keys else None

    def unauthorised(self, call: Call) -> Answer:
        """What the provider says to a credential that it does not know."""
        return self.error(401, "The credential is missing or wrong.")

    def new_id(self) -> str:
        """An id in the provider's form; long enough that a test can look for it in other texts."""
        return f"job-{secrets.token_hex(12)}"

    # -- what an operation uses ----------------------------------------------------------------------------------------

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        """Take a job, which costs money."""
        self.paid += 1
        job = Job(
            id=self.new_id(),
            account=call.account or "",
            kind=kind,
            call=call,
            state=self._word("queued"),
            created_at=int(time.time()),
            facts=facts,
        )
        self.jobs[job.id] = job
        return job

    def find(self, call: Call, job_id: object) -> Job:
        """The job of that id, a text or a number, of the caller's own; refused with 404 where there is none."""
        job = self.jobs.get(str(job_id)) if isinstance(job_id, str | int) else None
        if job is None or job.removed or (call.account is not None and job.account != call.account):
            raise Refuse(self.not_found(str(job_id)))
        return job

    def not_found(self, job_id: str) -> Answer:
        """What the provider says about an id that it does not know."""
        return self.error(404, f"{job_id} not found")

    def poll(self, call: Call, job_id: object) -> Job:
        """`find`, and one step of the automatic progress."""
        job = self.find(call, job_id)
        if self.automatic and not job.held:
            job.polls += 1
            if job.polls > self.queued_polls + self.running_polls:
                self._become(job, "completed")
            elif job.polls > self.queued_polls:
                self._become(job, "in_progress")
                job.progress = min(99, 100 * (job.polls - self.queued_polls) // (self.running_polls + 1))
        return job

    def content_of(self, job: Job) -> bytes:
        """The bytes of the job's result."""
        return self.video_bytes if job.content is None else job.content

    def serve(self, call: Call, data: bytes, media_type: str = "video/mp4") -> Answer:
        """`data` as a file server gives it, with ranges where `honours_range`, cut where `cut_content_at`."""
        headers = {"Content-Type": media_type}
        status = 200
        if self.honours_range:
            headers["Accept-Ranges"] = "bytes"
            match = _RANGE.fullmatch(call.headers.get("range", ""))
            if match and (match[1] or match[2]):
                size = len(data)
                first = int(match[1]) if match[1] else max(0, size - int(match[2]))
                last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
                if first > last:
                    return Answer(status=416, headers={"Content-Range": f"bytes */{size}"})
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
                data, status = data[first : last + 1], 206
        return Answer(
            status=status, body=data, headers=headers, chunked=not self.sends_length, cut_at=self.cut_content_at
        )

    # -- what a test does ----------------------------------------------------------------------------------------------

    def then(
        self,
        answer: Answer | None = None,
        *,
        status: int = 200,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        on: str | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer the next call (of operation `on`) so, without doing it; `times` None: until `calm`."""
        said = answer or Answer(status=status, json=json, body=body, headers=headers or {})
        if answer is not None and headers:
            said = Answer(status=said.status, json=said.json, body=said.body, headers={**said.headers, **headers})
        self._script.append(_Step(saying(said), on, times))

    def fault(self, kind: str, *, on: str | None = None, times: int | None = 1) -> None:
        """Let the next call (of operation `on`) go wrong: one of `FAULTS`, or "no_id"."""
        if kind != "no_id" and kind not in FAULTS:
            raise ValueError(f"no fault {kind!r}; there are: no_id, {', '.join(FAULTS)}")
        self._script.append(_Step(mangling(self._without_ids) if kind == "no_id" else FAULTS[kind], on, times))

    def mangle(self, change: Callable[[Any], Any], *, on: str | None = None, times: int | None = 1) -> None:
        """Do the next call (of operation `on`), and pass the JSON of its answer through `change`."""
        self._script.append(_Step(mangling(change), on, times))

    def calm(self) -> None:
        """Forget what is scripted and not used up."""
        self._script.clear()

    def calls(self, operation: str) -> list[Call]:
        """The requests to one operation, in order."""
        return [call for call in self.requests if call.operation == operation]

    @property
    def latest(self) -> Job:
        """The job that was taken last."""
        return list(self.jobs.values())[-1]

    def put(self, job_id: str, state: str, *, means: str | None = None) -> None:
        """Hold the job in `state`, any word; `means` is the status of ours that the provider means by it."""
        job = self.jobs[job_id]
        job.held = True
        if means is not None:
            self._become(job, means)
        job.state = state

    def advance(self, job_id: str) -> None:
        """Move the job one stage on, by hand: queued, in progress, completed."""
        state = self.jobs[job_id].state
        self._hold(job_id, "in_progress" if state == self._word("queued") else "completed")

    def finish(self, job_id: str) -> None:
        """Complete the job."""
        self._hold(job_id, "completed")

    def fail(self, job_id: str, *, code: str = "internal_error", message: str = _SENTENCE) -> None:
        """Let the job fail, with the provider's code and sentence."""
        self.jobs[job_id].failure = (code, message)
        self._hold(job_id, "failed")

    # -- running -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen on two free ports of 127.0.0.1: one for the API, one for results."""
        # In a thread: importing PyAV reads files.
        self.video_bytes = self.video_bytes or await asyncio.to_thread(sample_video)
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=5)
        await self._runner.setup()
        for _ in range(2):
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url, self.files_url = (f"http://127.0.0.1:{address[1]}" for address in self._runner.addresses)

    async def stop(self) -> None:
        """Close both ports; calls that hang are reset."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        # The limit would otherwise refuse what a provider takes: this stand-in reads any body.
        app = web.Application(client_max_size=2**31)
        found = [getattr(self, name) for name in dir(type(self)) if hasattr(getattr(type(self), name), "operation")]
        # A literal path wins over one with an {id}.
        for method in sorted(found, key=lambda method: method.operation.path.count("{")):
            app.router.add_route(
                method.operation.method, method.operation.path, self._handler(method.operation, method)
            )
        app.router.add_route("*", "/{_path:.*}", self._handler(Operation("", "*", "", False), self._no_such_route))
        return app

    async def _no_such_route(self, call: Call) -> Answer:
        return self.error(404, f"Invalid URL ({call.method} {call.path})")

    def _handler(
        self, operation: Operation, method: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            call = Call(
                operation=operation.name,
                method=request.method,
                path=request.path,
                query=dict(request.query),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.read(),
                match=dict(request.match_info),
                elsewhere=request.transport is not None
                and self.files_url.endswith(f":{request.transport.get_extra_info('sockname')[1]}"),
            )
            self.requests.append(call)

            async def run() -> Answer:
                try:
                    if not operation.open:
                        call.account = self.authenticate(call)
                        if call.account is None:
                            return self.unauthorised(call)
                    return await method(call)
                except Refuse as refusal:
                    return refusal.answer

            stage = Stage(request, run, self._stopping)
            act = self._next_act(operation.name)
            return await (act(stage) if act else send(stage, await run()))

        return handle

    def _next_act(self, operation: str) -> Act | None:
        for step in self._script:
            if step.on is None or step.on == operation:
                if step.times is not None:
                    step.times -= 1
                    if step.times == 0:
                        self._script.remove(step)
                return step.act
        return None

    def _hold(self, job_id: str, status: str) -> None:
        self.put(job_id, self._word(status), means=status)

    def _word(self, status: str) -> str:
        return self.words.get(status, status)

    def _become(self, job: Job, status: str) -> None:
        job.state = self._word(status)
        if status in ("completed", "failed") and job.completed_at is None:
            job.completed_at = max(int(time.time()), job.created_at)
        if status == "completed":
            job.progress = 100
        if status == "failed" and job.failure is None:
            job.failure = ("internal_error", _SENTENCE)

    def _without_ids(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: self._without_ids(value) for key, value in data.items() if not self._is_id(value)}
        if isinstance(data, list):
            return [self._without_ids(value) for value in data]
        return data

    def _is_id(self, value: Any) -> bool:
        # Some providers' ids are numbers.
        return isinstance(value, str | int) and str(value) in self.jobs


class SimulatorServer(Generic[Sim]):
    """`async with SimulatorServer(simulator) as simulator`: running inside the block."""

    def __init__(self, simulator: Sim) -> None:
        self.simulator = simulator

    async def __aenter__(self) -> Sim:
        await self.simulator.start()
        return self.simulator

    async def __aexit__(self, *exc: object) -> None:
        await self.simulator.stop()
