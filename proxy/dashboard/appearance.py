"""What the pages look like: light, dark, or as the device does."""

from __future__ import annotations

from typing import Final

from aiohttp import web

COOKIE: Final = "reelgate_theme"
THEMES: Final = ("system", "light", "dark")

_YEAR: Final = 365 * 86_400


def theme_of(request: web.Request) -> str:
    """One of `THEMES`."""
    theme = request.cookies.get(COOKIE)
    return theme if theme in THEMES else "system"


def remember(response: web.StreamResponse, name: str, value: str, *, secure: bool) -> None:
    """Keep a choice in the browser for a year; the script may write the cookie too."""
    response.set_cookie(name, value, max_age=_YEAR, path="/", samesite="Lax", secure=secure)
