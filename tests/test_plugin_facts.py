"""What a plugin's class says about itself: pictures that it takes, modules that it needs, where its results are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy import Channel, PictureForm, PluginError, Source, UpstreamJob, VideoRequest, loader
from proxy.config import parse
from proxy.errors import ConfigError
from proxy.loader import Plugin, Registry
from proxy.plans import plan

PLUGIN = """
from proxy import Channel, PictureForm, hookimpl

class Bulb(Channel):
    type = "bulb"
    %s
    async def create(self, request): ...
    async def fetch(self, job): ...

@hookimpl
def register_channel():
    return Bulb
"""

WRONG = {
    "picture_form = PictureForm(media_types='image/png')": "media_types of a PictureForm must be a tuple",
    "picture_form = PictureForm(media_types=())": "media_types of a PictureForm must be a tuple",
    "picture_form = PictureForm(media_types=('image/jpg',))": "with one of image/jpeg, image/png, image/webp",
    "picture_form = PictureForm(max_bytes=0)": "must be above 0",
    "picture_form = PictureForm(min_side=300, max_side=200)": "min_side of a PictureForm is above its max_side",
    "picture_form = {'max_bytes': 5}": "Bulb.picture_form must be a proxy.PictureForm",
    "picture_form = PictureForm": "Bulb.picture_form must be a proxy.PictureForm",
    "requires = ['av']": "Bulb.requires must map modules to what to run",
    "requires = {'av': None}": "Bulb.requires must map modules to what to run",
    "requires = {'': 'pip'}": "Bulb.requires must map modules to what to run",
}
RIGHT = (
    "picture_form = PictureForm(media_types=('image/png', 'image/heic'), min_side=300, max_side=300)",
    "picture_form = property(lambda self: PictureForm())",
    "requires = {'av': 'pip install av', 'a.b': 'x'}",
)


def load(folder: Path, fact: str) -> Registry:
    (folder / "bulb.py").write_text(PLUGIN % fact, "utf-8")
    return loader.load([folder], {"bulb"}, entry_points=False)


@pytest.mark.parametrize("fact", WRONG)
def test_a_wrong_fact_is_told_when_the_plugin_is_loaded(tmp_path: Path, fact: str) -> None:
    """A form or a need that cannot be right stops the start with file and cause, not the first request."""
    with pytest.raises(PluginError) as caught:
        load(tmp_path, fact)
    assert WRONG[fact] in caught.value.cause


@pytest.mark.parametrize("fact", RIGHT)
def test_a_right_fact_is_taken(tmp_path: Path, fact: str) -> None:
    """Further types beside ours, one size alone, a form that depends on the options, modules in packages."""
    assert load(tmp_path, fact).channels["bulb"].cls.type == "bulb"


@pytest.mark.parametrize("module", ["nowhere", "nowhere.at.all", "json.nowhere", "json.decoder.nowhere"])
def test_what_is_missing_is_a_mistake_of_the_entry(module: str) -> None:
    """A module that is not installed, in a package or not, is one mistake with line, key and what to run."""

    class Needy(Channel):
        type = "needy"
        requires = {"asyncio": "never said", module: "run this"}  # noqa: RUF012

        async def create(self, request: VideoRequest) -> UpstreamJob:
            raise NotImplementedError

        async def fetch(self, job: UpstreamJob) -> UpstreamJob:
            raise NotImplementedError

    registry = Registry()
    registry.channels["needy"] = Plugin(Needy, "needy.py", "needy", digest="")
    config = parse("channels:\n- name: a\n  type: needy\n  models: [m]\n", Path("/srv/channels.yaml"), {})
    with pytest.raises(ConfigError) as caught:
        plan(config, registry)
    (mistake,) = caught.value.mistakes
    assert mistake.line == 3
    assert f"needs the module {module}, which is not installed: run this" in mistake.message


@pytest.mark.parametrize(
    "values",
    [{"url": {"a": 1}}, {"url": "https://a.example/v", "size": "9"}, {"path": Path("v"), "size": -1}, {"read": 1}, {}],
)
def test_a_source_is_one_thing_of_the_right_kind(values: dict[str, Any]) -> None:
    """What an upstream put into the place of an address or a size is told where the Source is made."""
    with pytest.raises(ValueError, match="Source"):
        Source(**values)


def test_a_form_has_the_types_that_clients_may_send() -> None:
    """A plugin that says nothing takes every picture that a client may send."""
    assert PictureForm().media_types == ("image/jpeg", "image/png", "image/webp")
