"""What waited when a backup was made: it is ordered once, by the server that was copied or by the one that goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from proxy import backup
from tests.conftest import Launch, Product
from tests.engine.test_queue import NARROW, PLUGINS, Gate, closed

PRICED = NARROW.replace("poll_every", "price: {per_second: 0.1}, poll_every") % ""


async def copied(data: Path, to: Path, *, moving: bool = False) -> Path:
    """A backup of the store in `data`, restored to the folder `to`."""
    file = data.parent / f"{to.name}.tar"
    await asyncio.to_thread(backup.write, file, data=data, store=data / "reelgate.db", moving=moving)
    with tarfile.open(file) as tar:
        tar.extractall(to, filter="data")
    return to


def prompts(product: Product) -> list[str]:
    return [request.prompt for request in product.channel("a").asked("create")]


async def test_a_stopped_server_may_start_again(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited in a backup of a stopped server is not ordered from it, since that one may have started again:
    its price is given back. What waits after the restore stays, also when the clock here is behind and the process
    starts once more."""
    product = await launch(PRICED, plugins=PLUGINS)
    Gate(product)
    await product.create(prompt="gate")
    video = await product.create(prompt="0")
    await product.server.close()
    ahead = time.time() + 3600
    with monkeypatch.context() as patch:
        patch.setattr("proxy.store.backup.time.time", lambda: ahead)
        data = await copied(tmp_path / "data", tmp_path / "restored")
    new = await launch(PRICED, plugins=PLUGINS, data=data)
    assert (await new.done(video["id"]))["error"]["code"] == "outcome_unknown"
    with closing(sqlite3.connect(data / "reelgate.db")) as db:
        sums = db.execute("SELECT sum(amount) FROM ledger WHERE video_id = ?", (video["id"],)).fetchone()
    assert sums == (0,)
    Gate(new)
    await new.create(prompt="gate")
    late = await new.create(prompt="late")
    asked = prompts(new)
    await new.server.close()
    again = await launch(PRICED, plugins=PLUGINS, data=data)
    assert (await again.done(late["id"]))["status"] == "completed"
    assert "0" not in asked + prompts(again)


async def test_a_move_takes_along_what_waits(launch: Launch, tmp_path: Path) -> None:
    """From a server that is said to be stopped for good, it goes on; one that is at work is not moved."""
    product, _ = await closed(launch)
    video = await product.create(prompt="0")
    with pytest.raises(backup.BackupFailed, match="a server is at work"):
        await copied(tmp_path / "data", tmp_path / "early", moving=True)
    await product.server.close()
    new = await launch(
        NARROW % "", plugins=PLUGINS, data=await copied(tmp_path / "data", tmp_path / "new", moving=True)
    )
    assert (await new.done(video["id"]))["status"] == "completed"
    assert prompts(new) == ["0"]
