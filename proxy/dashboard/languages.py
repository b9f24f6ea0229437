"""The languages of the pages. The English text is itself the key of its translation, so that templates read well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
from aiohttp import hdrs, web

LANGUAGES: Final = {"en": "English", "zh": "中文"}
DEFAULT: Final = "en"
COOKIE: Final = "reelgate_language"

_RANGE: Final = re.compile(
    r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,40})?\s*(?:;\s*q=([01](?:\.[0-9]{1,3})?))?\s*", re.ASCII
)


class Words:
    """The words of one language: `say` answers in it."""

    def __init__(self, language: str, words: Mapping[str, str]) -> None:
        self.language = language
        self._words = words

    def say(self, text: str, /, **values: object) -> str:
        """The translation of an English text, with `{name}` replaced by the values; itself where there is none."""
        said = self._words.get(text, text)
        return said.format(**values) if values else said

    def among(self, texts: frozenset[str]) -> dict[str, str]:
        """The translations of these texts, by their English."""
        return {text: self._words[text] for text in sorted(texts) if text in self._words}


def text(english: str) -> str:
    """Marks a text that is said later, by another name; the test of the translations finds it by this."""
    return english


@cache
def words(language: str) -> Words:
    """The words of `language`, read at the first call (which therefore belongs into a thread)."""
    return Words(language, {} if language == DEFAULT else catalogue(language))


def catalogue(language: str) -> dict[str, str]:
    """English text -> its translation, gathered from the JSON files of `words/LANGUAGE/`.

    Raises `ValueError` where two files translate one text differently.
    """
    gathered: dict[str, str] = {}
    for file in sorted((files(__package__) / "words" / language).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            for text, translation in msgspec.json.decode(file.read_bytes(), type=dict[str, str]).items():
                if gathered.setdefault(text, translation) != translation:
                    raise ValueError(f"words/{language}/{file.name}: another file translates {text!r} differently")
    return gathered


def chosen(request: web.Request) -> str:
    """The language of the answer: what the address asks for, else what was chosen once, else the browser's."""
    for wish in (request.query.get("language"), request.cookies.get(COOKIE)):
        if wish in LANGUAGES:
            return wish
    return _preferred(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))


def _preferred(header: str) -> str:
    best, weight = DEFAULT, 0.0
    for part in header[:500].split(","):
        match = _RANGE.fullmatch(part)
        if match is not None and match[1].lower() in LANGUAGES:
            quality = float(match[2] or 1)
            if quality > weight:
                best, weight = match[1].lower(), quality
    return best
