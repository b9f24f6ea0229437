"""The single binary from outside: the main job, drop-in plugins, every command, and what a run leaves behind."""

import errno
import importlib.metadata
import io
import os
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import av
import click
import pytest
from openai import OpenAI
from PIL import Image

from proxy.cli import main
from tests.binary.conftest import ROOT, Box, Server

# Nothing of the product imports these, and each is of another kind: plain, in packages, with libraries of their own.
UNUSED = (
    "wave, xml.etree.ElementTree, xmlrpc.client, sqlite3.dump, ctypes.util, curses, readline, bz2, lzma, ftplib, "
    "mailbox, concurrent.futures.process, encodings.koi8_r, importlib.resources.readers, multiprocessing.shared_memory"
)
BROUGHT = "aiohttp.web, msgspec.toml, PIL.GifImagePlugin, av.filter, yaml, cryptography.x509, jinja2, obstore"
PLUGIN = """
import io
import av
import {modules}
from proxy import Channel, Model, Source, UpstreamJob, hookimpl

def film():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(24):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    return file.getvalue()

class Light(Channel):
    type = "{kind}"
    models = {{"l-1": Model()}}
    base_url = "http://127.0.0.1:9"
    async def create(self, request):
        return UpstreamJob(id=request.attempt_id, status="completed")
    async def fetch(self, job):
        return UpstreamJob(id=job.id, status="completed")
    async def content(self, job, variant):
        return Source(data=film())

@hookimpl
def register_channel():
    return Light
"""


def test_the_main_job(box: Box) -> None:
    """In an empty folder: create, poll, play, thumbnail, remix; and after the stop there is the data folder only."""
    server = box.serve()
    with OpenAI(base_url=server.url, api_key=server.key) as client:
        video = client.videos.create_and_poll(model="sora-2", prompt="a paper plane", seconds="4", size="720x1280")
        assert video.status == "completed"
        with av.open(io.BytesIO(client.videos.download_content(video.id).read())) as film:
            frames = [(frame.width, frame.height) for frame in film.decode(video=0)]
        assert frames == [(720, 1280)] * 96
        with Image.open(io.BytesIO(client.videos.download_content(video.id, variant="thumbnail").read())) as picture:
            assert (picture.format, picture.size) == ("WEBP", (360, 640))
        remix = client.videos.remix(video.id, prompt="the same at night")
        while remix.status not in ("completed", "failed"):
            time.sleep(0.2)
            remix = client.videos.retrieve(remix.id)
        assert (remix.status, remix.remixed_from_video_id) == ("completed", video.id)
    with urllib.request.urlopen(server.url.removesuffix("/v1") + "/login") as page:
        assert b"<form" in page.read()
    facts = [path for path in (box.tmp / server.folder).glob("*.dist-info/*") if path.is_file()]
    assert "reelgate" in {path.parent.name.partition("-")[0] for path in facts}
    assert [path for path in facts if str(ROOT).encode() in path.read_bytes()] == []
    assert server.stop() == 0
    assert "ERROR" not in server.log.read_text()
    assert [path.name for path in box.work.iterdir()] == ["data"]
    assert [*box.home.iterdir(), *box.tmp.iterdir()] == []


def test_plugins_are_dropped_in(box: Box, tmp_path: Path) -> None:
    """Beside the binary and beside channels.yaml, each with modules that the product itself does not use; the commands
    that it prints name the binary; SIGHUP takes the file again."""
    (tmp_path / "bin" / "plugins").mkdir(parents=True)
    box.program = shutil.copy2(box.program, tmp_path / "bin" / "reelgate-7")
    (tmp_path / "bin" / "plugins" / "lumen.py").write_text(PLUGIN.format(kind="lumen", modules=UNUSED))
    (box.work / "plugins").mkdir()
    (box.work / "plugins" / "vela.py").write_text(PLUGIN.format(kind="vela", modules=BROUGHT))
    file = box.work / "channels.yaml"
    file.write_text("channels:\n- {name: a, type: lumen}\n- {name: b, type: vela}\n- {name: c, type: demo}\n")
    assert "3 channels" in box.run("check")
    assert "broken" not in box.run("plugins", "list")
    assert box.run("plugins", "show", "lumen").startswith(f"lumen  ({tmp_path}/bin/plugins/lumen.py)")
    assert "Films that are rendered at once" in box.run("plugins", "show", "demo")
    box.run("users", "create", "ann", "--password", "correct horse battery")
    assert "ann" in box.run("users", "list")
    server = box.serve()
    key = box.run("keys", "create", "tool", "--user", "ann").split()[0]
    assert _thumbnail(server, key) == ("WEBP", (64, 48))
    assert "tool" in box.run("keys", "list")
    server.process.send_signal(signal.SIGHUP)
    while "reloaded" not in server.log.read_text():
        time.sleep(0.1)
    # An upgrade does not wait for the server, which goes on with what it is; what it starts is the newer one, unpacked.
    kept = box.program.rename(tmp_path / "kept")
    box.program.write_text(f'#!/bin/sh\n[ "$PYINSTALLER_RESET_ENVIRONMENT" = 1 ] && exec "{kept}" "$@"\n')
    box.program.chmod(0o755)
    assert _thumbnail(server, key) == ("WEBP", (64, 48))
    assert server.stop() == 0
    kept.replace(box.program)
    again = box.serve()
    assert f"{box.program} users passwd admin" in again.said


def _thumbnail(server: Server, key: str) -> tuple[str | None, tuple[int, int]]:
    """Of a film of the plugin, which makes no pictures: a process of its own takes it out of the film."""
    with OpenAI(base_url=server.url, api_key=key) as client:
        video = client.videos.create_and_poll(model="l-1", prompt="a light")
        picture = Image.open(io.BytesIO(client.videos.download_content(video.id, variant="thumbnail").read()))
    return picture.format, picture.size


HELPS = """
import click
from proxy.cli import main

def tell(command, above):
    with click.Context(command, info_name=command.name, parent=above) as context:
        print(command.get_help(context))
        for one in getattr(command, "commands", {}).values():
            tell(one, context)

tell(main, None)
"""


def _count(command: click.Command) -> int:
    return 1 + sum(map(_count, getattr(command, "commands", {}).values()))


def test_every_command_works(box: Box) -> None:
    """Each tells what it takes, and those that no other test runs do what they are for; no path that they print is gone
    when they end."""
    (box.work / "helps").mkdir()
    (box.work / "helps" / "helps.py").write_text(HELPS)
    said = box.run("plugins", "list", "--plugins", "helps")
    assert said.count("Usage: ") == _count(main)
    assert said.count(".py in the binary") > 10
    assert "_MEI" not in said
    assert box.run("plugins", "--help").startswith("Usage: reelgate plugins")
    assert box.run("--version") == f"reelgate {importlib.metadata.version('reelgate')}\n"
    assert "_reelgate" in box.run("completion", "bash")
    assert "(kling.py in the binary)" in box.run("plugins", "new", "kling", code=1)
    box.run("plugins", "new", "lumen")
    assert "FAIL" not in box.run("plugins", "test", "plugins/lumen.py")
    plugin = box.work / "plugins" / "lumen.py"
    plugin.write_text(plugin.read_text().replace('"succeeded": "completed"', '"succeeded": "in_progress"'))
    # The values that a broken law compared.
    said = box.run("plugins", "test", "plugins/lumen.py", "--law", "content_is_exact", code=1)
    assert "'in_progress' == 'completed'" in said
    server = box.serve()
    box.variables = {"REELGATE_URL": server.url, "REELGATE_API_KEY": server.key}
    box.run("videos", "create", "a kite", "-m", "demo", "-o", "kite.mp4")
    with av.open(box.work / "kite.mp4") as film:
        assert next(film.decode(video=0)).width > 0
    assert "a kite" in box.run("videos", "list")
    video_id = box.run("videos", "create", "a kite", "-m", "demo", "--no-wait").strip()
    assert "a kite" in box.run("videos", "get", video_id)
    assert box.run("videos", "download", video_id, "--wait", "-o", "again.mp4") == "again.mp4\n"
    assert "is not in doubt" in box.run("videos", "resolve", video_id, "--give-up", code=1)
    assert box.run("videos", "unknown") == ""
    assert "demo" in box.run("doctor")
    box.run("backup", "kept.tar")
    assert (box.work / "kept.tar").exists()
    box.run("users", "passwd", "admin", "--password", "correct horse battery")
    box.run("users", "create", "ben", "--password", "correct horse battery")
    box.run("users", "disable", "ben")
    told = box.run("users", "list")
    box.run("users", "enable", "ben")
    assert told != box.run("users", "list")
    assert "_reelgate" in box.run("completion", "zsh") + box.run("completion", "fish")
    box.run("keys", "revoke", "admin")
    assert server.stop() == 0
    assert box.unpacked() == set()


def test_the_first_answer_comes_within_six_seconds(box: Box) -> None:
    """Although it unpacks itself at every start: by the quicker of two, for the machine may have other things to do."""
    seconds = []
    for _ in range(2):
        server = box.serve()
        seconds.append(server.answered_after)
        server.stop()
    assert min(seconds) <= 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_counts_once(box: Box, number: signal.Signals) -> None:
    """A Ctrl-C, and what systemd sends, reaches both processes, and one passes it on to the other: still the stop is a
    graceful one."""
    server = box.serve()
    os.killpg(server.process.pid, number)
    assert server.process.wait(100) == 0
    assert "stopped" in server.log.read_text().splitlines()[-1]
    assert box.unpacked() == set()


def _is_open(server: Server) -> bool:
    place = urlsplit(server.url)
    with socket.socket() as door:
        return door.connect_ex((place.hostname, place.port)) != errno.ECONNREFUSED


def test_killed_runs_are_cleaned_up(box: Box) -> None:
    """A kill -9 ends the whole server; the next start removes what it left, and nothing of anybody else."""
    killed = box.serve()
    child = killed.child()
    killed.process.kill()
    killed.process.wait(100)
    while Path(f"/proc/{child}").exists() and _is_open(killed):
        time.sleep(0.05)
    living = box.serve()
    assert killed.folder not in box.unpacked()

    def make(name: str, *, mark: str | None, age: float = 0) -> str:
        folder = box.tmp / name
        folder.mkdir(0o700)
        if mark is not None:
            (folder / ".reelgate").write_text(mark)
        os.utime(folder, (time.time() - age,) * 2)
        return name

    dead = 2**22 + 1  # above every process id
    foreign = make(f"_MEI{dead:08x}aaaaaa", mark=None, age=9999)
    unpacking = make(f"_MEI{dead:08x}bbbbbb", mark="")
    make(f"_MEI{dead:08x}cccccc", mark="", age=9999)
    waited_for = make(f"_MEI{os.getpid():08x}dddddd", mark="", age=9999)
    named_otherwise = make("_MEIx", mark="running\n", age=9999)
    (box.tmp / f"_MEI{dead:08x}eeeeee").symlink_to(box.home)
    open_to_all = make(f"_MEI{dead:08x}ffffff", mark="running\n")
    (box.tmp / open_to_all).chmod(0o755)
    box.run("--version")
    spared = {living.folder, foreign, unpacking, waited_for, named_otherwise, f"_MEI{dead:08x}eeeeee", open_to_all}
    assert box.unpacked() == spared
    assert living.stop() == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(living.url)
