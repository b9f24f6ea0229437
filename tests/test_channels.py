"""Entries and plugins become channels; a change of the file is applied as a whole or not at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest

from proxy import Channel, Model, Options, PluginError, UpstreamJob, VideoRequest, config
from proxy.channels import Channels, build
from proxy.config import ChannelConfig
from proxy.errors import ConfigError
from proxy.loader import Plugin, Registry
from proxy.plans import Plan, examine, plan, survey
from proxy.upstream.http import Http

FILE = Path("/srv/channels.yaml")


class Plain(Channel):
    """A channel that keeps a diary of what happens to its instances."""

    type = "plain"
    diary: ClassVar[list[str]] = []
    base_url = "https://api.plain.example"

    async def create(self, request: VideoRequest) -> UpstreamJob:
        return UpstreamJob("1")

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        return job

    async def start(self) -> None:
        await asyncio.sleep(0)
        self.diary.append(f"start {self.name} {self.options.api_key}")
        if self.options.api_key == "bad":
            raise ValueError("no such account")

    async def close(self) -> None:
        self.diary.append(f"close {self.name} {self.options.api_key}")
        if self.options.api_key == "stuck":
            raise RuntimeError("cannot close")


class RichOptions(Options, frozen=True, kw_only=True):
    region: str
    retries: int = 3
    tags: tuple[str, ...] = ()


class Rich(Plain):
    type = "rich"
    options_class = RichOptions
    models: ClassVar[dict[str, Model]] = {
        "m-1": Model(seconds=(4, 8), sizes=("1280x720", "720x1280"), default_seconds=8, price=0.1),
        "m-2": Model(),
    }
    default_model = Model(image=False)

    async def remix(self, request: VideoRequest, source: UpstreamJob) -> UpstreamJob:
        return source


@pytest.fixture(autouse=True)
def diary() -> list[str]:
    Plain.diary.clear()
    return Plain.diary


GOOD = """
from proxy import Channel, hookimpl

class Good(Channel):
    type = "good"
    async def create(self, request): ...
    async def fetch(self, job): ...

@hookimpl
def register_channel():
    return Good
"""


def registry(*classes: type[Channel], digest: str = "") -> Registry:
    found = Registry()
    for cls in classes or (Plain, Rich):
        found.channels[cls.type] = Plugin(cls, f"{cls.type}.py", cls.type, digest=digest)
    return found


def parsed(text: str, **environ: str) -> config.Config:
    return config.parse(dedent(text), FILE, environ)


def plans(text: str, *classes: type[Channel], digest: str = "") -> list[Plan]:
    return plan(parsed(text), registry(*classes, digest=digest))


def mistakes(text: str, found: Registry | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(parsed(text, **environ), found or registry())
    return [f"{one.line}: {one.message}" for one in caught.value.mistakes]


# ---------------------------------------------------------------- plans


def test_a_plan_has_the_plugins_options_and_offers() -> None:
    """The options are the class's own; without `models` every model of the plugin is offered under its name."""
    [one] = plans("channels: [{name: a, type: rich, region: eu, api_key: 12345, tags: [1.10, x]}]")
    assert one.options == RichOptions(region="eu", api_key="12345", tags=("1.10", "x"))
    assert one.cls is Rich
    assert {public: (offer.public, offer.upstream, offer.limits) for public, offer in one.offers.items()} == {
        "m-1": ("m-1", "m-1", Rich.models["m-1"]),
        "m-2": ("m-2", "m-2", Model()),
    }


def test_the_entrys_limits_and_price_win() -> None:
    """Mapped models have the limits of the upstream's model, with the entry's seconds, sizes and price over them."""
    [one] = plans(
        """
        channels:
        - name: a
          type: rich
          region: eu
          price: {per_second: 0.5}
          models: {x: m-1, y: {upstream: m-1, seconds: [4, 6], sizes: ["9:16"]}, z: unlisted}
        """
    )
    assert one.offers["x"].limits == Model(seconds=(4, 8), sizes=("1280x720", "720x1280"), default_seconds=8, price=0.5)
    assert one.offers["y"].limits == Model(
        seconds=(4, 6), sizes=("9:16",), default_seconds=4, default_size="9:16", price=0.5
    )
    assert one.offers["z"].limits == Model(image=False, price=0.5)


def test_a_plan_can_be_made_without_a_file() -> None:
    """An entry that was built in code, as tests of plugins do, is planned like one from a file."""
    entry = ChannelConfig(name="a", type="rich", options={"region": "eu", "retries": 5})
    [one] = plan(config.Config(file=FILE, server=config.Server(), channels=(entry,)), registry())
    assert one.options == RichOptions(region="eu", retries=5)


HEAD = "channels:\n- name: a\n"
MISTAKES = {
    "unknown type": (
        HEAD + "  type: reach\n",
        "3: channels[0].type (channel a): no plugin has the type 'reach'; known types are",
    ),
    "slip beside an unknown type": (
        "channels:\n- {name: a, type: plain, models: [m]}\n- name: b\n  type: plain\n  models: [m]\n  weigth: 2\n",
        "6: channels[1].weigth (channel b): is an unknown key; did you mean weight?",
    ),
    "unknown option": (
        HEAD + "  type: rich\n  region: eu\n  retrys: 2\n",
        "5: channels[0].retrys (channel a): is an unknown key; did you mean retries?",
    ),
    "missing option": (
        HEAD + "  type: rich\n",
        "2: channels[0].region (channel a): is missing; it must be a text",
    ),
    "wrong option": (
        HEAD + "  type: rich\n  region: eu\n  retries: many\n",
        "5: channels[0].retries (channel a): must be a whole number, not the text 'many'",
    ),
    "wrong item": (
        HEAD + "  type: rich\n  region: eu\n  tags:\n  - a\n  - [b]\n",
        "7: channels[0].tags[1] (channel a): must be a text, not a list",
    ),
    "no models": (
        HEAD + "  type: plain\n",
        "2: channels[0].models (channel a): is missing; the plugin plain has no models of its own, so say which",
    ),
    "native": (
        HEAD + "  type: plain\n  models: [x]\n  remix: native\n",
        "5: channels[0].remix (channel a): the plugin plain has no remix of its own; write auto, reimagine or off",
    ),
    "base_url": (
        HEAD + "  type: plain\n  models: [x]\n  base_url: api.example.com\n",
        "5: channels[0].base_url (channel a): must be an address such as https://api.example.com",
    ),
    "base_url query": (
        HEAD + "  type: plain\n  models: [x]\n  base_url: https://api.example.com/?a=1\n",
        "5: channels[0].base_url (channel a): must be an address such as https://api.example.com",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake(case: str) -> None:
    """What only the plugin can tell is a mistake with line and key too."""
    text, expected = MISTAKES[case]
    found = mistakes(text)
    assert len(found) == 1, found
    assert found[0].startswith(expected), found


def test_all_entries_are_looked_at() -> None:
    """Every mistake of every entry is told at once, the slip beside an unknown type too."""
    found = mistakes("channels:\n- {name: a, type: x, weigth: 1}\n- {name: b, type: plain}\n- {name: c, type: rich}\n")
    assert [line.split(" ")[0] + line.split(" ")[1] for line in found] == [
        "2:channels[0].type",
        "2:channels[0].weigth",
        "3:channels[1].models",
        "4:channels[2].region",
    ]


def test_a_broken_plugin_is_told_at_its_entry() -> None:
    """The entry of a type whose plugin is broken names the plugin's file and the cause."""
    found = registry()
    found.refused["kling"] = PluginError("/x/kling.py", "line 3: SyntaxError: invalid syntax")
    assert mistakes(HEAD + "  type: kling\n", found) == [
        "3: channels[0].type (channel a): its plugin cannot be used: /x/kling.py: line 3: SyntaxError: invalid syntax"
    ]


def test_a_borrowed_option_is_never_shown() -> None:
    """A credential in the wrong option is not printed."""
    text = HEAD + "  type: rich\n  region: eu\n  retries: ${K}\n"
    assert "hunter2" not in "".join(mistakes(text, K="hunter2"))


def test_examine_gives_the_sound_plans_too() -> None:
    """One wrong entry does not hide the plans of the others."""
    found, wrong = examine(parsed("channels: [{name: a, type: x}, {name: b, type: rich, region: eu}]"), registry())
    assert [one.entry.name for one in found] == ["b"]
    assert len(wrong) == 1


def test_survey_tells_the_files_and_the_plugins_mistakes_together(tmp_path: Path) -> None:
    """One look names wrong values, wrong options and broken plugins, each once."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "kling.py").write_text("1/0\n")
    (tmp_path / "plugins" / "unused.py").write_text("1/0\n")
    (tmp_path / "plugins" / "good.py").write_text(GOOD)
    file = tmp_path / "channels.yaml"
    file.write_text(
        "channels:\n- name: a\n  type: kling\n  weight: x\n- name: b\n  type: good\n  nonsense: 1\n  models: [m]\n"
    )
    found = survey(file, {})
    lines = [line.removeprefix(f"{file}:").partition(" ")[0] for line in found.mistakes]
    assert lines == ["3:", "4:", "7:"]
    assert str(tmp_path / "plugins" / "kling.py") in found.mistakes[0]
    assert len([one for one in found.warnings if "unused.py" in one]) == 1


def test_one_mistake_hides_no_other_of_its_entry(tmp_path: Path) -> None:
    """Wrong options and an unusable address are told beside a wrong or missing name and an unset credential."""
    file = tmp_path / "channels.yaml"
    bad = "base_url: ftp://x, type: openai, models: [m]"
    file.write_text(
        f"channels:\n- {{name: 'b!', api_key: k, {bad}, colour: red}}\n- {{api_key: k, {bad}}}\n"
        f"- {{name: c, api_key: '${{UNSET}}', {bad}}}\n- {{name: d, api_key: k, {bad}, weight: x, colour: red}}\n"
    )
    found = survey(file, {})
    told = [re.match(r".*:(\d+): channels\[(\d)\]\.(\w+)", mistake).groups() for mistake in found.mistakes]
    assert sorted(told) == [
        ("2", "0", "base_url"),
        ("2", "0", "colour"),
        ("2", "0", "name"),
        ("3", "1", "base_url"),
        ("3", "1", "name"),
        ("4", "2", "api_key"),
        ("4", "2", "base_url"),
        ("5", "3", "base_url"),
        ("5", "3", "colour"),
        ("5", "3", "weight"),
    ]
    assert not any("(channel )" in mistake for mistake in found.mistakes)


# ---------------------------------------------------------------- the live set


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Channels]:
    http = Http()
    await http.start()
    channels = Channels(http=http, data=tmp_path)
    yield channels
    await channels.close()
    await http.close()


def entries(*items: str) -> str:
    return "channels:\n" + "".join(f"- {{type: plain, models: [m], {item}}}\n" for item in items)


async def planned(text: str, *classes: type[Channel], digest: str = "") -> list[Plan]:
    """`plans` off the event loop, since it looks at the disk."""
    return await asyncio.to_thread(plans, text, *classes, digest=digest)


def names(channels: Channels) -> list[str]:
    return [one.name for one in channels]


async def test_channels_are_built_as_their_entry_says(live: Channels, tmp_path: Path) -> None:
    """The instance has its name, options, address and folder; the live channel shows entry and offers."""
    await live.apply(await planned(entries("name: a, api_key: k", "name: b, base_url: 'http://127.0.0.1:9/v1'")))
    first, second = live
    assert (first.name, first.entry.name, list(first.offers)) == ("a", "a", ["m"])
    assert first.channel.options.api_key == "k"
    assert first.channel.folder == tmp_path / "channels" / "a"
    assert first.channel.upstream.url("/x") == "https://api.plain.example/x"
    assert second.channel.upstream.url("/v1/x") == "http://127.0.0.1:9/v1/x"
    assert (live.get("b"), live.get("c"), len(live)) == (second, None, 2)
    assert "k" not in repr(first).replace("LiveChannel", "")


async def test_serving_leaves_out_disabled_channels(live: Channels) -> None:
    """Only enabled channels take new videos; a disabled one is there all the same, for polls and downloads."""
    await live.apply(await planned(entries("name: a, enabled: false", "name: b")))
    assert [one.name for one in live.serving("m")] == ["b"]
    assert live.serving("x") == []
    assert names(live) == ["a", "b"]


async def test_apply_keeps_replaces_starts_and_closes(live: Channels, diary: list[str]) -> None:
    """Unchanged entries keep their instance, whatever the order; changed ones are replaced, then closed."""
    await live.apply(await planned(entries("name: a, api_key: '1'", "name: b, api_key: '2'", "name: c, api_key: '3'")))
    before = {one.name: one.channel for one in live}
    diary.clear()
    await live.apply(await planned(entries("name: d, api_key: '4'", "name: b, api_key: 5x", "name: a, api_key: '1'")))
    assert names(live) == ["d", "b", "a"]
    assert diary == ["start d 4", "start b 5x", "close b 2", "close c 3"]
    after = {one.name: one.channel for one in live}
    assert after["a"] is before["a"]
    assert after["b"] is not before["b"]


async def test_a_reload_of_the_same_source_keeps_the_instances(live: Channels) -> None:
    """A reload makes new classes; with the same source the channel stays, with a changed one it is replaced."""

    def fresh() -> type[Channel]:
        return type("Plain", (Plain,), {})

    await live.apply(await planned(entries("name: a"), fresh(), digest="1"))
    [first] = live
    await live.apply(await planned("\n\n" + entries("name: a"), fresh(), digest="1"))
    assert list(live) == [first]
    await live.apply(await planned(entries("name: a"), fresh(), digest="2"))
    assert list(live) != [first]


async def test_a_failed_start_changes_nothing(live: Channels, diary: list[str]) -> None:
    """When one new channel cannot start, the set is as it was, and the new ones that did start are closed again."""
    await live.apply(await planned(entries("name: a, api_key: '1'", "name: b, api_key: '2'")))
    before = list(live)
    wanted = await planned(entries("name: a, api_key: '9'", "name: c, api_key: '3'", "name: d, api_key: bad"))
    diary.clear()
    with pytest.raises(PluginError, match=r"plain\.py: cannot start channel d: ValueError: no such account"):
        await live.apply(wanted)
    assert list(live) == before
    assert diary == ["start a 9", "start c 3", "start d bad", "close d bad", "close a 9", "close c 3"]


async def test_a_channel_that_cannot_be_built_changes_nothing(live: Channels) -> None:
    """A plugin whose construction fails is a StartupError that names the channel."""

    class Failing(Plain):
        def headers(self) -> dict[str, str]:
            return {}

        @property
        def refusal(self) -> Any:  # type: ignore[override]
            raise KeyError("refusal")

    with pytest.raises(PluginError, match=r"cannot start channel a: KeyError"):
        await live.apply(await planned(entries("name: a"), Failing))
    assert len(live) == 0


async def test_a_channel_that_does_not_close_is_gone_all_the_same(
    live: Channels, caplog: pytest.LogCaptureFixture
) -> None:
    """An error while closing is logged, and the others are closed."""
    await live.apply(await planned(entries("name: a, api_key: stuck", "name: b")))
    await live.apply(await planned(entries("name: c")))
    assert names(live) == ["c"]
    assert "channel a did not close cleanly" in caplog.text
    assert Plain.diary[-1] == "close b "


async def test_two_reloads_at_once_do_not_mix(live: Channels, diary: list[str]) -> None:
    """Each apply sees the whole result of the one before it, so that no closed instance stays in use."""
    await live.apply(await planned(entries("name: a, api_key: '1'")))
    diary.clear()
    first = await planned(entries("name: a, api_key: '2'"))
    second = await planned(entries("name: a, api_key: '1'", "name: b"))
    await asyncio.gather(live.apply(first), live.apply(second))
    assert names(live) == ["a", "b"]
    assert diary == ["start a 2", "close a 1", "start a 1", "start b ", "close a 2"]


async def test_build_says_which_channel_has_a_wrong_address(tmp_path: Path) -> None:
    """A plugin's own base_url that is none is told with the channel's name."""

    class Wrong(Plain):
        base_url = "nowhere"

    [one] = await planned(entries("name: a"), Wrong)
    with pytest.raises(PluginError, match="channel a: base_url cannot be used"):
        build(one, http=Http(), data=tmp_path)
