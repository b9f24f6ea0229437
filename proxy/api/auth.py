"""Who is asking: the Bearer key that every route but the public ones wants, or where that is allowed a session."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import istr

from proxy.accounts import cookies
from proxy.accounts.addresses import client_address, is_https, same_origin
from proxy.accounts.sessions import key_of
from proxy.api.context import ACTING, API, TRACE
from proxy.api.values import shown
from proxy.errors import Forbidden, Unauthorized
from proxy.records import UNLIMITED, Key

CSRF_HEADER: Final = istr("x-csrf-token")
"""What a script of the dashboard sends along with each change that it makes by its session."""

_SAFE: Final = (hdrs.METH_GET, hdrs.METH_HEAD)


async def authenticate(request: web.Request) -> Key:
    """The key that this request is made with. Raises `Unauthorized`."""
    acting = request.get(ACTING)
    if acting is not None:
        key: Key = await acting()
        request[TRACE].key_id = key.id
        return key
    header = request.headers.get(hdrs.AUTHORIZATION)
    authenticator = request.app[API].authenticator
    key = authenticator.cached(header) or await authenticator.authenticate(header)
    told = request[TRACE]
    first, told.key_id = told.key_id is None, key.id
    if key.limits is not UNLIMITED:
        api = request.app[API]
        # A stream asks anew while it lasts, and who expects 100 Continue before; each is one request all the same.
        api.gate.admit(key, client_address(request, api.settings.trusted_proxies), count=first)
    return key


def with_key(request: web.Request) -> bool:
    """Whether the request comes with an API key, good or not, or was let in by the dashboard: then that decides."""
    return ACTING in request or hdrs.AUTHORIZATION in request.headers


def session_token(request: web.Request) -> str | None:
    """What the request carries as the session of a user of the dashboard, good or not; None where it carries none."""
    api = request.app[API]
    if api.sessions is None:
        return None
    return cookies.read(request, https=is_https(request, api.settings.trusted_proxies, api.public_url))


async def authenticate_session(request: web.Request, token: str) -> Key:
    """The key that stands for the user whose session this is. Raises `Unauthorized`."""
    sessions = request.app[API].sessions
    found = None if sessions is None else await sessions.find(token)
    if found is None:
        raise Unauthorized("Your session has ended. Log in again at /login, or send an API key.")
    key = key_of(found[0])
    request[TRACE].key_id = key.id
    return key


async def operator(request: web.Request) -> Key:
    """The admin key, or the one that stands for the admin whose session the request carries; the first that is present
    decides. Raises `Unauthorized`, and `Forbidden` where it is no admin's, or a change that no page of ours asked for.
    """
    token = None if with_key(request) else session_token(request)
    if token is None:
        key = await authenticate(request)
        if not key.admin:
            raise Forbidden(f"The key '{shown(key.name)}' is not an admin key, which this URL needs.")
        return key
    key = await authenticate_session(request, token)
    if not key.admin:
        raise Forbidden(f"The user '{shown(key.name)}' is not an admin, which this URL needs.")
    if request.method not in _SAFE:
        _check_intended(request, token)
    return key


def _check_intended(request: web.Request, token: str) -> None:
    """A browser sends its cookies along with what any page makes it send, so a session alone is no intention."""
    api = request.app[API]
    assert api.sessions is not None
    if not same_origin(request, api.public_url):
        raise Forbidden("This change was asked for by a page of another site, so it was not made.")
    if not api.sessions.is_csrf(token, request.headers.get(CSRF_HEADER)):
        raise Forbidden(
            f"A change by session needs the header {CSRF_HEADER} with the token of this session: reload the page."
        )
