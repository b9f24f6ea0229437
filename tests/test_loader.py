"""Plugins are found, imported and checked; one that is broken says so and harms no other."""

from __future__ import annotations

import importlib.metadata
import logging
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from proxy import loader
from proxy.errors import PluginError

GOOD = """
from proxy import Channel, hookimpl, UpstreamJob

class Lumen(Channel):
    type = "{type}"
    mark = "{mark}"

    async def create(self, request):
        return UpstreamJob("1")

    async def fetch(self, job):
        return job

@hookimpl
def register_channel():
    return Lumen
"""


def good(kind: str = "lumen", mark: str = "") -> str:
    return GOOD.format(type=kind, mark=mark)


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Each test leaves the import system as it found it."""
    before = {name: module for name, module in sys.modules.items() if name.startswith(loader.PACKAGE)}
    path = list(sys.path)
    yield
    assert sys.path == path
    for name in [name for name in sys.modules if name.startswith(loader.PACKAGE)]:
        del sys.modules[name]
    sys.modules.update(before)


class Folders:
    """Two operator folders, and a bundled one."""

    def __init__(self, root: Path) -> None:
        self.first, self.second, self.bundled = root / "first", root / "second", root / "bundled"
        for folder in (self.first, self.second, self.bundled):
            folder.mkdir()

    def load(self, *wanted: str, entry_points: bool = False) -> loader.Registry:
        folders = [self.first, self.second]
        return loader.load(folders, set(wanted), entry_points=entry_points, bundled=self.bundled)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(dedent(text), "utf-8")
    return folder / name


# ---------------------------------------------------------------- what works


def test_a_dropped_file_is_a_plugin(folders: Folders) -> None:
    """A file in an operator's folder registers its type; the names with _ and . are not scanned."""
    file = write(folders.first, "lumen.py", good())
    write(folders.first, "_half.py", "raise SystemExit")
    write(folders.first, ".hidden.py", "raise SystemExit")
    (folders.first / "folder.py").mkdir()
    registry = folders.load("lumen")
    plugin = registry.channels["lumen"]
    assert (plugin.cls.__name__, plugin.file, plugin.type, plugin.overridden) == ("Lumen", str(file), "lumen", ())
    assert (registry.broken, registry.warnings) == ([], [])


def test_modules_have_a_real_package(folders: Folders) -> None:
    """Dataclasses with postponed annotations, relative imports of a helper and pickling work in a plugin."""
    write(folders.first, "_helper.py", "WORD = 'helped'\n")
    write(
        folders.first,
        "lumen.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass
        from ._helper import WORD
        from proxy import Channel, hookimpl

        @dataclass(frozen=True)
        class Region:
            name: str
            other: Region | None = None

        class Lumen(Channel):
            type = "lumen"
            region = Region(WORD, Region("inner"))
            async def create(self, request): ...
            async def fetch(self, job): ...

        @hookimpl
        def register_channel():
            return Lumen
        """,
    )
    cls = folders.load("lumen").channels["lumen"].cls
    assert cls.region.name == "helped"  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(cls.region)) == cls.region  # type: ignore[attr-defined]
    assert cls.__module__ == "channel_plugins.lumen"


@pytest.mark.parametrize("name", ["openai", "aiohttp", "json", "proxy", "yaml"])
def test_a_plugin_shadows_no_package(folders: Folders, name: str) -> None:
    """A plugin file that is called like an installed package imports that package, and others still get it."""
    write(folders.first, f"{name}.py", f"import {name}\nREAL = {name}\n" + good(name))
    folders.load(name)
    module = sys.modules[f"channel_plugins.{name}"]
    assert module.REAL is sys.modules[name]
    assert module.REAL is not module


def test_one_file_may_register_several_classes(folders: Folders) -> None:
    """register_channel may return a list of classes."""
    text = good() + "\nclass Second(Lumen):\n    type = 'second'\n"
    text = text.replace("    return Lumen", "    return [Lumen, Second]")
    write(folders.first, "lumen.py", text)
    assert set(folders.load().channels) == {"lumen", "second"}


def test_the_first_folder_wins_over_a_file_of_the_same_name(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    """The operator's file replaces the bundled one of its name, and one INFO line names both paths."""
    mine = write(folders.first, "lumen.py", good(mark="mine"))
    theirs = write(folders.bundled, "lumen.py", good(mark="bundled"))
    with caplog.at_level(logging.INFO, "reelgate.plugins"):
        registry = folders.load("lumen")
    assert registry.channels["lumen"].cls.mark == "mine"  # type: ignore[attr-defined]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"plugin {mine} is used in place of {theirs}")
    ]


def test_the_operators_type_wins_over_a_bundled_one(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    """A type from an operator's file of another name replaces the bundled type, with one INFO line."""
    mine = write(folders.second, "my_lumen.py", good(mark="mine"))
    theirs = write(folders.bundled, "lumen.py", good(mark="bundled"))
    with caplog.at_level(logging.INFO, "reelgate.plugins"):
        registry = folders.load("lumen")
    assert registry.channels["lumen"].cls.mark == "mine"  # type: ignore[attr-defined]
    assert registry.channels["lumen"].overridden == (str(theirs),)
    assert len(caplog.records) == 1
    assert all(str(path) in caplog.text for path in (mine, theirs))


def test_a_folder_that_is_the_bundled_one_counts_once(folders: Folders) -> None:
    """`plugins/` beside channels.yaml in a checkout is the bundled folder and overrides nothing."""
    write(folders.bundled, "lumen.py", good())
    registry = loader.load([folders.bundled], {"lumen"}, entry_points=False, bundled=folders.bundled)
    assert (len(registry.channels), registry.notes) == (1, [])


def test_loading_again_sees_the_change_and_keeps_the_old_classes(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second and a third load import afresh at once; what the first one made goes on working."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    lazy = "\ndef later():\n    from ._helper import WORD\n    return WORD + Lumen.mark\n"
    write(folders.first, "_helper.py", "WORD = 'x'\n")
    file = write(folders.first, "lumen.py", good(mark="a") + lazy)
    first = folders.load("lumen").channels["lumen"]
    later = sys.modules["channel_plugins.lumen"].later
    marks = []
    for mark in "bc":
        file.write_text(good(mark=mark) + lazy)
        again = folders.load("lumen").channels["lumen"]
        marks.append(again.cls.mark)  # type: ignore[attr-defined]
        assert again.cls is not first.cls
        assert again.digest != first.digest
    assert marks == ["b", "c"]
    assert not list(folders.first.rglob("*.pyc"))
    assert later() == "xa"


def test_the_digest_changes_with_a_helper(folders: Folders) -> None:
    """Unchanged source has the same digest; a change of a `_name.py` beside it counts as a change."""
    write(folders.first, "_helper.py", "WORD = 'x'\n")
    write(folders.first, "lumen.py", good())
    digests = [folders.load().channels["lumen"].digest, folders.load().channels["lumen"].digest]
    write(folders.first, "_helper.py", "WORD = 'y'\n")
    digests.append(folders.load().channels["lumen"].digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_failed_reload_leaves_the_modules_of_the_running_plugins(folders: Folders) -> None:
    """When a reload is refused, imports inside the running plugins still find what they found before."""
    file = write(folders.first, "lumen.py", good())
    folders.load("lumen")
    before = sys.modules["channel_plugins.lumen"]
    file.write_text("broken(")
    with pytest.raises(PluginError):
        folders.load("lumen")
    assert sys.modules["channel_plugins.lumen"] is before


# ---------------------------------------------------------------- installed packages


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site folder that a package with an entry point can be written to."""
    site = tmp_path / "site"
    info = site / "lumen_pack-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lumen-pack\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[reelgate]\npacked = lumen_pack.channel\n")
    (site / "lumen_pack").mkdir()
    (site / "lumen_pack" / "__init__.py").write_text("")
    distributions = list(importlib.metadata.distributions(path=[str(site)]))
    points = [point for one in distributions for point in one.entry_points]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [p for p in points if p.group == group])
    monkeypatch.syspath_prepend(str(site))
    yield site / "lumen_pack"
    for name in [name for name in sys.modules if name.partition(".")[0] == "lumen_pack"]:
        del sys.modules[name]


def test_an_installed_package_is_a_plugin(folders: Folders, installed: Path) -> None:
    """The entry-point group `reelgate` names modules; they win over bundled files, and lose to the operator's."""
    write(installed, "channel.py", good(mark="installed"))
    write(folders.bundled, "lumen.py", good(mark="bundled"))
    plugin = folders.load("lumen", entry_points=True).channels["lumen"]
    assert plugin.cls.mark == "installed"  # type: ignore[attr-defined]
    assert plugin.file == "lumen-pack (lumen_pack.channel)"
    write(folders.first, "lumen.py", good(mark="mine"))
    assert folders.load("lumen", entry_points=True).channels["lumen"].cls.mark == "mine"  # type: ignore[attr-defined]


def test_a_broken_installed_package_is_told_by_its_name(folders: Folders, installed: Path) -> None:
    """A package that does not import stops a start that wants it, and is a warning otherwise."""
    write(installed, "channel.py", "import nowhere_at_all\n")
    assert "lumen-pack" in folders.load("other", entry_points=True).warnings[0]
    with pytest.raises(PluginError, match=r"lumen-pack .*No module named 'nowhere_at_all'"):
        folders.load("packed", entry_points=True)


# ---------------------------------------------------------------- what is broken

BROKEN = {
    "syntax": ("\n\ndef x(:\n", "line 3: SyntaxError: invalid syntax"),
    "missing module": ("import os\nimport nowhere_at_all\n", "line 2: ModuleNotFoundError: No module named 'nowhere"),
    "fault": ("x = 1\n\n1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
    "exit": ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    "own word": ("from proxy import PluginError\nraise PluginError('x', 'install it so')\n", "install it so"),
    "not utf-8": ("x = 'caf\udce9'\n", "SyntaxError"),
    "nothing": ("x = 1\n", "registers nothing; a file beside plugins that is none has a name like _name.py"),
    "no marker": ("def register_channel(): ...\n", "register_channel needs @hookimpl above it"),
    "misspelt": (
        good().replace("def register_channel", "def register_chanel"),
        "register_chanel is no hook of Reelgate; did you mean register_channel?",
    ),
    "argument": (
        good().replace("def register_channel()", "def register_channel(app)"),
        "definition: register_channel(app)",
    ),
    "async hook": (good().replace("def register_channel", "async def register_channel"), "must be a plain def"),
    "hook fails": (good().replace("return Lumen", "raise KeyError('x')"), "register_channel failed: KeyError: 'x'"),
    "hook exits": (good().replace("return Lumen", "raise SystemExit(1)"), "register_channel failed: SystemExit: 1"),
    "nothing returned": (good().replace("return Lumen", "pass"), "register_channel returned nothing"),
    "empty list": (good().replace("return Lumen", "return []"), "register_channel returned nothing"),
    "instance": (good().replace("return Lumen", "return object()"), "returned a object, not a class"),
    "other class": (good().replace("return Lumen", "return dict"), "dict is no subclass of proxy.Channel"),
    "base class": (good().replace("return Lumen", "return Channel"), "Channel is no subclass of proxy.Channel"),
    "no type": (
        good().replace('type = "lumen"', "pass"),
        'needs a type, the word for channels.yaml: type = "lumen"',
    ),
    "odd type": (good("a b"), "Lumen needs a type"),
    "abstract": (good().replace("async def fetch", "async def fetsch"), "Lumen lacks fetch: async def fetch(self, …)"),
    "init": (
        good().replace("    async def create", "    def __init__(self, **k): ...\n\n    async def create"),
        "Lumen has an __init__ of its own",
    ),
    "plain def": (good().replace("async def fetch", "def fetch"), "Lumen.fetch must be async def"),
    "options": (
        good().replace("    mark", "    options_class = dict\n    mark"),
        "options_class must be a subclass",
    ),
    "models": (
        good().replace("    mark", "    models = {'a': 5}\n    mark"),
        "models must map names to proxy.Model",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_in_use_stops_the_start(folders: Folders, case: str) -> None:
    """The error names the file and the cause, with the line where there is one; a good neighbour changes nothing."""
    text, cause = BROKEN[case]
    file = folders.first / "lumen.py"
    file.write_text(text, "utf-8", errors="surrogateescape")
    write(folders.first, "other.py", good("other"))
    with pytest.raises(PluginError) as caught:
        folders.load("lumen")
    assert caught.value.file == str(file)
    assert cause in caught.value.cause


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_that_nobody_uses_warns(folders: Folders, case: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is one warning that names the file, and the others are served."""
    text, _ = BROKEN[case]
    file = folders.first / "lumen.py"
    file.write_text(text, "utf-8", errors="surrogateescape")
    write(folders.first, "other.py", good("other"))
    registry = folders.load("other")
    assert set(registry.channels) == {"other"}
    assert [error.file for error in registry.broken] == [str(file)]
    assert len(registry.warnings) == 1
    assert str(file) in registry.warnings[0]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    "text",
    [
        "import nowhere\nclass A:\n    type = 'wanted'\n",
        "import nowhere\nclass A:\n    type: str = 'wanted'\n",
        "class A:\n    type = 'wanted'\n\ndef x(:\n",
    ],
)
def test_a_broken_file_is_in_use_by_the_type_in_its_text(folders: Folders, text: str) -> None:
    """The type of a file that cannot be imported, or not even parsed, is read from its text."""
    write(folders.first, "other_name.py", text)
    with pytest.raises(PluginError, match=r"other_name\.py"):
        folders.load("wanted")
    assert len(folders.load("unwanted").warnings) == 1


def test_two_files_with_one_type_are_told_with_both_names(folders: Folders) -> None:
    """Two operator files that register the same type stop a start that wants it, and both are named."""
    write(folders.first, "a.py", good())
    write(folders.second, "b.py", good())
    with pytest.raises(PluginError) as caught:
        folders.load("lumen")
    assert all(file in str(caught.value) for file in ("a.py", "b.py"))
    assert set(folders.load("x").channels) == {"lumen"}


def test_a_dot_in_the_name_is_told(folders: Folders) -> None:
    """A file name with a dot cannot be imported, and the message says to rename it."""
    write(folders.first, "lumen.v2.py", good())
    assert "rename it" in folders.load().warnings[0]


def test_a_missing_folder_warns(folders: Folders) -> None:
    """A folder that is gone is a warning; the other folders are scanned."""
    write(folders.second, "lumen.py", good())
    folders.first.rmdir()
    registry = folders.load("lumen")
    assert "there is no such plugin folder" in registry.warnings[0]
    assert set(registry.channels) == {"lumen"}


def test_keyboard_interrupt_passes(folders: Folders) -> None:
    """Ctrl-C while plugins are imported ends the program and is not called a broken plugin."""
    write(folders.first, "lumen.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        folders.load()


def test_survey_names_every_broken_plugin_in_use(folders: Folders) -> None:
    """`check` gets all of them at once, by the word that channels.yaml uses."""
    write(folders.first, "a.py", "1/0\n")
    write(folders.first, "b.py", "1/0\n")
    write(folders.first, "c.py", "1/0\n")
    registry = loader.survey([folders.first], {"a", "b"}, entry_points=False, bundled=folders.bundled)
    assert set(registry.refused) == {"a", "b"}
    assert len(registry.broken) == 3


def test_the_bundled_folder_is_the_checkouts_or_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`proxy/_plugins` where it is, else `plugins/` beside the package."""
    package = tmp_path / "proxy"
    package.mkdir()
    monkeypatch.setattr(loader.proxy, "__file__", str(package / "__init__.py"))
    assert loader.bundled_folder() == tmp_path / "plugins"
    (package / "_plugins").mkdir()
    assert loader.bundled_folder() == package / "_plugins"
