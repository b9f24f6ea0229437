"""The server process: log, signals, reload, and the lines that it prints when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy import config as configuration
from proxy.accounts.keys import is_weak
from proxy.api import API, SERVER_OPTIONS, Access
from proxy.app import WIRING, Wiring, create_app, reload
from proxy.errors import StartupError
from proxy.upstream.redact import RedactingFilter

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
    """Serve until SIGTERM or SIGINT. Raises a `StartupError` where it cannot start."""
    config = await asyncio.to_thread(configuration.load, launch.config_file, launch.environ)
    secret = launch.environ.get("REELGATE_SECRET", "").encode() or None
    app = create_app(
        config,
        data=launch.data,
        plugin_folders=launch.plugin_folders,
        admin_key=launch.environ.get("REELGATE_ADMIN_KEY") or None,
        secret=secret,
        database=launch.database,
    )
    wiring = app[WIRING]
    start_logging(config.server.log, wiring)
    access = app[API].access = AccessWriter(config.server.log)
    admin_key = launch.environ.get("REELGATE_ADMIN_KEY")
    if admin_key and is_weak(admin_key):
        log.warning("REELGATE_ADMIN_KEY is short enough to be guessed: use 32 characters or more")
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=GRACE, **SERVER_OPTIONS)
    stopping = asyncio.Event()
    deadline = None
    with _signals(app, launch, stopping):
        await runner.setup()
        try:
            site = web.TCPSite(runner, launch.host, launch.port, backlog=1024)
            try:
                await site.start()
            except OSError as error:
                if wiring.first_admin_key is not None:
                    # It is stored already, and no later start shows it.
                    print(f"admin key (shown once): {wiring.first_admin_key}", flush=True)  # noqa: T201
                raise StartupError(_cannot_listen(launch, error)) from error
            _print_ready(runner, wiring, launch)
            await stopping.wait()
            log.info("stopping: no new videos are taken")
            wiring.state.ready = False
            deadline = asyncio.get_running_loop().time() + GRACE
            if wiring.engine is not None:
                # While the door is still open, so that what is under way gets its answer and /readyz says why.
                await wiring.engine.stop(GRACE)
        finally:
            await _close(runner, deadline)
            access.flush()
    log.info("stopped")


async def _close(runner: web.AppRunner, deadline: float | None) -> None:
    """Let downloads end, until the loop's time `deadline`; None: as long as it takes."""
    try:
        async with asyncio.timeout_at(deadline):
            await runner.cleanup()
    except TimeoutError:
        log.warning("the grace of %d s is over: what is still under way is cut off", GRACE)


@contextlib.contextmanager
def _signals(app: web.Application, launch: Launch, stopping: asyncio.Event) -> Any:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()
    # One after the other, or an older reading of the file could be applied after a newer one.
    turn = asyncio.Lock()

    def stop() -> None:
        if stopping.is_set():
            # Everything that matters is durable already.
            os._exit(128 + signal.SIGTERM)
        app[WIRING].state.ready = False
        stopping.set()

    def again() -> None:
        task = asyncio.create_task(_reload(app, launch, turn))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, again)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _reload(app: web.Application, launch: Launch, turn: asyncio.Lock) -> None:
    try:
        async with turn:
            config = await asyncio.to_thread(configuration.load, launch.config_file, launch.environ)
            await reload(app, config)
    except StartupError as error:
        for line in str(error).splitlines():
            log.error("not reloaded, nothing has changed: %s", line)
        return
    except Exception:
        log.exception("not reloaded")
        return
    log.info("reloaded %s: %d channels", launch.config_file, len(config.channels))


def _cannot_listen(launch: Launch, error: OSError) -> str:
    where = f"{launch.host}:{launch.port}"
    # asyncio puts the system's words into a sentence that names the address again; a failed look-up is negative.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or error
    return f"cannot listen on {where} ({reason}): choose another address with --host and --port"


def _make_a_key(launch: Launch) -> str:
    """The command that makes a key in this server's store, as a shell in this folder finds it."""
    script = Path(sys.executable).with_name("reelgate")
    words = ["reelgate"]
    if shutil.which("reelgate") is None:
        words = [os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)]
        if not script.exists():
            words = [sys.executable, "-m", "proxy"]
    words += ["keys", "create", "NAME"]
    if launch.data != Path("data") and launch.database in (None, launch.data / "reelgate.db"):
        words += ["--data", str(launch.data)]
    elif launch.config_file != Path("channels.yaml"):
        words += ["--config", str(launch.config_file)]
    return shlex.join(words)


def _print_ready(runner: web.AppRunner, wiring: Wiring, launch: Launch) -> None:
    host, port = runner.addresses[0][:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
    key = wiring.first_admin_key
    models = sorted({public for live in wiring.channels or () for public in live.offers})
    model = "sora-2" if "sora-2" in models else next(iter(models), "MODEL")
    shown = key or "YOUR_KEY"
    lines = [f"Reelgate serves the OpenAI Videos API at {base}", ""]
    if key is not None:
        lines += [f"  admin key (shown once): {key}", ""]
    elif launch.environ.get("REELGATE_ADMIN_KEY"):
        lines += ["  admin key: the one in REELGATE_ADMIN_KEY", ""]
    else:
        lines += [f"  make a key:  {_make_a_key(launch)}", ""]
    lines += [
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


class _Console(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_text:
            # What the redacting filter left of it; to format it again would bring the secrets back.
            line["exception"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def _no_traceback_for_bad_http(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is its sender's fault and answered with a 400; it says nothing about the server."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


class AccessWriter:
    """Gathers the lines of the access log and writes them a few times a second: a write for each line, or a logger,
    costs more than the request. Its lines are made of a path without its query: there is no secret to take out."""

    EVERY = 0.25

    def __init__(self, form: str) -> None:
        self._line = _json_line if form == "json" else _console_line
        self._waiting: list[Access] = []

    def __call__(self, access: Access) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(self.EVERY, self.flush)
        self._waiting.append(access)

    def flush(self) -> None:
        """Write what has gathered."""
        waiting, self._waiting = self._waiting, []
        sys.stderr.write("".join(map(self._line, waiting)))


def _console_line(access: Access) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(access.at))
    return f"{at} INFO    reelgate.access: {access}\n"


def _json_line(access: Access) -> str:
    line = {"time": round(access.at, 3), "level": "info", "logger": "reelgate.access", **access._asdict()}
    del line["at"]
    line["milliseconds"] = round(access.milliseconds, 1)
    return json.dumps(line, ensure_ascii=False) + "\n"


def start_logging(form: str, wiring: Wiring) -> None:
    """Log to stderr as `console` or `json` lines, without the secrets that the configuration has."""
    formatter = _Json() if form == "json" else _Console()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RedactingFilter(wiring.redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("aiohttp.server").addFilter(_no_traceback_for_bad_http)
