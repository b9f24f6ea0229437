"""Errors as pages: what went wrong and what to do, in plain words. A script gets them as the API tells them."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from aiohttp import hdrs, web

from proxy.dashboard import guard
from proxy.dashboard.languages import text
from proxy.errors import ApiError, MethodNotAllowed, NotFound, Unauthorized

if TYPE_CHECKING:
    from proxy.dashboard.view import View

log = logging.getLogger("reelgate.dashboard")

LOGIN: Final = "/login"
CALLS: Final = "/dashboard/api/"
"""Below it is only what scripts call."""

NOWHERE: Final = text("There is no such page.")

_TITLES: Final = {
    403: text("Not allowed"),
    404: text("Page not found"),
    405: text("Not possible here"),
    413: text("Too large"),
    415: text("Not a form"),
    429: text("Please wait a moment"),
}
_TROUBLE: Final = text("Something went wrong")
_METHOD: Final = text("This address does not take that.")
_OURS: Final = text(
    "Something went wrong here. It was written to the log under the id below. Try again; if it happens again, tell the "
    "operator this id."
)


async def nowhere(view: View) -> web.StreamResponse:
    """What answers for every address under `/dashboard` that is nobody's."""
    view.login = await guard.login_of(view.site, view.request)
    raise NotFound(NOWHERE)


async def answer(view: View, error: Exception) -> web.StreamResponse:
    """The answer that tells `error`; a script's is left to the API, which the error is raised to again."""
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            raise error
        error = _as_ours(error)
    if not isinstance(error, ApiError):
        if _is_script(view.request):
            raise error
        log.error("%s: %s %s failed", view.site.request_id(view.request), view.request.method, view.nav, exc_info=error)
        error = ApiError(_OURS)
    elif _is_script(view.request):
        raise error
    if isinstance(error, Unauthorized):
        return await _to_login(view)
    return await page(view, error)


async def page(view: View, error: ApiError) -> web.StreamResponse:
    """The page that tells `error`."""
    titles = _TITLES if error.status < 500 else {}
    response = view.render(
        "error.html",
        status=error.status,
        code=error.status,
        title=view.say(titles.get(error.status, _TROUBLE)),
        words=view.say(error.message),
        request_id=view.site.request_id(view.request),
    )
    if error.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(math.ceil(error.retry_after))
    return response


async def _to_login(view: View) -> web.StreamResponse:
    # After a login the browser can only look: what a form would have done, it has to be asked for again.
    wanted = view.request.rel_url if view.request.method in (hdrs.METH_GET, hdrs.METH_HEAD) else None
    query = "" if wanted is None or wanted.path == "/dashboard" else "?" + urlencode({"next": str(wanted)})
    return web.Response(status=303, headers={hdrs.LOCATION: LOGIN + query})


def _as_ours(error: web.HTTPException) -> ApiError:
    return MethodNotAllowed(_METHOD) if isinstance(error, web.HTTPMethodNotAllowed) else NotFound(NOWHERE)


def _is_script(request: web.Request) -> bool:
    accepted = request.headers.get(hdrs.ACCEPT, "")
    if request.path.startswith(CALLS):
        return True
    if "text/html" in accepted:
        return False
    fetched = request.headers.get("Sec-Fetch-Dest") == "empty" or guard.TOKEN_HEADER in request.headers
    return fetched or "application/json" in accepted
