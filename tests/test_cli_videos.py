"""`reelgate videos …`: what it prints of a running server, how it fails, and a lost job brought back by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer, unused_port
from click.testing import CliRunner, Result

from proxy.app import WIRING
from proxy.cli import main
from proxy.errors import UpstreamGone, UpstreamTimeout
from proxy.testing import SimulatorServer
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.process.server import KEY, ServerProcess
from tests.simulators.openai import OpenAISimulator

PLUGINS = (Path(__file__).parent / "engine" / "plugins",)
PUPPET = "server: {unknown_grace: 3600}\nchannels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01}]"

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `reelgate` with some words beside the event loop."""
    for name in [name for name in os.environ if name.startswith("REELGATE_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    async def invoke(*words: str, url: str = "", key: str = ADMIN_KEY, code: int = 0) -> Result:
        environ = {"REELGATE_URL": url or None, "REELGATE_API_KEY": key or None}
        result = await asyncio.to_thread(CliRunner().invoke, main, words, env=environ, prog_name="reelgate")
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return invoke


def flat(text: str) -> str:
    """A text with every run of white space as one space."""
    return re.sub(r"\s+", " ", text).strip()


async def doubtful(product: Product, **body: Any) -> str:
    """The id of a video with an unknown outcome."""
    product.channel("a").then("create", UpstreamTimeout("the line broke"))
    return str((await product.create(**body))["id"])


# ---------------------------------------------------------------- the whole story


def openai_channel(sim: OpenAISimulator, grace: float) -> str:
    return (
        f"server: {{unknown_grace: {grace}}}\n"
        f"channels: [{{name: up, type: openai, models: [sora-2], base_url: '{sim.base_url}', api_key: sk-test, "
        "poll_every: 0.05}]"
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process that is not started yet."""
    made = ServerProcess(tmp_path, "")
    yield made
    if made._process is not None and made.process.returncode is None:
        await made.kill()


async def call(server: ServerProcess, method: str, path: str, key: str, **kwargs: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        ClientSession(headers=headers) as session,
        session.request(method, server.base_url + path, **kwargs) as answer,
    ):
        is_json = answer.content_type == "application/json"
        return answer.status, await (answer.json() if is_json else answer.read())


async def ended(server: ServerProcess, video_id: str, key: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            _, video = await call(server, "GET", f"/videos/{video_id}", key)
            if video["status"] in ("completed", "failed"):
                return dict(video)
            await asyncio.sleep(0.02)


async def test_a_lost_job_is_brought_back_by_hand(server: ServerProcess, run: Run) -> None:
    """The upstream took the job and dropped the connection; the grace time passed. The operator finds the video with
    its evidence, attaches the provider's job, and the client downloads it: paid once, delivered once."""
    client_key = (await run("keys", "create", "phone", "--data", str(server.folder / "data"))).stdout.strip()
    async with SimulatorServer(OpenAISimulator()) as sim:
        server.text = openai_channel(sim, grace=0.2)
        await server.start()
        sim.fault("reset_after_taking", on="create")
        status, video = await call(server, "POST", "/videos", client_key, json={"prompt": "a paper plane"})
        assert status == 200
        assert (await ended(server, video["id"], client_key))["error"]["code"] == "outcome_unknown"

        shown = (await run("videos", "unknown", url=server.base_url, key=KEY)).stdout
        assert video["id"] in shown
        assert "unknown, failed" in shown
        assert "key phone" in shown
        assert "up cannot look submissions up" in shown
        assert "why up: " in shown

        (job_id,) = sim.jobs
        said = await run("videos", "resolve", video["id"], "--attach", job_id, url=server.base_url, key=KEY)
        new_id = said.stdout.strip()
        assert new_id != video["id"]
        assert (await ended(server, new_id, client_key))["status"] == "completed"
        status, content = await call(server, "GET", f"/videos/{new_id}/content", client_key)
        assert (status, content) == (200, sim.video_bytes)
        assert sim.paid == len(sim.jobs) == 1

        told = flat((await run("videos", "get", video["id"], url=server.base_url, key=KEY)).stdout)
        assert f"REPLACED BY {new_id}" in told
        assert "admin answered attach" in told
        assert job_id in told
        own = await run("videos", "get", new_id, url=server.base_url, key=client_key)
        assert f"REPLACES {video['id']}" in flat(own.stdout)
        assert job_id not in own.output
        left = await run("videos", "unknown", url=server.base_url, key=KEY)
        assert (left.stdout, "is known" in left.stderr) == ("", True)
        assert await server.stop() == 0
    assert not [line for line in server.log if job_id in line]


async def test_a_submission_that_a_kill_cut_off_is_in_the_inbox(server: ServerProcess, run: Run) -> None:
    """The process was killed while the upstream held the request: the next one shows it, and the job can be attached
    before the grace time ends; then the same video goes on."""
    async with SimulatorServer(OpenAISimulator()) as sim:
        server.text = openai_channel(sim, grace=3600)
        await server.start()
        sim.fault("hang", on="create")
        ordering = asyncio.create_task(call(server, "POST", "/videos", KEY, json={"prompt": "a paper plane"}))
        async with asyncio.timeout(20):
            while not sim.jobs:
                await asyncio.sleep(0.01)
        await server.kill()
        with contextlib.suppress(Exception):
            await ordering
        await server.start()
        (doubt,) = json.loads((await run("videos", "unknown", "--json", url=server.base_url, key=KEY)).stdout)
        assert (doubt["stage"], doubt["attempts"][0]["state"]) == ("unknown", "unknown")
        assert "the process ended" in doubt["attempts"][0]["note"]
        shown = (await run("videos", "unknown", url=server.base_url, key=KEY)).stdout
        assert "unknown, fails in " in shown
        (job_id,) = sim.jobs
        said = await run("videos", "resolve", doubt["video"]["id"], "--attach", job_id, url=server.base_url, key=KEY)
        assert said.stdout.strip() == doubt["video"]["id"]
        assert (await ended(server, doubt["video"]["id"], KEY))["status"] == "completed"
        assert sim.paid == 1


# ---------------------------------------------------------------- what is printed


async def test_list_is_a_table_of_ones_own(launch: Launch, run: Run) -> None:
    """Newest first, one line each, whatever is in the prompt; `--limit` says when there are more."""
    product = await launch(PUPPET, plugins=PLUGINS)
    first = await product.done((await product.create(prompt="a lamp", seconds="8"))["id"])
    second = await doubtful(product, prompt="two\nlines \x1b[31m" + "and much more " * 10)
    result = await run("videos", "list", url=product.url)
    head, newest, oldest = result.stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "DONE", "MODEL", "ORDERED", "CREATED", "PROMPT"]
    assert newest.startswith(second)
    assert newest.endswith("…")
    assert "\x1b" not in newest
    assert flat(oldest).startswith(f"{first['id']} completed 100% sora-2 8 s, ")
    assert oldest.endswith("a lamp")
    result = await run("videos", "list", "--limit", "1", url=product.url)
    assert len(result.stdout.splitlines()) == 2
    assert "more" in result.stderr
    page = json.loads((await run("videos", "list", "--json", url=product.url)).stdout)
    assert [video["id"] for video in page["data"]] == [second, first["id"]]


async def test_unknown_shows_the_evidence_under_each_row(launch: Launch, run: Run) -> None:
    """A row for each doubt, newest first; below it whose it is, each attempt with its reasons, and what can be done."""
    product = await launch(PUPPET.replace("0.01", "0.01, price: {per_second: 0.25}"), plugins=PLUGINS)
    first = await doubtful(product, seconds="8", prompt="a paper plane")
    second = await doubtful(product, prompt="two\nlines " + "and more " * 10)
    result = await run("videos", "unknown", url=product.url)
    (long,) = [line for line in result.stdout.splitlines() if "prompt: two" in line]
    assert len(long.strip().removeprefix("prompt: ")) == 60
    assert long.endswith("…")
    rows = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert rows[0].split() == ["VIDEO", "WHAT", "CHANNEL", "MODEL", "ORDERED", "PRICE", "CREATED"]
    assert [row.split()[0] for row in rows[1:]] == [second, first]
    assert "unknown, fails in 60 min  a        sora-2  8 s, " in rows[2]
    assert " $2.00 " in rows[2]
    below = flat(result.stdout.partition(first)[2])
    assert "for key admin, tenant admin prompt: a paper plane" in below
    assert "unknown after 0.0 s (UpstreamTimeout: the line broke)" in below
    assert "why a: the only channel that may make it" in below
    assert "see the provider's own list of jobs" in below
    for word in ("--attach", "--not-created", "--give-up"):
        assert word in result.stderr
    found = json.loads((await run("videos", "unknown", "--json", url=product.url)).stdout)
    assert [one["video"]["id"] for one in found] == [second, first]
    assert found[1]["video"]["prompt"] == "a paper plane"


async def test_unknown_reads_every_page(launch: Launch, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long inbox is shown whole."""
    monkeypatch.setattr("proxy.commands.videos.PAGE", 2)
    product = await launch(PUPPET, plugins=PLUGINS)
    made = [await doubtful(product) for _ in range(5)]
    found = json.loads((await run("videos", "unknown", "--json", url=product.url)).stdout)
    assert [one["video"]["id"] for one in found] == made[::-1]


async def test_get_tells_an_operator_more(launch: Launch, run: Run) -> None:
    """With an admin key the attempts and their reasons; as JSON the public object with the rest beside it."""
    product = await launch(PUPPET, plugins=PLUGINS)
    video = await product.done((await product.create(prompt="a lamp"))["id"])
    told = flat((await run("videos", "get", video["id"], url=product.url)).stdout)
    assert f"ID {video['id']} STATUS completed, 100% MODEL sora-2" in told
    assert "CHANNEL a, as sora-2" in told
    assert "UPSTREAM ID up-att_" in told
    assert "why a: the only channel that may make it" in told
    answer = json.loads((await run("videos", "get", video["id"], "--json", url=product.url)).stdout)
    operator = answer.pop("operator")
    answer.pop("video_url")
    assert answer == {key: value for key, value in video.items() if key != "video_url"}
    assert operator["channel"] == "a"


async def test_get_says_what_a_video_waits_for(launch: Launch, run: Run) -> None:
    """While it waits there is no channel yet, but for each that may make it the reason why it has not begun."""
    product = await launch(PUPPET.replace("0.01", "0.01, max_running: 1"), plugins=PLUGINS)
    await doubtful(product)
    waiting = (await product.create())["id"]
    told = (await run("videos", "get", waiting, url=product.url)).stdout
    assert "STAGE waiting WAITS a full: 1 of 1 places are taken" in flat(told)
    assert "CHANNEL" not in told
    pinned = (await product.create(metadata={"channel": "a"}))["id"]
    told = flat((await run("videos", "get", pinned, url=product.url)).stdout)
    assert "CHANNEL a, as sora-2 STAGE waiting WAITS a full: 1 of 1 places are taken" in told
    await product.server.app[WIRING].engine._core.channels.apply([])
    told = flat((await run("videos", "get", waiting, url=product.url)).stdout)
    assert "WAITS no channel that is enabled serves its model" in told


@pytest.mark.parametrize(
    ("words", "status", "code", "sentence"),
    [
        (("--not-created",), "failed", "upstream_failed", "Settled. The video is failed (upstream_failed)"),
        (("--give-up",), "failed", "outcome_unknown", "Settled. The video is failed (outcome_unknown)"),
        (("--attach", "up-1"), "completed", None, "goes on from the upstream's job"),
    ],
)
async def test_resolve_gives_each_answer(
    launch: Launch, run: Run, words: tuple[str, ...], status: str, code: str | None, sentence: str
) -> None:
    """Each of the three answers settles the doubt; stdout has the video's id alone; the note goes into the audit."""
    product = await launch(PUPPET, plugins=PLUGINS)
    video_id = await doubtful(product)
    result = await run("videos", "resolve", video_id, *words, "--note", "asked them", url=product.url)
    assert result.stdout == f"{video_id}\n"
    assert sentence in result.stderr
    video = await product.done(video_id)
    assert (video["status"], video["error"] and video["error"]["code"]) == (status, code)
    assert "(asked them)" in (await run("videos", "get", video_id, url=product.url)).stdout


async def test_resolve_force_attaches_what_the_upstream_denies(launch: Launch, run: Run) -> None:
    """Without `--force` the refusal names the cause and the way; with it the job is attached."""
    product = await launch(PUPPET, plugins=PLUGINS)
    video_id = await doubtful(product)
    product.channel("a").then("fetch", *[UpstreamGone("no such job")] * 2)
    result = await run("videos", "resolve", video_id, "--attach", "up-1", url=product.url, code=1)
    assert result.stdout == ""
    assert "has no job with this id" in result.stderr
    assert "attach it all the same with --force." in result.stderr
    assert '"force"' not in result.stderr
    await run("videos", "resolve", video_id, "--attach", "up-1", "--force", url=product.url)


# ---------------------------------------------------------------- how it fails


@pytest.mark.parametrize(
    "words", [(), ("--not-created", "--give-up"), ("--attach", "x", "--give-up"), ("--give-up", "--force")]
)
async def test_resolve_takes_exactly_one_answer(run: Run, words: tuple[str, ...]) -> None:
    """Anything else is a mistake in the command, told before any server is asked."""
    result = await run("videos", "resolve", "video_1", *words, code=2)
    assert "--attach" in result.stderr


async def test_a_server_that_is_not_there(run: Run) -> None:
    """One sentence names the address that was asked and how to name another."""
    port = unused_port()
    result = await run("videos", "list", url=f"http://127.0.0.1:{port}/v1", code=1)
    assert len(result.stderr.splitlines()) == 1
    for words in (f"http://127.0.0.1:{port} ", "REELGATE_URL", "reelgate serve"):
        assert words in result.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "http://[::1"])
async def test_an_address_that_is_none(run: Run, url: str) -> None:
    """REELGATE_URL is named with an example."""
    result = await run("videos", "list", url=url, code=1)
    assert "REELGATE_URL" in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_keys_that_do_not_open(launch: Launch, run: Run) -> None:
    """No key, a wrong one, a client's for an operator's command: each says what to put into REELGATE_API_KEY."""
    product = await launch(PUPPET, plugins=PLUGINS)
    client = (await run("keys", "create", "phone", "--data", str(product_data(product)))).stdout.strip()
    for key, words in (("", "is not set"), ("rg_wrong", "refuses the API key"), ("rg\x7f", "copy the key again")):
        result = await run("videos", "list", url=product.url, key=key, code=1)
        assert words in result.stderr
        assert "REELGATE_API_KEY" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert key == "" or key not in result.stderr
    for command in (("unknown",), ("resolve", "video_" + "0" * 32, "--give-up")):
        result = await run("videos", *command, url=product.url, key=client, code=1)
        assert "is not an admin key" in result.stderr
        for wrong in (client, "rg_wrong", ""):
            result = await run("videos", *command, url=product.url, key=wrong, code=1)
            for words in ("the admin key", "REELGATE_ADMIN_KEY", "REELGATE_API_KEY"):
                assert words in result.stderr
            assert "keys create" not in result.stderr
            assert len(result.stderr.splitlines()) == 1
    assert (await run("videos", "list", url=product.url, key=client)).stdout.startswith("ID")


def product_data(product: Product) -> Path:
    """The data folder of a launched product."""
    return product.server.app[WIRING].data


async def test_a_video_that_is_not_there(launch: Launch, run: Run) -> None:
    """The server's own sentence is passed on, also for an id that would be another URL."""
    product = await launch(PUPPET, plugins=PLUGINS)
    for video_id in ("video_" + "0" * 32, "../v1/videos", "a/b?c", "ä"):
        result = await run("videos", "get", video_id, url=product.url, code=1)
        assert "not found" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("status", [200, 302, 404, 502])
async def test_a_server_that_is_no_reelgate(run: Run, status: int) -> None:
    """A page instead of JSON, or a redirect, is told; the key is not carried to where a redirect leads."""
    asked: list[str] = []

    async def page(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, text="<html>", headers={"Location": "/elsewhere"}, content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with TestServer(app) as server:
        result = await run("videos", "list", url=str(server.make_url("/")), code=1)
    said = "(HTTP 302), where we do not take the API key" if status == 302 else f"(HTTP {status}) is no Reelgate"
    assert said in result.stderr
    assert asked == ["/v1/videos"]


async def test_a_server_that_hangs_up(run: Run) -> None:
    """A connection that is closed without an answer is one sentence too."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    result = await run("videos", "list", url=f"http://127.0.0.1:{port}", code=1)
    server.close()
    await server.wait_closed()
    assert "no Reelgate answers" in result.stderr


@pytest.mark.parametrize("words", [(), ("list",), ("get",), ("unknown",), ("resolve",)])
async def test_config_and_data_are_options_here_too(run: Run, words: tuple[str, ...]) -> None:
    """`--config FILE` and `--data DIR` stand in the help of the group and of each of its commands."""
    shown = (await run("videos", *words, "--help")).output
    assert "--config FILE" in shown
    assert "--data DIR" in shown
