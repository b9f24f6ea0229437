"""The MiniMax simulator is held to minimax-mcp 0.0.19, the official client of V1, and for V2 to @ai-sdk/minimax 3.0.45.

REELGATE_MINIMAX_PYTHON names a Python that has the first, in an environment of its own, and REELGATE_MINIMAX_NODE a
node; `npm install --no-package-lock --prefix tests/plugins/minimax_h3_peer` comes before.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import Call, Job, SimulatorServer
from tests.plugins.minimax_calls import KEY, STILL
from tests.simulators.media import picture
from tests.simulators.minimax import MinimaxSimulator

HERE = Path(__file__).parent
FILE = {"type": "file", "mediaType": "image/png", "data": STILL.partition(",")[2]}
Ask = Callable[..., Awaitable[dict[str, Any]]]


class Prompted(MinimaxSimulator):
    """Fails a task whose prompt says so, for a client in another process: `FAIL code`."""

    def take(self, call: Call, *, kind: str = "create", **facts: Any) -> Job:
        job = super().take(call, kind=kind, **facts)
        order, _, code = facts["fields"].get("prompt", "").partition(" ")
        if order == "FAIL":
            # Later: what was ordered begins as Preparing.
            asyncio.get_running_loop().call_soon(lambda: self.fail(job.id, code=code, message="sensitive"))
        return job


@pytest.fixture
async def sim() -> AsyncIterator[Prompted]:
    async with SimulatorServer(Prompted(keys={KEY})) as simulator:
        # The pictures of the peers are small.
        simulator.bounds_sides = False
        yield simulator


@pytest.mark.skipif("REELGATE_MINIMAX_PYTHON" not in os.environ, reason="REELGATE_MINIMAX_PYTHON names no Python")
async def test_official_client(sim: Prompted, tmp_path: Path) -> None:
    """The client of V1 makes, polls and fetches films, and knows a failure, a refusal and a wrong key."""
    (tmp_path / "picture.jpg").write_bytes(picture("JPEG"))
    process = await asyncio.create_subprocess_exec(
        *(os.environ["REELGATE_MINIMAX_PYTHON"], str(HERE / "minimax_peer.py"), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "MINIMAX_API_HOST": sim.base_url, "MINIMAX_API_KEY": KEY},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert sim.paid == 6
    assert len(sim.calls("retrieve")) == 4


@pytest.fixture
async def sdk(sim: Prompted) -> AsyncIterator[Ask]:
    """The SDK of V2 in a process of its own: orders in, answers out."""
    if (node := os.environ.get("REELGATE_MINIMAX_NODE")) is None:
        pytest.skip("REELGATE_MINIMAX_NODE must name a node, and minimax_h3_peer must have its package installed")
    process = await asyncio.create_subprocess_exec(
        *(node, str(HERE / "minimax_h3_peer" / "peer.mjs"), sim.base_url, KEY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def ask(do: str, **order: Any) -> dict[str, Any]:
        stdin.write(json.dumps({"do": do, "model": "MiniMax-H3", **order}).encode() + b"\n")
        await stdin.drain()
        said: dict[str, Any] = json.loads(await stdout.readline())
        return said

    yield ask
    stdin.close()
    await process.wait()


async def started(sdk: Ask, **order: Any) -> str:
    """The id of a task that the SDK started without a warning."""
    said = await sdk("start", **{"prompt": "hi", **order})
    assert said.get("warnings") == [], said
    return str(said["operation"]["taskId"])


async def test_life(sim: Prompted, sdk: Ask) -> None:
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


async def test_everything_that_it_sends_is_taken(sim: Prompted, sdk: Ask) -> None:
    """Frames, references, sounds, the younger model and a watermark as the SDK writes them."""
    frames = [{"image": FILE, "frameType": f"{place}_frame"} for place in ("first", "last")]
    await started(sdk, frameImages=frames)
    film = {"type": "url", "mediaType": "video/mp4", "url": "https://cdn.example.com/a.mp4"}
    sounds = {"minimax": {"referenceAudioUrls": ["https://cdn.example.com/a.mp3"], "aigcWatermark": False}}
    await started(sdk, inputReferences=[FILE, film], providerOptions=sounds)
    await started(sdk, model="MiniMax-H3-Max", resolution="854x480", duration=5, image=FILE)
    assert sim.paid == 3


async def test_ends(sim: Prompted, sdk: Ask) -> None:
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
