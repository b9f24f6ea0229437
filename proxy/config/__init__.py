"""channels.yaml -> frozen `Config`; every mistake at once, each with line and key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from proxy import frozen
from proxy.config import rules, tree
from proxy.config.conversion import BAD, Conversion, shown
from proxy.config.rules import Count as Count
from proxy.config.rules import ModelEntry as ModelEntry
from proxy.config.rules import Seconds as Seconds
from proxy.config.settings import ENTRY_KEYS as ENTRY_KEYS
from proxy.config.settings import ENVIRONMENT as ENVIRONMENT
from proxy.config.settings import ChannelConfig as ChannelConfig
from proxy.config.settings import Config as Config
from proxy.config.settings import Server as Server
from proxy.config.tree import Listing, Node, Problem, Scalar, Table, step
from proxy.errors import ConfigError, Mistake

Rule = Callable[[Conversion, Node, str, int], Any]


DEMO: Final = "channels:\n  - name: demo\n    type: demo\n"
"""What is served where there is no channels.yaml and none was named: as the repository's own, which explains more."""

_SECRET_KEY: Final = re.compile(r"key|secret|token|credential|passw|authorization", re.IGNORECASE)


class Draft(NamedTuple):
    """What could be read: `config` holds every sound part, None where the file as a whole cannot be read."""

    config: Config | None
    mistakes: list[Mistake]


def load(file: Path, environ: Mapping[str, str], *, demo: bool = False) -> Config:
    """Read `file`; raises `ConfigError` with all mistakes. With `demo`, the built-in `DEMO` stands in where there is no
    such file, as if it were there."""
    return _sound(draft(file, environ, demo=demo))


def parse(text: str, file: Path, environ: Mapping[str, str]) -> Config:
    """The config of `text`, relative paths taken from the folder of `file`; raises `ConfigError` with all mistakes."""
    return _sound(draft_text(text, file, environ))


def draft(file: Path, environ: Mapping[str, str], *, demo: bool = False) -> Draft:
    """Like `load`, but gives what is sound together with the mistakes."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        # A link that leads nowhere is no wish for a demo.
        if demo and not file.is_symlink():
            config, wrongs = draft_text(DEMO, file, environ)
            return Draft(config and msgspec.structs.replace(config, demo=True), wrongs)
        wrong = "there is no such file; name your channels.yaml with --config FILE or REELGATE_CONFIG"
        return Draft(None, [Mistake(file, 0, wrong)])
    except IsADirectoryError:
        return Draft(None, [Mistake(file, 0, "is a folder; name the file in it with --config FILE or REELGATE_CONFIG")])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        wrong = f"cannot be read ({reason}); check its owner and permissions, or name another file with --config FILE"
        return Draft(None, [Mistake(file, 0, wrong)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Draft(None, [Mistake(file, line, "is not UTF-8; save it with the encoding UTF-8")])
    return draft_text(text, file, environ)


def draft_text(text: str, file: Path, environ: Mapping[str, str]) -> Draft:
    """Like `parse`, but gives what is sound together with the mistakes."""
    root, problems = tree.parse(text, environ)
    reading = _Reading(file, environ)
    config = None
    if isinstance(root, Table):
        config = reading.config(root)
    elif not problems:
        what = "is empty" if root is None else f"must be a mapping, not {shown(root)}"
        problems = [Problem(0 if root is None else root.line, "", f"{what}; it needs a list `channels:`")]
    names = {channel.index: channel.name for channel in config.channels} if config else {}
    return Draft(config, mistakes(file, [*problems, *reading.conversion.problems], names))


def mistakes(file: Path, problems: Sequence[Problem], names: Mapping[int, str]) -> list[Mistake]:
    """`problems` in the order of the file, in words; `names` are the channels' names by their place."""
    found = []
    for line, path, text in sorted(problems):
        place = re.match(r"channels\[(\d+)\]", path)
        name = names.get(int(place[1])) if place else None
        who = f" (channel {name})" if name else ""
        found.append(Mistake(file, line, f"{path}{who}: {text}" if path else text))
    return found


class Places(NamedTuple):
    """Where things are kept: the data folder and the SQLite file of the store."""

    data: Path
    store: Path


def places(config: Config | None, data: Path | None, environ: Mapping[str, str]) -> Places:
    """`data` is the flag `--data`, which wins over a database that the file or the environment names."""
    folder = data or Path(environ.get("REELGATE_DATA") or "data")
    named = config.database if config is not None and data is None else None
    return Places(folder, named or folder / "reelgate.db")


def secrets(config: Config) -> frozenset[str]:
    """The values that no log line and no answer may show: options that look like credentials, passwords in addresses,
    and what options got from the environment."""
    return frozenset(text for channel in config.channels for text in _secrets(channel) if text)


def _sound(draft: Draft) -> Config:
    if draft.config is None or draft.mistakes:
        raise ConfigError(draft.mistakes)
    return draft.config


def _secrets(channel: ChannelConfig) -> Iterator[str]:
    for key, value in channel.options.items():
        yield from _texts(channel.nodes.get(key) or tree.node_of(value), bool(_SECRET_KEY.search(key)))


def _texts(node: Node, secret: bool) -> Iterator[str]:
    match node:
        case Scalar():
            yield from node.borrowed
            if secret:
                yield node.text
            elif "@" in node.text and "://" in node.text:
                yield _password(node.text)
        case Listing():
            for item in node.items:
                yield from _texts(item, secret)
        case Table():
            for key, item in node.entries.items():
                yield from _texts(item, secret or bool(_SECRET_KEY.search(key)))


def _password(address: str) -> str:
    return address.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]


class _Reading:
    """One look at a file: `conversion` collects what is wrong, the methods answer what is sound."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self.conversion = Conversion()
        self._file = file
        self._environ = environ
        self._database: Path | None = None
        self._archives = False

    def config(self, root: Table) -> Config:
        known = ("server", "channels")
        for key in root.entries:
            if key not in known:
                self.conversion.unknown(key, known, "", root.lines[key])
        server = self._server(root)
        channels = self._channels(root)
        return Config(
            file=self._file,
            server=server,
            channels=tuple(channels),
            database=self._database,
        )

    # -- server --------------------------------------------------------------------------------------------------------

    def _server(self, root: Table) -> Server:
        node = root.entries.get("server")
        table = Table({}, {}, 0)
        if isinstance(node, Table):
            table = node
        elif node is not None and not (isinstance(node, Scalar) and node.value is None):
            self._wrong(root.lines["server"], "server", f"must be a mapping, not {shown(node)}")
        for key in table.entries:
            if key not in Server.__struct_fields__:
                self.conversion.unknown(key, Server.__struct_fields__, "server", table.lines[key])
        values = self._values(
            table,
            Server,
            "server",
            {
                "public_url": rules.public_url,
                "database": rules.database,
                "archive": rules.archive,
                "plugins": self._plugins,
                "archive_max_bytes": rules.size_or_none,
                "media_cache": rules.size,
                "inputs": rules.input_limits,
                "files_per_key": rules.size,
                "max_body": rules.size,
                "webhook_hosts": rules.hosts,
                "trusted_proxies": rules.networks,
            },
        )
        beside = self._file.parent / "plugins"
        folders = [*values.get("plugins", ()), *([str(beside)] if beside.is_dir() else [])]
        if (program := frozen.plugin_folder()) is not None and not any(
            os.path.samefile(one, program) for one in folders
        ):
            folders.append(str(program))
        values["plugins"] = folders
        self._environment(values)
        if place := values.get("archive"):
            values["archive"] = rules.archive_place(place, self._file.parent)
        named = table.entries.get("archive")
        self._archives = named is not None and not (isinstance(named, Scalar) and named.sound and named.value is None)
        return msgspec.convert(values, Server)

    def _environment(self, values: dict[str, Any]) -> None:
        if address := values.get("database"):
            self._database = rules.sqlite_file(address, self._file.parent)
        for key, rule in (("public_url", rules.public_url), ("database", rules.database)):
            variable = ENVIRONMENT[key]
            if text := self._environ.get(variable):
                value = rule(self.conversion, Scalar(text, text, borrowed=(text,)), variable, 0)
                if value is not BAD:
                    values[key] = value
                    if key == "database":
                        # Relative to where the command runs: the environment knows no file.
                        self._database = rules.sqlite_file(value, Path())

    def _plugins(self, _: Conversion, node: Node, path: str, line: int) -> Any:
        folders = self.conversion.value(node, tuple[str, ...], path, line)
        if folders is BAD or not isinstance(node, Listing):
            return folders
        found = []
        for i, (text, item) in enumerate(zip(folders, node.items, strict=True)):
            folder = self._file.parent / text
            # Path.is_dir raises for names that no file can have.
            if os.path.isdir(folder):
                found.append(str(folder))
            else:
                self._wrong(item.line, f"{path}[{i}]", f"there is no folder {folder}")
        return found

    # -- channels ------------------------------------------------------------------------------------------------------

    def _channels(self, root: Table) -> list[ChannelConfig]:
        node = root.entries.get("channels")
        if node is None:
            self._wrong(0, "channels", "is missing; it is the list of upstream accounts, each with a name and a type")
        elif not isinstance(node, Listing):
            what = "names no channel" if isinstance(node, Scalar) and node.value is None else f"is {shown(node)}"
            if not isinstance(node, Scalar) or node.sound:
                self._wrong(
                    root.lines["channels"], "channels", f"{what}; it must be a list, each item begins `- name:`"
                )
        elif not node.items:
            self._wrong(root.lines["channels"], "channels", "names no channel; add one with a name and a type")
        else:
            entries = [self._channel(item, i) for i, item in enumerate(node.items)]
            return self._unique([entry for entry in entries if entry is not None])
        return []

    def _unique(self, entries: list[ChannelConfig]) -> list[ChannelConfig]:
        first: dict[str, ChannelConfig] = {}
        for entry in entries:
            if entry.name and (other := first.setdefault(entry.name, entry)) is not entry:
                line = entry.lines["name"]
                where = f"channels[{other.index}] on line {other.lines['name']}"
                self._wrong(line, f"channels[{entry.index}].name", f"{entry.name} is the name of {where} too")
        return entries

    def _channel(self, node: Node, index: int) -> ChannelConfig | None:
        path = f"channels[{index}]"
        if not isinstance(node, Table):
            if not isinstance(node, Scalar) or node.sound:
                self._wrong(node.line, path, f"must be a mapping with a name and a type, not {shown(node)}")
            return None
        special = {
            "name": rules.name,
            "type": rules.kind,
            "models": rules.models,
            "timeout": rules.timeout,
            "price": rules.price,
            "content": self._content,
            "breaker": rules.breaker,
            "allow_hosts": rules.hosts,
        }
        values = self._values(node, ChannelConfig, path, special, ENTRY_KEYS)
        for key in ("name", "type"):
            if key not in node.entries:
                self._wrong(node.line, f"{path}.{key}", "is missing; every channel has a name and a type")
        if "type" not in values:
            return None
        # Without a sound name too, so that the plugin's options are looked at: the file is not used anyhow.
        values.setdefault("name", "")
        options = {key: item for key, item in node.entries.items() if key not in ENTRY_KEYS}
        entry = msgspec.convert(values, ChannelConfig)
        return msgspec.structs.replace(
            entry,
            options={key: tree.plain(item) for key, item in options.items()},
            nodes=options,
            line=node.line,
            lines=dict(node.lines),
            index=index,
        )

    def _content(self, conversion: Conversion, node: Node, path: str, line: int) -> Any:
        word = rules.content(conversion, node, path, line)
        if word == "archive" and not self._archives:
            return self._wrong(line, path, "needs an archive; set server.archive, or write proxy or redirect")
        return word

    # -- both ----------------------------------------------------------------------------------------------------------

    def _values(
        self,
        table: Table,
        cls: type[msgspec.Struct],
        path: str,
        special: Mapping[str, Rule],
        keys: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The sound values of those entries of `table` that `cls` knows."""
        values = {}
        for field in msgspec.structs.fields(cls):
            key = field.name
            if key in table.entries and (not keys or key in keys):
                node, line = table.entries[key], table.lines[key]
                inner = step(path, key)
                if key in special:
                    values[key] = special[key](self.conversion, node, inner, line)
                else:
                    values[key] = self.conversion.value(node, field.type, inner, line)
        return {key: value for key, value in values.items() if value is not BAD}

    def _wrong(self, line: int, path: str, text: str) -> Any:
        return self.conversion.wrong(line, path, text)
