"""What the doctor says: one line for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Word = Literal["ok", "wrong", "?"]
"""`?`: it may be meant so, or it could not be found out."""

About = Literal["key", "quota", "network", "model", "plugin", "config", ""]

_WIDEST: Final = 28
"""Characters of a subject that others are aligned to."""


class Finding(NamedTuple):
    """`subject` is what was looked at, such as `channel veo`; `about` what is amiss there; `said` says what is wrong
    and what to do, in one line without secrets. `clock` is by how many seconds an upstream's clock is before ours,
    where that was seen."""

    word: Word
    subject: str
    said: str
    about: About = ""
    clock: float | None = None


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each, aligned."""
    width = max((len(one.subject) for one in findings if len(one.subject) <= _WIDEST), default=0)
    return [
        f"{one.word:<5}  {one.subject.ljust(width)}  {f'{one.about}: ' if one.about else ''}{one.said}"
        for one in findings
    ]
