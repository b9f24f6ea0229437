"""The Kling simulator is held to the sheet, so that the plugin's tests may lean on it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.plugins.kling_calls import (
    CLIP,
    FILM,
    OTHER,
    PAIR,
    SINGLE,
    STILL,
    call,
    client,
    jwt,
    made,
    order,
    refused,
    running,
    told,
)
from tests.simulators.kling import KlingSimulator
from tests.simulators.kling_models import EXTEND, IMAGE, KINDS, OMNI, TEXT
from tests.simulators.kling_wire import CODES, signer

# The vector of the sheet: the same claims under a header in two orders.
VECTOR = "ak_TEST_1234567890abcdef|sk_TEST_fedcba0987654321"
CLAIMS = "eyJpc3MiOiJha19URVNUXzEyMzQ1Njc4OTBhYmNkZWYiLCJleHAiOjE3NjcyMjc0MDAsIm5iZiI6MTc2NzIyNTU5NX0"
TOKENS = (
    f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{CLAIMS}.Gk86T6e3jbEWH2zkURYtDXHrnmx9uNpXznW_awzciTk",
    f"eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.{CLAIMS}.9fNIAx6x6mXSejC4W1BvShllkzFRjnu3ZBHybJ-OriQ",
)


@pytest.fixture
async def sim() -> AsyncIterator[KlingSimulator]:
    async with running() as simulator:
        yield simulator


@pytest.fixture
async def http(sim: KlingSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with client(sim) as session:
        yield session


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(("now", "expected"), [(1767225600, VECTOR), (1767225594, 1003), (1767227400, 1004)])
def test_the_vector_of_the_sheet(token: str, now: float, expected: str | int) -> None:
    """Both tokens are good from nbf to exp: a verifier decodes and never compares texts."""
    assert signer(token, [PAIR, VECTOR], now) == expected
    assert signer(f"{token[:-2]}zz", [VECTOR], now) == 1000
    assert signer(token, [f"{VECTOR}0"], now) == 1000
    assert signer(token, [PAIR], now) == 1002


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        (f"Token {jwt()}", 1002),
        ("Bearer", 1002),
        (f"Bearer {PAIR}", 1002),
        ("Bearer a.b", 1002),
        ("Bearer é.b.c", 1002),
        (f"Bearer {jwt()}.x", 1002),
        (f"Bearer {jwt(alg='none')}", 1002),
        (f"Bearer {jwt('nobody|' + 'Sk' * 16)}", 1002),
        (f"Bearer {jwt(exp=None)}", 1002),
        (f"Bearer {jwt(nbf=1.5)}", 1002),
        (f"Bearer {jwt(PAIR[:-1])}", 1000),
        (f"Bearer {jwt(nbf=int(time.time()) + 7200)}", 1003),
        (f"Bearer {jwt(exp=int(time.time()) - 1)}", 1004),
    ],
)
async def test_who_may_call(sim: KlingSimulator, header: str | None, code: int) -> None:
    """No header, another scheme, a token that is none, of nobody, badly signed, too early or too late: each is a 401
    with a code of its own."""
    headers = {} if header is None else {"Authorization": header}
    async with aiohttp.ClientSession(sim.base_url, headers=headers) as http:
        status, data = await order(http)
    assert (status, data["code"], set(data)) == (401, code, {"code", "message", "request_id"})
    assert sim.paid == 0


async def test_accounts(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """A pair and a single key are accounts, whose tasks nobody else sees; the clock is the simulator's."""
    task_id = await made(http, external_task_id="gw-1")
    for token in (jwt(OTHER), SINGLE):
        headers = {"Authorization": f"Bearer {token}"}
        for wanted in (task_id, "gw-1"):
            status, data = await call(http, "GET", f"/v1/videos/{TEXT}/{wanted}", headers=headers)
            assert (status, data["code"]) == (404, 1203)
        assert (await call(http, "GET", f"/v1/videos/{TEXT}", headers=headers))[1]["data"] == []
    sim.now = lambda: time.time() + 1801
    assert (await order(http))[1]["code"] == 1004


# ---------------------------------------------------------------- tasks


async def test_life(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """submitted, processing, succeed: times in milliseconds, durations and units as strings, an id beyond 2**53."""
    fields: dict[str, Any] = {
        "mode": "std",
        "duration": "5",
        "aspect_ratio": "16:9",
        "external_task_id": "gw-42",
        "image_tail": None,
    }
    _, data = await order(http, **fields)
    born = data["data"]
    assert set(born) == {"task_id", "task_status", "task_info", "created_at", "updated_at"}
    assert (born["task_status"], born["task_info"]) == ("submitted", {"external_task_id": "gw-42"})
    assert born["task_id"].isdecimal()
    assert int(born["task_id"]) > 2**53
    assert abs(born["created_at"] / 1000 - time.time()) < 60
    seen = [await told(http, born["task_id"]) for _ in range(3)]
    assert [task["task_status"] for task in seen] == ["submitted", "processing", "succeed"]
    assert ["task_result" in task for task in seen] == [False, False, True]
    (film,) = seen[2]["task_result"]["videos"]
    assert set(film) == {"id", "url", "duration"}
    assert (film["duration"], seen[2]["final_unit_deduction"], seen[2]["task_status_msg"]) == ("5.1", "2", "")
    assert film["id"] != born["task_id"]
    assert sim.paid == 1


async def test_paths_and_external_ids(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """A task is found by either id on the path of its own kind, and on no other; an external id is unique."""
    task_id = await made(http, IMAGE, image=STILL, external_task_id="gw-7")
    assert (await told(http, "gw-7", IMAGE))["task_id"] == task_id
    for kind in KINDS:
        for wanted in (task_id, "gw-7", "gw-8"):
            status, data = await call(http, "GET", f"/v1/videos/{kind}/{wanted}")
            right = kind == IMAGE and wanted != "gw-8"
            assert (status, data["code"]) == ((200, 0) if right else (404, 1203))
    assert await refused(http, TEXT, external_task_id="gw-7") == "external_task_id"
    assert sim.paid == 1
    sim.unique_external_ids = False
    await made(http, external_task_id="gw-7")


async def test_lists(http: aiohttp.ClientSession) -> None:
    """A list has the tasks of its kind, the newest first, page by page."""
    ids = [await made(http) for _ in range(3)]
    await made(http, IMAGE, image=STILL)
    for query, expected in (("", ids[::-1]), ("?pageSize=2", ids[:0:-1]), ("?pageNum=2&pageSize=2", ids[:1])):
        _, data = await call(http, "GET", f"/v1/videos/{TEXT}{query}")
        assert [task["task_id"] for task in data["data"]] == expected
    for query in ("?pageNum=0", "?pageNum=1001", "?pageSize=501", "?pageSize=x"):
        assert (await call(http, "GET", f"/v1/videos/{TEXT}{query}"))[1]["code"] == 1201


async def test_results(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """Results are on the other origin, need no key and no HEAD, and are gone after thirty days."""
    task_id = await made(http, watermark_info={"enabled": True})
    sim.finish(task_id)
    (film,) = (await told(http, task_id))["task_result"]["videos"]
    assert film["url"].startswith(f"{sim.files_url}/")
    async with aiohttp.ClientSession() as anybody:
        for url in (film["url"], film["watermark_url"]):
            assert await call(anybody, "GET", url) == (200, sim.video_bytes)
        ranged = await call(anybody, "GET", film["url"], headers={"Range": "bytes=0-9"})
        assert ranged == (206, sim.video_bytes[:10])
        for method, url in (
            ("HEAD", film["url"]),
            ("GET", film["url"].partition("?")[0]),
            ("GET", film["url"].replace(sim.files_url, sim.base_url)),
        ):
            assert (await call(anybody, method, url))[0] == 404
        sim.expire_results()
        assert (await call(anybody, "GET", film["url"]))[0] == 404


async def test_failures(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """A failed task, moderated late or not, is a 200 with its reason in the message alone; it is free."""
    task_id = await made(http)
    sim.fail(task_id, message="The lamp went out.")
    task = await told(http, task_id)
    assert (task["task_status"], task["task_status_msg"]) == ("failed", "The lamp went out.")
    assert (task["final_unit_deduction"], "task_result" in task) == ("0", False)
    sim.moderate(task_id)
    assert "risk control" in (await told(http, task_id))["task_status_msg"]


async def test_extensions(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """An extension names the film, not the task; the result tells its parent; newer models have none."""
    task_id = await made(http, duration="10", mode="pro")
    video_id = sim.latest.facts["video"]
    assert (await order(http, EXTEND, video_id=video_id))[1]["code"] == 1203
    sim.finish(task_id)
    assert (await order(http, EXTEND, video_id=task_id))[1]["code"] == 1203
    longer = await made(http, EXTEND, video_id=video_id, prompt="and on", cfg_scale=0.4)
    sim.finish(longer)
    task = await told(http, longer, EXTEND)
    assert task["task_info"]["parent_video"]["id"] == video_id
    assert task["task_result"]["videos"][0]["duration"] == "15.1"
    assert (sim.latest.kind, sim.latest.facts["mode"], len(sim.calls("extend"))) == ("extend", "pro", 3)
    sim.latest.facts["seconds"] = 176
    assert await refused(http, EXTEND, video_id=sim.latest.facts["video"]) == "video_id"
    assert await refused(http, EXTEND) == "video_id"
    await made(http, model_name="kling-v2-6")
    sim.finish(sim.latest.id)
    assert await refused(http, EXTEND, video_id=sim.latest.facts["video"]) == "video_id"
    sim.expire_results()
    assert (await order(http, EXTEND, video_id=video_id))[1]["code"] == 1203


async def test_omni_makes_edits_and_goes_on(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """One path makes, edits and goes on, which tests count apart; a film of ours is looked at."""
    usual = {"model_name": "kling-v3-omni", "prompt": "in <<<video_1>>> it snows"}
    await made(http)
    sim.finish(sim.latest.id)
    url = sim.link(sim.latest)
    for how, ratio in (("base", {}), ("feature", {"aspect_ratio": "1:1"})):
        await made(http, OMNI, **usual, **ratio, video_list=[{"video_url": url, "refer_type": how}])
    await made(http, OMNI, prompt="a fox", model_name=None, aspect_ratio="9:16")
    assert (sim.latest.facts["model"], sim.latest.facts["mode"]) == ("kling-video-o1", "pro")
    assert [len(sim.calls(kind)) for kind in ("create", "edit", "remix", "extend")] == [2, 1, 1, 1]
    sim.jobs[next(iter(sim.jobs))].facts["seconds"] = 15
    assert await refused(http, OMNI, **usual, video_list=[{"video_url": url}]) == "video_url"
    sim.expire_results()
    assert await refused(http, OMNI, **usual, video_list=[{"video_url": url}]) == "video_url"
    sim.refuse(1302, on="edit")
    assert (await order(http, OMNI, **usual, aspect_ratio="1:1", video_list=[]))[1]["code"] == 1201
    assert (await order(http, OMNI, **usual, video_list=[{"video_url": FILM}]))[0] == 429


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("code", CODES)
async def test_error_codes(sim: KlingSimulator, http: aiohttp.ClientSession, code: int) -> None:
    """Each code comes with its status, or inside a 200 where the simulator is told so."""
    sim.refuse(code)
    status, data = await order(http)
    assert (status, data["code"]) == (CODES[code][0], code)
    sim.errors_in_200 = True
    sim.refuse(code, "In other words.", on="fetch")
    status, data = await call(http, "GET", f"/v1/videos/{TEXT}/1")
    assert (status, data["code"], data["message"]) == (200, code, "In other words.")
    assert (await call(http, "GET", f"/v1/videos/{TEXT}/1"))[1]["code"] == 1203
    assert sim.paid == 0


async def test_parallel_tasks(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """Tasks count against the account from their submission to their end."""
    sim.max_parallel = 1
    task_id = await made(http)
    status, data = await order(http)
    assert (status, data["code"], data["message"]) == (429, 1303, "parallel task over resource pack limit")
    sim.finish(task_id)
    await made(http)


async def test_routes_and_bodies(sim: KlingSimulator, http: aiohttp.ClientSession) -> None:
    """There is no cancel and no delete, and a body is a JSON object; strange fields are not looked at."""
    task_id = await made(http, n=2, image=STILL)
    assert sim.latest.facts["ignored"] == ["image", "n"]
    for method, path, code in (
        ("DELETE", f"/v1/videos/{TEXT}/{task_id}", 1202),
        ("POST", f"/v1/videos/{TEXT}/{task_id}/cancel", 1202),
        ("GET", "/v1/video/text2video", 1203),
    ):
        assert (await call(http, method, path))[1]["code"] == code
    for kwargs in ({"data": CLIP}, {"json": [CLIP]}, {"data": b"{", "headers": {"Content-Type": "application/json"}}):
        assert (await call(http, "POST", f"/v1/videos/{TEXT}", **kwargs))[1]["code"] == 1200
    for model in ("kling-v9", 7):
        assert (await order(http, model_name=model))[1]["code"] == 1203
    assert sim.paid == 1
