"""`reelgate doctor`: what is wrong with each channel and with the machine, and what to do. It asks nothing that costs
money, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yarl import URL

from proxy import config as configuration
from proxy.config import Config, Places, Server
from proxy.doctor import machine, stored
from proxy.doctor.channels import Patient
from proxy.doctor.findings import Finding
from proxy.doctor.findings import lines as lines
from proxy.doctor.network import DaemonResolver, in_thread
from proxy.doctor.stored import Stored
from proxy.plans import Plan, Survey, demo_refused
from proxy.upstream import Http
from proxy.upstream.redact import Redactor

SPARE: Final = 5.0
"""Seconds after its own that a channel has to come to an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is looked at: `found` is what `check` finds; `only` names the channels, empty means all and the machine too;
    `scratch` is an empty folder, as a server may be using the data folder; `within` is how many seconds each channel
    has; `notes` are what others have found."""

    found: Survey
    places: Places
    environ: Mapping[str, str]
    host: str
    port: int
    scratch: Path
    within: float
    only: Collection[str] = ()
    notes: Sequence[Finding] = ()


async def examine(look: Round) -> list[Finding]:
    """Everything that is found: the file, the channels in its order, then the machine."""
    config = look.found.config
    sure = config is not None and not look.found.mistakes
    names = {entry.name for entry in config.channels} if config is not None and sure else None
    store = await asyncio.to_thread(stored.look, look.places.store, names)
    findings = [Finding("wrong", "channels.yaml", mistake, "config") for mistake in look.found.mistakes]
    if config is not None and (refused := demo_refused(config, store.pins)) is not None:
        findings.append(Finding("wrong", "channels.yaml", refused, "config"))
    findings += await _channels(config, look, store.switched)
    if look.only:
        return findings
    if config is not None and config.channels and not any(_takes(plan, store.switched) for plan in look.found.plans):
        findings.append(Finding("wrong", "channels.yaml", "no channel takes new videos: enable one", "config"))
    findings += [Finding("?", "plugins", warning) for warning in look.found.warnings]
    findings += look.notes
    seen = [one.clock for one in findings if one.clock is not None]
    reached = await _addresses(config.server.public_url if config is not None else None, look.within)
    return findings + await asyncio.to_thread(_machine, look, store, seen, reached)


async def _channels(config: Config | None, look: Round, switched: Mapping[str, bool]) -> list[Finding]:
    if config is None:
        return []
    redactor = Redactor(configuration.secrets(config))
    plans = [plan for plan in look.found.plans if not look.only or plan.entry.name in look.only]
    alone = (_alone(plan, redactor, look, switched.get(plan.entry.name)) for plan in plans)
    return list(await asyncio.gather(*alone))


async def _alone(plan: Plan, redactor: Redactor, look: Round, switched: bool | None) -> Finding:
    """What is found of one channel, on a thread and a loop of its own: a plugin that blocks holds up nobody else."""
    http = Http(resolver=DaemonResolver())
    patient = Patient(plan, http, redactor, switched=switched, scratch=look.scratch, within=look.within)

    async def examined() -> Finding:
        await http.start()
        try:
            return await patient.examine()
        finally:
            await http.close()

    def run() -> Finding:
        try:
            return asyncio.run(examined())
        except BaseException as error:
            # A plugin may exit, or cancel itself.
            return patient.failed(error)

    try:
        async with asyncio.timeout(look.within + SPARE):
            return await in_thread(run)
    except TimeoutError:
        return patient.stuck()


def _takes(plan: Plan, switched: Mapping[str, bool]) -> bool:
    return switched.get(plan.entry.name, plan.entry.enabled)


async def _addresses(public_url: str | None, within: float) -> frozenset[str]:
    """Where the name in `public_url` leads; nowhere, if nobody knows."""
    if public_url is None:
        return frozenset()
    try:
        async with asyncio.timeout(within):
            found = await DaemonResolver().resolve(URL(public_url).raw_host or "")
    except (OSError, UnicodeError, TimeoutError):
        return frozenset()
    return frozenset(one["host"] for one in found)


def _machine(look: Round, store: Stored, seen: Sequence[float], reached: Collection[str]) -> list[Finding]:
    """All that blocks."""
    server = look.found.config.server if look.found.config is not None else Server()
    data = look.places.data
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "data folder": lambda: machine.data_folder(data),
        "space": lambda: machine.space(data, server, store.archived),
        "store": lambda: store.findings,
        "archive": lambda: machine.archive(server),
        "port": lambda: machine.port(look.host, look.port, store.served),
        "public_url": lambda: machine.public_url(server, look.found.plans, reached),
        "secrets": lambda: machine.secrets(data, look.environ),
        "clock": lambda: machine.clock(seen),
        "PyAV": machine.media,
        "proxy variables": lambda: machine.proxies(look.environ),
    }
    return [finding for subject, one in looks.items() for finding in _survived(subject, one)]


def _survived(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds. A file that nobody may even look for must not end the round."""
    try:
        yield from look()
    except (OSError, ValueError) as error:
        yield Finding("wrong", subject, f"cannot be looked at ({error}): check owner and permissions")
