"""Which address of the dashboard is whose, and what happens around each request for one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, hdrs, web

from proxy.accounts.sessions import key_of
from proxy.dashboard import errors, forms, guard, login, pages, static_files, templating
from proxy.dashboard.languages import text
from proxy.dashboard.view import PAGE_HEADERS, View
from proxy.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler

    from proxy.dashboard.routing import Page
    from proxy.dashboard.surroundings import Surroundings
    from proxy.records import Key

    Answer = Callable[[View], Awaitable[web.StreamResponse]]


HOME: Final = "/dashboard"
ADMINS: Final = text("This page is for admins. Ask one of them to make you an admin, or to look for you.")
SAFE: Final = (hdrs.METH_GET, hdrs.METH_HEAD)


def mount(app: web.Application, site: Surroundings) -> None:
    """Add the login, the pages and what their script calls to `app`."""
    app.on_startup.append(_prepare)
    for page in (page for module in pages.ALL for page in module.all):
        _add(app, hdrs.METH_GET if page.show else hdrs.METH_POST, page.path, _page(site, page))
    _add(app, hdrs.METH_GET, "/login", _open(site, "login", login.show))
    _add(app, hdrs.METH_POST, "/login", _open(site, "login", login.enter))
    _add(app, hdrs.METH_POST, "/logout", _open(site, "login", login.leave))
    for path in ("/", "/dashboard/"):
        _add(app, hdrs.METH_GET, path, _home)
    _add(app, hdrs.METH_GET, static_files.PREFIX + "{name}", static_files.send)
    for method, path, handler in site.calls:
        _add(app, method, errors.CALLS.rstrip("/") + path, _call(site, handler))
    # What is none of these is told to people in words for people.
    app.router.add_route("*", "/dashboard/{rest:.*}", _open(site, "", errors.nowhere), expect_handler=_expect)


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    app.router.add_route(method, path, handler, expect_handler=_expect)
    if method == hdrs.METH_GET:
        app.router.add_route(hdrs.METH_HEAD, path, handler, expect_handler=_expect)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    # aiohttp's own repeats what was expected, also where that is no text.
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        return web.Response(status=417, text="The only expectation that this server meets is '100-continue'.")
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The bytes of an interim answer are not the beginning of the final one.
        request.writer.output_size = 0
    return None


async def _prepare(app: web.Application) -> None:
    await asyncio.to_thread(templating.prepare)


async def _home(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={hdrs.LOCATION: HOME, **PAGE_HEADERS})


def _page(site: Surroundings, page: Page) -> Handler:
    """What answers for a page: who is not logged in is sent to the login, and who is no admin is told so."""

    async def answer(view: View) -> web.StreamResponse:
        await enter(view)
        if page.show is not None:
            return await page.show(view)
        assert page.take is not None
        guard.check_origin(site, view.request)
        form = await forms.read(view.request)
        # Again: nobody stays logged in, or an admin, by sending slowly.
        login = await enter(view)
        guard.check_token(site, login, form.text(guard.TOKEN_FIELD))
        return await page.take(view, form)

    async def enter(view: View) -> guard.Login:
        view.login = login = await guard.logged_in(site, view.request)
        if page.admin and not view.is_admin:
            raise Forbidden(ADMINS)
        return login

    return _open(site, page.nav, answer)


def _open(site: Surroundings, nav: str, answer: Answer) -> Handler:
    """What answers everybody; its errors are pages."""

    async def handle(request: web.Request) -> web.StreamResponse:
        view = View(request, site, nav, None, secure=guard.is_secure(site, request))
        await templating.ready(view.language)
        try:
            response = await answer(view)
        except ConnectionError:
            raise
        except Exception as error:
            response = await errors.answer(view, error)
        for name, value in PAGE_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return handle


def _call(site: Surroundings, handler: Handler) -> Handler:
    """What answers the script: the API's own handler, acting for who is logged in. Errors are the API's too."""

    async def handle(request: web.Request) -> web.StreamResponse:
        entered = await guard.logged_in(site, request)
        if request.method not in SAFE:
            guard.check_origin(site, request)
            guard.check_token(site, entered, request.headers.get(guard.TOKEN_HEADER, ""))

        async def acting() -> Key:
            return key_of((await guard.logged_in(site, request)).user)

        request[site.acting] = acting
        return await handler(request)

    return handle
