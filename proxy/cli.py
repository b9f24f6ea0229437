"""The command line. Heavy rooms are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.commands.backup import backup
from proxy.commands.completion import completion
from proxy.commands.doctor import doctor
from proxy.commands.keys import keys
from proxy.commands.plugins import FOLDERS, plugins
from proxy.commands.stores import data_flag, with_store
from proxy.commands.terminal import Failed, Group, config_file, demo_stands_in, placed
from proxy.commands.users import users
from proxy.commands.videos import videos
from proxy.errors import ReelgateError
from reelgate import DISTRIBUTION, rivals

if TYPE_CHECKING:
    from proxy.config import Config


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        import importlib.metadata

        try:
            version = importlib.metadata.version(DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        click.echo(f"reelgate {version}")
        ctx.exit()


@click.group(cls=Group)
@placed
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """One OpenAI Videos API in front of every video model."""
    # A name or a quotation mark that the terminal does not know must not end a command in a traceback.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape" if sys.stdout.encoding.lower() == "utf-8" else "replace")
    # What a command has to say about plugins it says itself; the server sets up its own log.
    logging.getLogger(DISTRIBUTION).addHandler(logging.NullHandler())


main.add_command(videos)
main.add_command(plugins)
main.add_command(users)
main.add_command(keys)
main.add_command(backup)
main.add_command(completion)
main.add_command(doctor)


# ---------------------------------------------------------------- serve


@main.command()
@placed
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@FOLDERS
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Server processes; only 1 so far.")
def serve(host: str, port: int, folders: tuple[Path, ...], workers: int) -> None:
    """Run the server."""
    if workers > 1:
        raise Failed("--workers above 1 is not available yet: one process serves everything, so leave the option out")
    for rival in rivals():
        if rival.overwritten:
            raise Failed(str(rival))
        click.echo(f"warning: {rival}", err=True)
    from proxy import config as configuration

    config = configuration.load(config_file(), os.environ, demo=demo_stands_in())
    places = configuration.places(config, data_flag(), os.environ)

    from proxy.serve import Launch
    from proxy.serve import serve as run

    launch = Launch(
        config_file=config_file(),
        data=places.data,
        database=places.store,
        host=host,
        port=port,
        plugin_folders=folders,
        environ=os.environ,
        demo=config.demo,
    )
    asyncio.run(run(launch))


# ---------------------------------------------------------------- check


@main.command()
@placed
@FOLDERS
@click.pass_context
def check(ctx: click.Context, folders: tuple[Path, ...]) -> None:
    """Look at channels.yaml, the plugins and the store, without starting anything."""
    from proxy import config as configuration
    from proxy import data_folder, plans

    file = config_file()
    found = plans.survey(file, os.environ, folders, demo=demo_stands_in())
    mistakes, warnings = [*found.mistakes], [*found.warnings]
    for rival in rivals():
        (mistakes if rival.overwritten else warnings).append(str(rival))
    places = configuration.places(found.config, data_flag(), os.environ)
    if (said := data_folder.problem(places.data)) is not None:
        mistakes.append(said)
    elif places.store.exists():
        try:
            pins = asyncio.run(with_store(places.store, lambda store: store.pins(), create=False))
        except ReelgateError as error:
            mistakes.append(str(error))
        else:
            # An entry with a mistake may have lost its name, so that its videos only seem to be orphans.
            if found.config is not None and not found.mistakes:
                if (said := plans.demo_refused(found.config, pins)) is not None:
                    mistakes.append(said)
                warnings += _orphans(found.config, pins)
    if found.config is not None and found.config.server.archive is not None:
        from proxy.media.archive import problem

        if (said := problem(found.config.server.archive)) is not None:
            mistakes.append(f"{file}: {said}")
    if found.config is not None and found.config.demo and not mistakes:
        warnings.append(f"there is no {file} here: serve would use the built-in demo channel until one is written")
    for mistake in mistakes:
        click.echo(mistake)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    if mistakes:
        ctx.exit(1)
    models = {public for plan in found.plans for public in plan.offers}
    click.echo(f"{file}: all is well, {_count(len(found.plans), 'channel')}, {_count(len(models), 'model')}")


def _orphans(config: Config, pins: dict[str, int]) -> list[str]:
    names = {entry.name for entry in config.channels}
    return [
        f"{config.file}: {_count(videos, 'video')} belong{'s' if videos == 1 else ''} to the channel {name}, which is "
        "not in the file; what needs its upstream waits until the name is back"
        for name, videos in sorted(pins.items())
        if name not in names
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
