"""Finds plugins: the operator's folders, installed packages (entry points), the bundled folder.

Files are imported as submodules of a synthetic package whose `__path__` are the folders, so that dataclasses, relative
imports, pickling and tracebacks work, and so that a file called `openai.py` shadows no installed package: no folder is
ever put on `sys.path`.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.metadata
import logging
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import proxy
from proxy.channel import Channel
from proxy.errors import PluginError
from proxy.loader.registration import channel_classes

PACKAGE: Final = "channel_plugins"
GROUP: Final = "reelgate"

_TYPE_LINE: Final = re.compile(r"""^[ \t]+type\b[^=\n]*=[ \t]*["']([^"'\n]+)["']""", re.MULTILINE)

log = logging.getLogger("reelgate.plugins")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One registered channel class. `file` is where it comes from, `overridden` the files that it stands before.

    `digest` changes with the source: that of the file and of the `_name.py` files beside it. It is empty for an
    installed package, whose classes stay the same as long as the process lives.
    """

    cls: type[Channel]
    file: str
    type: str
    overridden: tuple[str, ...] = ()
    digest: str = ""


@dataclass(slots=True)
class Registry:
    """What was found: `channels` by their type; `broken` is what could not be used, `refused` those of them that an
    entry of channels.yaml wants, by the word that it wants them by; `warnings` and `notes` are sentences."""

    channels: dict[str, Plugin] = field(default_factory=dict)
    broken: list[PluginError] = field(default_factory=list)
    refused: dict[str, PluginError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def bundled_folder() -> Path:
    """The plugins that come with the product: `proxy/_plugins` in a wheel, `plugins/` beside `proxy/` in a checkout."""
    package = Path(proxy.__file__).parent
    inside = package / "_plugins"
    return inside if inside.is_dir() else package.parent / "plugins"


def load(
    folders: Sequence[Path], wanted: Collection[str], *, entry_points: bool = True, bundled: Path | None = None
) -> Registry:
    """Import every plugin; `folders` are the operator's, the first wins, and all win over the bundled one.

    `wanted` are the types that channels.yaml uses. Raises `PluginError` where one of them is broken; a broken plugin
    that nobody wants is a warning. Overrides and warnings are logged here. It can be called again: files are imported
    afresh, and the classes of an earlier call go on working.
    """
    with _earlier_modules_kept():
        registry = survey(folders, wanted, entry_points=entry_points, bundled=bundled)
        for error in registry.refused.values():
            raise error
    for note in registry.notes:
        log.info("%s", note)
    for warning in registry.warnings:
        log.warning("%s", warning)
    return registry


def survey(
    folders: Sequence[Path], wanted: Collection[str], *, entry_points: bool = True, bundled: Path | None = None
) -> Registry:
    """Like `load`, but broken wanted plugins are in `Registry.refused`, all of them, and nothing is logged."""
    search = _Search(wanted)
    own = bundled_folder() if bundled is None else bundled
    operators = [folder for folder in folders if folder.resolve() != own.resolve()]
    search.folders(operators, own)
    if entry_points:
        search.packages()
    search.collect()
    return search.registry


@dataclass(frozen=True, slots=True)
class _Source:
    """A plugin before it is imported. `rank`: 0 operator's file, 1 installed package, 2 bundled file."""

    name: str
    file: str
    rank: int
    path: Path | None = None
    entry_point: importlib.metadata.EntryPoint | None = None


class _Search:
    """One look through all places."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.registry = Registry()
        self._wanted = wanted
        self._sources: list[_Source] = []

    def folders(self, operators: Sequence[Path], bundled: Path) -> None:
        for folder in operators:
            if not folder.is_dir():
                self.registry.warnings.append(f"{folder}: there is no such plugin folder")
        _make_package([*operators, bundled])
        first: dict[str, Path] = {}
        for folder in (*operators, bundled):
            for path in _plugin_files(folder):
                known = first.setdefault(path.stem, path)
                if known is path:
                    rank = 2 if folder == bundled else 0
                    self._sources.append(_Source(path.stem, str(path), rank, path=path))
                elif known.resolve() != path.resolve():
                    self.registry.notes.append(f"plugin {known} is used in place of {path}")

    def packages(self) -> None:
        points = importlib.metadata.entry_points(group=GROUP)
        for point in sorted(points, key=lambda point: (point.name, point.value)):
            dist = point.dist.name if point.dist is not None else "an installed package"
            self._sources.append(_Source(point.name, f"{dist} ({point.value})", 1, entry_point=point))

    def collect(self) -> None:
        found: dict[str, tuple[_Source, Plugin]] = {}
        for source in sorted(self._sources, key=lambda source: source.rank):
            try:
                plugins = list(self._plugins(source))
            except PluginError as error:
                self._broken(source, error)
                continue
            for plugin in plugins:
                if plugin.type not in found:
                    found[plugin.type] = (source, plugin)
                    continue
                other, winner = found[plugin.type]
                if other.rank == source.rank:
                    cause = f"type {plugin.type!r} is registered by {winner.file} too; keep one of them"
                    self._broken(source, PluginError(source.file, cause), {plugin.type})
                    continue
                self.registry.notes.append(
                    f"type {plugin.type}: plugin {winner.file} is used in place of {plugin.file}"
                )
                overridden = (*winner.overridden, plugin.file)
                winner = Plugin(winner.cls, winner.file, winner.type, overridden, winner.digest)
                found[plugin.type] = (other, winner)
        self.registry.channels = {kind: plugin for kind, (_, plugin) in sorted(found.items())}

    def _plugins(self, source: _Source) -> Iterator[Plugin]:
        module = _imported(source)
        digest = _digest(source.path) if source.path is not None else ""
        for cls in channel_classes(module, source.file):
            yield Plugin(cls, source.file, cls.type, digest=digest)

    def _broken(self, source: _Source, error: PluginError, types: Collection[str] = ()) -> None:
        self.registry.broken.append(error)
        words = {source.name, *types} if types else {source.name, *_types_in(source.path)}
        in_use = sorted(words.intersection(self._wanted))
        for word in in_use:
            self.registry.refused.setdefault(word, error)
        if not in_use:
            self.registry.warnings.append(f"{error} (no channel uses it)")


# ---------------------------------------------------------------- files


def _plugin_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("*.py") if path.name[0] not in "_." and path.is_file())


def _make_package(folders: Sequence[Path]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder.resolve()) for folder in folders]
    sys.modules[PACKAGE] = package
    # A file that was dropped in a moment ago is not in the import system's listing of the folder yet.
    importlib.invalidate_caches()


@contextlib.contextmanager
def _earlier_modules_kept() -> Iterator[None]:
    """Where the body raises, the modules of an earlier load are back in their place."""
    earlier = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE}
    try:
        yield
    except PluginError:
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.modules.update(earlier)
        raise


@contextlib.contextmanager
def _no_bytecode(path: Path | None) -> Iterator[None]:
    """An operator's file is compiled each time: bytecode is told apart by whole seconds and the size, which misses a
    quick edit, and their folder is not ours to fill."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = before or (path is not None and path.parent.resolve() != bundled_folder().resolve())
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _imported(source: _Source) -> Any:
    if "." in source.name and source.path is not None:
        raise PluginError(source.file, "the file name of a plugin has no dot before .py; rename it")
    try:
        with _no_bytecode(source.path):
            if source.entry_point is not None:
                return source.entry_point.load()
            return importlib.import_module(f"{PACKAGE}.{source.name}")
    except PluginError as error:
        raise PluginError(source.file, error.cause) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file that calls sys.exit() must not end the server
        raise PluginError(source.file, cause(error, source.path)) from error


def cause(error: BaseException, path: Path | None) -> str:
    """What went wrong and, where it can be told, in which line of `path`."""
    words = str(error) or "no reason given"
    line = None
    if isinstance(error, SyntaxError):
        words, line = error.msg, error.lineno
        if path is not None and error.filename and Path(error.filename).name != path.name:
            words = f"{words} in {Path(error.filename).name}"
    elif path is not None:
        # Not extract_tb, which reads the source files: this runs in the event loop too.
        places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        line = next((line for file, line in reversed(places) if Path(file).name == path.name), None)
    place = f"line {line}: " if line else ""
    return f"{place}{type(error).__name__}: {' '.join(words.split())}"


def _types_in(path: Path | None) -> set[str]:
    """The words that a broken file would have registered, as far as its text tells."""
    if path is None:
        return set()
    try:
        text = path.read_text("utf-8", errors="replace")
        module = ast.parse(text)
    except OSError:
        return set()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(_TYPE_LINE.findall(text))
    words = set()
    for cls in (node for node in ast.walk(module) if isinstance(node, ast.ClassDef)):
        for statement in cls.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                words |= {value.value for target in targets if isinstance(target, ast.Name) and target.id == "type"}
    return words


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in (path, *sorted(path.parent.glob("_*.py"))):
        with contextlib.suppress(OSError):
            digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
