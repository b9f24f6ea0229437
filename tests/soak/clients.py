"""Clients that behave as the official SDKs do, and watchers; each keeps a history of what it asked and was told.

A history has an `invoke` for each call that makes or deletes a video, and one end: `ok` (a 200), `fail` (refused for
good) or `info` (nobody knows). `see` is what a GET said of a video, with the times at which it was asked and answered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import ClientConnectorError, ClientError, ClientSession

from tests.soak.journal import Journal, now
from tests.soak.upstream import FILM

PATIENCE = 15.0
IMPATIENCE = (0.15, 0.8)
"""Seconds after which a client gives a request up: most of them, and those that want to see it re-sent in flight.

These have an Idempotency-Key, unless the run is `impatient`: without one, a server cannot tell an answer that its
client did not wait for from one that it read (CONTRACT 3, "whose answer was not fully written").
"""
RETRIES = 2
LONGEST_WAIT = 8.0
FINAL = ("completed", "failed")
LOST = (ClientError, OSError, TimeoutError)


class Answer(NamedTuple):
    """A whole answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The JSON of it; an empty object where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def code(self) -> str | None:
        error = self.data.get("error") if isinstance(self.data, dict) else None
        return error.get("code") if isinstance(error, dict) else None


@dataclass(slots=True)
class Tenant:
    """One owner of videos: its key, and what is known of its videos (the last status seen; None when deleted).

    `accepted` are those that a client has a 200 for.
    """

    name: str
    key: str
    videos: dict[str, str | None] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)

    def living(self, *statuses: str) -> list[str]:
        """The ids of its videos in one of these."""
        return [video_id for video_id, status in self.videos.items() if status in statuses]


class Doors:
    """Where the servers are. `secret` are words that no answer may hold."""

    def __init__(self, urls: list[str], session: ClientSession, secret: tuple[str, ...]) -> None:
        self.urls = urls
        self.session = session
        # By itself it would send a GET and a DELETE once more, and the second one finds what the first one left.
        self.session._retry_connection = False
        self.secret = tuple(word.encode() for word in secret)


class Caller:
    """One that asks servers, any of them, as behind a balancer, and writes a history."""

    def __init__(self, name: str, tenant: Tenant, doors: Doors, history: Journal, seed: int) -> None:
        self.name = name
        self.tenant = tenant
        self.doors = doors
        self.history = history
        self.chance = random.Random(f"{seed}/{name}")

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: dict[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Answer:
        """One request, whole; raises one of `LOST` where there is no whole answer.

        Where nobody listens it waits, as behind a balancer: what is sent again meets the server that was just started.
        """
        sent = {"Authorization": f"Bearer {self.tenant.key}", **(headers or {})}
        async with asyncio.timeout(patience):
            while True:
                url = self.chance.choice(self.doors.urls) + path
                try:
                    async with self.doors.session.request(method, url, json=json, headers=sent) as response:
                        body = await response.read()
                except ClientConnectorError:
                    await asyncio.sleep(0.03)
                else:
                    break
        answer = Answer(response.status, {key.lower(): value for key, value in response.headers.items()}, body)
        head = repr(answer.headers).encode()
        for word in self.doors.secret:
            if word in body or word in head:
                self.write("leak", path=path, text=body[:300].decode("utf-8", "replace"))
        return answer

    def write(self, op: str, **entry: Any) -> None:
        self.history.write(client=self.name, tenant=self.tenant.name, op=op, **entry)

    async def see(self, video_id: str) -> None:
        """Retrieve a video and keep what was seen."""
        asked = now()
        answer = await self.ask("GET", f"/videos/{video_id}")
        if answer.status == 200:
            self.saw(answer.data, asked)
        elif answer.status == 404:
            self.write("see", id=video_id, asked=asked, status="missing")

    async def look_through(self, limit: int, **query: str) -> dict[str, Any]:
        """One page of the list, each video of it seen."""
        asked = now()
        words = "&".join(f"{name}={value}" for name, value in {"limit": str(limit), **query}.items())
        answer = await self.ask("GET", f"/videos?{words}")
        if answer.status != 200:
            raise OSError(f"the list answered {answer.status}")
        page: dict[str, Any] = answer.data
        for video in page["data"]:
            self.saw(video, asked)
        return page

    def saw(self, video: dict[str, Any], asked: float) -> None:
        error = video.get("error") or {}
        self.write(
            "see",
            id=video["id"],
            asked=round(asked, 4),
            status=video["status"],
            progress=video["progress"],
            prompt=video["prompt"],
            code=error.get("code"),
        )
        if self.tenant.videos.get(video["id"], "") is not None:
            self.tenant.videos[video["id"]] = video["status"]


class Client(Caller):
    """One that makes, remixes, deletes, downloads and looks at videos, one thing after the other."""

    def __init__(
        self,
        name: str,
        tenant: Tenant,
        others: list[Tenant],
        doors: Doors,
        history: Journal,
        seed: int,
        accepted: Callable[[], None],
        *,
        impatient: bool,
    ) -> None:
        super().__init__(name, tenant, doors, history, seed)
        self._others = others
        self._impatient = impatient
        self._accepted = accepted
        self._numbers = itertools.count()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, and finish the call that is under way."""
        habits = {
            self._create: 50,
            self._remix: 14,
            self._delete: 8,
            self._download: 8,
            self._look: 14,
            self._pry: 4,
        }
        while not stop.is_set():
            habit = self.chance.choices(list(habits), list(habits.values()))[0]
            try:
                await habit()
            except LOST:
                # What only reads is not asked again; its server is away for a moment.
                await asyncio.sleep(0.1)
            await asyncio.sleep(self.chance.uniform(0, 0.3))

    # -- making --------------------------------------------------------------------------------------------------------

    async def _create(self) -> None:
        await self._make("create", "/videos")

    async def _remix(self) -> None:
        done = self.tenant.living("completed")
        if done:
            await self._make("remix", f"/videos/{self.chance.choice(done[-20:])}/remix")

    async def _make(self, op: str, path: str) -> None:
        """One call as an SDK makes it: sent three times at most, or, with an Idempotency-Key, until there is an end."""
        call = f"soak {self.name} {next(self._numbers)}"
        keyed = self.chance.random() < 0.3
        hurried = (keyed or self._impatient) and self.chance.random() < 0.3
        patience = self.chance.uniform(*IMPATIENCE) if hurried else PATIENCE
        self.write(op, type="invoke", call=call, keyed=keyed)
        for sent in itertools.count(1):
            headers = {"Idempotency-Key": call} if keyed else {}
            headers["x-stainless-retry-count"] = str(sent - 1)
            wait = min(0.5 * 2 ** (sent - 1), LONGEST_WAIT) * self.chance.uniform(0.75, 1)
            try:
                answer = await self.ask("POST", path, json={"prompt": call}, headers=headers, patience=patience)
            except LOST as error:
                why = type(error).__name__
                # A keyed call is worth nothing without its end, so it grows patient.
                patience = PATIENCE if keyed else patience
            else:
                if answer.status == 200:
                    self._accepted()
                    self.write(op, type="ok", call=call, id=answer.data["id"], sent=sent)
                    self.tenant.videos.setdefault(answer.data["id"], answer.data["status"])
                    self.tenant.accepted.add(answer.data["id"])
                    if keyed and self.chance.random() < 0.3:
                        await self._replay(call, path, answer)
                    return
                if not may_send_again(answer):
                    self.write(op, type="fail", call=call, status=answer.status, code=answer.code, sent=sent)
                    return
                why = str(answer.status)
                wait = wait_asked_for(answer) or wait
            if not keyed and sent > RETRIES:
                self.write(op, type="info", call=call, why=why, sent=sent)
                return
            await asyncio.sleep(wait)

    async def _replay(self, call: str, path: str, first: Answer) -> None:
        """Send a keyed call again although its answer is here: the same answer must come."""
        answer = await self.ask("POST", path, json={"prompt": call}, headers={"Idempotency-Key": call})
        if answer.status == 200:
            self.write("replay", type="ok", call=call, id=answer.data["id"], same=answer.body == first.body)

    # -- the rest ------------------------------------------------------------------------------------------------------

    async def _delete(self) -> None:
        force = self.chance.random() < 0.15
        some = self.tenant.living("queued", "in_progress") if force or self.chance.random() < 0.3 else []
        # Not one whose call may still be sent again: it would be right to make that video anew.
        some = [one for one in some or self.tenant.living(*FINAL) if one in self.tenant.accepted]
        if not some:
            return
        video_id = self.chance.choice(some)
        self.write("delete", type="invoke", id=video_id)
        try:
            answer = await self.ask("DELETE", f"/videos/{video_id}{'?force=true' if force else ''}")
        except LOST as error:
            self.write("delete", type="info", id=video_id, why=type(error).__name__)
            # It may be there or not, so nobody may be surprised by either.
            self.tenant.videos[video_id] = None
            return
        if answer.status == 200:
            self.tenant.videos[video_id] = None
            self.write("delete", type="ok", id=video_id)
        else:
            self.write("delete", type="fail", id=video_id, status=answer.status, code=answer.code)

    async def _download(self) -> None:
        done = self.tenant.living("completed")
        if not done:
            return
        video_id = self.chance.choice(done)
        answer = await self.ask("GET", f"/videos/{video_id}/content")
        if answer.status == 200:
            lines = answer.body.removeprefix(FILM).decode("utf-8", "replace").split("\n")
            self.write("download", id=video_id, prompt=lines[0], lines=len(lines) - 1, alike=len(set(lines[:-1])) == 1)

    async def _look(self) -> None:
        some = list(self.tenant.videos)
        if some:
            await self.see(self.chance.choice(some[-30:]))

    async def _pry(self) -> None:
        """Ask for somebody else's video."""
        other = self.chance.choice(self._others)
        if other.videos:
            video_id = self.chance.choice(list(other.videos))
            answer = await self.ask("GET", f"/videos/{video_id}")
            self.write("pry", id=video_id, status=answer.status)


class Watcher(Caller):
    """Looks at the videos of its tenant that are on their way, all the time, and at some of the others."""

    async def run(self) -> None:
        while True:
            try:
                page = await self.look_through(20)
                shown = {video["id"] for video in page["data"]}
                moving = [one for one in self.tenant.living("queued", "in_progress") if one not in shown]
                ended = self.tenant.living(*FINAL)
                for video_id in [*moving, *self.chance.sample(ended, min(1, len(ended)))]:
                    await self.see(video_id)
                    await asyncio.sleep(0.02)
            except LOST:
                pass
            await asyncio.sleep(0.06)

    async def all(self) -> list[dict[str, Any]]:
        """Every video of the tenant, page after page."""
        videos: list[dict[str, Any]] = []
        while True:
            after = {"after": videos[-1]["id"]} if videos else {}
            page = await self.look_through(100, order="asc", **after)
            videos += page["data"]
            if not page["has_more"]:
                return videos


def may_send_again(answer: Answer) -> bool:
    """What the SDKs judge."""
    word = answer.headers.get("x-should-retry")
    if word in ("true", "false"):
        return word == "true"
    return answer.status in (408, 409, 429) or answer.status >= 500


def wait_asked_for(answer: Answer) -> float | None:
    """Seconds that the answer asks to wait, as far as a run has time for them."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = answer.headers.get(name, "")
        if text.replace(".", "", 1).isdigit() and float(text) > 0:
            return min(float(text) / unit, LONGEST_WAIT)
    return None
