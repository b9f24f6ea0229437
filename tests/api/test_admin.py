"""`/admin/api`: who may ask, what an operator reads, and what an answer to an unknown outcome may look like."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.accounts.keys import mint
from proxy.app import WIRING
from proxy.errors import Throttled, UpstreamError, UpstreamTimeout
from proxy.models import UpstreamJob
from tests.conftest import ADMIN_KEY, Launch, Product

PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
PROVIDER_KEY = "provider-key-6b1f09e2c7a4"
TEXT = f"""
server: {{unknown_grace: 3600}}
channels:
  - {{name: a, type: lookup, models: {{sora-2: upstream-sora}}, api_key: {PROVIDER_KEY}, poll_every: 0.01,
     priority: 10, weight: 2, max_running: 7, price: {{per_second: 0.25}}}}
  - {{name: b, type: puppet, models: [sora-2], enabled: false}}
"""
ROUTES = (
    *(("GET", "/admin/api/unknown"), ("GET", "/admin/api/channels"), ("GET", "/admin/api/audit")),
    *(("GET", "/admin/api/videos/video_1"), ("POST", "/admin/api/videos/video_1/resolve")),
)


async def add_key(product: Product, *, admin: bool = False) -> tuple[str, str]:
    """A new API key and its id."""
    plain, key, digest = mint("phone", admin=admin, now=time.time())
    await core_of(product).store.add_key(key, digest)
    return plain, key.id


def core_of(product: Product) -> Any:
    engine = product.server.app[WIRING].engine
    assert engine is not None
    return engine._core


async def doubtful(product: Product, key: str | None = None, **body: Any) -> str:
    """The id of a video with an unknown outcome."""
    product.channel("a").then("create", UpstreamTimeout("slow"))
    status, video, _ = await product.call("POST", "/v1/videos", key=key or ADMIN_KEY, json={"prompt": "a lamp", **body})
    assert status == 200, video
    return str(video["id"])


async def resolve(product: Product, video_id: str, **body: Any) -> tuple[int, Any, dict[str, str]]:
    return await product.call("POST", f"/admin/api/videos/{video_id}/resolve", json=body)


# ---------------------------------------------------------------- who may ask


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_only_an_admin_key_may_ask(launch: Launch, method: str, path: str) -> None:
    """No key is a 401, a client's key a 403 that the SDKs do not repeat; an admin key is let in, whoever made it."""
    product = await launch(TEXT, plugins=PLUGINS)
    client, _ = await add_key(product)
    operator, _ = await add_key(product, admin=True)
    assert (await product.call(method, path, key=None))[0] == 401
    assert (await product.call(method, path, key="rg_wrong"))[0] == 401
    status, body, _ = await product.call(method, path, key=client)
    assert (status, body["error"]["code"], body["error"]["type"]) == (403, "permission_denied", "invalid_request_error")
    answer = {"json": {"answer": "give_up"}} if method == "POST" else {}
    status, body, _ = await product.call(method, path, key=operator, **answer)
    assert status == 200 or body["error"]["code"] == "video_not_found"


# ---------------------------------------------------------------- reading


async def test_the_inbox_is_a_list_with_evidence(launch: Launch) -> None:
    """Whose the video is, what it may have cost, when it fails by itself, and each attempt with its reasons."""
    product = await launch(TEXT, plugins=PLUGINS)
    client, key_id = await add_key(product)
    first = await doubtful(product, seconds="8")
    second = await doubtful(product, client)
    status, page, _ = await product.call("GET", "/admin/api/unknown")
    assert (status, page["object"], page["has_more"]) == (200, "list", False)
    assert [one["video"]["id"] for one in page["data"]] == [second, first]
    one, other = page["data"]
    assert (one["kind"], one["stage"], one["channel"], one["upstream_model"]) == (
        *("unknown", "unknown", "a", "upstream-sora"),
    )
    assert (one["tenant"], one["key"]) == (key_id, {"id": key_id, "name": "phone"})
    assert (one["recovers"], other["estimated_price"]) == (True, 2.0)
    assert 3500 < one["grace_ends_at"] - time.time() < 3601
    (attempt,) = one["attempts"]
    assert (one["id"], attempt["state"], attempt["channel"], attempt["settled"]) == (
        attempt["id"],
        "unknown",
        "a",
        None,
    )
    assert "slow" in attempt["note"]
    assert attempt["decision"]["chosen"] == "a"
    assert attempt["started_at"] <= attempt["ended_at"]
    assert (page["first_id"], page["last_id"]) == (one["id"], other["id"])
    _, page, _ = await product.call("GET", "/admin/api/unknown?limit=1")
    assert ([video["id"] for video in page["data"]], page["has_more"]) == ([one["id"]], True)
    _, page, _ = await product.call("GET", f"/admin/api/unknown?limit=1&after={page['last_id']}")
    assert ([video["id"] for video in page["data"]], page["has_more"]) == ([other["id"]], False)


@pytest.mark.parametrize("query", ["limit=x", "limit=101", "after=x", "after=%00"])
@pytest.mark.parametrize("path", ["unknown", "audit"])
async def test_bad_queries_are_told(launch: Launch, path: str, query: str) -> None:
    """A 400 names the parameter."""
    product = await launch(TEXT, plugins=PLUGINS)
    status, body, _ = await product.call("GET", f"/admin/api/{path}?{query}")
    assert (status, body["error"]["param"]) == (400, query.partition("=")[0])


async def test_an_operator_reads_the_stored_truth(launch: Launch) -> None:
    """Any tenant's video, with what its owner never sees; deleted ones too, and what operators did about it."""
    product = await launch(TEXT, plugins=PLUGINS)
    client, key_id = await add_key(product)
    video_id = await doubtful(product, client)
    assert (await product.call("GET", f"/v1/videos/{video_id}"))[0] == 404
    product.channel("a").then("fetch", *[UpstreamJob(id="up-7", status="in_progress")] * 2)
    await resolve(product, video_id, answer="attach", upstream_id="up-7", note="seen in the console")
    assert "up-7" not in json.dumps((await product.call("GET", f"/v1/videos/{video_id}", key=client))[1])
    status, story, _ = await product.call("GET", f"/admin/api/videos/{video_id}")
    assert (status, story["video"]["id"], story["video"]["prompt"]) == (200, video_id, "a lamp")
    assert (story["tenant"], story["key"]["name"], story["operation"]) == (key_id, "phone", "create")
    assert (story["channel"], story["upstream_model"], story["upstream_id"]) == ("a", "upstream-sora", "up-7")
    assert (story["replaces_video_id"], story["replaced_by_video_id"]) == (None, None)
    (attempt,) = story["attempts"]
    assert (attempt["state"], attempt["settled"], attempt["upstream_id"]) == ("taken", "attached", "up-7")
    (row,) = story["audit"]
    assert (row["actor"], row["action"], row["subject"]) == ("admin", "attach", video_id)
    assert row["details"]["note"] == "seen in the console"
    await product.call("DELETE", f"/v1/videos/{video_id}?force=true", key=client)
    status, story, _ = await product.call("GET", f"/admin/api/videos/{video_id}")
    assert (status, story["stage"]) == (200, "deleted")
    for unknown in ("video_" + "0" * 32, "nonsense", "a%2Fb"):
        status, body, _ = await product.call("GET", f"/admin/api/videos/{unknown}")
        assert (status, body["error"]["code"]) == (404, "video_not_found")


async def test_an_operator_reads_how_the_channels_stand(launch: Launch) -> None:
    """Settings, load, throttling and the breaker of each channel in the order of the file, and never its key."""
    product = await launch(TEXT.replace("max_running: 7", "max_running: 7, breaker: {failures: 1}"), plugins=PLUGINS)
    await doubtful(product)
    status, answer, _ = await product.call("GET", "/admin/api/channels")
    first, second = answer["data"]
    assert status == 200
    told = ("name", "type", "enabled", "priority", "weight", "max_running", "running", "throttled_for")
    assert [first[key] for key in told] == ["a", "lookup", True, 10, 2, 7, 1, 0.0]
    assert first["configured"] is second["configured"] is True
    assert first["models"] == [
        {"id": "sora-2", "upstream": "upstream-sora", "price_per_second": 0.25, "prices_per_second": {}}
    ]
    assert first["can"] == ["remix", "cancel", "delete", "recover"]
    assert (second["name"], second["enabled"], second["running"]) == ("b", False, 0)
    assert second["breaker"] == {"state": "closed", "why": "", "open_for": 0.0}
    assert first["breaker"]["state"] == "open"
    assert first["breaker"]["open_for"] > 0
    assert first["breaker"]["why"] != ""
    assert PROVIDER_KEY not in json.dumps(answer)


async def test_a_throttled_channel_says_for_how_long(launch: Launch) -> None:
    """The seconds for which the upstream put us off are shown while they last."""
    product = await launch(TEXT, plugins=PLUGINS)
    product.channel("a").then("create", Throttled("Busy.", retry_after=50))
    await product.create()
    _, answer, _ = await product.call("GET", "/admin/api/channels")
    assert 40 < answer["data"][0]["throttled_for"] <= 50


async def test_a_closed_breaker_has_no_reason(launch: Launch) -> None:
    """A failure that did not trip the channel is no reason for anything."""
    product = await launch(TEXT, plugins=PLUGINS)
    await doubtful(product)
    assert core_of(product).breakers.of("a").why
    _, answer, _ = await product.call("GET", "/admin/api/channels")
    assert answer["data"][0]["breaker"] == {"state": "closed", "why": "", "open_for": 0.0}


async def test_a_channel_that_left_is_shown_while_videos_need_it(launch: Launch) -> None:
    """Videos that run there, and those that only it may make, keep it in the list; others that wait do not."""
    product = await launch(TEXT.replace("max_running: 7", "max_running: 1"), plugins=PLUGINS)
    running = await doubtful(product)
    pinned = await product.create(metadata={"channel": "a"})
    await product.create()
    await core_of(product).channels.apply([])

    async def shown() -> list[dict[str, Any]]:
        return list((await product.call("GET", "/admin/api/channels"))[1]["data"])

    assert await shown() == [{"name": "a", "object": "channel", "configured": False, "running": 1}]
    await resolve(product, running, answer="give_up")
    assert await shown() == [{"name": "a", "object": "channel", "configured": False, "running": 0}]
    assert (await product.call("DELETE", f"/v1/videos/{pinned['id']}"))[0] == 200
    assert await shown() == []


async def test_a_waiting_video_says_for_what(launch: Launch) -> None:
    """Nothing is decided while it waits, unless its channel is given; each channel says why it has not begun."""
    text = TEXT.replace("max_running: 7", "max_running: 1").replace("enabled: false", "max_running: 1, weight: 1")
    product = await launch(text, plugins=PLUGINS)
    for name in ("a", "b"):
        product.channel(name).then("create", UpstreamTimeout("slow"))
        await product.create(metadata={"channel": name})

    async def story(**body: Any) -> tuple[str, dict[str, Any]]:
        video_id = (await product.create(**body))["id"]
        return video_id, (await product.call("GET", f"/admin/api/videos/{video_id}"))[1]

    full = "full: 1 of 1 places are taken"
    video_id, told = await story()
    assert (told["stage"], told["channel"], told["upstream_model"]) == ("waiting", None, None)
    assert told["waits_for"] == {"a": full, "b": full}
    _, told = await story(metadata={"channel": "b"})
    assert (told["stage"], told["channel"], told["waits_for"]) == ("waiting", "b", {"b": full})
    await core_of(product).channels.apply([])
    told = (await product.call("GET", f"/admin/api/videos/{video_id}"))[1]
    assert (told["channel"], told["waits_for"]) == (None, {})


async def test_a_video_that_does_not_wait_waits_for_nothing(launch: Launch) -> None:
    """Its channel is decided, and `waits_for` is null."""
    product = await launch(TEXT, plugins=PLUGINS)
    video = await product.done((await product.create())["id"])
    told = (await product.call("GET", f"/admin/api/videos/{video['id']}"))[1]
    assert (told["channel"], told["upstream_model"], told["waits_for"]) == ("a", "upstream-sora", None)


async def test_the_audit_is_a_list(launch: Launch) -> None:
    """Newest first, page by page."""
    product = await launch(TEXT, plugins=PLUGINS)
    videos = [await doubtful(product) for _ in range(3)]
    for video_id in videos:
        assert (await resolve(product, video_id, answer="give_up"))[0] == 200
    _, page, _ = await product.call("GET", "/admin/api/audit?limit=2")
    assert ([row["subject"] for row in page["data"]], page["has_more"]) == (videos[:0:-1], True)
    _, page, _ = await product.call("GET", f"/admin/api/audit?limit=2&after={page['last_id']}")
    assert ([row["subject"] for row in page["data"]], page["has_more"]) == (videos[:1], False)


# ---------------------------------------------------------------- answering


async def test_an_answer_says_what_became_of_it(launch: Launch) -> None:
    """The video as it is now, and the id that delivers the job; a failed one is delivered as another."""
    product = await launch(TEXT.replace("3600", "0.05"), plugins=PLUGINS)
    pending = await doubtful(product)
    await product.done(pending)
    status, body, _ = await resolve(product, pending, answer="attach", upstream_id="up-1")
    assert (status, body["video"]["id"], body["video"]["status"]) == (200, pending, "failed")
    assert body["delivered_as"] == body["video"]["replaced_by_video_id"] != pending
    status, again, _ = await resolve(product, pending, answer="attach", upstream_id="up-1")
    assert (status, again["delivered_as"]) == (200, body["delivered_as"])
    other = await doubtful(product)
    status, body, _ = await resolve(product, other, answer="not_created")
    assert (status, body["video"]["id"], body["delivered_as"]) == (200, other, None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "answer"),
        ({"answer": "maybe"}, "answer"),
        ({"answer": 1}, "answer"),
        ({"answer": None}, "answer"),
        ({"answer": "attach"}, "upstream_id"),
        ({"answer": "attach", "upstream_id": 7}, "upstream_id"),
        ({"answer": "attach", "upstream_id": "two words"}, "upstream_id"),
        ({"answer": "attach", "upstream_id": "x" * 513}, "upstream_id"),
        ({"answer": "give_up", "upstream_id": "up-1"}, "upstream_id"),
        ({"answer": "give_up", "note": "x" * 2001}, "note"),
        ({"answer": "give_up", "note": ["x"]}, "note"),
        ({"answer": "attach", "upstream_id": "up-1", "force": "yes"}, "force"),
        ({"answer": "give_up", "upstreamid": "up-1"}, "upstreamid"),
    ],
)
async def test_bad_answers_are_told_and_change_nothing(launch: Launch, body: dict[str, Any], param: str) -> None:
    """A 400 names the field to blame; the doubt and the audit stay as they are."""
    product = await launch(TEXT, plugins=PLUGINS)
    video_id = await doubtful(product)
    status, answer, _ = await resolve(product, video_id, **body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert (await product.call("GET", f"/v1/videos/{video_id}"))[1]["status"] == "queued"
    assert len((await product.call("GET", "/admin/api/unknown"))[1]["data"]) == 1
    assert (await product.call("GET", "/admin/api/audit"))[1]["data"] == []


async def test_final_refusals_are_not_repeated(launch: Launch) -> None:
    """What another try cannot heal has a status that no SDK sends again: settled otherwise, not in doubt, no such job,
    a job of another video; a channel that is gone says so by `x-should-retry`."""
    product = await launch(TEXT, plugins=PLUGINS)
    done = await product.done((await product.create())["id"])
    settled, open_ = await doubtful(product), await doubtful(product)
    await resolve(product, settled, answer="attach", upstream_id="up-1")
    for video_id, body in (
        (settled, {"answer": "give_up"}),
        (done["id"], {"answer": "give_up"}),
        (open_, {"answer": "attach", "upstream_id": "up-1"}),
    ):
        status, answer, _ = await resolve(product, video_id, **body)
        assert (status, answer["error"]["code"]) == (400, "invalid_value")
    status, answer, _ = await resolve(product, "video_" + "0" * 32, answer="give_up")
    assert (status, answer["error"]["code"]) == (404, "video_not_found")
    await core_of(product).channels.apply([])
    status, answer, headers = await resolve(product, open_, answer="attach", upstream_id="up-2")
    assert (status, answer["error"]["code"], headers["x-should-retry"]) == (503, "channel_unavailable", "false")


async def test_the_answer_is_json_only(launch: Launch) -> None:
    """A form of a web page cannot give an answer."""
    product = await launch(TEXT, plugins=PLUGINS)
    video_id = await doubtful(product)
    status, _, _ = await product.call("POST", f"/admin/api/videos/{video_id}/resolve", data={"answer": "give_up"})
    assert status == 415


async def test_errors_of_the_upstream_do_not_hold_an_answer_up(launch: Launch) -> None:
    """An upstream that cannot say whether it has the job now is asked again by the polls."""
    product = await launch(TEXT, plugins=PLUGINS)
    video_id = await doubtful(product)
    product.channel("a").then("fetch", UpstreamError("HTML"))
    status, answer, _ = await resolve(product, video_id, answer="attach", upstream_id="up-1")
    assert (status, answer["delivered_as"]) == (200, video_id)
    assert (await product.done(video_id))["status"] == "completed"
