"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.records import Video
from proxy.store import Store

PLUGIN = """
from proxy import Channel, Model, hookimpl

class Lumen(Channel):
    type = "lumen"
    models = {"l-1": Model(), "l-2": Model(), "l-3": Model(), "l-4": Model()}
    base_url = "http://127.0.0.1:9"
    async def create(self, request): ...
    async def fetch(self, job): ...
    async def delete(self, job): ...

@hookimpl
def register_channel():
    return Lumen
"""
CHANNELS = "channels:\n- name: a\n  type: lumen\n"
KEY = re.compile(r"[A-Za-z0-9_.-]{32,}")


class Shell:
    """A folder with a channels.yaml and a plugin, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "channels.yaml"
        self.file.write_text(CHANNELS)
        (folder / "plugins").mkdir()
        (folder / "plugins" / "lumen.py").write_text(PLUGIN)

    def __call__(self, *words: str, code: int = 0, **environ: str) -> Result:
        result = CliRunner().invoke(main, words, env=environ, prog_name="reelgate")
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started_log: None) -> Shell:
    for name in [name for name in os.environ if name.startswith("REELGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def fill(shell: Shell, *channels: str) -> None:
    """Put a video of each channel into the store."""

    async def accept() -> None:
        store = await Store.open(shell.folder / "data" / "reelgate.db")
        for number, channel in enumerate(channels):
            await store.accept(
                Video(
                    id=f"video_{number}",
                    tenant="t",
                    key_id="k",
                    model="m",
                    upstream_model="m",
                    channel=channel,
                    prompt="p",
                    seconds=4,
                    size="1280x720",
                    created_at=1,
                )
            )
        await store.close()

    asyncio.run(accept())


def environment() -> dict[str, str]:
    """The environment of a process that finds this checkout."""
    root = str(Path(__file__).parent.parent)
    return {name: value for name, value in os.environ.items() if not name.startswith("REELGATE_")} | {
        "PYTHONPATH": root,
        "PYTHONUNBUFFERED": "1",
    }


# ---------------------------------------------------------------- the command itself


def test_the_command_line_imports_no_heavy_room() -> None:
    """Beside the package that plugin authors import, `--help` loads click and little else."""
    code = """
import sys, proxy
before = set(sys.modules)
from proxy.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert not {one.partition(".")[0] for one in loaded} & {"aiohttp", "yaml", "sqlite3", "aiosqlite", "PIL", "pluggy"}
    ours = {one for one in loaded if one.startswith("proxy.")}
    assert {one for one in ours if one != "proxy.commands" and not one.startswith("proxy.commands.")} == {"proxy.cli"}


def test_python_m_proxy_is_the_command(tmp_path: Path) -> None:
    """`python -m proxy --version` says the distribution's name and version."""
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"], env=environment(), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"reelgate {importlib.metadata.version('reelgate')}\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [(), ("serve",), ("check",), ("keys",), ("keys", "create"), ("plugins", "list")])
def test_config_and_data_are_options_of_every_command(shell: Shell, words: tuple[str, ...]) -> None:
    """`--config FILE` and `--data DIR` stand in the help of every command and group."""
    shown = shell(*words, "--help").output
    assert "--config FILE" in shown
    assert "--data DIR" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("--data", "d", "keys", "create", "x"),
        ("keys", "--data", "d", "create", "x"),
        ("keys", "create", "--data", "d", "x"),
        ("--data", "other", "keys", "create", "x", "--data", "d"),
    ],
)
def test_options_stand_before_or_after_the_command(shell: Shell, words: tuple[str, ...]) -> None:
    """The place of `--data` does not matter; the later one wins."""
    shell(*words)
    assert (shell.folder / "d" / "reelgate.db").is_file()
    assert not (shell.folder / "other").exists()


def test_the_config_is_the_flags_then_the_environments(shell: Shell) -> None:
    """--config wins over REELGATE_CONFIG, which wins over ./channels.yaml."""
    for name in ("flag", "env"):
        (shell.folder / f"{name}.yaml").write_text(f"{name}: 1\n")
    assert "flag.yaml:1: flag:" in shell("check", "--config", "flag.yaml", code=1, REELGATE_CONFIG="env.yaml").output
    assert "env.yaml:1: env:" in shell("check", code=1, REELGATE_CONFIG="env.yaml").output
    assert "all is well" in shell("check").output


# ---------------------------------------------------------------- keys


def test_create_prints_the_key_alone_on_stdout(shell: Shell) -> None:
    """stdout has the key and nothing else, so that a script can take it; the explanation is on stderr."""
    result = shell("keys", "create", "phone")
    assert KEY.fullmatch(result.stdout.rstrip("\n"))
    assert result.stdout.count("\n") == 1
    assert "phone" in result.stderr
    assert KEY.fullmatch(shell("keys", "create", "--name", "tablet").stdout.strip())


def test_limits_of_a_key_are_options_and_listed(shell: Shell) -> None:
    """All of them, with what was spent; models and channels that the file has not are warned of, not refused."""
    words = (
        "--models l-1,gone --channels a,b --expires 30d --rpm 60 --max-running 2 "
        "--budget 5 --period day --addresses 10.1.2.3/8,::1"
    )
    made = shell("keys", "create", "phone", *words.split())
    assert KEY.fullmatch(made.stdout.strip())
    warned = [line for line in made.stderr.splitlines() if line.startswith("warning: ")]
    assert [line.split("'")[1] for line in warned] == ["gone", "b"]
    row = shell("keys", "list").stdout.splitlines()[1]
    for word in (
        "$0.00 of $5.00 today",
        "models l-1,gone",
        "channels a,b",
        "60/min",
        "2 running",
        "10.0.0.0/8,::1/128",
    ):
        assert word in row


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *(("--expires yesterday", 1), ("--rpm many", 1), ("--budget -5", 1), ("--budget 5 --period week", 1)),
        *(("--addresses x", 1), ("--period day", 2)),
    ],
)
def test_limits_that_mean_nothing_are_told(shell: Shell, words: str, code: int) -> None:
    """In a sentence, and no key is made."""
    done = shell("keys", "create", "phone", *words.split(), code=code)
    assert done.stdout == ""
    assert not (shell.folder / "data").exists()


def test_list_shows_the_keys_without_their_secrets(shell: Shell) -> None:
    """Name, tenant, times and who may choose channels; keys of one user share a tenant, others have their own."""
    users = {"x": "--user bob --choose-channel", "y": "--user bob", "admin": "--user admin", "alone": ""}
    secrets = [shell("keys", "create", name, *words.split()).stdout.strip() for name, words in users.items()]
    head, *rows = shell("keys", "list").stdout.splitlines()
    column = head.index("CHOOSES CHANNEL")
    assert [row[column:].split()[0] for row in rows] == ["yes", "-", "-", "-"]
    tenants = {row.split()[1]: row.split()[2] for row in rows}
    assert tenants["x"] == tenants["y"]
    assert len(set(tenants.values())) == 3
    # The tenant of the admin key is not one that a user can be given.
    assert "admin" not in tenants.values()
    assert not any(secret in row for secret in secrets for row in rows)


def test_revoke_takes_a_name_or_an_id(shell: Shell) -> None:
    """A revoked key says so in the list; an unknown one is a sentence and exit 1; two of a name ask for the id."""
    for name in ("one", "two", "twin", "twin"):
        shell("keys", "create", name)
    rows = {row.split()[1]: row.split()[0] for row in shell("keys", "list").stdout.splitlines()[1:]}
    assert "is revoked" in shell("keys", "revoke", "one").stderr
    assert "is revoked" in shell("keys", "revoke", rows["two"]).stderr
    shown = {row.split()[1]: row for row in shell("keys", "list").stdout.splitlines()[1:]}
    assert shown["one"].endswith("Z")
    assert shown["two"].endswith("Z")
    assert shown["twin"].endswith("-")
    assert "there is no key with the name or id 'three'" in shell("keys", "revoke", "three", code=1).stderr
    assert rows["twin"] in shell("keys", "revoke", "twin", code=1).stderr


@pytest.mark.parametrize("words", [(), ("a", "--name", "b"), ("  ",), ("x\ny",), ("x" * 101,)])
def test_a_key_needs_one_name(shell: Shell, words: tuple[str, ...]) -> None:
    """No name, two names and names that would spoil the list are refused before anything is made."""
    shell("keys", "create", *words, code=2)
    assert not (shell.folder / "data").exists()


def test_keys_go_where_the_server_looks(shell: Shell) -> None:
    """The store is --data, else the database of the environment or the file, else REELGATE_DATA, else data."""
    shell("keys", "create", "x", REELGATE_DATA="e")
    assert (shell.folder / "e" / "reelgate.db").is_file()
    shell.file.write_text("server: {database: 'sqlite:///in/file.db'}\n" + CHANNELS)
    shell("keys", "create", "x")
    assert (shell.folder / "in" / "file.db").is_file()
    shell("keys", "create", "x", REELGATE_DATABASE_URL="sqlite:///in/env.db")
    assert (shell.folder / "in" / "env.db").is_file()
    shell("keys", "create", "x", "--data", "flag")
    assert (shell.folder / "flag" / "reelgate.db").is_file()
    assert not (shell.folder / "data").exists()


def test_keys_do_not_mind_mistakes_elsewhere_in_the_file(shell: Shell) -> None:
    """A key can be ended while channels.yaml is being edited, but not where the database is not known."""
    shell("keys", "create", "x")
    shell.file.write_text("channels: [{name: a, type: none, api_key: '${NOPE}'}]\n")
    shell("keys", "revoke", "x")
    shell.file.write_text("server: {database: 'postgresql://h/d'}\n" + CHANNELS)
    assert "PostgreSQL is not available yet" in shell("keys", "list", code=1).stderr


def test_keys_without_a_config_make_no_store(shell: Shell) -> None:
    """In a folder without channels.yaml and store a key would be made for nobody: one sentence says what to do; where a
    server has served its demo, it is that server's."""
    shell.file.unlink()
    message = shell("keys", "create", "x", code=1).stderr
    assert message.startswith(
        "there is no channels.yaml here and no store at data/reelgate.db: go to the server's folder"
    )
    assert message.count("\n") == 1
    message = shell("keys", "create", "x", code=1, REELGATE_CONFIG="lost.yaml").stderr
    assert message.startswith("lost.yaml: there is no such file; name your channels.yaml with --config FILE")
    assert not (shell.folder / "data").exists()
    shell("keys", "create", "x", REELGATE_DATA="data")
    assert KEY.fullmatch(shell("keys", "create", "y", "--models", "sora-2").stdout.strip())
    assert "there is no store at" in shell("keys", "list", "--data", "d", code=1).stderr


# ---------------------------------------------------------------- check


def test_check_says_that_all_is_well_and_leaves_nothing_behind(shell: Shell) -> None:
    """One line, exit 0, and no file more than before, with and without a store."""
    before = shell.files()
    assert shell("check").stdout == "channels.yaml: all is well, 1 channel, 4 models\n"
    assert shell.files() == before
    shell("keys", "create", "x")
    before = shell.files()
    shell("check")
    assert shell.files() == before


def test_check_names_every_mistake_at_once(shell: Shell) -> None:
    """Values, options, an unset name and broken plugins: a line each with file and line number, exit 1."""
    (shell.folder / "plugins" / "kling.py").write_text("\nimport nowhere\n")
    shell.file.write_text(
        "server: {log: xml}\nchannels:\n- name: a\n  type: lumen\n  weigth: 2\n  api_key: ${NOPE}\n"
        "- {name: b, type: kling}\n"
    )
    lines = shell("check", code=1).stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"channels.yaml:{n}:" for n in (1, 5, 6, 7)]
    assert "did you mean weight?" in lines[1]
    assert "NOPE is not set" in lines[2]
    assert re.search(r"plugins/kling\.py: line 2: ModuleNotFoundError: No module named 'nowhere'", lines[3])


def test_check_warns_of_broken_plugins_that_nobody_uses(shell: Shell) -> None:
    """They are warnings that name the file, and the exit code stays 0."""
    (shell.folder / "plugins" / "kling.py").write_text("1/0\n")
    first, last = shell("check").stdout.splitlines()
    assert first.startswith("warning: ")
    assert "kling.py: line 1: ZeroDivisionError" in first
    assert "all is well" in last


def test_check_scans_further_folders(shell: Shell) -> None:
    """--plugins DIR is scanned before the folder beside the file."""
    (shell.folder / "more").mkdir()
    (shell.folder / "more" / "nova.py").write_text(PLUGIN.replace("lumen", "nova"))
    shell.file.write_text("channels: [{name: a, type: nova}]\n")
    assert "known types are" in shell("check", code=1).stdout
    shell("check", "--plugins", "more")
    shell("check", "--plugins", "nowhere", code=2)


def test_check_warns_of_videos_whose_channel_left_the_file(shell: Shell) -> None:
    """An orphaned pin is a warning that counts the videos and names the channel; exit 0."""

    fill(shell, "a", "gone", "gone")
    first, last = shell("check").stdout.splitlines()
    assert first.startswith("warning: channels.yaml: 2 videos belong to the channel gone")
    assert "all is well" in last


def test_check_tells_a_store_that_cannot_be_used(shell: Shell) -> None:
    """A file that is no database, a data folder that is a file, and a file in the place of one of its folders, are
    mistakes."""
    store = shell.folder / "data" / "reelgate.db"
    store.parent.mkdir()
    store.write_bytes(b"not a database" * 100)
    assert "it is no SQLite file" in shell("check", code=1).stdout
    store.unlink()
    (store.parent / "kept").write_text("")
    assert shell("check", code=1).stdout.startswith("data/kept: a folder of the data folder must be a folder")
    (shell.folder / "plain").write_text("")
    assert "plain: the data folder must be a folder" in shell("check", code=1, REELGATE_DATA="plain").stdout
    assert "deeper: the data folder cannot be made: " in shell("check", code=1, REELGATE_DATA="plain/deeper").stdout


# ---------------------------------------------------------------- plugins


def test_plugins_list_shows_what_each_type_can_do(shell: Shell) -> None:
    """A row for each type with its models, what it overrides, and its file; broken ones are on stderr."""
    (shell.folder / "plugins" / "kling.py").write_text("1/0\n")
    result = shell("plugins", "list")
    head, *rows = result.stdout.splitlines()
    lumen = next(re.split(r"\s{2,}", row) for row in rows if row.startswith("lumen"))
    cells = dict(zip(head.split(), lumen, strict=True))
    assert list(cells)[2:9] == ["REMIX", "EDIT", "EXTEND", "CHARACTER", "CANCEL", "DELETE", "RECOVER"]
    assert cells["MODELS"] == "l-1, l-2, l-3 +1"
    assert (cells["REMIX"], cells["DELETE"]) == ("-", "yes")
    assert cells["FILE"] == "plugins/lumen.py"
    assert "broken: plugins/kling.py: line 1: ZeroDivisionError" in result.stderr


def test_plugins_list_needs_no_config(shell: Shell) -> None:
    """Without a channels.yaml the bundled plugins are listed."""
    shell.file.unlink()
    assert any(row.startswith("openai ") for row in shell("plugins", "list").stdout.splitlines())
