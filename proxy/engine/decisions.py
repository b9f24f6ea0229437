"""Why an attempt went to its channel and not to another: kept with the attempt, for the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proxy.engine.core import Core
from proxy.engine.requests import Placement


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """The chosen channel, why it, and why each of the others not, by their names."""

    chosen: str
    because: str
    others: Mapping[str, str] = {}


def explain(
    core: Core,
    chosen: Placement,
    ranked: Sequence[Placement],
    *,
    because: str = "",
    excluded: Mapping[str, str] | None = None,
) -> str:
    """The decision for `chosen` out of `ranked`, as JSON. `because` is a reason beyond priority and weight; `excluded`
    says why channels that are not among `ranked` could not make the video. For the moment of the choice: whether a
    channel has room changes."""
    others = dict(excluded or {})
    entry = chosen.live.entry
    seen = False
    for placement in ranked:
        other = placement.live
        if other.name == chosen.live.name:
            seen = True
        elif seen or (why := core.why_not(other)) is None:
            others[other.name] = _ranked_lower(placement, chosen)
        else:
            others[other.name] = why
    if not because:
        rivals = [placement for placement in ranked if placement.live.entry.priority == entry.priority]
        if len(ranked) == 1:
            because = "the only channel that may make it"
        elif len(rivals) == 1:
            because = f"priority {entry.priority}"
        else:
            weights = sum(placement.live.entry.weight for placement in rivals)
            because = f"drawn by weight {entry.weight} of {weights} within priority {entry.priority}"
    return msgspec.json.encode(Decision(chosen.live.name, because, others)).decode()


def _ranked_lower(placement: Placement, chosen: Placement) -> str:
    priority = placement.live.entry.priority
    if priority < chosen.live.entry.priority:
        return f"its priority is lower ({priority})"
    return "comes after it in this draw"
