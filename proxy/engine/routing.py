"""Which channels may make a video: all that serve the model, or the one that the video is pinned to (P3)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from proxy.channels import LiveChannel
from proxy.engine.core import Core
from proxy.engine.limits import Settled, check_inputs, check_metadata, settle
from proxy.engine.requests import Placement, offer_of
from proxy.errors import (
    ApiError,
    ChannelUnavailable,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    RemixUnsupported,
    UnsupportedOperation,
    VideoFailed,
    VideoNotCompleted,
    VideoNotFound,
)
from proxy.plans import Offer
from proxy.records import Ask, Character, Key, KeyLimits, Upload, Video

DEFAULT_MODEL = "sora-2"


@dataclass(frozen=True, slots=True)
class Route:
    """The placements of an ask, the best first. `source` is the video it starts from; `reimagine` says that it is made
    by a new creation from the source's first frame; `characters` are the pinned channel's ids. `named` is the channel
    that the request itself named; `excluded` says why other channels that serve the model are not asked."""

    placements: tuple[Placement, ...]
    source: Video | None = None
    reimagine: bool = False
    characters: tuple[str, ...] = ()
    named: str | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)

    @property
    def because(self) -> str:
        """Why no channel but these may make it."""
        if self.source is not None:
            return "pinned by the video that it starts from"
        if self.characters:
            return "pinned by its characters"
        return "named by the request" if self.named is not None else ""


async def route(core: Core, ask: Ask, key: Key) -> Route:
    """Hold an ask against the channels; an `ApiError` says why none may make it. Nothing is stored or sent."""
    named = _named(core, ask, key)
    way = await _route(core, ask, key, named)
    if named is not None and named != way.placements[0].live.name:
        raise InvalidRequest(
            f"This video can only be made by the channel of what it starts from, not by '{named}'. Leave 'channel' "
            "out.",
            param="metadata.channel",
        )
    return replace(way, named=named)


def _named(core: Core, ask: Ask, key: Key) -> str | None:
    """The channel that the request names, where its key may."""
    where = "metadata.channel" if "channel" in (ask.metadata or {}) else "channel"
    name = (ask.metadata or {}).get("channel", ask.extra.get("channel"))
    if name is None:
        return None
    if not (key.admin or key.chooses_channel):
        raise InvalidRequest(
            f"'{where}' names the channel that shall make the video, which this API key may not do. Leave it out, or "
            "ask the operator for a key that may.",
            param=where,
        )
    if not isinstance(name, str) or core.channels.get(name) is None:
        raise InvalidRequest(f"There is no channel called {str(name)[:80]!r} here.", param=where)
    return name


async def _route(core: Core, ask: Ask, key: Key, named: str | None) -> Route:
    if ask.source_id is not None:
        return await _follow(core, ask, key, ask.source_id)
    if ask.characters:
        return await _with_characters(core, ask, key)
    if ask.kind == "create":
        model = ask.model or DEFAULT_MODEL
        serving = [(live, live.offers[model]) for live in core.channels if model in live.offers]
        serving = [(live, offer) for live, offer in serving if key.limits.allows(model, live.name)]
        if not serving:
            raise _no_model(ask.model)
        serving = [(live, offer) for live, offer in serving if named in (None, live.name)]
        if not serving:
            raise InvalidRequest(f"The channel '{named}' does not serve the model '{model}'.", param="metadata.channel")
    else:
        may = key.limits.allows
        if ask.model is not None and not any(
            ask.model in live.offers and may(ask.model, live.name) for live in core.channels
        ):
            raise _no_model(ask.model)
        serving = [
            (live, offer)
            for live in core.channels
            if (offer := _first_offer(live, ask.kind, ask.model, key.limits)) is not None
        ]
        serving = [(live, offer) for live, offer in serving if named in (None, live.name)]
        if not serving:
            by = "" if ask.model is None else f" with the model '{ask.model}'"
            raise UnsupportedOperation(f"No channel here can {ask.kind} an uploaded video{by}.", param="video")
    enabled = [(live, offer) for live, offer in serving if live.enabled]
    if not enabled:
        raise ChannelUnavailable("Every channel that serves this model is switched off.")
    found, refusals = placements(ask, enabled)
    if not found:
        raise next(iter(refusals.values()))
    excluded = {live.name: "switched off" for live, _ in serving if not live.enabled}
    excluded |= {name: error.message for name, error in refusals.items()}
    return Route(tuple(ranked(found)), excluded=excluded)


def placements(ask: Ask, serving: Iterable[tuple[LiveChannel, Offer]]) -> tuple[list[Placement], dict[str, ApiError]]:
    """Those of `serving` whose limits the ask keeps, and why the others would refuse it, by their names."""
    found: list[Placement] = []
    refusals: dict[str, ApiError] = {}
    for live, offer in serving:
        try:
            check_inputs(ask, offer.public, offer.limits)
            check_metadata(ask, live.channel.priced_metadata, live.entry.allow_metadata)
            settled = settle(ask.seconds, ask.size, offer.limits, live.entry.mapping, ask.kind)
            found.append(Placement(live, offer, settled))
        except ApiError as error:
            refusals[live.name] = error
    return found, refusals


def waiting_placements(core: Core, video: Video) -> tuple[list[Placement], dict[str, str]]:
    """The placements of a video that waits, the best first, as the channels are now; and why others are none."""
    if (pin := pin_of(video)) is not None:
        live = core.channels.get(pin)
        if live is None or not live.enabled:
            return [], {pin: "not in the file" if live is None else "switched off"}
        if video.kind != "create" or video.order.characters:
            offer = offer_of(live, video)
            return [Placement(live, offer, Settled(video.seconds, video.size))], {}
    serving = [(live, live.offers[video.model]) for live in core.channels if video.model in live.offers]
    serving = [(live, offer) for live, offer in serving if live.enabled and pin in (None, live.name)]
    order = video.order
    if (mine := order.channels) is not None:
        serving = [(live, offer) for live, offer in serving if live.name in mine]
    # What it was accepted with holds for a channel that came or changed since, too.
    ask = Ask(
        kind="create",
        prompt="",
        fingerprint=b"",
        seconds=video.seconds,
        size=video.size,
        images=(Upload(param="input_reference"),) * len(order.images),
        last_frame=None if order.last_frame is None else Upload(param="last_frame"),
        audio=order.audio,
        metadata=order.metadata,
    )
    found, refusals = placements(ask, serving)
    reasons = {name: error.message for name, error in refusals.items()}
    reasons |= {
        one.live.name: f"it does not make what was accepted any more: {one.settled.adjusted}"
        for one in found
        if one.settled.adjusted is not None
    }
    return ranked([one for one in found if one.live.name not in reasons]), reasons


def pin_of(video: Video) -> str | None:
    """The only channel that may make a video that waits: that of what it starts from, or the one it was asked for."""
    if video.kind != "create" or video.order.characters:
        return video.channel
    return video.order.channel


def ranked(found: list[Placement], chance: random.Random = random.Random()) -> list[Placement]:  # noqa: B008, S311
    """Higher priority first; within one priority a draw without replacement by weight."""

    # Sorting by an exponential lot over the weight draws without replacement, in proportion to the weights.
    def place(placement: Placement) -> tuple[int, float]:
        entry = placement.live.entry
        return -entry.priority, chance.expovariate(1.0) / entry.weight

    return sorted(found, key=place)


def pinned_channel(core: Core, name: str) -> LiveChannel:
    """The channel that a video is pinned to, to ask it for something new."""
    live = core.channels.get(name)
    if live is None:
        raise ChannelUnavailable("The channel that made this video is no longer configured.")
    if not live.enabled:
        raise ChannelUnavailable("The channel that made this video is switched off.")
    return live


async def _follow(core: Core, ask: Ask, key: Key, source_id: str) -> Route:
    source = await core.newest(source_id)
    if source is None or source.tenant != key.tenant or not source.listed:
        raise VideoNotFound(f"Video with id '{source_id}' not found.")
    if source.status == "failed":
        raise VideoFailed(f"Video with id '{source_id}' failed; only a completed video can be used here.")
    if source.status != "completed":
        raise VideoNotCompleted(f"Video with id '{source_id}' is not completed yet; try again when it is.")
    live = pinned_channel(core, source.channel)
    offer = offer_of(live, source)
    if ask.model is not None and ask.model != source.model:
        other = live.offers.get(ask.model)
        if other is None:
            raise InvalidRequest(
                f"The model '{ask.model}' is not served by the channel that made this video. Leave 'model' out.",
                param="model",
            )
        offer = other
    _check_allowed(key, offer, live)
    way = live.way(ask.kind, offer)
    if way is None:
        raise _cannot(ask.kind)
    check_metadata(ask, live.channel.priced_metadata, live.entry.allow_metadata)
    check_inputs(ask, offer.public, offer.limits)
    settled = settled_after(source, ask, offer, way, live.entry.mapping)
    return Route((Placement(live, offer, settled),), source=source, reimagine=way == "reimagine")


def settled_after(source: Video, ask: Ask, offer: Offer, way: str, mapping: Literal["strict", "nearest"]) -> Settled:
    """The seconds and the size of what starts from `source`. Its size, and but for an extension its length, are the
    source's: no client can ask for others, so that limits which changed since are not held against them."""
    limits = offer.limits
    if offer.public != source.model:
        try:
            one = replace(limits, seconds=()) if ask.kind == "extend" else limits
            kept = settle(source.seconds, source.size, one, mapping)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"The model '{offer.public}' cannot make a video of the source's {error.param}. {error.message} "
                "Choose another model, or leave 'model' out.",
                param="model",
            ) from None
    elif way == "reimagine":
        # It is a new video. A stitched whole is longer than any that its model makes.
        kept = settle(source.seconds, source.size, limits, "nearest")
    else:
        kept = Settled(source.seconds, source.size)
    if ask.kind != "extend":
        return kept
    added = settle(ask.seconds, None, limits, mapping, "extend")
    moved = "; ".join(word for word in (added.adjusted, kept.adjusted) if word) or None
    return Settled(added.seconds, kept.size, moved)


def _no_model(named: str | None) -> ModelNotFound:
    if named is None:
        return ModelNotFound(
            f"No model was named, and the one that stands in then, '{DEFAULT_MODEL}', is not served here. Name one of "
            "those that GET /v1/models lists.",
            param="model",
        )
    return ModelNotFound(f"The model '{named}' does not exist or you do not have access to it.", param="model")


def _cannot(kind: str) -> ApiError:
    if kind == "remix":
        return RemixUnsupported("The channel that made this video cannot remix it.")
    return UnsupportedOperation(f"The channel that made this video cannot {kind} it.")


async def _with_characters(core: Core, ask: Ask, key: Key) -> Route:
    characters: list[Character] = []
    for character_id in ask.characters:
        character = await core.store.character(character_id)
        if character is None or character.tenant != key.tenant:
            raise InvalidRequest(f"Character with id '{character_id}' not found.", param="characters")
        characters.append(character)
    names = {character.channel for character in characters}
    if len(names) > 1:
        raise InvalidRequest(
            "These characters live at different channels and cannot appear together.", param="characters"
        )
    live = pinned_channel(core, names.pop())
    model = ask.model or (DEFAULT_MODEL if DEFAULT_MODEL in live.offers else next(iter(live.offers)))
    offer = live.offers.get(model)
    if offer is None:
        raise InvalidRequest(f"The model '{model}' is not served by the channel of these characters.", param="model")
    _check_allowed(key, offer, live)
    found, refusals = placements(ask, [(live, offer)])
    if not found:
        raise refusals[live.name]
    return Route(tuple(found), characters=tuple(character.upstream_id for character in characters))


def _check_allowed(key: Key, offer: Offer, live: LiveChannel) -> None:
    if not key.limits.allows(offer.public, live.name):
        raise Forbidden(
            f"This API key may not use the model '{offer.public}' of the only channel that can do this. Ask the "
            "operator for a key that may."
        )


def _first_offer(live: LiveChannel, kind: str, model: str | None, limits: KeyLimits) -> Offer | None:
    """What the channel would do `kind` with for a key of these limits: `model`, or the first that can."""
    able = {
        name: offer
        for name, offer in live.offers.items()
        if live.native(kind, offer) and limits.allows(name, live.name)
    }
    if model is not None:
        return able.get(model)
    return able.get(DEFAULT_MODEL) or next(iter(able.values()), None)
