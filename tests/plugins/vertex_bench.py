"""A channel of plugins/vertex.py beside its simulator, for tests that look at one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from proxy import UpstreamJob
from proxy.testing import Simulator
from proxy.testing.bench import Bench
from tests.plugins.test_vertex import OTHER, VertexKit
from tests.simulators.google import EMAIL
from tests.simulators.vertex import VertexSimulator

KeyFile = tuple[str, Callable[[VertexSimulator, str], None]]
"""A path as an entry has it, and what writes the file for an account's address."""


class Beside(NamedTuple):
    """The bench, with the simulator and the channel as what they are."""

    bench: Bench
    sim: VertexSimulator
    channel: Any

    async def sent(self, kind: Any = "create", source: UpstreamJob | None = None, **values: Any) -> dict[str, Any]:
        """The body of a submission of that kind."""
        await self.bench.submit(kind, source, **values)
        body: dict[str, Any] = self.sim.calls(kind)[-1].json
        return body


# Outside the event loop: it reads files.
VertexKit().registry()


class WritingSimulator(VertexSimulator):
    """Writes the key file of an entry as soon as it has an address."""

    def __init__(self, write: Callable[[VertexSimulator, str], None]) -> None:
        super().__init__(keys={EMAIL, OTHER})
        self.write = write

    async def start(self) -> None:
        await super().start()
        await asyncio.to_thread(self.write, self, EMAIL)


class OneKit(VertexKit):
    """An entry whose credentials are a file at `key_file`, which `write` makes, or lack what `changed` replaces."""

    def __init__(self, key_file: KeyFile | None, changed: Mapping[str, str]) -> None:
        self.key_file = key_file
        self.changed = changed

    def make_simulator(self) -> Simulator:
        return WritingSimulator(self.key_file[1]) if self.key_file else super().make_simulator()

    def written(self, sim: VertexSimulator, entry: Mapping[str, Any]) -> dict[str, Any]:
        made = super().written(sim, entry)
        return {**made, "credentials": self.key_file[0] if self.key_file else {**made["credentials"], **self.changed}}


@asynccontextmanager
async def vertex(
    folder: Path, *, key_file: KeyFile | None = None, changed: Mapping[str, str] = MappingProxyType({}), **entry: Any
) -> AsyncIterator[Beside]:
    """A channel with the contract's entry, changed by `entry`."""
    async with OneKit(key_file, changed).bench(folder, **entry) as bench:
        assert isinstance(bench.sim, VertexSimulator)
        yield Beside(bench, bench.sim, bench.channel)
