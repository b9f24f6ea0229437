"""`reelgate videos create` and `download`: a prompt becomes a file, whatever breaks."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer, unused_port
from click.testing import CliRunner, Result
from PIL import Image

from proxy.cli import main
from proxy.commands import films
from proxy.commands.waiting import pause_of
from proxy.models import JobError, UpstreamJob
from tests.conftest import ADMIN_KEY, Launch, Product

ROOT = Path(__file__).parent.parent
PLUGINS = (ROOT / "tests" / "engine" / "plugins",)
PUPPET = "channels: [{name: a, type: puppet, models: [sora-2, veo], poll_every: 0.01}]"
FILM = b"\x00\x00\x00\x18ftypmp42"

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `reelgate videos …` beside the event loop."""
    for name in [name for name in os.environ if name.startswith("REELGATE_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    async def invoke(*words: str, url: str, key: str = ADMIN_KEY, code: int = 0) -> Result:
        environ = {"REELGATE_URL": url, "REELGATE_API_KEY": key}
        result = await asyncio.to_thread(
            CliRunner().invoke, main, ["videos", *words], env=environ, prog_name="reelgate"
        )
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return invoke


def left(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class Weather:
    """What happens between a client and the server behind it: `cut_answer` loses the answers to that many orders after
    they were taken, `cut_content` breaks that many downloads off after some bytes, `starts` are the places where
    downloads began."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.cut_answer = 0
        self.cut_content = 0
        self.orders = 0
        self.starts: list[str | None] = []

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self.target + request.path_qs,
                headers={name: value for name, value in request.headers.items() if name != "Host"},
                data=await request.read(),
                allow_redirects=False,
            ) as answer,
        ):
            body = await answer.read()
            assert request.transport is not None
            if request.method == "POST":
                self.orders += 1
                if self.cut_answer:
                    self.cut_answer -= 1
                    request.transport.abort()
                    return web.Response()
            headers = {name: value for name, value in answer.headers.items() if name not in ("Date", "Server")}
            response = web.StreamResponse(status=answer.status, headers=headers)
            response.content_length = len(body)
            await response.prepare(request)
            if request.path.endswith("/content"):
                self.starts.append(request.headers.get("Range"))
                if self.cut_content:
                    self.cut_content -= 1
                    await response.write(body[:20])
                    request.transport.close()
                    return response
            await response.write(body)
            return response


@asynccontextmanager
async def bad_weather(product: Product) -> AsyncIterator[tuple[Weather, str]]:
    """A line to `product` that breaks, and its address."""
    weather = Weather(product.url)
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", weather.pass_on)
    async with TestServer(app) as server:
        yield weather, str(server.make_url("/")).rstrip("/")


# ---------------------------------------------------------------- create


async def test_a_prompt_becomes_a_file(launch: Launch, run: Run, tmp_path: Path) -> None:
    """Plain lines on stderr, the name of the file on stdout; the options and a picture arrive; what is there already is
    not written over, and that is said before anything is ordered."""
    product = await launch(PUPPET, plugins=PLUGINS)
    puppet = product.channel("a")
    result = await run("create", "A paper/plane…", "-m", "veo", "--seconds", "8", "--seed", "7", url=product.url)
    (name,) = result.stdout.splitlines()
    assert name.startswith("a-paper-plane-")
    assert (tmp_path / name).read_bytes().startswith(FILM)
    assert result.stderr.splitlines()[-1].startswith("downloading, ")
    assert "\r" not in result.stderr
    request = puppet.asked("create")[-1]
    assert (request.prompt, request.model, request.seconds, request.seed) == ("A paper/plane…", "veo", 8, 7)

    assert "is there already" in (await run("create", "x", "-o", name, url=product.url, code=1)).stderr
    assert "no such folder" in (await run("create", "x", "-o", "none/x.mp4", url=product.url, code=1)).stderr
    assert len(puppet.asked("create")) == 1

    await asyncio.to_thread(Image.new("RGB", (64, 64), "red").save, tmp_path / "first.png")
    words = ("create", "x", "--image", "first.png", "-o", name, "--force", "--json", "--size", "1280x720")
    told = json.loads((await run(*words, url=product.url)).stdout)
    assert (told["status"], told["file"], told["size"]) == ("completed", name, "1280x720")
    assert puppet.asked("create")[-1].image is not None
    assert left(tmp_path) == sorted([name, "first.png"])


async def test_a_lost_connection_pays_once(launch: Launch, run: Run, tmp_path: Path) -> None:
    """The line breaks after the order was taken, and twice in the middle of the download: one job, the whole film, and
    the rest of it asked for from where it broke off."""
    product = await launch(PUPPET, plugins=PLUGINS)
    async with bad_weather(product) as (weather, url):
        weather.cut_answer, weather.cut_content = 1, 2
        result = await run("create", "a paper plane", "-o", "plane.mp4", url=url)
    assert weather.orders == 2
    assert len(product.channel("a").asked("create")) == 1
    assert weather.starts == [None, "bytes=20-", "bytes=40-"]
    _, content, _ = await product.call("GET", f"/v1/videos/{(await newest(product))['id']}/content")
    assert (tmp_path / "plane.mp4").read_bytes() == content
    assert "the same order once more" in result.stderr
    assert left(tmp_path) == ["plane.mp4"]


async def test_an_order_that_may_have_arrived(launch: Launch, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no answer ever comes back, the last word is that it may have been taken all the same."""
    product = await launch(PUPPET, plugins=PLUGINS)
    monkeypatch.setattr(films, "PATIENCE", 0.0)
    async with bad_weather(product) as (weather, url):
        weather.cut_answer = 1
        result = await run("create", "a paper plane", url=url, code=1)
    assert "may have been taken all the same: reelgate videos list" in result.stderr


async def newest(product: Product) -> dict[str, str]:
    return dict((await product.call("GET", "/v1/videos"))[1]["data"][0])


async def test_a_download_goes_on_in_the_next_command(
    launch: Launch, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that breaks off for good keeps what it has; the next one brings only the rest."""
    product = await launch(PUPPET, plugins=PLUGINS)
    video = await product.done((await product.create())["id"])
    monkeypatch.setattr("proxy.commands.transfer.TRIES", -1)
    async with bad_weather(product) as (weather, url):
        weather.cut_content = 1
        result = await run("download", video["id"], "-o", "plane.mp4", url=url, code=1)
        assert "20 bytes are kept, and the same command goes on from there" in result.stderr
        assert not (tmp_path / "plane.mp4").exists()
        weather.starts.clear()
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        assert (await run("download", video["id"], "-o", "plane.mp4", url=url)).stdout == "plane.mp4\n"
    assert weather.starts == [None, "bytes=20-"]
    _, content, _ = await product.call("GET", f"/v1/videos/{video['id']}/content")
    assert (tmp_path / "plane.mp4").read_bytes() == content
    assert left(tmp_path) == ["plane.mp4"]


async def test_how_an_order_fails(launch: Launch, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each: the video failed, the model is not there (with those that are), the budget is spent, the key
    is wrong, nobody is there, the video is not ready."""
    product = await launch(PUPPET.replace("0.01", "0.01, price: {per_second: 1}"), plugins=PLUGINS)
    monkeypatch.setattr(films, "PATIENCE", 0.0)
    job = UpstreamJob(id="up-1", status="failed", error=JobError("moderation_blocked", "Too\x1b[31m many planes."))
    product.channel("a").then("fetch", job)
    failed = await run("create", "x", url=product.url, code=1)
    assert failed.stderr.splitlines()[-1].startswith("moderation_blocked: Too")
    assert "\x1b" not in failed.output
    assert "There are: sora-2, veo" in (await run("create", "x", "-m", "nope", url=product.url, code=1)).stderr
    made = (await product.call("POST", "/admin/api/keys", json={"name": "poor", "budget": {"value": 1}}))[1]
    spent = await run("create", "x", "--seconds", "8", url=product.url, key=made["key"], code=1)
    assert "budget" in spent.stderr
    assert "refuses the API key" in (await run("create", "x", url=product.url, key="rg_wrong", code=1)).stderr
    gone = await run("create", "x", url=f"http://127.0.0.1:{unused_port()}", code=1)
    assert "no Reelgate answers at" in gone.stderr
    assert len(gone.stderr.splitlines()) == 1
    nowhere = await run("create", "x", url="http://127.0.0.1:port", code=1)
    assert "nonnumeric port" in nowhere.stderr
    assert "may have been taken" not in nowhere.stderr
    assert "cannot be read" in (await run("create", "x", "--image", "none.png", url=product.url, code=1)).stderr
    ready = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", ready)
    made = (await run("create", "x", "--no-wait", url=product.url)).stdout.strip()
    assert "add --wait" in (await run("download", made, url=product.url, code=1)).stderr
    ready.set_result(UpstreamJob(id="up-2", status="in_progress"))


async def test_a_redirect_leaves_the_key_behind(run: Run, tmp_path: Path) -> None:
    """Where the channel sends its clients to the provider's own storage, the film comes from there, and our key does
    not go there."""
    seen: list[dict[str, str]] = []

    async def film(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(body=FILM)

    async def video(request: web.Request) -> web.Response:
        return web.json_response(
            {"id": "video_1", "status": "completed", "progress": 100, "prompt": "x", "error": None}
        )

    async def onward(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://localhost:{store.port}/film?signature=1")

    shop, server = web.Application(), web.Application()
    shop.router.add_get("/film", film)
    server.router.add_get("/v1/videos/video_1", video)
    server.router.add_get("/v1/videos/video_1/content", onward)
    async with TestServer(shop) as store, TestServer(server) as door:
        await run("download", "video_1", "-o", "x.mp4", url=str(door.make_url("/")))
    assert (tmp_path / "x.mp4").read_bytes() == FILM
    assert [("authorization" in headers, ADMIN_KEY in str(headers)) for headers in seen] == [(False, False)]


GOOD = {"id": "video_1", "status": "completed", "progress": 100, "prompt": "x", "error": None}


@asynccontextmanager
async def pretending(
    told: object, content: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None, **headers: str
) -> AsyncIterator[str]:
    """The address of a server that answers `told` to everything but a download."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if content is not None and request.path.endswith("/content"):
            return await content(request)
        status = 400 if isinstance(told, dict) and "type" in (told["error"] or {}) else 200
        return web.json_response(told, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


async def test_what_a_server_says_is_no_command(run: Run, tmp_path: Path) -> None:
    """Answers that are no videos of ours, ids that would be paths, and control characters end in one plain sentence;
    waiting times that are none do not matter."""
    for told in ([1], None, {**GOOD, "id": "a/../\x1b[31m"}, {**GOOD, "progress": "x"}, {**GOOD, "status": "failed"}):
        async with pretending(told) as url:
            for words in (("create", "x"), ("download", "video_1")):
                result = await run(*words, "-o", "x.mp4", url=url, code=1)
                assert result.stderr.startswith(f"what answers at {url} speaks of no video")
    async with pretending({"error": {"code": "x", "message": "red\x1b[31m\x9bline", "type": "x"}}) as url:
        for words in (("create", "x"), ("download", "video_1"), ("list",)):
            said = (await run(*words, url=url, code=1)).stderr
            assert said.rstrip().isprintable()
    assert left(tmp_path) == []
    assert pause_of({"retry-after": "nan"}, 7.0) == 7.0
    assert 0 < pause_of({"retry-after-ms": "0"}) < 1 < pause_of({"retry-after": "inf"}) < 3600


async def test_a_download_that_does_not_fit_together(run: Run, tmp_path: Path) -> None:
    """A server that never sends the part that was asked for is left after a few tries; one whose film has changed
    meanwhile gives the new one, whole, also where it does not look at `If-Range`."""
    asked = 0

    async def nonsense(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response(status=206, body=b"film", headers={"Content-Range": "bytes 0-3/4"})

    async with pretending(GOOD, nonsense) as url:
        result = await run("download", "video_1", "-o", "x.mp4", url=url, code=1)
    assert "does not fit together" in result.stderr
    assert "download video_1 -o x.mp4 --wait" in result.stderr
    assert asked < 10

    async def changing(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        etag = {"ETag": f'"{min(asked, 2)}"'}
        if "Range" in request.headers:
            return web.Response(status=206, body=b"B" * 50, headers={**etag, "Content-Range": "bytes 50-99/100"})
        response = web.StreamResponse(headers=etag)
        response.content_length = 100
        await response.prepare(request)
        await response.write((b"A" if asked == 1 else b"B") * (50 if asked == 1 else 100))
        if asked == 1:
            assert request.transport is not None
            request.transport.close()
        return response

    asked = 0
    async with pretending(GOOD, changing) as url:
        await run("download", "video_1", "-o", "x.mp4", url=url)
    assert (tmp_path / "x.mp4").read_bytes() == b"B" * 100
    assert left(tmp_path) == ["x.mp4"]


async def test_no_place_for_a_film(run: Run, tmp_path: Path) -> None:
    """What cannot be written is said before anything is ordered; a disk that gets full says how to have the video."""
    orders = 0

    async def film(request: web.Request) -> web.Response:
        nonlocal orders
        orders += 1
        return web.Response(body=FILM)

    (tmp_path / "link").symlink_to("nowhere")
    async with pretending(GOOD, film) as url:
        for output in ("-", "link", "a" * 300, "/dev/full"):
            await run("create", "x", "-o", output, url=url, code=1)
        await run("create", "x", "-o", "/dev/full", "--force", url=url, code=1)
        assert "no UTF-8" in (await run("create", "x\udcff", url=url, code=1)).stderr
        assert orders == 0
        await run("create", "x", "-o", "a" * 250, url=url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            result = await run("create", "x", "-o", "x.mp4", "--force", url=url, code=1)
    assert "No space left" in result.stderr
    assert "download video_1 -o x.mp4 --wait --force" in result.stderr


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_ctrl_c_leaves_the_video_running(launch: Launch, run: Run, tmp_path: Path) -> None:
    """In a terminal a bar shows how far it is; Ctrl-C says how to go on, and that command brings the film."""
    product = await launch(PUPPET, plugins=PLUGINS)
    ended = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", UpstreamJob(id="up-1", status="in_progress", progress=40), ended)
    theirs, ours = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "videos", "create", "a plane", "-o", "a plane.mp4"),
        cwd=tmp_path,
        env={**environ, "REELGATE_URL": product.url, "REELGATE_API_KEY": ADMIN_KEY},
        stderr=ours,
        stdout=asyncio.subprocess.PIPE,
    )
    os.close(ours)
    shown = b""
    async with asyncio.timeout(60):
        while b"in_progress" not in shown or b" 40%  0:0" not in shown:
            shown += await asyncio.to_thread(os.read, theirs, 4096)
        command.send_signal(signal.SIGINT)
        while b"--wait" not in shown:
            shown += await asyncio.to_thread(os.read, theirs, 4096)
        assert (await command.communicate())[0] == b""
    os.close(theirs)
    assert command.returncode == films.INTERRUPTED
    assert b"\r" in shown
    assert b"[####" in shown
    video = await newest(product)
    assert video["status"] == "in_progress"
    how = f"reelgate videos download {video['id']} -o 'a plane.mp4' --wait"
    assert how in shown.decode().replace("\r\n", "\n")
    ended.set_result(UpstreamJob(id="up-1", status="completed"))
    await run(*shlex.split(how)[2:], url=product.url)
    assert (tmp_path / "a plane.mp4").read_bytes().startswith(FILM)
