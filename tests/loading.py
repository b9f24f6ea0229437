"""Plugins are imported once, and not anew for each of the hundreds of products that the tests start."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType

from proxy import loader
from proxy.loader import PACKAGE, Registry

BUNDLED = loader.bundled_folder()

log = logging.getLogger("reelgate.plugins")

_loaded: dict[tuple[object, ...], tuple[Registry, dict[str, ModuleType]]] = {}


def load(folders: Sequence[Path], wanted: Collection[str]) -> Registry:
    """What `proxy.loader.load` answers; the same, as long as the operator's folders have the same files.

    The bundled folder is taken to stay as it is. Afterwards the modules are in their places as after a real load.
    """
    key = (tuple(folders), frozenset(wanted), *map(_content, folders))
    if key not in _loaded:
        registry = loader.load(folders, wanted)
        _loaded[key] = (registry, _modules())
        return registry
    registry, modules = _loaded[key]
    for name in _modules():
        del sys.modules[name]
    sys.modules.update(modules)
    for note in registry.notes:
        log.info("%s", note)
    for warning in registry.warnings:
        log.warning("%s", warning)
    return registry


def _modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE}


def _content(folder: Path) -> str:
    if folder == BUNDLED:
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
