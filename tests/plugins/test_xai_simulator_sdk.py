"""The xAI simulator is held to @ai-sdk/xai, which runs in a Node process of its own.

`npm install --no-package-lock --prefix tests/plugins/xai_peer` comes first. The package asks for Node 22, but its video
models run under 20 too.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from proxy.testing import SimulatorServer
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.media import picture
from tests.simulators.xai import NEWER, PLAIN, TICKS, XaiSimulator

PEER = Path(__file__).parent / "xai_peer" / "peer.mjs"
KEY = f"xai-{'7a' * 40}"
PNG = base64.b64encode(picture("PNG")).decode()
URI = f"data:image/png;base64,{PNG}"
FILE = {"type": "file", "mediaType": "image/png", "data": PNG}


@pytest.fixture
async def sim() -> AsyncIterator[XaiSimulator]:
    async with SimulatorServer(XaiSimulator(keys={KEY})) as simulator:
        simulator.automatic = False
        yield simulator


@pytest.fixture
async def sdk(sim: XaiSimulator) -> AsyncIterator[Ask]:
    """The SDK in a process of its own: orders in, answers out."""
    async with driven("REELGATE_XAI_NODE", "@ai-sdk/xai (in tests/plugins/xai_peer)", PEER, sim.base_url, KEY) as ask:

        async def with_model(do: str, **order: Any) -> dict[str, Any]:
            return await ask(do, **{"model": NEWER, **order})

        yield with_model


async def started(sdk: Ask, **order: Any) -> str:
    """The id of a job that the SDK started without a warning."""
    said = await sdk("start", **{"prompt": "hi", **order})
    assert said["warnings"] == []
    return str(said["operation"]["requestId"])


async def test_life(sim: XaiSimulator, sdk: Ask) -> None:
    """A job is pending without and with a body, and is done with what the SDK looks for."""
    job_id = await started(sdk, duration=5, aspectRatio="16:9", resolution="1280x720", image=FILE)
    assert sim.calls("create")[0].json == {
        "model": NEWER,
        "prompt": "hi",
        "duration": 5,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "image": {"url": URI},
    }
    assert (await sdk("status", id=job_id))["status"] == "pending"
    sim.advance(job_id)
    assert (await sdk("status", id=job_id))["status"] == "pending"
    sim.advance(job_id)
    done = await sdk("status", id=job_id)
    assert done["status"] == "completed"
    assert done["videos"] == [{"type": "url", "url": sim.link(sim.latest), "mediaType": "video/mp4"}]
    facts = done["providerMetadata"]["xai"]
    assert (facts["duration"], facts["costInUsdTicks"], facts["progress"]) == (5, TICKS, 100)


async def test_everything_that_it_sends_is_taken(sim: XaiSimulator, sdk: Ask) -> None:
    """Frames, keyframes, references, voices, sound and storage as the SDK writes them, and its edits and extensions."""
    first = {"image": FILE, "frameType": "first_frame"}
    anchors = {"xai": {"keyframes": [{"imageUrl": URI, "timestampSeconds": 1.5}], "user": "u"}}
    last = {"image": FILE, "frameType": "last_frame"}
    await started(sdk, frameImages=[first, last], generateAudio=False, providerOptions=anchors)
    voices = {"xai": {"mode": "reference-to-video", "referenceVoiceIds": ["eve"]}}
    await started(sdk, inputReferences=[FILE, {**FILE, "mediaType": "audio/mpeg"}], providerOptions=voices)
    stored = {"filename": "a.mp4", "expiresAfter": 3600, "publicUrl": {"expiresAfter": 3600}}
    job_id = await started(sdk, model=PLAIN, duration=4, providerOptions={"xai": {"storageOptions": stored}})
    sim.finish(job_id)
    done = await sdk("status", id=job_id)
    output = done["providerMetadata"]["xai"]["fileOutput"]
    assert (output["filename"], output["publicUrl"]) == ("a.mp4", done["videos"][0]["url"])
    source = done["videos"][0]["url"]
    edited = await started(sdk, providerOptions={"xai": {"mode": "edit-video", "videoUrl": source}})
    assert (sim.latest.kind, sim.latest.facts["seconds"]) == ("edit", 4)
    sim.finish(edited)
    await started(sdk, duration=10, providerOptions={"xai": {"mode": "extend-video", "videoUrl": source}})
    assert (sim.latest.kind, sim.latest.facts["seconds"]) == ("extend", 14)
    assert [job.facts["ignored"] for job in sim.jobs.values()] == [[]] * 5


async def test_ends(sim: XaiSimulator, sdk: Ask) -> None:
    """Each end without a result is an error with the SDK's sentence for it; a null as status is none."""
    ends: list[tuple[Callable[[str], None], str]] = [
        (sim.moderate, "Video generation failed: The content was rejected by moderation."),
        (lambda job_id: sim.put(job_id, "expired", means="failed"), "Video generation request expired."),
        (sim.block, "Video generation was blocked due to a content policy violation."),
        (sim.lose, "Video generation completed but no video URL was returned."),
    ]
    for end, sentence in ends:
        job_id = await started(sdk)
        end(job_id)
        said = await sdk("status", id=job_id)
        assert (said["status"], said["error"]) == ("error", sentence)
    job_id = await started(sdk)
    sim.forget(job_id)
    assert (await sdk("status", id=job_id))["status"] == "completed"


@pytest.mark.parametrize("shape", ["object", "code", "text"])
async def test_errors(sim: XaiSimulator, sdk: Ask, shape: Literal["object", "code", "text"]) -> None:
    """The SDK reads the sentence of a refusal out of all three shapes."""
    sim.shape = shape
    said = await sdk("start", prompt="hi", duration=16)
    prefix = "invalid_argument: " if shape == "code" else ""
    sentence = f"{prefix}duration: it must be 1 to 15."
    assert (said["raised"], said["status"], said["message"]) == ("AI_APICallError", 400, sentence)
    assert (await sdk("status", id="nobody"))["status"] == 404
    sim.keys.clear()
    assert (await sdk("start", prompt="hi"))["status"] == 401
    assert sim.paid == 0
