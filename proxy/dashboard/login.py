"""`/login` and `/logout`."""

from __future__ import annotations

import math
import re
from typing import Final

from aiohttp import hdrs, web

from proxy.accounts import cookies
from proxy.dashboard import forms, guard
from proxy.dashboard.languages import text
from proxy.dashboard.view import View
from proxy.errors import RateLimited

HOME: Final = "/dashboard"
WRONG: Final = text("The username or the password is wrong.")
THROTTLED: Final = text("There were too many failed logins. Try again in a moment.")
INCOMPLETE: Final = text("Fill in the username and the password.")

# A path below ours, as browsers write it: nothing that any reader could take for another host.
_OWN: Final = re.compile(r"/dashboard(?:/[A-Za-z0-9._~%@:+-]+)*/?(?:\?[A-Za-z0-9._~%@:+&=,/-]*)?", re.ASCII)
_LONGEST: Final = 2000


async def show(view: View) -> web.StreamResponse:
    """`GET /login`: the form; who is logged in goes on."""
    wanted = destination(view.request.query.get("next", ""))
    if await guard.login_of(view.site, view.request) is not None:
        return view.go(wanted)
    return _form(view, wanted)


async def enter(view: View) -> web.StreamResponse:
    """`POST /login` with `username`, `password` and `next`.

    No token guards it, for there is no session yet whose it could be: what the browser says of the page that sent it
    does, so that nobody is logged in to another's account without knowing. A session that was there before ends, and
    the new one has a name that nobody knew before.
    """
    site, request = view.site, view.request
    guard.check_origin(site, request)
    form = await forms.read(request)
    wanted, name, password = destination(form.text("next")), form.text("username"), form.exact("password")
    if not name or not password:
        return _form(view, wanted, name=name, problem=view.say(INCOMPLETE), status=400)
    address = guard.address_of(site, request)
    try:
        user = await site.accounts.logins.log_in(name, password, address=address)
    except RateLimited as throttled:
        response = _form(view, wanted, name=name, problem=view.say(THROTTLED), status=429)
        response.headers[hdrs.RETRY_AFTER] = str(math.ceil(throttled.retry_after or 1))
        return response
    if user is None:
        return _form(view, wanted, name=name, problem=view.say(WRONG), status=401)
    before = cookies.read(request, https=view.secure)
    if before is not None:
        await site.accounts.sessions.close(before)
    token = await site.accounts.sessions.open(user, address=address, agent=request.headers.get(hdrs.USER_AGENT, ""))
    response = view.go(wanted)
    cookies.write(response, token, https=view.secure)
    return response


async def leave(view: View) -> web.StreamResponse:
    """`POST /logout`: the session ends, here and in the store. Also where it was over already."""
    site, request = view.site, view.request
    # Also without a session: the browser keeps the cookie from another site's form, but would obey our answer to it.
    guard.check_origin(site, request)
    login = await guard.login_of(site, request)
    if login is not None:
        form = await forms.read(request)
        guard.check_token(site, login, form.text(guard.TOKEN_FIELD))
        await site.accounts.sessions.close(login.token)
    return parted(view)


def parted(view: View) -> web.StreamResponse:
    """The way back to the login, without the cookie."""
    response = view.go("/login")
    cookies.forget(response, https=view.secure)
    return response


def destination(wanted: str) -> str:
    """Where a login leads: `wanted` if it is a page of ours, else the first one."""
    known = len(wanted) <= _LONGEST and _OWN.fullmatch(wanted) is not None and ".." not in wanted
    return wanted if known else HOME


def _form(view: View, wanted: str, *, name: str = "", problem: str = "", status: int = 200) -> web.Response:
    return view.render("login.html", status=status, wanted=wanted, name=name[:64], problem=problem)
