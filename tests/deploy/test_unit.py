"""The systemd unit: sound, as locked up as it can be, and patient with a stop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.serve import GRACE

UNIT = Path(__file__).parents[2] / "deploy" / "reelgate.service"
EXPOSURE = 15
"""In tenths, of 100; what is left is the network, which is its trade."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, its program replaced by one that is on every machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    text = UNIT.read_text("utf-8").replace("/opt/reelgate/bin/reelgate", shutil.which("true") or "/bin/true")
    file = tmp_path / UNIT.name
    file.write_text(text, "utf-8")
    return file


def analyzed(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "SYSTEMD_COLORS": "0"}
    return subprocess.run(["systemd-analyze", *words], env=environ, capture_output=True, text=True)


def test_the_unit_is_sound(unit: Path) -> None:
    """systemd finds nothing to say about it: no unknown key, no value that it does not understand."""
    done = analyzed("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_is_locked_up(unit: Path) -> None:
    """systemd's own measure of what a service could do beyond its trade stays low."""
    done = analyzed("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout


def test_an_early_reload_is_no_stop() -> None:
    """What a reload in the first moments ends, which is a clean end by systemd's rules, is started again."""
    assert re.findall(r"^Restart=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE) == ["always"]


def test_a_stop_gets_its_time() -> None:
    """systemd kills only after the grace that the server gives to what is under way."""
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert int(seconds) > GRACE
