"""The house rules of plugins/: what a plugin imports, and what comes with it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "plugins"
FILES = sorted(FOLDER.glob("*.py"))
PLUGINS = [file.stem for file in FILES if not file.stem.startswith("_")]
HELPERS = [file.stem for file in FILES if file.stem.startswith("_")]

ALLOWED = {
    # It encodes its films itself: that is what it is.
    ("demo", "av"),
    # It draws their frames.
    ("demo", "PIL"),
    # Its option `fields` is a table of a type of its own, which `reelgate check` reads key by key.
    ("fal", "msgspec"),
    # It signs for access tokens with the key of a service account (RS256).
    ("vertex", "cryptography"),
}
"""Which plugin may import what beyond `proxy` and the standard library."""

SHARED = {
    # One provider behind two doors: the same instances and parameters, error envelope and filter.
    "_google": {"gemini", "vertex"},
}
"""The helpers that several plugins use."""


class Import(NamedTuple):
    module: str
    line: int
    beside: bool
    """Whether it is of a file beside the plugin (`from ._name import …`)."""


def imports(text: str) -> Iterator[Import]:
    """What `text` imports when it runs, by a statement or by `import_module`; not what only type checkers read."""
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (Import("." * max(0, node.level - 1) + name, node.lineno, node.level > 0) for name in names)
        elif isinstance(node, ast.Call) and {"import_module", "__import__"} & {
            getattr(word, "attr", getattr(word, "id", "")) for word in (node.func, *node.args)
        }:
            for word in node.args:
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    yield Import(word.value, node.lineno, False)


def of(stem: str) -> list[Import]:
    return list(imports((FOLDER / f"{stem}.py").read_text("utf-8")))


def reached(stem: str) -> set[str]:
    """The files beside `stem` that it imports, and those that these import."""
    found: set[str] = set()
    waiting = [stem]
    while waiting:
        fresh = {one.module for one in of(waiting.pop()) if one.beside} - found
        found |= fresh
        waiting += fresh
    return found


def outside(stem: str) -> set[str]:
    """The packages that the plugin and its helpers import, beyond the standard library."""
    files = {stem, *reached(stem)}
    modules = {one.module for file in files for one in of(file) if not one.beside}
    return {module.partition(".")[0] for module in modules} - sys.stdlib_module_names


def test_the_rules_see_every_kind_of_import() -> None:
    """The reader of these tests finds statements, nested ones, relative ones, and modules that are named as text."""
    text = (
        "import a, b.c as d\nfrom e.f import g\nfrom ._h import i\nfrom . import _j\nfrom .. import k\n"
        "def f():\n    import l\n    importlib.import_module('m')\n    to_thread(import_module, 'n')\n"
        "if TYPE_CHECKING:\n    import o\nelse:\n    import p\nprint('q')\n"
    )
    found = sorted((one.module, one.beside) for one in imports(text))
    beside = [(".k", True), ("_h", True), ("_j", True)]
    assert found == sorted([*beside, *((name, False) for name in ("a", "b.c", "e.f", "l", "m", "n", "p"))])


@pytest.mark.parametrize("stem", [file.stem for file in FILES])
def test_a_plugin_imports_proxy_and_its_own_helpers_only(stem: str) -> None:
    """From the product only the package root, from its neighbours only files that are not plugins themselves."""
    for one in of(stem):
        if one.beside:
            assert one.module in HELPERS, f"plugins/{stem}.py:{one.line} imports .{one.module}"
        else:
            assert one.module == "proxy" or one.module.partition(".")[0] != "proxy", (
                f"plugins/{stem}.py:{one.line} imports {one.module}; a plugin imports from the package root `proxy`"
            )
            assert one.module.partition(".")[0] not in ("plugins", "channel_plugins", "tests")


def test_other_packages_need_a_reason() -> None:
    """Beyond `proxy` and the standard library a plugin imports what the list here allows, and the list has no more."""
    assert {(stem, package) for stem in PLUGINS for package in outside(stem) - {"proxy"}} == ALLOWED


def test_a_helper_belongs_to_its_plugin() -> None:
    """Each `_name.py` is used by one plugin, whose name it carries, or by those of one provider."""
    helpers = {stem: reached(stem) for stem in PLUGINS}
    users = {helper: {stem for stem in PLUGINS if helper in helpers[stem]} for helper in HELPERS}
    assert {helper: used for helper, used in users.items() if len(used) != 1} == SHARED
    own = {helper: used for helper, used in users.items() if helper not in SHARED}
    assert [helper for helper, (user,) in own.items() if not helper.startswith(f"_{user}")] == []


def test_the_product_imports_no_plugin() -> None:
    """Nothing in proxy/ imports plugins/, under any of its names."""
    files = [file for file in (ROOT / "proxy").rglob("*.py") if "_plugins" not in file.parts]
    assert len(files) > 50
    for file in files:
        for one in imports(file.read_text("utf-8")):
            words = one.module.strip(".").split(".")
            named = words[0] in ("plugins", "channel_plugins") or "_plugins" in words
            assert not named, f"{file.relative_to(ROOT)}:{one.line}"


@pytest.mark.parametrize("stem", PLUGINS)
def test_a_plugin_comes_with_tests_and_a_row(stem: str) -> None:
    """Each plugin has a test file of its name, and a row in the README's table under its type."""
    assert (ROOT / "tests" / "plugins" / f"test_{stem}.py").exists()
    types = re.findall(r'^    type(?:: .+)? = "(.+)"$', (FOLDER / f"{stem}.py").read_text("utf-8"), re.MULTILINE)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert types
    assert [kind for kind in types if f"\n| `{kind}` |" not in readme] == []
