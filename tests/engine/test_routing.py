"""Which channel makes a video, what its breaker does, and what the operator can read of it (issue 3, routing)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import AccountRefused, InvalidRequest, Throttled, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parent / "plugins",)

PAIR = """
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10}
  - {name: b, type: puppet, models: [sora-2], weight: 3}
  - {name: c, type: puppet, models: [sora-2], weight: 1}
"""


async def decisions(product: Product, video_id: str) -> list[dict[str, Any]]:
    return [json.loads(attempt.decision) for attempt in await product.core.store.attempts(video_id)]


# ---------------------------------------------------------------- why this channel


async def test_a_decision_says_why_this_channel_and_why_not_the_others(launch: Launch) -> None:
    """Each attempt keeps the chosen channel, the reason, and for every other channel why not it."""
    product = await launch(
        "channels:\n"
        "  - {name: a, type: puppet, models: [sora-2], priority: 10}\n"
        "  - {name: b, type: puppet, models: [sora-2]}\n"
        "  - {name: off, type: puppet, models: [sora-2], enabled: false}\n"
        "  - {name: short, type: puppet, models: {sora-2: {upstream: x, seconds: [5]}}}\n"
        "  - {name: other, type: puppet, models: [veo]}\n",
        plugins=PLUGINS,
    )
    (decision,) = await decisions(product, (await product.create(seconds=4))["id"])
    assert (decision["chosen"], decision["because"]) == ("a", "priority 10")
    assert decision["others"]["b"] == "its priority is lower (0)"
    assert decision["others"]["off"] == "switched off"
    assert "'4'" in decision["others"]["short"]
    assert "other" not in decision["others"]


async def test_a_failover_is_told_too(launch: Launch) -> None:
    """The second attempt says that it is one, and what the first channel answered."""
    product = await launch(PAIR, plugins=PLUGINS)
    product.channel("a").then("create", UpstreamUnreachable("Nobody there."))
    first, second = await decisions(product, (await product.create())["id"])
    assert first["chosen"] == "a"
    assert second["because"] == "the next after a refused it"
    assert "Nobody there." in second["others"]["a"]


async def test_a_full_channel_is_the_reason_for_the_next(launch: Launch) -> None:
    """Where the best channel has no room, the decision for the next one says so."""
    product = await launch(PAIR.replace("priority: 10", "priority: 10, max_running: 1"), plugins=PLUGINS)
    held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", held)
    await product.create()
    (decision,) = await decisions(product, (await product.create())["id"])
    assert decision["chosen"] in ("b", "c")
    assert decision["others"]["a"] == "full: 1 of 1 places are taken"
    assert decision["because"].startswith("drawn by weight") or decision["because"] == "priority 0"
    held.cancel()


async def test_weights_share_a_tier(launch: Launch) -> None:
    """Within one priority the channels are drawn by their weights; a lower tier gets nothing meanwhile."""
    product = await launch(PAIR.replace("priority: 10", "priority: -1"), plugins=PLUGINS)
    await asyncio.gather(*(product.create() for _ in range(200)))
    made = {name: len(product.channel(name).asked("create")) for name in "abc"}
    assert made["a"] == 0
    assert made["b"] > made["c"] > 20


async def test_the_model_that_stands_in_may_not_be_served(launch: Launch) -> None:
    """A request without a model is told so: the client did not name the one that is missing."""
    product = await launch(PAIR.replace("sora-2", "veo"), plugins=PLUGINS)
    for fields, words in (({}, "No model was named"), ({"model": "sora-2"}, "The model 'sora-2' does not exist")):
        status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "x", **fields})
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
        assert body["error"]["message"].startswith(words)


# ---------------------------------------------------------------- metadata.channel


async def test_a_request_names_its_channel(launch: Launch) -> None:
    """With a key that may, metadata.channel decides, over priority and weight; the upstream never sees it."""
    product = await launch(PAIR, plugins=PLUGINS)
    may = await product.key("router", chooses_channel=True)
    for key in (may, None):
        arguments = {} if key is None else {"key": key}
        video = await product.create(metadata={"channel": "c", "style": "ink"}, **arguments)
        (decision,) = await decisions(product, video["id"])
        assert (decision["chosen"], decision["because"]) == ("c", "named by the request")
        assert product.channel("c").asked("create")[-1].metadata == {"style": "ink"}


async def test_a_named_channel_is_the_only_one(launch: Launch) -> None:
    """A named channel that is full is waited for, and one that refuses is not replaced by another."""
    product = await launch(PAIR.replace("weight: 1", "weight: 1, max_running: 1"), plugins=PLUGINS)
    held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    product.channel("c").then("fetch", held)
    await product.create(metadata={"channel": "c"})
    waits = await product.create(metadata={"channel": "c"})
    assert waits["status"] == "queued"
    held.set_result(UpstreamError("one bad poll"))
    assert (await product.done(waits["id"]))["status"] == "completed"
    assert [len(product.channel(name).asked("create")) for name in "abc"] == [0, 0, 2]
    product.channel("c").then("create", AccountRefused("No."))
    status, _, _ = await product.call("POST", "/v1/videos", json={"prompt": "x", "metadata": {"channel": "c"}})
    assert status == 502
    assert product.channel("a").asked("create") == []


@pytest.mark.parametrize(
    ("metadata", "may", "words"),
    [
        ({"channel": "c"}, False, "may not"),
        ({"channel": "nowhere"}, True, "no channel called 'nowhere'"),
        ({"channel": 7}, True, "no channel called '7'"),
        ({"channel": "v"}, True, "does not serve"),
    ],
)
async def test_a_name_that_cannot_be_followed_is_refused(
    launch: Launch, metadata: dict[str, Any], may: bool, words: str
) -> None:
    """400 with param, before anything is stored or sent, where the key may not choose or the channel does not fit."""
    product = await launch(PAIR + "  - {name: v, type: puppet, models: [veo]}\n", plugins=PLUGINS)
    key = await product.key("client", chooses_channel=may)
    status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "x", "metadata": metadata}, key=key)
    assert (status, body["error"]["param"]) == (400, "metadata.channel")
    assert words in body["error"]["message"]
    assert all(product.channel(name).asked("create") == [] for name in "abcv")


async def test_a_remix_stays_on_its_pin_whatever_is_named(launch: Launch) -> None:
    """A remix may name its own channel, and no other (P3)."""
    product = await launch(PAIR, plugins=PLUGINS)
    source = await product.done((await product.create())["id"])
    for name, expected in (("a", 200), ("b", 400)):
        status, _, _ = await product.call(
            "POST", f"/v1/videos/{source['id']}/remix", json={"prompt": "y", "metadata": {"channel": name}}
        )
        assert status == expected
    assert len(product.channel("a").asked("remix")) == 1
    assert product.channel("b").asked("remix") == []


# ---------------------------------------------------------------- breakers

TRIPPING = """
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10, breaker: {failures: 3, pause: 0.2}}
  - {name: b, type: puppet, models: [sora-2]}
"""


async def test_a_channel_that_keeps_failing_is_left_alone_and_tried_again(launch: Launch) -> None:
    """After so many failures in a row nothing goes there, and the decisions say why; a changed entry starts anew."""
    product = await launch(TRIPPING.replace("pause: 0.2", "pause: 3600"), plugins=PLUGINS)
    product.channel("a").then("create", *(UpstreamUnreachable("Nobody there.") for _ in range(3)))
    for _ in range(6):
        await product.create()
    assert len(product.channel("a").asked("create")) == 3
    assert len(product.channel("b").asked("create")) == 6
    (decision,) = await decisions(product, (await product.create())["id"])
    assert decision["others"]["a"].startswith("tripped (Nobody there.), tried again in")
    await product.reload(TRIPPING)
    # Another entry is another channel: its breaker starts anew.
    await product.create()
    assert len(product.channel("a").asked("create")) == 1


async def test_a_tripped_channel_without_another_queues(launch: Launch) -> None:
    """Where all channels are tripped a video waits, durably, and goes when a probe finds the upstream again."""
    product = await launch(
        "channels: [{name: a, type: puppet, models: [sora-2], breaker: {failures: 2, pause: 0.05}}]", plugins=PLUGINS
    )
    product.channel("a").then("create", *(UpstreamUnreachable("Nobody there.") for _ in range(3)))
    for _ in range(2):
        assert (await product.call("POST", "/v1/videos", json={"prompt": "x"}))[0] == 502
    waiting = [await product.create() for _ in range(4)]
    assert {video["status"] for video in waiting} == {"queued"}
    for video in waiting:
        assert (await product.done(video["id"]))["status"] == "completed"
    assert product.core.breakers.of("a").state == "closed"


async def test_unknown_outcomes_trip_too(launch: Launch) -> None:
    """An upstream that takes money and does not answer gets no more of it."""
    product = await launch("server: {unknown_grace: 0.1}\n" + TRIPPING, plugins=PLUGINS)
    product.channel("a").then("create", *(UpstreamTimeout("Silence.") for _ in range(3)))
    for _ in range(3):
        await product.create()
    assert product.core.breakers.of("a").state in ("open", "half_open")


@pytest.mark.parametrize(
    "error", [InvalidRequest("Too long."), Throttled("Busy.", retry_after=0.01), AccountRefused("Pay first.")]
)
async def test_a_clear_answer_never_trips(launch: Launch, error: Exception) -> None:
    """What an upstream that works well says clearly is no failure of its channel."""
    product = await launch(TRIPPING.replace("failures: 3", "failures: 1"), plugins=PLUGINS)
    product.channel("a").then("create", error)
    await product.call("POST", "/v1/videos", json={"prompt": "x"})
    assert product.core.breakers.of("a").state == "closed"


async def test_a_failing_probe_costs_one_job_a_pause(launch: Launch) -> None:
    """While an outage lasts, one real job at a time is risked, however many wait."""
    product = await launch(
        "channels: [{name: a, type: puppet, models: [sora-2], breaker: {failures: 1, pause: 3600}}]", plugins=PLUGINS
    )
    product.channel("a").then("create", UpstreamUnreachable("Nobody there."))
    await product.call("POST", "/v1/videos", json={"prompt": "x"})
    await asyncio.gather(*(product.create() for _ in range(20)))
    breaker = product.core.breakers.of("a")
    held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", held)
    breaker._until = breaker._clock()
    product.core.freed.set()
    async with asyncio.timeout(10):
        while len(product.channel("a").asked("create")) < 2:
            await asyncio.sleep(0.01)
    for _ in range(20):
        product.core.freed.set()
        await asyncio.sleep(0)
    assert len(product.channel("a").asked("create")) == 2
    assert breaker.state == "half_open"
    held.cancel()
