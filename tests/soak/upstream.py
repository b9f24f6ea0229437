"""An upstream that goes wrong in every way, in a process of its own, with a ledger of what it was paid for.

`python -m tests.soak.upstream --ledger FILE --seed N --keys KEY,KEY…` prints its ports as one line of JSON and serves
until it is ended. It speaks the OpenAI dialect; each key is an account with a port of its own. What an operator could
not do, `POST /calm` on the control port does: no fault from then on.

The ledger holds the only facts that count: `received` (a POST came), `taken` (a job was made and is paid for), and
`told` (a poll was answered with the job's end).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.soak.journal import Journal

HOST = "127.0.0.1"
ID_PREFIX = "upjob_"
"""Begins every id of the upstream's own, so that it can be looked for in what must not hold one."""

REFUSED = ("400", "401", "403", "429")
"""Certainly not taken, and the answer says so."""
LOST = ("500", "502", "hang", "reset", "redirect")
"""Not taken, but the answer does not say so."""
BROKEN = ("500", "502", "hang", "reset", "redirect", "cut", "no_id", "page", "empty")
"""Taken and paid for, with an answer that does not say so."""
POLLS = (
    *("500", "502", "hang", "reset", "redirect", "cut", "page", "empty", "400", "401", "429", "slow"),
    *("unknown_word", "less_progress", "backward", "gone", "no_state"),
)
FATES = ("completed",) * 6 + ("failed",)
SHORTEST, LONGEST = 0.1, 2.5
"""Seconds that a job takes."""
CONTENT_LINES = 2000
FILM = b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00isom"

_LINGER_ZERO = struct.pack("ii", 1, 0)
_CUT = "cut"


@dataclass(slots=True)
class Job:
    """A job that was taken, and what will become of it."""

    id: str
    account: str
    prompt: str
    fate: str
    began: float
    duration: float
    source: str | None = None
    polls: int = 0
    hidden_until: float = 0.0
    told: bool = False
    removed: bool = False

    @property
    def share(self) -> float:
        return (time.monotonic() - self.began) / self.duration

    @property
    def status(self) -> str:
        return "queued" if self.share < 0.2 else "in_progress" if self.share < 1 else self.fate

    @property
    def progress(self) -> int:
        return min(99, int(100 * self.share)) if self.status != "completed" else 100


def content_of(prompt: str) -> bytes:
    """The film that a job with this prompt makes: it looks like one at its beginning, and then says whose it is."""
    return FILM + f"{prompt}\n".encode() * CONTENT_LINES


class Upstream:
    """The accounts, their jobs, and what goes wrong: each decision is drawn from the seed, the call and its number."""

    def __init__(self, ledger: Journal, seed: int, keys: list[str], rate: float) -> None:
        self.ledger = ledger
        self.seed = seed
        self.rate = rate
        self.keys = keys
        self.ports: dict[str, int] = {}
        self.jobs: dict[str, Job] = {}
        self.references: dict[tuple[str, str], Job] = {}
        self._count: dict[str, int] = {}
        self._mood: dict[str, str] = dict.fromkeys(keys, "well")
        self._calm = asyncio.Event()
        self._runners: list[web.AppRunner] = []
        self._storms: list[asyncio.Task[None]] = []

    # -- running -------------------------------------------------------------------------------------------------------

    async def start(self) -> int:
        """Open the port of every account, and the control port, which is answered."""
        for key in self.keys:
            runner = web.AppRunner(self._app(key), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            self._runners.append(runner)
            site = web.TCPSite(runner, HOST, self.ports.get(key, 0))
            await site.start()
            self.ports[key] = runner.addresses[0][1]
            self._storms.append(asyncio.create_task(self._storm(key, runner, site)))
        app = web.Application()
        app.router.add_post("/calm", self._be_calm)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        return int(runner.addresses[0][1])

    def _app(self, key: str) -> web.Application:
        app = web.Application()

        def route(method: str, path: str, handler: Any) -> None:
            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._serve(request, key, handler)

            app.router.add_route(method, path, handle)

        route("POST", "/v1/videos", self._create)
        route("POST", "/v1/videos/{id}/remix", self._create)
        route("GET", "/v1/videos/{id}/content", self._content)
        route("GET", "/v1/videos/{id}", self._fetch)
        route("DELETE", "/v1/videos/{id}", self._delete)
        route("GET", "/v1/references/{reference}", self._look_up)
        return app

    async def _be_calm(self, request: web.Request) -> web.Response:
        self.rate = 0.0
        self._calm.set()
        for storm in self._storms:
            await storm
        return web.Response()

    async def _storm(self, key: str, runner: web.AppRunner, site: web.TCPSite) -> None:
        """Good and bad times of one account: its port closed, everything refused, or up and down call by call."""
        chance = random.Random(f"{self.seed}/{key}/storm")
        while await self._quiet(chance.uniform(1.5, 6)):
            mood = chance.choice(("closed", "down", "flapping"))
            self.ledger.write(event="mood", account=key, mood=mood)
            self._mood[key] = mood
            if mood == "closed":
                await site.stop()
            await self._quiet(chance.uniform(0.2, 1.5))
            if mood == "closed":
                site = web.TCPSite(runner, HOST, self.ports[key], reuse_address=True)
                await site.start()
            self._mood[key] = "well"

    async def _quiet(self, seconds: float) -> bool:
        """Wait, and say whether the run goes on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._calm.wait()
        return not self._calm.is_set()

    # -- one call ------------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request, key: str, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {key}":
            return error(401, "Incorrect API key provided.")
        mood = self._mood[key]
        if mood == "down" or (mood == "flapping" and self._chance(f"{key} flaps").random() < 0.5):
            if request.method == "POST":
                self.ledger.write(event="received", account=key, prompt=None, wrong=mood)
            # As a front without a server behind it does: nothing is taken.
            return error(503, "The server is down.") if mood == "down" else reset(request)
        response: web.StreamResponse = await handler(request, key)
        return response

    def _chance(self, name: str) -> random.Random:
        """Draws for the next call of this name."""
        count = self._count[name] = self._count.get(name, 0) + 1
        return random.Random(f"{self.seed}/{name}/{count}")

    async def _create(self, request: web.Request, key: str) -> web.StreamResponse:
        body = await request.json()
        prompt = body["prompt"]
        reference = request.headers.get("X-Reference")
        chance = self._chance(prompt)
        wrong = chance.choice((*REFUSED, *(f"{kind} lost" for kind in LOST), *(f"{kind} paid" for kind in BROKEN)))
        kind, _, when = wrong.partition(" ") if chance.random() < self.rate else ("", "", "paid")
        self.ledger.write(event="received", account=key, prompt=prompt, wrong=wrong if kind else None)
        await asyncio.sleep(chance.uniform(0, 0.03))
        if when != "paid":
            return await self._break(request, kind, {})
        source = request.match_info.get("id")
        if source is not None:
            self._job(key, source)
        job = Job(
            id=ID_PREFIX + secrets.token_hex(12),
            account=key,
            prompt=prompt,
            fate=chance.choice(FATES),
            began=time.monotonic(),
            duration=chance.uniform(SHORTEST, LONGEST),
            source=source,
        )
        self.jobs[job.id] = job
        if reference is not None:
            self.references[key, reference] = job
        self.ledger.write(
            event="taken", account=key, prompt=prompt, job=job.id, source=source, fate=job.fate, wrong=kind or None
        )
        await asyncio.sleep(chance.uniform(0, 0.05))
        if kind:
            return await self._break(request, kind, video(job))
        return web.json_response(video(job))

    async def _fetch(self, request: web.Request, key: str) -> web.StreamResponse:
        job = self._job(key, request.match_info["id"])
        self.ledger.write(event="polled", account=key, job=job.id)
        job.polls += 1
        chance = random.Random(f"{self.seed}/{job.prompt}/poll {job.polls}")
        kind = chance.choice(POLLS) if chance.random() < self.rate else ""
        await asyncio.sleep(chance.uniform(0, 0.01))
        said = video(job)
        if kind == "gone":
            job.hidden_until = time.monotonic() + chance.uniform(0.1, 1)
        if job.hidden_until > time.monotonic() and not self._calm.is_set():
            return error(404, f"Video {job.id} not found.")
        if kind == "slow":
            await asyncio.sleep(chance.uniform(0.2, 0.8))
        elif kind == "unknown_word":
            said["status"] = chance.choice(("rendering", "COMPLETED?", "done_but_not", 7, None))
        elif kind == "no_state":
            del said["status"]
        elif kind == "less_progress":
            said["progress"] = chance.choice((-5, 0, 1, None, "half", 10**30)) if said["status"] != "completed" else 3
        elif kind == "backward":
            said.update(status="queued" if said["status"] == "in_progress" else "in_progress", progress=1, error=None)
        elif kind:
            return await self._break(request, kind, said)
        if said.get("status") in ("completed", "failed") and not job.told:
            job.told = True
            self.ledger.write(event="told", account=key, job=job.id, status=said["status"])
        return web.json_response(said)

    async def _content(self, request: web.Request, key: str) -> web.StreamResponse:
        job = self._job(key, request.match_info["id"])
        if job.status != "completed":
            return error(404, "Video is not ready yet.")
        data = content_of(job.prompt)
        chance = self._chance(f"content of {job.prompt}")
        if chance.random() < self.rate / 2:
            return await self._break(request, chance.choice((_CUT, "500", "reset")), data)
        return web.Response(body=data, content_type="video/mp4")

    async def _delete(self, request: web.Request, key: str) -> web.StreamResponse:
        job = self._job(key, request.match_info["id"])
        if job.share < 1:
            return error(400, "Only completed or failed videos can be deleted.")
        job.removed = True
        self.ledger.write(event="removed", account=key, job=job.id)
        return web.json_response({"id": job.id, "object": "video.deleted", "deleted": True})

    async def _look_up(self, request: web.Request, key: str) -> web.StreamResponse:
        reference = request.match_info["reference"]
        chance = self._chance(f"look up {reference}")
        if chance.random() < self.rate:
            return await self._break(request, chance.choice(("500", "502", "hang", "cut", "429")), {})
        job = self.references.get((key, reference))
        self.ledger.write(event="looked up", account=key, job=job and job.id)
        if job is None:
            return error(404, "There is no such reference.", code="no_such_reference")
        return web.json_response(video(job))

    def _job(self, key: str, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        if job is not None and job.account == key and not job.removed:
            return job
        if job is not None and job.account != key:
            # Somebody else's credential: what a pin must prevent.
            self.ledger.write(event="stranger", account=key, job=job_id, owner=job.account)
        raise web.HTTPNotFound(
            text=json.dumps({"error": {"message": f"Video {job_id} not found."}}), content_type="application/json"
        )

    async def _break(self, request: web.Request, kind: str, said: Any) -> web.StreamResponse:
        """Answer as wrongly as `kind` says."""
        if kind.isdigit() and kind != "502":
            return error(int(kind), "Not now.", headers={"Retry-After": "1"} if kind == "429" else {})
        if kind == "502":
            return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
        if kind == "redirect":
            return web.Response(status=307, headers={"Location": str(request.rel_url)})
        if kind == "no_id":
            return web.json_response({name: value for name, value in said.items() if name != "id"})
        if kind == "page":
            return web.Response(text="<html><h1>Maintenance</h1></html>", content_type="text/html")
        if kind == "empty":
            return web.Response()
        if kind == _CUT:
            return await cut(request, said if isinstance(said, bytes) else json.dumps(said).encode())
        if kind == "hang":
            await self._quiet(20)
        return reset(request)


def video(job: Job) -> dict[str, Any]:
    """The video object of the dialect."""
    failed = {"code": "internal_error", "message": f"{job.id} could not be made."}
    return {
        "id": job.id,
        "object": "video",
        "status": job.status,
        "progress": job.progress,
        "prompt": job.prompt,
        "remixed_from_video_id": job.source,
        "error": failed if job.status == "failed" else None,
    }


def error(
    status: int, message: str, *, code: str = "not_now", headers: dict[str, str] | None = None
) -> web.StreamResponse:
    return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=headers)


def reset(request: web.Request) -> web.StreamResponse:
    """End the connection as a crash does."""
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        request.transport.abort()
    return web.Response()


async def cut(request: web.Request, data: bytes) -> web.StreamResponse:
    """Half of `data`, then nothing."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(data)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--keys", required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    upstream = Upstream(Journal(options.ledger), options.seed, options.keys.split(","), options.rate)
    control = await upstream.start()
    print(json.dumps({"accounts": upstream.ports, "control": control}), flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
