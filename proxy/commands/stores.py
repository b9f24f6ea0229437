"""The store that commands work on: the server's own, also while that is running."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from proxy.commands.terminal import config_file, demo_stands_in
from proxy.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from proxy.config import Places
    from proxy.store import Store

T = TypeVar("T")


def data_flag() -> Path | None:
    """The data folder that `--data` names."""
    flag: Path | None = click.get_current_context().meta.get("reelgate.data")
    return flag


def store_file() -> Path:
    """The store that the server uses. A file with mistakes elsewhere does not matter: keys must be ended any time."""
    from proxy import config as configuration

    flag = data_flag()
    file = config_file()
    demo = demo_stands_in()
    if flag is not None or (os.environ.get("REELGATE_DATA") and not demo and not file.exists()):
        return configuration.places(None, flag, os.environ).store
    draft = configuration.draft(file, os.environ, demo=demo)
    keys = ("server.database", "REELGATE_DATABASE_URL")
    about = [mistake for mistake in draft.mistakes if mistake.message.startswith(keys)]
    if draft.config is None or about:
        raise ConfigError(about or draft.mistakes)
    places: Places = configuration.places(draft.config, None, os.environ)
    if draft.config.demo and not os.environ.get("REELGATE_DATA") and not places.store.exists():
        # In the wrong folder, a key would be made for nobody.
        raise StoreError(
            f"there is no {file} here and no store at {places.store}: go to the server's folder, start it once, or "
            "name its file with --config FILE or its data folder with --data DIR"
        )
    return places.store


async def with_store(path: Path, use: Callable[[Store], Coroutine[Any, Any, T]], *, create: bool = True) -> T:
    """What `use` answers; without `create`, `StoreError` where there is no store yet."""
    from proxy.store import Store

    store = await Store.open(path, create=create)
    try:
        return await use(store)
    finally:
        await store.close()
