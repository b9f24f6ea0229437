"""What can be made from a finished video, and what that would cost: for pages that offer it."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy import money
from proxy.engine.core import Core
from proxy.engine.limits import default_seconds
from proxy.engine.requests import offer_of
from proxy.engine.routing import settled_after
from proxy.errors import InvalidRequest
from proxy.models import Kind
from proxy.records import Ask, Video

KINDS: Final[tuple[Kind, ...]] = ("remix", "edit", "extend")


class FollowUp(NamedTuple):
    """One of remix, edit and extend. It is billed for `seconds`, at US dollars `per_second` (None: not known); an
    extension may have any of `choices` instead (empty: any number). `further` seconds are billed beside, where an
    extension is billed with what it extends."""

    kind: Kind
    seconds: int
    per_second: float | None
    choices: tuple[int, ...] = ()
    further: int = 0

    @property
    def price(self) -> int | None:
        """The amount (see `proxy.money`) that it costs."""
        return None if self.per_second is None else money.price(self.per_second, self.seconds + self.further)


def follow_ups(core: Core, video: Video) -> list[FollowUp]:
    """What the channel that made `video` would make from it now; nothing where it is not there or switched off."""
    live = core.channels.get(video.channel)
    if live is None or not live.enabled or video.status != "completed" or not video.listed:
        return []
    offer = offer_of(live, video)
    limits = offer.limits
    found = []
    for kind in KINDS:
        way = live.way(kind, offer)
        if way is None:
            continue
        choices = limits.lengths("extend") if kind == "extend" else ()
        usual = default_seconds(limits)
        seconds = choices[0] if choices and usual not in choices else usual
        ask = Ask(kind=kind, prompt="", fingerprint=b"", seconds=seconds)
        try:
            settled = settled_after(video, ask, offer, way, live.entry.mapping)
        except InvalidRequest:
            continue
        priced: Kind = "create" if way == "reimagine" else kind
        per_second = limits.price_of(settled.size, audio=video.order.audio, kind=priced)
        further = video.seconds if kind == "extend" and limits.extend_bills_whole else 0
        found.append(FollowUp(kind, settled.seconds, per_second, choices, further))
    return found
