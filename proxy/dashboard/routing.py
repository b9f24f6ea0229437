"""Which page is whose: what the modules of `pages/` are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from proxy.dashboard.forms import Form
    from proxy.dashboard.view import View

Show = Callable[["View"], Awaitable[web.StreamResponse]]
Take = Callable[["View", "Form"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    """An address and who answers it: `show` a GET, `take` the POST of a form."""

    path: str
    nav: str
    admin: bool
    show: Show | None = None
    take: Take | None = None


class Pages:
    """The pages of one entry of the navigation; `admin` is for admins only."""

    def __init__(self, nav: str, *, admin: bool = False) -> None:
        self.nav = nav
        self.admin = admin
        self.all: list[Page] = []

    def show(self, path: str) -> Callable[[Show], Show]:
        """The decorated handler answers a GET of `path`."""

        def add(handler: Show) -> Show:
            self.all.append(Page(path, self.nav, self.admin, show=handler))
            return handler

        return add

    def take(self, path: str) -> Callable[[Take], Take]:
        """The decorated handler takes the form that is posted to `path`, after its token was checked."""

        def add(handler: Take) -> Take:
            self.all.append(Page(path, self.nav, self.admin, take=handler))
            return handler

        return add
