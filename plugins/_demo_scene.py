"""One scene of the demo channel: its frames, painted with Pillow from a seed, the prompt's traits and its text.

What stands still is painted once. Where things are depends only on the seed, how they look on the traits: that is why
a remix is recognised as the sibling of its source.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from ._demo_colours import WHITE, Colour, Palette, grade, mix, palette
from ._demo_land import LANDS, Layer, gradient, layers
from ._demo_text import Label, Timecode, caption, title
from ._demo_words import dice

_TURNS: Final = 60
"""Rotations of a shape that are drawn; a shape in motion shows the nearest."""


class Portrait(NamedTuple):
    """A character to show: its name and the square picture of it."""

    name: str
    picture: Image.Image


class _Shape:
    """A floating shape: where it is, and what it looks like at each rotation."""

    def __init__(self, source: random.Random, size: tuple[int, int], number: int, of: int, small: bool) -> None:
        width, height = size
        short = min(width, height)
        self.kind = source.choice(("disc", "ring", "diamond", "triangle", "square", "star"))
        self.reach = max(2, int(short * source.uniform(0.028, 0.07) * (0.6 if small else 1.0)))
        self.x = width * (number + source.uniform(0.2, 0.8)) / of
        self.y = height * source.uniform(0.1, 0.5)
        self.swing = width * source.uniform(0.05, 0.16), height * source.uniform(0.025, 0.08)
        self.speed = source.choice((-1, 1)) * source.uniform(0.014, 0.03), source.uniform(0.016, 0.036)
        self.phase = source.uniform(0, math.tau), source.uniform(0, math.tau)
        self.spin = source.choice((-1, 1)) * source.uniform(0.0018, 0.007)
        self.strength = source.uniform(0.62, 0.92) * (0.6 if small else 1.0)
        self.turned: dict[int, Image.Image] = {}

    def place(self, phase: float) -> tuple[int, int]:
        x = self.x + self.swing[0] * math.sin(self.speed[0] * phase + self.phase[0])
        y = self.y + self.swing[1] * math.sin(self.speed[1] * phase + self.phase[1])
        return int(x) - self.reach, int(y) - self.reach

    def mask(self, phase: float) -> Image.Image:
        turn = 0 if self.kind in ("disc", "ring") else round(self.spin * phase * _TURNS) % _TURNS
        if turn not in self.turned:
            self.turned[turn] = self._drawn(turn / _TURNS * math.tau)
        return self.turned[turn]

    def _drawn(self, angle: float) -> Image.Image:
        scale = 4
        side = self.reach * 2 * scale
        middle, radius = side / 2, side / 2 - scale
        large = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(large)
        level = int(255 * self.strength)
        if self.kind in ("disc", "ring"):
            draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=level)
            if self.kind == "ring":
                inner = radius * 0.62
                draw.ellipse((middle - inner, middle - inner, middle + inner, middle + inner), fill=0)
        else:
            corners = {"triangle": 3, "diamond": 4, "square": 4, "star": 10}[self.kind]
            points = []
            for number in range(corners):
                length = radius * (0.46 if self.kind == "star" and number % 2 else 1.0)
                spread = 0.62 if self.kind == "diamond" and number % 2 else 1.0
                at = math.tau * number / corners + angle
                points.append((middle + length * spread * math.cos(at), middle + length * spread * math.sin(at)))
            draw.polygon(points, fill=level)
        return large.reduce(scale)


class _Flake(NamedTuple):
    x: float
    y: float
    fall: float
    drift: float
    sway: float
    sprite: int


class Scene:
    """The frames of one prompt. Not for use by two threads at once."""

    def __init__(
        self,
        size: tuple[int, int],
        fps: int,
        *,
        seed: int,
        accent: int,
        text: str,
        traits: Mapping[str, str],
        backdrop: Image.Image | None = None,
        portraits: Sequence[Portrait] = (),
    ) -> None:
        """`size` in pixels; `seed` fixes the layout, `accent` the order of the accent colours; `backdrop`, of the same
        size, takes the place of the land."""
        self.size = size
        self.fps = fps
        self.backdrop = backdrop
        self.graded = backdrop
        self.beat = 24 / fps
        width, height = size
        colours = palette(seed, accent, traits)
        night = traits.get("light") == "night"
        self.accents = colours.accents
        self.layers: list[Layer] = []
        if backdrop is None:
            land = traits.get("land") or dice(seed, "land").choice(LANDS)
            self.layers, ground = layers(land, seed, size, fps, colours, lit=night or traits.get("light") == "dusk")
            self.ground = _sky(size, seed, colours, night)
            self.ground.paste(ground, (0, height - ground.height))
            self.clouds = _clouds(size, seed, traits.get("weather", ""))
            self.cloud = mix(colours.bottom, colours.top if night else WHITE, 0.55)
        else:
            self.ground = backdrop
            self.clouds = []
            self.cloud = WHITE
            shade = grade(traits)
            if shade is not None:
                self.graded = Image.blend(backdrop, Image.new("RGB", size, shade[0]), shade[1])
        small = backdrop is not None
        count = 5 if small else 7
        self.direction = dice(seed, "way").choice((-1, 1))
        self.shapes = [_Shape(dice(seed, f"shape:{n}"), size, n, count, small) for n in range(count)]
        self.weather = traits.get("weather", "")
        self.flakes, self.sprites = _flakes(size, seed, self.weather)
        self.flake_colours = self.accents if self.weather == "petals" else (mix(colours.sun, WHITE, 0.7),)
        self.labels: list[tuple[Label, tuple[int, int]]] = []
        heading = title(text, width, height)
        self.labels.append((heading, (0, height - heading.letters.height)))
        self.timecode = Timecode(max(7, int(min(width, height) * 0.03)))
        self.portraits = _portraits(portraits, size, colours.accents)

    def frame(self, number: int, phase: float) -> Image.Image:
        """Frame `number` of the film, a new RGB picture. `phase` is how far everything has moved, in frames of usual
        speed at 24 a second."""
        if self.backdrop is None:
            canvas = self.ground.copy()
            self._paint_clouds(canvas, phase)
            self._paint_shapes(canvas, phase, 1.0)
            self._paint_land(canvas, phase)
            shown = 1.0
        else:
            # The first frame is the picture itself; the rest comes over it within the first second.
            shown = _eased(number / self.fps)
            canvas = self._zoomed(number, shown)
            if shown == 0.0:
                return canvas
            self._paint_shapes(canvas, phase, shown)
        self._paint_flakes(canvas, phase, shown)
        self._paint_labels(canvas, number, shown)
        return canvas

    def _zoomed(self, number: int, shown: float) -> Image.Image:
        assert self.backdrop is not None
        assert self.graded is not None
        if number == 0:
            return self.backdrop.copy()
        picture = (
            self.graded
            if shown == 1.0 or self.graded is self.backdrop
            else Image.blend(self.backdrop, self.graded, shown)
        )
        width, height = self.size
        # It nears a tenth and never passes it, however long the film is.
        cut = 0.5 * (1 - 1 / (1 + 0.1 * (1 - math.exp(-number / self.fps / 6))))
        box = (width * cut, height * cut, width * (1 - cut), height * (1 - cut))
        return picture.resize(self.size, Image.Resampling.BILINEAR, box=box)

    def _paint_clouds(self, canvas: Image.Image, phase: float) -> None:
        for mask, x, y, speed in self.clouds:
            span = self.size[0] + mask.width
            left = int((x + speed * phase * self.direction) % span) - mask.width
            canvas.paste(self.cloud, (left, y, left + mask.width, y + mask.height), mask)

    def _paint_land(self, canvas: Image.Image, phase: float) -> None:
        width = self.size[0]
        for layer in self.layers:
            offset = int(layer.step * phase / self.beat * self.direction) % layer.period
            top = layer.top + round(layer.bob * math.sin(phase * 0.07 + layer.top))
            window = (offset, 0, offset + width, layer.mask.height)
            canvas.paste(layer.fill, (0, top), layer.mask.crop(window))
            if layer.lights is not None:
                canvas.paste(layer.lamp, (0, top, width, top + layer.mask.height), layer.lights.crop(window))

    def _paint_shapes(self, canvas: Image.Image, phase: float, shown: float) -> None:
        for number, shape in enumerate(self.shapes):
            mask = _faded(shape.mask(phase), shown)
            left, top = shape.place(phase)
            colour = self.accents[number % len(self.accents)]
            canvas.paste(colour, (left, top, left + mask.width, top + mask.height), mask)

    def _paint_flakes(self, canvas: Image.Image, phase: float, shown: float) -> None:
        width, height = self.size
        sprites = [_faded(sprite, shown) for sprite in self.sprites]
        for number, flake in enumerate(self.flakes):
            mask = sprites[flake.sprite]
            sway = flake.sway * math.sin(phase * 0.05 + flake.x)
            left = int((flake.x + flake.drift * phase + sway) % (width + mask.width)) - mask.width
            top = int((flake.y + flake.fall * phase) % (height + mask.height)) - mask.height
            colour = self.flake_colours[number % len(self.flake_colours)]
            canvas.paste(colour, (left, top, left + mask.width, top + mask.height), mask)

    def _paint_labels(self, canvas: Image.Image, number: int, shown: float) -> None:
        width, height = self.size
        code = self.timecode.label(number, self.fps)
        edge = max(2, int(min(width, height) * 0.045))
        placed = [*self.labels, (code, (max(0, width - code.letters.width - edge), edge))]
        for label, (left, top) in placed:
            box = (left, top, left + label.letters.width, top + label.letters.height)
            canvas.paste((6, 8, 20), box, _faded(label.shade, shown))
            canvas.paste(WHITE, box, _faded(label.letters, shown))
        for picture, mask, place in self.portraits:
            canvas.paste(picture, place, _faded(mask, shown))


def _eased(seconds: float) -> float:
    share = min(1.0, seconds / 0.9)
    return share * share * (3 - 2 * share)


def _faded(mask: Image.Image, shown: float) -> Image.Image:
    return mask if shown == 1.0 else mask.point([int(level * shown) for level in range(256)])


def _sky(size: tuple[int, int], seed: int, colours: Palette, night: bool) -> Image.Image:
    width, height = size
    sky = Image.new("RGB", size, colours.bottom)
    sky.paste(gradient(colours.top, colours.bottom, width, int(height * 0.7)), (0, 0))
    source = dice(seed, "sun")
    radius = min(width, height) * source.uniform(0.085, 0.15) * (0.72 if night else 1.0)
    x, y = width * source.uniform(0.2, 0.8), height * source.uniform(0.2, 0.42)
    if night:
        _stars(sky, dice(seed, "stars"))
    # Pillow's gradient reaches 255 in the corners and 181 in the middle of the edges; a glow that ends there is round.
    fall = [max(0, 181 - level) / 181 for level in range(256)]
    glow = Image.radial_gradient("L").point([int(share**1.8 * 160) for share in fall])
    reach = int(radius * 5)
    glow = glow.resize((reach * 2, reach * 2))
    sky.paste(colours.sun, (int(x) - reach, int(y) - reach, int(x) + reach, int(y) + reach), glow)
    scale, side = 4, max(2, int(radius * 2) + 2)
    disc = Image.new("L", (side * scale, side * scale), 0)
    draw = ImageDraw.Draw(disc)
    draw.ellipse((scale, scale, (side - 1) * scale, (side - 1) * scale), fill=255)
    if night:
        shift = side * scale * 0.3
        draw.ellipse(
            (scale + shift, scale - shift * 0.3, (side - 1) * scale + shift, (side - 1) * scale - shift * 0.3), fill=0
        )
    disc = disc.reduce(scale)
    left, top = int(x - side / 2), int(y - side / 2)
    sky.paste(colours.sun, (left, top, left + side, top + side), disc)
    return sky


def _stars(sky: Image.Image, source: random.Random) -> None:
    width, height = sky.size
    unit = max(1, min(width, height) // 480)
    draw = ImageDraw.Draw(sky)
    for _ in range(110):
        x, y = source.randrange(width), int(height * 0.6 * source.random() ** 1.3)
        under = sky.getpixel((x, y))
        assert isinstance(under, tuple)
        side = unit if source.random() < 0.8 else unit * 2
        colour = mix((under[0], under[1], under[2]), WHITE, source.uniform(0.35, 0.95))
        draw.ellipse((x, y, x + side, y + side), fill=colour)


def _clouds(size: tuple[int, int], seed: int, weather: str) -> list[tuple[Image.Image, float, int, float]]:
    width, height = size
    source = dice(seed, "clouds")
    made = []
    for _ in range(5):
        wide = int(width * source.uniform(0.22, 0.46))
        tall = max(4, int(min(wide * 0.34, height * 0.16)))
        mask = Image.new("L", (wide, tall), 0)
        draw = ImageDraw.Draw(mask)
        level = int(source.uniform(110, 190))
        for _ in range(6):
            bump = tall * source.uniform(0.3, 0.6)
            middle = wide * source.uniform(0.24, 0.76)
            base = tall * 0.74
            draw.ellipse((middle - bump * 1.2, base - bump, middle + bump * 1.2, base + bump * 0.25), fill=level)
        draw.rounded_rectangle((wide * 0.12, tall * 0.6, wide * 0.88, tall * 0.8), radius=tall * 0.1, fill=level)
        mask = mask.filter(ImageFilter.GaussianBlur(max(0.6, tall * 0.05)))
        x, y = source.uniform(0, width + wide), int(height * source.uniform(0.05, 0.4))
        made.append((mask, x, y, width * source.uniform(0.0003, 0.0008)))
    return made[:2] if weather == "clear" else made


def _flakes(size: tuple[int, int], seed: int, weather: str) -> tuple[list[_Flake], list[Image.Image]]:
    if weather not in ("snow", "rain", "petals"):
        return [], []
    width, height = size
    short = min(width, height)
    source = dice(seed, f"{weather}")
    sprites = []
    for share in (0.5, 0.75, 1.0):
        if weather == "rain":
            long, lean = max(4, int(short * 0.055 * share)), max(1, int(short * 0.009 * share))
            sprite = Image.new("L", (lean + 3, long), 0)
            ImageDraw.Draw(sprite).line((lean + 1, 0, 1, long), fill=int(170 * share), width=max(1, int(short * 0.003)))
        else:
            side = max(2, int(short * (0.016 if weather == "snow" else 0.026) * share))
            large = Image.new("L", (side * 4, side * 4), 0)
            flat = side * 1.1 if weather == "petals" else 0
            ImageDraw.Draw(large).ellipse((0, flat, side * 4 - 1, side * 4 - 1 - flat), fill=int(150 + 90 * share))
            if weather == "petals":
                large = large.rotate(120 * share)
            sprite = large.reduce(4)
        sprites.append(sprite)
    flakes = []
    for number in range(140 if weather == "rain" else 90):
        kind = number % 3
        near = 0.55 + 0.225 * kind
        fall = {"rain": 0.032, "snow": 0.0042, "petals": 0.0038}[weather] * height * near * source.uniform(0.85, 1.15)
        drift = {"rain": -fall * 0.16, "snow": 0.0, "petals": width * 0.0016}[weather]
        sway = 0.0 if weather == "rain" else width * 0.02
        flakes.append(_Flake(source.uniform(0, width), source.uniform(0, height), fall, drift, sway, kind))
    return flakes, sprites


def _portraits(
    portraits: Sequence[Portrait], size: tuple[int, int], accents: Sequence[Colour]
) -> list[tuple[Image.Image, Image.Image, tuple[int, int]]]:
    width, height = size
    side = max(12, int(min(width, height) * 0.17))
    edge = max(2, int(min(width, height) * 0.045))
    made = []
    for number, portrait in enumerate(portraits):
        name = caption(portrait.name, max(7, side // 6), side * 2)
        whole = max(side, name.letters.width), side + name.letters.height
        picture, mask = Image.new("RGB", whole, (6, 8, 20)), Image.new("L", whole, 0)
        ring = Image.new("L", (side * 4, side * 4), 0)
        ImageDraw.Draw(ring).ellipse((0, 0, side * 4 - 1, side * 4 - 1), fill=255)
        inner = side - 2 * max(1, side // 28)
        round_mask, face_mask = ring.reduce(4), ring.resize((inner, inner), Image.Resampling.LANCZOS)
        picture.paste(accents[number % len(accents)], (0, 0, side, side), round_mask)
        inset = (side - inner) // 2
        picture.paste(ImageOps.fit(portrait.picture, (inner, inner)), (inset, inset), face_mask)
        mask.paste(round_mask, (0, 0))
        below = max(0, (side - name.letters.width) // 2)
        box = (below, side, below + name.letters.width, side + name.letters.height)
        picture.paste(WHITE, box, name.letters)
        mask.paste(ImageChops.lighter(name.letters, name.shade), (below, side))
        made.append((picture, mask, (edge, edge + number * (whole[1] + edge // 2))))
    return made
