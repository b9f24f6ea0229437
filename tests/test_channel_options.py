"""Options that need more than their own text: a path beside the file, an address that follows from another option."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest

from proxy import Channel, Model, Options, UpstreamJob, VideoRequest, config
from proxy.channels import build
from proxy.errors import ConfigError
from proxy.loader import Plugin, Registry
from proxy.plans import Plan, plan, survey
from proxy.upstream.http import Http


class PlacedOptions(Options, frozen=True, kw_only=True):
    paths: ClassVar[frozenset[str]] = frozenset(("key_file", "workflow"))

    region: str = "north"
    key_file: str = ""
    workflow: str | dict[str, Any] = ""


class Placed(Channel):
    type = "placed"
    options: PlacedOptions
    options_class = PlacedOptions

    @classmethod
    def address(cls, options: Options) -> str:
        assert isinstance(options, PlacedOptions)
        return f"https://{options.region}.api.example"

    @classmethod
    def limits(cls, options: Options, name: str) -> Model | None:
        assert isinstance(options, PlacedOptions)
        if name == "polar":
            return None
        if name == "boom":
            raise KeyError("no such table")
        return Model(seconds=(5,) if options.region == "south" else (4, 8), sizes=("16:9",))

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return UpstreamJob("1")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return job


def planned(entry: str, models: str = "m") -> Plan:
    registry = Registry(channels={"placed": Plugin(Placed, "placed.py", "placed")})
    text = f"channels: [{{name: a, type: placed, models: [{models}], {dedent(entry)}}}]"
    return plan(config.parse(text, Path("/srv/here/channels.yaml"), {}), registry)[0]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("key_file: keys/a.json", "/srv/here/keys/a.json"),
        ("key_file: /etc/a.json", "/etc/a.json"),
        ("key_file: ''", ""),
        ("key_file: '{\"a\": 1}'", '{"a": 1}'),
        ("workflow: {a: b}", {"a": "b"}),
    ],
)
def test_a_relative_path_is_beside_the_file(given: str, found: object) -> None:
    """A relative path of an option in `paths` is relative to channels.yaml; JSON and absolute paths stay."""
    options = planned(given).options
    assert isinstance(options, PlacedOptions)
    assert (options.key_file or options.workflow) == found


def test_the_address_may_follow_from_options(tmp_path: Path) -> None:
    """Without a base_url the class says the address from the options; the entry's own wins."""
    for entry, address in (
        ("region: south", "https://south.api.example/x"),
        ("base_url: 'https://my.example/p', region: south", "https://my.example/p/x"),
    ):
        live = build(planned(entry), http=Http(), data=tmp_path)
        assert live.channel.upstream.url("/x") == address


@pytest.mark.parametrize(("entry", "seconds"), [("region: north", (4, 8)), ("region: south", (5,))])
def test_what_a_model_can_do_may_follow_from_options(entry: str, seconds: tuple[int, ...]) -> None:
    """Where the class says from the options what a model can do, the offer has that."""
    limits = planned(entry).offers["m"].limits
    assert (limits.seconds, limits.sizes) == (seconds, ("16:9",))


def test_a_model_that_options_exclude_is_a_mistake() -> None:
    """An entry that names a model which its own options exclude is wrong in the line of its models."""
    with pytest.raises(ConfigError, match=r"channels\[0\]\.models .*: has the model polar, which the plugin placed"):
        planned("region: south", "m, polar")


def test_a_plugin_that_fails_on_an_entry_is_a_mistake() -> None:
    """Whatever a plugin makes of an entry, the check says which entry and why, and goes on."""
    with pytest.raises(ConfigError, match=r"channels\[0\] .*: makes its plugin fail: .*KeyError: 'no such table'"):
        planned("region: south", "m, boom")


DROPPED_IN = """
from proxy import Channel, Model, Options, hookimpl
from typing import ClassVar

class KilnOptions(Options, frozen=True, kw_only=True):
    paths: ClassVar[frozenset[str]] = frozenset(("key_file",))
    key_file: str = ""

class Kiln(Channel):
    type = "kiln"
    options_class = KilnOptions
    models = {"still": Model(native=("extend",)), "loose": Model()}
    async def create(self, request): ...
    async def fetch(self, job): ...
    async def remix(self, request, source): ...

@hookimpl
def register_channel():
    return Kiln
"""


@pytest.mark.parametrize(
    ("entry", "mistake"),
    [
        ("key_file: gone.json", "channels[0].key_file (channel a): names {folder}/gone.json, which is no file"),
        ("key_file: plugins", "channels[0].key_file (channel a): names {folder}/plugins, which is no file"),
        ("key_file: channels.yaml", None),
        ("key_file: '{}'", None),
        ("remix: native, models: [still]", "channels[0].remix (channel a): is native, but no model of this entry"),
        ("remix: native, models: [still, loose]", None),
    ],
)
def test_what_only_the_start_would_find_is_found_before(tmp_path: Path, entry: str, mistake: str | None) -> None:
    """A file that is not there and a remix that no model of the entry has are mistakes in their own line."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "kiln.py").write_text(DROPPED_IN)
    file = tmp_path / "channels.yaml"
    file.write_text(f"channels:\n- {{name: a, type: kiln, {entry}}}\n")
    found = survey(file, {}).mistakes
    if mistake is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"{file}:2: {mistake.format(folder=tmp_path)}")
