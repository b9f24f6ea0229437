"""openai-videos.md §8, 31, 32, 36 to 39 and 73 to 77: the video object through its life."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import openai.types
import pytest

from proxy.errors import InvalidRequest
from proxy.models import UpstreamJob
from tests.checklist.desk import STATUSES, Desk, check_video, envelope
from tests.conftest import Product

NULLABLE = ("completed_at", "expires_at", "remixed_from_video_id", "error")


async def test_031_nulls_are_there(desk: Desk) -> None:
    """A new video has its nullable keys, null while they are unset, and its prompt."""
    for video in (await desk.product.create(prompt="a boat"), (await desk.call("GET", "/v1/videos"))[1]["data"][0]):
        check_video(video)
        assert [video[name] for name in NULLABLE] == [None] * 4
        assert video["prompt"] == "a boat"
        assert video["progress"] == 0
        assert "video_url" not in video
        assert "metadata" not in video


async def test_032_echo(desk: Desk) -> None:
    """size, seconds and model come back as asked; left out, they are the model's own defaults."""
    asked = {"model": "sora-2-pro", "seconds": "12", "size": "1792x1024"}
    video = await desk.product.create(**asked)
    assert {name: video[name] for name in asked} == asked
    video = await desk.product.create()
    assert (video["model"], video["seconds"], video["size"]) == ("sora-2", "4", "720x1280")
    assert {name: desk.sim.latest.facts[name] for name in ("model", "seconds", "size")} == {
        "model": "sora-2",
        "seconds": "4",
        "size": "720x1280",
    }


async def test_036_poll_after(desk: Desk) -> None:
    """openai-poll-after-ms is the text of a whole number on unfinished videos, and absent on finished ones."""
    status, video, headers = await desk.call("POST", "/v1/videos", json={"prompt": "x"})
    assert status == 200
    assert int(headers["openai-poll-after-ms"]) > 0
    _, _, headers = await desk.call("GET", f"/v1/videos/{video['id']}")
    assert int(headers["openai-poll-after-ms"]) > 0
    desk.sim.finish(desk.sim.latest.id)
    await desk.product.done(video["id"])
    _, _, headers = await desk.call("GET", f"/v1/videos/{video['id']}")
    assert "openai-poll-after-ms" not in headers


async def test_037_states_go_forward(puppet: Product) -> None:
    """Whatever the upstream says, only the four states appear, and neither they nor the progress fall back."""
    told: list[Any] = [
        UpstreamJob(id="u", status="in_progress", progress=40),
        UpstreamJob(id="u", status="queued", progress=0),
        UpstreamJob(id="u", status="in_progress", progress=10),
        UpstreamJob(id="u", status="in_progress", progress=250),
        UpstreamJob(id="u", status="in_progress", progress=-5),
        UpstreamJob(id="u", status="completed", progress=3),
        UpstreamJob(id="u", status="failed"),
    ]
    channel = puppet.channel("p")
    answers = [asyncio.get_running_loop().create_future() for _ in told]
    channel.then("create", UpstreamJob(id="u", status="queued"))
    channel.then("fetch", *answers)
    video = await puppet.create()
    seen = [video]
    for answer, job in zip(answers, told, strict=True):
        answer.set_result(job)
        moment = len(channel.asked("fetch"))
        while len(channel.asked("fetch")) == moment and seen[-1]["status"] != "completed":
            seen.append(check_video((await puppet.call("GET", f"/v1/videos/{video['id']}"))[1]))
    order = ["queued", "in_progress", "completed"]
    places = [order.index(video["status"]) for video in seen]
    assert places == sorted(places)
    assert places[-1] == 2
    progress = [video["progress"] for video in seen]
    assert progress == sorted(progress)
    assert 40 in progress
    assert all(number < 100 for number, video in zip(progress, seen, strict=True) if video["status"] != "completed")


async def test_038_completed(desk: Desk) -> None:
    """A completed video has progress 100, a completed_at not before its creation, and no error."""
    video = check_video(await desk.completed())
    assert (video["progress"], video["error"]) == (100, None)
    assert video["completed_at"] >= video["created_at"]


@pytest.mark.parametrize("told", [None, 3600, -3600])
async def test_039_expiry(desk: Desk, told: int | None) -> None:
    """expires_at is null, or after completed_at, or in the past because the upstream says so."""

    def change(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "expires_at": None if told is None else int(time.time()) + told}

    desk.sim.mangle(change, on="fetch", times=None)
    video = await desk.completed()
    if told is None:
        assert video["expires_at"] is None
    else:
        assert (video["expires_at"] > video["completed_at"]) == (told > 0)


@pytest.mark.parametrize("code", [500, None, "internal_error", ["x"], 1.5, True, "moderation_blocked"])
async def test_073_codes_are_texts(desk: Desk, code: Any) -> None:
    """error.code is text, or null in an HTTP error, also where the upstream gives a number."""
    refusal = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": code}}
    desk.sim.then(status=400, json=refusal, on="create")
    error = await desk.refused("POST", "/v1/videos", 400, json={"prompt": "x"})
    assert error["code"] is None or isinstance(error["code"], str)
    video = await desk.product.create()
    desk.sim.mangle(lambda body: {**body, "error": {"code": code, "message": "No."}}, on="fetch", times=None)
    desk.sim.fail(desk.sim.latest.id)
    video = check_video(await desk.product.done(video["id"]))
    assert video["status"] == "failed"
    assert isinstance(video["error"]["code"], str)


@pytest.mark.parametrize("error", [{"code": "x", "message": "It broke."}, None, {}, "It broke.", {"message": None}])
async def test_074_failed(desk: Desk, error: Any) -> None:
    """A failed video says why in two texts, stays readable, and its content is a 4xx in the envelope."""
    desk.sim.mangle(lambda body: {**body, "error": error}, on="fetch", times=None)
    video = await desk.product.create()
    desk.sim.fail(desk.sim.latest.id)
    failed = check_video(await desk.product.done(video["id"]))
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "upstream_failed"
    assert failed["error"]["message"]
    assert "video_url" not in failed
    status, body, headers = await desk.call("GET", f"/v1/videos/{video['id']}/content")
    assert (status, envelope(body, headers)["code"]) == (400, "video_failed")
    assert (await desk.call("GET", f"/v1/videos/{video['id']}"))[:2] == (200, failed)


async def test_075_moderation(desk: Desk) -> None:
    """A job that the moderation stopped is failed with moderation_blocked; so is a submission, with a 400."""
    video = await desk.product.create()
    desk.sim.moderate(desk.sim.latest.id)
    failed = await desk.product.done(video["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "moderation_blocked")
    refusal = desk.sim.error(400, "Your request was blocked.", code="moderation_blocked")
    desk.sim.then(refusal, on="create")
    await desk.refused("POST", "/v1/videos", 400, code="moderation_blocked", json={"prompt": "x"})


@pytest.mark.parametrize("word", ["pending", "preprocessing", "cancelling", "", 5, None, "COMPLETED"])
async def test_076_unknown_states(desk: Desk, word: Any) -> None:
    """Words that the upstream made up never reach a client, and do not fail a paid video."""
    desk.sim.mangle(lambda body: {**body, "status": word}, on="fetch", times=4)
    video = await desk.product.create()
    desk.sim.advance(desk.sim.latest.id)
    while len(desk.sim.calls("fetch")) < 4:
        _, seen, _ = await desk.call("GET", f"/v1/videos/{video['id']}")
        assert seen["status"] in STATUSES - {"failed"}
    desk.sim.finish(desk.sim.latest.id)
    assert (await desk.product.done(video["id"]))["status"] == "completed"


async def test_077_types(desk: Desk) -> None:
    """progress is an integer, seconds a text and object "video", also where the upstream mixes them up."""

    def change(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "progress": 37.5, "seconds": 4, "object": "job", "created_at": "yesterday", "size": None}

    desk.sim.mangle(change, times=None)
    video = await desk.product.create(seconds=4)
    check_video(video)
    desk.sim.advance(desk.sim.latest.id)
    while video["progress"] != 37:
        video = check_video((await desk.call("GET", f"/v1/videos/{video['id']}"))[1])
    desk.sim.finish(desk.sim.latest.id)
    video = check_video(await desk.product.done(video["id"]))
    # What the SDK only annotates, its model checks.
    assert openai.types.Video.model_validate(video, strict=True).seconds == "4"


async def test_077_http_errors_of_a_plugin(puppet: Product) -> None:
    """An error that a plugin raises has the four keys too."""
    puppet.channel("p").then("create", InvalidRequest("No.", param="prompt"))
    status, body, headers = await puppet.call("POST", "/v1/videos", json={"prompt": "x"})
    assert (status, envelope(body, headers)["param"]) == (400, "prompt")
