"""The server process: signals, reload, and the lines that it prints when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from proxy import config as configuration
from proxy import data_folder, frozen
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
    demo: bool = False
    """Whether the built-in demo is served as long as the file is not there."""


async def serve(launch: Launch) -> None:
    """Serve until SIGTERM or SIGINT. Raises a `StartupError` where it cannot start, `LeaseLost` where it was paused for
    so long that another process took over."""
    watch = Watch(launch.config_file)
    await watch.begin()
    config = await asyncio.to_thread(configuration.load, launch.config_file, launch.environ, demo=launch.demo)
    _check_environment(launch.environ)
    if (said := await asyncio.to_thread(data_folder.problem, launch.data)) is not None:
        raise StartupError(said)
    # Its bytes count, whatever they mean.
    secret = launch.environ.get("REELGATE_SECRET", "").encode("utf-8", "surrogateescape") or None
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
        with _starting(wiring):
            await runner.setup()
        assert wiring.leases is not None
        lost = wiring.leases.lost
        try:
            with _starting(wiring):
                await _listen(runner, launch)
            if config.demo:
                log.warning(
                    "there is no %s: the built-in demo channel serves instead; write one, and it is picked up without "
                    "a restart",
                    launch.config_file.absolute(),
                )
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


def _check_environment(environ: Mapping[str, str]) -> None:
    """Raises a `StartupError` for what no client could ever send."""
    if not re.fullmatch(r"[!-~]*", environ.get("REELGATE_ADMIN_KEY", "")):
        raise StartupError(
            "REELGATE_ADMIN_KEY has a space, a line break or a character that no header carries: use letters, digits, "
            "_, - and ."
        )
    if not environ.get("REELGATE_ADMIN_PASSWORD", "").isprintable():
        raise StartupError("REELGATE_ADMIN_PASSWORD has a character that nobody can type: use printable UTF-8")


@contextlib.contextmanager
def _starting(wiring: Wiring) -> Iterator[None]:
    """Where the start fails, the key and the password that it made are shown all the same: they are stored already, and
    no later start shows them."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            if wiring.first_admin_key is not None:
                print(f"admin key (shown once): {wiring.first_admin_key}", flush=True)  # noqa: T201
            if wiring.first_password is not None:
                print(f"password of admin (shown once): {wiring.first_password}", flush=True)  # noqa: T201
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            raise StartupError(f"{where}cannot start ({error.strerror or error}): check the data folder") from error
        raise


async def _listen(runner: web.AppRunner, launch: Launch) -> None:
    site = web.TCPSite(runner, launch.host, launch.port, backlog=1024)
    try:
        await site.start()
    except (OSError, UnicodeError) as error:
        raise StartupError(_cannot_listen(launch, error)) from error


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

    begun = 0.0

    def stop() -> None:
        nonlocal begun
        if stopping.is_set():
            if loop.time() - begun < frozen.ECHO:
                return
            # Everything that matters is durable already.
            os._exit(128 + signal.SIGTERM)
        begun = loop.time()
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
        # Once there was a file, the demo does not come back in its place.
        demo = launch.demo and app[WIRING].config.demo
        config = await asyncio.to_thread(configuration.load, launch.config_file, launch.environ, demo=demo)
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


def _cannot_listen(launch: Launch, error: OSError | UnicodeError) -> str:
    number = (error.errno if isinstance(error, OSError) else None) or 0
    if number == errno.EADDRINUSE:
        other = launch.port + 1 if launch.port < 65535 else 8080
        cure = f"another program has that port, perhaps another Reelgate; stop it, or take another with --port {other}"
    elif number in (errno.EACCES, errno.EPERM):
        cure = "ports under 1024 need CAP_NET_BIND_SERVICE; take a higher one with --port, such as --port 8080"
    elif number == errno.EADDRNOTAVAIL:
        cure = "this machine has no such address; --host 127.0.0.1 is for this machine alone, --host 0.0.0.0 for all"
    elif number <= 0:
        cure = "--host must be an address of this machine, or a name that leads to one"
    else:
        cure = "choose another address with --host and --port"
    # asyncio puts the system's words into a sentence that names the address again; a failed look-up is negative.
    reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or "not a name"
    return f"cannot listen on {launch.host}:{launch.port} ({reason}): {cure}"


def _command(launch: Launch, *wanted: str) -> str:
    """The command that does what is `wanted` in this server's store, as a shell in this folder finds it."""
    words = [*_program(), *wanted]
    if launch.data != Path("data") and launch.database in (None, launch.data / "reelgate.db"):
        words += ["--data", str(launch.data)]
    elif launch.config_file != Path("channels.yaml"):
        words += ["--config", str(launch.config_file)]
    return shlex.join(words)


def _program() -> list[str]:
    """How a shell in this folder starts what runs here."""
    script = frozen.PROGRAM or Path(sys.executable).with_name("reelgate")
    found = shutil.which("reelgate")
    # Beside a single binary there may be another Reelgate.
    if found is not None and (frozen.PROGRAM is None or os.path.samefile(found, script)):
        return ["reelgate"]
    if frozen.PROGRAM is None and not script.exists():
        return [sys.executable, "-m", "proxy"]
    if not script.is_relative_to(Path.cwd()):
        return [str(script)]
    beside = os.path.relpath(script)
    # Without a slash, a shell looks elsewhere.
    return [beside if os.sep in beside else os.path.join(os.curdir, beside)]


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
