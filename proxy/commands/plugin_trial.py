"""`reelgate plugins test`: a plugin held to the laws of every channel, beside a simulator or before its provider."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from proxy.commands.terminal import Failed, config_file, demo_stands_in, placed
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from proxy.commands.plugin_live import LiveTrial
    from proxy.commands.plugin_order import Order
    from proxy.config import Config
    from proxy.plans import Plan

TOOLS: Final = ("pytest", "pytest_asyncio")
INTERRUPTED: Final = 130
"""What a shell calls a command that Ctrl-C has ended."""
KEPT: Final = ("models", "price", "allow_metadata")
"""The keys of an entry that mean something to a simulator, beside the plugin's own options."""

PLACE: Final = ("name", "type", "base_url", "allow_hosts")
"""The keys that say which plugin it is and where its upstream is."""
NOWHERE: Final = "http://127.0.0.1:9"


@click.command("test")
@placed
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--type", "kind", metavar="TYPE", help="Which plugin of FILE, where it has several.")
@click.option("--channel", metavar="NAME", help="With this entry of channels.yaml.")
@click.option("--entry", "text", metavar="YAML", help="With this entry: {api_key: x, models: [y]}.")
@click.option("--simulator", metavar="FILE[:CLASS]", help="Without it, the one that `plugins new` wrote.")
@click.option("--law", "only", metavar="WORD", help="Only the laws that have WORD in their name or their sentence.")
@click.option("--trace", is_flag=True, help="Show where each broken law broke.")
@click.option("--live", is_flag=True, help="Order one video of the real provider, after saying what it costs.")
@click.option("--model", metavar="NAME", help="With --live: this model; without it, the cheapest.")
@click.option("--remix", is_flag=True, help="With --live: a remix of the video too, which is paid too.")
@click.option("--edit", is_flag=True, help="With --live: an edit of the video too, which is paid too.")
@click.option("--extend", is_flag=True, help="With --live: an extension of the video too, which is paid too.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --live: keep the film.",
)
@click.option("--yes", is_flag=True, help="With --live: the price is agreed to.")
@click.pass_context
def test_plugin(
    ctx: click.Context,
    file: Path,
    kind: str | None,
    channel: str | None,
    text: str | None,
    simulator: str | None,
    only: str | None,
    trace: bool,
    live: bool,
    model: str | None,
    remix: bool,
    edit: bool,
    extend: bool,
    output: Path | None,
    yes: bool,
) -> None:
    """Hold the plugin in FILE to the laws of every channel, each told in words; exit 1 where one is broken.

    It runs beside a simulator of its provider, which costs nothing. With --live it orders one video of the real
    provider, with the entry and the credential of channels.yaml, and follows it to its film.
    """
    further = [name for name, wanted in (("remix", remix), ("edit", edit), ("extend", extend)) if wanted]
    if channel and text:
        raise click.UsageError("--channel and --entry: give one of them")
    if live and (simulator or only or trace):
        raise click.UsageError("--simulator, --law and --trace are for the run beside a simulator: leave --live out")
    if not live and (further or model or output or yes):
        raise click.UsageError("--model, --remix, --edit, --extend, --output and --yes go with --live only")
    if live:
        broken = _live(file, kind, channel, text, model, further, output, yes)
    else:
        broken = _beside_simulator(file, kind, channel, text, simulator, only, trace)
    if broken:
        ctx.exit(broken)


# ---------------------------------------------------------------- beside a simulator


def _beside_simulator(
    file: Path,
    kind: str | None,
    channel: str | None,
    text: str | None,
    simulator: str | None,
    only: str | None,
    trace: bool,
) -> int:
    if missing := [name for name in TOOLS if importlib.util.find_spec(name) is None]:
        raise Failed(
            f"The test tools are not installed here ({', '.join(missing)}): pip install 'reelgate[test]'. A run with "
            "--live does without."
        )
    from proxy.testing import trial
    from proxy.upstream.redact import Redactor

    out, redactor = sys.stdout, Redactor()
    entry = None
    try:
        kind = trial.type_of(file, kind)
    except trial.NotTried as error:
        raise Failed(str(error)) from error
    if text is not None:
        # It may be a copy from channels.yaml: the laws order many times over, and never from the provider itself.
        entry = {key: value for key, value in _given(text).items() if key not in PLACE}
        _entry_of(file, kind, None, {**entry, "base_url": NOWHERE})
    elif channel is not None:
        config, _ = _entry_of(file, kind, channel)
        entry = _simulated(config, config.channels[0].index)
    if entry is not None:
        redactor.add(*(value for value in entry.values() if isinstance(value, str)))
    counts = dict.fromkeys(("ok", "FAIL", "skip"), 0)

    def say(verdict: str, words: str, reasons: Sequence[str]) -> None:
        counts[verdict] += 1
        _tell(out, verdict, words, [redactor.secrets(reason) for reason in reasons])

    try:
        build = partial(trial.contract_of, file, kind, entry, _place(simulator))
        trial.run(build, say, only=only, trace=trace)
    except trial.NotTried as error:
        raise Failed(str(error)) from error
    if not sum(counts.values()):
        raise Failed(f"No law has {only!r} in its name or its sentence.")
    click.echo(f"{counts['ok']} kept, {counts['FAIL']} broken, {counts['skip']} with nothing to try", err=True)
    return 1 if counts["FAIL"] else 0


def _place(simulator: str | None) -> tuple[Path, str | None] | None:
    if simulator is None:
        return None
    file, colon, name = simulator.rpartition(":")
    place, cls = (Path(file), name) if colon and name.isidentifier() else (Path(simulator), None)
    if not place.is_file():
        raise Failed(f"{place}: there is no such simulator.")
    return place, cls


def _simulated(config: Config, index: int) -> dict[str, Any]:
    """What an entry of channels.yaml says to a plugin, wherever its upstream is."""
    from proxy.config.tree import parse, plain

    root, _ = parse(config.file.read_text("utf-8-sig"), os.environ)
    assert root is not None, "it was read a moment ago"
    entry: dict[str, Any] = plain(root)["channels"][index]
    own = {*KEPT, *config.channels[0].options} - {"base_url"}
    return {key: value for key, value in entry.items() if key in own}


# ---------------------------------------------------------------- before the provider


def _live(
    file: Path,
    kind: str | None,
    channel: str | None,
    text: str | None,
    model: str | None,
    further: Sequence[Any],
    output: Path | None,
    yes: bool,
) -> int:
    from proxy.commands.plugin_live import LiveTrial
    from proxy.commands.plugin_order import ordered
    from proxy.commands.transfer import check_place

    if output is not None:
        if os.path.lexists(output):
            raise Failed(f"{output}: there already, and nothing is written over. Name another file.")
        check_place(output, force=False)
    if text is not None:
        config, plan = _entry_of(file, kind, None, _given(text))
    else:
        config, plan = _entry_of(file, kind, channel)
    order = ordered(config, plan, model=model, further=further)
    # The price is said before anything is sent, also what a plugin sends when it starts.
    _agreed(order, yes)
    trial = LiveTrial(order, partial(_tell, sys.stdout), _talk, keep=output)
    try:
        asyncio.run(trial.run())
    except KeyboardInterrupt:
        click.echo("Stopped. Nothing is sent again.", err=True)
        _left(trial)
        return INTERRUPTED
    except BaseException:
        _left(trial)
        raise
    if trial.broken:
        _left(trial)
    return 1 if trial.broken else 0


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _talk(words: str) -> None:
    click.echo(words, err=True)


def _agreed(order: Order, yes: bool) -> None:
    for line in order.bill():
        click.echo(line, err=True)
    if yes:
        return
    if not has_terminal():
        raise Failed("Nothing was sent: there is no terminal to ask at. Say --yes to agree to this.")
    if not click.confirm("Order it?", default=False, err=True):
        raise Failed("Nothing was sent.")


def _left(trial: LiveTrial) -> None:
    """What the provider may still be working on, or bill."""
    for job in trial.jobs:
        click.echo(f"The provider has this order: {job}", err=True)
    if trial.doubt is not None:
        click.echo(
            f"The provider may have one more order, sent as attempt {trial.doubt}: look at its own list.", err=True
        )


# ---------------------------------------------------------------- entries


def _given(text: str) -> dict[str, Any]:
    from proxy.config.tree import Table, parse, plain

    root, problems = parse(text, os.environ)
    if problems or not isinstance(root, Table):
        why = problems[0].text if problems else "is no mapping"
        raise Failed(f"--entry {why}; write it like an entry of channels.yaml: {{api_key: x, models: [y]}}")
    found: dict[str, Any] = plain(root)
    return found


def _entry_of(
    file: Path, kind: str | None, channel: str | None, given: Mapping[str, Any] | None = None
) -> tuple[Config, Plan]:
    """A config with one entry of the plugin in `file`: `given`, else that called `channel`, else the only one of its
    type in channels.yaml; and its plan."""
    from msgspec.structs import replace

    from proxy import config as configuration
    from proxy import loader, plans

    registry = loader.load([file.parent], {file.stem}, entry_points=False)
    own = [one.type for one in registry.channels.values() if Path(one.file).resolve() == file.resolve()]
    if kind is None and len(own) == 1:
        (kind,) = own
    if kind not in own:
        raise Failed(f"{file} has the types {', '.join(own) or 'none'}; say which one with --type.")
    if given is not None:
        entry = {"name": kind, "type": kind, **given}
        # JSON is YAML, but for the dollar sign, which channels.yaml reads as a reference.
        text = json.dumps({"channels": [entry]}).replace("${", "$${")
        try:
            config = configuration.parse(text, config_file(), {})
            (made,) = plans.plan(config, registry)
        except ConfigError as error:
            said = (mistake.message.replace("channels[0].", "") for mistake in error.mistakes)
            raise Failed("\n".join(f"--entry: {words}" for words in said)) from error
    else:
        draft = configuration.draft(config_file(), os.environ, demo=demo_stands_in())
        names = [one.name for one in draft.config.channels if one.type == kind] if draft.config is not None else []
        chosen = [name for name in names if channel in (None, name)]
        wrong = [
            one for one in draft.mistakes if not names or any(f"(channel {name})" in one.message for name in chosen)
        ]
        if wrong:
            raise Failed("\n".join(map(str, wrong)))
        if draft.config is None or len(chosen) != 1:
            listed = ", ".join(names) or "none"
            raise Failed(
                f"{config_file()} has these channels of the type {kind}: {listed}. Name one with --channel, or give an "
                "entry with --entry."
            )
        entries = tuple(one for one in draft.config.channels if one.name == chosen[0])
        config = replace(draft.config, channels=entries)
        (made,) = plans.plan(config, registry)
    return config, made


def _tell(out: Any, verdict: str, words: str, reasons: Sequence[str]) -> None:
    click.echo(f"{verdict:<4}  {words}", file=out)
    for reason in reasons:
        for line in reason.splitlines():
            click.echo(f"      {line}", file=out)
