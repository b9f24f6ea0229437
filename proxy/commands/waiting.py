"""How far something is, on stderr; and waiting until a video has ended."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from proxy.commands.remote import Refused, Remote, Told, Unanswered
from proxy.commands.terminal import plain

ENDED: Final = ("completed", "failed")
OUTAGE: Final = 600.0
"""Seconds for which a server that takes no requests is asked again: the video does not need us meanwhile."""
SLOWEST: Final = 60.0
"""Seconds between two looks, at most."""

SOONEST: Final = 0.05
"""And at least, whatever the server says."""

_UNTOLD: Final = 2.0
_TICK: Final = 0.5
_STEP: Final = 0.25
"""What must have been done since the last plain line, of the whole."""


class Meter:
    """One line that is drawn again and again where stderr is a terminal; else a line of its own for every new word and
    every quarter of the way."""

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._begun = time.monotonic()
        self._last = ("", "", 0.0)
        self._drawn = False

    def show(self, word: str, share: float, more: str = "") -> None:
        """Say what is done (`word`), how much of it (0 to 1), and what else there is to say."""
        if self._live:
            self._draw(word, share, more)
            return
        *before, told = self._last
        if [word, more] != before or share >= told + _STEP:
            self._last = (word, more, share)
            click.echo(f"{word}, {share:.0%}{more and f', {more}'}", err=True)

    def pause(self, seconds: float, word: str, share: float, more: str = "") -> None:
        """Wait, while the time goes on in the line."""
        until = time.monotonic() + seconds
        while True:
            self.show(word, share, more)
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _TICK) if self._live else left)

    def note(self, said: str) -> None:
        """A sentence of its own."""
        self.clear()
        click.echo(said, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def _draw(self, word: str, share: float, more: str) -> None:
        elapsed = int(time.monotonic() - self._begun)
        tail = f"{share:4.0%}  {elapsed // 60}:{elapsed % 60:02d}{more and f'  {more}'}"
        width = shutil.get_terminal_size().columns - 1
        room = min(width - len(word) - len(tail) - 6, 40)
        bar = f"  [{'#' * round(share * room):<{room}}]  " if room >= 5 else "  "
        self._stream.write(f"\r{f'{word}{bar}{tail}'[:width]}\x1b[K")
        self._stream.flush()
        self._drawn = True


def wait(remote: Remote, path: str, told: Told, meter: Meter) -> dict[str, Any]:
    """The video at `path` once it has ended; `told` is how it was last seen. Raises `Unanswered` and `Refused` where
    the server cannot tell for very long."""
    while (video := remote.video(told))["status"] not in ENDED:
        word, share = plain(video["status"]), video["progress"] / 100
        meter.pause(pause_of(told.headers), word, share)
        told = _look(remote, path, meter, word, share)
    meter.clear()
    return video


def pause_of(headers: Mapping[str, str], otherwise: float = _UNTOLD) -> float:
    """The seconds that a server wants us to wait before we ask again."""
    for name, unit in (("openai-poll-after-ms", 1000), ("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            wanted = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if not math.isnan(wanted):
            return min(max(wanted, SOONEST), SLOWEST)
    return otherwise


def _look(remote: Remote, path: str, meter: Meter, word: str, share: float) -> Told:
    until = time.monotonic() + OUTAGE
    while True:
        try:
            return remote.ask(path)
        except Unanswered as error:
            if not error.again or time.monotonic() > until:
                raise
            meter.pause(_UNTOLD, word, share, "the server does not answer")
        except Refused as error:
            if error.status not in (429, 500, 502, 503, 504) or time.monotonic() > until:
                raise
            meter.pause(pause_of(error.headers), word, share, "the server is busy")
