"""The contract run by `reelgate plugins test`: a plugin file beside a simulator, each law told in words."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.loader import load
from proxy.testing import ROOMS
from proxy.testing.simulator import Simulator

if TYPE_CHECKING:
    # Only within the run: pytest shows the values that a broken law compared where it has imported the laws itself.
    from proxy.testing.contract import ChannelContract

TIMEOUT: Final = 120
"""Seconds that one law has: a plugin that hangs is a broken law, not a command that never ends."""
MODEL: Final = "any-model"
"""What is asked for where neither the entry nor the plugin names a model."""

Say = Callable[[str, str, Sequence[str]], None]
"""Told of each law: "ok", "FAIL" or "skip", the law in words, and why."""


class NotTried(Exception):
    """Nothing was run; the text says what is missing."""


# ---------------------------------------------------------------- what is tried


def type_of(file: Path, kind: str | None) -> str:
    """The type of the plugin in `file`, which is loaded as the product loads it; `kind` where it has several."""
    registry = load([file.parent], {file.stem}, entry_points=False)
    found = [plugin.type for plugin in registry.channels.values() if Path(plugin.file).resolve() == file.resolve()]
    if not found:
        raise NotTried(f"{file} is no plugin: those are files called name.py, without a _ before it.")
    if kind is not None and kind not in found:
        raise NotTried(f"{file} has no plugin of the type {kind!r}; it has {', '.join(found)}.")
    if kind is None and len(found) != 1:
        raise NotTried(f"{file} has {len(found)} plugins ({', '.join(found)}); say which one with --type.")
    return kind or found[0]


def contract_of(
    file: Path, kind: str, entry: Mapping[str, Any] | None, simulator: tuple[Path, str | None] | None
) -> type[ChannelContract]:
    """The contract of the plugin of type `kind` in `file`.

    `simulator` names a file and, where it has several, a class in it; None looks beside the plugin's folder, where
    `plugins new` puts both files: the contract test there says more than a simulator alone. `entry` replaces that of
    the contract.
    """
    from proxy.testing.contract import ChannelContract

    beside = file.resolve().parent.parent / "plugin_tests"
    test, stand_in = beside / f"test_{file.stem}.py", beside / f"{file.stem}_simulator.py"
    values: dict[str, Any] = {"plugin": kind, "plugin_file": file.resolve()}
    if entry is not None:
        values["entry"] = entry
    if simulator is None and test.is_file():
        laws = _only(test, None, ChannelContract, lambda cls: getattr(cls, "plugin", None) == kind)
        return type(laws.__name__, (laws,), values)
    if simulator is None and not stand_in.is_file():
        raise NotTried(
            f"There is no simulator for {file}: neither {test} nor {stand_in}. Name one with --simulator FILE, write "
            "one as docs/plugin-authors.md says, or try the real provider with --live."
        )
    place, name = simulator or (stand_in, None)
    found = _only(place, name, Simulator)
    words = {found.words.get(status, status): status for status in ("queued", "in_progress", "completed", "failed")}
    own = {"api_key": "key-of-the-trial-5d20c7", "models": [MODEL]}
    if load([file.parent], {kind}, entry_points=False).channels[kind].cls.models:
        del own["models"]
    return type("TestPlugin", (ChannelContract,), {"simulator": found, "states": words, "entry": own, **values})


def _only(file: Path, name: str | None, base: type[Any], fits: Callable[[Any], bool] = lambda cls: True) -> type[Any]:
    """The class of `file` that is called `name`, or the only one that is a `base` and fits."""
    module = _module(file)
    own = [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, base) and cls.__module__ == module.__name__ and fits(cls)
    ]
    chosen = own if name is None else [cls for cls in own if cls.__name__ == name]
    if len(chosen) != 1:
        listed = ", ".join(cls.__name__ for cls in own) or "none"
        hint = "; say which one: FILE:CLASS" if len(own) > 1 else ""
        raise NotTried(
            f"{file} must have one {base.__name__}{f' called {name}' if name else ''}, and has {listed}{hint}."
        )
    return chosen[0]


def _module(file: Path) -> ModuleType:
    """The module in `file`, imported within its package where it lies in one."""
    file = file.resolve()
    folder, names = file.parent, [file.stem]
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    # At the end: a file called openai.py must not stand before an installed package.
    sys.path += [str(place) for place in (folder, Path.cwd()) if str(place) not in sys.path]
    try:
        if len(names) > 1:
            return importlib.import_module(".".join(names))
        name = f"reelgate_trial_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise NotTried(f"{file} is no Python file.")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except NotTried:
        raise
    except (Exception, SystemExit) as error:
        raise NotTried(f"{file} cannot be imported: {type(error).__name__}: {error}") from error


# ---------------------------------------------------------------- the run

_SUITE: Final = "from proxy.testing.trial import on_trial\n\nTestPlugin = on_trial()\n"
_INI: Final = "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"

Build = Callable[[], "type[ChannelContract]"]
"""Gives the contract, once pytest runs."""

_runs: list[_Teller] = []


def on_trial() -> type[ChannelContract]:
    """The contract of the run under way, for its suite; a whole module is skipped where there is none."""
    teller = _runs[-1]
    try:
        return teller.build()
    except NotTried as error:
        teller.missing = error
        pytest.skip(str(error), allow_module_level=True)


def run(build: Build, say: Say, *, only: str | None = None, trace: bool = False) -> None:
    """Run the laws of the contract that `build` gives, those whose name or words have `only` in them, and `say` what
    came of each as soon as it is known. With `trace`, the reasons go on with where it broke. Raises `NotTried`, also
    that of `build`."""
    teller = _Teller(build, say, only, trace)
    _runs.append(teller)
    with tempfile.TemporaryDirectory(prefix="reelgate-laws-") as folder, _alone(), _silence() as heard:
        suite = Path(folder, "test_plugin.py")
        suite.write_text(_SUITE, "utf-8")
        Path(folder, "pytest.ini").write_text(_INI, "utf-8")
        arguments = [str(suite), "--rootdir", folder, "-c", f"{folder}/pytest.ini", "--basetemp", f"{folder}/files"]
        arguments += ["-p", "no:cacheprovider", "-s", "-q", "--import-mode=importlib"]
        # Not what else is installed: it may shuffle the laws, or print among them.
        arguments += ["--disable-plugin-autoload", "-p", "pytest_asyncio.plugin"]
        if importlib.util.find_spec("pytest_timeout"):
            arguments += ["-p", "pytest_timeout", "--timeout", str(TIMEOUT)]
        code = pytest.main(arguments, plugins=[teller])
    _runs.remove(teller)
    if teller.missing is not None:
        raise teller.missing
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        if code == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        raise NotTried(f"The laws could not be run:\n{heard.getvalue()}")


class _Teller:
    """Makes one report of all cases of a law, in the order in which they are defined."""

    def __init__(self, build: Build, say: Say, only: str | None, trace: bool) -> None:
        self.build = build
        self.missing: NotTried | None = None
        self._say = say
        self._only = only and only.lower()
        self._trace = trace
        self._law = ""
        self._words = ""
        self._tried = False
        self._broken: list[str] = []
        self._skipped: list[str] = []

    def pytest_configure(self) -> None:
        pytest.register_assert_rewrite(*ROOMS)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._only is not None:
            items[:] = [item for item in items if self._only in f"{item.name} {_words(item)}".lower()]
        items.sort(key=_room)
        for item in items:
            item.user_properties.append(("words", _words(item)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        law, _, case = report.location[2].rpartition(".")[2].partition("[")
        if law != self._law:
            self._tell()
            self._law, self._words = law, str(dict(report.user_properties)["words"])
        if report.failed:
            self._broken.append(f"{case.removesuffix(']')}: {_reason(report)}" if case else _reason(report))
            if self._trace:
                self._broken.append(report.longreprtext)
        elif report.skipped:
            self._skipped.append(_reason(report))
        elif report.when == "call":
            self._tried = True

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        # Ctrl-C leaves the last one in its middle.
        if exitstatus != pytest.ExitCode.INTERRUPTED:
            self._tell()

    def _tell(self) -> None:
        if self._law and self._broken:
            self._say("FAIL", self._words, self._broken)
        elif self._law and not self._tried:
            self._say("skip", self._words, list(dict.fromkeys(self._skipped)))
        elif self._law:
            self._say("ok", self._words, ())
        self._law, self._tried, self._broken, self._skipped = "", False, [], []


def _room(item: pytest.Item) -> int:
    """The place of the law's room: what stands first in `ChannelContract` has to hold before the rest makes sense."""
    from proxy.testing.contract import ChannelContract

    name = item.name.partition("[")[0]
    return next(place for place, room in enumerate(ChannelContract.__mro__) if name in vars(room))


def _words(item: pytest.Item) -> str:
    """What the law says of itself: the first paragraph of its docstring, in one line."""
    text = inspect.getdoc(getattr(item, "obj", None)) or item.name
    return " ".join(text.partition("\n\n")[0].split())


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    first, _, _ = (crash.message if crash is not None else report.longreprtext).partition("\n")
    return str(first).removeprefix("AssertionError: ").removeprefix("Failed: ").removeprefix("assert ")


@contextlib.contextmanager
def _silence() -> Iterator[io.StringIO]:
    """What pytest has to say is said by the caller, in words; here it is only kept."""
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
        yield heard


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Without the options that the environment has for other runs of pytest."""
    kept = {name: os.environ.pop(name) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
