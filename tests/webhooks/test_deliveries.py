"""What receivers get: each event at least once, under one id, whatever they answer."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from aiohttp import web

from proxy.store import webhooks as table
from proxy.store.errors import StoreBusy
from proxy.webhooks import deliveries as module
from proxy.webhooks.schedule import LIFE, LONGEST
from tests.webhooks.receiver import Heard, Post, Receiver

Receivers = Callable[[], Awaitable[Receiver]]


async def test_each_end_is_told_once(post: Post, receiver: Receiver) -> None:
    """A completed and a failed video are told once each, however often the engine says so, also after the delivery
    and after a restart; a later deletion is no news."""
    await post.endpoint(receiver)
    done, failed = post.video(), post.video(status="failed")
    for _ in range(2):
        for video in (done, failed):
            await post.deliveries.video_changed(video, "in_progress")
            await post.deliveries.video_changed(video, "queued")
        await post.quiet()
        await post.restart()
    await post.deliveries.video_changed(post.video(id=done.id, stage="deleted"), "completed")
    await post.quiet()
    assert sorted((heard.event["type"], heard.event["data"]["id"]) for heard in receiver.heard) == [
        ("video.completed", done.id),
        ("video.failed", failed.id),
    ]
    assert post.outcomes == {"delivered": 2}


async def test_a_deleted_video_is_not_told_again(post: Post, receiver: Receiver) -> None:
    """The deletion of a video whose delivery was long forgotten tells nobody of its end once more."""
    await post.endpoint(receiver)
    video = await post.ended()
    await post.quiet()
    post.clock.now += module.KEPT + 1
    await post.deliveries.prune(post.clock())
    assert await post.rows() == []
    await post.deliveries.video_changed(post.video(id=video.id, stage="deleted"), "completed")
    assert await post.rows() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "in_progress", "stage": "running"},
        {"status": "queued", "stage": "deleted"},
        {"status": "failed", "stage": "refused"},
    ],
)
async def test_only_ends_are_told(post: Post, receiver: Receiver, fields: dict[str, str]) -> None:
    """What runs, was deleted before it ended, or was refused at once makes no event."""
    await post.endpoint(receiver)
    await post.ended(**fields)
    assert await post.rows() == []


async def test_who_hears_of_it(post: Post, receiver: Receiver) -> None:
    """Every endpoint of the tenant that wants this type and was there before the end hears of it, and nobody else."""
    wanted = [await post.endpoint(receiver), await post.endpoint(receiver, event_types=("video.failed",))]
    await post.endpoint(receiver, event_types=("video.completed",))
    await post.endpoint(receiver, tenant="bert")
    post.clock.now += 10
    ended = post.video(status="failed")
    post.clock.now += 10
    await post.endpoint(receiver)
    await post.deliveries.video_changed(ended, "in_progress")
    rows = await post.quiet()
    assert {row["endpoint_id"] for row in rows} == {endpoint.id for endpoint in wanted}
    assert len(set(receiver.ids())) == 2
    assert len({heard.event["id"] for heard in receiver.heard}) == 1


async def test_it_is_written_down_when_the_call_returns(post: Post, receiver: Receiver) -> None:
    """A process that dies right after it heard of the end has lost nothing: the next one delivers."""
    await post.stop()
    await post.endpoint(receiver)
    video = await post.ended()
    assert receiver.heard == []
    await post.restart()
    await post.quiet()
    assert receiver.videos() == [video.id]


async def test_the_first_retry_comes_after_five_seconds(post: Post, receiver: Receiver) -> None:
    """A failed delivery is tried again after about 5 s, with the same id and body and a fresh time and signature."""
    receiver.always(500)
    await post.endpoint(receiver)
    await post.ended()
    assert 4.5 <= await post.next() <= 5.5
    first, second = receiver.heard
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) == int(second.at) > int(first.headers["webhook-timestamp"])
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert post.outcomes == {"retried": 2}


async def test_a_receiver_that_always_fails(post: Post, receiver: Receiver) -> None:
    """The waits double up to six hours, the last try is 72 h after the event, and then the delivery has failed."""
    receiver.always(500)
    await post.endpoint(receiver)
    began = post.clock.now
    await post.ended()
    waits = []
    while (await post.quiet())[0]["state"] == "pending":
        waits.append(await post.next())
    wanted = 5.0
    for wait in waits[:-1]:
        assert 0.9 * wanted <= wait <= 1.1 * wanted
        wanted = min(2 * wanted, LONGEST)
    assert post.clock.now == pytest.approx(began + LIFE)
    (row,) = await post.rows()
    assert (row["state"], row["tries"], row["last_status"]) == ("failed", len(receiver.heard), 500)
    assert (post.outcomes["failed"], post.outcomes["retried"]) == (1, len(waits))
    assert set(receiver.ids()) == {row["id"]}


async def test_down_for_long(post: Post, receiver: Receiver) -> None:
    """An event that waited longer than its life, because nothing ran, is tried all the same."""
    await post.stop()
    await post.endpoint(receiver)
    await post.ended()
    post.clock.now += LIFE + 1
    post.start()
    assert [row["state"] for row in await post.quiet()] == ["delivered"]


async def test_thirty_percent_fail(post: Post, receivers: Receivers) -> None:
    """300 events at receivers that fail in every third case, and a process that ends now and then in the middle: each
    is delivered, under one id, and no retry comes sooner or later than its time."""
    chance = random.Random(77)
    all_receivers = [await receivers() for _ in range(3)]

    async def sometimes(heard: Heard) -> web.StreamResponse:
        status = chance.choice([500, 503, 404, 302, 408]) if chance.random() < 0.3 else 204
        taken[heard.id] += status == 204
        return web.Response(status=status)

    taken: defaultdict[str, int] = defaultdict(int)
    for receiver in all_receivers:
        receiver.answer = sometimes
        await post.endpoint(receiver)
    videos = [(await post.ended()).id for _ in range(50)]
    await post.restart()
    videos += [(await post.ended()).id for _ in range(50)]
    steps = 0
    while any(row["state"] == "pending" for row in await post.quiet()):
        heard = sum(len(receiver.heard) for receiver in all_receivers)
        await post.skip()
        steps += 1
        if steps % 5 == 0:
            # In the middle: the receiver has it, and the process does not know what came of it.
            await post.until(lambda before=heard: sum(len(one.heard) for one in all_receivers) > before)
            await post.restart()
    rows = await post.rows()
    assert {row["state"] for row in rows} == {"delivered"}
    assert len(rows) == 300
    assert set(taken) == {row["id"] for row in rows}
    for receiver in all_receivers:
        assert set(receiver.videos()) == set(videos)
        tries = defaultdict(list)
        for heard in receiver.heard:
            tries[heard.id].append(heard.at)
        for times in tries.values():
            waits = [later - sooner for sooner, later in itertools.pairwise(times)]
            # A try that a restart cut off is made again at once, and counts for nothing.
            for number, wait in enumerate(wait for wait in waits if wait > 0):
                assert 0.9 * 5 * 2**number <= wait <= 1.1 * 5 * 2**number


async def test_hanging_receivers_delay_nobody(post: Post, receivers: Receivers) -> None:
    """Receivers that never answer, with a backlog, hold up neither others of their tenant nor other tenants."""
    good, other, bad = await receivers(), await receivers(), await receivers()
    holding = asyncio.Event()

    async def hang(heard: Heard) -> web.StreamResponse:
        await holding.wait()
        return web.Response()

    bad.answer = hang
    for _ in range(3):
        await post.endpoint(bad)
    for _ in range(12):
        await post.endpoint(bad, tenant="mallory")
    for _ in range(10):
        await post.ended()
        await post.ended("mallory")
    await post.until(lambda: bad.most == 3 * module.PER_ENDPOINT + module.PER_TENANT)
    await post.endpoint(good)
    await post.endpoint(other, tenant="bert")
    mine = [(await post.ended()).id for _ in range(20)]
    theirs = [(await post.ended("bert")).id for _ in range(20)]
    await post.until(lambda: set(good.videos()) >= set(mine) and set(other.videos()) == set(theirs))
    assert bad.most == 3 * module.PER_ENDPOINT + module.PER_TENANT
    holding.set()
    await post.quiet()
    assert {row["state"] for row in await post.rows()} == {"delivered"}


async def test_a_backlog_hides_nobody(post: Post) -> None:
    """What an endpoint with a long backlog has due leaves room for the others in what is read at once."""
    await post.stop()
    await post.endpoint("https://example.com/old")
    for _ in range(30):
        await post.ended()
    post.clock.now += 1
    late = await post.endpoint("https://example.com/late", tenant="bert")
    await post.ended("bert")
    found, next_at = await post.store.read(partial(table.due, now=post.clock(), each=4, most=10))
    assert [endpoint.id for _, endpoint in found][4:] == [late.id]
    assert next_at is None


async def test_a_deleted_endpoint_gets_nothing_more(post: Post, receiver: Receiver) -> None:
    """With an endpoint go its deliveries, also one that is under way."""
    endpoint = await post.endpoint(receiver)

    async def deleted(heard: Heard) -> web.StreamResponse:
        await post.endpoints.delete("anna", endpoint.id)
        return web.Response(status=500)

    receiver.answer = deleted
    await post.ended()
    await post.until(lambda: bool(receiver.heard))
    assert await post.quiet() == []
    await post.ended()
    assert await post.rows() == []
    await post.stop()
    assert post.outcomes == {}


async def test_only_the_leader_delivers(post: Post, receiver: Receiver) -> None:
    """A process that does not lead sends nothing; once it leads it sends what waits."""
    post.leads = False
    await post.endpoint(receiver)
    await post.ended()
    for _ in range(3):
        post.deliveries.wake()
        await asyncio.sleep(0.01)
    assert receiver.heard == []
    post.leads = True
    await post.quiet()
    assert len(receiver.heard) == 1


async def test_two_leaders_by_mistake(post: Post, receiver: Receiver) -> None:
    """A process that was overtaken writes nothing over what the other one wrote."""
    await post.endpoint(receiver)
    taken: list[int] = []

    async def slow(heard: Heard) -> web.StreamResponse:
        taken.append(1)
        if len(taken) == 1:
            # The other one delivers it while this try is still under way.
            other = module.Deliveries(post.store, post.sender, clock=post.clock)
            task = asyncio.create_task(other.run())
            async with asyncio.timeout(30):
                while [row["state"] for row in await post.rows()] != ["delivered"]:
                    await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return web.Response(status=500)
        return web.Response()

    receiver.answer = slow
    await post.ended()
    await post.until(lambda: len(taken) == 2)
    await post.quiet()
    await post.stop()
    (row,) = await post.rows()
    assert (row["state"], row["tries"], len(set(receiver.ids()))) == ("delivered", 1, 1)


async def test_a_busy_store(post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be read or written for a while costs no event and sends none twice."""
    monkeypatch.setattr(module, "_WRITE_WAIT", 0.001)
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.001)
    await post.endpoint(receiver)
    video = post.video()
    refusals = {"read": 3, "write": 3}
    read, write = post.store.read, post.store.write

    async def busy_read(function):  # type: ignore[no-untyped-def]
        if started and refusals["read"]:
            refusals["read"] -= 1
            raise StoreBusy("locked")
        return await read(function)

    async def busy_write(function):  # type: ignore[no-untyped-def]
        if receiver.heard and refusals["write"]:
            refusals["write"] -= 1
            raise StoreBusy("locked")
        return await write(function)

    started = False
    await post.stop()
    monkeypatch.setattr(post.store, "read", busy_read)
    monkeypatch.setattr(post.store, "write", busy_write)
    await post.deliveries.video_changed(video, "in_progress")
    started = True
    post.start()
    await post.until(lambda: post.outcomes["delivered"] == 1)
    assert (receiver.videos(), refusals) == ([video.id], {"read": 0, "write": 0})


async def test_what_ended_is_forgotten_after_a_week(post: Post, receiver: Receiver) -> None:
    """Deliveries that ended more than seven days ago are removed; those that wait stay."""
    receiver.always(500)
    await post.endpoint(receiver)
    await post.ended()
    await post.quiet()
    receiver.always(200)
    await post.ended()
    await post.quiet()
    await post.stop()
    await post.deliveries.prune(post.clock() + module.KEPT)
    assert len(await post.rows()) == 2
    await post.deliveries.prune(post.clock() + module.KEPT + 1)
    assert [row["state"] for row in await post.rows()] == ["pending"]


async def test_it_tidies_up_by_itself(post: Post, receiver: Receiver) -> None:
    """What ended long ago is removed while the process runs, without being asked."""
    await post.endpoint(receiver)
    await post.ended()
    assert len(await post.quiet()) == 1
    post.clock.now += module.KEPT + 1
    async with asyncio.timeout(30):
        while await post.quiet():
            await asyncio.sleep(0.002)
