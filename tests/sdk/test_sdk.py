"""The official SDKs against a running process."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.process.conftest import Spawn
from tests.process.server import KEY

HERE = Path(__file__).parent
DEMO = "channels: [{name: demo, type: demo, poll_every: 0.05}]"


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={"PATH": os.environ["PATH"]}
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_python(spawn: Spawn, tmp_path: Path) -> None:
    """openai-python does the whole main job; which one, REELGATE_SDK_PYTHON says (the installed one without it)."""
    Image.radial_gradient("L").convert("RGB").resize((128, 72)).save(tmp_path / "picture.png")
    server = spawn(DEMO)
    await server.start()
    python = os.environ.get("REELGATE_SDK_PYTHON", sys.executable)
    await run(python, str(HERE / "life.py"), server.base_url, KEY, str(tmp_path))
    assert await server.stop() == 0


@pytest.mark.skipif("REELGATE_NODE" not in os.environ, reason="make node-test installs the npm package first")
async def test_node(spawn: Spawn, tmp_path: Path) -> None:
    """openai-node does the main job."""
    Image.radial_gradient("L").convert("RGB").resize((128, 72)).save(tmp_path / "picture.png")
    server = spawn(DEMO)
    await server.start()
    node = shutil.which("node")
    assert node is not None
    await run(node, str(HERE / "node" / "life.mjs"), server.base_url, KEY, str(tmp_path))
