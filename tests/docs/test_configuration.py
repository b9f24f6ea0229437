"""docs/configuration.md is the code's own word."""

import re
from pathlib import Path

import msgspec

from docs import configuration
from proxy import config, plans
from proxy.app import NEEDS_RESTART
from proxy.channel import Options
from proxy.config.settings import ChannelConfig
from proxy.config.tree import Table, parse
from proxy.loader.manual import facts_of

ROOT = Path(__file__).parents[2]
OWN = ("base_url", "api_key")


def test_the_page_is_written_from_the_code() -> None:
    """docs/configuration.md is what `make docs` writes."""
    assert configuration.FILE.read_text("utf-8") == configuration.page(), "run make docs"


def test_every_key_has_a_text() -> None:
    """Each key that channels.yaml may have, and each inside of one, says what it is for."""
    channel = [fact for fact in facts_of(ChannelConfig) if fact.name in config.ENTRY_KEYS]
    inner = [fact for cls in configuration.INNER.values() for fact in facts_of(cls)]
    facts = [*facts_of(config.Server), *channel, *facts_of(Options), *inner]
    assert [fact.name for fact in facts if not fact.about.endswith(".")] == []
    nested = {
        field.name
        for cls in (config.Server, ChannelConfig)
        for field in msgspec.structs.fields(cls)
        if "Struct" in str(msgspec.inspect.type_info(field.type))
    }
    assert configuration.INNER.keys() == nested


def test_the_example_has_every_key_and_is_taken(tmp_path: Path) -> None:
    """`reelgate check` finds nothing wrong with the file at the end of the page, which has each key."""
    text = configuration.EXAMPLE.read_text("utf-8")
    (tmp_path / "more-plugins").mkdir()
    file = tmp_path / "channels.yaml"
    file.write_text(text, "utf-8")
    found = plans.survey(file, {"STUDIO_KEY": "a key of the studio"}, ())
    assert (found.mistakes, found.warnings) == ([], [])
    root, _ = parse(text, {"STUDIO_KEY": "k"})
    assert isinstance(root, Table)
    server, (channel, *_) = root.entries["server"], root.entries["channels"].items
    assert isinstance(server, Table)
    assert set(server.entries) == set(config.Server.__struct_fields__)
    assert set(channel.entries) == {*config.ENTRY_KEYS, *OWN}


def test_what_waits_for_the_next_start_says_so() -> None:
    """The keys that a running server cannot change are marked, and no others."""
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^#)", configuration.page(), re.MULTILINE | re.DOTALL))
    assert {key for key, said in sections.items() if "from the next start" in said} == set(NEEDS_RESTART)
    assert {key for key, said in sections.items() if "on reload" in said} == {*sections} & {
        *config.Server.__struct_fields__
    } - {*NEEDS_RESTART}


def test_every_variable_is_explained() -> None:
    """Each REELGATE_ variable that the product reads is in the table, and no other."""
    source = "\n".join(file.read_text("utf-8") for file in sorted((ROOT / "proxy").rglob("*.py")))
    read = set(re.findall(r"\bREELGATE_[A-Z_]+[A-Z]\b", source))
    assert set(re.findall(r"`(REELGATE_[A-Z_]+)`", configuration.HEAD)) == read
