"""The land of the demo channel's scenes: layers that scroll at different speeds, drawn once as masks."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from ._demo_colours import Colour, Palette, mix
from ._demo_words import dice

LANDS: Final = ("hills", "peaks", "city", "sea", "dunes", "forest")
_DEPTHS: Final = 4
_SPEEDS: Final = (0.0011, 0.0024, 0.0042, 0.0066)
"""Frame widths that a layer moves per frame at 24 frames per second, far to near."""

_REACH: Final = (0.16, 0.15, 0.13, 0.11)
"""Height of each layer's relief, in frame heights."""

Ridge = Callable[[float], float]


class Layer(NamedTuple):
    """One layer: its `mask` repeats after `period` pixels; `top` is its place in the frame; `step` its pixels per
    frame; `bob` the pixels that it heaves; `fill` is as wide as the frame; `lights` are lit windows."""

    mask: Image.Image
    fill: Image.Image
    lights: Image.Image | None
    lamp: Colour
    top: int
    period: int
    step: float
    bob: float


def gradient(top: Colour, bottom: Colour, width: int, height: int) -> Image.Image:
    """A picture that runs from `top` to `bottom`."""
    height = max(1, height)
    ramp = Image.linear_gradient("L").resize((1, height), Image.Resampling.BILINEAR)
    bands = [
        ramp.point([round(a + (b - a) * level / 255) for level in range(256)]) for a, b in zip(top, bottom, strict=True)
    ]
    return Image.merge("RGB", bands).resize((width, height))


def layers(
    land: str, seed: int, size: tuple[int, int], fps: int, colours: Palette, lit: bool
) -> tuple[list[Layer], Image.Image]:
    """The layers of `land`, far to near, and the still ground below the nearest, as wide as the frame."""
    width, height = size
    horizon = dice(seed, "horizon").uniform(0.54, 0.64)
    made: list[Layer] = []
    for depth in range(_DEPTHS):
        source = dice(seed, f"land:{depth}")
        crest = int(height * (horizon + 0.085 * depth))
        high = max(4, int(height * _REACH[depth] * (0.3 if land == "sea" else 1.0)))
        # The strip goes down to where the next layer, or the ground, is sure to cover it although both heave.
        tall = high + int(height * (0.15 if land == "sea" else 0.09)) + 3
        period = width * 2
        base = mix(colours.far, colours.near, depth / (_DEPTHS - 1))
        fill = gradient(base, base if depth == _DEPTHS - 1 else mix(base, colours.bottom, 0.35), width, tall)
        mask, lights = _drawn(land, source, depth, period, width, high, tall)
        step = _SPEEDS[depth] * width * 24 / fps
        made.append(
            Layer(
                mask=mask,
                fill=fill,
                lights=lights,
                lamp=mix(mix(colours.sun, (255, 214, 120), 0.6), base, 0.0 if lit else 0.55),
                top=crest - high,
                period=period,
                # Whole pixels move evenly; rounded fractions would stutter.
                step=float(round(step)) if step >= 0.75 else step,
                bob=height * 0.006 * (depth + 1) if land == "sea" else 0.0,
            )
        )
    last = made[-1]
    strip_end = last.top + last.mask.height
    ground = Image.new("RGB", (width, max(1, height - strip_end + int(height * 0.12))), colours.near)
    below = max(0, height - strip_end)
    ground.paste(gradient(colours.near, mix(colours.near, (0, 0, 0), 0.35), width, below), (0, ground.height - below))
    return made, ground


def _ridge(source: random.Random, waves: tuple[int, ...], roughness: float) -> Ridge:
    """A line of heights 0 to 1 that repeats after 1."""
    parts = [(wave, roughness**number, source.uniform(0, math.tau)) for number, wave in enumerate(waves)]
    total = sum(weight for _, weight, _ in parts)
    return lambda x: 0.5 + 0.5 * sum(w * math.sin(math.tau * n * x + turn) for n, w, turn in parts) / total


def _jagged(source: random.Random, points: int) -> Ridge:
    heights = [source.uniform(0.35, 1.0) if number % 2 else source.uniform(0.0, 0.45) for number in range(points)]
    places = sorted((number + source.uniform(-0.25, 0.25)) / points for number in range(points))
    corners = [(places[-1] - 1, heights[-1]), *zip(places, heights, strict=True), (places[0] + 1, heights[0])]

    def height(x: float) -> float:
        for (left, low), (right, high) in itertools.pairwise(corners):
            if left <= x <= right:
                return low + (high - low) * (x - left) / max(right - left, 1e-9)
        return heights[0]

    return height


def _crescent(source: random.Random, count: int) -> Ridge:
    turn = source.random()
    other = _ridge(source, (1, 2), 0.6)
    return lambda x: 0.55 * abs(math.sin(math.pi * (count * x + turn))) + 0.45 * other(x)


def _drawn(
    land: str, source: random.Random, depth: int, period: int, width: int, high: int, tall: int
) -> tuple[Image.Image, Image.Image | None]:
    scale = 2
    large = Image.new("L", (period * scale, tall * scale), 0)
    draw = ImageDraw.Draw(large)
    lights: Image.Image | None = None
    if land == "city":
        lights = Image.new("L", (period, tall), 0)
        _blocks(draw, ImageDraw.Draw(lights), source, depth, period, width, high, tall, scale)
    else:
        ridge: Ridge
        if land == "peaks":
            ridge = _jagged(source, (10, 14, 18, 24)[depth])
        elif land == "dunes":
            ridge = _crescent(source, (2, 3, 4, 4)[depth])
        elif land == "sea":
            ridge = _ridge(source, ((14, 22, 9), (12, 19, 7), (9, 15, 5), (6, 11, 4))[depth], 0.6)
        else:
            ridge = _ridge(source, ((2, 5, 9), (2, 3, 7), (1, 3, 5), (1, 2, 4))[depth], 0.55)
        low = 0.55 if land == "forest" else 0.0
        _slope(draw, ridge, period, high, tall, scale, low)
        if land == "forest":
            _trees(draw, ridge, source, depth, period, high, scale, low)
    mask = _repeated(large.reduce(scale), width)
    return mask, None if lights is None else _repeated(lights, width)


def _repeated(tile: Image.Image, more: int) -> Image.Image:
    whole = Image.new("L", (tile.width + more, tile.height))
    whole.paste(tile, (0, 0))
    whole.paste(tile.crop((0, 0, more, tile.height)), (tile.width, 0))
    return whole


def _slope(draw: ImageDraw.ImageDraw, ridge: Ridge, period: int, high: int, tall: int, scale: int, low: float) -> None:
    step = max(1, period // 720)
    line = [
        (x * scale, scale * high * (low + (1 - low) * (1 - ridge(x % period / period))))
        for x in range(0, period + step, step)
    ]
    draw.polygon([(0, tall * scale), *line, (period * scale, tall * scale)], fill=255)


def _trees(
    draw: ImageDraw.ImageDraw,
    ridge: Ridge,
    source: random.Random,
    depth: int,
    period: int,
    high: int,
    scale: int,
    low: float,
) -> None:
    gap = high * (0.10, 0.13, 0.18, 0.26)[depth]
    count = max(6, int(period / max(gap, 2.0)))
    for number in range(count):
        x = (number + source.uniform(0.1, 0.9)) * period / count
        foot = high * (low + (1 - low) * (1 - ridge(x / period))) + high * 0.06
        tall = high * source.uniform(0.28, 0.52)
        wide = tall * source.uniform(0.2, 0.28)
        # Drawn twice where a tree stands over the seam, so that the pattern repeats.
        for shift in (-period, 0, period):
            for tier, spread in ((0.0, 0.55), (0.28, 0.78), (0.56, 1.0)):
                peak = foot - tall * (1 - tier)
                base = foot - tall * max(0.0, 0.5 - tier * 0.9)
                middle = (x + shift) * scale
                draw.polygon(
                    [
                        (middle, peak * scale),
                        (middle + wide * spread * scale, base * scale),
                        (middle - wide * spread * scale, base * scale),
                    ],
                    fill=255,
                )


def _blocks(
    draw: ImageDraw.ImageDraw,
    lamps: ImageDraw.ImageDraw,
    source: random.Random,
    depth: int,
    period: int,
    width: int,
    high: int,
    tall: int,
    scale: int,
) -> None:
    unit = max(2, int(max(width, high * 3) * (0.034, 0.044, 0.056, 0.075)[depth]))
    x = 0
    while x < period:
        wide = min(int(unit * source.uniform(0.7, 1.5)) + 1, period - x)
        top = high - int(high * (source.random() ** 1.6 * 0.9 + 0.1))
        draw.rectangle((x * scale, top * scale, (x + wide) * scale - 1, tall * scale), fill=255)
        if source.random() < 0.22 and wide > 4:
            mast = max(0, top - int(high * 0.12))
            middle = (x + wide / 2) * scale
            draw.rectangle((middle - scale / 2, mast * scale, middle + scale / 2, top * scale), fill=255)
        pane = max(1, unit // 9)
        if depth and unit >= 12:
            for row in range(top + 2 * pane, tall - pane, pane * 3):
                for column in range(x + 2 * pane, x + wide - 2 * pane, pane * 3):
                    if source.random() < 0.42:
                        lamps.rectangle(
                            (column, row, column + pane - 1, row + pane), fill=source.choice((150, 200, 240))
                        )
        x += wide
