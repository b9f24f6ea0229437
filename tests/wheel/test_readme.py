"""The first command of the README, in the checkout itself."""

import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

from tests.wheel.conftest import ROOT


def test_make_run_serves(tmp_path: Path) -> None:
    """`make run` serves the repository's file, shows key and password, and ends with a Ctrl-C."""
    with subprocess.Popen(
        ["make", "run", f"ARGS=--port 0 --data {tmp_path / 'data'}"],
        cwd=ROOT,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        while "plane.mp4" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        (base,) = re.findall(r"(http://\S+)/v1$", said, re.MULTILINE)
        with urllib.request.urlopen(f"{base}/readyz", timeout=60) as response:
            assert response.status == 200
        assert said.count("(shown once): ") == 2
        os.killpg(process.pid, signal.SIGINT)
        # The pipe is closed once the server has ended, too.
        process.stdout.read()
    assert (tmp_path / "data" / "reelgate.db").exists()
