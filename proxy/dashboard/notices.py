"""What one page leaves to be said by the next, in a cookie. It is signed: nobody else puts words on our pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from aiohttp import web

if TYPE_CHECKING:
    from proxy.accounts.sessions import Sessions

_NAME: Final = "reelgate_notice"
_PATH: Final = "/dashboard"
_AGE: Final = 60
_LONGEST: Final = 300


def leave(response: web.StreamResponse, sessions: Sessions, token: str, text: str, *, secure: bool) -> None:
    """Have `text` said on the next page of the session with this token."""
    text = text[:_LONGEST]
    value = f"{sessions.csrf(_signed(token, text))}.{quote(text, safe='')}"
    response.set_cookie(_NAME, value, max_age=_AGE, path=_PATH, httponly=True, samesite="Lax", secure=secure)


def find(request: web.Request, sessions: Sessions, token: str) -> str | None:
    """What is to be said now."""
    signature, _, quoted = request.cookies.get(_NAME, "").partition(".")
    text = unquote(quoted)
    return text if text and sessions.is_csrf(_signed(token, text), signature) else None


def forget(response: web.StreamResponse) -> None:
    """It was said."""
    response.del_cookie(_NAME, path=_PATH)


def _signed(token: str, text: str) -> str:
    return f"{token} says {text}"
