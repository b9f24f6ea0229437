"""Sessions of the dashboard in the API: they open content and the admin API, and nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.accounts import Accounts, cookies
from proxy.accounts.addresses import client_address, is_https, same_origin
from proxy.accounts.sessions import ABSOLUTE, IDLE, Sessions, key_of
from proxy.api import API
from proxy.config import Server
from proxy.records import User
from proxy.store import Store
from tests.api.conftest import Launch, Surface
from tests.api.memory import ANNA, MP4
from tests.conftest import Launch as LaunchProduct

PASSWORD = "correct horse"
PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
CHANNELS = "channels: [{name: a, type: puppet, models: [sora-2]}]"


@dataclass
class Clock:
    """Unix time, which moves when it is told to."""

    time: float

    def __call__(self) -> float:
        return self.time


@dataclass
class House:
    """A surface with sessions on a clock of their own, and its users."""

    surface: Surface
    accounts: Accounts
    sessions: Sessions
    clock: Clock

    async def user(self, name: str) -> User:
        return await self.accounts.users.create(name, PASSWORD)

    async def login(self, user: User) -> str:
        return await self.sessions.open(user, address="127.0.0.1", agent="a test")

    def film(self, user: User) -> str:
        """The id of a completed video of the user."""
        return self.surface.engine.finish(self.surface.engine.add(key_of(user)).id).id

    async def get(self, path: str, token: str | None, **kwargs: Any) -> tuple[int, Any, dict[str, str]]:
        headers = {} if token is None else {"Cookie": f"{cookies.NAME}={token}"}
        return await self.surface.call(
            kwargs.pop("method", "GET"), path, key=kwargs.pop("key", None), headers=headers | kwargs.pop("headers", {})
        )

    async def content(self, video_id: str, token: str | None, **kwargs: Any) -> tuple[int, Any, dict[str, str]]:
        return await self.get(f"/v1/videos/{video_id}/content{kwargs.pop('query', '')}", token, **kwargs)


@pytest.fixture
async def house(launched: Launch, tmp_path: Path) -> AsyncIterator[House]:
    surface = await launched(Server())
    store = await Store.open(tmp_path / "reelgate.db")
    clock = Clock(time.time())
    sessions = Sessions(store, b"s" * 32, now=clock, clock=clock)
    surface.app[API].sessions = sessions
    yield House(surface, Accounts.of(store, b"s" * 32), sessions, clock)
    await store.close()


# ---------------------------------------------------------------- content


async def test_a_session_opens_the_content_of_its_user(house: House) -> None:
    """The whole film, a part of it and HEAD, under /v1 and without; nothing of it is for a shared cache."""
    anna = await house.user("anna")
    film, token = house.film(anna), await house.login(anna)
    status, body, headers = await house.content(film, token)
    assert (status, body) == (200, MP4)
    assert "private" in headers["cache-control"]
    assert "set-cookie" not in headers
    status, body, _ = await house.content(film, token, headers={"Range": "bytes=5-9"})
    assert (status, body) == (206, MP4[5:10])
    assert (await house.content(film, token, method="HEAD"))[0] == 200
    assert (await house.get(f"/videos/{film}/content", token))[0] == 200


async def test_the_film_of_another_is_one_that_is_not_there(house: House) -> None:
    """For somebody else's session, for an admin's too, it is the same 404 as an unknown video, byte for byte."""
    anna, eve = await house.user("anna"), await house.user("eve")
    boss = await house.accounts.users.create("boss", PASSWORD, "admin")
    film, unknown = house.film(anna), "video_" + "0" * 32
    for stranger in (eve, boss):
        token = await house.login(stranger)
        status, foreign, _ = await house.content(film, token)
        _, nowhere, _ = await house.content(unknown, token)
        assert (status, foreign["error"]["code"]) == (404, "video_not_found")
        assert str(foreign).replace(film, unknown) == str(nowhere)


@pytest.mark.parametrize("end", ["logout", "everywhere", "disabled", "password", "idle", "absolute"])
async def test_an_ended_session_opens_nothing(house: House, end: str) -> None:
    """Logged out, disabled, with a new password, not used for 12 hours or 14 days old: a 401 that says what to do."""
    anna = await house.user("anna")
    film, token = house.film(anna), await house.login(anna)
    assert (await house.content(film, token))[0] == 200
    if end == "logout":
        await house.sessions.close(token)
    elif end == "everywhere":
        await house.sessions.close_all(anna.id)
    elif end == "disabled":
        await house.accounts.users.disable(anna.id)
        house.clock.time += 0.5
    elif end == "password":
        await house.accounts.users.set_password(anna.id, "another password")
        house.clock.time += 0.5
    elif end == "idle":
        house.clock.time += IDLE
    else:
        begun = house.clock.time
        while house.clock.time < begun + ABSOLUTE - IDLE / 2:
            house.clock.time += IDLE / 2
            assert (await house.content(film, token))[0] == 200
        house.clock.time = begun + ABSOLUTE
    status, answer, headers = await house.content(film, token)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert "/login" in answer["error"]["message"]
    assert token not in str(answer) + str(headers)


async def test_the_first_credential_that_is_present_decides(house: House) -> None:
    """A key, however wrong, before the session; a session, however wrong, before the link; else the link."""
    anna, eve = await house.user("anna"), await house.user("eve")
    film, token = house.film(anna), await house.login(anna)
    _, shown, _ = await house.surface.call(
        "GET", f"/v1/videos/{house.surface.engine.finish(house.surface.engine.add(ANNA).id).id}"
    )
    link = "?" + shown["video_url"].partition("?")[2]
    linked = shown["id"]
    assert (await house.content(film, token, key="nobody-s-key"))[0] == 401
    assert (await house.content(film, token, headers={"Authorization": ""}))[0] == 401
    # A good key of another tenant.
    assert (await house.content(film, token, key="anna-secret"))[0] == 404
    assert (await house.content(linked, None, query=link))[0] == 200
    assert (await house.content(linked, "x" * 43, query=link))[0] == 401
    assert (await house.content(linked, await house.login(eve), query=link))[0] == 404
    assert (await house.content(film, token, query="?sig=wrong&exp=1"))[0] == 200
    # An empty cookie, and one of another name, are none.
    assert (await house.content(linked, "", query=link))[0] == 200
    assert (await house.content(linked, None, query=link, headers={"Cookie": f"x{cookies.NAME}={token}"}))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/v1/videos"), ("POST", "/v1/videos"), ("GET", "/videos/ID"), ("DELETE", "/v1/videos/ID")),
        *(
            ("POST", "/v1/videos/ID/remix"),
            ("GET", "/v1/videos/ID/events"),
            ("GET", "/v1/models"),
            ("GET", "/v1/files"),
        ),
    ],
)
async def test_no_other_route_takes_a_session(house: House, method: str, path: str) -> None:
    """What a stranger's page could make a browser send is no request of the user: everything else wants a key."""
    anna = await house.user("anna")
    film, token = house.film(anna), await house.login(anna)
    status, answer, _ = await house.get(path.replace("ID", film), token, method=method)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


async def test_behind_https_only_the_cookie_of_https_counts(launched: Launch, house: House) -> None:
    """A cookie that a page of plain http, or of another host of the domain, could have set is none there."""
    surface = await launched(Server(public_url="https://video.example.com"), public_url="https://video.example.com")
    surface.app[API].sessions = house.sessions
    anna = await house.user("anna")
    token = await house.login(anna)
    film = surface.engine.finish(surface.engine.add(key_of(anna)).id).id
    for name, expected in ((cookies.NAME, 401), (cookies.SECURE_NAME, 200)):
        status, _, _ = await surface.call(
            "GET", f"/v1/videos/{film}/content", key=None, headers={"Cookie": f"{name}={token}"}
        )
        assert status == expected


async def test_with_the_dashboard_off_a_session_is_nothing(house: House) -> None:
    """Who was logged in before it was switched off is so no more."""
    anna = await house.user("anna")
    film, token = house.film(anna), await house.login(anna)
    house.surface.app[API].sessions = None
    assert (await house.content(film, token))[0] == 401


# ---------------------------------------------------------------- the admin API


async def test_the_admin_api_takes_the_session_of_an_admin(launch: LaunchProduct) -> None:
    """Reading with the session alone; a member is a 403; a change also needs the page's token and our own origin."""
    product = await launch(CHANNELS, plugins=PLUGINS)
    api = product.server.app[API]
    accounts = Accounts.of(product.core.store, api.secret)
    boss = await accounts.users.create("boss", PASSWORD, "admin")
    member = await accounts.users.create("member", PASSWORD)
    assert api.sessions is not None
    token, members = [await api.sessions.open(user, address="", agent="") for user in (boss, member)]
    csrf = api.sessions.csrf(token)

    async def call(method: str, path: str, token: str, **headers: str) -> tuple[int, str]:
        cookie = {"Cookie": f"{cookies.NAME}={token}"}
        json = {"answer": "give_up"} if method == "POST" else None
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        status, body, _ = await product.call(method, path, key=None, headers=cookie | names, json=json)
        return status, body["error"]["message"] if status >= 400 else ""

    for path in ("/admin/api/channels", "/admin/api/audit", "/metrics"):
        assert (await call("GET", path, token))[0] == 200
        status, said = await call("GET", path, members)
        assert status == 403
        assert "'member' is not an admin" in said
        assert (await call("GET", path, "x" * 43))[0] == 401
        assert (await call("GET", path, token, Authorization="Bearer wrong"))[0] == 401
    change = "/admin/api/videos/video_1/resolve"
    own = product.url
    for headers in (
        {},
        {"x_csrf_token": ""},
        {"x_csrf_token": api.sessions.csrf(members)},
        {"x_csrf_token": csrf, "Origin": "https://evil.example"},
        {"x_csrf_token": csrf, "Origin": "null"},
        {"x_csrf_token": csrf, "Origin": own, "Sec_Fetch_Site": "cross-site"},
        {"x_csrf_token": csrf, "Sec_Fetch_Site": "same-site"},
    ):
        assert (await call("POST", change, token, **headers))[0] == 403, headers
    for headers in (
        {"x_csrf_token": csrf},
        {"x_csrf_token": csrf, "Origin": own},
        {"x_csrf_token": csrf, "Origin": own, "Sec_Fetch_Site": "same-origin"},
    ):
        assert (await call("POST", change, token, **headers))[0] == 404, headers
    assert (await call("POST", change, members, x_csrf_token=api.sessions.csrf(members)))[0] == 403
    await api.sessions.close(token)
    assert (await call("GET", "/admin/api/channels", token))[0] == 401


async def test_a_start_makes_the_admin_of_the_dashboard(launch: LaunchProduct, tmp_path: Path) -> None:
    """Where the dashboard is on, and only there."""
    for text, names in ((CHANNELS, ["admin"]), ("server: {dashboard: false}\n" + CHANNELS, [])):
        product = await launch(text, plugins=PLUGINS, data=tmp_path / str(len(names)))
        assert [user.name for user in await Accounts.of(product.core.store, b"").users.all()] == names


# ---------------------------------------------------------------- who and where the client is


class Peer:
    """A transport whose other end has an address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._address, 40000) if name == "peername" and self._address else default


def asked(peer: str, *headers: tuple[str, str]) -> web.Request:
    return make_mocked_request("GET", "/", CIMultiDict(headers), transport=Peer(peer))


XFF, PROTO = "X-Forwarded-For", "X-Forwarded-Proto"
PROXIES = ("10.0.0.0/8", "fd00::/8", "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        # A stranger may say what it likes.
        ("192.0.2.7", [(XFF, "1.2.3.4")], "192.0.2.7"),
        ("10.0.0.1", [(XFF, "1.2.3.4")], "1.2.3.4"),
        # What the client itself wrote stands before what the proxy saw.
        ("10.0.0.1", [(XFF, "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
        ("10.0.0.1", [(XFF, "6.6.6.6, 1.2.3.4, 10.9.9.9")], "1.2.3.4"),
        ("10.0.0.1", [(XFF, "6.6.6.6"), (XFF, "1.2.3.4,fd00::1")], "1.2.3.4"),
        ("10.0.0.1", [(XFF, "1.2.3.4:5555")], "1.2.3.4"),
        ("10.0.0.1", [(XFF, "[2001:db8::5]:5555")], "2001:db8::5"),
        ("10.0.0.1", [(XFF, "1.2.3.4, unknown, 10.2.2.2")], "10.2.2.2"),
        ("10.0.0.1", [(XFF, "<script>")], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "")], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        # IPv4 on a socket of IPv6.
        ("::ffff:10.0.0.1", [(XFF, "::ffff:1.2.3.4")], "1.2.3.4"),
        ("::ffff:192.0.2.7", [(XFF, "1.2.3.4")], "192.0.2.7"),
        ("", [(XFF, "1.2.3.4")], "unknown"),
    ],
)
def test_the_address_of_a_client(peer: str, headers: list[tuple[str, str]], expected: str) -> None:
    """The peer's, or what trusted proxies saw: the last hop that is none of them."""
    assert client_address(asked(peer, *headers), PROXIES) == expected
    alone = client_address(asked(peer, *headers), ())
    assert alone == (peer.removeprefix("::ffff:") or "unknown")


def test_https_is_what_a_trusted_proxy_says() -> None:
    """`X-Forwarded-Proto` counts from a trusted proxy only; a public_url of https settles it."""
    https = (PROTO, "https")
    assert is_https(asked("10.0.0.1", https), PROXIES, None)
    assert is_https(asked("10.0.0.1", (PROTO, "HTTPS, http")), PROXIES, "http://h")
    assert not is_https(asked("10.0.0.1", (PROTO, "http")), PROXIES, None)
    assert not is_https(asked("192.0.2.7", https), PROXIES, None)
    assert not is_https(asked("10.0.0.1", https), (), None)
    assert not is_https(asked("", https), PROXIES, None)
    assert is_https(asked("192.0.2.7"), (), "https://video.example.com")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        *((None, True), ("http://h:8080", True), ("http://H:8080", True), ("https://video.example.com", True)),
        *(("https://video.example.com:443", True), ("http://h", False), ("http://h:8081", False), ("null", False)),
        *(("", False), ("https://evil.example", False), ("https://video.example.com.evil.example", False)),
        *(("http://h:99999", False), ("http://[", False), ("http://u@h:8080", True)),
    ],
)
def test_whose_page_sent_it(origin: str | None, expected: bool) -> None:
    """An origin is ours where it is the Host or public_url."""
    headers = [("Host", "h:8080"), *([] if origin is None else [("Origin", origin)])]
    assert same_origin(asked("192.0.2.7", *headers), "https://video.example.com/") is expected
    elsewhere = origin not in (None, "http://h:8080", "http://H:8080", "http://u@h:8080")
    assert same_origin(asked("192.0.2.7", *headers), None) is not elsewhere
    for site, ours in (("same-origin", True), ("cross-site", False), ("same-site", False), ("none", False)):
        assert same_origin(asked("192.0.2.7", *headers, ("Sec-Fetch-Site", site)), None) is ours


@pytest.mark.parametrize("https", [True, False])
def test_the_cookie(https: bool) -> None:
    """No script can read it, no other site's request carries it, and behind https it never goes over plain http."""
    response = web.Response()
    cookies.write(response, "token", https=https)
    (cookie,) = SimpleCookie(response.cookies.output(header="")).values()
    assert cookie.key == ("__Host-reelgate_session" if https else "reelgate_session")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert bool(cookie["secure"]) is https
    assert cookie["domain"] == ""
