"""`client.webhooks` of the official SDK, and raw HTTP, against the routes of webhook endpoints."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from proxy.accounts.keys import Authenticator, mint
from proxy.api import READY, SERVER_OPTIONS, Api, install
from proxy.config import Server
from proxy.store import Store
from proxy.upstream import Http
from proxy.upstream.guard import Allowance
from proxy.webhooks import Endpoints, Sender
from proxy.webhooks.endpoints import MAX_ENDPOINTS
from tests.webhooks.receiver import Receiver

BOTH = ["video.completed", "video.failed"]
URL = "https://example.com/hook"
KEYS = {"id", "object", "created_at", "updated_at", "event_types", "name", "url", "signing_secret_hint"}
GOOD = {"name": "hook", "url": URL, "event_types": ["video.completed"]}


class Open:
    ready = True


class Desk:
    """The surface over real endpoints, and two tenants of it."""

    def __init__(self, server: TestServer, session: ClientSession, keys: dict[str, str]) -> None:
        self.server = server
        self.session = session
        self.keys = keys
        self.now = time.time()

    def client(self, who: str = "anna") -> openai.AsyncOpenAI:
        url = str(self.server.make_url("/v1"))
        return openai.AsyncOpenAI(base_url=url, api_key=self.keys[who], max_retries=0)

    async def call(self, method: str, path: str, *, who: str | None = "anna", **kwargs: Any) -> tuple[int, Any, Any]:
        headers = {} if who is None else {"Authorization": f"Bearer {self.keys[who]}"}
        url = self.server.make_url(path)
        async with self.session.request(method, url, headers=headers, **kwargs) as response:
            return response.status, await response.json(), response.headers

    async def create(self, who: str = "anna", **fields: Any) -> dict[str, Any]:
        status, body, _ = await self.call("POST", "/v1/webhook_endpoints", who=who, json={**GOOD, **fields})
        assert status == 200, body
        return cast("dict[str, Any]", body)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await Store.open(tmp_path / "reelgate.db")
    keys = {}
    for name in ("anna", "bert"):
        plain, key, sha256 = mint(name, now=time.time())
        await store.add_key(key, sha256)
        keys[name] = plain
    http = Http()
    await http.start()
    sender = Sender(http, allowance=Allowance(None, ["127.0.0.1"]))
    app = web.Application()
    server = TestServer(app)
    made = Desk(server, ClientSession(), keys)
    api = Api(
        engine=cast("Any", None),
        library=cast("Any", None),
        inputs=cast("Any", None),
        authenticator=Authenticator(store, None),
        administration=cast("Any", None),
        settings=Server(max_body=2**20),
        secret=b"s" * 32,
        uploads=tmp_path / "uploads",
        webhooks=Endpoints(store, sender, clock=lambda: made.now),
    )
    app[READY] = Open()
    install(app, api)
    await server.start_server(**SERVER_OPTIONS)
    yield made
    await made.session.close()
    await server.close()
    await http.close()
    await store.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver(time.time)
    await made.server.start_server()
    yield made
    await made.server.close()


async def test_the_sdk_from_start_to_end(desk: Desk, receiver: Receiver) -> None:
    """Every method of the SDK's `webhooks` works and gets what its types say."""
    async with desk.client() as client:
        assert (await client.webhooks.event_types.list()).data == BOTH
        made = await client.webhooks.create(
            event_types=["video.failed", "video.completed", "video.failed"], name="my hook", url=receiver.url
        )
        assert (made.object, made.event_types, made.name) == ("webhook_endpoint", BOTH[::-1], "my hook")
        assert (made.url, made.created_at, made.updated_at) == (receiver.url, int(desk.now), int(desk.now))
        assert made.signing_secret.startswith("whsec_")
        found = await client.webhooks.retrieve(made.id)
        assert set(found.to_dict()) == KEYS
        assert found.to_dict() == {key: value for key, value in made.to_dict().items() if key != "signing_secret"}

        tried = await client.webhooks.test(made.id, event_type="video.failed")
        assert (tried.object, tried.webhook_endpoint_id, tried.event_type) == (
            *("webhook_endpoint.test", made.id, "video.failed"),
        )
        assert (tried.status_code, tried.success) == (200, True)
        (heard,) = receiver.heard
        event = client.webhooks.unwrap(heard.body, heard.headers, secret=made.signing_secret)
        assert event.type == "video.failed"  # type: ignore[comparison-overlap]
        assert event.data.id.startswith("video_test")

        desk.now += 100
        same = await client.webhooks.update(made.id, name="my hook")
        assert same.updated_at == made.created_at
        changed = await client.webhooks.update(made.id, url=URL, event_types=["video.failed"])
        assert (changed.name, changed.url, changed.event_types) == ("my hook", URL, ["video.failed"])
        assert (changed.created_at, changed.updated_at) == (made.created_at, int(desk.now))

        desk.now += 100
        rotated = await client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        assert rotated.signing_secret != made.signing_secret
        assert rotated.signing_secret_hint != made.signing_secret_hint
        assert rotated.updated_at == int(desk.now)
        again = await client.webhooks.rotate_secret(made.id)
        assert again.signing_secret not in (made.signing_secret, rotated.signing_secret)

        gone = await client.webhooks.delete(made.id)
        assert (gone.id, gone.object, gone.deleted) == (made.id, "webhook_endpoint.deleted", True)
        with pytest.raises(openai.NotFoundError):
            await client.webhooks.retrieve(made.id)


async def test_rotation_keeps_the_old_secret_only_when_told(desk: Desk, receiver: Receiver) -> None:
    """A rotation that says so signs with both secrets, any other with the new one alone; it needs no body."""
    async with desk.client() as client:
        made = await client.webhooks.create(event_types=["video.failed"], name="hook", url=receiver.url)
        for keep, signatures in ((True, 2), (False, 1)):
            await client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=keep)
            await client.webhooks.test(made.id, event_type="video.failed")
            assert len(receiver.heard[-1].headers["webhook-signature"].split(" ")) == signatures
        status, rotated, _ = await desk.call("POST", f"/v1/webhook_endpoints/{made.id}/rotate_secret")
        assert status == 200
        assert rotated["signing_secret"] != made.signing_secret


async def test_lists(desk: Desk) -> None:
    """The SDK pages through all of them, the newest first; the envelope has OpenAI's keys; `order` turns it round."""
    made = [(await desk.create(name=f"hook {number}"))["id"] for number in range(5)]
    await desk.create("bert")
    async with desk.client() as client:
        assert [one.id async for one in client.webhooks.list(limit=2)] == made[::-1]
    _, first, _ = await desk.call("GET", "/webhook_endpoints?limit=2")
    assert set(first) == {"object", "data", "first_id", "last_id", "has_more"}
    assert (first["object"], first["first_id"], first["last_id"], first["has_more"]) == ("list", made[4], made[3], True)
    assert all(set(one) == KEYS for one in first["data"])
    _, last, _ = await desk.call("GET", f"/v1/webhook_endpoints?limit=3&order=asc&after={made[1]}")
    assert ([one["id"] for one in last["data"]], last["has_more"]) == (made[2:], False)
    _, none, _ = await desk.call("GET", f"/v1/webhook_endpoints?after={made[0]}")
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


async def test_the_default_limit(desk: Desk) -> None:
    """A list without a limit has twenty."""
    for _ in range(21):
        await desk.create()
    _, page, _ = await desk.call("GET", "/v1/webhook_endpoints")
    assert (len(page["data"]), page["has_more"]) == (20, True)


async def test_at_most_fifty(desk: Desk) -> None:
    """A tenant has at most 50 endpoints, and another one's do not count."""
    for _ in range(MAX_ENDPOINTS):
        last = await desk.create()
    status, body, _ = await desk.call("POST", "/v1/webhook_endpoints", json=GOOD)
    assert (status, body["error"]["code"]) == (400, "invalid_value")
    assert "50" in body["error"]["message"]
    await desk.create("bert")
    await desk.call("DELETE", f"/v1/webhook_endpoints/{last['id']}")
    await desk.create()


async def test_somebody_elses_is_unknown(desk: Desk, receiver: Receiver) -> None:
    """Someone else's endpoint answers every route as an unknown one does, byte for byte but for the id, and stays."""
    made = await desk.create(url=receiver.url)
    unknown = made["id"][:-4] + "0000"
    for method, path, body in (
        ("GET", "", None),
        ("POST", "", {"name": "mine"}),
        ("POST", "", {"url": "http://10.0.0.1/"}),
        ("POST", "/rotate_secret", {}),
        ("POST", "/test", {"event_type": "video.failed"}),
        ("DELETE", "", None),
    ):
        answers = []
        for endpoint_id in (made["id"], unknown):
            status, body_, headers = await desk.call(
                method, f"/v1/webhook_endpoints/{endpoint_id}{path}", who="bert", json=body
            )
            names = sorted(name for name in headers if name.lower() not in ("date", "x-request-id"))
            answers.append((status, str(body_).replace(endpoint_id, "ID"), names))
        assert answers[0] == answers[1]
        assert answers[0][0] in (400, 404)
    assert receiver.heard == []
    _, found, _ = await desk.call("GET", f"/v1/webhook_endpoints/{made['id']}")
    assert found == {key: value for key, value in made.items() if key != "signing_secret"}


@pytest.mark.parametrize("endpoint_id", ["we_1", "a%2Fb", "..%2f..", "%00", "x" * 300, "we_%F0%9F%8E%AC"])
async def test_odd_ids(desk: Desk, endpoint_id: str) -> None:
    """What cannot be an id is an unknown one."""
    status, body, _ = await desk.call("GET", f"/v1/webhook_endpoints/{endpoint_id}")
    assert (status, body["error"]["type"], body["error"]["code"]) == (404, "invalid_request_error", "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/webhook_endpoints"),
        ("POST", "/webhook_endpoints"),
        ("GET", "/webhook_event_types"),
        ("GET", "/webhook_endpoints/we_1"),
        ("POST", "/webhook_endpoints/we_1"),
        ("DELETE", "/webhook_endpoints/we_1"),
        ("POST", "/webhook_endpoints/we_1/rotate_secret"),
        ("POST", "/webhook_endpoints/we_1/test"),
    ],
)
async def test_a_key_is_needed(desk: Desk, method: str, path: str) -> None:
    """Every route, with and without `/v1`, wants a key."""
    for prefix in ("", "/v1"):
        status, body, _ = await desk.call(method, prefix + path, who=None)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"name": None}, "name", "missing_required_parameter"),
        ({"url": None}, "url", "missing_required_parameter"),
        ({"event_types": None}, "event_types", "missing_required_parameter"),
        ({"name": ""}, "name", "invalid_value"),
        ({"name": "  "}, "name", "invalid_value"),
        ({"name": "a\nb"}, "name", "invalid_value"),
        ({"name": "x" * 101}, "name", "invalid_value"),
        ({"name": 7}, "name", "invalid_value"),
        ({"url": ""}, "url", "invalid_value"),
        ({"url": 7}, "url", "invalid_value"),
        ({"url": "example.com"}, "url", "invalid_value"),
        ({"url": "ftp://example.com/"}, "url", "invalid_value"),
        ({"url": "https://user:password@example.com/"}, "url", "invalid_value"),
        ({"url": "https://example.com/a b"}, "url", "invalid_value"),
        ({"url": "https://example.com/" + "x" * 9000}, "url", "invalid_value"),
        ({"url": "http://10.0.0.7/"}, "url", "invalid_value"),
        ({"url": "http://[::1]/"}, "url", "invalid_value"),
        ({"url": "http://localhost:8080/"}, "url", "invalid_value"),
        ({"event_types": []}, "event_types", "invalid_value"),
        ({"event_types": "video.completed"}, "event_types", "invalid_value"),
        ({"event_types": ["video.completed", 7]}, "event_types", "invalid_value"),
        ({"event_types": ["response.completed"]}, "event_types", "invalid_value"),
        ({"secret": "mine"}, "secret", "invalid_value"),
    ],
)
async def test_bad_input(desk: Desk, change: dict[str, Any], param: str, code: str) -> None:
    """Bad input is a 400 that names the field, and nothing is stored or changed, on create and on update."""
    status, body, _ = await desk.call("POST", "/v1/webhook_endpoints", json={**GOOD, **change})
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, param, code), body
    assert (await desk.call("GET", "/v1/webhook_endpoints"))[1]["data"] == []
    if code == "invalid_value":
        made = await desk.create()
        path = f"/v1/webhook_endpoints/{made['id']}"
        status, body, _ = await desk.call("POST", path, json=change)
        assert (status, body["error"]["param"]) == (400, param), body
        assert (await desk.call("GET", path))[1]["url"] == URL


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=video%2F1", "after"),
    ],
)
async def test_bad_queries(desk: Desk, query: str, param: str) -> None:
    """A query value that cannot be used is a 400 that names it."""
    status, body, _ = await desk.call("GET", f"/v1/webhook_endpoints?{query}")
    assert (status, body["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("test", {}, "event_type"),
        ("test", {"event_type": 7}, "event_type"),
        ("test", {"event_type": "batch.failed"}, "event_type"),
        ("test", {"event_type": "video.failed", "url": URL}, "url"),
        ("rotate_secret", {"keep_old_secret_active_for_24_hours": "yes"}, "keep_old_secret_active_for_24_hours"),
        ("rotate_secret", {"keep": True}, "keep"),
    ],
)
async def test_bad_input_of_actions(
    desk: Desk, receiver: Receiver, path: str, body: dict[str, Any], param: str
) -> None:
    """The same for a test and a rotation: nothing is sent, and the secret stays."""
    made = await desk.create(url=receiver.url)
    url = f"/v1/webhook_endpoints/{made['id']}"
    status, answer, _ = await desk.call("POST", f"{url}/{path}", json=body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert (await desk.call("GET", url))[1]["signing_secret_hint"] == made["signing_secret_hint"]
    assert receiver.heard == []


@pytest.mark.parametrize("status", [204, 302, 404, 410, 500])
async def test_a_test_tells_what_the_receiver_answered(desk: Desk, receiver: Receiver, status: int) -> None:
    """Any answer of the receiver is a result, as the SDK says; it does not change the endpoint."""
    receiver.always(status, Location=URL)
    made = await desk.create(url=receiver.url)
    url = f"/v1/webhook_endpoints/{made['id']}"
    code, answer, _ = await desk.call("POST", f"{url}/test", json={"event_type": "video.completed"})
    assert (code, answer["status_code"], answer["success"]) == (200, status, True)
    assert set((await desk.call("GET", url))[1]) == KEYS
    assert len(receiver.heard) == 1


async def test_a_test_that_nobody_answers(desk: Desk) -> None:
    """A receiver that cannot be reached is a 400 that says so and is not sent again."""
    made = await desk.create(url="http://127.0.0.1:9/t0ken")
    status, body, headers = await desk.call(
        "POST", f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "video.failed"}
    )
    assert (status, body["error"]["param"], headers["x-should-retry"]) == (400, "url", "false")
    assert "could not be connected to" in body["error"]["message"]
    assert "t0ken" not in body["error"]["message"]
