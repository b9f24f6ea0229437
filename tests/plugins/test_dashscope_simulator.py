"""The DashScope simulator is held to the fact sheet: tasks, the list, results, and who may call."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import aiohttp
import pytest

from proxy.testing import Answer, SimulatorServer
from tests.plugins.dashscope_caller import CLIP, HEADERS, KEY, OTHER, UUID, call, look, made, order, refused
from tests.simulators.dashscope import FAILURES, DashScopeSimulator
from tests.simulators.dashscope_files import BEIJING, ERRORS

SENTENCE = "Failed to cancel the task, please confirm if the task is in PENDING status."


@pytest.fixture
async def sim() -> AsyncIterator[DashScopeSimulator]:
    async with SimulatorServer(DashScopeSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: DashScopeSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers=HEADERS) as session:
        yield session


# ---------------------------------------------------------------- tasks


async def test_life(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """PENDING, RUNNING, SUCCEEDED, with Beijing's times, both prompts, the address and what is billed."""
    task_id = await made(http)
    assert UUID.fullmatch(task_id)
    seen = [await look(http, task_id) for _ in range(3)]
    outputs = [told["output"] for told in seen]
    assert [told["task_status"] for told in outputs] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert ["usage" in told for told in seen] == [False, False, True]
    assert set(outputs[0]) == {"task_id", "task_status", "submit_time"}
    told = outputs[2]
    words = {"task_id", "task_status", "submit_time", "scheduled_time", "end_time"}
    assert set(told) == words | {"orig_prompt", "actual_prompt", "video_url"}
    assert (told["task_id"], told["orig_prompt"]) == (task_id, "a paper boat")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", told["submit_time"])
    submitted = datetime.fromisoformat(told["submit_time"]).replace(tzinfo=BEIJING)
    assert abs(submitted.timestamp() - time.time()) < 60
    usage = {"duration": 5, "output_video_duration": 5, "SR": 720, "size": "1280*720", "video_count": 1}
    assert seen[2]["usage"] == {**usage, "video_ratio": "16:9"}
    assert sim.paid == 1


async def test_usage_has_other_words_too(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """The length may be a float, and older models have video_duration and a video_ratio in pixels."""
    task_id = await made(http, order("wanx2.1-t2v-turbo", size="480*832", prompt_extend=False))
    sim.finish(task_id)
    sim.old_usage = sim.float_durations = True
    told = await look(http, task_id)
    assert told["usage"] == {"video_count": 1, "video_duration": 5.0, "video_ratio": "480*832"}
    assert isinstance(told["usage"]["video_duration"], float)
    assert "actual_prompt" not in told["output"]


@pytest.mark.parametrize("code", FAILURES)
async def test_failures(sim: DashScopeSimulator, http: aiohttp.ClientSession, code: str) -> None:
    """A task that failed is a 200 with code and message in its output."""
    task_id = await made(http)
    sim.fail(task_id, code=code)
    told = await look(http, task_id)
    assert (told["output"]["task_status"], told["output"]["code"]) == ("FAILED", code)
    assert told["output"]["message"] == FAILURES[code]
    assert not {"usage", "video_url"} & {*told, *told["output"]}


async def test_what_is_not_there_is_unknown(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """A task that never was, another account's, and one whose 24 hours are over are UNKNOWN, and no error."""
    task_id = await made(http)
    sim.finish(task_id)
    url = (await look(http, task_id))["output"]["video_url"]
    foreign = {"Authorization": f"Bearer {OTHER}"}
    _, told = await call(http, "GET", f"/api/v1/tasks/{task_id}", headers=foreign)
    assert told["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
    assert (await look(http, "nobody"))["output"] == {"task_id": "nobody", "task_status": "UNKNOWN"}
    sim.expire(task_id)
    assert (await look(http, task_id))["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
    assert (await call(http, "GET", url))[0] == 403


async def test_states_by_hand(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """SUSPENDED and CANCELED, which no poll leads to, are shown as they are."""
    task_id = await made(http)
    for state in ("SUSPENDED", "CANCELED"):
        sim.put(task_id, state)
        assert (await look(http, task_id))["output"]["task_status"] == state


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"])
async def test_only_what_is_pending_can_be_cancelled(
    sim: DashScopeSimulator, http: aiohttp.ClientSession, state: str
) -> None:
    """Cancelling answers an id alone, and is UnsupportedOperation for every other state and account."""
    task_id = await made(http)
    sim.put(task_id, state)
    foreign = {"Authorization": f"Bearer {OTHER}"}
    assert (await call(http, "POST", f"/api/v1/tasks/{task_id}/cancel", headers=foreign))[0] == 400
    status, told = await call(http, "POST", f"/api/v1/tasks/{task_id}/cancel")
    if state == "PENDING":
        assert (status, set(told), sim.latest.cancelled) == (200, {"request_id"}, True)
        assert (await look(http, task_id))["output"]["task_status"] == "CANCELED"
    else:
        assert (status, told["code"], told["message"]) == (400, "UnsupportedOperation", SENTENCE)
        assert not sim.latest.cancelled


async def test_the_list(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """The account's tasks, newest first, by page, model, state and id; a task is there without prompt and result."""
    first, second = await made(http), await made(http, order("happyhorse-1.0-t2v"))
    await made(http, Authorization=f"Bearer {OTHER}")
    status, told = await call(http, "GET", "/api/v1/tasks")
    assert (status, [entry["task_id"] for entry in told["data"]]) == (200, [second, first])
    assert {name: told[name] for name in ("total", "total_page", "page_no", "page_size")} == {
        "total": 2,
        "total_page": 1,
        "page_no": 1,
        "page_size": 10,
    }
    entry = told["data"][1]
    assert (entry["status"], entry["model_name"]) == ("PENDING", "wan2.6-t2v")
    assert entry["user_api_unique_key"] == "apikey:v1:aigc:video-generation:video-synthesis:wan2.6-t2v"
    assert abs(entry["gmt_create"] / 1000 - time.time()) < 60
    assert not {"prompt", "orig_prompt", "output", "video_url"} & entry.keys()
    sim.finish(second)
    for query, found in (
        ("model_name=wan2.6-t2v", [first]),
        ("status=SUCCEEDED", [second]),
        (f"task_id={first}", [first]),
        ("page_no=2&page_size=1", [first]),
        ("page_no=3&page_size=1", []),
    ):
        _, told = await call(http, "GET", f"/api/v1/tasks/?{query}")
        assert [entry["task_id"] for entry in told["data"]] == found


async def test_the_window_of_a_list(http: aiohttp.ClientSession) -> None:
    """A list reaches over a day at most, in Beijing's time, and by default over the last one."""
    task_id, now = await made(http), datetime.now(BEIJING)

    def moment(hours: float) -> str:
        return f"{now + timedelta(hours=hours):%Y%m%d%H%M%S}"

    for query, count in (
        (f"start_time={moment(-1)}&end_time={moment(1)}", 1),
        (f"end_time={moment(1)}", 1),
        (f"start_time={moment(-1)}", 1),
        (f"start_time={moment(-3)}&end_time={moment(-1)}", 0),
    ):
        _, told = await call(http, "GET", f"/api/v1/tasks?{query}")
        assert [entry["task_id"] for entry in told["data"]] == [task_id] * count, query
    wrong = ("start_time=2026-01-01", f"start_time={moment(-25)}&end_time={moment(0)}", "page_no=0", "page_size=x")
    for query in (*wrong, f"start_time={moment(1)}&end_time={moment(0)}"):
        status, told = await call(http, "GET", f"/api/v1/tasks?{query}")
        assert (status, told["code"]) == (400, "InvalidParameter"), query


async def test_links(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """Results are on the other origin, need no key, are signed for GET alone, and run out."""
    task_id = await made(http)
    sim.finish(task_id)
    url = (await look(http, task_id))["output"]["video_url"]
    assert url == (await look(http, task_id))["output"]["video_url"]
    assert url.startswith(f"{sim.files_url}/")
    assert "?Expires=" in url
    async with aiohttp.ClientSession() as bare:
        assert await call(bare, "GET", url) == (200, sim.video_bytes)
        assert await call(bare, "GET", url, headers={"Range": "bytes=0-9"}) == (206, sim.video_bytes[:10])
        assert (await call(bare, "HEAD", url))[0] == 403
        assert (await call(bare, "GET", url.partition("?")[0]))[0] == 403
        assert (await call(bare, "GET", url.replace(sim.files_url, sim.base_url)))[0] == 403
        sim.expire_links()
        status, page = await call(bare, "GET", url)
    assert (status, page.startswith(b"<?xml")) == (403, True)


# ---------------------------------------------------------------- refusals


async def test_who_may_call(sim: DashScopeSimulator, http: aiohttp.ClientSession) -> None:
    """A wrong key is InvalidApiKey, an order without the async header AccessDenied, another path InvalidParameter."""
    for key in (f"Bearer {KEY}0", KEY, f"Token {KEY}", ""):
        assert (await refused(http, CLIP, Authorization=key))[0] == "InvalidApiKey"
    for word in ("", "true"):
        code, said = await refused(http, CLIP, **{"X-DashScope-Async": word})
        assert (code, said) == ("AccessDenied", "current user api does not support synchronous calls.")
    for path in ("/api/v1/tasks/a/b", "/services/aigc/video-generation/video-synthesis", "/api/v1/x"):
        assert (await refused(http, CLIP, path))[0] == "InvalidParameter"
    assert (await call(http, "GET", f"{sim.files_url}/api/v1/tasks"))[0] == 403
    assert sim.paid == 0


def test_errors_have_the_providers_shape() -> None:
    """What the contract lets the simulator say has a code that goes with its status."""
    sim = DashScopeSimulator()
    for status in (400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503):
        said: Answer = sim.error(status, "No.")
        assert (said.status, said.json["message"], set(said.json)) == (status, "No.", {"code", "message", "request_id"})
        usual = ERRORS[said.json["code"]][0]
        assert usual == status or status in (402, 408, 409, 422)
    for code, (status, sentence) in ERRORS.items():
        said = sim.refusal(code)
        assert (said.status, said.json["code"], said.json["message"]) == (status, code, sentence)
