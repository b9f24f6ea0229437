"""plugins/vertex.py: the laws of every channel, with films within the answer and in Cloud Storage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import plugins.vertex
from proxy.testing import ChannelContract, Simulator
from tests.simulators.google import EMAIL, private_key, service_account
from tests.simulators.vertex import VertexSimulator

OTHER = "films@second-project.iam.gserviceaccount.com"


class VertexKit(ChannelContract):
    """What both ways to keep a film share: `credentials` of an entry is the account's address, until it is written."""

    plugin = "vertex"
    plugin_file = Path(plugins.vertex.__file__)
    simulator = VertexSimulator
    entry: ClassVar[Mapping[str, Any]] = {"credentials": EMAIL, "models": {"veo": "veo-3.1-generate-001"}}
    other_entry: ClassVar[Mapping[str, Any]] = {"credentials": OTHER}
    # No word is on the wire: what is not done runs, and what is done without a film was held back.
    states: ClassVar[Mapping[str, str]] = {
        "queued": "in_progress",
        "in_progress": "in_progress",
        "completed": "completed",
        "filtered": "failed",
        "failed": "failed",
    }
    unknown_state = None
    allowed_imports = ("cryptography",)

    def make_simulator(self) -> Simulator:
        # The keys are made before the loop of a test begins: that takes a while.
        private_key(EMAIL), private_key(OTHER)
        return VertexSimulator(keys={EMAIL, OTHER})

    def secrets(self, entry: Mapping[str, Any] | None = None) -> list[str]:
        key = service_account((self.entry if entry is None else entry)["credentials"])
        return [key["private_key"].splitlines()[3], key["private_key_id"]]

    def yaml(self, sim: Simulator, *entries: Mapping[str, Any], server: Mapping[str, Any] | None = None) -> str:
        assert isinstance(sim, VertexSimulator)
        return super().yaml(sim, *(self.written(sim, one) for one in entries), server=server)

    def written(self, sim: VertexSimulator, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The entry as an operator writes it, with the account's JSON inline."""
        return {**entry, "credentials": sim.credentials(entry["credentials"])}


class TestVertex(VertexKit):
    """Films within the answer."""


class TestVertexStorage(VertexKit):
    """Films in a bucket, which is on an origin of its own."""

    entry: ClassVar[Mapping[str, Any]] = {**VertexKit.entry, "storage": "gs://films/of/ours"}

    def written(self, sim: VertexSimulator, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().written(sim, entry), "storage_url": sim.files_url}
