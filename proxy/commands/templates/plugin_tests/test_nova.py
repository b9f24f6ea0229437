"""plugins/nova.py keeps the laws of every channel.

    reelgate plugins test plugins/nova.py

tells them in words; `pytest` runs them too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from proxy.testing import ChannelContract

from .nova_simulator import NovaSimulator


class TestNova(ChannelContract):
    plugin = "nova"
    plugin_file = Path(__file__).parents[1] / "plugins" / "nova.py"
    simulator = NovaSimulator
    # An entry of channels.yaml without its name, type and base_url. The key is made up.
    entry: ClassVar[Mapping[str, Any]] = {"api_key": "nova-key-of-the-tests-5d20"}
    # Every state of the documentation -> what it means. Written down once more: this is what the plugin is held to.
    states: ClassVar[Mapping[str, str]] = {
        "pending": "queued",
        "running": "in_progress",
        "succeeded": "completed",
        "failed": "failed",
        "canceled": "failed",
    }
