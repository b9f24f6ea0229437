"""P1: what was acknowledged is there after a kill."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

CHILD = Path(__file__).with_name("writing_child.py")
ROUNDS = 10


def test_no_acknowledged_video_is_lost_by_kill_9(tmp_path):
    """Ten times a writing process is killed at a random moment: every acknowledged change is there, the file is whole,
    and each video has its attempt and its Idempotency-Key or does not exist."""
    path = tmp_path / "reelgate.db"
    environ = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}
    chance = random.Random(20)
    accepted, running = set(), set()
    for _ in range(ROUNDS):
        child = subprocess.Popen([sys.executable, str(CHILD), str(path)], env=environ, stdout=subprocess.PIPE)
        with child:
            for _ in range(chance.randrange(1, 400)):
                note(child.stdout.readline(), accepted, running)
            child.kill()
            for line in child.stdout:
                note(line, accepted, running)
        assert child.returncode == -9

    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        stages = dict(db.execute("SELECT id, stage FROM videos"))
        attempted = {id_ for (id_,) in db.execute("SELECT video_id FROM attempts")}
        keyed = {id_ for (id_,) in db.execute("SELECT video_id FROM idempotency")}
    assert len(accepted) > ROUNDS
    assert accepted <= set(stages)
    assert {stages[id_] for id_ in running} == {"running"}
    assert attempted == keyed == set(stages)


def note(line, accepted, running):
    """Remember what a whole line acknowledges; the last one may be cut by the kill."""
    if line.endswith(b"\n"):
        word, id_ = line.decode().split()
        (accepted if word == "accepted" else running).add(id_)
