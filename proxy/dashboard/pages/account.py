"""`/dashboard/account`: one's own password, sessions, language and looks."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from proxy.accounts.passwords import MAX_LENGTH, MIN_LENGTH, BadPassword
from proxy.dashboard import appearance, guard, languages, login
from proxy.dashboard.forms import Form
from proxy.dashboard.routing import Pages
from proxy.dashboard.view import View
from proxy.errors import RateLimited

pages = Pages("account")

HERE: Final = "/dashboard/account"

_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """The page."""
    return await _page(view)


@pages.take(HERE + "/password")
async def change_password(view: View, form: Form) -> web.StreamResponse:
    """Change one's password, with the old one; every other session ends."""
    old, new, again = form.exact("old"), form.exact("new"), form.exact("again")
    errors: dict[str, str] = {}
    if not MIN_LENGTH <= len(new) <= MAX_LENGTH:
        errors["new"] = view.say("A password has {least} to {most} characters.", least=MIN_LENGTH, most=MAX_LENGTH)
    elif new != again:
        errors["again"] = view.say("The two are not the same.")
    if not errors:
        errors = await _verify(view, old)
    if not errors:
        try:
            await view.site.accounts.users.set_password(view.user.id, new, keep=view.session.id, actor=view.user.id)
        except BadPassword as bad:
            errors["new"] = view.say(bad.message)
    if errors:
        return await _page(view, errors, status=422)
    # The change ended them in the store; this process need not remember them for its half second.
    await view.site.accounts.sessions.close_all(view.user.id, but=view.session.id)
    return view.go(HERE, notice=view.say("Your password was changed. All other sessions were ended."))


@pages.take(HERE + "/sessions/{id}/end")
async def end_one(view: View, form: Form) -> web.StreamResponse:
    """End one of one's sessions; the present one is a logout."""
    session_id = view.request.match_info["id"]
    await view.site.accounts.sessions.close_one(view.user.id, session_id)
    if session_id == view.session.id:
        return login.parted(view)
    return view.go(HERE, notice=view.say("The session was ended."))


@pages.take(HERE + "/sessions/end-others")
async def end_others(view: View, form: Form) -> web.StreamResponse:
    """End all of one's sessions but this one."""
    await view.site.accounts.sessions.close_all(view.user.id, but=view.session.id)
    return view.go(HERE, notice=view.say("All other sessions were ended."))


@pages.take(HERE + "/sessions/end-all")
async def end_all(view: View, form: Form) -> web.StreamResponse:
    """Log out everywhere."""
    await view.site.accounts.sessions.close_all(view.user.id)
    return login.parted(view)


@pages.take(HERE + "/appearance")
async def change_appearance(view: View, form: Form) -> web.StreamResponse:
    """Choose the language and the theme of this browser."""
    language, theme = form.text("language"), form.text("theme")
    response = view.go(HERE)
    if language in languages.LANGUAGES:
        appearance.remember(response, languages.COOKIE, language, secure=view.secure)
    if theme in appearance.THEMES:
        appearance.remember(response, appearance.COOKIE, theme, secure=view.secure)
    return response


def device(agent: str) -> str:
    """What a `User-Agent` says for people: `Firefox, Windows`; its first word where it is no browser we know."""
    names = [next((name for word, name in known if word in agent), "") for known in (_BROWSERS, _SYSTEMS)]
    return ", ".join(name for name in names if name) or re.split(r"[\s;(]", agent, maxsplit=1)[0][:40]


async def _verify(view: View, old: str) -> dict[str, str]:
    # Through the same throttle as a login: who found an open browser must not guess on.
    address = guard.address_of(view.site, view.request)
    try:
        user = await view.site.accounts.logins.log_in(view.user.name, old, address=address)
    except RateLimited:
        return {"old": view.say("There were too many wrong passwords. Try again in a moment.")}
    return {} if user is not None else {"old": view.say("This is not your password.")}


async def _page(view: View, errors: dict[str, str] | None = None, *, status: int = 200) -> web.Response:
    sessions = await view.site.accounts.sessions.of_user(view.user.id)
    return view.render(
        "account.html",
        status=status,
        errors=errors or {},
        sessions=[(session, device(session.agent)) for session in sessions],
        themes=appearance.THEMES,
        least=MIN_LENGTH,
        most=MAX_LENGTH,
    )
