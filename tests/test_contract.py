"""The contract holds for the smallest plugin, that of the docs, for one that can do everything, and for one whose films
and pictures have forms of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from proxy.testing import ChannelContract
from proxy.testing.contract import ClassLaws
from proxy.testing.pictures import PictureLaws
from proxy.testing.results import ResultLaws
from tests.contract.atelier import AtelierSimulator
from tests.contract.kiln import KilnSimulator
from tests.simulators.lumen import LumenSimulator

ROOT = Path(__file__).parents[1]


class TestLumen(ChannelContract):
    """docs/examples/lumen.py"""

    plugin = "lumen"
    plugin_file = ROOT / "docs/examples/lumen.py"
    simulator = LumenSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": "lumen-key-7f3a90c2d41b", "models": ["lumen-1"]}
    states: ClassVar[Mapping[str, str]] = {
        "waiting": "queued",
        "rendering": "in_progress",
        "ready": "completed",
        "rejected": "failed",
    }


class TestAtelier(ChannelContract):
    """tests/contract/plugins/atelier.py"""

    plugin = "atelier"
    plugin_file = ROOT / "tests/contract/plugins/atelier.py"
    simulator = AtelierSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": "atelier-key-19d0c7aa52", "models": {"oil": "oil-on-canvas-2"}}
    states: ClassVar[Mapping[str, str]] = {
        "accepted": "queued",
        "painting": "in_progress",
        "varnishing": "in_progress",
        "hung": "completed",
        "torn": "failed",
        "called-off": "failed",
    }


class TestKiln(PictureLaws, ResultLaws, ClassLaws):
    """tests/contract/plugins/kiln.py: all laws hold for it, and these are the ones that the others cannot prove."""

    plugin = "kiln"
    plugin_file = ROOT / "tests/contract/plugins/kiln.py"
    simulator = KilnSimulator
    entry: ClassVar[Mapping[str, Any]] = {"api_key": "kiln-key-4be01f77a9", "models": ["stoneware"]}
    allowed_imports = ("av",)
