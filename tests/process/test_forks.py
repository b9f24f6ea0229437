"""A fork of what has imported the product is as good as `python -m proxy`."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.process import forks


@pytest.mark.parametrize("words", [("check",), ("plugins", "list"), ("serve", "--port", "many")], ids=" ".join)
async def test_it_says_and_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Exit code, stdout, stderr, folder and environment are those of a Python that starts anew."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(forks.ROOT), "REELGATE_CONFIG": "films.yaml"}
    await asyncio.to_thread((tmp_path / "films.yaml").write_text, "channels: [{name: a, type: demon}]", "utf-8")

    async def said() -> tuple[int | None, str, str]:
        process = await forks.start(*words, cwd=tmp_path, env=environ)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    forked = await said()
    monkeypatch.setenv("REELGATE_NO_FORKS", "1")
    assert forked == await said()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_it_is_killed_as_any_process(tmp_path: Path, number: signal.Signals) -> None:
    """Its code is that of the signal, and nothing of it stays."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(forks.ROOT)}
    process = await forks.start("serve", "--port", "0", cwd=tmp_path, env=environ)
    assert process.stdout is not None
    while b"/v1" not in await process.stdout.readline():
        pass
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
