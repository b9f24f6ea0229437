"""The pages of the documents and their code blocks.

A block that cannot run as it stands says so in a comment on the line before it, which readers do not see:

    <!-- not run: REASON -->        one of REASONS
    <!-- run by tests/PATH -->      another test runs it
    <!-- file: NAME -->             it is the file NAME, which later blocks of its page find
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ENGLISH: Final = ROOT / "README.md"
CHINESE: Final = ROOT / "README.zh-CN.md"
PAGES: Final = [ENGLISH, *sorted((ROOT / "docs").rglob("*.md"))]
"""All that is written for readers, but for the Chinese README, whose blocks are those of the English one."""

REASONS: Final = frozenset(
    {
        "it downloads packages",
        "it needs a provider's account",
        "it needs root",
        "it runs until it is stopped",
        "it takes minutes",
        "it needs Docker",
        "it is a setting of another program",
    }
)
SHOWN: Final = "text"
"""The language of what is to be looked at: output, or what goes over the wire."""
HOW: Final = (
    "Make it run (tests/docs/reader.py says what a block finds), or put one of these on the line before it: "
    "<!-- not run: REASON --> with one of the REASONS of tests/docs/pages.py, <!-- run by tests/… -->, "
    "or <!-- file: NAME --> where it is a file for the blocks after it. What is output has the language `text`."
)

_FENCE = re.compile(r"( *)(`{3,}) *([^\s`]*)")
_REMARK = re.compile(r"\s*<!-- (not run|run by|file):? (.+?) -->")
_ENDS = frozenset({"|", "&&", "||", "&", ";", ">", ">>", "2>", "<"})


@dataclass(frozen=True, slots=True)
class Block:
    """A code block; `line`, from 1, is that of its first line of code. `remark` and `about` are its comment's."""

    page: Path
    line: int
    language: str
    text: str
    remark: str = ""
    about: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} ({self.language or 'no language'})"


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, from its top."""
    lines = page.read_text("utf-8").splitlines()
    number, above = 0, ""
    while number < len(lines):
        line = lines[number]
        number += 1
        if (fence := _FENCE.match(line)) is None:
            above = line if line.strip() else above
            continue
        indent, ticks, language = fence.groups()
        start = number
        while number < len(lines) and lines[number].strip() != ticks:
            number += 1
        assert number < len(lines), f"{page}:{start}: a code block without an end"
        text = "".join(f"{code.removeprefix(indent)}\n" for code in lines[start:number])
        number += 1
        said = _REMARK.fullmatch(above)
        yield Block(page, start + 1, language, text, *(said.groups() if said else ()))
        above = ""


def commands(block: Block, program: str) -> Iterator[tuple[int, list[str]]]:
    """Each call of `program` in a shell block, with its line: the words after its name, in whatever folder it lies."""
    text = re.sub(r"\\\n", "  ", block.text)
    for number, line in enumerate(text.splitlines()):
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:
            continue
        if words[:1] == ["sudo"]:
            words = words[3:] if words[1:2] == ["-u"] else words[1:]
        if words and words[0].rsplit("/", 1)[-1] == program:
            end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
            yield block.line + number, words[1:end]


def links(text: str) -> list[str]:
    """Where the links and pictures of a page lead, from its top."""
    return re.findall(r"\]\(([^)\s]+)\)", _prose(text))


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the page's tables, where it is code."""
    return re.findall(r"^\| (`[^|]+`) \|", _prose(text), re.MULTILINE)


def headings(text: str) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in found}


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
