"""A clock, receivers, and what delivers to them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from proxy.upstream import Http
from tests.webhooks.receiver import Clock, Post, Receiver


@pytest.fixture
def clock() -> Clock:
    """It begins now, because receivers look at their own clocks."""
    return Clock(time.time())


@pytest.fixture
async def post(tmp_path: Path, clock: Clock) -> AsyncIterator[Post]:
    """What delivers, running."""
    http = Http()
    await http.start()
    made = Post(tmp_path / "reelgate.db", clock, http)
    await made.open()
    made.start()
    yield made
    await made.close()
    await http.close()


@pytest.fixture
async def receivers(clock: Clock) -> AsyncIterator[Callable[[], Awaitable[Receiver]]]:
    """Makes running receivers."""
    running: list[Receiver] = []

    async def start() -> Receiver:
        receiver = Receiver(clock)
        await receiver.server.start_server()
        running.append(receiver)
        return receiver

    yield start
    for receiver in running:
        await receiver.server.close()


@pytest.fixture
async def receiver(receivers: Callable[[], Awaitable[Receiver]]) -> Receiver:
    return await receivers()
