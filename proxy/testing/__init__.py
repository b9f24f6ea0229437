"""Tests for plugins, shipped: the simulator kit and the laws that every channel keeps.

A plugin author writes a `Simulator` of the provider from its documentation and subclasses `ChannelContract`:

    class TestLumen(ChannelContract):
        plugin = "lumen"
        simulator = LumenSimulator
        entry = {"api_key": "lumen-key-7f3a90c2", "models": ["lumen-1"]}
        states = {"waiting": "queued", "rendering": "in_progress", "ready": "completed", "rejected": "failed"}
"""

from typing import TYPE_CHECKING, Any

try:
    import pytest
except ImportError:
    raise ImportError("proxy.testing needs the test tools: pip install 'reelgate[test]'") from None

ROOMS = tuple(
    f"proxy.testing.{room}" for room in ("bench", "contract", "pictures", "polling", "product", "results", "submitting")
)
"""The modules that have laws."""

# Before they are imported, so that a broken law shows the values that it compared.
pytest.register_assert_rewrite(*ROOMS)

from proxy.testing.simulator import Job, Operation, Simulator, SimulatorServer, operation  # noqa: E402
from proxy.testing.wire import Answer, Call, Part, Refuse  # noqa: E402

if TYPE_CHECKING:
    from proxy.testing.contract import ChannelContract

__all__ = [
    "Answer",
    "Call",
    "ChannelContract",
    "Job",
    "Operation",
    "Part",
    "Refuse",
    "Simulator",
    "SimulatorServer",
    "operation",
]


def __getattr__(name: str) -> Any:
    # Simulators are written and run without the whole product, which the contract brings along.
    if name == "ChannelContract":
        from proxy.testing.contract import ChannelContract

        return ChannelContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
