"""Vidu's official client as the oracle: the simulator serves it, and the plugin sends what it sends.

REELGATE_VIDU_PYTHON names a Python, 3.12 or newer, that has vidu-mcp, in an environment of its own.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.testing import SimulatorServer
from tests.plugins.openai_oracle import Call
from tests.plugins.vidu_calls import Prompted
from tests.plugins.vidu_wire import KEY, PICTURE, URI, opened, request, taking
from tests.simulators.media import picture
from tests.simulators.vidu_models import ENDS, IMAGE, REFERENCE, TEXT

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif("REELGATE_VIDU_PYTHON" not in os.environ, reason="REELGATE_VIDU_PYTHON names no Python")


async def run(script: str, more: str, url: str) -> None:
    """The client, in a process and an environment of its own."""
    process = await asyncio.create_subprocess_exec(
        *(os.environ["REELGATE_VIDU_PYTHON"], str(ROOT / "tests/plugins" / script), more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "VIDU_API_HOST": url, "VIDU_API_KEY": KEY},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_the_official_client_lives_with_the_simulator(tmp_path: Path) -> None:
    """The client makes, polls and fetches films on each of its routes, and knows a failure and a refusal."""
    (tmp_path / "picture.jpg").write_bytes(picture("JPEG"))
    async with SimulatorServer(Prompted(keys={KEY})) as sim:
        await run("vidu_peer.py", str(tmp_path), sim.base_url)
        assert {call.path.rpartition("/")[2] for call in sim.calls("create")} == {TEXT, IMAGE, ENDS, REFERENCE}
        assert sim.paid == 7


def told(call: Call) -> tuple[str, str, str, Any]:
    return call.method, call.target, call.headers["authorization"], {**call.json, "payload": None}


async def test_the_official_client_makes_the_same_calls() -> None:
    """A creation on each of its four paths is the same to the last field, but for our payload."""
    async with taking() as recorder:
        await run("vidu_caller.py", URI, recorder.base_url)
        theirs = [told(call) for call in recorder.calls]
        recorder.calls.clear()
        still = {"movement_amplitude": "auto", "bgm": False}
        async with opened(recorder) as channel:
            for changes, words in (
                (
                    {"model": "vidu1.5", "seconds": 4, "size": "360x640"},
                    {"style": "anime", "movement_amplitude": "large", "bgm": True},
                ),
                ({"model": "vidu2.0", "seconds": 8, "images": (PICTURE,)}, {**still, "movement_amplitude": "small"}),
                ({"model": "viduq1", "size": "1920x1080", "images": (PICTURE,), "last_frame": PICTURE}, still),
                ({"model": "viduq1", "size": "1080x1080", "images": (PICTURE,) * 3}, still),
            ):
                await channel.create(request(prompt="a red kite", seed=7, metadata=words, **changes))
        assert [told(call) for call in recorder.calls] == theirs
        assert len(theirs) == 4
