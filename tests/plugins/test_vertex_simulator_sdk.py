"""The Vertex simulator is held to Google's own SDK, google-genai, which runs in an environment of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from proxy.testing import SimulatorServer
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.vertex import FILTERED, VertexSimulator

PARENT = "projects/reelgate-test/locations/us-central1/publishers/google/models/veo-3.1-generate-001"
VEO = PARENT.rpartition("/")[2]
HERE = Path(__file__).parent
PNG = io.BytesIO()
Image.new("RGB", (64, 36), (200, 30, 60)).save(PNG, "PNG")
PICTURE = {"imageBytes": base64.b64encode(PNG.getvalue()).decode(), "mimeType": "image/png"}


@pytest.fixture
async def sim() -> AsyncIterator[VertexSimulator]:
    async with SimulatorServer(VertexSimulator()) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: VertexSimulator, tmp_path: Path) -> AsyncIterator[Ask]:
    """google-genai in a process of its own: orders in, answers out."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(sim.credentials()))
    peer = HERE / "genai_peer.py"
    async with driven("REELGATE_GENAI_PYTHON", "google-genai 3.4.0", peer, sim.base_url, str(file)) as ask:
        yield ask


async def test_sdk_life(sim: VertexSimulator, sdk: Ask) -> None:
    """The SDK has a film made with one token: pending, not done, done, and its bytes with every poll after that."""
    config = {"numberOfVideos": 1, "durationSeconds": 6, "aspectRatio": "9:16", "resolution": "1080p", "seed": 3}
    config |= {"personGeneration": "allow_adult", "negativePrompt": "no", "generateAudio": True, "fps": 24}
    config |= {"lastFrame": {"gcsUri": "gs://b/l.png", "mimeType": "image/png"}, "labels": {"who": "tests"}}
    made = await sdk("create", model=VEO, source={"prompt": "hi", "image": PICTURE}, config=config)
    assert made["name"].startswith(f"{PARENT}/operations/")
    assert made["name"] == sim.latest.id
    assert sim.latest.facts["instance"]["image"] == {
        "bytesBase64Encoded": PICTURE["imageBytes"],
        "mimeType": "image/png",
    }
    assert sim.latest.facts["parameters"]["durationSeconds"] == 6
    assert sim.latest.facts["ignored"] == []
    polls = [await sdk("fetch", name=made["name"]) for _ in range(4)]
    assert [poll["done"] for poll in polls] == [None, False, True, True]
    film = hashlib.sha256(sim.video_bytes).hexdigest()
    assert [poll.get("films") for poll in polls[2:]] == [[[None, film, "video/mp4"]]] * 2
    assert (sim.paid, len(sim.calls("token")), len(sim.calls("fetch"))) == (1, 1, 4)


async def test_sdk_ends(sim: VertexSimulator, sdk: Ask) -> None:
    """The SDK reads stored films, a filtered one among two, a filtered job and a failed one, each as it is."""
    configs: tuple[dict[str, Any], ...] = (
        {"outputGcsUri": "gs://b/p/", "numberOfVideos": 2},
        {"numberOfVideos": 2},
        {},
        {},
    )
    made = [await sdk("create", model=VEO, source={"prompt": "hi"}, config=config) for config in configs]
    stored, half, none, failed = (one["name"] for one in made)
    sim.finish(stored)
    sim.moderate(half, count=1)
    sim.moderate(none)
    sim.fail(failed, code="RESOURCE_EXHAUSTED", message="Too many.")
    folder = f"gs://b/p/{sim.jobs[stored].facts['folder']}"
    films = (await sdk("fetch", name=stored))["films"]
    assert films == [[f"{folder}/sample_{number}.mp4", None, "video/mp4"] for number in range(2)]
    found = await sdk("fetch", name=half)
    assert (len(found["films"]), found["count"], found["reasons"]) == (1, 1, [FILTERED])
    found = await sdk("fetch", name=none)
    assert (found["done"], found["films"], found["count"], found["reasons"]) == (True, [], 1, [FILTERED])
    assert (await sdk("fetch", name=failed))["error"] == {"code": 8, "message": "Too many."}


async def test_sdk_inputs(sim: VertexSimulator, sdk: Ask) -> None:
    """References, an extension and an edit are taken as the SDK sends them, and counted apart."""
    clip = {"videoBytes": base64.b64encode(sim.video_bytes).decode(), "mimeType": "video/mp4"}
    references = {"referenceImages": [{"image": PICTURE, "referenceType": "asset"}]}
    mask = {"mask": {"image": PICTURE, "maskMode": "outpaint"}, "compressionQuality": "lossless"}
    for source, config in (({}, references), ({"video": clip}, {}), ({"video": clip}, mask)):
        made = await sdk("create", model=VEO, source={"prompt": "hi", **source}, config=config)
        assert made["name"] == sim.latest.id
    assert [job.kind for job in sim.jobs.values()] == ["create", "extend", "edit"]
    assert [len(sim.calls(kind)) for kind in ("create", "extend", "edit")] == [1, 1, 1]


async def test_sdk_refusals(sim: VertexSimulator, sdk: Ask) -> None:
    """The SDK reads Google's envelope: bad input, a retired model, no room, no right."""
    for model, config, code, word, text in (
        (VEO, {"durationSeconds": 5}, 400, "INVALID_ARGUMENT", "durationSeconds 5"),
        ("veo-2.0-generate-001", {}, 404, "NOT_FOUND", "no longer available"),
    ):
        refused = (await sdk("create", model=model, source={"prompt": "hi"}, config=config))["refused"]
        assert refused[:2] == [code, word]
        assert text in refused[2]
    sim.per_minute = 0
    refused = (await sdk("create", model=VEO, source={"prompt": "hi"}, config={}))["refused"]
    assert refused[:2] == [429, "RESOURCE_EXHAUSTED"]
    sim.keys.clear()
    refused = (await sdk("create", model=VEO, source={"prompt": "hi"}, config={}))["refused"]
    assert refused[:2] == [403, "PERMISSION_DENIED"]
    assert sim.paid == 0
