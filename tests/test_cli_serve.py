"""How a server starts, and does not: without a file, with trouble in its way, and what it prints."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from msgspec.structs import replace

from proxy import config, plans
from proxy.engine import Engine
from tests.test_cli import CHANNELS, Shell, environment, fill
from tests.test_cli import shell as shell

# ---------------------------------------------------------------- without a file


def test_the_demo_is_what_the_repositorys_file_says(tmp_path: Path) -> None:
    """Who begins without a file and who begins with the repository's have the same channels and the same server."""
    own = config.load(Path(__file__).parents[1] / "channels.yaml", {})
    demo = config.load(tmp_path / "channels.yaml", {}, demo=True)
    assert demo.demo
    assert not own.demo
    assert [(channel.name, channel.type, channel.options) for channel in demo.channels] == [("demo", "demo", {})]
    assert all(one.same(other) for one, other in zip(demo.channels, own.channels, strict=True))
    assert replace(demo.server, plugins=()) == replace(own.server, plugins=())


def test_check_without_a_file_looks_at_the_demo(shell: Shell) -> None:
    """It says that serve would use it; plugins beside count; a file that was named and is not there is a mistake, and
    so is a link that leads nowhere."""
    shell.file.unlink()
    first, last = shell("check").stdout.splitlines()
    assert (
        first
        == "warning: there is no channels.yaml here: serve would use the built-in demo channel until one is written"
    )
    assert last == "channels.yaml: all is well, 1 channel, 3 models"
    assert not (shell.folder / "data").exists()
    assert any(row.startswith("lumen ") for row in shell("plugins", "list").stdout.splitlines())
    for words, environ in ((("--config", "channels.yaml"), {}), ((), {"REELGATE_CONFIG": "channels.yaml"})):
        assert "there is no such file" in shell("check", *words, code=1, **environ).stdout
    shell.file.symlink_to("nowhere")
    assert "there is no such file" in shell("check", code=1).stdout


def test_the_demo_without_pyav_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, that names neither a line nor a key of a file that is not there."""
    shell.file.unlink()
    monkeypatch.setattr(plans, "_is_installed", lambda module: False)
    told = (
        "channels.yaml: there is no such file, and the demo channel cannot stand in: the plugin demo needs the module "
        "av, which is not installed: run pip install 'reelgate[media]'\n"
    )
    assert shell("check", code=1).stdout == told
    assert shell("serve", "--port", "0", code=1).stderr == told


def test_the_demo_does_not_stand_in_for_a_lost_file(shell: Shell) -> None:
    """Where the store has videos of other channels, a start without the file would answer their clients with films of
    the demo: it is refused, by check too."""
    fill(shell, "demo", "veo")
    shell.file.unlink()
    told = "the demo does not stand in, for the store has videos of the channel veo: put the file back"
    assert told in shell("check", code=1).stdout
    assert told in shell("serve", "--port", "0", code=1).stderr
    shell("check", "--data", "other")


# ---------------------------------------------------------------- serve


@pytest.mark.parametrize(
    ("words", "environ", "sentence"),
    [
        (("--workers", "2"), {}, "--workers above 1 is not available yet"),
        (("--config", "none.yaml"), {}, "none.yaml: there is no such file; name your channels.yaml with --config FILE"),
        ((), {"REELGATE_DATABASE_URL": "postgresql://h/d"}, "PostgreSQL is not available yet"),
        (("--config", "plugins"), {}, "plugins: is a folder; name the file in it with --config FILE"),
        ((), {"REELGATE_DATA": "channels.yaml"}, "channels.yaml: the data folder must be a folder, and something else"),
        ((), {"REELGATE_ADMIN_KEY": "rg_key\r"}, "REELGATE_ADMIN_KEY has a space, a line break or a character"),
        ((), {"REELGATE_ADMIN_PASSWORD": "a\udcff"}, "REELGATE_ADMIN_PASSWORD has a character that nobody can type"),
    ],
)
def test_serve_refuses_in_one_sentence(
    shell: Shell, words: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    """What is not there yet and a missing file end the start with one line on stderr and exit 1."""
    result = shell("serve", *words, code=1, **environ)
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not (shell.folder / "data").exists()


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("127.0.0.1", "(Address already in use): another program has that port, perhaps another Reelgate; stop it, or"),
        ("192.0.2.1", "(Cannot assign requested address): this machine has no such address; --host 127.0.0.1 is for"),
        ("a..b", "(not a name): --host must be an address of this machine, or a name that leads to one"),
    ],
)
def test_serve_says_why_it_cannot_listen(shell: Shell, host: str, sentence: str) -> None:
    """One sentence with the cure for a port that is taken, an address of another machine and a host that is none; what
    the first start made is shown before it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = shell("serve", "--host", host, "--port", str(port), code=1)
    assert result.stderr.startswith(f"cannot listen on {host}:{port} {sentence}")
    assert result.stderr.count("\n") == 1
    assert re.fullmatch(r"admin key \(shown once\): rg_\S+\npassword of admin \(shown once\): \w+\n", result.stdout)


def test_a_port_for_root_alone_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is no riddle: which ports need what, and which do not."""

    async def refused(self: web.TCPSite) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(web.TCPSite, "start", refused)
    assert shell("serve", "--port", "80", code=1).stderr == (
        "cannot listen on 127.0.0.1:80 (Permission denied): ports under 1024 need CAP_NET_BIND_SERVICE; take a "
        "higher one with --port, such as --port 8080\n"
    )


def test_a_start_that_fails_late_still_shows_what_it_made(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fills up behind the first key and password, both are shown, and the trouble is one sentence."""

    async def full(self: Engine) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "data/work")

    monkeypatch.setattr(Engine, "start", full)
    result = shell("serve", "--port", "0", code=1)
    assert result.stderr.startswith("data/work: cannot start (No space left on device): ")
    assert result.stdout.count("(shown once): ") == 2


@pytest.mark.parametrize("word", ["serve", "check"])
def test_a_data_folder_that_cannot_be_written(shell: Shell, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """It is said before anything is made, with whose it is or that its disk is read-only, and what to do."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path("data") or mode == os.F_OK)
    (shell.folder / "data").mkdir(mode=0o750)
    words = ("serve", "--port", "0") if word == "serve" else ("check",)
    result = shell(*words, code=1)
    said = (result.stderr if word == "serve" else result.stdout).splitlines()[0]
    assert said.startswith(f"data: the data folder cannot be written: it belongs to user {os.geteuid()} (mode 750)")
    assert said.endswith("change its owner or its permissions, or name another one with --data DIR")
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert "is on a disk that is mounted read-only" in shell(*words, code=1).output
    assert list((shell.folder / "data").iterdir()) == []


def test_serve_makes_the_data_folder_also_beside_a_store_elsewhere(shell: Shell) -> None:
    """The secret lies in the data folder, which nobody has made where the file names another place for the store."""
    shell.file.write_text("server: {database: 'sqlite:///elsewhere/x.db'}\n" + CHANNELS)
    shell("serve", "--host", "a..b", code=1)
    assert {"elsewhere/x.db", "data/secret"} <= shell.files()


def test_serve_without_a_file_serves_the_demo_until_one_is_written(shell: Shell) -> None:
    """A start with nothing set says in one line that the demo serves and what to do; the file is picked up when it is
    written, and the demo does not come back when it goes; nothing is written but the data folder."""
    shell.file.unlink()
    before = shell.files()
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", "serve", "--port", "0"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            base = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+/v1", line)))
            key = next(found[0] for line in process.stdout if (found := re.search(r"rg_[\w-]+", line)))

            def models() -> set[str]:
                request = urllib.request.Request(f"{base}/models", headers={"Authorization": f"Bearer {key}"})
                with urllib.request.urlopen(request, timeout=30) as response:
                    return {model["id"] for model in json.load(response)["data"]}

            def said(words: str) -> str:
                return next(line for line in process.stderr or () if words in line)

            line = said("channels.yaml")
            assert f"there is no {shell.file}: the built-in demo channel serves instead; write one" in line
            assert models() == {"sora-2", "sora-2-pro", "demo"}
            assert {path.split("/")[0] for path in shell.files() - before} == {"data"}
            shell.file.write_text(CHANNELS)
            said("reloaded channels.yaml")
            assert models() == {"l-1", "l-2", "l-3", "l-4"}
            shell.file.unlink()
            process.send_signal(signal.SIGHUP)
            assert "there is no such file" in said("not reloaded, nothing has changed")
            assert models() == {"l-1", "l-2", "l-3", "l-4"}
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0


def test_another_package_called_proxy_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that installs files into a package `proxy` is a warning of check and of a start; one that has
    written over ours is a mistake, and ends the start."""
    folder = shell.folder / "site"
    ours, theirs = folder / "reelgate-0.1.0.dist-info", folder / "proxy_py-2.0.dist-info"
    for notes in (ours, theirs):
        notes.mkdir(parents=True)
        (notes / "METADATA").write_text(f"Name: {'reelgate' if notes == ours else 'proxy.py'}\n")
        (notes / "RECORD").write_text("proxy/cli.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n")
    (folder / "proxy").mkdir()
    (folder / "proxy" / "cli.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    told = "the distribution proxy.py brings an import package `proxy` too"
    assert shell("check").stdout.startswith(f"warning: {told}")
    assert shell("serve", "--host", "a..b", code=1).stderr.startswith(f"warning: {told}")
    (folder / "proxy" / "cli.py").write_text("print()")
    told = "the distribution proxy.py has written its package `proxy` over Reelgate's (proxy/cli.py): give reelgate a"
    assert shell("check", code=1).stdout.startswith(told)
    assert shell("serve", "--port", "0", code=1).stderr.startswith(told)
    (theirs / "RECORD").unlink()
    assert "warning" not in shell("check").stdout


def test_serve_tells_a_broken_plugin_in_use(shell: Shell) -> None:
    """The start stops with file and cause, without a traceback."""
    (shell.folder / "plugins" / "lumen.py").write_text("\n1/0\n")
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--port", "0"], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "plugins/lumen.py: line 2: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_serves_and_stops(shell: Shell) -> None:
    """A real process on a free port serves with a key made beside it, in the data folder of the flag, and exits 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", "--data", "d", "serve", "--port", "0"],
        env=environment() | {"REELGATE_DATA": "not-here"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            base = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+/v1", line)))
            key = shell("keys", "create", "x", "--data", "d").stdout.strip()
            request = urllib.request.Request(f"{base}/models", headers={"Authorization": f"Bearer {key}"})
            with urllib.request.urlopen(request, timeout=30) as response:
                models = [model["id"] for model in json.load(response)["data"]]
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert set(models) == {"l-1", "l-2", "l-3", "l-4"}
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert (shell.folder / "d" / "reelgate.db").is_file()
    assert not (shell.folder / "not-here").exists()
