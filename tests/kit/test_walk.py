"""Who does what docs/plugin-authors.md says, step by step, has a plugin that serves."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.testing import SimulatorServer
from tests.conftest import ADMIN_KEY, Product

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugin-authors.md"
OURS = "<!-- run by tests/kit/test_walk.py -->"
BLOCK = re.compile(rf"{OURS}\n\n```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
KEY = "aurora-key-of-the-walk-19fe"


class Step(NamedTuple):
    """A block: of a `language`, for the file of that name, or to be run where it has none."""

    language: str
    file: str
    text: str


def steps() -> Iterator[Step]:
    yield from (Step(*match.groups(default="")) for match in BLOCK.finditer(PAGE.read_text("utf-8")))


def write(folder: Path, step: Step, begun: set[str]) -> None:
    """The first block of a file is written over what is there; the next ones follow it."""
    file = folder / step.file
    with file.open("a" if step.file in begun else "w", encoding="utf-8") as stream:
        stream.write(f"\n{step.text}" if step.file in begun else step.text)
    begun.add(step.file)


def run(folder: Path, words: list[str]) -> str:
    """A command of the page, in a process of its own where it runs pytest; answers its stdout."""
    assert words[0] == "reelgate"
    if words[1:3] == ["plugins", "test"] and "--live" not in words:
        command = [sys.executable, "-m", "proxy", *words[1:]]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    # There is no terminal to ask at.
    result = CliRunner().invoke(main, [*words[1:], *(["--yes"] if "--live" in words else [])])
    assert result.exit_code == 0, result.output
    return result.stdout + result.stderr


def simulator(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("aurora_of_the_walk", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AuroraSimulator(keys={KEY})


@pytest.mark.timeout(400)
async def test_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launch: Callable[..., Awaitable[Product]]
) -> None:
    """Each file and each command of the page in its order, from `plugins new` to one video of the official SDK and one
    paid order, the provider being the page's own simulator."""
    monkeypatch.chdir(tmp_path)
    for name in ("REELGATE_CONFIG", "REELGATE_DATA", "AURORA_KEY"):
        monkeypatch.delenv(name, raising=False)
    begun: set[str] = set()
    said: dict[str, str] = {}
    todo = list(await asyncio.to_thread(lambda: list(steps())))
    serves = next(i for i, step in enumerate(todo) if step.language == "python" and not step.file)
    for step in todo[:serves]:
        if step.file:
            await asyncio.to_thread(write, tmp_path, step, begun)
            continue
        for line in step.text.splitlines():
            said[line] = await asyncio.to_thread(run, tmp_path, shlex.split(line))
    assert begun == {
        "plugin_tests/aurora_simulator.py",
        "plugin_tests/test_aurora.py",
        "plugins/aurora.py",
        "channels.yaml",
    }
    laws = said["reelgate plugins test plugins/aurora.py"]
    assert "ok    A remix is one paid request" in laws
    assert "ok    recover() finds the job" in laws
    assert "ok    cancel() stops a job" in laws
    assert "ok    delete() of a finished job" in laws
    assert "all is well, 1 channel, 2 models" in said["reelgate check"]
    monkeypatch.setenv("AURORA_KEY", KEY)
    async with SimulatorServer(
        await asyncio.to_thread(simulator, tmp_path / "plugin_tests/aurora_simulator.py")
    ) as sim:
        # The provider of the page is on loopback, and quick.
        text = await asyncio.to_thread((tmp_path / "channels.yaml").read_text)
        text += f"    base_url: {sim.base_url}\n    poll_every: 0.02\n"
        await asyncio.to_thread((tmp_path / "channels.yaml").write_text, text)
        product = await launch(text.replace("${AURORA_KEY:-not-set}", KEY))
        monkeypatch.setenv("OPENAI_BASE_URL", f"{product.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", ADMIN_KEY)
        await asyncio.to_thread(exec, compile(todo[serves].text, str(PAGE), "exec"), {})
        assert await asyncio.to_thread((tmp_path / "plane.mp4").read_bytes) == sim.video_bytes
        assert sim.paid == 1
        (live,) = todo[serves + 1 :]
        told = await asyncio.to_thread(run, tmp_path, shlex.split(live.text))
        assert "a video of 4 s, 1280x720, with the model aurora-2-mini: $0.12" in told
        assert "FAIL" not in told
        assert sim.paid == 2
        assert await asyncio.to_thread((tmp_path / "first.mp4").read_bytes) == sim.video_bytes
