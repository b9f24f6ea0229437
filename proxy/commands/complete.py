"""What the shell may put in for a name: of channels, plugins, models and videos. Whatever goes wrong, it is silent."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

QUICK: Final = 1.0
"""Seconds that a server has to answer: somebody waits at the keyboard."""
NEWEST: Final = 50
_HELP: Final = 48
_NAME: Final = re.compile(r"[\w.:/@+-]+")
"""What a shell takes as it is: a server must not put a command into a line that is being typed."""

Names = Iterable[tuple[str, str]]
"""Each with a word about it."""
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(find: Callable[[click.Context], Names]) -> Completer:
    @functools.wraps(find)
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # A warning in the middle of a line that is being typed helps nobody.
        logging.getLogger("reelgate").addHandler(logging.NullHandler())
        try:
            return [
                CompletionItem(name, help=about)
                for name, about in find(ctx)
                if name.startswith(incomplete) and _NAME.fullmatch(name)
            ]
        except Exception:
            return []

    return complete


@_completer
def channels(ctx: click.Context) -> Names:
    """The channels of channels.yaml."""
    from proxy import config as configuration

    config = configuration.draft(_file(ctx), os.environ).config
    return [(entry.name, entry.type) for entry in config.channels] if config is not None else []


@_completer
def types(ctx: click.Context) -> Names:
    """The types of the plugins that there are."""
    from proxy import config as configuration
    from proxy import loader

    config = configuration.draft(_file(ctx), os.environ).config
    folders = [Path(folder) for folder in config.server.plugins] if config is not None else []
    return [(kind, "") for kind in loader.survey(folders, ()).channels]


@_completer
def models(ctx: click.Context) -> Names:
    """The models of the running server."""
    from proxy.commands.remote import Remote

    found = Remote.from_environment(timeout=QUICK).get("/v1/models")["data"]
    return [(model["id"], "") for model in found]


@_completer
def videos(ctx: click.Context) -> Names:
    """The newest videos of the running server, newest first."""
    from proxy.commands.remote import Remote
    from proxy.commands.terminal import plain

    found = Remote.from_environment(timeout=QUICK).get("/v1/videos", limit=NEWEST)["data"]
    return [(video["id"], plain(f"{video['status']}: {video['prompt']}")[:_HELP]) for video in found]


def _file(ctx: click.Context) -> Path:
    return Path(ctx.meta.get("reelgate.config") or os.environ.get("REELGATE_CONFIG") or "channels.yaml")
