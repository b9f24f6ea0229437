"""Who may come in: the session behind the cookie, and whether a change was really asked for on a page of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web
from multidict import istr

from proxy.accounts import cookies
from proxy.accounts.addresses import client_address, is_https, same_origin
from proxy.dashboard.languages import text
from proxy.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from proxy.dashboard.surroundings import Surroundings
    from proxy.records import Session, User

TOKEN_HEADER: Final = istr("x-csrf-token")
TOKEN_FIELD: Final = "csrf"  # noqa: S105 - the name of the field

STALE: Final = text(
    "This was not sent from a page of your present login, so nothing was done. Reload the page and try again."
)
FOREIGN: Final = text(
    "This was sent from a page of another site, so nothing was done. If it was not, the operator must set "
    "server.public_url to the address that your browser shows."
)
NOBODY: Final = text("You are not logged in, or your session has ended. Log in again.")


class Login(NamedTuple):
    """Who is logged in; `token` is what the cookie says, and is shown nowhere."""

    user: User
    session: Session
    token: str


def is_secure(site: Surroundings, request: web.Request) -> bool:
    """Whether the browser speaks https."""
    return is_https(request, site.settings.trusted_proxies, site.settings.public_url)


def address_of(site: Surroundings, request: web.Request) -> str:
    """The IP address that the request comes from."""
    return client_address(request, site.settings.trusted_proxies)


async def login_of(site: Surroundings, request: web.Request) -> Login | None:
    """The live session that the request comes with."""
    token = cookies.read(request, https=is_secure(site, request))
    found = None if token is None else await site.accounts.sessions.find(token)
    return None if found is None or token is None else Login(*found, token)


async def logged_in(site: Surroundings, request: web.Request) -> Login:
    """The live session that the request comes with; `Unauthorized` where there is none."""
    login = await login_of(site, request)
    if login is None:
        raise Unauthorized(NOBODY)
    return login


def check_token(site: Surroundings, login: Login, token: str) -> None:
    """`Forbidden` unless `token` is the one that the pages of this very session carry."""
    if not site.accounts.sessions.is_csrf(login.token, token):
        raise Forbidden(STALE)


def check_origin(site: Surroundings, request: web.Request) -> None:
    """`Forbidden` where the browser says that the request was made on a page of somebody else's."""
    if not same_origin(request, site.settings.public_url):
        raise Forbidden(FOREIGN)
