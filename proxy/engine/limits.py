"""What a model can do, held against what was asked, before anything is stored or paid (P8)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Literal, NamedTuple

from proxy import money
from proxy.errors import InvalidRequest, UnsupportedOperation
from proxy.models import COMMON_RATIOS, RATIO_PATTERN, SIZE_PATTERN, Kind, Model
from proxy.records import Ask, StoredInput

DEFAULT_SECONDS = 4
DEFAULT_SIZE = "720x1280"
"""OpenAI's own defaults, for a model that declares none."""
A_FRAME = 0.05
"""Seconds, at 20 frames a second."""
LEAST_SIDE = 16
"""Pixels: a size is written with two digits at least."""
NEARLY = 0.025
"""How far, as a logarithm, a size may be off the common ratio that it is called by."""


class Settled(NamedTuple):
    """What is ordered upstream: `size` is `WxH`. `adjusted` says what was asked where `mapping: nearest` moved it."""

    seconds: int
    size: str
    adjusted: str | None = None


def price_of(
    model: Model, settled: Settled, *, audio: bool | None, kind: Kind = "create", source_seconds: int | None = 0
) -> int | None:
    """The amount (see `proxy.money`) that what is ordered costs; None: not known. `source_seconds` is the length of the
    video that it starts from; None: nobody could measure it."""
    per_second = model.price_of(settled.size, audio=audio, kind=kind)
    whole = kind == "extend" and model.extend_bills_whole
    if per_second is None or (source_seconds is None and (whole or kind == "edit")):
        return None
    return money.price(per_second, settled.seconds + (source_seconds or 0 if whole else 0))


def settled_by(clip: StoredInput, settled: Settled, model: Model, kind: Kind) -> Settled:
    """What is ordered where `clip`, which a client sent in, is edited or extended: a video of the size nearest to it,
    and an edit as long as it is, but never shorter than the model makes any. `settled` again, where nobody could look
    at it."""
    if clip.seconds is None:
        return settled
    # Upstreams and prices know resolutions, and no 1918x1078.
    model = model if model.sizes else replace(model, sizes=_usual_sizes())
    size = settle(None, f"{max(clip.width, LEAST_SIDE)}x{max(clip.height, LEAST_SIDE)}", model, "nearest").size
    if kind == "extend":
        return Settled(settled.seconds, size, settled.adjusted)
    return Settled(max(whole_seconds(clip.seconds), min(model.seconds, default=0)), size, settled.adjusted)


def whole_seconds(length: float) -> int:
    """The seconds that a video of `length` seconds is billed as. A part of a frame is what a codec adds."""
    return max(1, math.ceil(length - A_FRAME))


def settle(
    seconds: int | None,
    size: str | None,
    model: Model,
    mapping: Literal["strict", "nearest"],
    kind: Kind = "create",
) -> Settled:
    """The legal values for `seconds` and `size` of a request of `kind`; an `InvalidRequest` with the legal ones where
    there are none."""
    moved = []
    wanted_seconds = default_seconds(model) if seconds is None else seconds
    lengths = model.lengths(kind)
    if lengths and wanted_seconds not in lengths:
        if mapping == "strict":
            raise InvalidRequest(
                f"Invalid value: '{wanted_seconds}'. Supported values are: {_words(lengths)}.", param="seconds"
            )
        moved.append(f"seconds={wanted_seconds}")
        # Of two that are equally near, the shorter one is the cheaper one.
        wanted_seconds = min(lengths, key=lambda legal: (abs(legal - wanted_seconds), legal))
    wanted_size = default_size(model) if size is None else _resolve(size, model)
    if wanted_size is None:
        if mapping == "strict":
            raise InvalidRequest(f"Invalid value: '{size}'. Supported values are: {_words(model.sizes)}.", param="size")
        moved.append(f"size={size}")
        wanted_size = _nearest_size(str(size), model.sizes)
    return Settled(wanted_seconds, wanted_size, "; ".join(moved) or None)


def default_seconds(model: Model) -> int:
    """The seconds that a request without any gets."""
    for wanted in (model.default_seconds, DEFAULT_SECONDS):
        if wanted is not None and (not model.seconds or wanted in model.seconds):
            return wanted
    return model.seconds[0]


def default_size(model: Model) -> str:
    """The size, `WxH`, that a request without any gets."""
    word = model.default_size
    if word is None or (model.sizes and word not in model.sizes):
        word = model.sizes[0] if model.sizes else DEFAULT_SIZE
    return word if SIZE_PATTERN.fullmatch(word) else _pixels_of(word)


def check_inputs(ask: Ask, name: str, model: Model) -> None:
    """Refuse inputs that the model, publicly called `name`, does not take."""
    if ask.images and not model.image:
        raise UnsupportedOperation(f"The model '{name}' takes no input image.", param=ask.images[0].param)
    if model.max_images is not None and len(ask.images) > model.max_images:
        raise InvalidRequest(
            f"The model '{name}' takes {_at_most(model.max_images)}, and there are {len(ask.images)}.",
            param=ask.images[model.max_images].param,
        )
    if ask.last_frame is not None and not model.last_frame:
        raise UnsupportedOperation(
            f"The model '{name}' takes no picture for the end of the video. Leave 'last_frame' out, or choose another "
            "model.",
            param=ask.last_frame.param,
        )
    if ask.audio and model.audio is False:
        raise UnsupportedOperation(f"The model '{name}' makes no sound.", param="audio")


def check_count(ask: Ask, most: int) -> None:
    """Refuse more pictures, the last frame among them, than one request may have here."""
    given = ask.images if ask.last_frame is None else (*ask.images, ask.last_frame)
    if len(given) > most:
        raise InvalidRequest(
            f"Too many pictures: one request may have {_at_most(most)}, and there are {len(given)}.",
            param=given[most].param,
        )


def _at_most(count: int) -> str:
    return "at most 1 input picture" if count == 1 else f"at most {count} input pictures"


def merged_metadata(ask: Ask) -> dict[str, Any]:
    """The metadata and the unknown top-level fields, as they may be merged into an upstream body."""
    merged = {**ask.extra, **(ask.metadata or {})}
    merged.pop("channel", None)
    return merged


def check_metadata(ask: Ask, priced: Collection[str], allowed: Collection[str]) -> None:
    """Refuse keys, at any depth, that change the price and that the operator did not allow."""
    for where, key in _keys(ask.metadata or {}, "metadata."):
        _check_key(where, key, priced, allowed)
    for where, key in _keys(ask.extra, ""):
        _check_key(where, key, priced, allowed)


def _check_key(where: str, key: str, priced: Collection[str], allowed: Collection[str]) -> None:
    if key.lower() in priced and key not in allowed:
        raise InvalidRequest(
            f"'{where}' may change the price and is not allowed here. Leave it out, or ask the operator to list it "
            "in allow_metadata.",
            param=where,
        )


def _keys(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    # Not recursive: how deep a client's object nests is the client's choice.
    todo: list[tuple[str, Any]] = [(prefix, value)]
    while todo:
        where, found = todo.pop()
        if isinstance(found, Mapping):
            for key, inner in found.items():
                yield f"{where}{key}", str(key)
                todo.append((f"{where}{key}.", inner))
        elif isinstance(found, list):
            todo.extend((where, inner) for inner in found)


def _words(values: Collection[object]) -> str:
    words = [f"'{value}'" for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, and {words[-1]}"


def _resolve(size: str, model: Model) -> str | None:
    """`size` as `WxH` where the model can make it, else None."""
    ratio = RATIO_PATTERN.fullmatch(size)
    if not model.sizes:
        return _pixels_of(size) if ratio else size
    if size in model.sizes:
        return _pixels_of(size) if ratio else size
    shape = _shape(size)
    if ratio is None:
        # The pixels that a ratio became may be a little off it, such as 1338x720 for 13:7.
        words = [word for word in model.sizes if RATIO_PATTERN.fullmatch(word)]
        return size if any(_shape(word) == shape or _pixels_of(word) == size for word in words) else None
    pixels = [word for word in model.sizes if SIZE_PATTERN.fullmatch(word)]
    same_shape = [word for word in pixels if _shape(word) == shape]
    if not same_shape and size in COMMON_RATIOS:
        # Providers call a size by the common ratio that it is nearly of, such as 864x496 by 16:9.
        same_shape = [word for word in pixels if abs(math.log(_ratio(word) / COMMON_RATIOS[size])) < NEARLY]
    return min(same_shape, key=lambda word: abs(min(_sides(word)) - 720), default=None)


def _nearest_size(size: str, sizes: Collection[str]) -> str:
    wide, high = _sides(size if SIZE_PATTERN.fullmatch(size) else _pixels_of(size))

    def distance(word: str) -> tuple[float, float]:
        width, height = _sides(_pixels_of(word) if RATIO_PATTERN.fullmatch(word) else word)
        return (
            round(abs(math.log(width / height) - math.log(wide / high)), 6),
            abs(math.log(width * height) - math.log(wide * high)),
        )

    word = min(sizes, key=distance)
    return _pixels_of(word) if RATIO_PATTERN.fullmatch(word) else word


@cache
def _usual_sizes() -> tuple[str, ...]:
    return tuple(_pixels_of(ratio, short) for short in (720, 1080, 2160) for ratio in COMMON_RATIOS)


def _pixels_of(ratio: str, short: int = 720) -> str:
    """A ratio word at `short` pixels on the short side, both sides even."""
    across, down = (int(part) for part in ratio.split(":"))
    scale = short / min(across, down)
    return f"{round(across * scale / 2) * 2}x{round(down * scale / 2) * 2}"


def _sides(size: str) -> tuple[int, int]:
    width, height = size.split("x")
    return int(width), int(height)


def _ratio(size: str) -> float:
    width, height = _sides(size)
    return width / height


def _shape(word: str) -> tuple[int, int]:
    across, down = (int(part) for part in word.replace("x", ":").split(":"))
    divisor = math.gcd(across, down)
    return across // divisor, down // divisor
