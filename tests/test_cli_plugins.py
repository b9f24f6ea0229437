"""`reelgate plugins show`: what a plugin takes and can do, said by its own class."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from click.testing import CliRunner

from proxy import Channel, Model, Options
from proxy.cli import main
from proxy.commands.plugins import address_words, price_words, seconds_words
from proxy.loader.manual import OptionFact, options_of

PLUGIN = '''
from typing import Literal
from proxy import Channel, Model, Options, hookimpl

class KilnOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: Literal["east", "west"] = "east"
    """Where videos are made,
    and billed."""
    account: str
    """Whose account it is."""

class Kiln(Channel):
    type = "kiln"
    options_class = KilnOptions
    base_url = "https://kiln.example.com"
    models = {
        "k-1": Model(seconds=tuple(range(3, 11)), sizes=("1280x720",), max_images=1, audio=True, price=0.4,
                     prices={"silent": 0.2}, extend_seconds=(5,)),
        "k-2": Model(seconds=(4, 8), image=False, native=()),
    }
    async def create(self, request): ...
    async def fetch(self, job): ...
    async def extend(self, request, source): ...

@hookimpl
def register_channel():
    return Kiln
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of channels and one dropped-in plugin."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "kiln.py").write_text(PLUGIN)
    (tmp_path / "channels.yaml").write_text("channels:\n- {name: a, type: kiln, account: me}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_says_what_an_entry_may_say(folder: Path) -> None:
    """Options with their form, default and text, the address, what it can do, and each model in a row."""
    lines = CliRunner().invoke(main, ["plugins", "show", "kiln"]).stdout.splitlines()
    assert lines[0].startswith("kiln  (")
    assert lines[1:3] == ["address: https://kiln.example.com", "can: extend"]
    region = lines.index("  region  (east, west; default east)")
    assert lines[region + 1] == "      Where videos are made, and billed."
    assert "  account  (text; required)" in lines
    assert any(line.startswith("  base_url  (text; optional)") for line in lines)
    first, second = (line.split() for line in lines[-2:])
    assert first == ["k-1", "3-10", "1", "-", "yes", "extend", "(5", "s)", "0.4,", "silent", "0.2", "1280x720"]
    assert second == ["k-2", "4", "8", "-", "-", "?", "-", "?", "any"]


def test_show_of_an_unknown_type_names_the_known_ones(folder: Path) -> None:
    """A type that no plugin has is one sentence, exit 1."""
    result = CliRunner().invoke(main, ["plugins", "show", "nova"])
    assert result.exit_code == 1
    assert "no plugin of the type 'nova'" in result.stderr
    assert "kiln" in result.stderr


class Shade(Enum):
    DARK = "dark"
    PALE = "pale"


class Base(Options, frozen=True, kw_only=True):
    """Options that another class adds to."""

    pace: float = 1.5
    """How fast."""


class Further(Base, frozen=True, kw_only=True):
    """Options with every form."""

    mode: Literal["a", "b"]
    """One of two."""
    flags: tuple[str, ...] = ()
    table: dict[str, int] | None = None
    both: str | dict[str, int] = ""
    loud: bool = False
    tags: frozenset[str] = frozenset()
    shade: Shade = Shade.DARK
    odd: bytes = b"x"
    secret: str = msgspec.field(default_factory=lambda: os.environ["KILN_SECRET"])


def test_options_are_read_from_the_classes() -> None:
    """Forms in words, defaults as they would be written, texts also of the classes above; the plugin's own first."""

    class Plain(Channel):
        type = "plain"
        options_class = Further

    facts = {fact.name: fact for fact in options_of(Plain)}
    assert facts["mode"] == OptionFact("mode", "`a`, `b`", None, "One of two.")
    assert facts["pace"] == OptionFact("pace", "number", "1.5", "How fast.")
    assert facts["flags"] == OptionFact("flags", "list", "", "")
    assert facts["table"].form == "mapping"
    assert facts["both"].form == "text or mapping"
    assert facts["loud"] == OptionFact("loud", "`true`, `false`", "false", "")
    assert facts["tags"] == OptionFact("tags", "list", "", "")
    assert facts["shade"] == OptionFact("shade", "`dark`, `pale`", "dark", "")
    assert facts["odd"].default
    assert facts["api_key"].about.startswith("The credential")
    assert next(iter(facts)) in Further.__annotations__


@pytest.mark.parametrize("given", [None, "a-secret-of-the-environment"])
def test_a_default_that_is_made_is_not_shown(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory may fail here, or read a secret: such an option is optional, and no more is said of it."""
    if given is not None:
        monkeypatch.setenv("KILN_SECRET", given)

    class Plain(Channel):
        type = "plain"
        options_class = Further

    assert OptionFact("secret", "text", "", "") in options_of(Plain)


def test_the_address_may_follow_from_options() -> None:
    """A class without an address of its own asks for one, unless it makes it from other options."""

    class Plain(Channel):
        type = "plain"

    class Placed(Plain):
        @classmethod
        def address(cls, options: Options) -> str:
            return "https://north.example"

    assert address_words(Plain).startswith("none of its own: give base_url")
    assert address_words(Placed).startswith("follows from other options")


def test_a_class_without_a_file_still_has_its_forms() -> None:
    """Texts are missing where the source is gone; names, forms and defaults are not."""
    made = type(Options)("Made", (Options,), {"__annotations__": {"size": int}, "size": 3}, kw_only=True, frozen=True)

    class Plain(Channel):
        type = "plain"
        options_class = made

    assert options_of(Plain)[0] == OptionFact("size", "number", "3", "")


def test_words_of_seconds_and_prices() -> None:
    """A range is one where it has no gap and more than two; a price without an exception stands alone."""
    assert seconds_words((4, 8, 12)) == "4 8 12"
    assert seconds_words((3, 4)) == "3 4"
    assert seconds_words(tuple(range(1, 16))) == "1-15"
    assert price_words(Model()) == ""
    assert price_words(Model(price=0.4, prices={"4k": 0.6})) == "0.4, 4k 0.6"
    assert price_words(Model(prices={"720p": 0.05})) == "720p 0.05"
