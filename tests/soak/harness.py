"""One run: starts everything, lets it storm, makes it calm, and gathers what the checker reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector

from tests.soak.clients import FINAL, LOST, Client, Doors, Tenant, Watcher
from tests.soak.journal import Journal, now, read
from tests.soak.nemesis import PHASES, Moments, Nemesis
from tests.soak.processes import ROOT, Party, Server
from tests.soak.upstream import HOST, ID_PREFIX

ADMIN_KEY = "rg_soak-admin-key-0123456789-abcdefghij"
UPSTREAM_KEYS = ("sk-soak-alder-5f1c", "sk-soak-birch-77aa", "sk-soak-cedar-9d3e")
"""One for each account; the third account can be asked what became of a submission."""
CALM_TIME = 90.0
"""Seconds within which everything must have come to its end once nothing goes wrong any more."""
LEASE = 2.0
HOOKS = {
    "alpha-all": ("alpha", ["video.completed", "video.failed"]),
    "alpha-completed": ("alpha", ["video.completed"]),
    "beta-all": ("beta", ["video.failed", "video.completed"]),
}
"""Endpoint -> its tenant and what it asks for; the admin's tenant has none."""


class Unfit(RuntimeError):
    """The run cannot be made, or did not come to its end; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is made of. `product` is the checkout whose `proxy` runs."""

    folder: Path
    seed: int
    kills: int = 300
    minutes: float = math.inf
    workers: int = 1
    webhooks: bool = True
    clients: int = 9
    rate: float = 0.35
    impatient: bool = False
    product: Path = ROOT


class Run:
    """The parts of a run that is under way."""

    def __init__(self, options: Options, session: ClientSession, stack: contextlib.AsyncExitStack) -> None:
        self.options = options
        self.session = session
        self.folder = options.folder
        self._stack = stack
        self.journal = self.open("run")
        self.servers: list[Server] = []
        self.tenants: list[Tenant] = []
        self.watchers: list[Watcher] = []
        self.moments = Moments(self.folder / "upstream.jsonl", self.folder / "receiver.jsonl")
        self.nemesis = Nemesis(self.servers, self.moments, self.journal, session, options.seed, LEASE)
        self.upstream: dict[str, Any] = {}
        self.receiver = 0

    def open(self, name: str) -> Journal:
        """A journal that is closed when the run ends."""
        return self._stack.enter_context(Journal(self.folder / f"{name}.jsonl"))

    @property
    def phases(self) -> dict[str, int]:
        """Where kills fall."""
        return {phase: weight for phase, weight in PHASES.items() if self.options.webhooks or "webhook" not in phase}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Words that are nobody's business but the upstream's."""
        return (ID_PREFIX, *UPSTREAM_KEYS, *(f"{HOST}:{port}" for port in self.upstream["accounts"].values()))

    @property
    def doors(self) -> Doors:
        return Doors([server.url for server in self.servers], self.session, self.secrets)

    # -- beginning -----------------------------------------------------------------------------------------------------

    def configuration(self) -> str:
        """What channels.yaml says. Seconds are short, so that each is met by many kills."""
        options = self.options
        server: dict[str, Any] = {
            "submit_wait": 0.7,
            "unknown_grace": 2,
            "queue_timeout": 600,
            "plugins": [str(Path(__file__).parent / "plugins")],
            "lease": LEASE,
        }
        if options.webhooks:
            server["webhook_hosts"] = [f"{HOST}:{self.receiver}"]
        channels = []
        for number, key in enumerate(UPSTREAM_KEYS):
            channel = {
                "name": f"account-{number}",
                "type": "reference" if number == 2 else "openai",
                "base_url": f"http://{HOST}:{self.upstream['accounts'][key]}",
                "api_key": key,
                "models": ["sora-2"],
                "max_running": 16,
                "poll_every": 0.1,
                "timeout": {"connect": 2, "first_byte": 0.5, "total": 2},
                "priority": 1 if number == 0 else 0,
                "breaker": {"pause": 1},
            }
            channels.append(channel)
        # JSON is YAML.
        return json.dumps({"server": server, "channels": channels}, indent=1)

    async def prepare(self) -> None:
        """Write the configuration, make the keys, start the servers and the endpoints."""
        (self.folder / "channels.yaml").write_text(self.configuration(), "utf-8")
        environ = {"REELGATE_ADMIN_KEY": ADMIN_KEY}
        names = [chr(ord("a") + number) for number in range(self.options.workers)]
        self.servers += [Server(name, self.folder, self.options.product, environ) for name in names]
        code, said = await self.servers[0].command("check")
        if code != 0:
            raise Unfit(f"this server does not understand the configuration of the run:\n{said}")
        self.tenants = [Tenant("admin", ADMIN_KEY)]
        for name in ("alpha", "beta"):
            code, said = await self.servers[0].command("keys", "create", name)
            if code != 0:
                raise Unfit(f"no key could be made:\n{said}")
            self.tenants.append(Tenant(name, max(said.split(), key=len)))
        for server in self.servers:
            await server.launch()
            await server.ready(self.session)
        if self.options.webhooks:
            for name, (tenant, types) in HOOKS.items():
                await self._endpoint(name, next(one for one in self.tenants if one.name == tenant), types)

    async def _endpoint(self, name: str, tenant: Tenant, types: list[str]) -> None:
        body = {"name": name, "event_types": types, "url": f"http://{HOST}:{self.receiver}/hooks/{name}"}
        headers = {"Authorization": f"Bearer {tenant.key}"}
        url = f"{self.servers[0].url}/webhook_endpoints"
        async with self.session.post(url, json=body, headers=headers) as response:
            said = await response.read()
            if response.status != 200:
                raise Unfit(
                    f"POST /v1/webhook_endpoints answered {response.status} {said[:200]!r}: webhooks cannot be tested. "
                    "To run without them, add --no-webhooks."
                )
            secret = json.loads(said)["signing_secret"]
        await self.session.put(f"http://{HOST}:{self.receiver}/secrets/{name}", data=secret)
        self.journal.write(event="endpoint", name=name, tenant=tenant.name, types=types)

    # -- the storm -----------------------------------------------------------------------------------------------------

    async def storm(self) -> None:
        """Clients at work while servers are killed; it is over once all clients have finished their calls."""
        options = self.options
        clients = [self._client(number) for number in range(options.clients)]
        stop = asyncio.Event()
        until = asyncio.get_running_loop().time() + 60 * options.minutes
        async with background(self.moments.follow()):
            working = [asyncio.create_task(client.run(stop)) for client in clients]
            try:
                # A client that breaks is a mistake of the harness: the run must not go on without it.
                killing = asyncio.create_task(self.nemesis.run(options.kills, self.phases, until))
                await asyncio.wait([killing, *working], return_when=asyncio.FIRST_COMPLETED)
                for task in (killing, *working):
                    if task.done():
                        task.result()
                await killing
                stop.set()
                await asyncio.gather(*working)
            finally:
                for task in (killing, *working):
                    task.cancel()
                await asyncio.gather(killing, *working, return_exceptions=True)

    def _client(self, number: int) -> Client:
        tenant = self.tenants[number % len(self.tenants)]
        others = [one for one in self.tenants if one is not tenant]
        name = f"{self.options.seed}-{number}"
        history = self.open(f"history-{number}")

        def accepted() -> None:
            self.moments.happened("accept: a client has its 200")

        options = self.options
        return Client(name, tenant, others, self.doors, history, options.seed, accepted, impatient=options.impatient)

    # -- the calm ------------------------------------------------------------------------------------------------------

    async def calm(self) -> None:
        """Nothing goes wrong any more: wait until every video has its end and every event was delivered."""
        await self.session.post(f"http://{HOST}:{self.upstream['control']}/calm")
        self.journal.write(event="calm")
        began = now()
        for watcher in self.watchers:
            while now() - began < CALM_TIME:
                with contextlib.suppress(*LOST):
                    if all(video["status"] in FINAL for video in await watcher.all()):
                        break
                await asyncio.sleep(0.3)
        self.journal.write(event="settled", after=round(now() - began, 1))
        if self.options.webhooks:
            await self._deliveries(began)

    async def _deliveries(self, began: float) -> None:
        """Wait as long as deliveries come, and longer while one that failed has not come again: about five seconds."""
        last, since = -1, now()
        while now() - began < CALM_TIME + 30:
            record = read(self.folder / "receiver.jsonl")
            if len(record) != last:
                last, since = len(record), now()
            good = {(entry["endpoint"], entry["webhook_id"]) for entry in record if entry.get("failure", "") is None}
            owed = any((entry["endpoint"], entry["webhook_id"]) not in good for entry in record if "failure" in entry)
            if now() - since > (8 if owed else 2):
                return
            await asyncio.sleep(0.5)

    async def survey(self) -> None:
        """What the public API says in the end, of servers that have nothing in memory."""
        for server in self.servers:
            await server.kill()
        for server in self.servers:
            await server.launch()
            await server.ready(self.session)
        survey = self.open("survey")
        for watcher in self.watchers:
            listed = await watcher.all()
            for video in listed:
                survey.write(tenant=watcher.tenant.name, listed=video)
            others = set(watcher.tenant.videos) - {video["id"] for video in listed}
            for video_id in sorted(others):
                answer = await watcher.ask("GET", f"/videos/{video_id}")
                survey.write(tenant=watcher.tenant.name, asked=video_id, status=answer.status)
        for server in self.servers:
            code = await server.stop()
            self.journal.write(event="stopped", server=server.name, code=code)


async def run(options: Options) -> None:
    """Make a run; everything that it leaves is in `options.folder`. Raises `Unfit` where it cannot be made."""
    ledger = ("--ledger", str(options.folder / "upstream.jsonl"))
    seed = ("--seed", str(options.seed))
    upstream = Party("upstream", *ledger, *seed, "--keys", ",".join(UPSTREAM_KEYS), "--rate", str(options.rate))
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=0)))
        parts = Run(options, session, stack)
        parts.upstream = await stack.enter_async_context(upstream)
        parts.journal.write(event="options", seed=options.seed, workers=options.workers, phases=list(parts.phases))
        parts.journal.write(event="secrets", words=parts.secrets)
        if options.webhooks:
            receiver = Party("receiver", "--record", str(options.folder / "receiver.jsonl"), *seed)
            parts.receiver = (await stack.enter_async_context(receiver))["port"]
        stack.push_async_callback(end, parts.servers)
        await parts.prepare()
        for tenant in parts.tenants:
            history = parts.open(f"history-{tenant.name}")
            parts.watchers.append(Watcher(f"watcher of {tenant.name}", tenant, parts.doors, history, options.seed))
        async with background(parts.nemesis.keep(), *(watcher.run() for watcher in parts.watchers)):
            await parts.storm()
            await parts.calm()
        await parts.survey()


async def end(servers: Sequence[Server]) -> None:
    """Leave no server behind, also none that is stopped."""
    for server in servers:
        if server.lives:
            await server.kill()


@contextlib.asynccontextmanager
async def background(*work: Any) -> AsyncIterator[None]:
    """Run `work` until the block is left; what breaks in it is raised there."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
