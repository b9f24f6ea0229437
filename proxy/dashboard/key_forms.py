"""What people type of a key and its limits -> `KeyLimits`, each mistake beside its field."""

from __future__ import annotations

import ipaddress
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy import money
from proxy.accounts import terms
from proxy.accounts.administration import MAX_NAME
from proxy.errors import InvalidRequest
from proxy.records import KeyLimits

if TYPE_CHECKING:
    from proxy.dashboard.forms import Form
    from proxy.dashboard.view import View
    from proxy.records import Key

ALL: Final = "all"
SOME: Final = "some"

_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_BETWEEN: Final = re.compile(r"[\s,;]+")
_FIELD_OF: Final = {
    "allowed_models": "models",
    "allowed_channels": "channels",
    "expires_at": "expires",
    "max_running": "running",
    "allowed_addresses": "addresses",
    "user": "owner",
}


class Known(NamedTuple):
    """The models and channels that can be ticked; no channels for a member."""

    models: tuple[str, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody typed; `owner` is the name of a user, empty for a key without one. `models_of` and `channels_of`
    say whether the ticks count."""

    name: str = ""
    owner: str = ""
    admin: bool = False
    chooses_channel: bool = False
    models_of: str = ALL
    models: tuple[str, ...] = ()
    channels_of: str = ALL
    channels: tuple[str, ...] = ()
    expires: str = ""
    requests_per_minute: str = ""
    running: str = ""
    budget: str = ""
    period: str = "month"
    addresses: str = ""


def read(form: Form, *, admin: bool) -> Wish:
    """What a form says; what only admins are asked is not read of anybody else's."""
    return Wish(
        name=form.text("name"),
        owner=form.text("owner") if admin else "",
        admin=admin and form.ticked("admin"),
        chooses_channel=admin and form.ticked("chooses_channel"),
        models_of=SOME if form.text("models_of") == SOME else ALL,
        models=tuple(form.all("models")),
        channels_of=SOME if admin and form.text("channels_of") == SOME else ALL,
        channels=tuple(form.all("channels")) if admin else (),
        expires=form.text("expires"),
        requests_per_minute=form.text("requests_per_minute"),
        running=form.text("running"),
        budget=form.text("budget"),
        period=form.text("period") if form.text("period") in terms.PERIODS else "total",
        addresses=form.text("addresses"),
    )


def of_key(key: Key) -> Wish:
    """What the form of a key that is there says before anybody has typed."""
    limits = key.limits
    return Wish(
        name=key.name,
        admin=key.admin,
        chooses_channel=key.chooses_channel,
        models_of=ALL if limits.models is None else SOME,
        models=limits.models or (),
        channels_of=ALL if limits.channels is None else SOME,
        channels=limits.channels or (),
        expires="" if limits.expires_at is None else last_day(limits.expires_at),
        requests_per_minute=str(limits.requests_per_minute or ""),
        running=str(limits.running or ""),
        budget="" if limits.budget is None else money.shown(limits.budget),
        period="month" if limits.budget is None else limits.period,
        addresses="\n".join(limits.addresses or ()),
    )


def last_day(expires_at: int) -> str:
    """The last day (UTC) on which a key is good."""
    return datetime.fromtimestamp(expires_at - 1, UTC).date().isoformat()


def limits_of(view: View, wish: Wish, known: Known, before: KeyLimits | None) -> tuple[KeyLimits, dict[str, str]]:
    """The limits that are wished, and field -> what is wrong with it. What is not `known` cannot be ticked; an expiry
    that nobody touched stays what it was `before`, to the second."""
    wrong: dict[str, str] = {}
    if not wish.name or len(wish.name) > MAX_NAME or not wish.name.isprintable():
        wrong["name"] = view.say("Give it a name of at most {most} characters.", most=MAX_NAME)
    models = None if wish.models_of == ALL else tuple(name for name in known.models if name in wish.models)
    channels = None if wish.channels_of == ALL else tuple(name for name in known.channels if name in wish.channels)
    if models == ():
        wrong["models"] = view.say("Tick at least one model, or let it use all.")
    if channels == ():
        wrong["channels"] = view.say("Tick at least one channel, or let it use all.")
    limits = KeyLimits(
        models=models,
        channels=channels,
        expires_at=_expiry(view, wish.expires, before, wrong),
        requests_per_minute=_number(view, "requests_per_minute", wish.requests_per_minute, terms.MAX_PER_MINUTE, wrong),
        running=_number(view, "running", wish.running, terms.MAX_RUNNING, wrong),
        budget=_budget(view, wish.budget, wrong),
        period=terms.period_of(wish.period),
        addresses=_addresses(view, wish.addresses, wrong),
    )
    return limits, wrong


def blamed(view: View, wrong: InvalidRequest) -> dict[str, str]:
    """Field -> what was wrong with it, of what the form could not know."""
    if wrong.param == "user":
        return {"owner": view.say("There is no such user.")}
    return {_FIELD_OF.get(wrong.param or "", wrong.param or ""): view.say(wrong.message)}


def _expiry(view: View, typed: str, before: KeyLimits | None, wrong: dict[str, str]) -> int | None:
    if not typed:
        return None
    if before is not None and before.expires_at is not None and typed == last_day(before.expires_at):
        return before.expires_at
    now = time.time()
    try:
        found = terms.expiry(typed, now=now)
        if now < found <= terms.LATEST:
            return found
    except InvalidRequest:
        pass
    wrong["expires"] = view.say("Write a day to come, such as 2030-01-31, or nothing. To end the key now, revoke it.")
    return None


def _number(view: View, field: str, typed: str, most: int, wrong: dict[str, str]) -> int:
    if not typed:
        return 0
    if _NUMBER.fullmatch(typed) is None or int(typed) > most:
        wrong[field] = view.say("Write a whole number up to {most}, or nothing for no limit.", most=most)
        return 0
    return int(typed)


def _budget(view: View, typed: str, wrong: dict[str, str]) -> int | None:
    if not typed:
        return None
    try:
        return terms.dollars(typed)
    except InvalidRequest:
        wrong["budget"] = view.say("Write US dollars such as 25 or 0.50, or nothing for no budget.")
        return None


def _addresses(view: View, typed: str, wrong: dict[str, str]) -> tuple[str, ...] | None:
    found = [word for word in _BETWEEN.split(typed) if word]
    if len(found) > terms.MAX_WORDS:
        wrong["addresses"] = view.say("At most {most} addresses are possible.", most=terms.MAX_WORDS)
    for word in found:
        try:
            ipaddress.ip_network(word, strict=False)
        except ValueError:
            wrong["addresses"] = view.say(
                "“{word}” is no IP address, and no network such as 10.0.0.0/8.", word=word[:60]
            )
            break
    return tuple(found) or None
