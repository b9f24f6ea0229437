"""Templates -> HTML: every text is escaped, and a name that a template does not know is an error."""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import CodeType
from typing import Final

from jinja2 import BytecodeCache, DictLoader, Environment, StrictUndefined
from jinja2.bccache import Bucket

from proxy import money
from proxy.dashboard import static_files
from proxy.dashboard.languages import LANGUAGES, words

SUFFIX: Final = ".html"

_SAID: Final = re.compile(r'\bsay\("((?:[^"\\]|\\.)*)"')


class _Shared(BytecodeCache):
    """What was compiled for one language serves the others: they differ only in what `_` says."""

    def __init__(self) -> None:
        self._code: dict[str, CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get(bucket.key)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key] = bucket.code


_SHARED: Final = _Shared()
_MADE: Final[dict[str, Environment]] = {}
_MAKING: Final = threading.Lock()


def prepare() -> None:
    """Read every file, so that no request waits for one. Templates are compiled when somebody first looks at a page:
    that takes longer than all the rest of a start, and a server that is only an API needs none of it."""
    static_files.assets()
    sources()
    for language in LANGUAGES:
        words(language)


async def ready(language: str) -> None:
    """Return when the templates of `language` can be rendered at once."""
    if language not in _MADE:
        await asyncio.to_thread(environment, language)


def environment(language: str) -> Environment:
    """The templates in one language; the first call compiles them all, and therefore belongs into a thread."""
    if language not in _MADE:
        with _MAKING:
            if language not in _MADE:
                _MADE[language] = _compiled(language)
    return _MADE[language]


def _compiled(language: str) -> Environment:
    made = Environment(
        loader=DictLoader(sources()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
        bytecode_cache=_SHARED,
        cache_size=-1,
        auto_reload=False,
    )
    made.globals |= {"_": words(language).say, "static": static_files.address, "languages": LANGUAGES}
    made.globals["script_words"] = words(language).among(said_by_script())
    made.filters |= {"money": shown_money, "iso": iso, "clock": clock, "seconds": seconds, "decimal": decimal}
    for name in made.list_templates():
        made.get_template(name)
    return made


@cache
def sources() -> dict[str, str]:
    """The text of every template by its name."""
    folder = files(__package__) / "templates"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(SUFFIX)}


@cache
def said_by_script() -> frozenset[str]:
    """The English texts that the scripts say."""
    scripts = "\n".join(asset.body.decode() for name, asset in static_files.assets().items() if name.endswith(".js"))
    return frozenset(text.replace('\\"', '"') for text in _SAID.findall(scripts))


def shown_money(amount: int | None) -> str:
    """An amount for people: `$0.40`; a dash where it is not known."""
    if amount is None:
        return "–"
    return f"-${money.shown(-amount)}" if amount < 0 else f"${money.shown(amount)}"


def decimal(dollars: float) -> str:
    """A price as the decimal that was meant, for the script to reckon with: 0.1, never 0.1000000000000000055."""
    return f"{Decimal(str(dollars)):f}"


def iso(moment: float) -> str:
    """Unix seconds for a machine: `2026-11-23T03:00:00Z`."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def clock(moment: float) -> str:
    """Unix seconds for people without a script: `2026-11-23 03:00 UTC`."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def seconds(length: float) -> str:
    """A length of time for people: `0.8 s`, `12 s`, `3:05 min`, `2:03 h`."""
    if length < 60:
        return f"{length:.1f} s" if length < 10 and length != int(length) else f"{length:.0f} s"
    whole = round(length)
    return f"{whole // 60}:{whole % 60:02} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02} h"
