"""The product in front of the strict stand-in of OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.testing import SimulatorServer
from tests.checklist.desk import PUPPET, PUPPETS, UPSTREAM_KEY, Desk, channel, config
from tests.conftest import Launch, Product
from tests.simulators.openai import OpenAISimulator


@pytest.fixture
async def sim() -> AsyncIterator[OpenAISimulator]:
    """The upstream; its jobs move only when a test moves them."""
    async with SimulatorServer(OpenAISimulator(keys={UPSTREAM_KEY})) as simulator:
        simulator.automatic = False
        yield simulator


@pytest.fixture
async def desk(launch: Launch, sim: OpenAISimulator) -> Desk:
    """The product with one openai channel."""
    return Desk(await launch(config(channel(sim), submit_wait=5)), sim)


@pytest.fixture
async def puppet(launch: Launch, tmp_path: Path) -> Product:
    """The product with a channel that keeps what it was asked."""
    return await launch(PUPPET, plugins=PUPPETS, data=tmp_path / "puppet")
