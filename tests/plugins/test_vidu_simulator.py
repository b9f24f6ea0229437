"""The Vidu simulator is held to the sheet and to the official client, so that the plugin's tests may lean on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.plugins.vidu_calls import (
    CLIP,
    HEADERS,
    KEY,
    OTHER,
    SHEET,
    Prompted,
    call,
    made,
    order,
    refused,
    running,
    told,
)
from tests.simulators.media import picture
from tests.simulators.vidu import signature


@pytest.fixture
async def ran() -> AsyncIterator[tuple[Prompted, aiohttp.ClientSession]]:
    async with running() as both:
        yield both


@pytest.fixture
def sim(ran: tuple[Prompted, aiohttp.ClientSession]) -> Prompted:
    return ran[0]


@pytest.fixture
def http(ran: tuple[Prompted, aiohttp.ClientSession]) -> aiohttp.ClientSession:
    return ran[1]


# ---------------------------------------------------------------- tasks


async def test_life(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """The sheet's example: created with an echo, then queueing, processing and success, whose id is called id."""
    status, data = await order(http, **SHEET)
    task_id = data["task_id"]
    assert (status, task_id.isdecimal(), int(task_id) > 2**53) == (200, True, True)
    assert {name: data[name] for name in SHEET} == SHEET
    assert (data["state"], data["images"], data["credits"], data["off_peak"]) == ("created", [], 20, False)
    assert (data["movement_amplitude"], data["created_at"][-1], data["seed"] > 0) == ("auto", "Z", True)
    seen = [await told(http, task_id) for _ in range(3)]
    assert [one["state"] for one in seen] == ["queueing", "processing", "success"]
    usual = {"id": task_id, "err_code": "", "credits": 20, "payload": "gw-42", "bgm": False, "off_peak": False}
    assert seen[0] == {**usual, "state": "queueing", "creations": []}
    (creation,) = seen[2]["creations"]
    assert set(creation) == {"id", "url", "cover_url", "watermarked_url"}
    assert sim.paid == 1


async def test_results(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A result lies elsewhere, for anybody who has its link, with ranges, without HEAD, and a 403 of XML afterwards."""
    task_id = await made(http)
    sim.finish(task_id)
    (creation,) = (await told(http, task_id))["creations"]
    url = creation["url"]
    assert url.startswith(f"{sim.files_url}/")
    async with aiohttp.ClientSession() as bare:
        assert await call(bare, "GET", url) == (200, sim.video_bytes)
        assert await call(bare, "GET", url, headers={"Range": "bytes=0-3"}) == (206, sim.video_bytes[:4])
        assert await call(bare, "GET", creation["watermarked_url"]) == (200, sim.video_bytes)
        assert await call(bare, "GET", creation["cover_url"]) == (200, picture("JPEG"))
        assert (await call(bare, "HEAD", url))[0] == 403
        for wrong in (f"{url}x", url.replace(creation["id"], "1")):
            assert (await call(bare, "GET", wrong))[0] == 403
        (again,) = (await told(http, task_id))["creations"]
        assert (again["id"], again["url"] != url) == (creation["id"], True)
        sim.expire_links()
        status, page = await call(bare, "GET", url)
        assert (status, b"<Code>AccessDenied</Code>" in page) == (403, True)
        sim.fresh_links = False
        assert [await told(http, task_id) for _ in range(2)][1]["creations"][0] == again
        sim.fresh_links, sim.result_seconds = True, 0
        assert (await call(bare, "GET", (await told(http, task_id))["creations"][0]["url"]))[0] == 403


async def test_ends(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A failed poll is a 200 with an err_code and without a sentence; a word of the test's own is shown as it is."""
    task_id = await made(http)
    sim.moderate(task_id)
    data = await told(http, task_id)
    assert (data["state"], data["err_code"], data["creations"]) == ("failed", "CreationPolicyViolation", [])
    sim.fail(task_id)
    assert (await told(http, task_id))["err_code"] == "InternalServiceFailure"
    sim.put(task_id, "daydreaming")
    assert (await told(http, task_id))["state"] == "daydreaming"


async def test_by_hand(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """By hand a task goes from created, or from queueing, to processing and success; a progress is an option."""
    sim.automatic = False
    for start in ("created", "queueing"):
        task_id = await made(http)
        if start == "queueing":
            sim.enqueue(task_id)
        assert (await told(http, task_id))["state"] == start
        sim.advance(task_id)
        assert (await told(http, task_id))["state"] == "processing"
        sim.advance(task_id)
        assert "progress" not in await told(http, task_id)
        sim.talkative = True
        assert ((await told(http, task_id))["state"], (await told(http, task_id))["progress"]) == ("success", 100)
        sim.talkative = False


async def test_tasks_beyond_the_limit_wait(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A task that finds no free place waits in the queue, and is no error."""
    sim.max_running = 1
    first, second = await made(http), await made(http)
    sim.advance(first)
    for _ in range(4):
        assert (await told(http, second))["state"] == "queueing"
    sim.finish(first)
    assert "success" in [(await told(http, second))["state"] for _ in range(4)]


async def test_cancelling(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """What waits can be cancelled with its id in the body, and is a failure of its own name; what runs cannot."""
    sim.automatic = False
    task_id = await made(http)
    path = f"/ent/v2/tasks/{task_id}/cancel"
    for body in (None, {}, {"id": "1"}):
        assert (await call(http, "POST", path, json=body))[0] == 400
    assert await call(http, "POST", path, json={"id": task_id}) == (200, {})
    data = await told(http, task_id)
    assert (data["state"], data["err_code"], sim.latest.cancelled) == ("failed", "UserCancelled", True)
    assert (await call(http, "POST", path, json={"id": task_id}))[0] == 400
    running = await made(http)
    sim.advance(running)
    path = f"/ent/v2/tasks/{running}/cancel"
    status, data = await call(http, "POST", path, json={"id": running})
    assert (status, data["reason"], data["message"]) == (400, "BadRequest", "task state is scheduled, can not cancel")
    sim.scheduled = ("success", "failed")
    assert await call(http, "POST", path, json={"id": running}) == (200, {})


async def test_the_list(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """The newest come first, of the own account alone, by state, id, time and page; a page has 100 at most."""
    sim.automatic = False
    ids = [await made(http, **CLIP, payload=f"gw-{number}") for number in range(3)]
    sim.finish(ids[0])

    async def listed(**query: str) -> tuple[list[str], str]:
        status, data = await call(http, "GET", "/ent/v2/tasks", params=query)
        assert status == 200, data
        return [row["payload"] for row in data["tasks"]], data["next_page_token"]

    assert await listed() == (["gw-2", "gw-1", "gw-0"], "")
    assert await listed(states="success,failed") == (["gw-0"], "")
    assert await listed(task_ids=f"{ids[1]},{ids[0]}") == (["gw-1", "gw-0"], "")
    first, token = await listed(**{"pager.pagesz": "2"})
    assert (first, (await listed(**{"pager.pagesz": "2", "pager.page_token": token}))[0]) == (
        ["gw-2", "gw-1"],
        ["gw-0"],
    )
    assert (await listed(**{"pager.pagesz": "2", "pager.page": "1"}))[0] == ["gw-0"]
    assert await listed(**{"created_at.from": "2099-01-01T00:00:00Z"}) == ([], "")
    assert (
        len((await listed(**{"created_at.from": "2020-01-01T00:00:00Z", "created_at.to": "2099-01-01T00:00:00Z"}))[0])
        == 3
    )
    for wrong in ({"pager.pagesz": "101"}, {"pager.page": "-1"}, {"states": "done"}):
        assert (await call(http, "GET", "/ent/v2/tasks", params=wrong))[0] == 400
    sim.lists_payload = False
    _, data = await call(http, "GET", "/ent/v2/tasks")
    assert [("payload" in row, "task_id" in row) for row in data["tasks"]] == [(False, False)] * 3
    status, data = await call(http, "GET", "/ent/v2/tasks", headers={"Authorization": f"Token {OTHER}"})
    assert (status, data["tasks"]) == (200, [])


# ---------------------------------------------------------------- accounts and errors


@pytest.mark.parametrize("header", [f"Bearer {KEY}", KEY, "Token vda_nobody", f"token {KEY}", ""])
async def test_the_scheme_is_token(sim: Prompted, header: str) -> None:
    """Nothing but the word Token and a known key is let in."""
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": header}) as http:
        status, data = await order(http)
    assert (status, data["code"], data["reason"], sim.paid) == (401, 401, "Unauthorized", 0)


async def test_what_is_not_there(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """Another account's task, an unknown one and an unknown path are 404s of two names."""
    task_id = await made(http)
    for number, headers in ((task_id, {"Authorization": f"Token {OTHER}"}), ("1", HEADERS)):
        status, data = await call(http, "GET", f"/ent/v2/tasks/{number}/creations", headers=headers)
        assert (status, data["reason"]) == (404, "TaskNotFound")
    status, data = await call(http, "POST", "/ent/v1/text2video", json=CLIP)
    assert (status, data["reason"]) == (404, "NotFound")
    assert [sim.error(status, "x").json["reason"] for status in (400, 403, 409, 429, 499, 500)] == [
        *("BadRequest", "Forbidden", "Conflict", "TooManyRequests", "Canceled", "InternalServiceFailure")
    ]


async def test_moderation_and_credits(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A word that is forbidden and an empty account are both a 400, told apart by the reason; nothing is taken."""
    sim.forbidden, sim.balance = "fox", 19
    assert (await refused(http, **CLIP))[0] == "AuditSubmitIllegal"
    sim.moderation = "TaskPromptPolicyViolation"
    assert (await refused(http, **CLIP))[0] == "TaskPromptPolicyViolation"
    sim.forbidden = ""
    assert ((await refused(http, **CLIP))[0], sim.paid) == ("CreditInsufficient", 0)
    sim.balance = 20
    sim.fail(await made(http))
    await made(http)
    assert (await refused(http, **CLIP))[0] == "CreditInsufficient"


# ---------------------------------------------------------------- callbacks


@pytest.mark.parametrize(
    ("path", "query", "date", "nonce", "expected"),
    [
        (
            *("/vidu/callback", "name=james&age=36", "Tue, 06 May 2025 12:09:42 GMT"),
            *("123e4567-e89b-12d3-a456-426614174000", "XauaD2ONO6hmvGEWOQNHbc4QLEPt4Qt8SL8pXvIrn1I="),
        ),
        (
            *("/cb/vidu", "", "Thu, 01 Jan 2026 00:00:00 GMT", "nonce-0001"),
            "A5nJpRHdqWCaNwkz0TrEAy3T+fGmyhZVrS3ngxPE6r0=",
        ),
    ],
)
def test_signatures(path: str, query: str, date: str, nonce: str, expected: str) -> None:
    """The signature of a callback is that of the sheet's two vectors."""
    headers = {"Date": date, "x-request-nonce": nonce}
    assert signature("vda_TESTKEY_0001", "POST", path, query, headers) == expected


async def test_callbacks(sim: Prompted, http: aiohttp.ClientSession) -> None:
    """A callback is the body of a poll, signed with the key that the task was made with."""
    task_id = await made(http)
    sim.finish(task_id)
    sim.fresh_links = False
    date, nonce = "Thu, 01 Jan 2026 00:00:00 GMT", "nonce-0001"
    headers, body = sim.callback(sim.latest, path="/cb", query="", date=date, nonce=nonce)
    assert body == await told(http, task_id)
    assert headers["X-HMAC-SIGNED-HEADERS"] == "Date;x-request-nonce"
    signed = signature(KEY, "POST", "/cb", "", {"Date": date, "x-request-nonce": nonce})
    assert (headers["X-HMAC-SIGNATURE"], headers["X-HMAC-ACCESS-KEY"]) == (signed, "vidu")
