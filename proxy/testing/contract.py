"""`ChannelContract`: subclass it, fill it in, and pytest holds your plugin to the laws of every channel."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from proxy.testing.bench import Kit, law
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


class ChannelContract(ClassLaws, SubmitLaws, PollLaws, ResultLaws, ProductLaws):
    """Every law of a channel. A subclass whose name begins with Test says what is tested:

    `plugin`, the type; `plugin_file`, where it is, unless in the bundled folder; `simulator`, a `Simulator` subclass;
    `entry`, what its entry of channels.yaml says beside name, type and base_url; and `states`, every state of the
    provider's and the status of ours. Laws about what the class does not override are skipped and say so.
    """


def _forbidden_imports(file: Path, allowed: tuple[str, ...]) -> list[str]:
    return [
        name
        for name in _imports(ast.parse(file.read_text("utf-8")))
        if name in BLOCKING or not _is_known(name.partition(".")[0], name, allowed)
    ]


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
