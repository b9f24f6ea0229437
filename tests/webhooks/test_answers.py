"""What receivers answer, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from proxy.webhooks import deliveries as module
from proxy.webhooks.schedule import MOST_ASKED
from tests.webhooks.receiver import Heard, Post, Receiver

Receivers = Callable[[], Awaitable[Receiver]]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_redirects_are_failures(post: Post, receivers: Receivers, status: int) -> None:
    """A 3xx is not followed and is no success."""
    receiver, elsewhere = await receivers(), await receivers()
    receiver.always(status, Location=elsewhere.url)
    await post.endpoint(receiver)
    await post.ended()
    (row,) = await post.quiet()
    assert (row["state"], row["last_status"], len(receiver.heard)) == ("pending", status, 1)
    assert elsewhere.heard == []


async def test_a_receiver_that_does_not_answer_in_time(post: Post, receiver: Receiver) -> None:
    """A try without an answer ends when its time is over, and is made again."""

    async def hang(heard: Heard) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.answer = hang
    post.sender._timeout = 0.05
    await post.endpoint(receiver)
    await post.ended()
    (row,) = await post.quiet()
    assert (row["state"], row["tries"], row["last_status"]) == ("pending", 1, None)
    assert row["note"] == "the receiver gave no answer within 0.05 seconds"


async def test_an_answer_without_end(post: Post, receiver: Receiver) -> None:
    """A receiver that says 200 and then sends for ever has taken the event."""

    async def endless(heard: Heard) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(heard.request)
        while True:
            await response.write(b"x" * 65536)

    receiver.answer = endless
    await post.endpoint(receiver)
    await post.ended()
    (row,) = await post.quiet()
    assert (row["state"], len(receiver.heard)) == ("delivered", 1)


@pytest.mark.parametrize(
    ("status", "asked", "least", "most"),
    [
        (429, 300, 300, 300),
        (503, 300, 300, 300),
        (429, 1, 4.5, 5.5),
        (429, 90_000, MOST_ASKED, MOST_ASKED),
        (500, 300, 4.5, 5.5),
    ],
)
async def test_retry_after(post: Post, receiver: Receiver, status: int, asked: int, least: float, most: float) -> None:
    """A 429 or 503 may ask for a longer wait, up to an hour; other answers may not."""
    receiver.always(status, Retry_After=str(asked))
    await post.endpoint(receiver)
    await post.ended()
    assert least <= await post.next() <= most


async def test_retry_after_holds_the_whole_endpoint(post: Post, receivers: Receivers) -> None:
    """What else waits for a receiver that asks for a pause waits too; other endpoints do not."""
    busy, free = await receivers(), await receivers()
    busy.always(429, Retry_After="300")
    await post.stop()
    await post.endpoint(busy)
    await post.endpoint(free)
    for _ in range(10):
        await post.ended()
    post.start()
    rows = await post.quiet()
    assert len(busy.heard) <= module.PER_ENDPOINT * 2
    assert len(free.heard) == 10
    assert all(row["next_at"] >= post.clock() + 300 for row in rows if row["state"] == "pending")


async def test_gone(post: Post, receiver: Receiver) -> None:
    """A 410 stops the endpoint: what waits for it fails and nothing new is sent, until it is updated."""
    endpoint = await post.endpoint(receiver)
    receiver.always(500)
    for _ in range(3):
        await post.ended()
    await post.quiet()
    receiver.always(410)
    await post.next()
    assert {row["state"] for row in await post.quiet()} == {"failed"}
    assert post.outcomes["failed"] == 3
    assert (await post.endpoints.endpoint("anna", endpoint.id)).stopped_at == post.clock()
    await post.ended()
    assert len(await post.rows()) == 3
    receiver.always(200)
    started = await post.endpoints.update("anna", endpoint.id)
    assert (started.stopped_at, started.updated_at) == (None, endpoint.updated_at)
    video = await post.ended()
    await post.quiet()
    assert receiver.videos()[-1] == video.id


async def test_gone_from_where_it_was(post: Post, receivers: Receivers) -> None:
    """A 410 of an address that was changed meanwhile stops nothing: the event goes to the new one."""
    old, new = await receivers(), await receivers()
    endpoint = await post.endpoint(old)

    async def moved(heard: Heard) -> web.StreamResponse:
        await post.endpoints.update("anna", endpoint.id, url=new.url)
        return web.Response(status=410)

    old.answer = moved
    video = await post.ended()
    assert [row["state"] for row in await post.quiet()] == ["delivered"]
    assert new.videos() == [video.id]
