"""plugins/fal.py: the laws of every channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import plugins.fal
from proxy.testing import ChannelContract
from tests.simulators.fal import FalSimulator


class TestFal(ChannelContract):
    plugin = "fal"
    plugin_file = Path(plugins.fal.__file__)
    simulator = FalSimulator
    entry: ClassVar[Mapping[str, Any]] = {
        "api_key": "3f1c5d7e-4b0a-4c55-9d3e-8d2f6a9be01c:9e107d9d372bb6826bd81d3542a419d6",
        "models": ["xai/grok-imagine-video/text-to-video"],
    }
    other_entry: ClassVar[Mapping[str, Any]] = {
        "api_key": "7c0e9a41-1f6d-4b2e-8a77-55d1c2ab3e90:e4d909c290d0fb1ca068ffaddf22cbd0"
    }
    states: ClassVar[Mapping[str, str]] = {
        "IN_QUEUE": "queued",
        "IN_PROGRESS": "in_progress",
        "COMPLETED": "completed",
        # How the simulator calls a run that is COMPLETED and has an error.
        "ERROR": "failed",
        "FAILED": "failed",
        "CANCELED": "failed",
    }
