"""What an operator does with a server process: plugins dropped in, keys made and ended while it runs, its variables."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession
from multidict import CIMultiDictProxy

from proxy.accounts.users import Users
from proxy.store import Store
from proxy.testing import SimulatorServer
from tests.process import forks
from tests.process.conftest import Spawn
from tests.process.server import KEY, ROOT, ServerProcess
from tests.simulators.lumen import LumenSimulator

DEMO = "channels: [{name: demo, type: demo}]"
UPSTREAM_KEY = "lumen-key-7f3a90c2d41b"
LUMEN = ROOT / "docs" / "examples" / "lumen.py"


class Said(NamedTuple):
    status: int
    body: Any
    headers: CIMultiDictProxy[str]


async def call(server: ServerProcess, method: str, path: str, key: str | None = KEY, **kwargs: Any) -> Said:
    """An answer of the server; `path` begins behind its origin."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    origin = server.base_url.removesuffix("/v1")
    async with (
        ClientSession() as session,
        session.request(method, origin + path, headers=headers, **kwargs) as response,
    ):
        body = await response.json() if response.content_type == "application/json" else await response.read()
        return Said(response.status, body, response.headers)


async def reelgate(server: ServerProcess, *words: str, code: int = 0) -> str:
    """What the command line prints, run beside the server on its data folder."""
    process = await forks.start(
        *(*words, "--data", str(server.folder / "data")),
        cwd=server.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    return await printed(process, code)


async def shell(server: ServerProcess, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=server.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return await printed(process, 0)


async def printed(process: forks.Fork | asyncio.subprocess.Process, code: int) -> str:
    """What it printed on stdout before it ended with this code."""
    output, errors = await process.communicate()
    assert process.returncode == code, errors.decode()
    return output.decode()


def lumen(simulator: LumenSimulator) -> str:
    """An entry for the plugin of the docs, as they show it."""
    return (
        f"channels: [{{name: lumen, type: lumen, base_url: '{simulator.base_url}', api_key: {UPSTREAM_KEY}, "
        "models: [lumen-1], poll_every: 0.02, allow_hosts: [127.0.0.1]}]"
    )


async def film(server: ServerProcess) -> dict[str, Any]:
    """A video of the model lumen-1, completed."""
    status, video, _ = await call(server, "POST", "/v1/videos", json={"prompt": "a lamp", "model": "lumen-1"})
    assert status == 200, video
    async with asyncio.timeout(60):
        while video["status"] not in ("completed", "failed"):
            _, video, _ = await call(server, "GET", f"/v1/videos/{video['id']}")
            await asyncio.sleep(0.02)
    assert video["status"] == "completed", video
    return video


# ---------------------------------------------------------------- plugins


async def check_lumen_serves(server: ServerProcess, simulator: LumenSimulator) -> None:
    video = await film(server)
    assert (await call(server, "GET", f"/v1/videos/{video['id']}/content")).body == simulator.video_bytes
    (job,) = simulator.jobs.values()
    assert (job.account, simulator.paid) == (UPSTREAM_KEY, 1)
    assert job.id not in json.dumps(video)


@pytest.mark.parametrize("way", ["beside the file", "--plugins", "server.plugins"])
async def test_a_dropped_file_serves(spawn: Spawn, tmp_path: Path, way: str) -> None:
    """The plugin of the docs, put into any of the three folders, serves with nothing but its entry."""
    folder = tmp_path / ("plugins" if way == "beside the file" else "my plugins")
    folder.mkdir()
    shutil.copy(LUMEN, folder)
    async with SimulatorServer(LumenSimulator(keys={UPSTREAM_KEY})) as simulator:
        text = lumen(simulator) + ("\nserver: {plugins: ['my plugins']}" if way == "server.plugins" else "")
        server = spawn(text)
        await server.start(*(["--plugins", str(folder)] if way == "--plugins" else []))
        await check_lumen_serves(server, simulator)
        assert await server.stop() == 0
    assert UPSTREAM_KEY not in "\n".join([*server.log, *server.output])


async def test_a_file_is_dropped_into_a_running_server(spawn: Spawn, tmp_path: Path) -> None:
    """A new plugin and its entry serve after SIGHUP; a broken one changes nothing, and the log names file and line."""
    server = spawn(DEMO)
    await server.start()
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "lumen.py").write_text("x = = 1\n")
    async with SimulatorServer(LumenSimulator(keys={UPSTREAM_KEY})) as simulator:
        server.config.write_text(lumen(simulator), "utf-8")
        server.send(signal.SIGHUP)
        while not any("lumen.py: line 1: SyntaxError" in line for line in server.log):
            await asyncio.sleep(0.01)
        assert (await call(server, "GET", "/v1/models/demo")).status == 200
        shutil.copy(LUMEN, folder)
        server.send(signal.SIGHUP)
        while (await call(server, "GET", "/v1/models/lumen-1")).status != 200:
            await asyncio.sleep(0.01)
        await check_lumen_serves(server, simulator)
        assert await server.stop() == 0


# ---------------------------------------------------------------- keys


async def test_keys_are_made_and_ended_while_it_runs(spawn: Spawn) -> None:
    """A new key is good at once, sees only its own videos, ends when it is revoked, and is shown nowhere again."""
    server = spawn(DEMO)
    await server.start()
    key = (await reelgate(server, "keys", "create", "phone")).strip()
    assert re.fullmatch(r"[\w.-]{32,}", key)
    assert (await call(server, "GET", "/v1/videos", key)).status == 200
    _, video, _ = await call(server, "POST", "/v1/videos", json={"prompt": "x", "size": "128x72", "seconds": 1})
    assert (await call(server, "GET", f"/v1/videos/{video['id']}", key)).status == 404
    await reelgate(server, "keys", "revoke", "phone")
    async with asyncio.timeout(10):
        while (said := await call(server, "GET", "/v1/videos", key)).status == 200:
            await asyncio.sleep(0.01)
    assert (said.status, said.body["error"]["code"]) == (401, "invalid_api_key")
    assert "phone" in (listed := await reelgate(server, "keys", "list"))
    await reelgate(server, "keys", "revoke", "nobody", code=1)
    assert await server.stop() == 0
    assert key not in "\n".join([listed, *server.log, *server.output])


@pytest.mark.parametrize("cause", ["a type that no plugin has", "a port that is taken"])
async def test_a_failed_first_start_keeps_the_key_for_the_operator(spawn: Spawn, tmp_path: Path, cause: str) -> None:
    """Key and password of the first start are shown once also where that start fails for another reason."""
    busy, server = spawn(DEMO), spawn(DEMO, environ={})
    server.folder = tmp_path / "other"
    server.folder.mkdir()
    server.config = server.folder / "channels.yaml"
    if cause == "a port that is taken":
        await busy.start()
        server.port = busy.port
    else:
        server.text = "channels: [{name: demo, type: demoo}]"
    with pytest.raises(RuntimeError, match=r"(?s)demoo|cannot listen on 127.0.0.1:\d+ \(Address already in use\)"):
        await server.start()
    assert await server.ended() == 1
    assert not any("Traceback" in line for line in server.log)
    server.port, server.text = 0, DEMO
    await server.start()
    while not any("client.videos.create_and_poll" in line for line in server.output):
        await asyncio.sleep(0.01)
    (key,) = set(re.findall(r"rg_[\w-]+", "\n".join(server.output)))
    assert (await call(server, "GET", "/v1/videos", key)).status == 200
    (password,) = set(re.findall(r"\(shown once\): (\w{20})$", "\n".join(server.output), re.MULTILINE))
    assert await is_password(server, password)


async def test_the_line_that_says_how_to_make_a_key_does(spawn: Spawn) -> None:
    """What a later start prints, run as it is in a shell that knows no `reelgate`, makes a key of this server."""
    server = spawn(DEMO, environ={"PATH": "/usr/bin:/bin"})
    await server.start()
    assert await server.stop() == 0
    server.output.clear()
    await server.start()
    while not (told := [line for line in server.output if "make a key:" in line]):
        await asyncio.sleep(0.01)
    key = await shell(server, *shlex.split(told[0].partition("make a key:")[2]))
    assert (await call(server, "GET", "/v1/videos", key.strip())).status == 200


async def is_password(server: ServerProcess, password: str) -> bool:
    """Whether the user `admin` has this password now."""
    store = await Store.open(server.folder / "data" / "reelgate.db", create=False)
    try:
        users = Users(store)
        return await users.verify(await users.find("admin"), password)
    finally:
        await store.close()


async def test_the_password_of_admin(spawn: Spawn) -> None:
    """`REELGATE_ADMIN_PASSWORD` is it from the start and again after each start; what the output says to do without
    it gives another, also while the server runs. None is in the output, and a short one is warned of."""
    server = spawn(DEMO, environ={"REELGATE_ADMIN_KEY": KEY, "REELGATE_ADMIN_PASSWORD": "hunter2"})
    await server.start()
    assert await is_password(server, "hunter2")
    assert await server.stop() == 0
    assert any("REELGATE_ADMIN_PASSWORD is short" in line for line in server.log)
    assert any("the one in REELGATE_ADMIN_PASSWORD" in line for line in server.output)
    server.environ = {"REELGATE_ADMIN_KEY": KEY}
    await server.start()
    while not (told := [line for line in server.output if "make a new password:" in line]):
        await asyncio.sleep(0.01)
    password = (await shell(server, *shlex.split(told[0].partition("password:")[2]))).strip()
    assert await is_password(server, password)
    assert await server.stop() == 0
    server.environ = {"REELGATE_ADMIN_KEY": KEY, "REELGATE_ADMIN_PASSWORD": "hunter2"}
    await server.start()
    assert await is_password(server, "hunter2")
    assert await server.stop() == 0
    assert not any(word in line for word in ("hunter2", password) for line in [*server.log, *server.output])


# ---------------------------------------------------------------- variables and the log


async def test_variables_and_the_json_log(spawn: Spawn, tmp_path: Path) -> None:
    """`REELGATE_PUBLIC_URL` wins over the file in `video_url`, `REELGATE_SECRET` signs it; each line of a JSON log is
    one object, and none has a key, a secret or a signature."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(LUMEN, tmp_path / "plugins")
    secret = "a-secret-that-signs-links-0123456789"
    environ = {
        "REELGATE_ADMIN_KEY": KEY,
        "REELGATE_SECRET": secret,
        "REELGATE_PUBLIC_URL": "https://film.example.com/gate",
    }
    async with SimulatorServer(LumenSimulator(keys={UPSTREAM_KEY})) as simulator:
        text = lumen(simulator) + "\nserver: {log: json, public_url: 'https://other.example.com'}"
        server = spawn(text, environ=environ)
        await server.start()
        video = await film(server)
        assert video["video_url"].startswith("https://film.example.com/gate/v1/videos/")
        link = video["video_url"].removeprefix("https://film.example.com/gate")
        assert (await call(server, "GET", link, None)).body == simulator.video_bytes
        assert not (tmp_path / "data" / "secret").exists()
        simulator.then(status=401, json={"error": {"message": f"bad credential {UPSTREAM_KEY}"}}, on="create")
        refused = await call(server, "POST", "/v1/videos", json={"prompt": "x", "model": "lumen-1"})
        assert (refused.status, refused.body["error"]["code"]) == (502, "upstream_error")
        # The link is good after a restart too: the secret is the same.
        assert await server.stop() == 0
        await server.start()
        assert (await call(server, "GET", link, None)).status == 200
        assert (await call(server, "GET", link + "0", None)).status == 401
        assert await server.stop() == 0
    lines = [json.loads(line) for line in server.log]
    assert {"reelgate", "reelgate.access", "reelgate.upstream"} <= {line["logger"] for line in lines}
    assert all(len(str(line.get("milliseconds", ""))) < 8 for line in lines)
    text = "\n".join(server.log) + json.dumps(refused.body)
    signature = link.rpartition("sig=")[2]
    assert [word for word in (KEY, UPSTREAM_KEY, secret, signature, simulator.base_url) if word in text] == []


# ---------------------------------------------------------------- routes that are not there


async def test_addresses_that_are_not_there(spawn: Spawn) -> None:
    """Unknown routes and unknown methods answer in the envelope, the same to everybody; the bare origin leads on."""
    server = spawn(DEMO)
    await server.start()
    assert (await call(server, "GET", "/", None, allow_redirects=False)).headers["Location"] == "/dashboard"
    for path in ("/v1", "/v1/", "/nope", "/v1/videos/x/nope", "/favicon.ico"):
        for method in ("GET", "POST", "DELETE", "PATCH"):
            for key in (KEY, None, "wrong"):
                status, body, headers = await call(server, method, path, key)
                assert (status, body["error"]["code"]) == (404, "not_found"), (method, path, key, body)
                assert f"{method} {path}" in body["error"]["message"]
                assert headers["x-request-id"].startswith("req_")
    status, body, headers = await call(server, "PUT", "/v1/videos")
    assert (status, body["error"]["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(headers["Allow"].split(", "))
    assert [(await call(server, "GET", path, None)).status for path in ("/healthz", "/readyz")] == [200, 200]
