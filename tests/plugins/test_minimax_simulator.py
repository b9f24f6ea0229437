"""The MiniMax simulator is held to the sheet, so that the plugin's tests may lean on it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.plugins.minimax_calls import (
    BOAT,
    CLIP,
    FINE,
    KEY,
    OTHER,
    REFERENCE,
    TEXT,
    V1,
    V2,
    call,
    item,
    made,
    refused,
    running,
    shown,
    told,
)
from tests.simulators.minimax import MinimaxSimulator, MinimaxV2Simulator


@pytest.fixture
async def ran() -> AsyncIterator[tuple[MinimaxSimulator, aiohttp.ClientSession]]:
    async with running() as both:
        yield both


@pytest.fixture
def sim(ran: tuple[MinimaxSimulator, aiohttp.ClientSession]) -> MinimaxSimulator:
    return ran[0]


@pytest.fixture
def http(ran: tuple[MinimaxSimulator, aiohttp.ClientSession]) -> aiohttp.ClientSession:
    return ran[1]


# ---------------------------------------------------------------- V1


async def test_three_steps(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """A task is prepared, processed and a success with a file, whose address is a third call: a text, then a number."""
    sim.queued_polls = 2
    task_id = await made(http)
    assert task_id.isdecimal()
    assert int(task_id) > 2**53
    seen = [await told(http, task_id) for _ in range(4)]
    assert [one["status"] for one in seen] == ["Preparing", "Queueing", "Processing", "Success"]
    waiting = {"task_id": task_id, "file_id": "", "video_width": 0, "video_height": 0, "base_resp": FINE}
    assert seen[0] == {**waiting, "status": "Preparing"}
    assert (seen[3]["video_width"], seen[3]["video_height"]) == (1366, 768)
    file_id = seen[3]["file_id"]
    _, data = await call(http, "GET", "/v1/files/retrieve", params={"file_id": file_id})
    file = data["file"]
    assert (data["base_resp"], file["file_id"], str(file["file_id"])) == (FINE, int(file_id), file_id)
    assert (file["bytes"], file["filename"], file["purpose"]) == (
        len(sim.video_bytes),
        "output.mp4",
        "video_generation",
    )
    assert await call(http, "GET", "/v1/files/download", params={"file_id": file_id}) == (200, sim.video_bytes)
    assert sim.paid == 1


async def test_links(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """Results of both lie elsewhere, for whoever has the link: ranges, no HEAD, and XML as soon as it has run out."""
    old, new = await made(http), await made(http, V2)
    sim.finish(old)
    sim.finish(new)

    async def links() -> list[str]:
        params = {"file_id": (await told(http, old))["file_id"]}
        _, data = await call(http, "GET", "/v1/files/retrieve", params=params)
        return [data["file"]["download_url"], (await shown(http, new))["content"]["url"]]

    first, second = await links(), await links()
    assert not set(first) & set(second)
    async with aiohttp.ClientSession() as bare:
        for url in first + second:
            assert url.startswith(f"{sim.files_url}/")
            assert await call(bare, "GET", url) == (200, sim.video_bytes)
            assert await call(bare, "GET", url, headers={"Range": "bytes=0-3"}) == (206, sim.video_bytes[:4])
            for method, target in (
                ("HEAD", url),
                ("GET", f"{url}x"),
                ("GET", url.replace(sim.files_url, sim.base_url)),
            ):
                assert (await call(bare, method, target))[0] == 403
        sim.expire_links()
        sim.fresh_links = False
        assert b"AccessDenied" in (await call(bare, "GET", first[0]))[1]
        assert await links() == await links()
        sim.fresh_links, sim.link_seconds = True, -1
        assert [(await call(bare, "GET", url))[0] for url in await links()] == [200, 403]


async def test_ends_of_v1(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """A failed task has its code where other answers say that they are errors; each word of V1 can be put."""
    task_id = await made(http)
    sim.moderate(task_id)
    data = await told(http, task_id)
    assert (data["status"], data["task_id"], data["file_id"]) == ("Fail", task_id, "")
    assert data["base_resp"] == {"status_code": 1027, "status_msg": "output new_sensitive"}
    for word in ("Preparing", "Queueing", "Processing", "Success", "daydreaming"):
        sim.put(task_id, word, means="completed" if word == "Success" else None)
        assert (await told(http, task_id))["status"] == word
    sim.jobs[task_id].failure = ("internal_error", "It broke.")
    sim.put(task_id, "Fail", means="failed")
    assert (await told(http, task_id))["base_resp"] == {"status_code": 1000, "status_msg": "It broke."}


@pytest.mark.parametrize("path", [V1, V2])
async def test_by_hand(sim: MinimaxSimulator, http: aiohttp.ClientSession, path: str) -> None:
    """By hand a task waits, runs and succeeds."""
    sim.automatic = False
    task_id = await made(http, path)
    seen = [sim.jobs[task_id].state]
    for _ in range(2):
        sim.advance(task_id)
        seen.append(sim.jobs[task_id].state)
    assert seen == ["Preparing" if path == V1 else "queued", "running", "succeeded"]


# ---------------------------------------------------------------- V2


async def test_life_of_v2(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """The sheet's example: queued, running and succeeded, with what is billed."""
    task_id = await made(http, V2)
    seen = [await shown(http, task_id) for _ in range(3)]
    assert [one["status"] for one in seen] == ["queued", "running", "succeeded"]
    usual = {"id": task_id, "model": "MiniMax-H3", "task_type": "generation", "duration": 6, "ratio": "16:9"}
    assert {name: seen[2][name] for name in usual} == usual
    assert set(seen[0]) == {*usual, "status", "resolution", "created_at", "updated_at"}
    assert set(seen[2]) == {*seen[0], "content", "usage"}
    taken = {"total_seconds": 6, "input_seconds": 0, "output_seconds": 6, "input_image_count": 0}
    assert seen[2]["usage"] == taken
    assert sim.cost(sim.latest) == 0.48
    await made(http, V2, **{**BOAT, "resolution": None, "content": [TEXT, *[REFERENCE] * 7]})
    sim.finish(sim.latest.id)
    assert sim.cost(sim.latest) == 0.86


async def test_ends_of_v2(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """A failure has a code that is a text; cancelled and expired have none."""
    task_id = await made(http, V2)
    sim.moderate(task_id)
    task = await shown(http, task_id)
    assert (task["status"], task["error"]) == ("failed", {"code": "1027", "message": "output new_sensitive"})
    for word in ("cancelled", "expired", "daydreaming"):
        sim.put(task_id, word)
        task = await shown(http, task_id)
        assert (task["status"], {"error", "content"} & task.keys()) == (word, set())
    assert sim.cost(sim.latest) == 0


async def test_delete(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """A queued task is cancelled, an ended one removed; one that runs or was cancelled is an error."""
    sim.automatic = False
    task_id = await made(http, V2)
    path = f"{V2}/{task_id}"
    assert await call(http, "DELETE", path) == (200, {"task_id": task_id, "action": "cancelled"})
    assert ((await shown(http, task_id))["status"], sim.jobs[task_id].cancelled) == ("cancelled", True)
    assert (await call(http, "DELETE", path))[0] == 400
    sim.put(task_id, "running")
    assert (await call(http, "DELETE", path))[0] == 400
    sim.mainland = True
    sim.finish(task_id)
    assert (await call(http, "DELETE", path))[1]["action"] == "delete"
    assert (await call(http, "DELETE", path))[0] == 404
    assert (await call(http, "GET", f"/v2/query/video_generation/{task_id}"))[0] == 404


async def test_list(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """The account's own tasks of V2, the newest first, a page at a time, for a week."""
    ids = [await made(http, V2) for _ in range(3)]
    await made(http)
    sim.jobs[ids[0]].created_at = int(time.time()) - 8 * 24 * 3600
    _, data = await call(http, "GET", "/v2/query/video_generation?page_num=1&page_size=1")
    assert ([task["id"] for task in data["tasks"]], data["total"]) == ([ids[2]], 2)
    assert (await call(http, "GET", "/v2/query/video_generation?page_size=0"))[0] == 400
    _, data = await call(http, "GET", "/v2/query/video_generation", headers={"Authorization": f"Bearer {OTHER}"})
    assert data == {"tasks": [], "total": 0}
    assert (await call(http, "GET", f"/v2/query/video_generation/{ids[0]}"))[0] == 404


async def test_regeneration(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """A finished 768P task, or a film beside what it was made of, is made once more in 2K."""
    task_id = await made(http, V2)
    order = {"model": "MiniMax-H3", "source_task_id": task_id, "resolution": "2K"}
    path = "/v2/video_regeneration"
    await refused(http, path, order)
    sim.finish(task_id)
    again = await made(http, path, **order)
    assert (await shown(http, again))["task_type"] == "regeneration"
    sim.finish(again)
    assert (sim.cost(sim.latest), sim.latest.kind) == (0.3, "edit")
    base = {**order, "source_task_id": None, "content": [TEXT, item("video", "base_video")]}
    await made(http, path, **base)
    for wrong in ({**order, "resolution": "768P"}, {**base, "content": [TEXT]}, {**base, "source_task_id": task_id}):
        await refused(http, path, wrong)
    await refused(http, path, {**order, "source_task_id": "1"}, status=404)
    sim.may_regenerate = False
    await refused(http, path, order, 2038, 403)


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("path", [V1, V2])
async def test_accounts(sim: MinimaxSimulator, http: aiohttp.ClientSession, path: str) -> None:
    """Moderation, an empty account and a wrong key are told apart, in the words of the route."""
    body = CLIP if path == V1 else BOAT
    sim.forbidden = "paper"
    await refused(http, path, body, 1026, 422)
    sim.forbidden, sim.penniless = "", True
    await refused(http, path, body, 1008, 402)
    sim.penniless = False
    sim.keys.discard(KEY)
    await refused(http, path, body, 1004, 401)
    assert sim.paid == 0
    sim.bad_key = 2049
    if path == V1:
        await refused(http, path, body, 2049)


async def test_other_accounts_and_paths(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """Tasks and files are those of their account and generation; a path that is not there is a plain 404."""
    old, new = await made(http), await made(http, V2)
    sim.finish(old)
    file_id = (await told(http, old))["file_id"]
    assert (await told(http, new))["base_resp"]["status_code"] == 2013
    assert (await call(http, "GET", f"/v2/query/video_generation/{old}"))[0] == 404
    other = {"Authorization": f"Bearer {OTHER}"}
    for path in (f"/v1/query/video_generation?task_id={old}", f"/v1/files/retrieve?file_id={file_id}"):
        status, data = await call(http, "GET", path, headers=other)
        assert (status, data["base_resp"]["status_code"]) == (200, 2013)
    for body in ([CLIP], "x"):
        await refused(http, V1, body)
        await refused(http, V2, body)
    assert await call(http, "GET", V1) == (404, b"404 page not found")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, 2013, "bad_request_error"),
        (401, 1004, "authorized_error"),
        (402, 1008, "insufficient_balance_error"),
        (403, 2038, "bad_request_error"),
        (422, 1026, "unprocessable_entity_error"),
        (429, 1002, "rate_limit_error"),
        (500, 1000, "server_error"),
    ],
)
def test_errors(status: int, code: int, kind: str) -> None:
    """An error of V1 is a 200 with a number, one of V2 a status with a word and that number at its end."""
    old, new = (kind(keys={KEY}).error(status, "No.") for kind in (MinimaxSimulator, MinimaxV2Simulator))
    assert (old.status, old.json["base_resp"]) == (200, {"status_code": code, "status_msg": "No."})
    assert new.status == status
    assert new.json["error"] == {"type": kind, "message": f"No. ({code})", "http_code": str(status)}
    assert MinimaxSimulator(keys={KEY}).error(404, "No.").status == 404


async def test_callbacks(sim: MinimaxSimulator, http: aiohttp.ClientSession) -> None:
    """An order is taken once its receiver has answered the challenge; the states of V1 are lower case there."""
    heard: list[Any] = []
    echoes = True

    async def receive(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.json_response(heard[-1] if echoes else {})

    app = web.Application()
    app.router.add_post("/", receive)
    sim.patience = 60.0
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        old, new = await made(http, V1, **CLIP, callback_url=url), await made(http, V2, **BOAT, callback_url=url)
        assert [set(body) for body in heard] == [{"challenge"}] * 2
        for end in (sim.advance, sim.finish, sim.fail):
            end(old)
            await sim.notify(old)
        assert [body["status"] for body in heard[2:]] == ["processing", "success", "failed"]
        sim.finish(new)
        await sim.notify(new)
        assert heard[-1]["task"]["status"] == "succeeded"
        echoes = False
        await refused(http, V1, {**CLIP, "callback_url": url})
    await refused(http, V2, {**BOAT, "callback_url": "http://"})
    assert sim.paid == 2
