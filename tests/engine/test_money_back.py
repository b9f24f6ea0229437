"""A video that was deleted by force while it was on its way is paid for, until it turns out that nothing was."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from proxy.errors import ApiError, InvalidRequest, Throttled, UpstreamRefused
from proxy.models import JobError, UpstreamJob
from tests.conftest import Launch, Product
from tests.engine.doubts import KEY, LOOKUP, PENDING, PLUGINS, engine_of, late, pending, resolve

PRICE = 1_000_000_000
"""What four seconds cost."""


def booked(product: Product) -> int:
    """What the ledger adds up to; the videos say the same."""
    with contextlib.closing(sqlite3.connect(product.core.store.path)) as db:
        (amount,) = db.execute("SELECT SUM(amount) FROM ledger").fetchone()
        assert db.execute("SELECT SUM(COALESCE(cost, price)) FROM videos").fetchone() == (amount,)
        assert db.execute("SELECT COUNT(*) FROM videos WHERE cost IS NULL").fetchone() == (0,)
    return int(amount)


async def told(product: Product) -> int:
    """What the client is told that it spent."""
    _, usage, _ = await product.call("GET", "/v1/usage")
    return round(usage["total"]["cost"]["value"] * 10**9)


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        (InvalidRequest("no"), 0),
        (Throttled("later", retry_after=60), 0),
        (UpstreamRefused("no"), 0),
        (UpstreamJob(id="x", status="failed", error=JobError("upstream_failed", "no")), 0),
        (UpstreamJob(id="x", status="in_progress"), 0),
        (UpstreamJob(id="x", status="completed"), PRICE),
        (ApiError("a broken answer"), PRICE),
    ],
)
async def test_what_was_not_taken_after_all_is_given_back(
    launch: Launch, said: UpstreamJob | ApiError, cost: int
) -> None:
    """The upstream refused it, or was stopped: nothing is left to pay. Where that is not known, it is paid for."""
    product = await launch(LOOKUP, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    ordering = asyncio.create_task(product.call("POST", "/v1/videos", json={"prompt": "a lamp"}))
    async with asyncio.timeout(10):
        while not product.channel("a").asked("create"):
            await asyncio.sleep(0)
    ((video,), _) = await engine_of(product).videos(KEY, after=None, limit=1, order="desc")
    assert (await product.call("DELETE", f"/v1/videos/{video.id}?force=true"))[0] == 200
    assert booked(product) == PRICE
    if isinstance(said, ApiError):
        word.set_exception(said)
    else:
        word.set_result(said)
    await ordering
    assert booked(product) == await told(product) == cost
    with contextlib.closing(sqlite3.connect(product.core.store.path)) as db:
        assert db.execute("SELECT COUNT(*) FROM outbox WHERE after = 'deleted'").fetchone()[0] <= 1


@pytest.mark.parametrize(("answer", "cost"), [("not_created", 0), ("give_up", PRICE), ("attach", PRICE)])
async def test_an_operators_word_settles_the_money_too(launch: Launch, answer: str, cost: int) -> None:
    """What was forgotten in doubt costs nothing where it was never made, and once where it is delivered after all."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await pending(product)
    assert (await product.call("DELETE", f"/v1/videos/{video_id}?force=true"))[0] == 200
    assert booked(product) == PRICE
    for _ in range(2):
        found = await resolve(product, video_id, answer, "job" if answer == "attach" else None)
    if found.delivered_as is not None:
        await product.done(found.delivered_as.id)
    assert booked(product) == await told(product) == cost


async def test_a_late_job_is_paid_for_once(launch: Launch) -> None:
    """Its owner deleted the video while the upstream took it; the operator delivers it as a new one."""
    product = await launch(PENDING, plugins=PLUGINS)
    video_id = await late(product)
    assert booked(product) == PRICE
    found = await resolve(product, video_id, "attach", "paid")
    assert found.delivered_as is not None
    await product.done(found.delivered_as.id)
    assert booked(product) == await told(product) == PRICE
