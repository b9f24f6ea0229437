"""The MiniMax simulator is held to @ai-sdk/minimax, which knows V2, and so is what the plugin sends.

The package asks for Node 22, but its video models run under 20 too.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy import Picture
from proxy.testing import SimulatorServer
from tests.plugins.minimax_calls import STILL
from tests.plugins.minimax_wire import KEY, opened, second
from tests.plugins.sdk_peer import Ask, driven
from tests.simulators.minimax import MinimaxSimulator

PEER = Path(__file__).parent / "minimax_h3_peer" / "peer.mjs"
BARE = STILL.partition(",")[2]
PICTURE = Picture(base64.b64decode(BARE), "image/png", 640, 360)
FILE = {"type": "file", "mediaType": "image/png", "data": BARE}


@pytest.fixture
async def sim() -> AsyncIterator[MinimaxSimulator]:
    async with SimulatorServer(MinimaxSimulator(keys={KEY})) as simulator:
        yield simulator


@pytest.fixture
async def sdk(sim: MinimaxSimulator) -> AsyncIterator[Ask]:
    """The SDK in a process of its own: orders in, answers out."""
    name = "@ai-sdk/minimax (in tests/plugins/minimax_h3_peer)"
    async with driven("REELGATE_MINIMAX_NODE", name, PEER, sim.base_url, KEY) as ask:

        async def with_model(do: str, **order: Any) -> dict[str, Any]:
            return await ask(do, **{"model": "MiniMax-H3", **order})

        yield with_model


async def started(sdk: Ask, **order: Any) -> str:
    """The id of a task that the SDK started without a warning."""
    said = await sdk("start", **{"prompt": "hi", **order})
    assert said.get("warnings") == [], said
    return str(said["operation"]["taskId"])


async def test_life(sim: MinimaxSimulator, sdk: Ask) -> None:
    """A task is pending until it is done, with what the SDK looks for."""
    task_id = await started(sdk, duration=6, aspectRatio="16:9", resolution="1366x768")
    text = {"type": "text", "text": "hi"}
    usual = {"model": "MiniMax-H3", "content": [text], "resolution": "768P", "duration": 6, "ratio": "16:9"}
    assert sim.calls("create")[0].json == usual
    assert [(await sdk("status", id=task_id))["status"] for _ in range(2)] == ["pending", "pending"]
    done = await sdk("status", id=task_id)
    assert (done["status"], done["videos"][0]["url"].startswith(sim.files_url)) == ("completed", True)
    facts = done["providerMetadata"]["minimax"]
    assert (facts["resolution"], facts["ratio"], facts["usage"]["totalSeconds"]) == ("768P", "16:9", 6)


async def test_everything_that_it_sends_is_taken(sim: MinimaxSimulator, sdk: Ask) -> None:
    """Frames, references, sounds, the younger model and a watermark as the SDK writes them."""
    frames = [{"image": FILE, "frameType": f"{place}_frame"} for place in ("first", "last")]
    await started(sdk, frameImages=frames)
    film = {"type": "url", "mediaType": "video/mp4", "url": "https://cdn.example.com/a.mp4"}
    sounds = {"minimax": {"referenceAudioUrls": ["https://cdn.example.com/a.mp3"], "aigcWatermark": False}}
    await started(sdk, inputReferences=[FILE, film], providerOptions=sounds)
    await started(sdk, model="MiniMax-H3-Max", resolution="854x480", duration=5, image=FILE)
    assert sim.paid == 3


FIRST, LAST = ({"image": FILE, "frameType": f"{place}_frame"} for place in ("first", "last"))


@pytest.mark.parametrize(
    ("order", "changes"),
    [
        ({"aspectRatio": "9:16"}, {"size": "768x1366"}),
        ({"frameImages": [FIRST, LAST]}, {"images": (PICTURE,), "last_frame": PICTURE}),
        ({"inputReferences": [FILE, FILE], "aspectRatio": "16:9"}, {"images": (PICTURE, PICTURE)}),
    ],
)
async def test_bodies(sim: MinimaxSimulator, sdk: Ask, order: dict[str, Any], changes: dict[str, Any]) -> None:
    """What the SDK sends for the same order is our body; beside a frame it leaves out that the ratio is adaptive."""
    await started(sdk, duration=6, resolution="1366x768", **order)
    async with opened(sim) as channel:
        await channel.create(second(prompt="hi", seconds=6, **changes))
    theirs, ours = sim.calls("create")
    assert ours.json == {"ratio": "adaptive", **theirs.json}
    assert (ours.path, ours.headers["authorization"]) == (theirs.path, theirs.headers["authorization"])


async def test_ends(sim: MinimaxSimulator, sdk: Ask) -> None:
    """Failure, cancellation, expiry and refusals are errors with the SDK's sentences for them."""
    ends: list[tuple[Callable[[str], None], str]] = [
        (sim.moderate, "MiniMax video generation failed: output new_sensitive (1027)."),
        (sim.cancel, "MiniMax video generation was cancelled."),
        (lambda task_id: sim.put(task_id, "expired", means="failed"), "MiniMax video generation request expired."),
    ]
    for end, sentence in ends:
        task_id = await started(sdk)
        end(task_id)
        said = await sdk("status", id=task_id)
        assert (said["status"], said["error"]) == ("error", f"{sentence} Task ID: {task_id}")
    sim.penniless = True
    said = await sdk("start", prompt="hi")
    assert (said["raised"], said["status"], said["message"]) == ("AI_APICallError", 402, "insufficient balance (1008)")
    assert (await sdk("status", id="1"))["status"] == 404
