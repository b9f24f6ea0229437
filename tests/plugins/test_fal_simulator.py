"""The fal simulator is held to the fact sheet, so that the plugin's tests may lean on it: the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.fal_http import KEY, OTHER, SEEDANCE, VEO, WISH, call, png, submit
from tests.simulators.fal import ERRORS, INFRASTRUCTURE, FalSimulator


@pytest.fixture
async def sim() -> AsyncIterator[FalSimulator]:
    async with SimulatorServer(FalSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: FalSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Key {KEY}"}) as session:
        yield session


# ---------------------------------------------------------------- the queue


async def test_life(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """Submitted, in the queue, running, done; the result has the video, whose address is public and elsewhere."""
    made = await submit(http, seed=7, duration="8s")
    request_id = made["request_id"]
    base = f"{sim.base_url}/fal-ai/veo3.1/requests/{request_id}"
    assert made == {
        "request_id": request_id,
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "status": "IN_QUEUE",
        "queue_position": 0,
    }
    polls = []
    for _ in range(3):
        early = await call(http, "GET", made["response_url"])
        polls.append(await call(http, "GET", made["status_url"]))
        assert early == (400, {"detail": "Request is still in progress"})
    assert polls == [
        (202, {"status": "IN_QUEUE", "queue_position": 0}),
        (202, {"status": "IN_PROGRESS", "logs": None}),
        (200, {"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 1.0}}),
    ]
    status, result = await call(http, "GET", made["response_url"])
    assert (status, result.keys(), result["seed"]) == (200, {"video", "seed"}, 7)
    video = result["video"]
    assert (video["content_type"], video["file_size"]) == ("video/mp4", len(sim.video_bytes))
    assert video["url"].startswith(f"{sim.files_url}/")
    async with aiohttp.ClientSession() as bare:
        assert await call(bare, "GET", video["url"]) == (200, sim.video_bytes)
        assert (await call(bare, "GET", video["url"].replace(sim.files_url, sim.base_url)))[0] == 404
        sim.gone_status = 403
        assert (await call(bare, "GET", video["url"]))[0] == 403
    assert (sim.paid, len(sim.calls("fetch"))) == (1, 7)


@pytest.mark.parametrize(
    ("endpoint", "app"),
    [
        ("fal-ai/veo3.1/fast/image-to-video", "fal-ai/veo3.1"),
        ("bytedance/seedance-2.0/mini/text-to-video", "bytedance/seedance-2.0"),
        ("wan/v2.6/text-to-video", "wan/v2.6"),
        ("workflows/me/film/step", "workflows/me/film"),
        ("comfy/me/film", "comfy/me/film"),
    ],
)
async def test_follow_ups_drop_the_sub_path(
    sim: FalSimulator, http: aiohttp.ClientSession, endpoint: str, app: str
) -> None:
    """The follow-up paths have the owner and alias alone, behind a namespace where there is one; no others work."""
    sim.any_endpoint = True
    made = await submit(http, endpoint, image_url=png())
    assert made["response_url"] == f"{sim.base_url}/{app}/requests/{made['request_id']}"
    assert (await call(http, "GET", made["status_url"]))[0] == 202
    for wrong in {endpoint, "fal-ai/another"} - {app}:
        for method, path in (("GET", "/status"), ("GET", ""), ("PUT", "/cancel")):
            assert (await call(http, method, f"/{wrong}/requests/{made['request_id']}{path}"))[0] == 404


async def test_places_in_the_queue_and_logs(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """The position counts those before; logs are a list when they are asked for, and null when not."""
    sim.automatic = False
    first, second = await submit(http), await submit(http, f"{VEO}/fast")
    assert (first["queue_position"], second["queue_position"]) == (0, 1)
    assert (await submit(http, f"{SEEDANCE}/text-to-video"))["queue_position"] == 0
    sim.advance(first["request_id"])
    assert await call(http, "GET", second["status_url"]) == (202, {"status": "IN_QUEUE", "queue_position": 0})
    for asked in ("1", "true"):
        _, status = await call(http, "GET", f"{first['status_url']}?logs={asked}")
        assert [line.keys() for line in status["logs"]] == [{"message", "timestamp", "level", "source"}]
    assert (await call(http, "GET", f"{first['status_url']}?logs=false"))[1]["logs"] is None
    sim.poll_statuses = (200, 202)
    assert (await call(http, "GET", first["status_url"]))[0] == 200


@pytest.mark.parametrize("code", [*ERRORS, *INFRASTRUCTURE])
async def test_completed_may_be_a_failure(sim: FalSimulator, http: aiohttp.ClientSession, code: str) -> None:
    """A run that failed is COMPLETED; the GET of its result answers the error's status, in a list or a sentence."""
    made = await submit(http)
    sim.fail(made["request_id"], code=code)
    expected, sentence = {**ERRORS, **INFRASTRUCTURE}[code]
    status, said = await call(http, "GET", made["status_url"])
    assert (status, said["status"], said["error"], said["error_type"]) == (200, "COMPLETED", sentence, code)
    assert said["logs"] is None
    sim.tells_error = False
    assert "error" not in (await call(http, "GET", made["status_url"]))[1]
    async with http.get(made["response_url"]) as response:
        detail = (await response.json())["detail"]
        assert response.status == expected
        assert response.headers["x-fal-error-type"] == code
        assert response.headers["x-fal-request-id"] == made["request_id"]
        assert response.headers["x-fal-retryable"] == ("true" if expected >= 500 else "false")
    if code in ERRORS:
        assert [(item["type"], item["msg"], item["loc"][0]) for item in detail] == [(code, sentence, "body")]
        assert detail[0]["url"] == f"https://docs.fal.ai/errors#{code}"
    else:
        assert detail == sentence


async def test_other_ends(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """Words of third parties and unknown ones are shown as they are; a success may have no video; texts may differ."""
    made = await submit(http)
    job_id = made["request_id"]
    for word, result in (("FAILED", 500), ("CANCELED", 500), ("daydreaming", 400)):
        sim.put(job_id, word)
        assert (await call(http, "GET", made["status_url"]))[1]["status"] == word
        assert (await call(http, "GET", made["response_url"]))[0] == result
    sim.give(job_id, {"video": None})
    assert await call(http, "GET", made["response_url"]) == (200, {"video": None})
    sim.fail(job_id, code="new_word", message="Odd.", status=418)
    assert await call(http, "GET", made["response_url"]) == (418, {"detail": "Odd."})


async def test_cancel(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """A cancel is accepted with 202 and ends what is queued; a late one is a 400 or 409, an unknown one a 404."""
    sim.automatic = False
    made = await submit(http)
    assert await call(http, "GET", made["cancel_url"]) == (404, {"detail": "Not Found"})
    assert await call(http, "PUT", made["cancel_url"]) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert sim.latest.cancelled
    assert (await call(http, "GET", made["status_url"]))[1]["error_type"] == "request_cancelled"
    for sim.late_cancel_status in (400, 409):
        said = await call(http, "PUT", made["cancel_url"])
        assert said == (sim.late_cancel_status, {"status": "ALREADY_COMPLETED"})
    assert (await call(http, "PUT", "/fal-ai/veo3.1/requests/none/cancel"))[0] == 404
    assert len(sim.calls("cancel")) == 4


async def test_cancel_of_a_running_request(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """A running request may finish all the same, or end by a word that third parties know."""
    made = await submit(http)
    job_id = made["request_id"]
    sim.advance(job_id)
    sim.runs_on = True
    assert (await call(http, "PUT", made["cancel_url"]))[0] == 202
    assert (await call(http, "GET", made["status_url"]))[1]["status"] == "IN_PROGRESS"
    sim.runs_on, sim.cancelled_state = False, "CANCELED"
    assert (await call(http, "PUT", made["cancel_url"]))[0] == 202
    assert (await call(http, "GET", made["status_url"]))[1]["status"] == "CANCELED"
    assert (await call(http, "GET", made["response_url"])) == (499, {"detail": "Request was cancelled"})


# ---------------------------------------------------------------- who may, and what


async def test_the_word_of_the_key(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """Bearer, an unknown key and none are a 401, for every call but that of a public file."""
    made = await submit(http)
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"Authorization": "Key a:b"}, {"Authorization": KEY}):
        for method, url in (("POST", f"/{VEO}"), ("GET", made["status_url"]), ("PUT", made["cancel_url"])):
            status, said = await call(http, method, url, headers=headers)
            assert (status, list(said)) == (401, ["detail"])
    assert (await call(http, "GET", made["status_url"], headers={"Authorization": f"Key {OTHER}"}))[0] == 404
    assert (await call(http, "GET", made["status_url"].replace(sim.base_url, sim.files_url)))[0] == 404
    assert sim.paid == 1


async def test_accounts_that_may_not(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """An exhausted balance is a 403, too many at once a 429, with or without a Retry-After; both take nothing."""
    sim.max_concurrent = 1
    made = await submit(http)
    for sim.retry_after in (None, 5):
        async with http.post(f"/{VEO}", json=WISH) as response:
            assert response.status == 429
            assert response.headers.get("retry-after") == (sim.retry_after and str(sim.retry_after))
            assert (await response.json())["detail"]
    other = {"Authorization": f"Key {OTHER}"}
    assert (await call(http, "POST", f"/{VEO}", json=WISH, headers=other))[0] == 200
    sim.finish(made["request_id"])
    await submit(http)
    sim.locked = {KEY}
    status, said = await call(http, "POST", f"/{VEO}", json=WISH)
    assert status == 403
    assert "Exhausted balance" in said["detail"]
    assert sim.paid == 3


# ---------------------------------------------------------------- what the contract does


async def test_answers_that_a_test_changes(sim: FalSimulator, http: aiohttp.ClientSession) -> None:
    """`mangle` changes one answer of a poll: that about a success which the test means, and every other status."""
    sim.automatic = False
    made = await submit(http)

    async def polled() -> tuple[Any, Any]:
        return (await call(http, "GET", made["status_url"]))[1], (await call(http, "GET", made["response_url"]))[1]

    sim.mangle(lambda _: "odd", on="fetch", times=2)
    assert [(await polled())[0] for _ in range(3)] == ["odd", "odd", {"status": "IN_QUEUE", "queue_position": 0}]
    sim.finish(made["request_id"])
    turns: list[tuple[Literal["result", "status"], list[bool]]] = [("result", [False, True]), ("status", [True, False])]
    for sim.mangles, odd in turns:
        sim.mangle(lambda _: "odd", on="fetch")
        assert [said == "odd" for said in await polled()] == odd
    sim.fail(made["request_id"])
    sim.mangles = "result"
    sim.mangle(lambda _: "odd", on="fetch", times=None)
    assert [(await polled())[0] for _ in range(2)] == ["odd", "odd"]
    sim.calm()
    assert (await polled())[0] != "odd"
    sim.mangle(lambda _: [], on="create")
    assert (await call(http, "POST", f"/{VEO}", json=WISH))[1] == []
    assert (await call(http, "POST", f"/{VEO}", json=WISH))[1] != []
    for kind in ("remix", "edit"):
        sim.then(status=418, on=kind)
        sim.fault("empty_200", on=kind)
        sim.mangle(lambda _: [], on=kind)
        edit = {"video_url": "https://a.example/b", **WISH}
        told = [await call(http, "POST", "/google/gemini-omni-flash/edit", json=edit) for _ in range(3)]
        assert told == [(418, b""), (200, b""), (200, [])]
