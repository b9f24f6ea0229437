"""The cookie of a session. Behind https its name begins with `__Host-`: no other host of its domain can set it, and
one of plain http counts for nothing there."""

from __future__ import annotations

from typing import Final

from aiohttp import web

NAME: Final = "reelgate_session"
SECURE_NAME: Final = "__Host-reelgate_session"


def read(request: web.BaseRequest, *, https: bool) -> str | None:
    """The token of the session that the request carries, good or not; None where it carries none."""
    return request.cookies.get(_name(https)) or None


def write(response: web.StreamResponse, token: str, *, https: bool) -> None:
    """Give the browser the token, until the browser is closed or the session is over."""
    response.set_cookie(_name(https), token, httponly=True, samesite="Lax", path="/", secure=https)


def forget(response: web.StreamResponse, *, https: bool) -> None:
    """Take the token from the browser."""
    response.del_cookie(_name(https), httponly=True, samesite="Lax", path="/", secure=https)


def _name(https: bool) -> str:
    return SECURE_NAME if https else NAME
