"""What the library keeps and what it leaves behind: crashes, failed writes, pruning, sweeping."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, FormData

from proxy.media import files, library
from proxy.store import StoreBusy
from proxy.store import files as table
from tests.api.filing import Desk, opened_desk
from tests.conftest import Launch
from tests.process.server import KEY, ServerProcess

DEMO = "channels: [{name: demo, type: demo}]"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_desk(tmp_path) as made:
        yield made


async def known(desk: Desk) -> set[str]:
    """The ids that have a row."""
    return await desk.store.read(table.ids)


async def test_the_bytes_are_durable_before_the_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the row is written, the whole file and its name are on the disk already."""
    synced: list[int] = []
    fsync, write = os.fsync, desk.store.write
    seen: dict[str, bytes] = {}

    def noted(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    def look() -> None:
        for path in desk.folder.iterdir():
            assert {path.stat().st_ino, desk.folder.stat().st_ino} <= set(synced)
            seen[path.name] = path.read_bytes()

    async def looked(function: Any) -> Any:
        await asyncio.to_thread(look)
        return await write(function)

    monkeypatch.setattr(files.os, "fsync", noted)
    monkeypatch.setattr(desk.store, "write", looked)
    stored = await desk.add(b"whole")
    assert seen == {stored.id: b"whole"}


@pytest.mark.parametrize("error", [StoreBusy("the disk is full"), RuntimeError("a fault")])
async def test_a_failed_write_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Where the row cannot be written, the client is told and the bytes are removed."""

    async def failing(function: Any) -> Any:
        raise error

    monkeypatch.setattr(desk.store, "write", failing)
    with pytest.raises(type(error)):
        await desk.add()
    assert await desk.on_disk() == set()


async def test_a_cancelled_write_keeps_the_bytes_of_its_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that is cancelled while the row is written does not take the bytes away from a row that came to be."""
    write, written = desk.store.write, asyncio.Event()

    async def slow(function: Any) -> Any:
        await write(function)
        written.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(desk.store, "write", slow)
    adding = asyncio.create_task(desk.add())
    await written.wait()
    adding.cancel()
    await asyncio.wait([adding])
    assert adding.cancelled()
    assert len(await known(desk)) == 1
    assert await desk.on_disk() == await known(desk)


async def test_the_sweep(desk: Desk) -> None:
    """The sweep removes what no row knows, and nothing else: not expired files, not folders; without a folder it does
    nothing."""
    assert await desk.library.sweep() == 0
    kept = {(await desk.add()).id, (await desk.add(lifetime=0)).id}
    lost = ["file_" + "0" * 32, ".fresh"]

    def litter() -> None:
        (desk.folder / "folder").mkdir()
        for name in lost:
            (desk.folder / name).write_bytes(b"lost")

    await asyncio.to_thread(litter)
    assert await desk.library.sweep() == len(lost)
    assert await desk.on_disk() == kept | {"folder"}
    assert await desk.library.sweep() == 0


async def test_pruning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning removes row and bytes of all that has expired, however much it is, and nothing that lives."""
    monkeypatch.setattr(library, "_PRUNED_AT_ONCE", 2)
    for _ in range(5):
        await desk.add(lifetime=10)
    living = (await desk.add(lifetime=11)).id
    now = int(desk.now)
    assert await desk.library.prune(now + 9) == 0
    assert await desk.library.prune(now + 10) == 5
    assert await desk.on_disk() == await known(desk) == {living}


async def test_the_count_of_files_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant has at most so many files, however small; expired ones do not count."""
    monkeypatch.setattr(library, "MAX_FILES", 2)
    await desk.add(lifetime=10)
    await desk.add()
    with pytest.raises(library.InvalidRequest, match="2 of them"):
        await desk.add()
    desk.now += 11
    await desk.add()
    assert len((await desk.library.page(desk.records["anna"].tenant, after=None, limit=9, newest_first=True))[0]) == 2


async def test_a_reader_gets_the_whole_of_a_deleted_file(desk: Desk) -> None:
    """Who has begun to read a file reads it to its end, although it is deleted meanwhile."""
    stored = await desk.add(b"whole")
    with await asyncio.to_thread(desk.library.path(stored).open, "rb") as file:
        assert await desk.library.remove(stored.id, stored.tenant)
        assert not await desk.library.remove(stored.id, stored.tenant)
        assert await desk.library.file(stored.id, stored.tenant) is None
        assert await asyncio.to_thread(file.read) == b"whole"
    assert await desk.on_disk() == set()


@pytest.mark.parametrize("file_id", ["", "a", "../reelgate.db", "\ud800", "\0", "file_" + "0" * 31 + "\n"])
async def test_any_text_may_be_asked_for(desk: Desk, file_id: str) -> None:
    """What cannot be an id is an unknown one also for the rooms inside."""
    assert await desk.library.file(file_id, "anna") is None
    assert not await desk.library.remove(file_id, "anna")


@pytest.mark.parametrize(
    ("sql", "values", "wanted"),
    [
        (table._FIND, ("t", "f", 0), "sqlite_autoindex_files_1"),
        (table._USED, ("t", 0), "files_of_tenant (tenant=?)"),
        (table._OLDEST_FIRST, ("t", "", 0, None, 5), "files_of_tenant (tenant=? AND id>?)"),
        (table._NEWEST_FIRST, ("t", "~", 0, "vision", 5), "files_of_tenant (tenant=? AND id<?)"),
        (table._DELETE, ("t", "f", 0), "sqlite_autoindex_files_1"),
        (table._PRUNE, (0, 5), "files_expiring (expires_at<?)"),
    ],
)
async def test_no_query_scans_the_table(desk: Desk, sql: str, values: tuple[object, ...], wanted: str) -> None:
    """Each query is served by its index, and no list is sorted."""
    plan = await desk.store.read(lambda db: db.execute("EXPLAIN QUERY PLAN " + sql, values).fetchall())
    words = "; ".join(row[3] for row in plan)
    assert wanted in words
    assert "SCAN files" not in words
    assert "TEMP B-TREE" not in words


async def test_a_start_tidies_up(launch: Launch, tmp_path: Path) -> None:
    """The start of the product removes what a crash left behind, and soon what expired meanwhile."""
    folder = tmp_path / "data" / "files"
    async with opened_desk(tmp_path / "data") as before:
        before.now -= 10_000
        expired = (await before.add()).id
        before.now += 10_000
        kept = (await before.add()).id
        await asyncio.to_thread((folder / "left").write_bytes, b"left behind")
    await launch(DEMO)
    assert not await asyncio.to_thread((folder / "left").exists)
    async with asyncio.timeout(20):
        while await asyncio.to_thread((folder / expired).exists):
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread((folder / kept).exists)


async def test_kill_9_loses_no_file_and_leaves_no_litter(tmp_path: Path) -> None:
    """Killed in the middle of uploads, the server has every file that it confirmed, whole, and after the next start
    nothing else."""
    server = ServerProcess(tmp_path, DEMO)
    await server.start()
    confirmed: dict[str, bytes] = {}
    enough = asyncio.Event()

    async def upload(session: ClientSession, number: int) -> None:
        while True:
            data = os.urandom(20_000 + number)
            form = FormData({"purpose": "user_data"})
            form.add_field("file", data, filename="a.bin")
            async with session.post(f"{server.base_url}/files", data=form) as answer:
                assert answer.status == 200
                confirmed[(await answer.json())["id"]] = data
            if len(confirmed) >= 20:
                enough.set()

    async with ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        uploads = [asyncio.create_task(upload(session, number)) for number in range(4)]
        await asyncio.wait_for(enough.wait(), 30)
        await server.kill()
        ends = await asyncio.gather(*uploads, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, ClientError)] == []
        await server.start()
        async with session.get(f"{server.base_url}/files") as answer:
            listed = {one["id"] for one in (await answer.json())["data"]}
        assert confirmed.keys() <= listed
        for file_id, data in confirmed.items():
            async with session.get(f"{server.base_url}/files/{file_id}/content") as answer:
                assert await answer.read() == data
    await server.kill()
    data_folder = tmp_path / "data"
    assert await asyncio.to_thread(lambda: {path.name for path in (data_folder / "files").iterdir()}) == listed
    assert await asyncio.to_thread(lambda: list((data_folder / "uploads").glob("*"))) == []
