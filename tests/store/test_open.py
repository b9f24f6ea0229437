"""Opening a store: what it refuses, in one sentence, and what it tolerates."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from proxy.errors import StoreError
from proxy.records import Attempt
from proxy.store import Store, outbox, schema, workers
from tests.store.first_version import write_first_version

PYTHONPATH = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
"""The environment of a process that imports this checkout."""


async def refusal(path, **how):
    """The sentence that `Store.open` refuses with."""
    with pytest.raises(StoreError) as refused:
        await Store.open(path, **how)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def with_sqlite(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return [db.execute(statement).fetchall() for statement in statements]


async def test_a_new_store_is_private_and_current(tmp_path):
    """A new store makes its folder, is readable by its owner alone, and has the newest schema."""
    path = tmp_path / "deep" / "er" / "reelgate.db"
    store = await Store.open(path)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()
    assert with_sqlite(path, "PRAGMA user_version") == [[(len(schema.MIGRATIONS),)]]
    assert [file.name for file in path.parent.iterdir()] == ["reelgate.db"]


def test_each_migration_writes_its_own_number():
    """Step N ends by setting the schema to N, and every table is STRICT."""
    for number, step in enumerate(schema.MIGRATIONS, 1):
        assert step[-1] == f"PRAGMA user_version = {number}"
        for statement in step:
            assert "CREATE TABLE" not in statement or statement.rstrip().endswith(") STRICT")


async def test_the_tables_are_those_that_open_looks_for(store):
    """`TABLES` names exactly the tables that the migrations make."""
    rows = await store._reading.run(
        lambda db: db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    )
    assert {name for (name,) in rows} - {"sqlite_sequence"} == schema.TABLES


async def test_a_newer_schema_is_refused(tmp_path):
    """A store that a newer Reelgate wrote is refused, and is not touched."""
    path = tmp_path / "reelgate.db"
    await (await Store.open(path)).close()
    with_sqlite(path, "PRAGMA user_version = 999")
    assert "newer Reelgate" in await refusal(path)
    assert with_sqlite(path, "PRAGMA user_version") == [[(999,)]]


async def test_migrations_run_once_and_in_order(tmp_path, monkeypatch, video_of):
    """A store of an older schema gets the missing steps only and keeps its rows; a step that fails leaves no trace."""
    path = tmp_path / "reelgate.db"
    store = await Store.open(path)
    video = video_of()
    await store.accept(video)
    await store.close()
    last = len(schema.MIGRATIONS)
    good = (
        "CREATE TABLE later (a INTEGER) STRICT",
        "INSERT INTO later VALUES (2)",
        f"PRAGMA user_version = {last + 1}",
    )
    broken = ("CREATE TABLE half (a INTEGER) STRICT", "INSERT INTO nowhere VALUES (1)", "PRAGMA user_version = 99")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, good, broken))
    assert "nowhere" in await refusal(path)
    assert with_sqlite(path, "PRAGMA user_version", "SELECT a FROM later") == [[(last + 1,)], [(2,)]]
    assert with_sqlite(path, "SELECT name FROM sqlite_master WHERE name = 'half'") == [[]]
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-1])
    for _ in range(2):
        store = await Store.open(path)
        assert await store.unfinished() == [video]
        await store.close()
    assert with_sqlite(path, "SELECT a FROM later") == [[(2,)]]


async def test_a_store_of_the_first_version_goes_on(tmp_path, video_of):
    """A file of schema 1 keeps its videos and attempts; what is unfinished is held by the row that the next
    process takes, and the new columns have their defaults."""
    path = tmp_path / "reelgate.db"
    stages = ("waiting", "submitting", "unknown", "running", "ended")
    old = [video_of(stage=stage, attempt_id="att_1" if stage == "submitting" else None) for stage in stages]
    attempt = Attempt(id="att_1", video_id=old[1].id, channel="lumen", started_at=2.0, note="sent")
    write_first_version(path, old, [attempt])
    store = await Store.open(path)
    assert await store.unfinished({1}) == await store.unfinished() == old[:4]
    assert await store.video(old[4].id) == old[4]
    assert await store.attempts(old[1].id) == [attempt]
    assert await store.read(workers.everyone) == [workers.Worker(1, "", 0, 0.0)]
    running = await store.change(msgspec.structs.replace(old[3], status="in_progress"), before=old[3])
    assert await store.video(running.id) == running
    assert len(await store.read(lambda db: outbox.oldest(db, 9))) == 1
    await store.close()


async def test_foreign_tables_are_left_alone(tmp_path):
    """Tables of a replication tool in the file neither hinder an open nor are touched by it."""
    path = tmp_path / "reelgate.db"
    with_sqlite(path, "CREATE TABLE _litestream_lock (id INTEGER)", "INSERT INTO _litestream_lock VALUES (7)")
    await (await Store.open(path)).close()
    await (await Store.open(path)).close()
    assert with_sqlite(path, "SELECT id FROM _litestream_lock") == [[(7,)]]


async def test_another_programs_database_is_refused(tmp_path):
    """A database with a table of our name, or with our schema number but other tables, is not taken for a store."""
    clash, numbered = tmp_path / "clash.db", tmp_path / "numbered.db"
    with_sqlite(clash, "CREATE TABLE videos (title TEXT)")
    assert "not a Reelgate store" in await refusal(clash)
    with_sqlite(numbered, "CREATE TABLE other (a)", "PRAGMA user_version = 1")
    assert "not a Reelgate store" in await refusal(numbered)


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    """A text file is refused and stays as it was."""
    path = tmp_path / "reelgate.db"
    path.write_bytes(b"my shopping list\n" * 300)
    assert "no SQLite file" in await refusal(path)
    assert path.read_bytes() == b"my shopping list\n" * 300


async def test_a_damaged_store_is_refused(tmp_path, video_of):
    """A store that was cut off, or whose schema is overwritten, is refused with the advice to take a backup."""
    path = tmp_path / "reelgate.db"
    store = await Store.open(path)
    await asyncio.gather(*(store.accept(video_of(prompt="x" * 3000)) for _ in range(50)))
    await store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in await refusal(path)
    path.write_bytes(whole[:100] + b"\xff" * 4096 + whole[4196:])
    assert "damaged" in await refusal(path)


async def test_damage_found_later_is_named(tmp_path, video_of):
    """A page that turns out to be damaged while reading is a StoreError that names the file, not a busy store."""
    path = tmp_path / "reelgate.db"
    store = await Store.open(path)
    await asyncio.gather(*(store.accept(video_of(prompt="x" * 3000)) for _ in range(300)))
    await store.close()
    whole = bytearray(path.read_bytes())
    for page in range(len(whole) // 4096 // 2, len(whole) // 4096):
        whole[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(whole)
    store = await Store.open(path)
    with pytest.raises(StoreError, match="damaged"):
        await store.unfinished()
    await store.close()


async def test_places_that_cannot_be_written_are_refused(tmp_path):
    """A folder in the file's place, a file in the folder's place, and a missing store are said in one sentence."""
    assert "cannot write" in await refusal(tmp_path)
    (tmp_path / "file").write_text("")
    assert "cannot write" in await refusal(tmp_path / "file" / "reelgate.db")
    missing = tmp_path / "none" / "reelgate.db"
    assert "there is no store" in await refusal(missing, create=False)
    assert not missing.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody without rights")
def test_a_store_of_somebody_else_is_refused(tmp_path):
    """A process without write permission to the file is told so in one sentence."""
    code = """if True:
        import asyncio, os, pathlib, sys
        from proxy.errors import StoreError
        from proxy.store import Store
        async def main():
            await (await Store.open(path)).close()
            path.chmod(0o444)
            for mode in (0o755, 0o700):
                path.parent.chmod(mode)
                os.seteuid(65534)
                for create in (True, False):
                    try:
                        await Store.open(path, create=create)
                    except StoreError as error:
                        print(error)
                os.seteuid(0)
        path = pathlib.Path(sys.argv[1]) / "reelgate.db"
        asyncio.run(main())
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [sys.executable, "-c", code, folder],
            env=PYTHONPATH,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert len(lines) == 4
    assert all("cannot write the store" in line for line in lines)


async def test_many_may_open_a_new_store_at_once(tmp_path, video_of):
    """Eight simultaneous opens of a store that is not there all succeed, on one schema."""
    stores = await asyncio.gather(*(Store.open(tmp_path / "reelgate.db") for _ in range(8)))
    for store in stores:
        await store.accept(video_of())
    assert len(await stores[0].unfinished()) == 8
    for store in stores:
        await store.close()


def test_an_unclosed_store_lets_the_process_end(tmp_path):
    """A process that forgets to close its store ends by itself, and what it committed is there."""
    code = """if True:
        import asyncio, pathlib
        from proxy.store import Store, settings
        async def main():
            global store
            store = await Store.open(pathlib.Path("reelgate.db"))
            await store.write(lambda db: settings.save(db, "a", "b"))
        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, env=PYTHONPATH, timeout=60, check=True)
    assert with_sqlite(tmp_path / "reelgate.db", "SELECT value FROM settings") == [[("b",)]]
