"""Entries and plugins become checked plans; nothing is started."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proxy import config as configuration
from proxy import loader
from proxy.channel import Channel, Options
from proxy.config import ENTRY_KEYS, ChannelConfig, Config, ModelEntry
from proxy.config.conversion import BAD, Conversion
from proxy.config.rules import PER_SECOND
from proxy.config.tree import Scalar, Table, node_of
from proxy.errors import ConfigError, Mistake, did_you_mean
from proxy.loader import Registry
from proxy.models import Model
from proxy.upstream.guard import UnusableUrl, check_url


@dataclass(frozen=True, slots=True)
class Offer:
    """One public model of a channel. `limits` are the plugin's for the upstream's model, with the entry's over them."""

    public: str
    upstream: str
    limits: Model

    def native(self, kind: str) -> bool:
        """Whether the model is none of those that their channel cannot remix, edit or extend (`kind`) itself."""
        return self.limits.native is None or kind in self.limits.native


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked entry; nothing is started. `file` and `digest` are the plugin's."""

    entry: ChannelConfig
    cls: type[Channel]
    options: Options
    offers: dict[str, Offer]
    file: str = ""
    digest: str = ""

    def same(self, other: Plan) -> bool:
        """Whether a channel of the other plan may stay as it is: the entry says the same and the plugin's source is the
        same. A reload imports files anew, so that the class alone proves nothing."""
        same_source = self.cls is other.cls or (self.file == other.file and self.digest == other.digest != "")
        return same_source and self.cls.type == other.cls.type and self.entry.same(other.entry)


def plan(config: Config, registry: Registry) -> list[Plan]:
    """A plan for each entry; raises `ConfigError` with every mistake that only the plugins can tell."""
    plans, mistakes = examine(config, registry)
    if mistakes:
        raise ConfigError(mistakes)
    return plans


def examine(config: Config, registry: Registry) -> tuple[list[Plan], list[Mistake]]:
    """Like `plan`, but gives the sound plans together with the mistakes."""
    conversion = Conversion()
    plans = [_plan(entry, registry, config.file.parent, conversion) for entry in config.channels]
    names = {entry.index: entry.name for entry in config.channels}
    mistakes = configuration.mistakes(config.file, conversion.problems, names)
    if config.demo:
        # No line and no key to name: the operator wrote none.
        begin = "there is no such file, and the demo channel cannot stand in: "
        mistakes = [Mistake(config.file, 0, begin + problem.text) for problem in conversion.problems]
    return [one for one in plans if one is not None], mistakes


def demo_refused(config: Config, pins: Mapping[str, int]) -> str | None:
    """Why the built-in demo may not stand in: a sentence where the store has videos of other channels, so that a file
    has been lost, not never written. `pins` are the channels of its videos."""
    others = sorted(set(pins) - {entry.name for entry in config.channels})
    if not config.demo or not others:
        return None
    return (
        f"{config.file}: there is no such file, and the demo does not stand in, for the store has videos of the "
        f"channel {', '.join(others)}: put the file back, name it with --config FILE, or take another data folder with "
        "--data DIR"
    )


class Survey(NamedTuple):
    """Everything that can be said about a file and its plugins without starting anything."""

    config: Config | None
    plans: list[Plan]
    mistakes: list[str]
    warnings: list[str]


def survey(file: Path, environ: Mapping[str, str], folders: Sequence[Path] = (), *, demo: bool = False) -> Survey:
    """All mistakes of `file` and of the plugins that it uses, and the warnings; `folders` come before the file's. With
    `demo`, the built-in demo stands in where there is no file."""
    draft = configuration.draft(file, environ, demo=demo)
    if draft.config is None:
        return Survey(None, [], [str(mistake) for mistake in draft.mistakes], [])
    wanted = {entry.type for entry in draft.config.channels}
    registry = loader.survey([*folders, *map(Path, draft.config.server.plugins)], wanted)
    plans, further = examine(draft.config, registry)
    mistakes = [str(mistake) for mistake in sorted({*draft.mistakes, *further, *_missing_files(draft.config, plans)})]
    # An entry of a broken type has the plugin's fault in its own line already.
    told = {entry.type for entry in draft.config.channels if entry.type not in registry.channels}
    mistakes += list({str(error): None for word, error in registry.refused.items() if word not in told})
    return Survey(draft.config, plans, mistakes, registry.warnings)


def _missing_files(config: Config, plans: Iterable[Plan]) -> list[Mistake]:
    """The files that options name and that cannot be read: the start would tell of the first one only."""
    conversion = Conversion()
    for one in plans:
        for key in sorted(one.options.paths & set(one.options.__struct_fields__)):
            path = getattr(one.options, key)
            if _is_path(path) and not (os.path.isfile(path) and os.access(path, os.R_OK)):
                text = f"names {path}, which is no file that can be read"
                conversion.wrong(_line(one.entry, key), _path(one.entry, key), text)
    names = {one.entry.index: one.entry.name for one in plans}
    return configuration.mistakes(config.file, conversion.problems, names)


def _is_path(value: object) -> bool:
    """Whether an option in `paths` names a file, and is not the file's own JSON."""
    return isinstance(value, str) and value != "" and not value.lstrip().startswith("{")


def _plan(entry: ChannelConfig, registry: Registry, folder: Path, conversion: Conversion) -> Plan | None:
    known = len(conversion.problems)
    plugin = registry.channels.get(entry.type)
    if plugin is None:
        _unknown_type(entry, registry, conversion)
        return None
    for name, cure in plugin.cls.requires.items():
        if not _is_installed(name):
            text = f"the plugin {entry.type} needs the module {name}, which is not installed: {cure}"
            conversion.wrong(_line(entry, "type"), _path(entry, "type"), text)
    try:
        options = _options(entry, plugin.cls, folder, conversion)
        offers = {} if options is BAD else _offers(entry, plugin.cls, options, conversion)
    except Exception as error:
        # An operator's slip may be more than the plugin's author thought of.
        text = f"makes its plugin fail: {loader.cause(error, Path(plugin.file))}"
        conversion.wrong(entry.line, f"channels[{entry.index}]", text)
        return None
    if not entry.models and not plugin.cls.models and "models" not in entry.lines:
        text = f"is missing; the plugin {entry.type} has no models of its own, so say which models this channel serves"
        conversion.wrong(entry.line, _path(entry, "models"), text)
    if entry.remix == "native" and not plugin.cls.can("remix"):
        text = f"the plugin {entry.type} has no remix of its own; write auto, reimagine or off"
        conversion.wrong(_line(entry, "remix"), _path(entry, "remix"), text)
    elif entry.remix == "native" and offers and not any(offer.native("remix") for offer in offers.values()):
        text = "is native, but no model of this entry has a remix of its own; write auto, reimagine or off"
        conversion.wrong(_line(entry, "remix"), _path(entry, "remix"), text)
    if options is BAD or len(conversion.problems) > known:
        return None
    return Plan(entry, plugin.cls, options, offers, plugin.file, plugin.digest)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        # The module above it is missing, or is no package.
        return False


def _unknown_type(entry: ChannelConfig, registry: Registry, conversion: Conversion) -> None:
    line, path = _line(entry, "type"), _path(entry, "type")
    if (error := registry.refused.get(entry.type)) is not None:
        conversion.wrong(line, path, f"its plugin cannot be used: {error}")
    else:
        known = sorted(registry.channels)
        guess = did_you_mean(entry.type, known)
        listed = ", ".join(known) or "none"
        text = f"no plugin has the type {entry.type!r}; known types are {listed}{guess}"
        conversion.wrong(line, path, text)
    # Which options the plugin has cannot be known, but a slip in a key that every channel has can be.
    for key in entry.options:
        if key not in Options.__struct_fields__ and (guess := did_you_mean(key, ENTRY_KEYS, cutoff=0.8)):
            conversion.wrong(_line(entry, key), _path(entry, key), f"is an unknown key{guess}")


def _options(entry: ChannelConfig, cls: type[Channel], folder: Path, conversion: Conversion) -> Any:
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls.options_class)}
    known = len(conversion.problems)
    for key in entry.options:
        if key not in fields:
            conversion.unknown(key, {*fields, *ENTRY_KEYS}, f"channels[{entry.index}]", _line(entry, key))
    nodes = {
        key: entry.nodes.get(key) or node_of(value, _line(entry, key))
        for key, value in entry.options.items()
        if key in fields
    }
    table = Table(nodes, {key: _line(entry, key) for key in nodes}, entry.line)
    values = conversion.struct(table, cls.options_class, f"channels[{entry.index}]", entry.line)
    address = nodes.get("base_url")
    if isinstance(address, Scalar) and address.sound and isinstance(address.value, str):
        # Beside what else is wrong with the entry, not only after it.
        _check_address(entry, address.text, conversion)
    if values is BAD or len(conversion.problems) > known:
        return BAD
    for key in cls.options_class.paths & values.keys():
        if _is_path(values[key]):
            values[key] = str(folder / values[key])
    options: Options = msgspec.convert(values, cls.options_class)
    return options if _check_address(entry, options.base_url, conversion) else BAD


def _check_address(entry: ChannelConfig, address: str, conversion: Conversion) -> bool:
    if not address:
        return True
    try:
        check_url(address)
        if set("?#") & set(address):
            raise UnusableUrl("it has a query or a fragment")
    except UnusableUrl as error:
        text = f"must be an address such as https://api.example.com: {error}"
        conversion.wrong(_line(entry, "base_url"), _path(entry, "base_url"), text)
        return False
    return True


def _offers(entry: ChannelConfig, cls: type[Channel], options: Options, conversion: Conversion) -> dict[str, Offer]:
    models = entry.models or {name: ModelEntry(upstream=name) for name in cls.models}
    offers = {}
    for public, model in models.items():
        limits = cls.limits(options, model.upstream)
        if limits is not None:
            offers[public] = Offer(public, model.upstream, _limits(limits, model, model.price or entry.price))
        elif entry.models:
            text = f"has the model {model.upstream}, which the plugin {entry.type} does not serve with these options"
            conversion.wrong(_line(entry, "models"), _path(entry, "models"), text)
    return offers


def _limits(limits: Model, model: ModelEntry, price: dict[str, float] | None) -> Model:
    if model.seconds:
        kept = limits.default_seconds if limits.default_seconds in model.seconds else model.seconds[0]
        limits = replace(limits, seconds=model.seconds, default_seconds=kept)
    if model.sizes:
        default = limits.default_size if limits.default_size in model.sizes else model.sizes[0]
        limits = replace(limits, sizes=model.sizes, default_size=default)
    if price is None:
        return limits
    prices = dict(price)
    if (per_second := prices.pop(PER_SECOND, None)) is None:
        # Only some are said: the plugin's table has the others.
        return replace(limits, prices={**limits.prices, **prices})
    return replace(limits, price=per_second, prices=prices)


def _path(entry: ChannelConfig, key: str) -> str:
    return f"channels[{entry.index}].{key}"


def _line(entry: ChannelConfig, key: str) -> int:
    return entry.lines.get(key, entry.line)
