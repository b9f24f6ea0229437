"""Builds and wires everything; the only place that knows all rooms."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from aiohttp import web

from proxy import config as configuration
from proxy.accounts import Accounts, Administration
from proxy.accounts.keys import Authenticator, ensure_admin
from proxy.accounts.secret import load_secret
from proxy.accounts.users import ensure_admin_user
from proxy.api import API, READY, Api, install
from proxy.api.context import ACTING, trace
from proxy.api.routes import TABLE
from proxy.channels import Channels
from proxy.config import Config, Server
from proxy.dashboard import Surroundings, mount
from proxy.engine import Core, Engine
from proxy.engine.leases import Leases
from proxy.errors import StartupError
from proxy.loader import load
from proxy.media.archive import open_archive
from proxy.media.input_links import InputLinks
from proxy.media.inputs import Inputs
from proxy.media.kept import Kept
from proxy.media.library import Library
from proxy.plans import demo_refused, plan
from proxy.store import Store
from proxy.upstream import Http
from proxy.upstream.guard import Allowance
from proxy.upstream.redact import Redactor
from proxy.webhooks import Deliveries, Endpoints, Sender

NEEDS_RESTART = ("database", "archive", "lease", "dashboard", "log")
"""The keys of `server:` that a running process cannot change."""

GRACE = 30.0
"""Seconds that a stop waits for the answers of upstreams that are under way."""


@dataclass(slots=True)
class State:
    """Whether this process takes requests."""

    ready: bool = False


@dataclass(slots=True)
class Wiring:
    """The parts of a running application that a reload or a stop needs."""

    config: Config
    started: Server
    data: Path
    plugin_folders: tuple[Path, ...]
    state: State = field(default_factory=State)
    redactor: Redactor = field(default_factory=lambda: Redactor(()))
    first_admin_key: str | None = None
    first_password: str | None = None
    """Of the user `admin`."""
    channels: Channels | None = None
    engine: Engine | None = None
    leases: Leases | None = None
    api: Api | None = None
    site: Surroundings | None = None
    sender: Sender | None = None
    kept: Kept | None = None
    inputs: Inputs | None = None


WIRING = web.AppKey("WIRING", Wiring)


def create_app(
    config: Config,
    *,
    data: Path,
    plugin_folders: Sequence[Path] = (),
    admin_key: str | None = None,
    admin_password: str | None = None,
    secret: bytes | None = None,
    database: Path | None = None,
) -> web.Application:
    """The whole product as an aiohttp application; it opens the store and starts the channels when it starts.

    `data` is the data folder; `plugin_folders` come before those of the file. `admin_key` exists from the start;
    without it and without a stored one, one is made. `admin_password` is that of the dashboard's user `admin`; without
    it and without a stored admin, one is made. `secret` signs links and sessions; without it, the data folder's.
    """
    app = web.Application(client_max_size=config.server.max_body)
    wiring = Wiring(config=config, started=config.server, data=data, plugin_folders=tuple(plugin_folders))
    app[WIRING] = wiring
    app[READY] = wiring.state
    api = wiring.api = Api(
        # All need the store, which opens when the application starts: before the first request.
        engine=cast("Engine", None),
        webhooks=cast("Endpoints", None),
        library=cast("Library", None),
        inputs=cast("Inputs", None),
        authenticator=cast("Authenticator", None),
        administration=cast("Administration", None),
        settings=config.server,
        secret=secret or b"",
        uploads=data / "uploads",
        public_url=config.server.public_url,
    )
    site = wiring.site = Surroundings(
        engine=cast("Engine", None),
        store=cast("Store", None),
        accounts=cast("Accounts", None),
        webhooks=cast("Endpoints", None),
        settings=config.server,
        acting=ACTING,
        calls=TABLE,
        request_id=lambda request: trace(request).request_id,
    )

    async def live(app: web.Application) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            store = await Store.open(database or data / "reelgate.db")
            stack.push_async_callback(store.close)
            leases = wiring.leases = Leases(store, lasts=config.server.lease)
            stack.push_async_callback(leases.leave)
            await leases.join()
            if leases.alone:
                # Half-written parts of requests that a kill cut off.
                for leftovers in (data / "uploads", data / "work"):
                    await asyncio.to_thread(shutil.rmtree, leftovers, ignore_errors=True)
            http = Http()
            await http.start()
            stack.push_async_callback(http.close)
            wiring.channels = Channels(http=http, data=data, redactor=wiring.redactor)
            stack.push_async_callback(wiring.channels.close)
            if config.demo and (said := demo_refused(config, await store.pins())) is not None:
                raise StartupError(said)
            await _apply(wiring, config)
            kept = wiring.kept = Kept(data / "kept", config.server.media_cache)
            library = api.library = Library(data / "files", store)
            if leases.alone:
                await kept.sweep()
                await library.sweep()
            if not api.secret:
                api.secret = await asyncio.to_thread(load_secret, data)
            links = InputLinks(api.secret, config.server.public_url)
            inputs = Inputs(data / "inputs", http, limits=config.server.inputs, library=library, links=links)
            wiring.inputs = api.inputs = inputs
            core = Core(
                store=store,
                leases=leases,
                channels=wiring.channels,
                inputs=inputs,
                server=config.server,
                redactor=wiring.redactor,
                folder=data / "work",
                kept=kept,
                metrics=api.metrics,
            )
            archive = None
            if config.server.archive is not None:
                archive = await asyncio.to_thread(open_archive, config.server.archive)
                stack.push_async_callback(archive.close)
            wiring.engine = api.engine = engine = Engine(core, born=int(time.time()), archive=archive)
            api.authenticator = Authenticator(store, admin_key)
            accounts = Accounts.of(store, api.secret, api.authenticator)
            api.administration = accounts.administration
            site.store, site.engine, site.accounts = store, engine, accounts
            # Not sooner: a start that fails on the file or a plugin must not use up the one showing of these.
            if config.server.dashboard:
                api.sessions = accounts.sessions
                wiring.first_password = await ensure_admin_user(accounts.users, admin_password)
            wiring.first_admin_key = await ensure_admin(store, admin_key, now=int(time.time()))
            sender = wiring.sender = Sender(http, allowance=Allowance(None, config.server.webhook_hosts))
            api.webhooks = site.webhooks = Endpoints(store, sender)
            deliveries = Deliveries(store, sender, leads=leases.leads, delivered=api.metrics.webhook)
            engine.tell("webhooks", deliveries.video_changed)
            engine.chores += [library.prune, accounts.prune]
            await engine.start()
            core.spawn(deliveries.run(), "webhooks")
            wiring.state.ready = True
            try:
                yield
            finally:
                wiring.state.ready = False
                await engine.stop(GRACE)

    async def hang_up(app: web.Application) -> None:
        # Before aiohttp waits for the requests under way, of which an event stream is one.
        if wiring.engine is not None:
            wiring.engine.watching.close()

    install(app, api)
    if config.server.dashboard:
        mount(app, site)
    app.on_shutdown.append(hang_up)
    app.cleanup_ctx.append(live)
    return app


async def _apply(wiring: Wiring, config: Config) -> None:
    """Make the channels what `config` says; raises a `StartupError` and changes nothing where that cannot be."""
    folders = [*wiring.plugin_folders, *(Path(folder) for folder in config.server.plugins)]
    registry = await asyncio.to_thread(load, folders, {entry.type for entry in config.channels})
    plans = plan(config, registry)
    for secret in configuration.secrets(config):
        wiring.redactor.add(secret)
    assert wiring.channels is not None
    await wiring.channels.apply(plans)
    wiring.config = config
    assert wiring.api is not None
    wiring.api.metrics.models = {public for live in wiring.channels for public in live.offers}


async def reload(app: web.Application, config: Config) -> list[str]:
    """Apply a file that was read again; answers the keys of `server:` whose change needs a restart.

    Raises a `StartupError`, and changes nothing, where the file cannot be used.
    """
    wiring, api = app[WIRING], app[API]
    started = wiring.started
    await _apply(wiring, config)
    api.settings = config.server
    api.public_url = config.server.public_url
    if wiring.site is not None:
        wiring.site.settings = config.server
    if wiring.engine is not None:
        wiring.engine.reconfigured(config.server)
    if wiring.kept is not None:
        wiring.kept.max_bytes = config.server.media_cache
    if wiring.inputs is not None:
        wiring.inputs.limits = config.server.inputs
        if wiring.inputs.links is not None:
            wiring.inputs.links.public_url = config.server.public_url
    if wiring.sender is not None:
        wiring.sender.allowance = Allowance(None, config.server.webhook_hosts)
    return [key for key in NEEDS_RESTART if getattr(started, key) != getattr(config.server, key)]
