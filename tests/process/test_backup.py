"""Backups of a server that takes orders all the while: each is the store at one moment, from which one can go on."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, FormData

from proxy.testing import SimulatorServer
from tests.media.looks import file_of, motif
from tests.process.conftest import Spawn
from tests.process.server import KEY, ROOT, ServerProcess
from tests.simulators.openai import OpenAISimulator

PNG = file_of(motif())
WRITERS = 4
CAP = 12
BACKUPS = 2


def text(sim: OpenAISimulator) -> str:
    return (
        "server: {submit_wait: 5}\n"
        f"channels: [{{name: up, type: openai, models: [sora-2], poll_every: 0.02, max_running: {CAP}, "
        f"price: {{per_second: 0.1}}, api_key: sk-test, base_url: '{sim.base_url}'}}]\n"
    )


async def back_up(server: ServerProcess, to: Path, *words: str) -> str:
    """What `reelgate backup` said, on stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "backup", str(to), *words, "--data", str(server.folder / "data")),
        cwd=server.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


def restore(backup: Path, folder: Path) -> Path:
    """As docs/deploy.md says it."""
    folder.mkdir(mode=0o700)
    subprocess.run(["tar", "-xpf", backup, "-C", folder], check=True)
    return folder


class Customer:
    """One who orders, with and without pictures, and keeps what was acknowledged."""

    def __init__(self, server: ServerProcess, session: ClientSession) -> None:
        self.server = server
        self.session = session
        self.key = KEY
        self.acknowledged: list[str] = []
        self.prompts: list[str] = []
        self.numbers = itertools.count()

    async def call(self, method: str, path: str, **kwargs: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = self.server.base_url.removesuffix("/v1") + path
        async with self.session.request(method, url, headers=headers, **kwargs) as response:
            body = await response.json() if response.content_type == "application/json" else await response.read()
            assert response.status == 200, body
            return body

    async def order(self, *, picture: bool) -> str:
        body: dict[str, Any] = {"prompt": f"number {next(self.numbers)}"}
        self.prompts.append(body["prompt"])
        if picture:
            # Other bytes each time, so that no two videos have the same picture.
            uri = base64.b64encode(PNG + os.urandom(8)).decode()
            body["input_reference"] = {"image_url": f"data:image/png;base64,{uri}"}
        video = await self.call("POST", "/videos", json=body)
        self.acknowledged.append(video["id"])
        return str(video["id"])

    async def storm(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.order(picture=random.random() < 0.5)
            # Steady rather than as many as the machine can take, all of which must be finished.
            await asyncio.sleep(0.05)

    async def code(self, video_id: str) -> Any:
        """Why a video failed; None where it did not."""
        return ((await self.call("GET", f"/videos/{video_id}"))["error"] or {}).get("code")

    async def ended(self, ids: list[str]) -> list[dict[str, Any]]:
        async with asyncio.timeout(60):
            while True:
                videos = await asyncio.gather(*(self.call("GET", f"/videos/{video_id}") for video_id in ids))
                if all(video["status"] in ("completed", "failed") for video in videos):
                    return videos
                await asyncio.sleep(0.05)


async def going_on(spawn: Spawn, entries: str, backup: Path, folder: Path, customer: Customer) -> ServerProcess:
    """A server on another machine, which starts from a backup, and has the customer from now on."""
    folder.mkdir()
    server = spawn(entries)
    server.folder = folder
    await asyncio.to_thread(restore, backup, folder / "data")
    check(folder / "data", customer.acknowledged)
    await server.start()
    customer.server = server
    return server


def check(folder: Path, acknowledged: list[str]) -> None:
    """The store in `folder` is whole, knows what was acknowledged, balances, and has the pictures that it needs."""
    with closing(sqlite3.connect(folder / "reelgate.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert set(acknowledged) <= {video_id for (video_id,) in db.execute("SELECT id FROM videos")}
        charges = dict(db.execute("SELECT id, COALESCE(cost, price) FROM videos"))
        assert dict(db.execute("SELECT video_id, SUM(amount) FROM ledger GROUP BY video_id")) == charges
        orders = [json.loads(row[0]) for row in db.execute("SELECT order_json FROM videos WHERE stage = 'waiting'")]
    pictures = [picture["file"] for order in orders for picture in order.get("images", ())]
    assert [name for name in pictures if not (folder / "inputs" / name).is_file()] == []


async def test_backups_under_load(spawn: Spawn, tmp_path: Path) -> None:
    """While customers order, every backup holds all that was acknowledged before it began; from the last, after a kill,
    a server goes on: it finishes what ran, orders nothing that the old one may have ordered, and knows keys, users,
    files and links. From one that a server was moved to, what waited goes on too, with its pictures."""
    async with SimulatorServer(OpenAISimulator()) as sim, ClientSession() as session:
        old = spawn(text(sim))
        await old.start()
        customer = Customer(old, session)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(customer.storm(stop))
            for number in range(BACKUPS):
                while len(customer.acknowledged) < 20 * (number + 1):
                    await asyncio.sleep(0.01)
                before = list(customer.acknowledged)
                made = tmp_path / f"{number}.tar"
                assert "checked" in await back_up(old, made)
                assert len(customer.acknowledged) > len(before), "nothing was written meanwhile"
                assert stat.S_IMODE(made.stat().st_mode) == 0o600
                check(await asyncio.to_thread(restore, made, tmp_path / f"restored-{number}"), before)
            stop.set()
        finished = (await customer.ended(customer.acknowledged))[0]
        sim.automatic = False
        since = len(sim.requests)
        going = [await customer.order(picture=True) for _ in range(CAP + 6)]
        guest = await customer.call("POST", "/admin/api/keys", json={"name": "guest"})
        await customer.call("POST", "/admin/api/users", json={"name": "ann", "password": "correct horse battery"})
        form = FormData({"purpose": "user_data"})
        form.add_field("file", io.BytesIO(b"to be kept"), filename="note.txt")
        filed = await customer.call("POST", "/files", data=form)
        # Nothing changes any more: as many as the cap allows are at the upstream, and six wait.
        live = tmp_path / "live.tar"
        await back_up(old, live)
        assert await old.stop() == 0
        moved = tmp_path / "moved.tar"
        await back_up(old, moved, "--move")

        new = await going_on(spawn, text(sim), live, tmp_path / "new", customer)
        assert (await asyncio.gather(*(customer.code(video_id) for video_id in going[CAP:]))) == ["outcome_unknown"] * 6
        assert len([call for call in sim.requests[since:] if call.operation == "create"]) == CAP
        await new.kill()

        new = await going_on(spawn, text(sim), moved, tmp_path / "newer", customer)
        sim.automatic = True
        assert {video["status"] for video in await customer.ended(customer.acknowledged)} == {"completed"}
        assert sorted(job.facts["prompt"] for job in sim.jobs.values()) == sorted(customer.prompts)
        ordered = [call for call in sim.requests[since:] if call.operation == "create"]
        assert len(ordered) == len(going)
        assert all(call.fields["input_reference"] for call in ordered)
        assert await customer.call("GET", f"/files/{filed['id']}/content") == b"to be kept"
        # Signed with the old server's secret, for its address.
        link = finished["video_url"].replace(f":{old.port}/", f":{new.port}/")
        async with session.get(link) as response:
            assert response.status == 200
        users = await customer.call("GET", "/admin/api/users")
        assert "ann" in {user["name"] for user in users["data"]}
        customer.key = guest["key"]
        assert (await customer.call("GET", "/videos"))["data"] == []
