"""Stopping the engine: it ends, whatever its tasks were woken by at that moment."""

import asyncio
from pathlib import Path

import pytest

from proxy.app import WIRING
from tests.conftest import Launch

PLUGINS = (Path(__file__).parent / "plugins",)


@pytest.mark.parametrize("ticks", range(5))
async def test_a_wake_up_does_not_swallow_the_stop(launch: Launch, ticks: int) -> None:
    """However many steps of the loop lie between a wake-up and the stop, every task ends.

    Python 3.11's `asyncio.wait_for` forgets a cancellation that comes when what it waits for is done.
    """
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2]}]", plugins=PLUGINS)
    engine = product.server.app[WIRING].engine
    assert engine is not None
    for _ in range(20):
        await asyncio.sleep(0)
    engine._poller._woken.set()
    engine._core.freed.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await engine._core.cancel_tasks()
