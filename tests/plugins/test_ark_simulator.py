"""The Ark simulator is held to sections 4 and 5 of the fact sheet, so that the plugin's tests may lean on it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.testing import SimulatorServer
from tests.plugins.ark_caller import (
    CAT,
    KEY,
    OMNI,
    OTHER,
    PRO,
    PRO15,
    SOUND,
    call,
    film,
    image,
    made,
    refused,
    shown,
    still,
)
from tests.simulators.ark import DAY, TASKS, ArkSimulator, ModelArkSimulator
from tests.simulators.ark_models import CARDS, RATIOS


@pytest.fixture
async def sim() -> AsyncIterator[ArkSimulator]:
    async with SimulatorServer(ArkSimulator(keys={KEY, OTHER})) as simulator:
        yield simulator


@pytest.fixture
async def http(sim: ArkSimulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


# ---------------------------------------------------------------- tasks


async def test_the_sheets_example(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """The captured body of the SDK, nulls and all, makes the task of the sheet, token for token."""
    nulls: dict[str, Any] = dict.fromkeys(("frames", "draft", "priority", "callback_url", "tools"))
    fields = {"ratio": "16:9", "resolution": "720p", "duration": 5, "seed": 7, "watermark": False}
    task_id = await made(http, image(role="first_frame"), **fields, generate_audio=True, **nulls)
    assert re.fullmatch(r"cgt-\d{14}-[a-z0-9]{5}", task_id)
    queued = await shown(http, task_id)
    assert queued["status"] == "queued"
    assert not queued.keys() & {"content", "usage", "seed", "error", "resolution", "duration"}
    assert (await shown(http, task_id))["status"] == "running"
    done = await shown(http, task_id)
    assert done == {
        "id": task_id,
        "model": PRO15,
        "status": "succeeded",
        "error": None,
        "content": {"video_url": sim.link(sim.latest)},
        "seed": 7,
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "framespersecond": 24,
        "generate_audio": True,
        "service_tier": "default",
        "execution_expires_after": 172_800,
        "usage": {"completion_tokens": 108_900, "total_tokens": 108_900},
        "created_at": sim.latest.created_at,
        "updated_at": sim.latest.completed_at,
    }
    assert sim.paid == 1


async def test_states(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """Every end is a 200; a failure has a code and a sentence; nulls stand for what is not there, where it is asked."""
    task_id = await made(http)
    for state in ("queued", "running", "cancelled", "expired"):
        sim.put(task_id, state)
        task = await shown(http, task_id)
        assert (task["status"], task.get("error"), task.get("content")) == (state, None, None)
    sim.fail(task_id, code="OutputVideoSensitiveContentDetected", message="It may contain sensitive information.")
    task = await shown(http, task_id)
    assert task["error"] == {
        "code": "OutputVideoSensitiveContentDetected",
        "message": "It may contain sensitive information.",
    }
    sim.nulls = True
    task = await shown(http, task_id)
    assert (task["content"], task["usage"], task["ratio"]) == (None, None, None)


async def test_results(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """A result lies on another origin, for whoever has its address and no key, GET only, for a day."""
    task_id = await made(http, return_last_frame=True)
    sim.finish(task_id)
    content = (await shown(http, task_id))["content"]
    url = content["video_url"]
    assert url.startswith(sim.files_url)
    assert "X-Tos-Expires=86400&" in url
    assert (await shown(http, task_id))["content"] == content
    async with aiohttp.ClientSession() as bare:
        assert await call(bare, "GET", url) == (200, sim.video_bytes)
        part = await call(bare, "GET", url, headers={"Range": "bytes=0-9"})
        assert part == (206, sim.video_bytes[:10])
        assert (await call(bare, "GET", content["last_frame_url"]))[1].startswith(b"\x89PNG")
        assert (await call(bare, "HEAD", url))[0] == 403
        assert (await call(bare, "GET", url, headers={"Authorization": f"Bearer {KEY}"}))[0] == 403
        assert (await call(bare, "GET", url.partition("?")[0]))[0] == 403
        assert (await call(bare, "GET", url.replace(sim.files_url, sim.base_url)))[0] == 404
        sim.age(task_id, DAY)
        status, page = await call(bare, "GET", url)
        assert (status, b"<Code>AccessDenied</Code>" in page) == (403, True)
    assert (await call(http, "GET", f"{sim.files_url}{TASKS}/{task_id}"))[0] == 403


async def test_links_can_be_ended(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """An address that ran out is no good as an input either."""
    task_id = await made(http)
    sim.finish(task_id)
    url = (await shown(http, task_id))["content"]["video_url"]
    await made(http, film(url), model=OMNI)
    sim.expire_links()
    assert await refused(http, film(url), model=OMNI) == (400, "InvalidParameter", "content.video_url")


async def test_delete(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """A queued task is cancelled and can be seen; one that ended is gone; a running or cancelled one stays."""
    task_id = await made(http)
    assert await call(http, "DELETE", f"{TASKS}/{task_id}", json={}) == (200, b"")
    assert ((await shown(http, task_id))["status"], sim.latest.cancelled) == ("cancelled", True)
    for state in ("running", "cancelled"):
        sim.put(task_id, state)
        status, said = await call(http, "DELETE", f"{TASKS}/{task_id}")
        assert (status, said["error"]["code"]) == sim.undeletable
    for state in ("succeeded", "failed", "expired"):
        task_id = await made(http)
        sim.put(task_id, state)
        assert (await call(http, "DELETE", f"{TASKS}/{task_id}"))[0] == 200
        for method in ("GET", "DELETE"):
            status, said = await call(http, method, f"{TASKS}/{task_id}")
            assert (status, said["error"]["code"]) == sim.unknown_task


async def test_list(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """The newest first, in pages, filtered by status, ids, model or endpoint, and tier; a week back, one's own only."""
    sim.endpoints["ep-20260101-abcde"] = PRO
    ids = [await made(http), await made(http, model="ep-20260101-abcde"), await made(http, service_tier="flex")]
    sim.put(ids[0], "running")

    async def found(**query: Any) -> list[str]:
        status, said = await call(http, "GET", params=query.pop("pairs", query))
        assert (status, set(said)) == (200, {"total", "items"}), said
        return [item["id"] for item in said["items"]]

    assert await found() == ids[::-1]
    assert await found(**{"filter.status": "running"}) == ids[:1]
    assert await found(**{"filter.model": PRO}) == await found(**{"filter.model": "ep-20260101-abcde"}) == ids[1:2]
    assert await found(**{"filter.service_tier": "flex"}) == ids[2:]
    assert await found(pairs=[("filter.task_ids", ids[0]), ("filter.task_ids", ids[2])]) == [ids[2], ids[0]]
    assert await found(page_size="2", page_num="2") == ids[:1]
    for query in ({"page_size": "501"}, {"page_num": "0"}, {"filter.status": "done"}, {"filter.service_tier": "slow"}):
        assert (await call(http, "GET", params=query))[0] == 400
    _, said = await call(http, "GET", headers={"Authorization": f"Bearer {OTHER}"})
    assert said == {"total": 0, "items": []}
    sim.age(ids[2], 7 * DAY)
    assert await found() == [ids[1], ids[0]]
    assert (await call(http, "GET", f"{TASKS}/{ids[2]}"))[0] == 404


# ---------------------------------------------------------------- what is taken


async def test_everything_that_is_taken(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """Each kind of input, each resolution and ratio of each model, and every parameter where it belongs."""
    for model, card in CARDS["volcengine"].items():
        pictures = [image(still())] if "text" not in card.modes else []
        for seconds in (*card.seconds, *((-1,) if card.family != "1.0" else ())):
            await made(http, *pictures, model=model, duration=seconds)
        for resolution in card.resolutions:
            for ratio in RATIOS:
                await made(http, *pictures, model=model, resolution=resolution, ratio=ratio)
        if "last" in card.modes:
            await made(http, image(still(), "first_frame"), image(still(300, 750), "last_frame"), model=model)
        if "reference" in card.modes:
            await made(http, *[image(still(form="JPEG"), "reference_image")] * 4, model=model)
    await made(http, *[image(role="reference_image")] * 9, film(), SOUND, model=OMNI, tools=[{"type": "web_search"}])
    await made(http, image("data:image/heic;base64,AAAA"), ratio="adaptive")
    await made(http, model=PRO, frames=289, seed=2**32 - 1, camera_fixed=True, service_tier="flex")
    await made(http, execution_expires_after=3600, safety_identifier="u", output_format="mp4", callback_url="https://x")
    sim.assets.add("asset-1")
    await made(http, image("asset://asset-1", "reference_image"), model=OMNI, priority=5)
    status, _ = await call(http, "POST", json={"model": PRO15, "content": [image(still(form="WEBP"))]})
    assert status == 200
    assert sim.paid == len(sim.jobs)


async def test_edits_and_extensions(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """With a film as reference the task type says what it is for; the film's seconds are paid for too."""
    source = await made(http, model=OMNI, duration=4)
    sim.finish(source)
    url = (await shown(http, source))["content"]["video_url"]
    for word in ("edit", "extend"):
        await made(http, film(url), model=OMNI, duration=6, omni_reference_task_type=word)
        assert (sim.latest.kind, len(sim.calls(word))) == (word, 1)
        assert sim.latest.facts["tokens"] == 1280 * 720 * (24 * 10 + 1) // 1024
    assert sim.calls("remix") == sim.calls("edit")
    assert len(sim.calls("create")) == 1


async def test_frames_count_instead_of_a_duration(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """With frames a task has no duration; the 1.0 family has pixels of its own."""
    task_id = await made(http, model=PRO, frames=57, duration=12)
    sim.finish(task_id)
    task = await shown(http, task_id)
    assert (task["frames"], task["resolution"], "duration" in task, "generate_audio" in task) == (57, "1080p", 0, 0)
    assert task["usage"]["total_tokens"] == 1920 * 1088 * 57 // 1024


async def test_drafts(sim: ArkSimulator, http: aiohttp.ClientSession) -> None:
    """A finished draft is made into a video of its own inputs, for a week; another task is not."""
    draft = await made(http, draft=True, duration=8, seed=3)
    one = {"model": PRO15, "content": [{"type": "draft_task", "draft_task": {"id": draft}}]}
    assert (await call(http, "POST", json=one))[0] == 400
    sim.finish(draft)
    task = await shown(http, draft)
    assert (task["draft"], task["resolution"]) == (True, "480p")
    assert (await call(http, "POST", json=one))[0] == 200
    sim.finish(sim.latest.id)
    task = await shown(http, sim.latest.id)
    assert (task["draft_task_id"], task["resolution"], task["duration"], task["seed"]) == (draft, "720p", 8, 3)
    assert (await call(http, "POST", json={**one, "content": [*one["content"], CAT]}))[0] == 400
    sim.age(draft, 7 * DAY)
    assert (await call(http, "POST", json=one))[0] == 404


# ---------------------------------------------------------------- flags in the prompt


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("cat --rs 1080p --rt 9:16 --dur 12", {"resolution": "1080p", "ratio": "9:16", "duration": 12}),
        ("--dur 10 cat", {"duration": 10}),
        ("cat --fps 24 --seed 11", {"framespersecond": 24, "seed": 11}),
        ("cat\n--cf false --wm true", {"camera_fixed": False, "watermark": True}),
        ("cat --resolution 480p --duration 4", {"resolution": "480p", "duration": 4}),
        ("cat --rs 8k --dur 99 --fps 60 --wm maybe --frames 29", {}),
        ("a cat -- a dog --really good", {}),
        ("semi--rs 1080p", {}),
    ],
)
async def test_flags(sim: ArkSimulator, http: aiohttp.ClientSession, text: str, flags: dict[str, Any]) -> None:
    """Flags in a prompt change what is made and paid, whatever the body says; values that are none are passed over."""
    await made(http, {"type": "text", "text": text}, resolution="720p", duration=5)
    assert sim.latest.facts["flags"] == flags
    assert {**sim.latest.facts["made"], **flags} == sim.latest.facts["made"]


# ---------------------------------------------------------------- both houses


async def test_the_twin() -> None:
    """ModelArk has the same wire and other names."""
    async with (
        SimulatorServer(ModelArkSimulator(keys={KEY})) as sim,
        aiohttp.ClientSession(sim.base_url, headers={"Authorization": f"Bearer {KEY}"}) as http,
    ):
        for model in ("seedance-1-5-pro-251215", "dreamina-seedance-2-0-mini", "dreamina-seedance-2-5-260628"):
            await made(http, model=model)
        assert await refused(http, model=PRO15) == (404, "InvalidEndpointOrModel.NotFound", "")


def test_the_tables_hold_together() -> None:
    """Both houses have the same models; each default is one of the model's own."""
    ours, theirs = (list(CARDS[region].values()) for region in ("volcengine", "byteplus"))
    assert ours == theirs
    assert all(card.default in card.resolutions for card in ours)
    sizes = {card.pixels(word, ratio) for card in ours for word in card.resolutions for ratio in RATIOS}
    assert {(864, 496), (864, 480), (1112, 834), (2206, 946), (1088, 1920), (3840, 2160)} < sizes
