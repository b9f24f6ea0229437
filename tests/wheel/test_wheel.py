"""The wheel in a clean environment, from another folder, with nothing set: what is in it, and what it does."""

from __future__ import annotations

import asyncio
import email
import hashlib
import json
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import av
from openai import OpenAI
from PIL import Image

from proxy.testing import SimulatorServer
from tests.simulators.lumen import LumenSimulator
from tests.wheel.conftest import ROOT, Environment, Layer, Server, Start, build, done

LUMEN = ROOT / "docs" / "examples" / "lumen.py"
LIFE = ROOT / "tests" / "sdk" / "life.py"
SMALL: Any = {"size": "128x72", "seconds": "1"}


def contents(wheel: Path) -> dict[str, int]:
    """The names of the files in it, with the checksum of each."""
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename: file.CRC for file in archive.infolist()}


def fetched(server: Server, path: str, **headers: str) -> tuple[str, bytes]:
    """The type and the bytes of an address that answers 200."""
    with urllib.request.urlopen(urllib.request.Request(server.origin + path, headers=headers), timeout=60) as response:
        return response.headers.get_content_type(), response.read()


def test_the_wheel_has_the_product_and_nothing_else(wheel: Path) -> None:
    """Every file of proxy/ and plugins/ that is no cache, the launcher, and what says what it is."""
    inside = contents(wheel)
    own = {path for path in ROOT.joinpath("proxy").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    bundled = set(ROOT.joinpath("plugins").glob("*.py"))
    wanted = {str(path.relative_to(ROOT)) for path in own} | {f"proxy/_plugins/{path.name}" for path in bundled}
    assert {name for name in inside if ".dist-info/" not in name} == {*wanted, "reelgate.py"}
    for name in ("_plugins/demo.py", "dashboard/templates/login.html", "dashboard/words/zh", "py.typed"):
        assert any(one.startswith(f"proxy/{name}") for one in inside), name


def test_the_sdist_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    """To the byte the one that is built from the tree; the sdist has the tests and no cache."""
    build(ROOT, tmp_path, "--wheel")
    assert contents(tmp_path / wheel.name) == contents(wheel)
    # Not the bytes themselves, whose difference pytest would look for all day.
    assert hashlib.sha256((tmp_path / wheel.name).read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "tests/test_cli.py", "channels.yaml"} <= inside
    caches = re.compile(r"__pycache__|node_modules|_cache/|\.hypothesis|\.venv|^data/|^dist/|\.whl$")
    assert [name for name in inside if caches.search(name)] == []


def test_the_metadata_is_right(wheel: Path, installed: Environment, tmp_path: Path) -> None:
    """Name, summary, the README, the Python that it needs, extras and the command; `pip check` has nothing to say."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(path))
        entry_points = archive.read(path.replace("METADATA", "entry_points.txt")).decode()
    assert (said["Name"], said["Requires-Python"]) == ("reelgate", ">=3.11")
    assert said["Summary"] == "One OpenAI Videos API in front of every video model"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload(decode=True).decode().strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert {"media", "s3", "vertex", "all", "test"} <= set(said.get_all("Provides-Extra", []))
    # There is no public address of the project to name.
    assert said.get_all("Project-URL", []) == []
    assert entry_points == "[console_scripts]\nreelgate = reelgate:main\n"
    done(sys.executable, "-m", "pip", "--python", installed.python, "check", cwd=tmp_path)
    version = f"reelgate {said['Version']}\n"
    for words in ([installed.command], [installed.python, "-m", "proxy"], [installed.python, "-m", "reelgate"]):
        assert done(*words, "--version", cwd=tmp_path).stdout == version


def test_reelgate_serves_in_an_empty_folder(installed: Environment, start: Start, tmp_path: Path) -> None:
    """The official SDK does the whole main job on the built-in demo, the film can be decoded, the dashboard's login has
    all its parts in both languages, and nothing is written but the data folder."""
    server = start(installed.command)
    assert "channels.yaml: the built-in demo channel serves instead; write one" in server.log
    Image.radial_gradient("L").convert("RGB").resize((128, 72)).save(tmp_path / "picture.png")
    done(sys.executable, LIFE, f"{server.origin}/v1", server.shown("admin key"), tmp_path, cwd=tmp_path)
    with av.open(tmp_path / "plane.mp4") as film:
        frames = [frame.to_image().size for frame in film.decode(video=0)]
    assert set(frames) == {(128, 72)}
    assert len(frames) == 24
    page = fetched(server, "/login")[1].decode()
    parts = {path for path in re.findall(r'(?:href|src)="(/[^"#]+)"', page) if "static" in path}
    assert {Path(path.partition("?")[0]).suffix for path in parts} >= {".css", ".js"}
    for part in parts:
        kind, body = fetched(server, part.replace("&amp;", "&"))
        assert body, part
        assert kind != "text/html", part
    assert re.search("[\u4e00-\u9fff]{2}", fetched(server, "/login", **{"Accept-Language": "zh-CN"})[1].decode())
    assert "password" in page
    assert len(server.shown("password")) == 20
    server.stop()
    assert {path.name for path in server.folder.iterdir()} == {"data"}


async def test_python_m_proxy_serves_a_file_and_a_plugin_that_are_dropped_in(
    installed: Environment, start: Start
) -> None:
    """The demo, until a plugin and a channels.yaml come to lie beside it; the plugin's upstream gets the order, and the
    bytes are its own; a remix stays on its channel."""
    server = await asyncio.to_thread(start, installed.python, "-m", "proxy")
    client = OpenAI(base_url=f"{server.origin}/v1", api_key=server.shown("admin key"))
    here = server.folder
    async with SimulatorServer(LumenSimulator(keys={"lumen-key"})) as upstream:

        def drive() -> bytes:
            assert "lumen-1" not in {model.id for model in client.models.list()}
            (here / "plugins").mkdir()
            shutil.copy(LUMEN, here / "plugins")
            (here / "channels.yaml").write_text(
                "channels:\n- {name: demo, type: demo}\n"
                f"- {{name: lumen, type: lumen, base_url: '{upstream.base_url}', api_key: lumen-key, "
                "models: [lumen-1], poll_every: 0.02, allow_hosts: [127.0.0.1]}\n"
            )
            # The folder of plugins was not there at the start.
            while "reloaded channels.yaml: 2 channels" not in server.log:
                assert "not reloaded" not in server.log, server.log
                time.sleep(0.05)
            video = client.videos.create_and_poll(model="lumen-1", prompt="a lamp", poll_interval_ms=50)
            assert video.status == "completed", video
            film = client.videos.create_and_poll(model="sora-2", prompt="a plane", poll_interval_ms=50, **SMALL)
            remix = client.videos.poll(client.videos.remix(film.id, prompt="at night").id, poll_interval_ms=50)
            assert (remix.status, remix.remixed_from_video_id) == ("completed", film.id)
            return client.videos.download_content(video.id).read()

        assert await asyncio.to_thread(drive) == upstream.video_bytes
        client.close()
        await asyncio.to_thread(server.stop)
    assert (here / "plugins" / "lumen.py").read_bytes() == LUMEN.read_bytes()
    assert {path.name for path in here.iterdir()} == {"data", "plugins", "channels.yaml"}


def test_every_command_works(installed: Environment, start: Start, tmp_path: Path) -> None:
    """Each command of the installed one says its help; what they do beside a server that runs is done."""
    walk = (
        "import click, proxy.cli as c\n"
        "def walk(command, *path):\n"
        "    print(*path)\n"
        "    for name, sub in getattr(command, 'commands', {}).items():\n"
        "        if not sub.hidden: walk(sub, *path, name)\n"
        "walk(c.main)\n"
    )
    tree = done(installed.python, "-c", walk, cwd=tmp_path).stdout.splitlines()
    assert {"serve", "check", "doctor", "backup", "completion", "keys create", "users list", "plugins new"} <= set(tree)
    for path in tree:
        assert "Usage: reelgate" in done(installed.command, *path.split(), "--help", cwd=tmp_path).stdout
    server = start(installed.command)
    here = server.folder

    def reelgate(*words: str, code: int = 0, **environ: str) -> str:
        return done(installed.command, *words, cwd=here, code=code, **environ).stdout

    assert reelgate("check").splitlines()[-1] == "channels.yaml: all is well, 1 channel, 3 models"
    assert {"demo", "openai", "vertex"} <= {row.split()[0] for row in reelgate("plugins", "list").splitlines()}
    assert "rendering" in reelgate("plugins", "show", "demo")
    key = reelgate("keys", "create", "phone").strip()
    assert "phone" in reelgate("keys", "list")
    assert json.loads(fetched(server, "/v1/models", Authorization=f"Bearer {key}")[1])["data"]
    remote = {"REELGATE_URL": server.origin, "REELGATE_API_KEY": key}
    order = ("-m", "sora-2", "--size", "128x72", "--seconds", "1", "-o", "plane.mp4")
    reelgate("videos", "create", "a paper plane", *order, **remote)
    with av.open(here / "plane.mp4") as film:
        assert next(film.decode(video=0)).to_image().size == (128, 72)
    assert "completed" in reelgate("videos", "list", **remote)
    reelgate("keys", "revoke", "phone")
    assert "admin" in reelgate("users", "list")
    assert reelgate("users", "create", "ada")
    reelgate("backup", "store.tar")
    assert tarfile.is_tarfile(here / "store.tar")
    assert "_reelgate" in reelgate("completion", "bash")
    reelgate("doctor", "--port", server.origin.rpartition(":")[2], code=0)
    server.stop()


def test_without_pyav_the_start_says_what_to_install(wheel: Path, layer: Layer, tmp_path: Path) -> None:
    """Nothing but the extra is missing: the demo needs it, and a file of other channels does not."""
    bare = layer(wheel, without=("av", "av.libs"))
    folder = tmp_path / "bare"
    folder.mkdir()
    for words in (("check",), ("serve", "--port", "0")):
        result = done(bare.command, *words, cwd=folder, code=1)
        (line,) = (result.stdout + result.stderr).splitlines()
        assert line.startswith("channels.yaml: there is no such file, and the demo channel cannot stand in: ")
        assert line.endswith("run pip install 'reelgate[media]'")
    (folder / "channels.yaml").write_text(
        "channels: [{name: a, type: openai, base_url: 'http://127.0.0.1:9', api_key: k, models: [m]}]"
    )
    server = Server(folder, bare.command)
    assert fetched(server, "/readyz")[0] == "application/json"
    server.stop()
