"""The world of the state machine: one event loop whose time and disk stand still until they are moved by hand.

A process (`Life`) is the product's own engine on a real SQLite file. Its timers fire when `World.advance` comes there.
What SQLite's threads would do is done here, one piece at a time between two turns of the loop, the connections in an
order that a seed decides. So an example runs the same each time, a process can be killed between any two steps, and
the laws can look at the file after each commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

from proxy import config, ids
from proxy.channels import Channels
from proxy.config import Server
from proxy.engine import Core, Engine, leases, routing, waiting
from proxy.engine import core as core_module
from proxy.engine import engine as engine_module
from proxy.engine.leases import Leases
from proxy.engine.polling import Poller
from proxy.loader import Plugin, Registry
from proxy.media.inputs import Inputs
from proxy.media.kept import Kept
from proxy.plans import Plan, plan
from proxy.store import Store, StoreBusy, connection, writer
from proxy.upstream import Http
from proxy.upstream.redact import Redactor
from tests.engine.machine_upstream import Account, Lookup, Puppet

T = TypeVar("T")

BEGINNING = 1_800_000_000.0
"""Unix seconds at which the world begins."""
MOST_TURNS = 20_000
"""Turns without time going by after which something is taken to run in circles."""
EXPECTED = (StoreBusy, asyncio.CancelledError)
"""What the engine may log with a traceback: a disk that is full."""


class Disk:
    """The work that SQLite and the file system have to do for one process."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._lanes: list[Lane] = []
        self.files = self.lane()
        self.full = 0
        """How many of the next commits fail."""
        self.dead = False

    def lane(self) -> Lane:
        """The work of one more thread, which is done in its order."""
        self._lanes.append(Lane(self))
        return self._lanes[-1]

    def step(self) -> str:
        """Do one piece of work; answers what it was: "commit", "other", or "" where there was none."""
        busy = [lane for lane in self._lanes if lane.work]
        if not busy:
            return ""
        future, function = busy[self._chance.randrange(len(busy))].work.popleft()
        commit = getattr(function, "func", None) is writer._commit
        try:
            if commit and self.full:
                self.full -= 1
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            result = function()
        except Exception as error:
            if future is not None and not future.done():
                future.set_exception(error)
            return "other"
        if future is not None and not future.done():
            future.set_result(result)
        return "commit" if commit else "other"


class Lane:
    """Stands in for the queue of an aiosqlite thread."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.work: deque[tuple[asyncio.Future[Any] | None, Callable[[], Any]]] = deque()

    def put_nowait(self, piece: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        if self._disk.dead:
            # Of a process that was killed nothing reaches the disk.
            raise asyncio.CancelledError
        self.work.append(piece)


class Loop(asyncio.SelectorEventLoop):
    """The event loop of one process."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.disk = Disk(world.chance)
        self.connections: list[OnDisk] = []
        self.set_exception_handler(lambda loop, context: world.faults.append(str(context)))

    def time(self) -> float:
        return self.world.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        self.disk.files.put_nowait((future, partial(func, *args)))
        return future

    def due(self) -> bool:
        """Whether a turn would do anything now."""
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        return bool(ready) or bool(scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self.time()))

    def alarm(self) -> float | None:
        """When the next timer fires."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        return scheduled[0]._when if scheduled else None

    def turn(self) -> None:
        self.stop()
        self.run_forever()


class OnDisk(connection.Connection):
    """A connection of the product whose work the loop's disk does."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], path: Path) -> None:
        super().__init__(connector, path)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        loop.connections.append(self)
        self._tx: Any = loop.disk.lane()
        self._thread: Any = SimpleNamespace(start=lambda: None, join=lambda: None)


class Life:
    """One process, from its start until it is stopped or killed."""

    def __init__(self, world: World) -> None:
        self.loop = Loop(world)
        self.world = world

    async def start(self, plans: Sequence[Plan], server: Server) -> None:
        """What `create_app` does, without HTTP."""
        world = self.world
        self.store = await Store.open(world.file)
        self.leases = Leases(self.store, lasts=1000.0, clock=world.wall, now=world.monotonic)
        await self.leases.join()
        redactor = Redactor(())
        self.http = Http()
        self.channels = Channels(http=self.http, data=world.folder, redactor=redactor)
        await self.channels.apply(plans)
        self.core = Core(
            store=self.store,
            leases=self.leases,
            channels=self.channels,
            inputs=Inputs(world.folder / "inputs", self.http),
            server=server,
            redactor=redactor,
            folder=world.folder,
            kept=Kept(world.folder / "kept", 2**20),
            clock=world.wall,
        )
        self.engine = Engine(self.core, born=0)
        self.engine.tell("the machine", world.listener)
        await self.engine.start()

    async def reload(self, plans: Sequence[Plan]) -> None:
        """What `app.reload` does."""
        await self.channels.apply(plans)
        self.engine.reconfigured(self.core.server)

    async def stop(self) -> None:
        """What a SIGTERM does."""
        await self.engine.stop(5.0)
        await self.channels.close()
        await self.store.close()

    def kill(self) -> None:
        """Let nothing of the process reach the disk or an upstream any more, and let go of what it had open."""
        self.loop.disk.dead = True
        for _ in range(1000):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks and not self.loop.due():
                break
            for task in tasks:
                task.cancel()
            self.loop.turn()
        else:
            raise AssertionError("a task does not end although it is cancelled again and again")
        for opened in self.loop.connections:
            raw, opened._connection = opened._connection, None
            if raw is not None:
                raw.close()
        lock = getattr(self, "leases", None) and self.leases._lock
        if lock and lock._fd is not None:
            os.close(lock._fd)
            lock._fd = None
        self.loop.close()


class World(contextlib.ExitStack):
    """Time, chance and the file, which outlive the processes; `life` is the one that runs."""

    def __init__(self, seed: int, *, entries: str, server: Server, listener: Callable[[Any, str], Any]) -> None:
        super().__init__()
        self.now = 1000.0
        self.troubled = 0.0
        """When a disk was full last."""
        self.chance = Random(seed)
        self.listener = listener
        self.faults: list[str] = []
        """What must never happen, and was seen where raising it would not have been heard."""
        self.accounts: dict[str, Account] = {}
        self.after_turn: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self.folder = Path(tempfile.mkdtemp(prefix="reelgate-machine-"))
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.file = self.folder / "reelgate.db"
        self._made = 0
        self.plans, self.server = plans(entries), server
        self._patch()
        self.callback(lambda: self.life.kill())
        self.life = Life(self)

    def wall(self) -> float:
        """Unix seconds."""
        return BEGINNING + self.now

    def monotonic(self) -> float:
        return self.now

    def next(self, prefix: str) -> str:
        """In place of the product's ids, which contain chance."""
        self._made += 1
        return f"{prefix}_{int(self.wall() * 1000):012x}{self._made:020x}"

    def _patch(self) -> None:
        clocks = SimpleNamespace(monotonic=self.monotonic, time=self.wall)
        for module in (core_module, waiting, engine_module):
            self.enter_context(mock.patch.object(module, "time", clocks))
        self.enter_context(mock.patch.object(engine_module, "Poller", partial(Poller, now=self.monotonic)))
        self.enter_context(mock.patch.object(connection, "Connection", OnDisk))
        self.enter_context(mock.patch.object(ids, "_sequence", self))
        self.enter_context(mock.patch.object(routing.ranked, "__defaults__", (self.chance,)))
        # So that an hour of the world does not cost thousands of looks for other processes, of which there are none.
        self.enter_context(mock.patch.object(leases, "LOOK_EVERY", 10.0))
        self.enter_context(mock.patch.object(leases, "BELIEVED", 40.0))
        log, heard = logging.getLogger("reelgate"), _Faults(self.faults)
        self.enter_context(mock.patch.object(log, "propagate", False))
        self.enter_context(mock.patch.object(log, "handlers", [heard]))
        self.callback(log.setLevel, log.level)
        log.setLevel(logging.ERROR)

    # -- running -------------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """One turn of the loop, or one piece of the disk's work. False: nothing more happens without time."""
        loop = self.life.loop
        if loop.due():
            loop.turn()
            self.after_turn()
        else:
            full = loop.disk.full
            done = loop.disk.step()
            if loop.disk.full < full:
                self.troubled = self.now
            if done == "commit":
                self.after_commit()
            elif not done:
                return False
        if self.faults:
            raise AssertionError("\n".join(self.faults))
        return True

    def settle(self, turns: int | None = None) -> bool:
        """So many turns (None: all) of what happens without time; whether nothing is left to happen."""
        for _ in range(MOST_TURNS if turns is None else turns):
            if not self.turn():
                return True
        assert turns is not None, "the engine runs in circles"
        return False

    def advance(self, seconds: float) -> None:
        """Let time go by, and all happen that happens in it."""
        end = self.now + seconds
        while True:
            self.settle()
            alarm = self.life.loop.alarm()
            if alarm is None or alarm > end:
                break
            self.now = max(self.now, alarm)
        self.now = end
        self.settle()

    def do(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have the process begin with something."""
        return self.life.loop.create_task(work)

    def run(self, work: Coroutine[Any, Any, T], *, within: float = 0.0) -> T:
        """Have the process do something that takes no more than so many seconds."""
        task, end = self.do(work), self.now + within
        while not task.done():
            if not self.turn():
                alarm = self.life.loop.alarm()
                assert alarm is not None and alarm <= end, f"{work} waits for something that does not come"
                self.now = max(self.now, alarm)
        return task.result()

    # -- processes -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a process."""
        self.run(self.life.start(self.plans, self.server))

    def reload(self, entries: str) -> None:
        """Have the process take another channels.yaml, and those after it."""
        self.plans = plans(entries)
        self.run(self.life.reload(self.plans))

    def crash(self) -> None:
        """kill -9, and the next process, which is not started yet."""
        self.life.kill()
        self.life = Life(self)

    def stop(self) -> None:
        """SIGTERM, and the next process, which is not started yet."""
        self.run(self.life.stop(), within=10.0)
        self.crash()


class _Faults(logging.Handler):
    """Hears what the engine logs with a traceback and should not have happened."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, EXPECTED):
            self._faults.append(logging.Formatter().format(record))


@cache
def plans(entries: str) -> tuple[Plan, ...]:
    """The checked entries of a channels.yaml with puppets."""
    registry = Registry(channels={cls.type: Plugin(cls, __file__, cls.type) for cls in (Puppet, Lookup)})
    return tuple(plan(config.parse(entries, Path("channels.yaml"), {}), registry))
