"""The contract can fail: each law goes red for a plugin that breaks it, and for the reason meant."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.contract.media_sabotages import HONEST, MEDIA_SABOTAGES
from tests.contract.product_sabotages import PRODUCT_SABOTAGES
from tests.contract.sabotages import SABOTAGES, Sabotage

ROOT = Path(__file__).parents[2]
PLUGINS = {
    "Lumen": ROOT / "docs/examples/lumen.py",
    "Atelier": ROOT / "tests/contract/plugins/atelier.py",
    "Kiln": ROOT / "tests/contract/plugins/kiln.py",
}
RED = [*SABOTAGES, *MEDIA_SABOTAGES, *PRODUCT_SABOTAGES]
ALL = [*RED, *HONEST]

TEST_FILE = """
import functools
from pathlib import Path

import proxy.app
from proxy.testing import ChannelContract, bench
from tests.test_contract import TestAtelier as Atelier, TestKiln as Kiln, TestLumen as Lumen

# No bundled plugins: most of the time would go into importing them for each saboteur.
bench.load = proxy.app.load = functools.partial(bench.load, bundled=Path(__file__).parent / "nothing")

Atelier.__test__ = Kiln.__test__ = Lumen.__test__ = False
{classes}
"""

CLASS = """

class Test{number}({plugin}):
    __test__ = True
    plugin_file = Path(__file__).parent / "plugin_{number}" / "{file}"
"""

HEADER = "from proxy import *\n"

INI = """
[pytest]
asyncio_mode = auto
timeout = 60
# Every thread's stack, before the limit ends the test.
faulthandler_timeout = 50
"""

# All saboteurs run in one go, before the first verdict; each has a limit of its own, which says where it hung.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the laws said about each saboteur, in one run: the text of the failure, or an empty one."""
    folder = tmp_path_factory.mktemp("sabotage")
    classes, nodes = "", []
    for number, sabotage in enumerate(ALL):
        file = PLUGINS[sabotage.plugin]
        text = file.read_text("utf-8")
        assert text.count(sabotage.old) == 1, f"{sabotage.what}: the plugin has other words now"
        (folder / f"plugin_{number}").mkdir()
        spoilt = text.replace(sabotage.old, sabotage.new).replace("from proxy import", f"{HEADER}from proxy import", 1)
        (folder / f"plugin_{number}" / file.name).write_text(spoilt, "utf-8")
        classes += CLASS.format(number=number, plugin=sabotage.plugin, file=file.name)
        nodes.append(f"test_saboteurs.py::Test{number}::{sabotage.law}")
    (folder / "test_saboteurs.py").write_text(TEST_FILE.format(classes=classes), "utf-8")
    (folder / "pytest.ini").write_text(INI, "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "--junitxml=verdicts.xml",
    ]
    done = subprocess.run(
        [*command, *nodes],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode in (0, 1), done.stderr[:4000] + done.stdout[-2000:]
    said = {}
    for case in ET.parse(folder / "verdicts.xml").iter("testcase"):
        assert case.find("skipped") is None, f"{case.get('classname')}: {case.get('name')} was skipped"
        # An error is a plugin that does not even load.
        red = [found for found in (case.find("failure"), case.find("error")) if found is not None]
        said[case.get("classname").rpartition(".")[2]] = "\n".join(found.get("message") for found in red)
    return said


@pytest.mark.parametrize(
    ("number", "sabotage"),
    list(enumerate(RED)),
    ids=[f"{sabotage.law}: {sabotage.what}" for sabotage in RED],
)
def test_law_goes_red(verdicts: dict[str, str], number: int, sabotage: Sabotage) -> None:
    """A plugin that breaks the law fails it, in words that say what is wrong."""
    said = verdicts[f"Test{number}"]
    assert said, f"{sabotage.law} let it pass that {sabotage.what}"
    assert sabotage.words in said


@pytest.mark.parametrize("honest", HONEST, ids=[f"{honest.law}: {honest.what}" for honest in HONEST])
def test_law_stays_green(verdicts: dict[str, str], honest: Sabotage) -> None:
    """A plugin that does the same thing right passes the law."""
    assert not verdicts[f"Test{ALL.index(honest)}"]
