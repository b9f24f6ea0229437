"""What a key may do, and what it costs: seen over HTTP, and the counting of requests by a clock of the test's."""

import asyncio
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy import money
from proxy.accounts.limits import Gate, since
from proxy.accounts.users import Users
from proxy.api import API
from proxy.errors import Forbidden, RateLimited, Unauthorized, UpstreamRefused
from proxy.models import JobError, UpstreamJob
from proxy.records import Key, KeyLimits
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
TEXT = """
channels:
  - {name: a, type: puppet, models: {sora-2: s, cheap: {upstream: c, price: {per_second: 0.01}}}, poll_every: 0.01,
     price: {per_second: 0.10, 1080p: 0.30}}
  - {name: b, type: lookup, models: [other], poll_every: 0.01}
"""
BUDGET = money.amount("1.00")


async def product_with(launch: Launch, **limits: Any) -> tuple[Product, str]:
    """A server, and a key of these limits."""
    product = await launch(TEXT, plugins=PLUGINS)
    return product, await product.key("phone", limits=KeyLimits(**limits))


async def order(product: Product, key: str, **body: Any) -> tuple[int, Any, dict[str, str]]:
    return await product.call("POST", "/v1/videos", key=key, json={"prompt": "a lamp", **body})


async def spend(product: Product, key: str) -> dict[str, Any]:
    status, body, _ = await product.call("GET", "/v1/usage", key=key)
    assert status == 200, body
    return body


# ---------------------------------------------------------------- money


async def test_a_budget_ends_the_orders_and_nothing_else(launch: Launch) -> None:
    """The order beyond it is an `insufficient_quota` that no SDK repeats; what was made is read and downloaded, and a
    failure gives its price back."""
    product, key = await product_with(launch, budget=BUDGET)
    status, first, _ = await order(product, key, seconds="8")
    assert (status, first["cost"]) == (200, {"value": 0.8, "currency": "usd", "final": False})
    client = openai.AsyncOpenAI(base_url=f"{product.url}/v1", api_key=key)
    with pytest.raises(openai.RateLimitError) as refused:
        await client.videos.create(prompt="another", seconds="4")
    assert refused.value.code == "insufficient_quota"
    assert "$0.40" in refused.value.message
    assert "$0.20 of the budget" in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"
    await client.close()
    assert len(product.channel("a").asked("create")) == 1, "it was paid for"
    done = await product.until(first["id"], "completed", key=key)
    assert done["cost"] == {"value": 0.8, "currency": "usd", "final": True}
    assert (await product.call("GET", f"/v1/videos/{first['id']}/content", key=key))[0] == 200
    product.channel("a").then("create", UpstreamJob(id="x", status="failed", error=JobError("upstream_failed", "no")))
    status, cheap, _ = await order(product, key, model="cheap", seconds="12")
    assert (status, cheap["status"], cheap["cost"]["value"]) == (200, "failed", 0)
    told = await spend(product, key)
    assert told["budget"] == {
        "period": "total",
        "limit": {"value": 1.0, "currency": "usd"},
        "spent": {"value": 0.8, "currency": "usd"},
        "left": {"value": 0.2, "currency": "usd"},
    }
    assert told["total"] == {
        "videos": 2, "completed": 1, "failed": 1, "seconds": 8, "cost": {"value": 0.8, "currency": "usd"},
    }  # fmt: skip


async def test_orders_at_once_cannot_pass_a_budget_together(launch: Launch) -> None:
    """Of ten at the same moment, those that the budget pays for are taken."""
    product, key = await product_with(launch, budget=BUDGET)
    answers = await asyncio.gather(*(order(product, key, prompt=f"a lamp {n}", seconds="4") for n in range(10)))
    assert sorted(status for status, _, _ in answers) == [200] * 2 + [429] * 8
    assert len(product.channel("a").asked("create")) == 2


async def test_a_price_that_nobody_knows_has_no_budget(launch: Launch) -> None:
    """A key with a budget cannot order what has no price; one without can."""
    product, key = await product_with(launch, budget=BUDGET)
    status, body, _ = await order(product, key, model="other")
    assert (status, body["error"]["code"]) == (403, "permission_denied")
    assert "'other'" in body["error"]["message"]
    assert "cost" not in await product.create(model="other")


@pytest.mark.parametrize("price", ["", ", price: {per_second: 5}"])
async def test_no_budget_is_passed_on_a_dearer_channel(launch: Launch, price: str) -> None:
    """What its own channel refuses, has no room for, or gives back to the queue does not go to one that the budget
    cannot pay, or that has no known price; a key without a budget goes there."""
    text = f"""
channels:
  - {{name: a, type: puppet, models: [sora-2], poll_every: 0.01, price: {{per_second: 0.10}}, priority: 9,
     max_running: 1}}
  - {{name: b, type: lookup, models: [sora-2], poll_every: 0.01{price}}}
"""
    product = await launch(text, plugins=PLUGINS)
    key = await product.key("phone", limits=KeyLimits(budget=BUDGET))
    a, b = product.channel("a"), product.channel("b")
    a.then("create", UpstreamRefused("no"))
    status, body, _ = await order(product, key, seconds="4")
    assert (status, body["error"]["code"]) == (502, "upstream_error")
    assert (await spend(product, key))["budget"]["spent"]["value"] == 0
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    a.then("fetch", word)
    _, first, _ = await order(product, key, seconds="4")
    status, second, _ = await order(product, key, seconds="4", prompt="another")
    assert (status, second["status"], second["cost"]["value"]) == (200, "queued", 0.4)
    word.set_result(UpstreamJob(id="x", status="completed"))
    for video in (first, second):
        assert (await product.until(video["id"], "completed", key=key))["cost"]["value"] == 0.4
    assert b.asked("create") == []
    a.then("create", UpstreamRefused("no"))
    await product.create()
    assert len(b.asked("create")) == 1


async def test_a_price_that_rose_while_a_video_waited(launch: Launch) -> None:
    """It is what the video costs then, unless the budget has no room for it: then the video ends and costs nothing."""
    entry = "{name: a, type: puppet, models: [sora-2], poll_every: 0.01, max_running: 1, price: {per_second: 0.1}}"
    text = f"channels: [{entry}]"
    product = await launch(text, plugins=PLUGINS)
    key = await product.key("phone", limits=KeyLimits(budget=BUDGET))
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("fetch", word)
    going = await product.create()
    _, video, _ = await order(product, key, seconds="4")
    other = await product.create(seconds="4")
    await product.reload(text.replace("0.1}", "0.3}"))
    word.set_result(UpstreamJob(id="x", status="completed"))
    failed = await product.until(video["id"], "failed", key=key)
    assert "would cost $1.20 by now, and the budget" in failed["error"]["message"]
    assert failed["cost"] == {"value": 0, "currency": "usd", "final": True}
    assert (await product.until(other["id"], "completed"))["cost"]["value"] == 1.2
    assert (await product.until(going["id"], "completed"))["cost"]["value"] == 0.4


async def test_an_order_counts_in_the_period_of_its_own_time(launch: Launch) -> None:
    """Inputs that took until midnight leave no day to which nobody holds an order."""
    product, key = await product_with(launch, budget=BUDGET, period="day")
    product.core.clock = lambda: time.time() + 86_400
    answers = [(await order(product, key, prompt=f"a lamp {n}", seconds="4"))[0] for n in range(3)]
    assert answers == [200, 200, 429]


async def test_the_bill_goes_by_what_was_delivered(launch: Launch) -> None:
    """Fewer seconds than ordered cost less; more cost no more; the size decides the price."""
    product, key = await product_with(launch)
    for delivered, cost in ((5.5, 1.65), (9, 2.4)):
        product.channel("a").then("create", UpstreamJob(id=f"j{delivered}"))
        product.channel("a").then("fetch", UpstreamJob(id=f"j{delivered}", status="completed", delivered=delivered))
        _, video, _ = await order(product, key, seconds="8", size="1920x1080")
        assert video["cost"]["value"] == 2.4
        done = await product.until(video["id"], "completed", key=key)
        assert done["cost"] == {"value": cost, "currency": "usd", "final": True}
    assert (await spend(product, key))["total"]["cost"]["value"] == 4.05


async def test_usage_is_ones_own(launch: Launch) -> None:
    """Another tenant's orders do not count; keys of one user may be seen together; channels are the operator's."""
    product, key = await product_with(launch)
    mine = await product.key("one", tenant="user_anna")
    also_mine = await product.key("two", tenant="user_anna")
    for one in (key, mine, also_mine):
        await order(product, one, seconds="4")
    assert (await spend(product, mine))["total"]["videos"] == 1
    _, both, _ = await product.call("GET", "/v1/usage?scope=tenant&group_by=key,model", key=mine)
    assert both["total"]["videos"] == 2
    assert [(row["model"], row["cost"]["value"]) for row in both["data"]] == [("sora-2", 0.4)] * 2
    assert (await product.call("GET", "/v1/usage?group_by=channel", key=mine))[0] == 403
    for query in ("group_by=colour", "group_by=day,day", "start_time=-1", "scope=all", "start_time=9&end_time=3"):
        status, body, _ = await product.call("GET", f"/v1/usage?{query}", key=mine)
        assert (status, body["error"]["type"]) == (400, "invalid_request_error"), query


# ---------------------------------------------------------------- what a key may do


async def test_a_key_has_the_models_and_channels_that_it_was_given(launch: Launch) -> None:
    """Others are not listed and not found, and a remix of what was made before by another is refused."""
    product, key = await product_with(launch, models=("cheap",))
    _, listed, _ = await product.call("GET", "/v1/videos/models", key=key)
    assert [model["id"] for model in listed["data"]] == ["cheap"]
    status, body, _ = await order(product, key, model="sora-2")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert (await order(product, key, model="cheap"))[0] == 200
    anna = await product.key("anna", tenant="user_anna")
    narrow = await product.key("narrow", tenant="user_anna", limits=KeyLimits(channels=("b",)))
    made = await product.create(key=anna)
    await product.until(made["id"], "completed", key=anna)
    status, body, _ = await product.call("POST", f"/v1/videos/{made['id']}/remix", key=narrow, json={"prompt": "red"})
    assert (status, body["error"]["code"]) == (403, "permission_denied")
    assert (await order(product, narrow, model="cheap"))[0] == 404
    assert (await order(product, narrow, model="other"))[0] == 200


async def test_unfinished_videos_are_counted(launch: Launch) -> None:
    """One more than may be unfinished at once waits for a place, as the headers say."""
    product, key = await product_with(launch, running=2)
    product.channel("a").then("fetch", *(UpstreamJob(id="x", status="in_progress"),) * 1000)
    answers = await asyncio.gather(*(order(product, key, prompt=f"a lamp {n}") for n in range(4)))
    assert sorted(status for status, _, _ in answers) == [200, 200, 429, 429]
    refused = next(answer for answer in answers if answer[0] == 429)
    assert refused[1]["error"]["code"] == "rate_limit_exceeded"
    assert int(refused[2]["retry-after"]) > 0
    assert len(product.channel("a").asked("create")) == 2


async def test_requests_are_counted_and_addresses_known(launch: Launch) -> None:
    """The third request of two is a 429 with a wait; a key of another network is refused by what it comes from."""
    product, key = await product_with(launch, requests_per_minute=2)
    answers = [await product.call("GET", "/v1/models", key=key) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert 1 <= int(answers[2][2]["retry-after"]) <= 30
    elsewhere = await product.key("elsewhere", limits=KeyLimits(addresses=("10.0.0.0/8",)))
    status, body, _ = await product.call("GET", "/v1/models", key=elsewhere, headers={"X-Forwarded-For": "10.1.1.1"})
    assert (status, body["error"]["code"]) == (403, "permission_denied")
    assert "127.0.0.1" in body["error"]["message"]
    here = await product.key("here", limits=KeyLimits(addresses=("127.0.0.0/8", "::1/128")))
    assert (await product.call("GET", "/v1/models", key=here))[0] == 200


async def test_the_keys_of_a_disabled_user_rest(launch: Launch) -> None:
    """They are refused within a moment, and good again once the user is; an admin key does not depend on a user."""
    product = await launch(TEXT, plugins=PLUGINS)
    users = Users(product.core.store)
    anna = await users.create("anna", "a password")
    mine = await product.key("phone", tenant=anna.tenant)
    admins = await product.key("admins", tenant=anna.tenant, admin=True)
    assert (await product.call("GET", "/v1/models", key=mine))[0] == 200
    await users.disable(anna.id)
    product.server.app[API].authenticator._known.clear()
    status, body, _ = await product.call("GET", "/v1/models", key=mine)
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert "disabled" in body["error"]["message"]
    assert (await product.call("GET", "/v1/models", key=admins))[0] == 200
    await users.enable(anna.id)
    assert (await product.call("GET", "/v1/models", key=mine))[0] == 200


def test_a_minute_of_requests_is_given_back_evenly() -> None:
    """After a burst of all, one is free every 60/n seconds; keys do not count for each other."""
    time = [100.0]
    gate = Gate(clock=lambda: time[0])
    one, other = (Key(name, name, name, limits=KeyLimits(requests_per_minute=3)) for name in ("one", "other"))
    for _ in range(3):
        gate.admit(one, None)
    with pytest.raises(RateLimited) as wait:
        gate.admit(one, None)
    assert wait.value.retry_after == pytest.approx(20)
    gate.admit(other, None)
    time[0] += 20
    gate.admit(one, None)
    with pytest.raises(RateLimited):
        gate.admit(one, None)


def test_a_key_expires_and_knows_its_networks() -> None:
    """To the second; and an address in the other notation of the same is the same."""
    now = [1_000.0]
    gate = Gate(now=lambda: now[0])
    key = Key("k", "k", "k", limits=KeyLimits(expires_at=1_001, addresses=("192.0.2.0/24", "2001:db8::/32")))
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1", "2001:db8::1%eth0"):
        gate.admit(key, address)
    for address in ("192.0.3.1", "2001:db9::1", "", "unix:", None):
        with pytest.raises(Forbidden):
            gate.admit(key, address)
    now[0] = 1_001
    with pytest.raises(Unauthorized):
        gate.admit(key, "192.0.2.9")


@pytest.mark.parametrize(
    ("period", "began"), [("total", 0), ("day", 1_709_164_800), ("month", 1_706_745_600)]
)  # 29 February 2024
def test_periods_begin_at_midnight(period: Any, began: int) -> None:
    """In UTC, also on the day that only leap years have."""
    assert since(period, 1_709_210_000) == began
