"""The one who kills: at moments of the life of a video that are watched for, and at any moment."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

from aiohttp import ClientSession

from tests.soak.journal import Entry, Follower, Journal, now
from tests.soak.processes import Server

PHASES = {
    "submit: a POST is at the upstream": 4,
    "submit: the job is taken": 4,
    "submit: refused": 2,
    "accept: a client has its 200": 2,
    "poll: the upstream is asked": 2,
    "finish: the upstream said the end": 4,
    "recover: the upstream looks up": 1,
    "webhook: it has arrived": 3,
    "start: before it is ready": 1,
    "any moment": 3,
}
"""Where kills fall, and how often each is drawn."""

PATIENCE = 1.2
"""Seconds that a moment is waited for; a kill whose moment did not come falls at any moment."""
DELAYS = ((0, 0), (0, 0.004), (0, 0.03))
"""Seconds between the moment and the kill, drawn from one of these."""


def phase_of(entry: Entry) -> str | None:
    """The phase that an entry of the ledger or of the receiver's record belongs to."""
    match entry["event"]:
        case "received" if entry["wrong"] in ("400", "401", "403", "429", "down"):
            return "submit: refused"
        case "received":
            return "submit: a POST is at the upstream"
        case "taken":
            return "submit: the job is taken"
        case "polled":
            return "poll: the upstream is asked"
        case "told":
            return "finish: the upstream said the end"
        case "looked up":
            return "recover: the upstream looks up"
        case "delivery":
            return "webhook: it has arrived"
    return None


class Moments:
    """What happens just now, told by the upstream's ledger, the receiver's record, and the clients."""

    def __init__(self, *journals: Path) -> None:
        self._followers = [Follower(path) for path in journals]
        self._waited_for: str | None = None
        self._came = asyncio.Event()

    def happened(self, phase: str | None) -> None:
        if phase is not None and phase == self._waited_for:
            self._came.set()

    async def follow(self) -> None:
        """Read the journals for ever, closely."""
        while True:
            for follower in self._followers:
                for entry in follower.news():
                    self.happened(phase_of(entry))
            await asyncio.sleep(0.002)

    async def wait(self, phase: str) -> bool:
        """Wait for the next moment of this phase; False where none came in time."""
        self._waited_for = phase
        self._came.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._came.wait()
        except TimeoutError:
            return False
        finally:
            self._waited_for = None
        return True


class Nemesis:
    """Kills servers and starts them again; with two, also stops one for longer than its lease."""

    def __init__(
        self, servers: list[Server], moments: Moments, journal: Journal, session: ClientSession, seed: int, lease: float
    ) -> None:
        self._servers = servers
        self._moments = moments
        self._journal = journal
        self._session = session
        self._lease = lease
        self._chance = random.Random(f"{seed}/nemesis")
        self._paused: dict[str, asyncio.Task[None]] = {}
        self._slept: set[str] = set()
        """Servers that were stopped for a while since they were started: one that lost its lease may end."""
        self._down: set[str] = set()
        """Servers that are down because they were killed."""
        self.kills: Counter[str] = Counter()

    async def run(self, kills: int, phases: dict[str, int], until: float) -> None:
        """Kill so many times, but not beyond `until` (the loop's time)."""
        clock = asyncio.get_running_loop().time
        while self.kills.total() < kills and clock() < until:
            await asyncio.sleep(self._chance.uniform(0, 0.25))
            await self._once(self._chance.choices(list(phases), list(phases.values()))[0])
        await asyncio.gather(*self._paused.values())

    async def _once(self, phase: str) -> None:
        victim = self._chance.choice(self._servers)
        if len(self._servers) > 1 and victim.name not in self._paused and self._chance.random() < 0.2:
            await self._at(phase)
            self._paused[victim.name] = asyncio.create_task(self._pause(victim))
            return
        if phase == "start: before it is ready":
            await self._kill(victim, "any moment")
            await victim.launch()
            await asyncio.sleep(self._chance.uniform(0.1, 0.7))
            await self._kill(victim, phase)
        else:
            phase = phase if await self._at(phase) else "any moment"
            # Sometimes nobody is left to take over at once.
            all_of_them = len(self._servers) > 1 and self._chance.random() < 0.15
            for server in self._servers if all_of_them else [victim]:
                await self._kill(server, phase)
        if len(self._servers) > 1 and self._chance.random() < 0.2:
            # Long enough that the other one takes over what it held.
            await asyncio.sleep(self._lease * self._chance.uniform(1, 1.5))
        for server in [one for one in self._servers if one.name in self._down]:
            await self._start(server)

    async def keep(self) -> None:
        """Start servers again that ended by themselves, as a supervisor does."""
        while True:
            for server in self._servers:
                if not server.lives and server.name not in self._down:
                    slept = server.name in self._slept
                    self._journal.write(event="ended", server=server.name, code=server.code, slept=slept)
                    await self._start(server)
            await asyncio.sleep(0.05)

    async def _start(self, server: Server) -> None:
        began = now()
        self._slept.discard(server.name)
        await server.launch()
        self._down.discard(server.name)
        await server.ready(self._session)
        self._journal.write(event="ready", server=server.name, after=round(now() - began, 2))

    async def _at(self, phase: str) -> bool:
        """Wait for a moment of the phase, and a little longer."""
        came = True
        if phase in ("any moment", "start: before it is ready"):
            await asyncio.sleep(self._chance.uniform(0, 0.5))
        else:
            came = await self._moments.wait(phase)
        delay = self._chance.uniform(*self._chance.choice(DELAYS))
        if delay:
            await asyncio.sleep(delay)
        return came

    async def _kill(self, victim: Server, phase: str) -> None:
        if (pause := self._paused.pop(victim.name, None)) is not None:
            pause.cancel()
        self._down.add(victim.name)
        if victim.lives:
            await victim.kill()
            self.kills[phase] += 1
            self._journal.write(event="kill", server=victim.name, phase=phase)

    async def _pause(self, victim: Server) -> None:
        victim.pause()
        self._slept.add(victim.name)
        self._journal.write(event="pause", server=victim.name)
        await asyncio.sleep(self._lease * self._chance.uniform(0.3, 2))
        victim.resume()
        self._journal.write(event="resume", server=victim.name)
        self._paused.pop(victim.name, None)
