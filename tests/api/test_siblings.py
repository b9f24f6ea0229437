"""The sibling shape, and characters."""

from __future__ import annotations

from aiohttp import FormData

from tests.api.conftest import Surface
from tests.api.memory import BERT


async def test_generations_order_and_show(surface: Surface) -> None:
    """Their clients order with duration, width and height, and read a task in an envelope."""
    status, video, _ = await surface.call(
        "POST",
        "/v1/video/generations",
        json={"model": "sora-2", "prompt": "p", "duration": "8", "width": 1280, "height": 720},
    )
    assert (status, video["object"], video["seconds"], video["size"]) == (200, "video", "8", "1280x720")
    assert surface.engine.received[-1].ask.extra == {}
    status, answer, _ = await surface.call("GET", f"/v1/video/generations/{video['id']}")
    assert (status, answer["code"], answer["message"]) == (200, "success", "")
    task = answer["data"]
    assert (task["task_id"], task["status"], task["progress"]) == (video["id"], "NOT_START", "0%")
    assert (task["action"], task["result_url"], task["fail_reason"]) == ("generate", "", "")
    assert (task["start_time"], task["finish_time"]) == (0, 0)
    assert task["data"]["id"] == video["id"]


async def test_generations_tell_every_stage(surface: Surface) -> None:
    """Each stage has its word, a finished one its link, a failed one its reason."""
    expected = [
        ({"stage": "waiting"}, "NOT_START"),
        ({"stage": "submitting"}, "SUBMITTED"),
        ({"stage": "unknown"}, "SUBMITTED"),
        ({"stage": "running"}, "QUEUED"),
        ({"stage": "running", "status": "in_progress", "progress": 42}, "IN_PROGRESS"),
        ({"stage": "ended", "status": "completed", "progress": 100, "completed_at": 5}, "SUCCESS"),
        ({"stage": "ended", "status": "failed", "error_message": "why", "changed_at": 7.5}, "FAILURE"),
    ]
    tasks = []
    for changes, word in expected:
        video = surface.engine.add(**changes)
        _, answer, _ = await surface.call("GET", f"/video/generations/{video.id}")
        assert answer["data"]["status"] == word
        tasks.append(answer["data"])
    assert tasks[4]["progress"] == "42%"
    assert tasks[5]["result_url"].startswith("http")
    assert (tasks[5]["finish_time"], tasks[6]["finish_time"]) == (5, 7)
    assert tasks[6]["fail_reason"] == "why"


async def test_generations_refuse_in_both_shapes(surface: Surface) -> None:
    """Their errors carry code, message and data beside OpenAI's error, on both routes, also without a key."""
    foreign = surface.engine.add(BERT)
    for key, status, code in (("anna-secret", 404, "video_not_found"), (None, 401, "invalid_api_key")):
        got, answer, _ = await surface.call("GET", f"/v1/video/generations/{foreign.id}", key=key)
        assert (got, answer["code"], answer["data"]) == (status, code, None)
        assert answer["error"]["code"] == code
        assert answer["message"] == answer["error"]["message"]


async def test_characters(surface: Surface) -> None:
    """A character is made from a form, read back by its owner, and unknown to others."""
    form = FormData({"name": "Ünder"})
    form.add_field("video", b"clip", filename="clip.mp4", content_type="video/mp4")
    status, made, _ = await surface.call("POST", "/v1/videos/characters", data=form)
    assert status == 200
    assert set(made) == {"id", "name", "created_at"}
    assert surface.engine.received[-1].files == {"Ünder": b"clip"}
    assert (await surface.call("GET", f"/v1/videos/characters/{made['id']}"))[1] == made
    status, answer, _ = await surface.call("GET", f"/v1/videos/characters/{made['id']}", key="bert-secret")
    assert (status, answer["error"]["message"]) == (404, f"Character with id '{made['id']}' not found.")
