"""`reelgate backup` from its outside: what it holds, what it refuses, and what a failure leaves."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from tests.store.first_version import write_first_version

ROOT = Path(__file__).parents[1]
KILLED_LATE = """
import os, signal, sys
from proxy.cli import main
# The tar is written, and is about to be made durable and named.
os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


class Shelf:
    """A data folder with a store, and a folder beside it for backups of it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.folder = folder / "shelf"
        self.folder.mkdir()
        self.file = self.folder / "a.tar"
        self.run("keys", "create", "cat")
        (self.data / "secret").write_text("s" * 64)

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, (*words, "--data", str(self.data)))
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def back_up(self, *words: str, code: int = 0) -> Result:
        return self.run("backup", str(self.file), *words, code=code)

    def refused(self, *words: str) -> str:
        """The one sentence that it is refused with; nothing new is there."""
        before = self.content()
        result = self.back_up(*words, code=1)
        assert (result.stdout, len(result.stderr.splitlines())) == ("", 1), result.output
        assert self.content() == before
        return result.stderr

    def content(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def names(self) -> set[str]:
        with tarfile.open(self.file) as tar:
            return {member.name for member in tar if member.isfile()}

    def child(self, *command: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        words = (*command, "backup", str(self.file), "--data", str(self.data))
        return subprocess.run(words, env=environ, capture_output=True, text=True)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    for name in [name for name in os.environ if name.startswith("REELGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shelf(tmp_path)


def test_what_a_backup_holds(shelf: Shelf) -> None:
    """The store, the secret, and files of clients, videos and plugins; nothing that is half written or can be had
    again, no links to elsewhere, and everything for the owner's eyes alone."""
    wanted = {
        *("reelgate.db", "secret", "inputs/video_1/0a.png", "files/file_1"),
        *("channels/demo/clip.mp4", "channels/demo/.state"),
    }
    for name in (*wanted, "inputs/video_1/.5f", "kept/video_1.thumbnail", "work/x", "uploads/x", "workers/x.lock"):
        if name not in ("reelgate.db", "secret"):
            path = shelf.data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    (shelf.data / "channels" / "demo" / "link").symlink_to("/etc/passwd")
    os.mkfifo(shelf.data / "channels" / "demo" / "pipe")
    result = shelf.back_up()
    assert shelf.names() == wanted
    assert "1 keys" in result.stdout
    assert "channels/: 2 files" in result.stdout
    assert stat.S_IMODE(shelf.file.stat().st_mode) == 0o600
    with tarfile.open(shelf.file) as tar:
        assert {member.mode for member in tar} == {0o600, 0o700}
        inner = tar.extractfile("channels/demo/clip.mp4")
        assert inner is not None
        assert inner.read() == b"channels/demo/clip.mp4"


def test_what_is_there_is_replaced_on_request_alone(shelf: Shelf) -> None:
    """An earlier backup stays without --force, and what is no backup stays with it: the store itself, say."""
    shelf.back_up()
    assert "--force" in shelf.refused()
    shelf.back_up("--force")
    store = shelf.data / "reelgate.db"
    for precious in (store, shelf.folder / "thesis.txt"):
        precious.touch()
        shelf.file = precious
        assert "is no backup" in shelf.refused("--force")
    assert store.read_bytes().startswith(b"SQLite format 3")


def test_a_place_where_no_backup_can_be_is_refused(shelf: Shelf) -> None:
    """A folder that is not there, and one that the server tidies up."""
    shelf.file = shelf.folder / "no" / "a.tar"
    assert "there is no folder" in shelf.refused()
    (shelf.data / "files").mkdir()
    shelf.file = shelf.data / "files" / "a.tar"
    assert "the server's own" in shelf.refused()


def test_a_folder_that_cannot_be_read_is_no_empty_one(shelf: Shelf) -> None:
    """What the server has there is missing from no backup that says that all went well."""
    (shelf.data / "channels").write_text("in the place of the folder")
    assert "channels: Not a directory" in shelf.refused()


def test_nobody_else_can_hold_a_backup_up(shelf: Shelf) -> None:
    """In a folder that others can write, a pipe that is named like what a kill leaves is waited for by nobody."""
    trap = shelf.folder / ".reelgate-backup-trap"
    os.mkfifo(trap)
    os.utime(trap, (time.time() - 120,) * 2)
    done = shelf.child("timeout", "60", sys.executable, "-m", "proxy")
    assert (done.returncode, shelf.file.exists()) == (0, True), done.stderr


def test_the_command_to_restore_is_one_that_works(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a time of day: to tar, a name with a colon would be a machine, and a dash its stdin."""
    monkeypatch.chdir(shelf.folder)
    (command,) = re.findall(r"(mkdir .* -C NEW) ", shelf.run("backup", "12:30 o'clock.tar").stderr)
    subprocess.run(["sh", "-c", command], cwd=shelf.folder, check=True)
    assert (shelf.folder / "NEW" / "reelgate.db").is_file()
    assert "stdout" in shelf.run("backup", "-", code=1).stderr


def test_what_is_no_sound_store_is_not_backed_up(shelf: Shelf) -> None:
    """A store that is not there, is another program's, is newer than this Reelgate, or is damaged."""
    store = shelf.data / "reelgate.db"
    sound = store.read_bytes()
    with closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA user_version = 999")
    assert "newer Reelgate" in shelf.refused()
    with closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    store.write_bytes(sound[:8192] + b"\xff" * 4096 + sound[12288:])
    assert "damaged" in shelf.refused()
    store.write_bytes(b"no database" * 1000)
    assert "no SQLite file" in shelf.refused()
    store.unlink()
    with closing(sqlite3.connect(store)) as db:
        db.execute("CREATE TABLE recipes (name)")
    assert "not a Reelgate store" in shelf.refused()
    store.unlink()
    assert "there is no store" in shelf.refused()
    assert not store.exists()


def test_an_older_store_is_copied_as_it_is(shelf: Shelf) -> None:
    """Before an upgrade, the new version backs up what the old one wrote, and changes neither."""
    store = shelf.data / "reelgate.db"
    store.unlink()
    write_first_version(store, [])
    before = store.read_bytes()
    assert "schema 1" in shelf.back_up().stdout
    assert store.read_bytes() == before
    with tarfile.open(shelf.file) as tar:
        tar.extract("reelgate.db", shelf.folder, filter="data")
    with closing(sqlite3.connect(shelf.folder / "reelgate.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_what_must_be_put_right_by_hand_is_said(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret from the environment is not in the file, and a store that lies elsewhere has to go there again."""
    (shelf.data / "secret").unlink()
    monkeypatch.setenv("REELGATE_SECRET", "e" * 64)
    assert "REELGATE_SECRET" in shelf.back_up().stderr
    elsewhere = shelf.folder.parent / "elsewhere.db"
    (shelf.data / "reelgate.db").rename(elsewhere)
    (shelf.folder.parent / "channels.yaml").write_text(
        f"server: {{database: 'sqlite:///{elsewhere}'}}\nchannels: [{{name: d, type: demo}}]\n"
    )
    monkeypatch.setenv("REELGATE_DATA", str(shelf.data))
    result = CliRunner().invoke(main, ("backup", str(shelf.file), "--force"))
    assert result.exit_code == 0, result.output
    assert f"is your {elsewhere}" in result.stderr


def test_a_kill_leaves_no_half_backup(shelf: Shelf) -> None:
    """kill -9 at the last moment leaves no FILE, and what else it leaves the next backup removes."""
    assert shelf.child(sys.executable, "-c", KILLED_LATE).returncode == -signal.SIGKILL
    (left,) = shelf.folder.iterdir()
    assert left != shelf.file
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    os.utime(left, (time.time() - 120,) * 2)
    shelf.back_up()
    assert list(shelf.folder.iterdir()) == [shelf.file]


@pytest.mark.parametrize("large", ["store", "files"])
def test_a_disk_that_takes_no_more_is_one_sentence(shelf: Shelf, large: str) -> None:
    """Be it the copy of the store or the file that does not fit: FILE and the reason, and nothing is left."""
    if large == "files":
        (shelf.data / "files").mkdir()
        (shelf.data / "files" / "file_1").write_bytes(bytes(2**20))
    # In blocks of 512 bytes, and more than SQLite's own index of the log.
    done = shelf.child("sh", "-c", 'ulimit -f 80; exec "$@"', "sh", sys.executable, "-m", "proxy")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{shelf.file}: ")
    assert "no backup was made" in line
    assert list(shelf.folder.iterdir()) == []
