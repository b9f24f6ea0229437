"""CONTRACT §3: the video object, metadata, mapping, the routes and the seed's own request."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.checklist.desk import (
    PUPPETS,
    REQUIRED,
    UNKNOWN_ID,
    UPSTREAM_KEY,
    Desk,
    channel,
    check_video,
    config,
    envelope,
    form,
    parts,
    png,
)
from tests.conftest import Launch, Product
from tests.simulators.openai import OpenAISimulator

NEAREST = config(
    {
        "name": "p",
        "type": "puppet",
        "mapping": "nearest",
        "models": {"sora-2": {"upstream": "u", "seconds": [4, 8, 12], "sizes": ["1280x720", "720x1280"]}},
    }
)
DEMO = config({"name": "demo", "type": "demo", "poll_every": 0.05})
SEED = '{"model": "sora-2", "prompt": "一架纸飞机穿过明亮办公室,镜头平滑跟随", "seconds": "5", "size": "1280x720"}'


async def test_object_keys(desk: Desk) -> None:
    """13 keys of OpenAI and task_id always; video_url only once completed, metadata only where it was sent."""
    video = await desk.product.create()
    assert set(video) == REQUIRED | {"task_id"}
    assert video["task_id"] == video["id"]
    desk.sim.finish(desk.sim.latest.id)
    video = await desk.product.done(video["id"])
    assert set(video) == REQUIRED | {"task_id", "video_url"}
    video = await desk.completed(metadata={"a": 1})
    assert set(check_video(video)) == REQUIRED | {"task_id", "video_url", "metadata"}
    _, page, _ = await desk.call("GET", "/v1/videos?limit=1")
    assert page["data"] == [video]


async def test_no_upstream_words(desk: Desk) -> None:
    """The upstream's id, address and key are in no answer of a video's life."""
    answers = []
    video = await desk.completed(metadata={"a": 1})
    one = f"/v1/videos/{video['id']}"
    for method, path, kwargs in (
        ("GET", one, {}),
        ("GET", "/v1/videos", {}),
        ("POST", f"{one}/remix", {"json": {"prompt": "y"}}),
        ("HEAD", f"{one}/content", {}),
        ("GET", f"/v1/video/generations/{video['id']}", {}),
        ("GET", "/v1/models", {}),
        ("DELETE", one, {}),
    ):
        answers.append(await desk.call(method, path, **kwargs))
    text = str([video, answers])
    for secret in (*desk.sim.jobs, UPSTREAM_KEY, desk.sim.base_url.partition("//")[2]):
        assert secret not in text


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"channel": "up"},
        {"a": {"b": [1, None, "ü", 1.5, True]}, "": ""},
        {"empty": {}, "null": None},
        {"z": 1, "a": 2},
    ],
)
async def test_metadata_is_echoed(desk: Desk, metadata: dict[str, Any]) -> None:
    """metadata comes back as it was sent, in the same order, on every look; a remix takes it too."""
    video = await desk.completed(metadata=metadata)
    assert json.dumps(video["metadata"]) == json.dumps(metadata)
    status, remix, _ = await desk.call(
        "POST", f"/v1/videos/{video['id']}/remix", json={"prompt": "y", "metadata": {"mine": 1}}
    )
    assert (status, remix["metadata"]) == (200, {"mine": 1})
    # The stand-in's set of fields is closed: it would have refused any of these.
    assert all(set(call.json) <= {"prompt", "model", "seconds", "size"} for call in desk.sim.calls("create"))


async def test_metadata_in_forms(puppet: Product) -> None:
    """A form says metadata as JSON text or in parts; it reaches a plugin without `channel`."""
    wanted = {"style": "ink", "deep": {"a": 1}}
    for data in (
        form(prompt="x", metadata=json.dumps(wanted)),
        parts(("prompt", "x"), ("metadata[style]", "ink"), ("metadata[deep][a]", "1")),
    ):
        status, video, _ = await puppet.call("POST", "/v1/videos", data=data)
        assert (status, video["metadata"]) == (200, wanted)
        assert puppet.channel("p").asked("create")[-1].metadata == wanted
    video = await puppet.create(metadata={"channel": "p", "style": "ink"})
    assert video["metadata"] == {"channel": "p", "style": "ink"}
    assert puppet.channel("p").asked("create")[-1].metadata == {"style": "ink"}


async def test_unknown_fields_are_metadata(puppet: Product) -> None:
    """Unknown top-level fields go where metadata goes, under it, and are not echoed; task_id and video_id are not."""
    video = await puppet.create(style="ink", task_id="t", video_id="v", metadata={"style": "oil", "b": 1}, c=None)
    assert puppet.channel("p").asked("create")[-1].metadata == {"style": "oil", "b": 1}
    assert video["metadata"] == {"style": "oil", "b": 1}
    assert "style" not in await puppet.create(style="ink")
    assert puppet.channel("p").asked("create")[-1].metadata == {"style": "ink"}


async def test_priced_metadata(launch: Launch, desk: Desk, sim: OpenAISimulator) -> None:
    """What may change the price is a 400 that names it, on remix too, unless the operator allows it."""
    source = await desk.completed()
    for path in ("/v1/videos", f"/v1/videos/{source['id']}/remix", "/v1/video/generations"):
        for fields, param in (
            ({"metadata": {"n": 2}}, "metadata.n"),
            ({"metadata": {"Quality": "hd"}}, "metadata.Quality"),
            ({"metadata": {"x": {"n": 2}}}, "metadata.x.n"),
            ({"metadata": {"x": [{"n": 2}]}}, "metadata.x.n"),
            ({"n": 2}, "n"),
        ):
            before = desk.sim.paid
            status, body, _ = await desk.call("POST", path, json={"prompt": "x", **fields})
            assert (status, body["error"]["param"]) == (400, param), (path, body)
            assert desk.sim.paid == before


async def test_allowed_metadata(launch: Launch) -> None:
    """allow_metadata lets a key through to the plugin."""
    entry = {"name": "p", "type": "puppet", "models": ["sora-2"], "allow_metadata": ["n"]}
    product = await launch(config(entry), plugins=PUPPETS)
    await product.create(metadata={"n": 2})
    assert product.channel("p").asked("create")[-1].metadata == {"n": 2}
    status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "x", "metadata": {"fps": 60}})
    assert (status, body["error"]["param"]) == (400, "metadata.fps")


@pytest.mark.parametrize(
    ("asked", "seconds", "size", "adjusted"),
    [
        ({"seconds": "5"}, "4", "1280x720", "seconds=5"),
        ({"seconds": 6}, "4", "1280x720", "seconds=6"),
        ({"seconds": "60", "size": "720x1280"}, "12", "720x1280", "seconds=60"),
        ({"size": "9:16"}, "4", "720x1280", None),
        ({"size": "640x480"}, "4", "1280x720", "size=640x480"),
        ({"size": "21:9", "seconds": "7"}, "8", "1280x720", "seconds=7; size=21:9"),
        ({}, "4", "1280x720", None),
    ],
)
async def test_mapping_nearest(
    launch: Launch, asked: dict[str, Any], seconds: str, size: str, adjusted: str | None
) -> None:
    """The object shows what was ordered, x-reelgate-adjusted what was asked; replays too."""
    product = await launch(NEAREST, plugins=PUPPETS)
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        status, video, answered = await product.call(
            "POST", "/v1/videos", json={"prompt": "x", **asked}, headers=headers
        )
        assert (status, video["seconds"], video["size"]) == (200, seconds, size)
        assert answered.get("x-reelgate-adjusted") == adjusted
    request = product.channel("p").asked("create")[0]
    assert (str(request.seconds), request.size) == (seconds, size)


async def test_model_on_remix(launch: Launch, sim: OpenAISimulator) -> None:
    """On a remix `model` may only name a model of the pinned channel."""
    sim.keys.add("sk-b")
    other = channel(sim, name="b", models=["film"], api_key="sk-b")
    desk = Desk(await launch(config(channel(sim), other)), sim)
    source = await desk.completed()
    path = f"/v1/videos/{source['id']}/remix"
    for model in ("film", "nonsense"):
        await desk.refused("POST", path, 400, param="model", json={"prompt": "x", "model": model})
    for model in ("sora-2", "sora-2-pro"):
        status, _, _ = await desk.call("POST", path, json={"prompt": "x", "model": model, "video_id": "v"})
        assert status == 200


async def test_routes_without_v1(desk: Desk) -> None:
    """Every route answers without /v1 as with it."""
    video = await desk.completed()
    one = video["id"]
    for method, path, kwargs in (
        ("GET", "/videos", {}),
        ("GET", f"/videos/{one}", {}),
        ("GET", f"/videos/{one}/content", {}),
        ("HEAD", f"/videos/{one}/content", {}),
        ("GET", f"/videos/{UNKNOWN_ID}", {}),
        ("GET", "/videos/characters/x", {}),
        ("GET", "/videos/models", {}),
        ("GET", "/models", {}),
        ("GET", f"/video/generations/{one}", {}),
        ("POST", "/videos", {"json": {"prompt": ""}}),
        ("POST", "/videos/edits", {"json": {"prompt": "x"}}),
        ("POST", "/videos/extensions", {"json": {"prompt": "x"}}),
        ("POST", "/videos/characters", {"json": {}}),
        ("POST", f"/videos/{UNKNOWN_ID}/remix", {"json": {"prompt": "x"}}),
        ("POST", "/video/generations", {"json": {}}),
    ):
        with_prefix, without = [await desk.call(method, prefix + path, **kwargs) for prefix in ("/v1", "")]
        assert with_prefix[:2] == without[:2], (method, path)
        assert with_prefix[0] != 405
    assert (await desk.call("POST", "/videos", json={"prompt": "x"}))[0] == 200
    assert (await desk.call("DELETE", f"/videos/{one}"))[0] == 200


async def test_the_sibling_shape(desk: Desk) -> None:
    """/v1/video/generations: the same videos in the other envelope, from the order to the link, the failure too."""
    body = {"model": "sora-2", "prompt": "x", "duration": 8, "width": 1280, "height": 720, "metadata": {"a": 1}}
    status, made, _ = await desk.call("POST", "/v1/video/generations", json=body)
    assert (status, made["seconds"], made["size"]) == (200, "8", "1280x720")
    desk.sim.finish(desk.sim.latest.id)
    video = await desk.product.done(made["task_id"])
    status, answer, _ = await desk.call("GET", f"/v1/video/generations/{made['task_id']}")
    assert (status, answer["code"], answer["data"]["status"]) == (200, "success", "SUCCESS")
    assert answer["data"]["data"] == video
    path = answer["data"]["result_url"].removeprefix(desk.url)
    assert (await desk.call("GET", path, key=None))[1] == desk.sim.video_bytes
    made = (await desk.call("POST", "/v1/video/generations", data=form(prompt="x")))[1]
    desk.sim.fail(desk.sim.latest.id, message="Out of light.")
    await desk.product.done(made["id"])
    _, answer, _ = await desk.call("GET", f"/v1/video/generations/{made['id']}")
    assert (answer["data"]["status"], answer["data"]["fail_reason"]) == ("FAILURE", "Out of light.")
    status, answer, headers = await desk.call("GET", f"/v1/video/generations/{UNKNOWN_ID}")
    assert (status, answer["code"], answer["data"]) == (404, "video_not_found", None)
    envelope({"error": answer["error"]}, headers)


async def test_the_seeds_own_request(launch: Launch) -> None:
    """The curl of the seed's page, word for word, on the demo channel: `seconds: "5"`, its answer's keys and values."""
    product = await launch(DEMO)
    headers = {"Content-Type": "application/json"}
    status, video, _ = await product.call("POST", "/v1/videos", data=SEED.encode(), headers=headers)
    assert status == 200
    check_video(video)
    assert {name: video[name] for name in ("object", "model", "progress", "seconds", "size")} == {
        "object": "video",
        "model": "sora-2",
        "progress": video["progress"],
        "seconds": "5",
        "size": "1280x720",
    }
    assert video["task_id"] == video["id"]
    assert video["status"] in ("queued", "in_progress")
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    for size, shown in (("16:9", "1280x720"), ("9:16", "720x1280"), ("1:1", "720x720")):
        status, video, _ = await product.call(
            "POST", "/v1/videos", json={"prompt": "x [slow]", "seconds": 10, "size": size}
        )
        assert (status, video["size"], video["seconds"]) == (200, shown, "10")
        assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200


async def test_the_seeds_image(puppet: Product, desk: Desk) -> None:
    """`image` may be a data URI or bare base64, also with line breaks; an address of this machine is refused."""
    plain = base64.b64encode(png(64, 64)).decode()
    for text in (plain, f"data:image/png;base64,{plain}", base64.encodebytes(png(64, 64)).decode(), plain.rstrip("=")):
        for body in ({"json": {"prompt": "x", "image": text}}, {"data": form(prompt="x", image=text)}):
            status, answer, _ = await puppet.call("POST", "/v1/videos", **body)
            assert status == 200, answer
            assert puppet.channel("p").asked("create")[-1].image.data == png(64, 64)
    # Also where results may come from: allow_hosts is about upstreams, never about what a client names.
    for host in (desk.sim.base_url, desk.sim.files_url, desk.url):
        await desk.refused("POST", "/v1/videos", 400, param="image", json={"prompt": "x", "image": f"{host}/a.png"})
    assert desk.sim.requests == []
