"""What `reelgate plugins test --live` would order, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy import config as configuration
from proxy import money
from proxy.config import Config
from proxy.engine.limits import Settled, default_size, price_of, settle
from proxy.errors import UnsupportedOperation
from proxy.models import Kind, Model
from proxy.plans import Offer, Plan
from proxy.upstream.redact import Redactor

NAMES: Final[dict[Kind, str]] = {
    "create": "a new video",
    "remix": "a remix",
    "edit": "an edit",
    "extend": "an extension",
}
"""What an order of each kind is called."""


@dataclass(frozen=True, slots=True)
class Order:
    """A new video of `offer`, and then whatever else is in `settled`, each from that video. `config` has the one entry
    that `plan` was made from."""

    config: Config
    plan: Plan
    offer: Offer
    settled: dict[Kind, Settled]

    def price(self, kind: Kind) -> int | None:
        """The amount (see `proxy.money`) that it costs, None where nobody says."""
        source = self.settled["create"].seconds
        return price_of(self.offer.limits, self.settled[kind], audio=None, kind=kind, source_seconds=source)

    def bill(self) -> list[str]:
        """The order in words, line by line, with what it costs."""
        address = self.plan.options.base_url or self.plan.cls.address(self.plan.options)
        origin = Redactor(configuration.secrets(self.config)).secrets(address)
        lines = [f"This orders from {origin}, on the account of channel {self.plan.entry.name}:"]
        if not self.plan.entry.enabled:
            lines.insert(
                0, f"Channel {self.plan.entry.name} is switched off (enabled: false), for clients and not for this."
            )
        lines += [
            f"  {self._said(kind)}, with the model {self.offer.upstream}: {self._cost(kind)}" for kind in self.settled
        ]
        known = [cost for kind in self.settled if (cost := self.price(kind)) is not None]
        if len(known) < len(self.settled):
            lines.append("Neither the plugin nor the entry says that price: look at the provider's list first.")
        elif len(known) > 1:
            lines.append(f"In all ${money.shown(sum(known))}.")
        return lines

    def _said(self, kind: Kind) -> str:
        seconds, size, _ = self.settled[kind]
        if kind == "create":
            return f"a video of {seconds} s, {size}"
        return f"{NAMES[kind]} of it by {seconds} s" if kind == "extend" else f"{NAMES[kind]} of it"

    def _cost(self, kind: Kind) -> str:
        cost = self.price(kind)
        if cost is None:
            return "price not known"
        rate = self.offer.limits.price_of(self.settled[kind].size, kind=kind)
        return f"${money.shown(cost)} (${rate:g} a second)"


def ordered(config: Config, plan: Plan, *, model: str | None, further: Sequence[Kind]) -> Order:
    """The cheapest order among the entry's models, or of the public `model`, with a `further` order of each kind from
    it. Raises an `UnsupportedOperation` for a model that there is not, and for what the plugin does not do itself."""
    name = plan.entry.name
    offers = [offer for offer in plan.offers.values() if model in (None, offer.public)]
    if not offers:
        raise UnsupportedOperation(f"Channel {name} has no model {model!r}; it has {', '.join(plan.offers) or 'none'}.")
    offers = [offer for offer in offers if all(plan.cls.can(kind) and offer.native(kind) for kind in further)]
    if not offers:
        raise UnsupportedOperation(f"Channel {name} has no model that its upstream can {' and '.join(further)} itself.")
    offer = min(offers, key=lambda one: _rank(one.limits, _cheapest(one.limits)))
    first = _cheapest(offer.limits)
    settled: dict[Kind, Settled] = {"create": first}
    for kind in further:
        longer = min(offer.limits.lengths(kind), default=first.seconds)
        settled[kind] = Settled(longer if kind == "extend" else first.seconds, first.size)
    return Order(config, plan, offer, settled)


def _cheapest(limits: Model) -> Settled:
    """The shortest video, of the size that costs least."""
    seconds = min(limits.seconds, default=None)
    choices = [settle(seconds, size, limits, "strict") for size in limits.sizes or (default_size(limits),)]
    return min(choices, key=lambda settled: _rank(limits, settled))


def _rank(limits: Model, settled: Settled) -> tuple[bool, int, int]:
    """Cheapest first, then smallest; what has no price comes last."""
    cost = price_of(limits, settled, audio=None)
    width, height = (int(side) for side in settled.size.split("x"))
    return cost is None, cost or 0, width * height * settled.seconds
