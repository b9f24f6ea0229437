"""Logging in and out: the cookie, who is let in, where it leads, and how a session ends."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import DummyCookieJar
from yarl import URL

from proxy.records import User
from tests.conftest import ADMIN_KEY, Launch
from tests.dashboard.conftest import CHANNELS, PASSWORD, PLUGINS, Browser, Desk, Open

HTTPS = "server: {public_url: 'https://video.example.com'}\n" + CHANNELS


async def test_the_cookie_is_out_of_reach(desk: Desk) -> None:
    """No script reads it, no foreign page's form carries it, and it says nothing but chance."""
    answer = await desk.browser().log_in("anna")
    assert (answer.status, answer.location, answer.text) == (303, "/dashboard", "")
    (cookie,) = answer.cookies
    value, *flags = cookie.split("; ")
    assert re.fullmatch(r"reelgate_session=[A-Za-z0-9_-]{43}", value)
    assert set(flags) == {"HttpOnly", "Path=/", "SameSite=Lax"}


async def test_behind_https_the_cookie_is_bound_to_it(open_desk: Open) -> None:
    """It is `Secure` and of this host alone; one of plain http counts for nothing."""
    desk = await open_desk(HTTPS)
    browser = desk.browser(DummyCookieJar())
    answer = await browser.log_in("anna")
    (cookie,) = answer.cookies
    value, *flags = cookie.split("; ")
    name, _, token = value.partition("=")
    assert (name, set(flags)) == ("__Host-reelgate_session", {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"})
    assert (await browser.get("/dashboard/account", Cookie=f"{name}={token}")).status == 200
    assert (await browser.get("/dashboard", Cookie=f"reelgate_session={token}")).location == "/login"


async def test_a_wrong_password_and_an_unknown_name_are_told_alike(desk: Desk) -> None:
    """Also that of a disabled user: nobody learns who has an account."""
    disabled = await desk.accounts.users.create("dora", PASSWORD)
    await desk.accounts.users.disable(disabled.id)
    told = set()
    for name, password in (("anna", "wrong wrong"), ("nobody", "wrong wrong"), ("dora", PASSWORD)):
        answer = await desk.browser().log_in(name, password)
        assert (answer.status, answer.cookies) == (401, [])
        assert "The username or the password is wrong." in answer.text
        told.add(answer.text.replace(f'value="{name}"', ""))
    assert len(told) == 1


async def test_guessing_is_slowed_down(desk: Desk) -> None:
    """The answer says when to come back, also where the password is right by then."""
    browser = desk.browser()
    for _ in range(5):
        assert (await browser.log_in("anna", "wrong wrong")).status == 401
    answer = await browser.log_in("anna")
    assert (answer.status, answer.cookies) == (429, [])
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "too many failed logins" in answer.text
    assert (await desk.browser().log_in("otto")).status == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/dashboard",
        "//evil.example/dashboard",
        "/\\evil.example",
        "/dashboard//evil.example",
        "/dashboard/../..//evil.example",
        "/dashboard/%0d%0aSet-Cookie: a=b",
        "/dashboard\r\nSet-Cookie: a=b",
        "/dashboard\\@evil.example",
        "/dashboardevil",
        "javascript:alert(1)",
        "/v1/videos",
        "/logout",
        "",
        "/dashboard/" + "a" * 3000,
    ],
)
async def test_a_login_leads_nowhere_else(desk: Desk, wanted: str) -> None:
    """`next` that is not one of our pages is as if it were not there, before the login and after."""
    browser = desk.browser()
    for answer in (
        await browser.log_in("anna", next=wanted),
        await browser.ask("GET", "/login", params={"next": wanted}),
    ):
        assert (answer.status, answer.location) == (303, "/dashboard")
        assert all(cookie.startswith("reelgate_session=") for cookie in answer.cookies)


async def test_a_login_leads_on(desk: Desk) -> None:
    """Who was sent to the login comes to the page that was asked for, with its query."""
    browser = desk.browser()
    answer = await browser.get("/dashboard/videos?state=failed&after=video_1&text=a%20b")
    assert (answer.status, answer.text) == (303, "")
    form = await browser.get(answer.location)
    found = re.search(r'name="next" value="([^"]*)"', form.text)
    assert found is not None
    wanted = found[1].replace("&amp;", "&")
    assert (
        await browser.log_in("anna", next=wanted)
    ).location == "/dashboard/videos?state=failed&after=video_1&text=a%20b"
    assert (await browser.get("/login?next=/dashboard/usage")).location == "/dashboard/usage"


async def test_a_planted_session_is_not_taken_over(desk: Desk) -> None:
    """The token is new at each login, and the one from before is dead."""
    attacker = await desk.logged_in("otto")
    victim = desk.browser()
    for planted in ("a" * 43, attacker.cookie):
        victim.session.cookie_jar.update_cookies({"reelgate_session": planted}, URL(victim.url))
        before = victim.cookie
        assert (await victim.log_in("anna")).status == 303
        assert victim.cookie != before
    assert not await attacker.is_in()
    assert await victim.is_in()


async def test_a_logout_ends_the_session_at_once(desk: Desk) -> None:
    """The cookie is good for nothing any more, wherever a copy of it is shown."""
    browser = await desk.logged_in()
    token, copied = await browser.token(), browser.cookie
    answer = await browser.submit("/logout")
    assert (answer.status, answer.location) == (303, "/login")
    assert any(cookie.startswith('reelgate_session=""') for cookie in answer.cookies)
    thief = desk.browser(DummyCookieJar())
    cookie = {"Cookie": f"reelgate_session={copied}"}
    assert (await thief.get("/dashboard", **cookie)).location == "/login"
    for method, path in (("GET", "/dashboard/api/videos"), ("POST", "/dashboard/api/videos")):
        answer = await thief.ask(method, path, headers={"x-csrf-token": token, **cookie})
        assert (answer.status, answer.headers.get("Content-Type")) == (401, "application/json")


async def test_nobody_is_logged_out_from_elsewhere(desk: Desk) -> None:
    """A browser sends no cookie along with another site's form, but would obey an answer that takes the cookie away."""
    browser = desk.browser()
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await browser.post("/logout", headers)
        assert (answer.status, answer.cookies) == (403, [])
    assert (await browser.post("/logout")).location == "/login"


async def test_an_event_stream_ends_with_its_session(desk: Desk) -> None:
    """Who logs out hears no more of a video that is being made."""
    browser = await desk.logged_in()
    status, video = await _create(browser)
    assert status == 200, video
    async with browser.session.get(f"{browser.url}/dashboard/api/videos/{video['id']}/events") as stream:
        assert stream.status == 200
        await stream.content.readuntil(b"\n\n")
        other = desk.browser()
        await other.log_in("anna")
        await other.submit("/dashboard/account/sessions/end-all")
        async with asyncio.timeout(60):
            await stream.content.read()


async def test_only_its_owner_ends_a_session(desk: Desk) -> None:
    """One by one, all others, or all; never another user's."""
    here, there, elsewhere = [await desk.logged_in() for _ in range(3)]
    otto = await desk.logged_in("otto")
    (session,) = await desk.accounts.sessions.of_user((await _user(desk, "otto")).id)
    await here.submit(f"/dashboard/account/sessions/{session.id}/end")
    assert await otto.is_in()
    listed = re.findall(r"/dashboard/account/sessions/([^/\"]+)/end\"", (await here.get("/dashboard/account")).text)
    assert len(listed) == 2
    assert (await here.submit(f"/dashboard/account/sessions/{listed[0]}/end")).location == "/dashboard/account"
    assert [await there.is_in(), await elsewhere.is_in()].count(True) == 1
    await here.submit("/dashboard/account/sessions/end-others")
    assert [await browser.is_in() for browser in (here, there, elsewhere)] == [True, False, False]
    again = await desk.logged_in()
    assert (await here.submit("/dashboard/account/sessions/end-all")).location == "/login"
    assert [await browser.is_in() for browser in (here, again, otto)] == [False, False, True]


async def test_a_password_is_changed_with_the_old_one(desk: Desk) -> None:
    """Then every other session ends, and only the new one logs in; a wrong one changes nothing and is throttled."""
    here, there = await desk.logged_in(), await desk.logged_in()
    path, new = "/dashboard/account/password", "another way home"
    for fields, words in (
        ({"old": "wrong wrong", "new": new, "again": new}, "This is not your password."),
        ({"old": PASSWORD, "new": "short", "again": "short"}, "A password has 8 to 1024 characters."),
        ({"old": PASSWORD, "new": new, "again": new + " "}, "The two are not the same."),
    ):
        answer = await here.submit(path, **fields)
        assert answer.status == 422
        assert words in answer.text
    assert await there.is_in()
    answer = await here.submit(path, old=PASSWORD, new=new, again=new)
    assert (answer.status, answer.location) == (303, "/dashboard/account")
    assert "Your password was changed." in (await here.get("/dashboard/account")).text
    assert "Your password was changed." not in (await here.get("/dashboard/account")).text
    assert [await here.is_in(), await there.is_in()] == [True, False]
    assert (await there.log_in("anna")).status == 401
    assert (await there.log_in("anna", new)).status == 303
    for _ in range(6):
        answer = await there.submit(path, old="wrong wrong", new=PASSWORD, again=PASSWORD)
    assert "too many wrong passwords" in answer.text


async def test_a_disabled_user_is_out(desk: Desk) -> None:
    """At once, in every browser."""
    browser = await desk.logged_in()
    await desk.accounts.users.disable((await _user(desk, "anna")).id)
    assert not await browser.is_in()


async def test_the_dashboard_can_be_off(launch: Launch) -> None:
    """Then none of its addresses is there, and the API is."""
    product = await launch("server: {dashboard: false}\n" + CHANNELS, plugins=PLUGINS)
    for path in ("/", "/login", "/logout", "/dashboard", "/dashboard/account", "/dashboard/api/videos"):
        status, body, headers = await product.call("GET", path)
        assert (status, body["error"]["code"], headers["content-type"]) == (404, "not_found", "application/json"), path
    status, _, headers = await product.call("POST", "/login", data={"username": "admin", "password": "x"})
    assert (status, "set-cookie" in headers) == (404, False)
    assert (await product.call("GET", "/v1/videos", key=ADMIN_KEY))[0] == 200


async def _user(desk: Desk, name: str) -> User:
    user = await desk.accounts.users.find(name)
    assert user is not None
    return user


async def _create(browser: Browser) -> tuple[int, Any]:
    headers = {"x-csrf-token": await browser.token(), "Origin": browser.url}
    body = {"prompt": "a paper plane", "model": "sora-2"}
    async with browser.session.post(browser.url + "/dashboard/api/videos", json=body, headers=headers) as response:
        return response.status, await response.json()
