"""What the model lists show: one card for each public model, over all channels that serve it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from proxy.channels import LiveChannel
from proxy.engine.limits import default_seconds, default_size
from proxy.plans import Offer


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A public model: empty `seconds` or `sizes` mean that only their form is checked; prices are in US dollars, and
    `prices` says which videos have another one: see `Model`."""

    name: str
    created: int
    owned_by: str
    seconds: tuple[int, ...]
    sizes: tuple[str, ...]
    default_seconds: int
    default_size: str
    image: bool
    max_images: int | None
    last_frame: bool
    audio: bool | None
    remix: bool
    edit: bool
    extend: bool
    extend_seconds: tuple[int, ...]
    price_per_second: float | None
    prices: Mapping[str, float]


def cards(
    channels: Iterable[LiveChannel], *, created: int, may: Callable[[str, str], bool] = lambda model, channel: True
) -> list[ModelCard]:
    """The cards of all models that an enabled channel serves, and that one `may` use (the public name, the channel's),
    by name; the first such channel describes a model."""
    found: dict[str, ModelCard] = {}
    for live in channels:
        if not live.enabled:
            continue
        for offer in live.offers.values():
            if offer.public not in found and may(offer.public, live.name):
                found[offer.public] = _card(live, offer, created)
    return sorted(found.values(), key=lambda card: card.name)


def _card(live: LiveChannel, offer: Offer, created: int) -> ModelCard:
    limits = offer.limits
    extends = live.way("extend", offer) is not None
    return ModelCard(
        name=offer.public,
        created=created,
        owned_by="reelgate",
        seconds=limits.seconds,
        sizes=limits.sizes,
        default_seconds=default_seconds(limits),
        default_size=default_size(limits),
        image=limits.image,
        max_images=limits.max_images if limits.image else 0,
        last_frame=limits.last_frame,
        audio=limits.audio,
        remix=live.way("remix", offer) is not None,
        edit=live.way("edit", offer) is not None,
        extend=extends,
        extend_seconds=limits.lengths("extend") if extends else (),
        price_per_second=limits.price,
        prices=limits.prices,
    )
