"""The demo channel's colours: a palette of one scene, from its seed and from what the prompt's words say."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from typing import Final, NamedTuple

from ._demo_words import dice

Colour = tuple[int, int, int]


class Palette(NamedTuple):
    """`top` and `bottom` of the sky, `sun` (or moon), land from `far` to `near`, and the `accents` of what moves."""

    top: Colour
    bottom: Colour
    sun: Colour
    far: Colour
    near: Colour
    accents: tuple[Colour, ...]


def colour(text: str) -> Colour:
    """The colour that six hexadecimal digits name."""
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` (0 to 1) of `other` in it."""
    return (
        round(one[0] + (other[0] - one[0]) * share),
        round(one[1] + (other[1] - one[1]) * share),
        round(one[2] + (other[2] - one[2]) * share),
    )


WHITE: Final = (255, 255, 255)
_PALETTES: Final = (
    "3a2c6b ff9a76 ffe3b3 c8627f 2a1a44 ffd166 ff6b8b 7bdff2",
    "1f6f8b c7f0db fffbe0 78c0a8 16404d ffb36b f7f7f7 f25f5c",
    "5b4b9a f6c6ea fff2cc b48ac8 33245c 9be7ff ffd6a5 fdffb6",
    "2472c8 bfe6ff fffde7 7fb0d8 153a66 ffca3a ff595e 8ac926",
    "c8553d ffd5a1 fff4d6 d98a5b 4a1d1f 588b8b ffffff f28f3b",
    "0b4f6c 7de2d1 f4fff8 339989 0a2239 ff9f1c ffbf69 cbf3f0",
    "8e3b6f ffc2c2 fff0e0 d0718f 40152f 70d6ff ffd670 e9ff70",
    "3f7d6b e6f2c4 fffdd8 8dbb7f 1d3b2f f4a259 bc4b51 f4e285",
)
_DUSK: Final = "2d1b4e ff7e5f ffe0a0 8f3b63 1e0f2e ffd27d ff9a8b c77dff"
_HUES: Final = {
    "red": 0.0,
    "orange": 0.075,
    "yellow": 0.135,
    "green": 0.36,
    "teal": 0.49,
    "blue": 0.6,
    "purple": 0.76,
    "pink": 0.92,
}
_SHADES: Final = {"grey": (128, 132, 140), "white": (244, 245, 250), "black": (10, 10, 14)}


def grade(traits: Mapping[str, str]) -> tuple[Colour, float] | None:
    """The colour, and how much of it, that lies over a backdrop picture; None leaves the picture as it is."""
    if traits.get("light") == "night":
        return (8, 12, 44), 0.55
    if traits.get("light") == "dusk":
        return (255, 110, 70), 0.28
    tint = traits.get("tint")
    if tint in _HUES:
        return _hue(_HUES[tint], 0.5, 0.8), 0.32
    if tint in _SHADES:
        return _SHADES[tint], 0.32
    if traits.get("weather") in ("rain", "snow"):
        return (120, 134, 158), 0.3
    return None


def palette(seed: int, accent: int, traits: Mapping[str, str]) -> Palette:
    """The palette of the scene `seed` changed by `traits`; `accent` (a number from the prompt) orders the accents."""
    source = dice(seed, "palette")
    words = source.choice(_PALETTES)
    turn = source.uniform(-0.035, 0.035)
    if traits.get("light") == "dusk":
        words, turn = _DUSK, 0.0
    colours = [_turned(colour(word), turn) for word in words.split()]

    tint = traits.get("tint", "")
    if tint in _HUES:
        colours = [_tinted(each, _HUES[tint]) for each in colours[:5]] + colours[5:]
    elif tint in _SHADES:
        colours = [_shaded(each, tint) for each in colours[:5]] + colours[5:]

    weather = traits.get("weather")
    night = traits.get("light") == "night"
    if weather == "rain":
        colours = [mix(each, (84, 96, 114), 0.5) for each in colours[:5]] + colours[5:]
    if weather == "snow":
        colours[1] = mix(colours[1], (236, 242, 255), 0.45)
        colours[3] = mix(colours[3], (222, 232, 250), 0.6)
        colours[4] = mix(colours[4], (206, 220, 246), 0.5)
    if night:
        colours[0] = mix(colours[0], (4, 7, 28), 0.84)
        colours[1] = mix(colours[1], (30, 42, 96), 0.78)
        colours[2] = (238, 241, 255)
        colours[3] = mix(colours[3], (16, 22, 58), 0.72)
        colours[4] = mix(colours[4], (3, 5, 16), 0.78)

    accents = colours[5:]
    first = accent % len(accents)
    top, bottom, sun, far, near = colours[:5]
    return Palette(top, bottom, sun, far, near, (*accents[first:], *accents[:first]))


def _hue(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _hls(one: Colour) -> tuple[float, float, float]:
    return colorsys.rgb_to_hls(one[0] / 255, one[1] / 255, one[2] / 255)


def _turned(one: Colour, turn: float) -> Colour:
    hue, lightness, saturation = _hls(one)
    return _hue(hue + turn, lightness, saturation)


def _tinted(one: Colour, hue: float) -> Colour:
    own, lightness, saturation = _hls(one)
    near = (own - hue + 0.5) % 1.0 - 0.5
    return _hue(hue + near * 0.12, lightness, max(saturation, 0.5))


def _shaded(one: Colour, tint: str) -> Colour:
    _, lightness, _ = _hls(one)
    lightness = {"white": 0.55 + lightness * 0.45, "black": lightness * 0.4}.get(tint, lightness)
    return _hue(0.62, lightness, 0.06)
