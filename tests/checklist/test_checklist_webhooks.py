"""openai-videos.md §8, 90 to 94: webhooks of the whole product as the official SDK believes them; and no batches."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai
import pytest

from proxy.app import WIRING
from proxy.models import JobError, UpstreamJob
from proxy.webhooks import Deliveries
from tests.checklist.desk import PUPPET, PUPPETS, Desk
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.webhooks.receiver import Clock, Heard, Receiver

HERE = f"server: {{webhook_hosts: [127.0.0.1]}}\n{PUPPET}"
EVENTS: Any = ["video.completed", "video.failed"]
YEAR = 365 * 86_400
PRIVATE = (
    *("http://127.0.0.1/hook", "http://localhost:8000/hook", "http://10.0.0.7/hook", "http://192.168.1.1/hook"),
    *("http://[::1]/hook", "http://169.254.169.254/latest", "http://0x7f000001/hook", "http://[::ffff:10.0.0.7]/hook"),
)


class Mail:
    """A product whose webhooks may go to this machine, the official client of it, and a clock of its deliveries."""

    def __init__(self, product: Product, client: openai.AsyncOpenAI) -> None:
        self.product = product
        self.client = client
        self.clock = Clock(time.time())
        engine = product.server.app[WIRING].engine
        assert engine is not None
        (self.deliveries,) = (
            listener.__self__  # type: ignore[attr-defined]
            for name, listener in engine._dispatcher.listeners
            if name == "webhooks"
        )
        assert isinstance(self.deliveries, Deliveries)
        self.deliveries._clock = self.clock

    async def endpoint(self, url: str) -> Any:
        return await self.client.webhooks.create(name="hook", url=url, event_types=EVENTS)

    async def video(self, *, fails: bool = False) -> str:
        """The id of a video that ended."""
        if fails:
            refused = UpstreamJob(id="up", status="failed", error=JobError("moderation_blocked", "no"))
            self.product.channel("p").then("fetch", refused)
        video = await self.product.create()
        await self.product.done(video["id"])
        return str(video["id"])

    async def heard(self, receiver: Receiver, count: int) -> list[Heard]:
        async with asyncio.timeout(20):
            while len(receiver.heard) < count:
                await asyncio.sleep(0.01)
        assert len(receiver.heard) == count
        return receiver.heard

    async def next_try(self, receiver: Receiver) -> Heard:
        """The next attempt of the delivery that failed last, which is made when its time has come."""
        count = len(receiver.heard)
        async with asyncio.timeout(20):
            while len(receiver.heard) == count:
                self.clock.now += 1
                self.deliveries.wake()
                await asyncio.sleep(0.02)
        return receiver.heard[-1]

    def believed(self, heard: Heard, secret: str, tolerance: int = YEAR) -> bool:
        """Whether the SDK takes the signature."""
        try:
            self.client.webhooks.verify_signature(heard.body, heard.headers, secret=secret, tolerance=tolerance)
        except openai.InvalidWebhookSignatureError:
            return False
        return True


@pytest.fixture
async def mail(launch: Launch) -> AsyncIterator[Mail]:
    product = await launch(HERE, plugins=PUPPETS)
    async with openai.AsyncOpenAI(base_url=product.url + "/v1", api_key=ADMIN_KEY, max_retries=0) as client:
        yield Mail(product, client)


Receivers = Callable[[], Awaitable[Receiver]]


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    """Makes running receivers."""
    running: list[Receiver] = []

    async def start() -> Receiver:
        running.append(Receiver(time.time))
        await running[-1].server.start_server()
        return running[-1]

    yield start
    for receiver in running:
        await receiver.server.close()


async def test_090_the_sdk_believes_them(mail: Mail, receivers: Receivers) -> None:
    """`webhooks.unwrap` takes each event with the whsec_ secret that `create` gave, within its 300 seconds, and with no
    other body, id, time or secret. (openai-node: tests/webhooks/test_signing.py, with `make node-test`.)"""
    receiver, other = await receivers(), await receivers()
    endpoint, stranger = await mail.endpoint(receiver.url), await mail.endpoint(other.url)
    assert endpoint.signing_secret.startswith("whsec_")
    ids = [await mail.video(), await mail.video(fails=True)]
    heard = await mail.heard(receiver, 2)
    # The SDK's types know no events of videos.
    events: list[Any] = [
        mail.client.webhooks.unwrap(one.body, one.headers, secret=endpoint.signing_secret) for one in heard
    ]
    assert {event.data.id: event.type for event in events} == dict(zip(ids, EVENTS, strict=True))
    for one in heard:
        assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", one.headers["webhook-signature"])
        later = str(int(one.headers["webhook-timestamp"]) + 1)
        forged = [
            one._replace(body=one.body + b" "),
            one._replace(headers={**one.headers, "webhook-id": "wh_other"}),
            one._replace(headers={**one.headers, "webhook-timestamp": later}),
        ]
        assert mail.believed(one, endpoint.signing_secret, tolerance=300)
        assert not any(mail.believed(each, endpoint.signing_secret) for each in forged)
        assert not mail.believed(one, stranger.signing_secret)


async def test_091_retries_reuse_the_id(mail: Mail, receivers: Receivers) -> None:
    """Each attempt has the same webhook-id and body, and a time and a signature of its own, which the SDK believes."""
    receiver = await receivers()
    endpoint = await mail.endpoint(receiver.url)
    receiver.always(500)
    await mail.video()
    (first,) = await mail.heard(receiver, 1)
    second = await mail.next_try(receiver)
    receiver.always(200)
    third = await mail.next_try(receiver)
    attempts = (first, second, third)
    assert len({(one.id, one.body) for one in attempts}) == 1
    times = [int(one.headers["webhook-timestamp"]) for one in attempts]
    assert times == sorted(set(times))
    assert len({one.headers["webhook-signature"] for one in attempts}) == 3
    assert all(mail.believed(one, endpoint.signing_secret) for one in attempts)
    # It was taken: nothing more comes, however late it gets.
    mail.clock.now += 80 * 3600
    await mail.video()
    assert len({one.id for one in await mail.heard(receiver, 4)}) == 2


async def test_092_rotation_sends_both(mail: Mail, receivers: Receivers) -> None:
    """After a rotation that keeps the old secret for a day both signatures come, one space between them, and the SDK
    believes the event with either secret; after that day with the new one alone."""
    receiver = await receivers()
    old = await mail.endpoint(receiver.url)
    new = await mail.client.webhooks.rotate_secret(old.id, keep_old_secret_active_for_24_hours=True)
    secrets = (old.signing_secret, new.signing_secret)
    await mail.video()
    (both,) = await mail.heard(receiver, 1)
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=", both.headers["webhook-signature"])
    for secret in secrets:
        event: Any = mail.client.webhooks.unwrap(both.body, both.headers, secret=secret)
        assert event.type == "video.completed"
    mail.clock.now += 86_400 + 60
    await mail.video()
    last = (await mail.heard(receiver, 2))[-1]
    assert [mail.believed(last, secret) for secret in secrets] == [False, True]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_093_redirects_are_failures(mail: Mail, receivers: Receivers, status: int) -> None:
    """A 3xx is not followed, and is tried again like any failure."""
    receiver, elsewhere = await receivers(), await receivers()
    await mail.endpoint(receiver.url)
    receiver.always(status, Location=elsewhere.url)
    await mail.video()
    (first,) = await mail.heard(receiver, 1)
    receiver.always(200)
    assert (await mail.next_try(receiver)).id == first.id
    assert elsewhere.heard == []


async def test_093_private_addresses(launch: Launch, receivers: Receivers) -> None:
    """An endpoint inside the operator's own network is refused, when it is made and when it is changed. (What names
    lead to is looked at when they are called: tests/webhooks/test_addresses.py.)"""
    receiver = await receivers()
    product = await launch(PUPPET, plugins=PUPPETS)
    async with openai.AsyncOpenAI(base_url=product.url + "/v1", api_key=ADMIN_KEY) as client:
        public = await client.webhooks.create(name="hook", url="https://example.com/hook", event_types=EVENTS)
        for url in (*PRIVATE, receiver.url):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.webhooks.create(name="hook", url=url, event_types=EVENTS)
            assert caught.value.param == "url", url
            with pytest.raises(openai.BadRequestError):
                await client.webhooks.update(public.id, url=url)
        assert [one.url async for one in client.webhooks.list()] == ["https://example.com/hook"]
    assert receiver.heard == []


async def test_094_no_batches(desk: Desk) -> None:
    """Batches are not offered: their routes are unknown ones, also for JSON lines of videos, and nothing is made."""
    line = {"custom_id": "1", "method": "POST", "url": "/v1/videos", "body": {"prompt": "x"}}
    batch = {"input_file_id": "file-1", "endpoint": "/v1/videos", "completion_window": "24h"}
    for path in ("/v1/batches", "/batches"):
        for body in (batch, line):
            await desk.refused("POST", path, 404, json=body)
        await desk.refused("GET", path, 404)
    with pytest.raises(openai.NotFoundError):
        await desk.sdk(
            lambda client: client.batches.create(
                input_file_id="file-1",
                endpoint="/v1/videos",
                completion_window="24h",
            )
        )
    assert desk.sim.requests == []
