"""Entries and plugins become channels: checked plans first, then the live set that changes as a whole or not at all."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from proxy import config as configuration
from proxy import loader
from proxy.channel import Channel, Options
from proxy.config import ENTRY_KEYS, ChannelConfig, Config, ModelEntry
from proxy.config.conversion import BAD, Conversion
from proxy.config.rules import PER_SECOND
from proxy.config.tree import Scalar, Table, node_of
from proxy.errors import ConfigError, Mistake, PluginError, StartupError, did_you_mean
from proxy.loader import Registry
from proxy.models import Model
from proxy.upstream import Upstream
from proxy.upstream.guard import UnusableUrl, check_url
from proxy.upstream.http import Http
from proxy.upstream.redact import Redactor

log = logging.getLogger("reelgate.channels")

CLOSE_WITHIN: Final = 10.0
"""Seconds that a channel has to close: one that hangs must not hold up a reload or a stop."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One public model of a channel. `limits` are the plugin's for the upstream's model, with the entry's over them."""

    public: str
    upstream: str
    limits: Model


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


# ---------------------------------------------------------------- plans


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
    return [one for one in plans if one is not None], mistakes


class Survey(NamedTuple):
    """Everything that can be said about a file and its plugins without starting anything."""

    config: Config | None
    plans: list[Plan]
    mistakes: list[str]
    warnings: list[str]


def survey(file: Path, environ: Mapping[str, str], folders: Sequence[Path] = ()) -> Survey:
    """All mistakes of `file` and of the plugins that it uses, and the warnings; `folders` come before the file's."""
    draft = configuration.draft(file, environ)
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
    elif entry.remix == "native" and offers and not any(_natively(offer.limits, "remix") for offer in offers.values()):
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


def _natively(limits: Model, kind: str) -> bool:
    return limits.native is None or kind in limits.native


def _path(entry: ChannelConfig, key: str) -> str:
    return f"channels[{entry.index}].{key}"


def _line(entry: ChannelConfig, key: str) -> int:
    return entry.lines.get(key, entry.line)


# ---------------------------------------------------------------- live channels


class LiveChannel:
    """A channel in use: its plan and the `Channel` that the plugin's class made."""

    __slots__ = ("channel", "plan", "switched")

    def __init__(self, plan: Plan, channel: Channel) -> None:
        self.plan: Final = plan
        self.channel: Final = channel
        self.switched: bool | None = None
        """What an operator said over the file; None: nothing."""

    @property
    def name(self) -> str:
        return self.plan.entry.name

    @property
    def entry(self) -> ChannelConfig:
        return self.plan.entry

    @property
    def enabled(self) -> bool:
        """Whether it takes new videos."""
        return self.entry.enabled if self.switched is None else self.switched

    @property
    def offers(self) -> dict[str, Offer]:
        return self.plan.offers

    def native(self, kind: str, offer: Offer) -> bool:
        """Whether the upstream itself does `kind` (remix, edit or extend) with the model of `offer`."""
        return self.channel.can(kind) and _natively(offer.limits, kind)

    def way(self, kind: str, offer: Offer) -> Literal["native", "reimagine"] | None:
        """How a video of the model of `offer` is remixed, edited or extended here, as the entry's `remix` allows: by
        the upstream, or by a new creation from its first frame; None: not at all."""
        mode = self.entry.remix
        if self.native(kind, offer) and (kind != "remix" or mode in ("auto", "native")):
            return "native"
        again = kind != "extend" and mode in ("auto", "reimagine") and offer.limits.image
        return "reimagine" if again else None

    def __repr__(self) -> str:
        return f"LiveChannel({self.name!r}, type={self.entry.type!r})"


def build(plan: Plan, *, http: Http, data: Path, redactor: Redactor | None = None) -> LiveChannel:
    """The channel of `plan`, not started; its own folder is in the data folder `data`."""
    entry = plan.entry
    try:
        upstream = Upstream(
            http,
            name=entry.name,
            base_url=plan.options.base_url or plan.cls.address(plan.options),
            timeout=entry.timeout,
            allow_hosts=entry.allow_hosts,
            redactor=redactor,
            folder=data / "work",
        )
        folder = data / "channels" / entry.name
        return LiveChannel(plan, plan.cls(name=entry.name, options=plan.options, upstream=upstream, folder=folder))
    except ValueError as error:
        raise PluginError(f"channel {entry.name}", str(error)) from error


class Channels:
    """The live channels by their names, in the order of the file."""

    def __init__(self, *, http: Http, data: Path, redactor: Redactor | None = None) -> None:
        self._http = http
        self._data = data
        self._redactor = redactor
        self._live: dict[str, LiveChannel] = {}
        self._switches: dict[str, bool] = {}
        self._changing = asyncio.Lock()

    def get(self, name: str) -> LiveChannel | None:
        return self._live.get(name)

    def __iter__(self) -> Iterator[LiveChannel]:
        return iter(self._live.values())

    def __len__(self) -> int:
        return len(self._live)

    def serving(self, model: str) -> list[LiveChannel]:
        """The enabled channels that offer the public `model`."""
        return [live for live in self if live.enabled and model in live.offers]

    def switch(self, switches: Mapping[str, bool]) -> None:
        """Make the channels of these names take new videos, or none, whatever the file says; all others go by it."""
        self._switches = dict(switches)
        for live in self:
            live.switched = self._switches.get(live.name)

    async def apply(self, plans: Sequence[Plan]) -> None:
        """Make the live set what `plans` say. What stayed the same is not touched; what is new or changed is started
        first, and only when all of it stands does the set change. A `StartupError` means that nothing changed."""
        async with self._changing:
            await self._apply(plans)

    async def _apply(self, plans: Sequence[Plan]) -> None:
        fresh: dict[str, LiveChannel] = {}
        kept: dict[str, LiveChannel] = {}
        try:
            for one in plans:
                live = self._live.get(one.entry.name)
                if live is not None and live.plan.same(one):
                    kept[one.entry.name] = live
                else:
                    fresh[one.entry.name] = await self._started(one)
        except BaseException:
            await _close(fresh.values())
            raise
        for name, live in fresh.items():
            live.switched = self._switches.get(name)
        earlier = self._live
        self._live = {one.entry.name: fresh.get(one.entry.name) or kept[one.entry.name] for one in plans}
        await _close(live for name, live in earlier.items() if name not in kept)

    async def close(self) -> None:
        """Close every channel; the set is empty afterwards."""
        earlier, self._live = self._live, {}
        await _close(earlier.values())

    async def _started(self, plan: Plan) -> LiveChannel:
        live = None
        try:
            live = build(plan, http=self._http, data=self._data, redactor=self._redactor)
            await live.channel.start()
        except BaseException as error:
            if live is not None:
                await _close([live])
            if isinstance(error, StartupError) or not isinstance(error, Exception):
                raise
            reason = loader.cause(error, Path(plan.file))
            raise PluginError(plan.file, f"cannot start channel {plan.entry.name}: {reason}") from error
        return live


async def _close(channels: Iterable[LiveChannel]) -> None:
    for live in list(channels):
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await live.channel.close()
        except Exception:
            log.exception("channel %s did not close cleanly", live.name)
