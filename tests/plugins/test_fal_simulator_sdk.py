"""The fal simulator is held to fal's own client, fal-client, which runs in an environment of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy import Picture, UpstreamJob
from proxy.testing import SimulatorServer
from tests.plugins import fal_wire as wire
from tests.plugins.fal_http import KEY, KLING, SEEDANCE, VEO, WISH, png
from tests.plugins.openai_oracle import PROMPT, picture_file
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.fal import ERRORS, INFRASTRUCTURE, FalSimulator
from tests.simulators.fal_models import ENDPOINTS

HERE = Path(__file__).parent


@pytest.fixture
async def sim() -> AsyncIterator[FalSimulator]:
    async with SimulatorServer(FalSimulator(keys={KEY, wire.KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: FalSimulator) -> AsyncIterator[Ask]:
    """fal-client in a process of its own: orders in, answers out."""
    async with driven("REELGATE_FAL_PYTHON", "fal-client", HERE / "fal_peer.py", sim.base_url, KEY) as ask:
        yield ask


async def test_sdk_life(sim: FalSimulator, sdk: Ask) -> None:
    """The client has a film made: queued, in progress with and without logs, completed, the result."""
    arguments = {**WISH, "duration": "6s", "seed": 3, "image_url": png()}
    made = await sdk("submit", endpoint=f"{VEO}/fast/image-to-video", arguments=arguments)
    assert made["id"] == sim.latest.id
    assert sim.latest.facts["input"] == arguments
    assert sim.latest.facts["ignored"] == []
    assert (sim.requests[0].path, sim.requests[0].account) == (f"/{VEO}/fast/image-to-video", KEY)
    sim.automatic = False
    assert await sdk("status", id=made["id"]) == {"kind": "Queued", "position": 0}
    sim.advance(made["id"])
    assert await sdk("status", id=made["id"]) == {"kind": "InProgress", "logs": None}
    assert (await sdk("status", id=made["id"], logs=True))["logs"][0]["message"]
    assert [call.query for call in sim.calls("fetch")] == [{"logs": "false"}] * 2 + [{"logs": "true"}]
    sim.finish(made["id"])
    found = await sdk("status", id=made["id"])
    quiet = {"logs": None, "error": None, "error_type": None}
    assert found == {"kind": "Completed", "metrics": {"inference_time": 1.0}, **quiet}
    result = (await sdk("result", id=made["id"]))["result"]
    assert result["seed"] == 3
    assert result["video"]["url"] == sim.file_url(sim.latest)
    assert sim.paid == 1


async def test_sdk_subscribes(sim: FalSimulator, sdk: Ask) -> None:
    """The client follows the answers alone from the submission to the result."""
    said = await sdk("subscribe", endpoint=VEO, arguments=WISH)
    assert said["seen"] == ["Queued", "InProgress", "Completed"]
    assert said["result"]["video"]["content_type"] == "video/mp4"
    assert {call.operation for call in sim.requests} == {"create", "fetch"}


async def test_sdk_knows_the_same_addresses(sim: FalSimulator, sdk: Ask) -> None:
    """Where the client makes the follow-up addresses itself, of an endpoint, they are those of the simulator."""
    sim.any_endpoint = True
    arguments: dict[str, Any] = dict(WISH)
    for endpoint in (*ENDPOINTS, "workflows/me/film/a/b", "comfy/me/film", "me/film"):
        for name in ENDPOINTS[endpoint].required if endpoint in ENDPOINTS else ():
            arguments.setdefault(name, ["https://a.example/b"] if name.endswith("urls") else "https://a.example/b")
        made = await sdk("submit", endpoint=endpoint, arguments=arguments)
        assert await sdk("urls", endpoint=endpoint, id=made["id"]) == {"urls": made["urls"]}
        assert (await sdk("status", endpoint=endpoint, id=made["id"]))["kind"] == "Queued"


@pytest.mark.parametrize("code", [*ERRORS, *INFRASTRUCTURE])
async def test_sdk_failures(sim: FalSimulator, sdk: Ask, code: str) -> None:
    """The client reads a failed run: Completed with an error, and a refusal with type and words instead of a result."""
    made = await sdk("submit", endpoint=VEO, arguments=WISH)
    sim.fail(made["id"], code=code)
    expected, sentence = {**ERRORS, **INFRASTRUCTURE}[code]
    found = await sdk("status", id=made["id"])
    assert (found["kind"], found["error"], found["error_type"]) == ("Completed", sentence, code)
    status, kind, detail = (await sdk("result", id=made["id"]))["refused"]
    assert (status, kind) == (expected, code)
    assert (detail[0]["msg"] if code in ERRORS else detail) == sentence


async def test_sdk_cancels(sim: FalSimulator, sdk: Ask) -> None:
    """The client cancels what is queued and what runs; a late cancel and that of an unknown request are refused."""
    sim.automatic = False
    for steps in (0, 1):
        made = await sdk("submit", endpoint=f"{VEO}/fast", arguments=WISH)
        for _ in range(steps):
            sim.advance(made["id"])
        assert await sdk("cancel", id=made["id"]) == {}
        assert sim.latest.cancelled
        assert (await sdk("cancel", id=made["id"]))["refused"][0] == 400
        assert (await sdk("result", id=made["id"]))["refused"][0] == 499
    assert (await sdk("cancel", id="none", endpoint=VEO))["refused"][0] == 404
    assert sim.calls("cancel")[0].method == "PUT"


async def test_sdk_refusals(sim: FalSimulator, sdk: Ask) -> None:
    """The client reads what is refused at once: a wrong input, no such endpoint, no room, no balance, no account."""

    async def refusal(endpoint: str = VEO, **arguments: Any) -> list[Any]:
        said = await sdk("submit", endpoint=endpoint, arguments={**WISH, **arguments})
        return list(said["refused"])

    status, _, detail = await refusal(duration=8)
    assert (status, detail[0]["loc"], detail[0]["type"]) == (422, ["body", "duration"], "literal_error")
    assert (await refusal("fal-ai/none"))[0] == 404
    sim.max_concurrent = 0
    assert (await refusal())[0] == 429
    sim.locked = {KEY}
    assert (await refusal())[::2] == [403, "User is locked. Reason: Exhausted balance. Top up your balance."]
    sim.keys.clear()
    assert (await refusal())[0] == 401
    assert sim.paid == 0


async def test_sdk_uploads_and_headers(sim: FalSimulator, sdk: Ask) -> None:
    """The client brings a file to the storage service and has it used; webhook and priority are taken as it sends."""
    url = (await sdk("upload", text="ID3", type="audio/mpeg", name="a.mp3"))["url"]
    arguments = {**WISH, "audio_url": url}
    more = {"webhook_url": "https://a.example/b?c=d", "priority": "low", "start_timeout": 90, "hint": "h"}
    await sdk("submit", endpoint="fal-ai/wan/v2.7/text-to-video", arguments=arguments, more=more)
    assert sim.uploads[url.removeprefix(sim.files_url)].data == b"ID3"
    assert sim.latest.facts["webhook"] == "https://a.example/b?c=d"
    assert [call.operation for call in sim.requests] == ["begin_upload", "upload", "create"]


# ---------------------------------------------------------------- the plugin and the client, side by side

FIRST, LAST = (Picture(picture_file(64, 36, form), f"image/{form.lower()}", 64, 36) for form in ("PNG", "JPEG"))
FILM = "https://v3.fal.media/files/b/x_output.mp4"
GROK = "xai/grok-imagine-video"
WIDE = {"resolution": "720p", "aspect_ratio": "16:9"}

SAME: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"model": VEO, "audio": False, "seed": 7, "negative_prompt": "rain", "metadata": {"auto_fix": True}},
        VEO,
        {"duration": "8s", **WIDE, "generate_audio": False, "seed": 7, "negative_prompt": "rain", "auto_fix": True},
    ),
    (
        {"model": f"{VEO}/fast", "seconds": 4, "size": "1080x1920", "images": (FIRST,)},
        f"{VEO}/fast/image-to-video",
        {"duration": "4s", "resolution": "1080p", "aspect_ratio": "9:16", "image_url": FIRST.data_uri},
    ),
    (
        {"model": VEO, "size": "3840x2160", "images": (FIRST,), "last_frame": LAST},
        f"{VEO}/first-last-frame-to-video",
        {
            "duration": "8s",
            "resolution": "4k",
            "aspect_ratio": "16:9",
            "first_frame_url": FIRST.data_uri,
            "last_frame_url": LAST.data_uri,
        },
    ),
    (
        {"model": VEO, "images": (FIRST, LAST)},
        f"{VEO}/reference-to-video",
        {"duration": "8s", **WIDE, "image_urls": [FIRST.data_uri, LAST.data_uri]},
    ),
    (
        {"model": f"{KLING}/text-to-video", "seconds": 5, "size": "720x1280"},
        f"{KLING}/text-to-video",
        {"duration": "5", "aspect_ratio": "9:16"},
    ),
    (
        {"model": f"{KLING}/text-to-video", "seconds": 10, "images": (FIRST,), "last_frame": LAST, "audio": True},
        f"{KLING}/image-to-video",
        {
            "duration": "10",
            "start_image_url": FIRST.data_uri,
            "end_image_url": LAST.data_uri,
            "generate_audio": True,
        },
    ),
    (
        {"model": f"{SEEDANCE}/text-to-video", "seconds": 15},
        f"{SEEDANCE}/text-to-video",
        {"duration": "15", **WIDE},
    ),
    ({"model": f"{GROK}/text-to-video", "seconds": 6}, f"{GROK}/text-to-video", {"duration": 6, **WIDE}),
    (
        {"model": f"{GROK}/text-to-video", "kind": "edit"},
        f"{GROK}/edit-video",
        {"video_url": FILM},
    ),
    (
        {"model": f"{GROK}/text-to-video", "kind": "extend", "seconds": 6},
        f"{GROK}/extend-video",
        {"video_url": FILM, "duration": 6},
    ),
    (
        {"model": "fal-ai/wan/v2.7/text-to-video", "seconds": 15, "seed": 1},
        "fal-ai/wan/v2.7/text-to-video",
        {"duration": 15, **WIDE, "seed": 1},
    ),
    (
        {"model": "fal-ai/wan/v2.7/text-to-video", "kind": "edit", "seed": 1},
        "fal-ai/wan/v2.7/edit-video",
        {"video_url": FILM, "resolution": "720p", "seed": 1},
    ),
    (
        {"model": "fal-ai/luma-dream-machine/ray-2", "seconds": 9, "size": "960x540"},
        "fal-ai/luma-dream-machine/ray-2",
        {"duration": "9s", "resolution": "540p", "aspect_ratio": "16:9"},
    ),
]
"""What the plugin is asked, and what a user of the client writes for the same, by the fact sheet."""


@pytest.mark.parametrize(("asked", "endpoint", "arguments"), SAME, ids=[endpoint for _, endpoint, _ in SAME])
async def test_plugin_and_sdk_send_the_same(
    sim: FalSimulator, sdk: Ask, asked: dict[str, Any], endpoint: str, arguments: dict[str, Any]
) -> None:
    """The plugin and the client send one body to one path, and follow it by the same calls; nothing is ignored."""
    source = UpstreamJob("source", "completed", url=FILM)
    async with wire.opened(sim) as channel:
        wanted = wire.request(**asked)
        channel.check(wanted)
        if wanted.kind == "create":
            job = await channel.create(wanted)
        else:
            job = await {"edit": channel.edit, "extend": channel.extend}[wanted.kind](wanted, source)
        assert sim.latest.facts["ignored"] == []
        sim.finish(job.id)
        assert (await channel.fetch(job)).url == sim.file_url(sim.latest)
        await channel.cancel(job)
    ours, sim.requests[:] = list(sim.requests), []
    made = await sdk("submit", endpoint=endpoint, arguments={"prompt": PROMPT, **arguments})
    sim.finish(made["id"])
    await sdk("result", id=made["id"])
    await sdk("cancel", id=made["id"])
    assert (ours[0].json, ours[0].content_type) == (sim.requests[0].json, sim.requests[0].content_type)
    followed = [
        [(call.method, call.path.replace(name, "ID"), call.account is not None) for call in calls]
        for name, calls in ((job.id, ours), (made["id"], sim.requests))
    ]
    assert followed[0] == followed[1]
