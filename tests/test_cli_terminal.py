"""What a shell completes for us, and a terminal that knows few characters."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from proxy.cli import main
from tests.conftest import ADMIN_KEY, Launch
from tests.test_cli_create import PLUGINS, PUPPET, ROOT, pretending


async def test_a_shell_completes_names(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and options by click's own protocol; channels of the file, types of plugins, models and the newest
    videos of the server; without a server, nothing and not a word."""
    product = await launch(PUPPET, plugins=PLUGINS)
    older, newer = [(await product.create(prompt=prompt))["id"] for prompt in ("one", "two")]
    await asyncio.to_thread((tmp_path / "channels.yaml").write_text, "channels: [{name: veo-eu, type: demo}]", "utf-8")
    for name, value in {"REELGATE_URL": product.url, "REELGATE_API_KEY": ADMIN_KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REELGATE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

    async def put_in(*words: str) -> list[str]:
        *before, last = words
        complete = ShellComplete(main, {}, "reelgate", "_REELGATE_COMPLETE")
        return [item.value for item in await asyncio.to_thread(complete.get_completions, list(before), last)]

    assert {"serve", "doctor", "completion"} <= set(await put_in(""))
    assert await put_in("videos", "dow") == ["download"]
    assert "--variant" in await put_in("videos", "download", "--v")
    assert await put_in("doctor", "ve") == ["veo-eu"]
    assert await put_in("plugins", "show", "kl") == ["kling"]
    assert await put_in("videos", "create", "x", "-m", "") == ["sora-2", "veo"]
    assert await put_in("videos", "get", "video_") == [newer, older]
    monkeypatch.setenv("REELGATE_URL", f"http://127.0.0.1:{unused_port()}")
    assert await put_in("videos", "get", "video_") == []
    async with pretending({"error": None, "data": [{"id": "$(touch x)"}, {"id": "veo-3.1:fast"}]}) as url:
        monkeypatch.setenv("REELGATE_URL", url)
        assert await put_in("videos", "create", "x", "-m", "") == ["veo-3.1:fast"]

    asks = {**os.environ, "PYTHONPATH": str(ROOT), "_REELGATE_COMPLETE": "bash_complete"}
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reelgate"),
        env={**asks, "COMP_WORDS": "reelgate doctor ve", "COMP_CWORD": "2"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await done.communicate() == (b"plain,veo-eu\n", b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell: str) -> None:
    """It asks by the variable that the program answers to, and its last line says where to put it."""
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert f"_REELGATE_COMPLETE={shell}_complete" in script
    assert script.splitlines()[-1].startswith(f"# To have it in every new shell: reelgate completion {shell} > ")
    assert shell != "zsh" or script.startswith("#compdef reelgate")


def test_a_terminal_that_is_not_utf_8(tmp_path: Path) -> None:
    """A quotation mark that it does not have ends nothing."""
    result = CliRunner(charset="latin-1").invoke(main, ["check", "--config", str(tmp_path / "ж.yaml")])
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True)
    assert "there is no such file" in result.output
