"""The dashboard of a running product, and browsers that are logged in to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession, CookieJar, DummyCookieJar

from proxy.accounts import Accounts
from proxy.app import WIRING
from tests.conftest import Launch, Product

PASSWORD = "a long way home"
PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
CHANNELS = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 3600}]\n"

_TOKEN = re.compile(r'data-csrf="([0-9a-f]+)"')


class Answer(NamedTuple):
    """What a browser got: redirects are not followed."""

    status: int
    text: str
    headers: Any

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def cookies(self) -> list[str]:
        return self.headers.getall("Set-Cookie", [])


class Browser:
    """A client with a cookie jar, which sends what a browser sends."""

    def __init__(self, url: str, jar: CookieJar | DummyCookieJar | None = None) -> None:
        self.url = url
        self.session = ClientSession(cookie_jar=jar or CookieJar(unsafe=True))

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"Accept": "text/html,*/*", "Accept-Language": "en-GB", **options.pop("headers", {})}
        async with self.session.request(
            method, self.url + path, headers=headers, allow_redirects=False, **options
        ) as response:
            return Answer(response.status, await response.text(), response.headers.copy())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> Answer:
        """Submit a form as it is; `submit` adds the token."""
        return await self.ask("POST", path, data=fields, headers={"Origin": self.url} | (headers or {}))

    async def log_in(self, name: str, password: str = PASSWORD, **fields: str) -> Answer:
        return await self.post("/login", username=name, password=password, **fields)

    async def token(self) -> str:
        """What the pages of this session carry."""
        found = _TOKEN.search((await self.get("/dashboard/account")).text)
        assert found is not None
        return found[1]

    async def submit(self, path: str, **fields: str) -> Answer:
        return await self.post(path, csrf=await self.token(), **fields)

    @property
    def cookie(self) -> str:
        """What the session's cookie says."""
        return next((cookie.value for cookie in self.session.cookie_jar if cookie.key == "reelgate_session"), "")

    async def is_in(self) -> bool:
        return (await self.get("/dashboard/account")).status == 200


class Desk:
    """A product with the users `anna` (a member) and `otto` (an admin), and browsers of it."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.browsers: list[Browser] = []

    @property
    def accounts(self) -> Accounts:
        site = self.product.server.app[WIRING].site
        assert site is not None
        return site.accounts

    def browser(self, jar: CookieJar | DummyCookieJar | None = None) -> Browser:
        """A new one, logged in nowhere."""
        self.browsers.append(Browser(self.product.url, jar))
        return self.browsers[-1]

    async def logged_in(self, name: str = "anna") -> Browser:
        browser = self.browser()
        answer = await browser.log_in(name)
        assert (answer.status, answer.location) == (303, "/dashboard")
        return browser


Open = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def open_desk(launch: Launch) -> AsyncIterator[Open]:
    """Start the product, with a channels.yaml of one's own."""
    desks: list[Desk] = []

    async def start(text: str = CHANNELS, **options: Any) -> Desk:
        desk = Desk(await launch(text, plugins=PLUGINS, **options))
        desks.append(desk)
        await desk.accounts.users.create("anna", PASSWORD)
        await desk.accounts.users.create("otto", PASSWORD, "admin")
        return desk

    yield start
    for desk in desks:
        for browser in desk.browsers:
            await browser.session.close()


@pytest.fixture
async def desk(open_desk: Open) -> Desk:
    return await open_desk()
