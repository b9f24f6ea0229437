"""The lock files that say which processes on a store are alive."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.store.lock import WorkerLock, lives, remove_dead

HOLDER = """if True:
    import pathlib, sys
    from proxy.store.lock import WorkerLock
    WorkerLock(pathlib.Path(sys.argv[1]), "them").acquire()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_process_lives_until_it_lets_go(tmp_path):
    """A token counts as alive while its lock is held, and leaves no file behind when it lets go; twice is fine."""
    store = tmp_path / "deep" / "reelgate.db"
    assert lives(store, "me") is None
    lock = WorkerLock(store, "me")
    lock.acquire()
    assert lives(store, "me") is True
    remove_dead(store, "me")
    assert int(lock.path.read_text()) == os.getpid()
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock.path.parent.stat().st_mode) == 0o700
    lock.release()
    lock.release()
    assert lives(store, "me") is None
    assert list(lock.path.parent.iterdir()) == []


def test_a_killed_process_is_known_to_have_ended(tmp_path):
    """After a kill -9 the file stays and says so, to whoever asks and as often as it is asked, until it is removed."""
    store = tmp_path / "reelgate.db"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"held\n"
        assert lives(store, "them") is True
        child.kill()
        child.wait()
    assert [lives(store, "them"), lives(store, "them")] == [False, False]
    remove_dead(store, "them")
    assert lives(store, "them") is None
    assert list((tmp_path / "workers").iterdir()) == []


def test_a_lock_that_cannot_be_had_says_so(tmp_path):
    """A place that is no folder, and a token that is taken, are refused in one sentence that names the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot lock the file .*check its owner and permissions"):
        WorkerLock(tmp_path / "file" / "reelgate.db", "me").acquire()
    first = WorkerLock(tmp_path / "reelgate.db", "me")
    first.acquire()
    with pytest.raises(StoreError, match=r"me\.lock: cannot lock the file"):
        WorkerLock(tmp_path / "reelgate.db", "me").acquire()
    assert lives(tmp_path / "reelgate.db", "me") is True
    first.release()
