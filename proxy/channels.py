"""Plans become channels in use: the live set changes as a whole or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from proxy import loader
from proxy.channel import Channel
from proxy.config import ChannelConfig
from proxy.errors import PluginError, StartupError
from proxy.plans import Offer, Plan
from proxy.upstream import Upstream
from proxy.upstream.http import Http
from proxy.upstream.redact import Redactor

log = logging.getLogger("reelgate.channels")

CLOSE_WITHIN: Final = 10.0
"""Seconds that a channel has to close: one that hangs must not hold up a reload or a stop."""


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
        return self.channel.can(kind) and offer.native(kind)

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
