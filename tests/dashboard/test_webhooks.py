"""`/dashboard/webhooks`: endpoints are made, tried out and ended, and what was sent to them is sent again."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from proxy.app import WIRING
from proxy.records import Key
from proxy.store import webhooks as table
from proxy.store.webhooks import Delivery, Endpoint
from tests.dashboard.conftest import Browser, Desk, Open
from tests.webhooks.receiver import Heard, Receiver

HERE = "/dashboard/webhooks"
BOTH = ["video.completed", "video.failed"]
CHANNELS = """
server: {webhook_hosts: [127.0.0.1]}
channels: [{name: a, type: puppet, models: [sora-2]}]
"""
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{40,}=")
_REQUEST_ID = re.compile(r"<code>[^<]*</code>")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver(time.time)
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.fixture
async def desk(open_desk: Open) -> Desk:
    return await open_desk(CHANNELS)


async def send(browser: Browser, path: str, **fields: Any) -> Any:
    """A form with several values of a name."""
    pairs = [("csrf", await browser.token())]
    for name, value in fields.items():
        pairs += [(name, one) for one in (value if isinstance(value, list) else [value])]
    return await browser.ask("POST", path, data=pairs, headers={"Origin": browser.url})


async def made(desk: Desk, browser: Browser, url: str, tenant: str = "user_anna") -> Endpoint:
    answer = await send(browser, HERE + "/new", name="hook", url=url, event_types=BOTH)
    assert answer.status == 200
    found, _ = await site(desk).webhooks.page(tenant, after=None, limit=9, newest_first=True)
    return found[0]


def site(desk: Desk) -> Any:
    return desk.product.server.app[WIRING].site


async def heard(receiver: Receiver, number: int) -> list[Heard]:
    async with asyncio.timeout(30):
        while len(receiver.heard) < number:
            await asyncio.sleep(0.005)
    return receiver.heard


async def states(desk: Desk, endpoint: Endpoint, *wanted: str) -> list[Any]:
    """The deliveries, once they are in these states."""
    async with asyncio.timeout(30):
        while True:
            found, _ = await site(desk).webhooks.deliveries(endpoint.tenant, endpoint.id, limit=9)
            if tuple(one.state for one in found) == wanted:
                return found
            await asyncio.sleep(0.005)


async def order(browser: Browser) -> None:
    """A video of who is logged in, which ends by itself."""
    headers = {"x-csrf-token": await browser.token(), "Origin": browser.url}
    answer = await browser.ask("POST", "/dashboard/api/videos", json={"prompt": "a paper plane"}, headers=headers)
    assert answer.status == 200


async def test_an_event_is_delivered_and_sent_again(desk: Desk, receiver: Receiver) -> None:
    """The secret is shown once; a delivery is listed with its end, and a resend has the same `webhook-id`."""
    anna = await desk.logged_in()
    answer = await send(anna, HERE + "/new", name="farm", url=receiver.url, event_types=BOTH)
    assert len(set(SECRET.findall(answer.text))) == 1
    ((endpoint,), _) = await site(desk).webhooks.page("user_anna", after=None, limit=9, newest_first=True)
    path = f"{HERE}/{endpoint.id}"
    await order(anna)
    await heard(receiver, 1)
    (delivery,) = await states(desk, endpoint, "delivered")
    page = (await anna.get(path)).text
    assert SECRET.search(page) is None
    assert delivery.video_id in page
    assert "HTTP 200" in page
    assert "1 delivered" in (await anna.get(HERE)).text
    assert (await anna.submit(f"{path}/deliveries/{delivery.id}/resend")).status == 303
    first, second = await heard(receiver, 2)
    assert (first.id, first.body) == (second.id, second.body)
    (again,) = await states(desk, endpoint, "delivered")
    assert (again.id, again.tries) == (delivery.id, 2)


async def test_a_delivery_that_waits_is_not_disturbed(desk: Desk, receiver: Receiver) -> None:
    """A resend of what is pending changes nothing; one that was given up long ago gets one more try."""
    anna = await desk.logged_in()
    endpoint = await made(desk, anna, receiver.url)
    store, now = desk.product.core.store, time.time()
    waits = Delivery(
        id=f"wh_{'1' * 32}",
        endpoint_id=endpoint.id,
        event_id="evt_1",
        event_type="video.failed",
        video_id="video_1",
        created_at=now - 10,
        tries=3,
        next_at=now + 5000,
    )
    old = Delivery(
        id=f"wh_{'2' * 32}",
        endpoint_id=endpoint.id,
        event_id="evt_2",
        event_type="video.failed",
        video_id="video_2",
        created_at=now - 5 * 86_400,
        tries=20,
        next_at=now + 5000,
    )
    for one in (waits, old):
        await store.write(partial(table.add, delivery=one))
    await store.write(partial(table.settle, delivery=old, state="failed", now=now, status=500, note=""))
    receiver.always(503)
    for one in (waits, old):
        assert (await anna.submit(f"{HERE}/{endpoint.id}/deliveries/{one.id}/resend")).status == 303
    assert [one.id for one in await heard(receiver, 1)] == [old.id]
    newest, oldest = await states(desk, endpoint, "pending", "failed")
    assert (newest.tries, newest.next_at) == (3, waits.next_at)
    async with asyncio.timeout(30):
        while oldest.tries != 22:
            newest, oldest = await states(desk, endpoint, "pending", "failed")
    assert oldest.last_status == 503
    only = (await anna.get(f"{HERE}/{endpoint.id}?state=failed")).text
    assert "video_2" in only
    assert "video_1" not in only


async def test_a_test_tells_what_the_receiver_said(desk: Desk, receiver: Receiver) -> None:
    """Good, bad, or nothing at all."""
    anna = await desk.logged_in()
    endpoint = await made(desk, anna, receiver.url)
    path = f"{HERE}/{endpoint.id}/test"
    assert "it answered HTTP 200." in (await anna.submit(path, event_type="video.failed")).text
    assert receiver.heard[0].event["type"] == "video.failed"
    receiver.always(500)
    assert "The receiver answered HTTP 500." in (await anna.submit(path)).text

    async def cut(heard: Heard) -> web.StreamResponse:
        assert heard.request.transport is not None
        heard.request.transport.abort()
        raise ConnectionError

    receiver.answer = cut
    answer = await anna.submit(path)
    assert answer.status == 200
    assert "could not be delivered" in answer.text


async def test_a_stopped_endpoint_starts_again(desk: Desk, receiver: Receiver) -> None:
    """After a 410 the page says why nothing comes; nothing is resent before somebody starts it again."""
    anna = await desk.logged_in()
    endpoint = await made(desk, anna, receiver.url)
    receiver.always(410)
    await order(anna)
    (delivery,) = await states(desk, endpoint, "failed")
    page = (await anna.get(f"{HERE}/{endpoint.id}")).text
    assert "HTTP 410" in page
    assert "/resend" not in page
    resend = f"{HERE}/{endpoint.id}/deliveries/{delivery.id}/resend"
    assert (await anna.submit(resend)).status == 400
    assert (await anna.submit(f"{HERE}/{endpoint.id}/start")).status == 303
    receiver.always(204)
    assert (await anna.submit(resend)).status == 303
    await states(desk, endpoint, "delivered")


async def test_an_endpoint_is_changed_rotated_and_deleted(desk: Desk, receiver: Receiver) -> None:
    """A new secret is shown once, alone or with the old one still good for a day; deleting is asked about first."""
    anna = await desk.logged_in()
    endpoint = await made(desk, anna, receiver.url)
    path = f"{HERE}/{endpoint.id}"
    changed = await send(anna, path, name="other", url=receiver.url + "/x", event_types="video.failed")
    assert changed.status == 303
    found = await site(desk).webhooks.endpoint("user_anna", endpoint.id)
    assert (found.name, found.url, found.event_types) == ("other", receiver.url + "/x", ("video.failed",))
    for fields, kept in (({"keep_old": "yes"}, True), ({}, False)):
        answer = await anna.submit(path + "/rotate", **fields)
        after = await site(desk).webhooks.endpoint("user_anna", endpoint.id)
        assert set(SECRET.findall(answer.text)) == {after.secret} != {found.secret}
        assert (after.old_secret == found.secret) is kept
        found = after
    asked = await anna.submit(path + "/delete")
    assert "Delete “other”?" in asked.text
    assert (await anna.get(path)).status == 200
    assert (await anna.submit(path + "/delete", sure="yes")).status == 303
    assert (await anna.get(path)).status == 404


async def test_mistakes_are_told_beside_their_fields(desk: Desk, receiver: Receiver) -> None:
    """What was typed stays; private addresses that the operator does not allow are refused, also on a change."""
    anna = await desk.logged_in()
    endpoint = await made(desk, anna, receiver.url)
    hostile = "\"'><script>alert(1)</script>"
    for path in (HERE + "/new", f"{HERE}/{endpoint.id}"):
        answer = await send(anna, path, name=hostile + "x" * 100, url="")
        assert answer.status == 422
        assert [name for name in ("name", "url", "event_types") if f'id="error-{name}"' in answer.text] == [
            "name",
            "url",
            "event_types",
        ]
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert(1)" in answer.text
        for url in ("ftp://x.example", "http://10.0.0.1/hook", "https://u:p@x.example", "javascript:alert(1)", hostile):
            answer = await send(anna, path, name="typed", url=url, event_types="video.failed")
            assert answer.status == 422
            assert 'id="error-url"' in answer.text
            assert 'value="typed"' in answer.text
            assert not re.search(r'value="video.completed" checked', answer.text)
            assert "<script>alert" not in answer.text
    assert await site(desk).webhooks.endpoint("user_anna", endpoint.id) == endpoint


async def test_foreign_endpoints_are_unknown(desk: Desk, receiver: Receiver) -> None:
    """Every page and form answers for another's endpoint or delivery as for one that never was; also for an admin."""
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    mine = await made(desk, anna, receiver.url)
    theirs = await made(desk, otto, receiver.url, "user_otto")
    await order(anna)
    (delivery,) = await states(desk, mine, "delivered")
    nobodys = f"we_{'0' * 32}"
    tails = ("", "/start", "/rotate", "/test", "/delete", f"/deliveries/{delivery.id}/resend")
    for tail in (None, *tails):
        answers = set()
        for endpoint_id in (mine.id, nobodys, "x", "%00", "%ff", "we_" + "0" * 5000):
            path = f"{HERE}/{endpoint_id}"
            answer = await (
                otto.get(path)
                if tail is None
                else send(otto, path + tail, name="mine", url=receiver.url, event_types=BOTH, sure="yes")
            )
            answers.add((answer.status, _REQUEST_ID.sub("", answer.text)))
        assert len(answers) == 1
        assert answers.pop()[0] == 404
    # One's own endpoint with another's delivery.
    for delivery_id in (delivery.id, f"wh_{'0' * 32}", "x", "%00"):
        answer = await otto.submit(f"{HERE}/{theirs.id}/deliveries/{delivery_id}/resend")
        assert answer.status == 404
        assert "There is no such webhook delivery" in answer.text
    assert mine.id not in (await otto.get(HERE)).text
    assert await site(desk).webhooks.endpoint("user_anna", mine.id) == mine
    assert len(receiver.heard) == 1


async def test_long_lists_of_deliveries_have_pages(desk: Desk, receiver: Receiver) -> None:
    """Newest first, nothing missing and nothing twice, also where many were made in the same moment."""
    anna = await desk.logged_in()
    endpoint = await made(desk, anna, receiver.url)
    now = time.time()

    def add(db: Any) -> None:
        for number in range(120):
            one = Delivery(
                id=f"wh_{number:032x}",
                endpoint_id=endpoint.id,
                event_id="evt",
                event_type="video.failed",
                video_id=f"video_{number}",
                created_at=now - number // 60,
                next_at=now + 5000,
            )
            table.add(db, one)

    await desk.product.core.store.write(add)
    found, path = [], f"{HERE}/{endpoint.id}"
    for _ in range(3):
        page = (await anna.get(path)).text
        found += re.findall(r">video_(\d+)<", page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = "" if older is None else older[1].replace("&amp;", "&")
    assert path == ""
    assert sorted(map(int, found)) == list(range(120))
    assert (await anna.get(f"{HERE}/{endpoint.id}?before=nonsense&state=what")).status == 200


async def test_the_admins_webhooks_outlive_the_first_admin_key(desk: Desk, receiver: Receiver) -> None:
    """The user `admin` has the first admin key's tenant; once that is revoked, its videos are still told of."""
    store = desk.product.core.store
    await store.add_key(Key("admin", "admin", "admin", admin=True), b"d" * 32)
    await store.revoke_key("admin", 5)
    user = await desk.accounts.users.find("admin")
    assert user is not None
    await desk.accounts.users.set_password(user.id, "a long way home")
    admin = await desk.logged_in("admin")
    endpoint = await made(desk, admin, receiver.url, "admin")
    await order(admin)
    await heard(receiver, 1)
    await states(desk, endpoint, "delivered")
