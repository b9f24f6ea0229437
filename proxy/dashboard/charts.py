"""The geometry of the charts, which `charts.html` draws as SVG on the server.

Across, everything is in percent of the width that the page has, and up and down in pixels: so a chart fits a phone and
a desk without a script, and its words keep their size.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

PLOT: Final = 168
"""Pixels from the lowest to the highest value of a column chart."""
HEAD: Final = 8
FOOT: Final = 24
LINE: Final = 44
"""Pixels of one bar with its words."""
MOST_BARS: Final = 8
"""Bars of a bar chart; what is smaller is one more, together."""

_LONGEST_LABEL: Final = 34
_LEAST: Final = 2.0
_FILLED: Final = 0.72
_STEPS: Final = (1, 2, 4, 6, 8, 10)


class Column(NamedTuple):
    """One column: where its place begins and how wide that is (percent), the same of what is filled of it, its top and
    height (pixels), and what it says."""

    left: str
    room: str
    x: str
    width: str
    y: str
    height: str
    words: str


class Tick(NamedTuple):
    """A line across at `y` (pixels) and the value that it stands for."""

    y: str
    words: str


class Mark(NamedTuple):
    """A word below the columns, at `x` (percent)."""

    x: str
    anchor: str
    words: str


class Columns(NamedTuple):
    """A value for each day or other step, `height` pixels in all; `base` is where the columns stand."""

    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    height: int
    base: int


class Bar(NamedTuple):
    """One bar, `width` percent long; `y` is the top of its words (pixels). `words` is the label in full."""

    y: int
    width: str
    label: str
    value: str
    words: str


class Bars(NamedTuple):
    """The largest values, each with its name, `height` pixels in all."""

    bars: tuple[Bar, ...]
    height: int


def columns(points: Sequence[tuple[str, int]], shown: Callable[[int], str]) -> Columns:
    """The chart of these labelled values, none of them below 0, in their order; `shown` says a value for people."""
    top = scale(max((value for _, value in points), default=0))
    room = 100 / max(len(points), 1)
    made = []
    for place, (label, value) in enumerate(points):
        height = max(PLOT * value / top, _LEAST) if value else 0.0
        made.append(
            Column(
                left=_percent(place * room),
                room=_percent(room),
                x=_percent((place + (1 - _FILLED) / 2) * room),
                width=_percent(room * _FILLED),
                y=_pixels(HEAD + PLOT - height),
                height=_pixels(height),
                words=f"{label}: {shown(value)}",
            )
        )
    ticks = tuple(Tick(_pixels(HEAD + PLOT - PLOT * part / 2), shown(top * part // 2)) for part in (2, 1, 0))
    return Columns(tuple(made), ticks, _marks([label for label, _ in points]), HEAD + PLOT + FOOT, HEAD + PLOT)


def bars(points: Sequence[tuple[str, int]], shown: Callable[[int], str], others: str) -> Bars:
    """The chart of the largest of these labelled values, largest first; `others` is what the rest is called."""
    ranked = sorted((point for point in points if point[1] > 0), key=lambda point: -point[1])
    if len(ranked) > MOST_BARS + 1:
        ranked = [*ranked[:MOST_BARS], (others, sum(value for _, value in ranked[MOST_BARS:]))]
    most = max((value for _, value in ranked), default=1)
    made = (
        Bar(place * LINE, _percent(max(100 * value / most, 0.5)), short(label), shown(value), label)
        for place, (label, value) in enumerate(ranked)
    )
    return Bars(tuple(made), LINE * len(ranked))


def scale(most: int) -> int:
    """The round number at the top of a chart whose largest value is `most`: at least that, and even."""
    size = 1
    while size * _STEPS[-1] < most:
        size *= 10
    top = next(step * size for step in _STEPS if step * size >= most)
    return max(top, 2)


def filled(part: int, whole: int) -> float:
    """The percent that `part` is of `whole`, from 0 to 100; nothing is wholly filled by nothing."""
    if part <= 0:
        return 0.0 if whole > 0 else 100.0
    return 100.0 if part >= whole else 100 * part / whole


def short(label: str) -> str:
    """The label, cut where it would run into the value beside it; a Chinese letter takes the room of two."""
    room = _LONGEST_LABEL
    for place, letter in enumerate(label):
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            return label[:place].rstrip() + "…"
    return label


def _marks(labels: Sequence[str]) -> tuple[Mark, ...]:
    if not labels:
        return ()
    if len(labels) < 3:
        room = 100 / len(labels)
        return tuple(Mark(_percent((place + 0.5) * room), "middle", label) for place, label in enumerate(labels))
    middle = len(labels) // 2
    at = _percent((middle + 0.5) * 100 / len(labels))
    return Mark("0%", "start", labels[0]), Mark(at, "middle", labels[middle]), Mark("100%", "end", labels[-1])


def _percent(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".") + "%"


def _pixels(number: float) -> str:
    return f"{number:.1f}".rstrip("0").rstrip(".")
