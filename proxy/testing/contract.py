"""`ChannelContract`: subclass it, fill it in, and pytest holds your plugin to the laws of every channel."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from proxy.testing.bench import Kit, law
from proxy.testing.pictures import PictureLaws
from proxy.testing.polling import PollLaws
from proxy.testing.product import ProductLaws
from proxy.testing.results import ResultLaws
from proxy.testing.submitting import SubmitLaws

BLOCKING = frozenset(
    ("ftplib", "http.client", "http.server", "smtplib", "socket", "socketserver", "urllib.request", "urllib3")
)
"""Modules of network clients that block the event loop, or pass by the guard of `self.upstream`."""


class ClassLaws(Kit):
    """Laws about the class and its file."""

    @law
    async def test_plugin_is_accepted(self) -> None:
        """The product's own loader takes the file: its hook, its class, coroutine methods, facts of the right kinds."""
        assert self.channel_class().type == self.plugin

    @law
    async def test_imports_are_allowed(self) -> None:
        """The file imports `proxy`, the standard library without its network clients, and what is allowed to it."""
        plugin = self.registry().channels[self.plugin]
        wrong = await asyncio.to_thread(_forbidden_imports, Path(plugin.file), self.allowed_imports)
        assert not wrong, f"{Path(plugin.file).name} imports {', '.join(wrong)}; HTTP goes through self.upstream"

    @law
    async def test_requirements_are_named(self) -> None:
        """What the file imports and Reelgate does not bring is in `requires`, and imported by a function alone: a class
        that cannot be loaded cannot tell `reelgate check` what is missing."""
        plugin = self.registry().channels[self.plugin]
        tree = await asyncio.to_thread(_tree, Path(plugin.file))
        named = {name.partition(".")[0] for name in plugin.cls.requires}
        unnamed = [root for root in await asyncio.to_thread(_foreign, tree) if root not in named]
        assert not unnamed, f"{plugin.cls.__name__}.requires does not name {', '.join(unnamed)}"
        at_once = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        early = await asyncio.to_thread(_foreign, at_once)
        assert not early, f"import {', '.join(early)} in a function, such as start(), not at the top of the file"


class ChannelContract(ClassLaws, SubmitLaws, PictureLaws, PollLaws, ResultLaws, ProductLaws):
    """Every law of a channel. A subclass whose name begins with Test says what is tested:

    `plugin`, the type; `plugin_file`, where it is, unless in the bundled folder; `simulator`, a `Simulator` subclass;
    `entry`, what its entry of channels.yaml says beside name, type and base_url; and `states`, every state of the
    provider's and the status of ours. Laws about what the class does not override are skipped and say so.
    """


def _forbidden_imports(file: Path, allowed: tuple[str, ...]) -> list[str]:
    return [
        name
        for name in _imports(_tree(file))
        if name in BLOCKING or not _is_known(name.partition(".")[0], name, allowed)
    ]


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def _foreign(tree: ast.Module) -> list[str]:
    """The packages imported in `tree` that are not there wherever Reelgate is."""
    roots = dict.fromkeys(name.partition(".")[0] for name in _imports(tree))
    return [
        root
        for root in roots
        if root != "proxy"
        and root not in sys.stdlib_module_names
        and not any(_canonical(name) in _brought() for name in packages_distributions().get(root, ()))
    ]


@functools.cache
def _brought() -> frozenset[str]:
    """The distributions that Reelgate needs, and what those need, without extras."""
    found: set[str] = set()
    todo = ["reelgate"]
    while todo:
        name = todo.pop()
        with contextlib.suppress(PackageNotFoundError):
            lines = [line for line in requires(name) or () if "extra ==" not in line]
            fresh = {_canonical(re.split(r"[^\w.-]", line)[0]) for line in lines} - found
            found |= fresh
            todo += fresh
    return frozenset(found)


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _is_known(root: str, name: str, allowed: tuple[str, ...]) -> bool:
    return name == "proxy" or root in sys.stdlib_module_names or root in allowed


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            # `from urllib import request` and `from http import client` import a module too.
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in BLOCKING
            )
