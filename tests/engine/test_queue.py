"""The durable queue: order within a key, turns between keys, bounds and deadlines (issue 3, durable queue)."""

import asyncio
from pathlib import Path

import pytest

from proxy.engine import Core
from proxy.errors import Throttled
from proxy.models import UpstreamJob
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parent / "plugins",)

NARROW = """
server: {%s}
channels: [{name: a, type: puppet, models: [sora-2, veo], max_running: 1, poll_every: 0.005}]
"""


class Gate:
    """Holds the only place of channel a until `open`, and tells in which order the prompts went out."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self._held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        product.channel("a").then("fetch", self._held)

    async def close(self) -> None:
        await self.product.create(prompt="gate")

    def open(self) -> None:
        self._held.set_result(UpstreamJob(id="gate", status="completed"))

    def order(self) -> list[str]:
        return [request.prompt for request in self.product.channel("a").asked("create")][1:]


async def closed(launch: Launch, server: str = "") -> tuple[Product, Gate]:
    product = await launch(NARROW % server, plugins=PLUGINS)
    gate = Gate(product)
    await gate.close()
    return product, gate


async def test_one_key_is_served_in_its_order(launch: Launch) -> None:
    """First come, first served within a key."""
    product, gate = await closed(launch)
    videos = [await product.create(prompt=str(number)) for number in range(12)]
    assert {video["status"] for video in videos} == {"queued"}
    gate.open()
    for video in videos:
        assert (await product.done(video["id"]))["status"] == "completed"
    assert gate.order() == [str(number) for number in range(12)]


async def test_a_key_with_many_starves_nobody(launch: Launch) -> None:
    """Keys take turns, also over different models of one channel: a key with one is served after one of the other."""
    product, gate = await closed(launch)
    many = [await product.create(prompt=f"many {number}") for number in range(40)]
    one = await product.key("one")
    other = await product.key("other")
    await product.create(prompt="one 0", key=one)
    await product.create(prompt="other 0", key=other, model="veo")
    await product.create(prompt="other 1", key=other)
    gate.open()
    for video in many:
        await product.done(video["id"])
    order = gate.order()
    assert len(order) == 43
    assert max(order.index("one 0"), order.index("other 0")) <= 3
    assert order.index("other 1") <= 6


async def test_nobody_overtakes_the_queue(launch: Launch) -> None:
    """An order that comes while others wait for the same channel stands in line, though a place is free just now."""
    product, gate = await closed(launch)
    first = await product.create(prompt="first")
    gate.open()
    late = [await product.create(prompt=f"late {number}") for number in range(5)]
    for video in (first, *late):
        await product.done(video["id"])
    assert gate.order() == ["first", *(f"late {number}" for number in range(5))]


async def test_the_queue_is_bounded(launch: Launch) -> None:
    """Beyond max_queued: 429 with a Retry-After of at most 60 s, nothing stored, also for many orders at once."""
    product, gate = await closed(launch, "max_queued: 5")
    answers = await asyncio.gather(
        *(product.call("POST", "/v1/videos", json={"prompt": f"{number}"}) for number in range(20))
    )
    statuses = [status for status, _, _ in answers]
    assert (statuses.count(200), statuses.count(429)) == (5, 15)
    for status, body, headers in answers:
        if status == 429:
            assert body["error"]["code"] == "rate_limit_exceeded"
            assert 0 < float(headers["retry-after"]) <= 60
    _, listed, _ = await product.call("GET", "/v1/videos")
    assert len(listed["data"]) == 6
    gate.open()


async def test_a_key_has_a_bound_of_its_own(launch: Launch) -> None:
    """One key cannot fill the queue: another one still gets in."""
    product, gate = await closed(launch, "max_queued: 10, max_queued_per_key: 3")
    for _ in range(3):
        await product.create()
    status, body, headers = await product.call("POST", "/v1/videos", json={"prompt": "x"})
    assert (status, "key" in body["error"]["message"], "retry-after" in headers) == (429, True, True)
    assert (await product.create(key=await product.key("another")))["status"] == "queued"
    gate.open()


async def test_a_deadline_ends_the_wait(launch: Launch) -> None:
    """After queue_timeout a waiting video fails with queue_timeout; it was never sent."""
    product, gate = await closed(launch, "queue_timeout: 0.2")
    video = await product.create(prompt="late")
    video = await product.done(video["id"])
    assert (video["status"], video["error"]["code"]) == ("failed", "queue_timeout")
    assert gate.order() == []
    gate.open()


async def test_waiting_survives_a_restart_in_its_order(launch: Launch, tmp_path: Path) -> None:
    """The queue is in the store: the next process submits it in the same order."""
    product, gate = await closed(launch)
    videos = [await product.create(prompt=str(number)) for number in range(5)]
    await product.server.close()
    again = await launch(NARROW % "", plugins=PLUGINS)
    for video in videos:
        assert (await again.done(video["id"]))["status"] == "completed"
    prompts = [request.prompt for request in again.channel("a").asked("create")]
    assert prompts == [str(number) for number in range(5)]


async def test_a_throttled_channel_is_waited_for(launch: Launch) -> None:
    """After a 429 nothing is sent before its Retry-After, for any key; then all go, in order."""
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.005}]", plugins=PLUGINS)
    product.channel("a").then("create", Throttled("Busy.", retry_after=0.5))
    first = await product.create(prompt="0")
    assert "throttled" in (product.core.why_not(product.core.channels.get("a")) or "")  # type: ignore[arg-type]
    others = [await product.create(prompt=str(number)) for number in (1, 2)]
    assert {video["status"] for video in (first, *others)} == {"queued"}
    for video in (first, *others):
        assert (await product.done(video["id"]))["status"] == "completed"
    assert [request.prompt for request in product.channel("a").asked("create")] == ["0", "0", "1", "2"]


async def test_a_full_queue_is_looked_at_by_groups(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can go, a pass over a long queue asks about each group once, not about each video."""
    product, gate = await closed(launch, "max_queued: 1000")
    await asyncio.gather(*(product.create(prompt=str(number)) for number in range(300)))
    asked = 0
    reserve = product.core.reserve

    def counted(*arguments: object) -> bool:
        nonlocal asked
        asked += 1
        return reserve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Core, "reserve", lambda _, *arguments: counted(*arguments))
    for _ in range(3):
        product.core.freed.set()
        for _ in range(5):
            await asyncio.sleep(0)
    assert 0 < asked <= 6
    gate.open()
