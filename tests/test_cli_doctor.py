"""`reelgate doctor`: what is wrong with each channel and with the machine, in one line each, without a cent."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import os
import re
import socket
import sqlite3
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.cli import main
from proxy.errors import UpstreamTimeout
from proxy.testing import SimulatorServer
from tests.conftest import Launch
from tests.simulators.fal import FalSimulator
from tests.simulators.kling import KlingSimulator
from tests.simulators.litellm import LiteLLMSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.runway import RunwaySimulator

PUPPETS = Path(__file__).parent / "engine" / "plugins"

Doctor = Callable[..., Awaitable[Result]]

PAGE = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text("utf-8")
SHOWN = (
    *(" and takes the credential; ", ": not asked, its plugin knows no free list"),
    *("key: the upstream refuses the credential (HTTP 401, “", "”): check api_key of this entry"),
    *("quota: the upstream says that the account is spent (HTTP 402, “", "”): top it up"),
    *("model: the upstream does not list veo-9 for this account; it has ", ": correct models, or have it"),
    *(" cannot be connected to (Connection refused): check base_url, ", "is not set, and no channel needs it; links"),
)
"""What the page shows of the doctor's words, but for what differs from machine to machine."""
SECRET = "sk-hidden-4f3c9a7e1b2d4f3c9a7e1b2d"
LOST, SLOW = "lost.invalid", "slow.invalid"
"""A name that nobody knows, and one whose name server never answers."""


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doctor:
    """Run `reelgate doctor` on a channels.yaml, beside the event loop."""
    for name in [name for name in os.environ if name.startswith("REELGATE_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    async def run(*words: str, text: str = "", code: int = 0, **environ: str) -> Result:
        if text:
            await asyncio.to_thread((tmp_path / "channels.yaml").write_text, text, "utf-8")
        command = ["doctor", "--port", str(unused_port()), *words]
        result = await asyncio.to_thread(CliRunner().invoke, main, command, env=environ, prog_name="reelgate")
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two names that lead nowhere, without asking anybody."""
    real, over = socket.getaddrinfo, threading.Event()

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == SLOW:
            over.wait(60)
        if host in (LOST, SLOW):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield
    over.set()


def lines_of(result: Result) -> dict[str, str]:
    """What is said of each subject, behind its word."""
    found: dict[str, str] = {}
    for line in result.stdout.splitlines():
        subject, said = re.split(r" {2,}", line[7:], maxsplit=1)
        found[subject] = "\n".join(filter(None, [found.get(subject), f"{line[:5].strip()} {said}"]))
    return found


def entry(name: str, kind: str, address: str, **more: Any) -> dict[str, Any]:
    given = {"api_key": SECRET, "models": ["sora-2"], **more}
    return {"name": name, "type": kind, "base_url": address, **given}


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.StreamResponse]], **how: Any) -> AsyncIterator[str]:
    """The address of something that gives every request this answer."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


def self_signed(folder: Path) -> ssl.SSLContext:
    """The TLS of a server that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "own.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return context


# ---------------------------------------------------------------- channels


async def test_each_channel_in_one_line(doctor: Doctor, names: None, tmp_path: Path) -> None:
    """A key that is refused, an account that is spent, a name that nobody knows, a certificate, a web page, a redirect,
    a model that is not there, upstreams that hang: each line says which it is and what to do, and nothing was paid."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(status=404, text="<html>Welcome</html>", content_type="text/html")

    async def onward(request: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": "https://new.example.com/v1/x?key=1"})

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        good = await enter(SimulatorServer(OpenAISimulator(keys={SECRET})))
        wary = await enter(SimulatorServer(OpenAISimulator(keys={"another"})))
        fal = await enter(SimulatorServer(FalSimulator(keys={"another"})))
        spent = await enter(SimulatorServer(RunwaySimulator(keys={SECRET})))
        spent.then(spent.error(402, f"You do not have enough credits, {SECRET}"), on="fetch", times=None)
        busy = await enter(SimulatorServer(KlingSimulator(keys={SECRET})))
        busy.then(busy.error(429, "account balance not enough"), times=None)
        lite = await enter(SimulatorServer(LiteLLMSimulator(keys={SECRET})))
        named = await enter(SimulatorServer(ReplicateSimulator(keys={SECRET})))
        secure = await asyncio.to_thread(self_signed, tmp_path)
        raw = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=secure)
        stack.callback(raw.close)
        tls = raw.sockets[0].getsockname()[1]
        entries = [
            entry("good", "openai", good.base_url),
            entry("off", "openai", wary.base_url, enabled=False),
            entry("key", "openai", wary.base_url),
            entry("falkey", "fal", fal.base_url, models=["fal-ai/veo3"]),
            entry("spent", "runway", spent.base_url, models=["gen4_turbo"]),
            entry("busy", "kling", busy.base_url, models=["kling-v2-6"]),
            entry("models", "openai", lite.base_url, dialect="litellm", models=["sora-2", "veo-9"]),
            entry("lost", "openai", f"https://{LOST}/v1"),
            entry("slow", "openai", f"https://{SLOW}/v1"),
            entry("closed", "openai", f"http://127.0.0.1:{unused_port()}"),
            entry("tls", "openai", f"https://127.0.0.1:{tls}"),
            entry("plain", "openai", good.base_url.replace("http://", "https://")),
            entry("page", "openai", await enter(answering(page))),
            entry("onward", "openai", await enter(answering(onward))),
            entry("hangs", "openai", await enter(answering(silent))),
            {"name": "demo", "type": "demo"},
            entry("named", "replicate", named.base_url, models=["google/veo-3.1", "google/veo-9"]),
        ]
        async with asyncio.timeout(60):
            result = await doctor("--timeout", "2", text=json.dumps({"channels": entries}), code=1)
        paid = [sim.paid for sim in (good, wary, fal, spent, busy, lite, named)]
    said = {
        name.removeprefix("channel "): line for name, line in lines_of(result).items() if name.startswith("channel ")
    }
    assert list(said) == [one["name"] for one in entries]
    expected = {
        "good": ("ok answers in", "and takes the credential; sora-2: not asked, its plugin knows no free list"),
        "off": ("? key: takes no new videos (enabled: false)", "refuses the credential"),
        "key": ("wrong key: the upstream refuses the credential (HTTP 401", "Incorrect API key", "check api_key"),
        "falkey": ("wrong key: ", "HTTP 401", "check api_key"),
        "spent": ("wrong quota: ", "HTTP 402", "enough credits", "top it up"),
        "busy": ("wrong quota: ", "balance not enough", "top it up"),
        "models": ("wrong model: ", "does not list veo-9", "it has sora-2, sora-2-pro"),
        "lost": (f"wrong network: no address is known for {LOST}", "check base_url"),
        "slow": (f"wrong network: the name servers here do not answer for {SLOW}",),
        "closed": ("wrong network: 127.0.0.1:", "cannot be connected to (Connection refused)"),
        "tls": ("wrong network: nobody known here vouches for the certificate", "SSL_CERT_FILE"),
        "plain": ("wrong network: ", "does not speak TLS", "http://"),
        "page": ("wrong network: what answers is a web page and no API (HTTP 404)",),
        "onward": ("wrong network: what answers sends us on to new.example.com (HTTP 308)", "base_url"),
        "hangs": ("wrong network: 127.0.0.1:", "lets us connect, but no answer came"),
        "named": ("wrong model: ", "does not list google/veo-9 for this account; it has google/veo-3.1:"),
        "demo": ("ok needs no upstream; sora-2,",),
    }
    for name, words in expected.items():
        for word in words:
            assert word in said[name], (name, said[name])
    for words in SHOWN:
        assert words in PAGE
        assert words in result.stdout
    assert paid == [0] * 7
    assert SECRET not in result.output
    assert "ok agrees with that of" in lines_of(result)["clock"]
    assert result.stderr.strip() == "14 things are wrong."


STUCK = """
import asyncio, contextlib, queue, sys, time
from proxy import Channel, hookimpl

print("imported")
class Odd(Channel):
    type = "odd"
    async def create(self, request): ...
    async def fetch(self, job): ...
    async def probe(self):
        print("asked")
        match self.name:
            case "blocks":
                with contextlib.suppress(queue.Empty):
                    queue.SimpleQueue().get(timeout=30)
            case "leaves": sys.exit(3)
            case "cancels": raise asyncio.CancelledError
            case "nonsense": return 5
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)

@hookimpl
def register_channel():
    return Odd
"""


async def test_odd_plugins_and_answers(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that blocks, clings, exits or prints costs only its own line; an answer that is none of the provider's
    is not taken for one, and what it says does not steer the terminal, whatever its encoding."""
    monkeypatch.setattr("proxy.doctor.SPARE", 0.5)
    monkeypatch.setattr("proxy.doctor.machine.WITHIN", 0.5)
    (tmp_path / "plugins").mkdir()
    await asyncio.to_thread((tmp_path / "plugins" / "odd.py").write_text, STUCK, "utf-8")

    def always(status: int, text: str) -> AbstractAsyncContextManager[str]:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, text=text, content_type="application/json")

        return answering(answer)

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    over, left = asyncio.Event(), asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not over.is_set():
            writer.write(b"H")
            await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        left.set()

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        dripping = await enter(await asyncio.start_server(drip, "127.0.0.1", 0))
        port = str(dripping.sockets[0].getsockname()[1])
        # What an API gateway says of whatever it does not have, to anybody.
        dumb = await enter(always(404, '{"message": "Not Found", "code": 404}'))
        hostile = json.dumps({"data": [{"id": "a\x1b[2J\x9b\nb" * 99}]})
        entries = [
            *(
                {"name": one, "type": "odd", "models": ["m"]}
                for one in ("blocks", "clings", "leaves", "cancels", "nonsense")
            ),
            entry("other", "openai", await enter(always(200, "{}"))),
            entry("route", "openai", await enter(always(404, '{"detail": "Not Found"}'))),
            *(entry(f"any-{type}", type, dumb) for type in ("openai", "kling", "vidu", "xai")),
            entry("down", "openai", await enter(always(503, "<h1>Sorry</h1>"))),
            entry("cut", "openai", await enter(answering(cut))),
            entry("hostile", "openai", await enter(always(200, hostile)), dialect="litellm"),
        ]
        result = await doctor(
            "--timeout", "1", "--json", "--port", port, text=json.dumps({"channels": entries}), code=1
        )
        over.set()
        await left.wait()
    said = {
        one["subject"].removeprefix("channel "): f"{one['word']} {one['said']}"
        for one in json.loads(result.stdout)["findings"]
    }
    for name, words in {
        "blocks": "wrong the plugin odd blocks",
        "clings": "wrong the plugin odd blocks",
        "leaves": "(SystemExit: 3): tell its author",
        "cancels": "(CancelledError:): tell its author",
        "nonsense": "tell its author",
        "other": "? what answers does not speak as openai does",
        "route": "? what answers may not know this path (HTTP 404)",
        **{f"any-{type}": "? what answers may not know" for type in ("openai", "kling", "vidu", "xai")},
        "down": "? the upstream answers with HTTP 503",
        "cut": "? no answer of 127.0.0.1:",
        "hostile": "does not list sora-2",
    }.items():
        assert words in said[name], (name, said[name])
    assert said[f"port {port}"].startswith("wrong another program has it")
    assert said["hostile"].isprintable()
    assert len(said["hostile"]) < 300


async def test_one_channel_as_json(doctor: Doctor) -> None:
    """With names only those are looked at; a clock that is off is told; a name that is not there lists all."""

    async def of_tomorrow(request: web.Request) -> web.Response:
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        told = {"Date": later.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        return web.json_response({"error": {"message": "no such video"}}, status=404, headers=told)

    async with answering(of_tomorrow) as address:
        text = json.dumps({"channels": [entry("a", "openai", address), {"name": "b", "type": "demo"}]})
        told = json.loads((await doctor("b", "--json", text=text)).stdout)
        assert [(one["word"], one["subject"]) for one in told["findings"]] == [("ok", "channel b")]
        assert told["ok"] is True
        assert "there are: a, b" in (await doctor("nobody", code=1)).stderr
        told = json.loads((await doctor("--json", code=1)).stdout)
        (clock,) = [one for one in told["findings"] if one["subject"] == "clock"]
        assert "s behind of what the upstreams say" in clock["said"]


# ---------------------------------------------------------------- the machine


async def test_what_is_wrong_with_the_machine(doctor: Doctor, tmp_path: Path) -> None:
    """Mistakes in the file, a port that is taken, weak secrets, a channel that needs an address of ours, proxies that
    are not used, an archive that cannot be written, a store that is none."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "reelgate.db").write_text("no database at all, but long enough for a header" * 9)
    (tmp_path / "film").write_text("a file")
    text = """
server: {archive: film}
channels:
- {name: a, type: openai, base_url: "https://x.example", api_key: k, models: [sora-2], wieght: 3}
- {name: v, type: vidu, api_key: k, enabled: false, base_url: "http://127.0.0.1:%d"}
"""
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        result = await doctor(
            *("--port", str(port)),
            text=text % unused_port(),
            code=1,
            REELGATE_SECRET="short",
            https_proxy="http://proxy.example:3128",
        )
    said = lines_of(result)
    assert "did you mean weight" in said["channels.yaml"]
    assert said["store"].startswith("wrong data/reelgate.db cannot be read (file is not a database)")
    assert said["archive"].startswith("wrong server.archive: ")
    assert said[f"port {port}"].startswith("wrong another program has it")
    assert "REELGATE_SECRET is short enough" in said["secrets"]
    assert said["https_proxy"].startswith("? not used")
    assert "no channel takes new videos" in said["channels.yaml"]


async def test_what_waits_in_the_store(doctor: Doctor, launch: Launch, tmp_path: Path) -> None:
    """Beside a running server: unknown outcomes, videos whose channel has left the file, and the port that answers.
    Nothing in the store changes."""
    text = "channels: [{name: a, type: puppet, models: [sora-2]}]"
    product = await launch("server: {unknown_grace: 3600}\n" + text, plugins=(PUPPETS,))
    product.channel("a").then("create", UpstreamTimeout("the line broke"))
    await product.create()

    def rows() -> list[Any]:
        with closing(sqlite3.connect(f"file:{tmp_path}/data/reelgate.db?mode=ro", uri=True)) as db:
            tables = ("videos", "attempts", "audit", "channel_switches", "ledger")
            return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    before = await asyncio.to_thread(rows)
    port = product.url.rpartition(":")[2]
    words = ("--port", port, "--plugins", str(PUPPETS))
    said = lines_of(await doctor(*words, text=text))
    assert said["unknown outcomes"] == "? 1 video waits for an answer: reelgate videos unknown"
    assert said["store"] == "ok data/reelgate.db is whole; a server works on it"
    assert said[f"port {port}"] == "ok a Reelgate answers there"
    said = lines_of(await doctor(*words, text=text.replace("name: a", "name: b")))
    assert said["channel a"].startswith("? 1 video belongs to it, but it is not in channels.yaml")
    assert await asyncio.to_thread(rows) == before


async def test_a_store_at_rest_stays_as_it_is(doctor: Doctor, tmp_path: Path) -> None:
    """Nothing new lies beside it, where the look may have been another user's than the server's."""
    (tmp_path / "channels.yaml").write_text("channels: [{name: a, type: demo}]", "utf-8")
    made = await asyncio.to_thread(CliRunner().invoke, main, ["keys", "create", "x"])
    assert made.exit_code == 0, made.output

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file()}

    before = await asyncio.to_thread(files)
    assert "ok data/reelgate.db is whole" in lines_of(await doctor())["store"]
    assert await asyncio.to_thread(files) == before
