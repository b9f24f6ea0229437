"""The Replicate simulator is held to Replicate's own SDK, which runs in an environment of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from proxy import Picture
from proxy.testing import SimulatorServer
from tests.plugins import replicate_bench
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.media import picture
from tests.simulators.replicate import THROTTLED, ReplicateSimulator
from tests.simulators.replicate_models import CARDS

HERE = Path(__file__).parent
KEY = f"r8_{'7a' * 18}b"
VEO, FLIPBOOK = CARDS[0], CARDS[-1]
CLIP: dict[str, Any] = {"prompt": "a paper boat", "duration": 8, "aspect_ratio": "16:9"}
OFFICIAL = {"model": VEO.name}


@pytest.fixture
async def sim() -> AsyncIterator[ReplicateSimulator]:
    async with SimulatorServer(ReplicateSimulator(keys={KEY, replicate_bench.KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: ReplicateSimulator) -> AsyncIterator[Ask]:
    """replicate in a process of its own: orders in, answers out."""
    script = HERE / "replicate_peer.py"
    async with driven("REELGATE_REPLICATE_PYTHON", "replicate 1.0.7", script, sim.base_url, KEY) as ask:
        yield ask


@pytest.mark.parametrize(
    ("of", "name", "version"),
    [
        (OFFICIAL, VEO.name, "hidden"),
        ({"version": VEO.name}, VEO.name, "hidden"),
        ({"version": FLIPBOOK.version}, FLIPBOOK.name, FLIPBOOK.version),
        ({"version": f"{FLIPBOOK.name}:{FLIPBOOK.version}"}, FLIPBOOK.name, FLIPBOOK.version),
        ({"deployment": "acme/flipbook-farm"}, FLIPBOOK.name, FLIPBOOK.version),
    ],
)
async def test_sdk_life(sim: ReplicateSimulator, sdk: Ask, of: dict[str, str], name: str, version: str) -> None:
    """The SDK has a film made by every way: starting, processing with a progress in the logs, succeeded, its bytes."""
    made = await sdk("create", of=of, input={"prompt": "hi"})
    assert (made["id"], made["status"], made["output"]) == (sim.latest.id, "starting", None)
    assert (made["model"], made["version"], made["input"]) == (name, version, {"prompt": "hi"})
    sim.automatic = False
    sim.advance(made["id"])
    sim.latest.progress = 50
    running = await sdk("reload", id=made["id"])
    assert (running["status"], running["progress"], running["output"]) == ("processing", 0.5, None)
    sim.finish(made["id"])
    done = await sdk("reload", id=made["id"])
    assert (done["status"], done["error"], done["completed_at"] is None) == ("succeeded", None, False)
    urls = done["output"] if name == FLIPBOOK.name else [done["output"]]
    digest = hashlib.sha256(sim.video_bytes).hexdigest()
    assert await sdk("read", url=urls[0]) == {"status": 200, "type": "video/mp4", "sha256": digest}
    assert (await sdk("listed"))["ids"] == [made["id"]]
    sim.vanish(made["id"])
    gone = await sdk("reload", id=made["id"])
    assert (gone["status"], gone["output"]) == ("succeeded", None)
    assert (await sdk("read", url=urls[0]))["status"] == 404
    assert sim.paid == 1


async def test_sdk_run(sim: ReplicateSimulator, sdk: Ask) -> None:
    """The SDK's usual way polls to the end by itself."""
    found = await sdk("run", of=VEO.name, input=CLIP)
    assert found["output"].startswith(sim.files_url)
    assert len(sim.calls("fetch")) == 3


async def test_sdk_waits(sim: ReplicateSimulator, sdk: Ask) -> None:
    """Prefer: wait is answered with the finished prediction, or with 202 and an unfinished one."""
    version = {"version": FLIPBOOK.version}
    for in_time, status in ((False, "starting"), (True, "succeeded")):
        sim.in_time = in_time
        made = await sdk("create", of=version, input={"prompt": "hi"}, params={"wait": 5})
        assert made["status"] == status
        assert sim.calls("create")[-1].headers["prefer"] == "wait=5"


async def test_sdk_ends(sim: ReplicateSimulator, sdk: Ask) -> None:
    """The SDK reads a failure, a flagged one and a canceled one; it cannot read `aborted`, which it does not know."""
    ids = [(await sdk("create", of=OFFICIAL, input=CLIP))["id"] for _ in range(4)]
    sim.fail(ids[0], message="The lamp went out.")
    sim.moderate(ids[1])
    sim.abort(ids[3])
    failed, flagged, canceled, aborted = [
        await sdk("cancel" if number == 2 else "reload", id=one) for number, one in enumerate(ids)
    ]
    assert (failed["status"], failed["error"]) == ("failed", "The lamp went out.")
    assert flagged["status"] == "failed"
    assert "E005" in flagged["error"]
    assert (canceled["status"], canceled["error"], sim.jobs[ids[2]].cancelled) == ("canceled", None, True)
    assert aborted == {"unreadable": ["status"]}


async def test_sdk_files(sim: ReplicateSimulator, sdk: Ask, tmp_path: Path) -> None:
    """A picture of the SDK's is uploaded and named by its address, or a data URI; a removed upload is refused."""
    file = tmp_path / "image.png"
    file.write_bytes(picture("PNG"))
    made = await sdk("create", of=OFFICIAL, input=CLIP, files={"image": str(file)})
    assert made["input"]["image"].startswith(f"{sim.base_url}/v1/files/")
    inline = {"file_encoding_strategy": "base64"}
    # With `model` the SDK forgets how files are to be sent.
    made = await sdk("create", of={"version": VEO.name}, input=CLIP, files={"image": str(file)}, params=inline)
    assert made["input"]["image"] == f"data:image/png;base64,{base64.b64encode(picture('PNG')).decode()}"
    kept = await sdk("upload", file=str(file), remove=True)
    assert (kept["size"], kept["gone"]) == (len(picture("PNG")), True)
    refused = await sdk("create", of=OFFICIAL, input={**CLIP, "image": kept["url"]})
    assert refused["refused"][0] == 422
    assert sim.paid == 2


async def test_sdk_models(sim: ReplicateSimulator, sdk: Ask) -> None:
    """The SDK finds the schema of every model's inputs where the document says that it is."""
    for card in CARDS:
        found = await sdk("model", name=card.name)
        assert found["id"] == card.version
        assert found["schema"]["Input"]["properties"].keys() == card.inputs.keys()
        assert found["schema"]["Input"]["required"] == ["prompt"]


async def test_sdk_refusals(sim: ReplicateSimulator, sdk: Ask) -> None:
    """The SDK reads the problem bodies, the long ones and the short ones."""
    said = "duration must be one of the following: 4, 6, 8"
    wrong = await sdk("create", of=OFFICIAL, input={**CLIP, "duration": 5})
    assert wrong["refused"] == [422, "Input validation failed", f"- input.duration: {said}\n"]
    missing = await sdk("create", of=OFFICIAL, input={})
    assert missing["refused"][2] == "- input: prompt is required\n"
    for of, status in (
        ({"model": "google/veo-9"}, 404),
        ({"model": FLIPBOOK.name}, 404),
        ({"version": "0" * 64}, 422),
        ({"deployment": "acme/none"}, 404),
    ):
        assert (await sdk("create", of=of, input=CLIP))["refused"][0] == status
    assert (await sdk("reload", id="none"))["refused"][0] == 404
    sim.penniless = True
    assert (await sdk("create", of=OFFICIAL, input=CLIP))["refused"][0] == 402
    sim.penniless, sim.creates_left = False, 0
    assert (await sdk("create", of=OFFICIAL, input=CLIP))["refused"] == [429, None, THROTTLED]
    sim.bare_errors = True
    sim.keys.clear()
    assert (await sdk("create", of=OFFICIAL, input=CLIP))["refused"][:2] == [401, None]
    assert sim.paid == 0


# ---------------------------------------------------------------- the plugin beside the SDK

PROMPT = 'a "red" kite,\nüber 雲 🪁'
URI = f"data:image/png;base64,{base64.b64encode(picture('PNG')).decode()}"
STILL = Picture(picture("PNG"), "image/png", 32, 18)
WIDE = {"prompt": PROMPT, "duration": 8, "aspect_ratio": "16:9", "resolution": "720p"}


async def ours(sim: ReplicateSimulator, **changes: Any) -> None:
    """Order what `changes` say through plugins/replicate.py."""
    async with replicate_bench.opened(sim) as channel:
        wanted = replicate_bench.request(prompt=PROMPT, **changes)
        channel.check(wanted)
        await channel.create(wanted)


@pytest.mark.parametrize(
    ("changes", "of", "given"),
    [
        ({}, {"model": "google/veo-3.1"}, WIDE),
        (
            {"images": (STILL,), "last_frame": STILL, "seed": 7, "audio": False, "negative_prompt": "rain"},
            {"model": "google/veo-3.1"},
            {**WIDE, "image": URI, "last_frame": URI, "seed": 7, "generate_audio": False, "negative_prompt": "rain"},
        ),
        ({"images": (STILL,) * 2}, {"model": "google/veo-3.1"}, {**WIDE, "reference_images": [URI] * 2}),
        (
            {"model": "kwaivgi/kling-v2.5-turbo-pro", "seconds": 10, "size": "720x1280", "images": (STILL,)},
            {"model": "kwaivgi/kling-v2.5-turbo-pro"},
            {"prompt": PROMPT, "duration": 10, "aspect_ratio": "9:16", "start_image": URI},
        ),
        (
            {"model": f"{FLIPBOOK.name}:{FLIPBOOK.version}", "seed": 7, "metadata": {"num_frames": 8}},
            {"version": f"{FLIPBOOK.name}:{FLIPBOOK.version}"},
            {"prompt": PROMPT, "seed": 7, "num_frames": 8},
        ),
    ],
)
async def test_plugin_and_sdk_say_the_same(
    sim: ReplicateSimulator, sdk: Ask, changes: dict[str, Any], of: dict[str, str], given: dict[str, Any]
) -> None:
    """The same wishes are the same request, whether the plugin or the SDK sends it."""
    await ours(sim, **changes)
    await sdk("create", of=of, input=given)
    one, other = sim.calls("create")
    assert (one.method, one.path, one.json) == (other.method, other.path, other.json)
    for name, value in (("content-type", "application/json"), ("prefer", None), ("cancel-after", None)):
        assert (one.headers.get(name), other.headers.get(name)) == (value, value)
    assert [call.headers["authorization"].partition(" ")[0] for call in (one, other)] == ["Bearer"] * 2
    assert [job.facts["ignored"] for job in sim.jobs.values()] == [[], []]


async def test_plugin_and_sdk_poll_and_cancel_alike(sim: ReplicateSimulator, sdk: Ask) -> None:
    """Polls and cancels are the same calls too, and neither has a body."""
    async with replicate_bench.opened(sim) as channel:
        job = await channel.create(replicate_bench.request(prompt=PROMPT))
        await channel.fetch(job)
        await channel.cancel(job)
    made = await sdk("create", of=OFFICIAL, input=WIDE)
    await sdk("cancel", id=made["id"])
    for operation in ("fetch", "cancel"):
        one, other = sim.calls(operation)
        assert (one.method, one.path.replace(job.id, "#")) == (other.method, other.path.replace(made["id"], "#"))
        assert (one.body, other.body) == (b"", b"")
    assert [job.state for job in sim.jobs.values()] == ["canceled"] * 2


async def test_plugin_and_sdk_upload_alike(sim: ReplicateSimulator, sdk: Ask, tmp_path: Path) -> None:
    """A large picture goes up as the same part, and its address is the input."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (400, 300), os.urandom(400 * 300 * 3)).save(buffer, "PNG")
    file = tmp_path / "image.png"
    file.write_bytes(buffer.getvalue())
    await ours(sim, images=(Picture(buffer.getvalue(), "image/png", 400, 300),))
    await sdk("create", of=OFFICIAL, input=WIDE, files={"image": str(file)})
    one, other = sim.calls("upload")
    assert one.parts == other.parts
    first, second = (job.facts["input"] for job in sim.jobs.values())
    assert first.keys() == second.keys()
    assert [given["image"].rpartition("/")[0] for given in (first, second)] == [f"{sim.base_url}/v1/files"] * 2
