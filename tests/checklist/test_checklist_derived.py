"""openai-videos.md §8, 51, 59 to 61 and 87 to 89: remix, edit, extension, characters, deletion."""

from __future__ import annotations

import io
from typing import Any

import openai
import pytest
from aiohttp import FormData

from tests.checklist.desk import Desk, channel, check_video, config, form, parts
from tests.conftest import Launch, Product
from tests.simulators.openai import OpenAISimulator


def with_file(desk: Desk, **fields: str) -> FormData:
    data = form(**fields)
    data.add_field("video", desk.sim.video_bytes, filename="clip.mp4", content_type="application/octet-stream")
    return data


async def test_051_deleted(desk: Desk) -> None:
    """DELETE answers exactly id, object video.deleted and deleted true, and deletes upstream too."""
    video = await desk.completed()
    wanted = {"id": video["id"], "object": "video.deleted", "deleted": True}
    assert (await desk.call("DELETE", f"/v1/videos/{video['id']}"))[:2] == (200, wanted)
    assert desk.sim.latest.removed
    other = await desk.completed()
    gone = await desk.sdk(lambda client: client.videos.delete(other["id"]))
    assert (gone.id, gone.object, gone.deleted) == (other["id"], "video.deleted", True)


async def test_059_edits_and_extensions_in_both_forms(desk: Desk) -> None:
    """Edits and extensions take JSON with video.id (LiteLLM, curl), forms, and uploaded files."""
    source = await desk.completed(seconds="4", size="1280x720")
    upstream_source = desk.sim.latest.id
    for path, more in (("edits", {}), ("extensions", {"seconds": "4"})):
        for body in (
            {"json": {"prompt": "y", "video": {"id": source["id"]}, **more}},
            {"data": parts(("prompt", "y"), ("video[id]", source["id"]), *more.items())},
        ):
            status, video, _ = await desk.call("POST", f"/v1/videos/{path}", **body)
            assert status == 200, video
            check_video(video)
            assert desk.sim.latest.call.json["video"] == {"id": upstream_source}
        status, video, _ = await desk.call("POST", f"/v1/videos/{path}", data=with_file(desk, prompt="y", **more))
        assert status == 200, video
        assert desk.sim.latest.call.form["video"].data == desk.sim.video_bytes  # type: ignore[union-attr]

    def by_sdk(client: openai.OpenAI) -> None:
        client.videos.edit(prompt="z", video=io.BytesIO(desk.sim.video_bytes))
        client.videos.extend(prompt="z", seconds="4", video=io.BytesIO(desk.sim.video_bytes))

    await desk.sdk(by_sdk)
    assert [job.kind for job in desk.sim.jobs.values()] == ["create", *["edit"] * 3, *["extend"] * 3, "edit", "extend"]


async def test_060_remix_in_both_forms(desk: Desk) -> None:
    """A remix takes JSON, as both SDKs send it, and a form."""
    source = await desk.completed()
    path = f"/v1/videos/{source['id']}/remix"
    for body in ({"json": {"prompt": "night"}}, {"data": form(prompt="night")}):
        status, video, _ = await desk.call("POST", path, **body)
        assert status == 200, video
        assert desk.sim.latest.facts["prompt"] == "night"
    remix = await desk.sdk(lambda client: client.videos.remix(source["id"], prompt="dawn"))
    assert remix.remixed_from_video_id == source["id"]
    assert [call.match["id"] for call in desk.sim.calls("remix")] == [next(iter(desk.sim.jobs))] * 3


async def test_061_characters(desk: Desk) -> None:
    """Characters are made from a form only; the result has id, name and created_at, and an id of ours."""
    await desk.refused("POST", "/v1/videos/characters", 415, 400, json={"name": "Mira", "video": {"id": "x"}})
    status, made, _ = await desk.call("POST", "/v1/videos/characters", data=with_file(desk, name="Mira"))
    assert (status, set(made), made["name"]) == (200, {"id", "name", "created_at"}, "Mira")
    assert type(made["created_at"]) is int
    upstream_id = next(iter(desk.sim.characters))
    assert made["id"].startswith("char_")
    assert made["id"] != upstream_id
    assert (await desk.call("GET", f"/v1/videos/characters/{made['id']}"))[1] == made
    await desk.refused("GET", f"/v1/videos/characters/{upstream_id}", 404)
    by_sdk = await desk.sdk(
        lambda client: client.videos.create_character(name="Mira", video=io.BytesIO(desk.sim.video_bytes))
    )
    assert (await desk.sdk(lambda client: client.videos.get_character(str(by_sdk.id)))).name == "Mira"
    video = await desk.product.create(characters=[{"id": made["id"]}])
    assert desk.sim.latest.facts["characters"] == [upstream_id]
    assert upstream_id not in str(video)
    for name in ("", "x" * 81):
        data = with_file(desk, name=name)
        await desk.refused("POST", "/v1/videos/characters", 400, param="name", data=data)


async def test_087_delete_of_a_queued_video(launch: Launch, sim: OpenAISimulator) -> None:
    """A queued video is cancelled before it costs anything, and never submitted afterwards."""
    desk = Desk(await launch(config(channel(sim, max_running=1), submit_wait=5)), sim)
    first = await desk.product.create(prompt="first")
    second = await desk.product.create(prompt="second")
    assert (second["status"], sim.paid) == ("queued", 1)
    assert (await desk.call("DELETE", f"/v1/videos/{second['id']}"))[0] == 200
    third = await desk.product.create(prompt="third")
    sim.finish(sim.latest.id)
    await desk.product.done(first["id"])
    while sim.paid < 2:
        await desk.product.until(third["id"], "queued")
    assert [job.facts["prompt"] for job in sim.jobs.values()] == ["first", "third"]


async def test_087_delete_of_a_running_video(desk: Desk) -> None:
    """A running one is a 4xx where its channel cannot cancel; ?force=true forgets it here."""
    video = await desk.product.create()
    desk.sim.advance(desk.sim.latest.id)
    await desk.product.until(video["id"], "in_progress")
    path = f"/v1/videos/{video['id']}"
    await desk.refused("DELETE", path, 400, code="video_not_deletable")
    assert (await desk.call("GET", path))[0] == 200
    assert (await desk.call("DELETE", f"{path}?force=true"))[:2] == (
        200,
        {"id": video["id"], "object": "video.deleted", "deleted": True},
    )
    await desk.refused("GET", path, 404, code="video_not_found")


async def test_088_remix(desk: Desk) -> None:
    """A remix names its source, is queued, and has the source's settings."""
    source = await desk.completed(model="sora-2-pro", seconds="8", size="1280x720")
    status, remix, _ = await desk.call("POST", f"/v1/videos/{source['id']}/remix", json={"prompt": "night"})
    assert status == 200
    check_video(remix)
    assert (remix["remixed_from_video_id"], remix["status"], remix["prompt"]) == (source["id"], "queued", "night")
    assert {name: remix[name] for name in ("model", "seconds", "size")} == {
        name: source[name] for name in ("model", "seconds", "size")
    }
    assert source["remixed_from_video_id"] is None
    desk.sim.finish(desk.sim.latest.id)
    assert (await desk.product.done(remix["id"]))["remixed_from_video_id"] == source["id"]


@pytest.mark.parametrize("seconds", ["8", 8])
async def test_089_extension(desk: Desk, seconds: Any) -> None:
    """An extension shows the stitched seconds as a text, from the first answer to the end, and orders only its own."""
    source = await desk.completed(seconds="4")
    body = {"prompt": "on", "seconds": seconds, "video": {"id": source["id"]}}
    status, longer, _ = await desk.call("POST", "/v1/videos/extensions", json=body)
    assert (status, check_video(longer)["seconds"]) == (200, "12")
    assert longer["remixed_from_video_id"] is None
    assert desk.sim.latest.call.json["seconds"] == "8"
    desk.sim.finish(desk.sim.latest.id)
    assert (await desk.product.done(longer["id"]))["seconds"] == "12"
    again = {**body, "video": {"id": longer["id"]}}
    assert (await desk.call("POST", "/v1/videos/extensions", json=again))[1]["seconds"] == "20"


async def test_089_of_an_upload(desk: Desk, puppet: Product) -> None:
    """An uploaded clip can be extended; a channel that cannot says so."""
    status, video, _ = await desk.call("POST", "/v1/videos/extensions", data=with_file(desk, prompt="on", seconds="4"))
    assert status == 200, video
    shop = Desk(puppet, desk.sim)
    data = with_file(desk, prompt="on", seconds="4")
    await shop.refused("POST", "/v1/videos/extensions", 400, code="unsupported_operation", data=data)
