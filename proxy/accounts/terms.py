"""What people write of a key's limits -> `KeyLimits`: the command line, the admin API and the dashboard alike.

Every `InvalidRequest` names in `param` the word of the admin API for what is wrong.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from proxy import money
from proxy.errors import InvalidRequest
from proxy.records import KeyLimits, Period

PERIODS: Final[tuple[Period, ...]] = ("day", "month", "total")
MAX_WORDS: Final = 200
"""Models, channels or networks that a key may name."""
MAX_WORD: Final = 256
MAX_PER_MINUTE: Final = 1_000_000
MAX_RUNNING: Final = 1_000_000
MAX_BUDGET: Final = 1_000_000_000
"""US dollars."""
LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""

_AHEAD: Final = re.compile(r"([1-9][0-9]{0,5})\s*([mhdw])", re.ASCII)
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_WORDS: Final = re.compile(r"[,\r\n]")
_NUMBER: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_DOLLARS: Final = re.compile(r"\$?\s*([0-9]{1,10}(?:\.[0-9]{1,9})?)", re.ASCII)


def read(
    *,
    models: str = "",
    channels: str = "",
    expires: str = "",
    requests_per_minute: str = "",
    max_running: str = "",
    budget: str = "",
    period: str = "",
    addresses: str = "",
    now: float | None = None,
) -> KeyLimits:
    """The limits that these texts mean, as a form or an option has them; an empty one is no limit.

    Lists have commas or line ends between their words; `expires` is `30d`, `2027-01-31` (its end, UTC) or unix seconds;
    `budget` is in US dollars. `InvalidRequest` where one of them means nothing.
    """
    at = time.time() if now is None else now
    limits = KeyLimits(
        models=_words(models),
        channels=_words(channels),
        expires_at=expiry(expires, now=at) if expires.strip() else None,
        requests_per_minute=_number(requests_per_minute, "requests_per_minute"),
        running=_number(max_running, "max_running"),
        budget=dollars(budget) if budget.strip() else None,
        period=period_of(period.strip() or "total"),
        addresses=_words(addresses),
    )
    return checked(limits, now=at)


def checked(limits: KeyLimits, *, now: float, before: KeyLimits | None = None) -> KeyLimits:
    """The limits in their one form, networks as networks and nothing twice. `InvalidRequest` where a key cannot have
    them; one that it had `before` may have run out meanwhile."""
    models = _named(limits.models, "allowed_models")
    channels = _named(limits.channels, "allowed_channels")
    _within(limits.requests_per_minute, MAX_PER_MINUTE, "requests_per_minute")
    _within(limits.running, MAX_RUNNING, "max_running")
    if limits.budget is not None and not 0 <= limits.budget <= MAX_BUDGET * money.NANO:
        raise InvalidRequest(f"Invalid 'budget': it must be between $0 and ${MAX_BUDGET}.", param="budget")
    expires = limits.expires_at
    if expires is not None and (before is None or before.expires_at != expires) and not now < expires <= LATEST:
        raise InvalidRequest(
            "Invalid 'expires_at': it must be a moment to come (unix seconds). To end a key now, revoke it.",
            param="expires_at",
        )
    return KeyLimits(
        models=models,
        channels=channels,
        expires_at=expires,
        requests_per_minute=limits.requests_per_minute,
        running=limits.running,
        budget=limits.budget,
        period="total" if limits.budget is None else limits.period,
        addresses=_networks(limits.addresses),
    )


def unknown(limits: KeyLimits, *, models: Iterable[str], channels: Iterable[str]) -> list[str]:
    """A sentence for each model and channel that the limits name and that is not there now: they may come later."""
    told = []
    for noun, named, there in (("model", limits.models, set(models)), ("channel", limits.channels, set(channels))):
        told += [f"The {noun} '{name}' is not there now." for name in named or () if name not in there]
    return told


def expiry(text: str, *, now: float) -> int:
    """The unix seconds of `30d` (or m, h, w) from now, of the end of a day `2027-01-31` (UTC), or of themselves."""
    word = text.strip()
    if (ahead := _AHEAD.fullmatch(word)) is not None:
        return int(now) + int(ahead[1]) * _UNITS[ahead[2]]
    if _NUMBER.fullmatch(word) is not None:
        return int(word)
    try:
        day = datetime.fromisoformat(word)
        if day.tzinfo is None:
            day = day.replace(tzinfo=UTC)
        seconds = int(day.timestamp())
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"Invalid 'expires_at': '{_shown(word)}' is no time. Write '30d', '2027-01-31' or unix seconds.",
            param="expires_at",
        ) from None
    # A day alone means all of it.
    return seconds + 86_400 if len(word) == len("2027-01-31") else seconds


def dollars(value: str | float | Decimal) -> int:
    """The amount (see `proxy.money`) of a budget in US dollars; of a text, `5`, `0.50` or `$5`."""
    try:
        if isinstance(value, str):
            found = _DOLLARS.fullmatch(value.strip())
            exact = Decimal(found[1]) if found is not None else Decimal("NaN")
        else:
            exact = Decimal(str(value))
        if exact.is_finite() and 0 <= exact <= MAX_BUDGET:
            return money.amount(exact)
    except InvalidOperation:
        pass
    raise InvalidRequest(
        f"Invalid 'budget': '{_shown(str(value))}' is no amount of US dollars between 0 and {MAX_BUDGET}.",
        param="budget",
    )


def period_of(word: str) -> Period:
    """The period of that name."""
    for known in PERIODS:
        if word == known:
            return known
    raise InvalidRequest(
        f"Invalid 'budget': its period is 'day', 'month' or 'total', not '{_shown(word)}'.", param="budget"
    )


def _words(text: str) -> tuple[str, ...] | None:
    return tuple(word.strip() for word in _WORDS.split(text) if word.strip()) or None


def _number(text: str, param: str) -> int:
    word = text.strip()
    if not word:
        return 0
    if _NUMBER.fullmatch(word) is None:
        raise InvalidRequest(f"Invalid '{param}': '{_shown(word)}' is no whole number.", param=param)
    return int(word)


def _within(number: int, most: int, param: str) -> None:
    if not 0 <= number <= most:
        raise InvalidRequest(f"Invalid '{param}': it must be between 1 and {most}, or 0 for no limit.", param=param)


def _named(names: tuple[str, ...] | None, param: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    _few(names, param)
    for name in names:
        if not name or len(name) > MAX_WORD or not name.isprintable():
            raise InvalidRequest(
                f"Invalid '{param}': '{_shown(name)}' is no name (1 to {MAX_WORD} printable characters).", param=param
            )
    return tuple(dict.fromkeys(names))


def _networks(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if texts is None:
        return None
    _few(texts, "allowed_addresses")
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[str(_network(text.strip()))] = None
        except ValueError:
            raise InvalidRequest(
                f"Invalid 'allowed_addresses': '{_shown(text)}' is no IP address and no network such as '10.0.0.0/8'.",
                param="allowed_addresses",
            ) from None
    return tuple(found)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "%" in text:
        raise ValueError(text)
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            # Addresses are compared as what they stand for.
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _few(words: tuple[str, ...], param: str) -> None:
    if not words:
        raise InvalidRequest(f"Invalid '{param}': it names nothing. Leave it out for no limit.", param=param)
    if len(words) > MAX_WORDS:
        raise InvalidRequest(f"Invalid '{param}': it may name {MAX_WORDS} at most.", param=param)


def _shown(text: str) -> str:
    cut = text[:60] + ("…" if len(text) > 60 else "")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
