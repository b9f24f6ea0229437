"""`/dashboard/webhooks`: one's endpoints, and what was sent to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from proxy.dashboard.forms import Form
from proxy.dashboard.languages import text
from proxy.dashboard.routing import Pages
from proxy.dashboard.snippets import unwrap_event
from proxy.dashboard.view import View
from proxy.errors import InvalidRequest, NotFound
from proxy.ids import ID_PATTERN
from proxy.store.webhooks import DeliveryState, Endpoint
from proxy.upstream.guard import LONGEST_URL
from proxy.webhooks import EVENT_TYPES
from proxy.webhooks.endpoints import MAX_ENDPOINTS
from proxy.webhooks.signing import hint

pages = Pages("webhooks")

HERE: Final = "/dashboard/webhooks"
ONE: Final = HERE + "/{id}"
MAX_NAME: Final = 100
PAGE: Final = 50
STATES: Final[tuple[DeliveryState, ...]] = ("pending", "delivered", "failed")

NOT_THERE: Final = text("There is no such webhook endpoint.")
NO_DELIVERY: Final = text("There is no such webhook delivery, or it is so old that it was forgotten.")
NOTES: Final = (
    text("the receiver gave no answer within 15 seconds"),
    text("the receiver's address is not public, and the operator does not allow it"),
    text("the receiver could not be connected to"),
    text("the connection to the receiver broke, or its answer was no HTTP"),
    text("the request could not be made"),
    text("the API key that the endpoint belongs to was revoked"),
)
"""What `proxy.webhooks` notes of a try that had no answer."""
WRONG: Final = (
    text("Invalid 'url': The URL has spaces, backslashes or control characters; percent-encode them."),
    text("Invalid 'url': The URL is malformed."),
    text("Invalid 'url': The URL must begin with http:// or https://."),
    text("Invalid 'url': The URL must not have a user name or password in it."),
    text("Invalid 'url': The URL names no possible host or an impossible port."),
    text(
        "Invalid 'url': its address is not public. This server sends webhooks there only when its operator allows the "
        "host (server.webhook_hosts)."
    ),
    text("At most 50 webhook endpoints are possible; delete one first."),
    text("This webhook endpoint is stopped, because its receiver said that it is gone. Start it again first."),
)
"""What it refuses an endpoint or a delivery with."""

_DELIVERY: Final = re.compile(r"wh_[0-9a-f]{32}", re.ASCII)
_CURSOR: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)-(wh_[0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody typed of an endpoint."""

    name: str = ""
    url: str = ""
    event_types: tuple[str, ...] = EVENT_TYPES


@pages.show(HERE)
async def show(view: View) -> web.StreamResponse:
    """All of one's endpoints."""
    endpoints, _ = await view.site.webhooks.page(view.key.tenant, after=None, limit=MAX_ENDPOINTS, newest_first=True)
    counts = await view.site.webhooks.counts(view.key.tenant)
    return view.render("webhooks.html", endpoints=endpoints, counts=counts)


@pages.show(HERE + "/new")
async def ask_new(view: View) -> web.StreamResponse:
    """The form for a new endpoint."""
    return _new(view, Wish(), {})


@pages.take(HERE + "/new")
async def create(view: View, form: Form) -> web.StreamResponse:
    """Make an endpoint; the answer shows its secret, this once."""
    wish = _wish(form)
    errors = _mistakes(view, wish)
    if errors:
        return _new(view, wish, errors)
    try:
        endpoint = await view.site.webhooks.create(
            view.key.tenant, name=wish.name, url=wish.url, event_types=wish.event_types
        )
    except InvalidRequest as wrong:
        return _new(view, wish, _blamed(view, wrong))
    return view.render("webhook_secret.html", endpoint=endpoint, fresh=True, program=unwrap_event(endpoint.secret))


@pages.show(ONE)
async def show_one(view: View) -> web.StreamResponse:
    """An endpoint: what it is, and its deliveries."""
    return await _one(view, await _endpoint(view))


@pages.take(ONE)
async def change(view: View, form: Form) -> web.StreamResponse:
    """Change an endpoint; one that was stopped goes on."""
    endpoint = await _endpoint(view)
    wish = _wish(form)
    errors = _mistakes(view, wish)
    if not errors:
        try:
            await view.site.webhooks.update(
                endpoint.tenant, endpoint.id, name=wish.name, url=wish.url, event_types=wish.event_types
            )
        except InvalidRequest as wrong:
            errors = _blamed(view, wrong)
    if errors:
        return await _one(view, endpoint, wish, errors, status=422)
    return view.go(f"{HERE}/{endpoint.id}", notice=view.say("The endpoint was changed."))


@pages.take(ONE + "/start")
async def start(view: View, form: Form) -> web.StreamResponse:
    """Let an endpoint that was stopped go on."""
    endpoint = await _endpoint(view)
    await view.site.webhooks.update(endpoint.tenant, endpoint.id)
    return view.go(f"{HERE}/{endpoint.id}", notice=view.say("Events are sent there again from now on."))


@pages.take(ONE + "/rotate")
async def rotate(view: View, form: Form) -> web.StreamResponse:
    """Give an endpoint a new secret; the answer shows it, this once."""
    endpoint = await _endpoint(view)
    changed = await view.site.webhooks.rotate(endpoint.tenant, endpoint.id, keep_old=form.ticked("keep_old"))
    return view.render("webhook_secret.html", endpoint=changed, fresh=False, program=unwrap_event(changed.secret))


@pages.take(ONE + "/test")
async def test(view: View, form: Form) -> web.StreamResponse:
    """Send a test event now, and tell what the receiver answered."""
    endpoint = await _endpoint(view)
    event_type = form.text("event_type")
    if event_type not in EVENT_TYPES:
        event_type = endpoint.event_types[0]
    try:
        status = await view.site.webhooks.test(endpoint.tenant, endpoint.id, event_type)
    except InvalidRequest as wrong:
        return await _one(view, endpoint, said=(view.say(wrong.message), "bad"))
    if 200 <= status < 300:
        words = view.say("The receiver took the test event: it answered HTTP {status}.", status=status)
        return await _one(view, endpoint, said=(words, "good"))
    words = view.say("The receiver answered HTTP {status}. Only 200 to 299 mean that it took an event.", status=status)
    return await _one(view, endpoint, said=(words, "warn"))


@pages.take(ONE + "/delete")
async def delete(view: View, form: Form) -> web.StreamResponse:
    """Delete an endpoint, once it was agreed to."""
    endpoint = await _endpoint(view)
    if not form.ticked("sure"):
        return view.render(
            "sure.html",
            title=view.say("Delete “{name}”?", name=endpoint.name),
            words=view.say("No more events are sent there, and its deliveries are forgotten."),
            label=view.say("Delete"),
            back=f"{HERE}/{endpoint.id}",
        )
    await view.site.webhooks.delete(endpoint.tenant, endpoint.id)
    return view.go(HERE, notice=view.say("The endpoint was deleted."))


@pages.take(ONE + "/deliveries/{delivery}/resend")
async def resend(view: View, form: Form) -> web.StreamResponse:
    """Send a delivery that ended once more."""
    endpoint = await _endpoint(view)
    delivery_id = view.request.match_info["delivery"]
    if _DELIVERY.fullmatch(delivery_id) is None:
        raise NotFound(NO_DELIVERY)
    await view.site.webhooks.resend(endpoint.tenant, endpoint.id, delivery_id)
    return view.go(f"{HERE}/{endpoint.id}", notice=view.say("The event is sent again."))


# ---------------------------------------------------------------- the forms


def _wish(form: Form) -> Wish:
    chosen = form.all("event_types")
    return Wish(form.text("name"), form.text("url"), tuple(known for known in EVENT_TYPES if known in chosen))


def _mistakes(view: View, wish: Wish) -> dict[str, str]:
    """The field -> what is wrong with it, of what is seen without the operator's rules for addresses."""
    found = {}
    if not wish.name or len(wish.name) > MAX_NAME or not wish.name.isprintable():
        found["name"] = view.say("Give it a name of at most {most} characters.", most=MAX_NAME)
    if not wish.url:
        found["url"] = view.say("Where shall the events be sent to? Write an address that begins with https://.")
    elif len(wish.url) > LONGEST_URL:
        found["url"] = view.say("An address has at most {most} characters.", most=LONGEST_URL)
    if not wish.event_types:
        found["event_types"] = view.say("Choose at least one event.")
    return found


def _blamed(view: View, wrong: InvalidRequest) -> dict[str, str]:
    """Field -> what was wrong with it, of what the form could not know: it says the field's name by itself."""
    said = view.say(wrong.message).removeprefix("Invalid 'url': ")
    return {wrong.param or "": said[:1].upper() + said[1:]}


# ---------------------------------------------------------------- the pages


async def _endpoint(view: View) -> Endpoint:
    endpoint_id = view.request.match_info["id"]
    try:
        if ID_PATTERN.fullmatch(endpoint_id) is not None:
            return await view.site.webhooks.endpoint(view.key.tenant, endpoint_id)
    except NotFound:
        pass
    # The same for one that is somebody else's, that never was, and that cannot be.
    raise NotFound(NOT_THERE)


def _new(view: View, wish: Wish, errors: dict[str, str]) -> web.Response:
    status = 422 if errors else 200
    return view.render("webhook_new.html", status=status, wish=wish, errors=errors, event_types=EVENT_TYPES)


async def _one(
    view: View,
    endpoint: Endpoint,
    wish: Wish | None = None,
    errors: dict[str, str] | None = None,
    *,
    said: tuple[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    query = view.request.query
    state = next((known for known in STATES if known == query.get("state")), None)
    cursor = _CURSOR.fullmatch(query.get("before", ""))
    before = None if cursor is None else (float(cursor[1]), cursor[2])
    deliveries, more = await view.site.webhooks.deliveries(
        endpoint.tenant, endpoint.id, state=state, before=before, limit=PAGE
    )
    here = f"{HERE}/{endpoint.id}"
    last = deliveries[-1] if more else None
    return view.render(
        "webhook.html",
        status=status,
        here=here,
        endpoint=endpoint,
        hint=hint(endpoint.secret),
        wish=wish or Wish(endpoint.name, endpoint.url, endpoint.event_types),
        errors=errors or {},
        event_types=EVENT_TYPES,
        said=said,
        state=state,
        states=STATES,
        deliveries=deliveries,
        newest=None if before is None else view.address(before=None),
        older=None if last is None else view.address(before=f"{last.created_at!r}-{last.id}"),
    )
