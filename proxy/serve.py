"""The server process: signals, reload, and the lines that it prints when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from proxy import config as configuration
from proxy.accounts.keys import is_weak
from proxy.accounts.passwords import MIN_LENGTH
from proxy.accounts.secret import SHORTEST
from proxy.api import API, SERVER_OPTIONS
from proxy.app import WIRING, Wiring, create_app, reload
from proxy.errors import StartupError
from proxy.logs import AccessWriter, start_logging
from proxy.store import LeaseLost
from proxy.upstream.redact import RedactingFilter
from proxy.watch import Watch

log = logging.getLogger("reelgate")

GRACE = 30.0
"""Seconds that a stop waits for downloads that are under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the command line and the environment want the server; None means what the file or the default says."""

    config_file: Path
    data: Path
    database: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    plugin_folders: tuple[Path, ...] = ()
    environ: Mapping[str, str]


async def serve(launch: Launch) -> None:
    """Serve until SIGTERM or SIGINT. Raises a `StartupError` where it cannot start, `LeaseLost` where it was paused for
    so long that another process took over."""
    watch = Watch(launch.config_file)
    await watch.begin()
    config = await asyncio.to_thread(configuration.load, launch.config_file, launch.environ)
    secret = launch.environ.get("REELGATE_SECRET", "").encode() or None
    app = create_app(
        config,
        data=launch.data,
        plugin_folders=launch.plugin_folders,
        admin_key=launch.environ.get("REELGATE_ADMIN_KEY") or None,
        admin_password=launch.environ.get("REELGATE_ADMIN_PASSWORD") or None,
        secret=secret,
        database=launch.database,
    )
    wiring = app[WIRING]
    start_logging(config.server.log, RedactingFilter(wiring.redactor))
    access = app[API].access = AccessWriter(config.server.log)
    admin_key = launch.environ.get("REELGATE_ADMIN_KEY")
    if admin_key and is_weak(admin_key):
        log.warning("REELGATE_ADMIN_KEY is short enough to be guessed: use 32 characters or more")
    admin_password = launch.environ.get("REELGATE_ADMIN_PASSWORD")
    if admin_password and len(admin_password) < MIN_LENGTH:
        log.warning("REELGATE_ADMIN_PASSWORD is short enough to be guessed: use 12 characters or more")
    if secret is not None and len(secret) < SHORTEST:
        log.warning("REELGATE_SECRET is short enough to be guessed from a link: use %d characters or more", SHORTEST)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=GRACE, **SERVER_OPTIONS)
    stopping = asyncio.Event()
    deadline = None
    with _signals(wiring, watch, stopping):
        await runner.setup()
        assert wiring.leases is not None
        lost = wiring.leases.lost
        try:
            site = web.TCPSite(runner, launch.host, launch.port, backlog=1024)
            try:
                await site.start()
            except OSError as error:
                # They are stored already, and no later start shows them.
                if wiring.first_admin_key is not None:
                    print(f"admin key (shown once): {wiring.first_admin_key}", flush=True)  # noqa: T201
                if wiring.first_password is not None:
                    print(f"password of admin (shown once): {wiring.first_password}", flush=True)  # noqa: T201
                raise StartupError(_cannot_listen(launch, error)) from error
            _print_ready(runner, wiring, launch)
            async with _kept_current(app, launch, watch):
                await _either(stopping, lost)
            log.info("stopping: no new videos are taken")
            wiring.state.ready = False
            deadline = asyncio.get_running_loop().time() + GRACE
            if wiring.engine is not None:
                # While the door is still open, so that what is under way gets its answer and /readyz says why.
                await wiring.engine.stop(GRACE)
        finally:
            await _close(runner, deadline)
            access.flush()
    if lost.is_set():
        raise LeaseLost(
            "this process gave no sign of life for too long: another one goes on with its videos. Start it again."
        )
    log.info("stopped")


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of `events` is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _close(runner: web.AppRunner, deadline: float | None) -> None:
    """Let downloads end, until the loop's time `deadline`; None: as long as it takes."""
    try:
        async with asyncio.timeout_at(deadline):
            await runner.cleanup()
    except TimeoutError:
        log.warning("the grace of %d s is over: what is still under way is cut off", GRACE)


@contextlib.contextmanager
def _signals(wiring: Wiring, watch: Watch, stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            # Everything that matters is durable already.
            os._exit(128 + signal.SIGTERM)
        wiring.state.ready = False
        if wiring.engine is not None:
            # Not only when the stop begins: what comes after /readyz has said so is for another process.
            wiring.engine.refuse()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, watch.ask)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _kept_current(app: web.Application, launch: Launch, watch: Watch) -> AsyncIterator[None]:
    """Meanwhile, the file is applied again whenever it has changed, or SIGHUP asks for it."""

    async def follow() -> None:
        # One after the other, or an older reading of the file could be applied after a newer one.
        while True:
            await watch.change()
            await _reload(app, launch)

    following = asyncio.create_task(follow(), name="follow the file")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following], timeout=GRACE)


async def _reload(app: web.Application, launch: Launch) -> None:
    try:
        config = await asyncio.to_thread(configuration.load, launch.config_file, launch.environ)
        later = await reload(app, config)
    except StartupError as error:
        for line in str(error).splitlines():
            log.error("not reloaded, nothing has changed: %s", line)
        return
    except Exception:
        log.exception("not reloaded")
        return
    log.info("reloaded %s: %d channels", launch.config_file, len(config.channels))
    if later:
        log.warning("these keys of server: take effect at the next start: %s", ", ".join(later))


def _cannot_listen(launch: Launch, error: OSError) -> str:
    where = f"{launch.host}:{launch.port}"
    # asyncio puts the system's words into a sentence that names the address again; a failed look-up is negative.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or error
    return f"cannot listen on {where} ({reason}): choose another address with --host and --port"


def _command(launch: Launch, *wanted: str) -> str:
    """The command that does what is `wanted` in this server's store, as a shell in this folder finds it."""
    script = Path(sys.executable).with_name("reelgate")
    words = ["reelgate"]
    if shutil.which("reelgate") is None:
        words = [os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)]
        if not script.exists():
            words = [sys.executable, "-m", "proxy"]
    words += wanted
    if launch.data != Path("data") and launch.database in (None, launch.data / "reelgate.db"):
        words += ["--data", str(launch.data)]
    elif launch.config_file != Path("channels.yaml"):
        words += ["--config", str(launch.config_file)]
    return shlex.join(words)


def _doors(dashboard: str, password: str | None, launch: Launch) -> list[str]:
    """How to log in to the dashboard; `password` is the one that was just made."""
    lines = ["", f"Its dashboard is at {dashboard}", ""]
    if password is not None:
        return [*lines, "  user: admin", f"  password (shown once): {password}"]
    if launch.environ.get("REELGATE_ADMIN_PASSWORD"):
        return [*lines, "  user: admin", "  password: the one in REELGATE_ADMIN_PASSWORD"]
    return [*lines, f"  make a new password:  {_command(launch, 'users', 'passwd', 'admin')}"]


def _print_ready(runner: web.AppRunner, wiring: Wiring, launch: Launch) -> None:
    host, port = runner.addresses[0][:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    base = f"{origin}/v1"
    key = wiring.first_admin_key
    models = [public for live in wiring.channels or () if live.enabled for public in live.offers]
    model = "sora-2" if "sora-2" in models else next(iter(models), "MODEL")
    shown = key or "YOUR_KEY"
    lines = [f"Reelgate serves the OpenAI Videos API at {base}", ""]
    if key is not None:
        lines += [f"  admin key (shown once): {key}"]
    elif launch.environ.get("REELGATE_ADMIN_KEY"):
        lines += ["  admin key: the one in REELGATE_ADMIN_KEY"]
    else:
        lines += [f"  make a key:  {_command(launch, 'keys', 'create', 'NAME')}"]
    if wiring.started.dashboard:
        lines += _doors(f"{origin}/dashboard", wiring.first_password, launch)
    lines += [
        "",
        "Try it:",
        f'  curl {base}/videos -H "Authorization: Bearer {shown}" \\',
        f"""       -H "Content-Type: application/json" -d '{{"model": "{model}", "prompt": "a paper plane"}}'""",
        "",
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{base}", api_key="{shown}")',
        f'  video = client.videos.create_and_poll(model="{model}", prompt="a paper plane")',
        '  client.videos.download_content(video.id).write_to_file("plane.mp4")',
    ]
    print("\n".join(lines), flush=True)  # noqa: T201 - this is what the command says
