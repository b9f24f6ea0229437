"""`/admin/api/keys`, `users`, `channels`, `videos` and `usage`: who gets in, and that a key is shown exactly once."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.accounts import cookies
from proxy.api import API
from proxy.api.admin import ROUTES
from proxy.app import WIRING
from proxy.errors import AccountRefused, UpstreamUnreachable
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
TEXT = """
server: {log: json}
channels:
  - {name: a, type: lookup, models: [sora-2], priority: 10, price: {per_second: 0.1}}
  - {name: b, type: puppet, models: [other], enabled: false}
"""
NOBODY = "key_" + "0" * 32
ODD = ("", "x" * 300, "\u202e", "a\x00b", "\ud83d\ude00", "' OR 1=1 --", "<script>", "%00")


async def start(launch: Launch) -> Product:
    return await launch(TEXT, plugins=PLUGINS)


async def ask(product: Product, method: str, path: str, expected: int = 200, **body: Any) -> Any:
    """The answer of the admin API to a JSON body."""
    status, answer, _ = await product.call(method, f"/admin/api/{path}", **({"json": body} if body else {}))
    assert status == expected, answer
    return answer


# ---------------------------------------------------------------- who gets in


async def test_every_route_is_for_admins(launch: Launch) -> None:
    """Without a key a 401; a plain key, a member's key and a member's session are a 403 on each, and change nothing."""
    product = await start(launch)
    plain = (await ask(product, "POST", "keys", name="plain"))["key"]
    user = await ask(product, "POST", "users", name="anna", password="a good password")
    member = (await ask(product, "POST", "keys", name="member", user="anna"))["key"]
    rows = (await ask(product, "GET", "audit"))["data"]
    accounts = product.server.app[WIRING].site.accounts
    found = await accounts.users.by_id(user["id"])
    token = await accounts.sessions.open(found, address="", agent="")
    session = {"Cookie": f"{cookies.NAME}={token}", "x-csrf-token": accounts.sessions.csrf(token)}
    for method, path, _ in ROUTES:
        there = path.replace("{id:[^/]+}", user["id"]).replace("{name:[^/]+}", "a")
        assert (await product.call(method, there, key=None))[0] == 401, path
        for key in (plain, member):
            status, body, _ = await product.call(method, there, key=key, json={"role": "admin"})
            assert (status, body["error"]["code"]) == (403, "permission_denied"), path
        status, body, _ = await product.call(method, there, key=None, headers=session, json={"role": "admin"})
        assert (status, body["error"]["code"]) == (403, "permission_denied"), path
    assert (await ask(product, "GET", "audit"))["data"] == rows


async def test_an_admins_session_needs_the_token_for_each_change(launch: Launch) -> None:
    """What another site makes a browser send changes nothing, on any route."""
    product = await start(launch)
    accounts = product.server.app[WIRING].site.accounts
    admin = await accounts.users.find("admin")
    token = await accounts.sessions.open(admin, address="", agent="")
    cookie = {"Cookie": f"{cookies.NAME}={token}"}
    csrf = {"x-csrf-token": product.server.app[API].sessions.csrf(token)}
    for method, path, _ in ROUTES:
        there = path.replace("{id:[^/]+}", NOBODY).replace("{name:[^/]+}", "nobody")
        foreign = {**cookie, **csrf, "Origin": "https://evil.example"}
        bare, crossed = [(await product.call(method, there, key=None, headers=h))[0] for h in (cookie, foreign)]
        if method == "GET":
            assert bare in (200, 404), path
        else:
            assert (bare, crossed) == (403, 403), path
    headers = {**cookie, **csrf, "Origin": product.url}
    status, made, _ = await product.call("POST", "/admin/api/keys", key=None, headers=headers, json={"name": "x"})
    assert status == 200
    (row,) = [row for row in (await ask(product, "GET", "audit"))["data"] if row["subject"] == made["id"]]
    assert row["actor"] == admin.id


# ---------------------------------------------------------------- keys


async def test_a_key_is_shown_once(launch: Launch, caplog: pytest.LogCaptureFixture) -> None:
    """In the answer to its making, which nobody may keep; in no list, look, change, audit or log line after that."""
    caplog.set_level(logging.DEBUG)
    product = await start(launch)
    status, made, headers = await product.call("POST", "/admin/api/keys", json={"name": "phone"})
    assert (status, headers["cache-control"]) == (200, "no-store")
    plain = made["key"]
    assert (await product.call("GET", "/v1/models", key=plain))[0] == 200
    answers = [
        await ask(product, "GET", "keys"),
        await ask(product, "GET", f"keys/{made['id']}"),
        await ask(product, "POST", f"keys/{made['id']}", name="tablet", max_running=3),
        await ask(product, "DELETE", f"keys/{made['id']}"),
        await ask(product, "GET", "audit"),
    ]
    assert plain not in json.dumps(answers)
    assert plain not in caplog.text
    assert (await product.call("GET", "/v1/models", key=plain))[0] == 401
    assert [row["action"] for row in answers[-1]["data"]][:3] == ["key_revoked", "key_changed", "key_created"]
    assert (await ask(product, "GET", f"keys/{made['id']}"))["state"] == "revoked"


async def test_limits_are_written_changed_and_shown(launch: Launch) -> None:
    """With what was spent and is left; what is left out of a change stays, and null takes it away."""
    product = await start(launch)
    later = int(time.time()) + 1000
    wished = {
        "allowed_models": ["sora-2", "gone"],
        "allowed_channels": ["a"],
        "allowed_addresses": ["127.0.0.1", "::1/128"],
        "expires_at": later,
        "requests_per_minute": 100,
        "max_running": 5,
        "budget": {"value": 1.0, "currency": "usd", "period": "day"},
    }
    made = await ask(product, "POST", "keys", name="phone", **wished)
    assert {name: made[name] for name in wished} == wished | {"allowed_addresses": ["127.0.0.1/32", "::1/128"]}
    assert made["warnings"] == ["The model 'gone' is not there now."]
    await product.done((await product.create(key=made["key"], seconds="4"))["id"], key=made["key"])
    seen = await ask(product, "GET", f"keys/{made['id']}")
    assert seen["spent"] == {"value": 0.4, "currency": "usd", "period": "day"}
    assert seen["left"] == {"value": 0.6, "currency": "usd"}
    changed = await ask(product, "POST", f"keys/{made['id']}", budget={"value": "0.50"}, allowed_models=None)
    assert (changed["budget"]["period"], changed["left"]["value"], changed["allowed_models"]) == ("total", 0.1, None)
    assert (changed["max_running"], changed["expires_at"]) == (5, later)
    status, body, headers = await product.call(
        "POST", "/v1/videos", key=made["key"], json={"prompt": "a lamp", "seconds": "4"}
    )
    assert (status, body["error"]["code"], headers["x-should-retry"]) == (429, "insufficient_quota", "false")
    await ask(product, "POST", f"keys/{made['id']}", budget=None)
    await product.create(key=made["key"], seconds="4")


BAD = (
    *(("name", bad) for bad in ("", " ", "a\nb", "x" * 101, 5, [])),
    *(("allowed_models", bad) for bad in ("sora-2", [], [1], [""], ["a\x00"], [["a"]], {}, ["x"] * 300)),
    *(("allowed_addresses", bad) for bad in (["10.0.0/8"], ["evil.example"], [""], ["::1%eth0/128"])),
    *(("expires_at", bad) for bad in (1, -1, 2**62, 1.5, "30d", True)),
    *(("requests_per_minute", bad) for bad in (-1, 2**40, 1.5, True, "5")),
    *(("budget", bad) for bad in (5, {"value": -1}, {"value": 1e300}, {"value": True}, {"value": "5 bn"}, {})),
    *(("budget", bad) for bad in ({"value": 5, "period": "week"}, {"value": 5, "currency": "eur"})),
    ("user", "nobody"),
    ("admin", "yes"),
    ("tenant", "admin"),
    ("id", "admin"),
)


async def test_what_a_key_cannot_be_is_told(launch: Launch) -> None:
    """A 400 that names the parameter, and no key."""
    product = await start(launch)
    before = await ask(product, "GET", "keys")
    for param, value in BAD:
        answer = await ask(product, "POST", "keys", 400, **({"name": "x"} | {param: value}))
        assert answer["error"]["param"].partition(".")[0] == param, value
    assert await ask(product, "GET", "keys") == before


async def test_ids_and_queries_of_any_shape(launch: Launch) -> None:
    """What cannot be there is a 404 or a 400, never a fault, and shows nothing of another kind of thing."""
    product = await start(launch)
    user = await ask(product, "POST", "users", name="anna", password="a good password")
    for odd in (*ODD[1:], NOBODY, user["id"], "admin", "a/b"):
        for path in (f"keys/{odd}", f"users/{odd if odd != user['id'] else NOBODY}"):
            async with product.session.get(
                product.url + "/admin/api/" + path.replace("%", "%25"),
                headers={"Authorization": "Bearer rg_test-admin-key-0123456789abcdef"},
            ) as response:
                assert response.status == 404, path
    for path in ("keys", "videos", "usage", "audit", "unknown"):
        for odd in ODD:
            for name in ("after", "limit", "tenant", "key", "text", "status", "stage", "start_time", "group_by"):
                status, body, _ = await product.call("GET", f"/admin/api/{path}", params={name: odd})
                assert status in (200, 400), (path, name, odd, body)


# ---------------------------------------------------------------- users


async def test_users_are_made_changed_and_logged_out(launch: Launch) -> None:
    """Their passwords are in no answer; a new one and disabling end the sessions; the last admin stays one."""
    product = await start(launch)
    accounts = product.server.app[WIRING].site.accounts
    made = await ask(product, "POST", "users", name="anna", password="a good password", role="member")
    assert (made["role"], made["tenant"], made["disabled"]) == ("member", "user_anna", False)
    assert (await ask(product, "POST", "users", 400, name="ANNA", password="a good password"))["error"][
        "param"
    ] == "name"
    assert (await ask(product, "POST", "users", 400, name="bob", password="short"))["error"]["param"] == "password"
    for change in ({"password": "another password"}, {"disabled": True}):
        anna = await accounts.users.by_id(made["id"])
        token = await accounts.sessions.open(anna, address="", agent="")
        await ask(product, "POST", f"users/{made['id']}", **change)
        assert await accounts.sessions.find(token) is None, change
    changed = await ask(product, "POST", f"users/{made['id']}", disabled=False, role="admin")
    assert (changed["role"], changed["disabled"]) == ("admin", False)
    token = await accounts.sessions.open(await accounts.users.by_id(made["id"]), address="", agent="")
    assert (await ask(product, "DELETE", f"users/{made['id']}/sessions"))["sessions"] == 1
    assert await accounts.sessions.find(token) is None
    users = (await ask(product, "GET", "users"))["data"]
    assert [user["name"] for user in users] == ["admin", "anna"]
    assert "argon2" not in json.dumps(users)
    await ask(product, "POST", f"users/{users[0]['id']}", role="member")
    await ask(product, "POST", f"users/{made['id']}", 400, disabled=True)
    assert "password" not in json.dumps((await ask(product, "GET", "audit"))["data"][0]["details"])


# ---------------------------------------------------------------- channels, videos, usage


async def test_channels_are_switched_and_tried(launch: Launch) -> None:
    """Over the file until told otherwise; a trial costs nothing and says what the upstream said; each has its row."""
    product = await start(launch)
    assert (await ask(product, "POST", "channels/a/disable"))["enabled"] is False
    status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "a lamp"})
    assert (status, body["error"]["code"]) in ((503, "channel_unavailable"), (404, "model_not_found"))
    enabled = await ask(product, "POST", "channels/b/enable")
    assert (enabled["enabled"], enabled["switched"]) == (True, "on")
    followed = await ask(product, "POST", "channels/b/follow_file")
    assert (followed["enabled"], followed["switched"]) == (False, None)
    assert (await ask(product, "POST", "channels/a/test"))["verdict"] == "answers"
    product.channel("a").then("fetch", AccountRefused("Bad key."), UpstreamUnreachable("No route."))
    assert [(await ask(product, "POST", "channels/a/test"))["verdict"] for _ in range(2)] == ["refused", "unreachable"]
    assert product.channel("a").asked("create") == []
    for word in ("enable", "disable", "follow_file", "test"):
        await ask(product, "POST", f"channels/nobody/{word}", 404)
        await ask(product, "POST", f"channels/a/{word}", 400, enabled=True)
    actions = [row["action"] for row in (await ask(product, "GET", "audit"))["data"]]
    assert actions[:3] == ["channel.follow_file", "channel.enable", "channel.disable"]


async def test_channels_say_how_they_did(launch: Launch) -> None:
    """What was ordered in the last day: how much went well, how long it took, what it came to."""
    product = await start(launch)
    await product.done((await product.create(seconds="4"))["id"])
    first, second = (await ask(product, "GET", "channels"))["data"]
    day = first["last_24_hours"]
    assert (day["videos"], day["completed"], day["failed"], day["success_rate"]) == (1, 1, 0, 1.0)
    assert day["spent"] == {"value": 0.4, "currency": "usd"}
    assert day["median_seconds"] >= 0
    assert second["last_24_hours"]["success_rate"] is None


async def test_videos_of_all_tenants_are_found(launch: Launch) -> None:
    """By whose they are, what they say and how they stand; a page goes on behind its last id."""
    product = await start(launch)
    keys = [await ask(product, "POST", "keys", name=name) for name in ("one", "two")]
    made = [
        (await product.create(key=keys[n % 2]["key"], prompt=f"A {noun} 100%_"))["id"]
        for n, noun in enumerate(("lamp", "plane", "boat"))
    ]
    for n, video_id in enumerate(made):
        await product.done(video_id, key=keys[n % 2]["key"])

    async def found(**query: str) -> list[str]:
        status, page, _ = await product.call("GET", "/admin/api/videos", params=query)
        assert status == 200, page
        return [one["id"] for one in page["data"]]

    assert await found() == made[::-1]
    assert await found(key=keys[1]["id"]) == [made[1]]
    assert await found(tenant=keys[0]["tenant"], text="LAMP") == [made[0]]
    assert await found(text="100%_") == made[::-1]
    assert await found(text="%x") == []
    assert await found(status="completed", stage="ended", model="sora-2", channel="a") == made[::-1]
    assert await found(status="failed") == await found(model="other") == await found(end_time="1000") == []
    assert await found(start_time=str(int(time.time()) - 600)) == made[::-1]
    _, page, _ = await product.call("GET", "/admin/api/videos?limit=2")
    assert (page["has_more"], page["last_id"], page["data"][0]["key"]["name"]) == (True, made[1], "one")
    _, page, _ = await product.call("GET", f"/admin/api/videos?limit=2&after={page['last_id']}")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[0]], False)


async def test_a_key_that_was_revoked_meanwhile_orders_nothing(launch: Launch) -> None:
    """A body that takes its time is no way to keep a key."""
    product = await start(launch)
    key = await ask(product, "POST", "keys", name="one")
    begun, revoked = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"prompt": "a paper plane", '
        begun.set()
        await revoked.wait()
        yield b'"model": "sora-2"}'

    headers = {"Content-Type": "application/json"}
    ordering = asyncio.create_task(
        product.call("POST", "/v1/videos", key=key["key"], data=slowly(), headers=headers),
    )
    await begun.wait()
    # The answer to what came later: by now the order is being read.
    assert (await product.call("GET", "/v1/videos", key=key["key"]))[0] == 200
    await ask(product, "DELETE", f"keys/{key['id']}")
    revoked.set()
    assert (await ordering)[0] == 401
    assert (await ask(product, "GET", "videos"))["data"] == []


async def test_usage_of_everybody_also_as_a_table(launch: Launch) -> None:
    """By whatever is asked, of all or of one; a client's words are no formulas in the file."""
    product = await start(launch)
    key = await ask(product, "POST", "keys", name="one")
    await product.done((await product.create(key=key["key"], seconds="4"))["id"], key=key["key"])
    await product.done((await product.create(seconds="8"))["id"])
    _, usage, _ = await product.call("GET", "/admin/api/usage?group_by=channel,key")
    assert usage["total"]["cost"]["value"] == 1.2
    assert {row["key"]: row["cost"]["value"] for row in usage["data"]} == {key["id"]: 0.4, "admin": 0.8}
    _, usage, _ = await product.call("GET", f"/admin/api/usage?tenant={key['tenant']}&group_by=model")
    assert (usage["total"]["videos"], usage["data"][0]["model"]) == (1, "sora-2")
    status, text, headers = await product.call("GET", f"/admin/api/usage?format=csv&key={key['id']}&group_by=model")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert headers["content-disposition"].startswith("attachment")
    assert text.decode().splitlines() == ["model,videos,completed,failed,seconds,cost_usd", "sora-2,1,1,0,4,0.4"]
