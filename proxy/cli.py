"""The command line. Heavy rooms are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from proxy.commands.plugins import FOLDERS, plugins
from proxy.commands.terminal import Failed, Group, config_file, moment, placed, print_table, tick
from proxy.commands.videos import videos
from proxy.errors import ConfigError, ReelgateError

if TYPE_CHECKING:
    from proxy.config import Config, Places
    from proxy.records import Key
    from proxy.store import Store

T = TypeVar("T")

DISTRIBUTION: Final = "reelgate"


def _data_flag() -> Path | None:
    flag: Path | None = click.get_current_context().meta.get("reelgate.data")
    return flag


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
    # What a command has to say about plugins it says itself; the server sets up its own log.
    logging.getLogger(DISTRIBUTION).addHandler(logging.NullHandler())


main.add_command(videos)
main.add_command(plugins)


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
    from proxy import config as configuration

    config = configuration.load(config_file(), os.environ)
    places = configuration.places(config, _data_flag(), os.environ)

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
    )
    asyncio.run(run(launch))


# ---------------------------------------------------------------- check


@main.command()
@placed
@FOLDERS
@click.pass_context
def check(ctx: click.Context, folders: tuple[Path, ...]) -> None:
    """Look at channels.yaml, the plugins and the store, without starting anything."""
    from proxy import channels
    from proxy import config as configuration

    file = config_file()
    found = channels.survey(file, os.environ, folders)
    mistakes, warnings = [*found.mistakes], [*found.warnings, *_rivals()]
    places = configuration.places(found.config, _data_flag(), os.environ)
    # The data folder, or the one that it will be made in.
    there = next(folder for folder in (places.data, *places.data.absolute().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK)):
        mistakes.append(f"{places.data}: the data folder must be a folder that can be written; name one with --data")
    elif places.store.exists():
        try:
            pins = asyncio.run(_with_store(places.store, lambda store: store.pins(), create=False))
        except ReelgateError as error:
            mistakes.append(str(error))
        else:
            # An entry with a mistake may have lost its name, so that its videos only seem to be orphans.
            if found.config is not None and not found.mistakes:
                warnings += _orphans(found.config, pins)
    if found.config is not None and found.config.server.archive is not None:
        from proxy.media.archive import problem

        if (said := problem(found.config.server.archive)) is not None:
            mistakes.append(f"{file}: {said}")
    for mistake in mistakes:
        click.echo(mistake)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    if mistakes:
        ctx.exit(1)
    models = {public for plan in found.plans for public in plan.offers}
    click.echo(f"{file}: all is well, {_count(len(found.plans), 'channel')}, {_count(len(models), 'model')}")


@main.command("media-worker", hidden=True)
@click.argument("work")
@click.pass_context
def media_worker(ctx: click.Context, work: str) -> None:
    """Take a picture out of the video on stdin. The server starts this itself where it is a single binary."""
    from proxy.media import stills_child

    ctx.exit(stills_child.main([work]))


def _orphans(config: Config, pins: dict[str, int]) -> list[str]:
    names = {entry.name for entry in config.channels}
    return [
        f"{config.file}: {_count(videos, 'video')} belong{'s' if videos == 1 else ''} to the channel {name}, which is "
        "not in the file; what needs its upstream waits until the name is back"
        for name, videos in sorted(pins.items())
        if name not in names
    ]


def _rivals() -> list[str]:
    import importlib.metadata

    owners = importlib.metadata.packages_distributions().get("proxy", [])
    return [
        f"the package {other} brings an import package `proxy` too, over ours; give reelgate an environment of its own"
        for other in sorted(set(owners))
        if other.lower() != DISTRIBUTION
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ---------------------------------------------------------------- keys


@main.group(cls=Group)
@placed
def keys() -> None:
    """API keys of clients."""


@keys.command("create")
@placed
@click.argument("name", required=False)
@click.option("--name", "named", metavar="NAME", help="Another way to give the name.")
@click.option("--user", metavar="USER", help="Whose key it is; keys of one user share their videos.")
@click.option("--choose-channel", is_flag=True, help="Its requests may name their channel (metadata.channel).")
def create_key(name: str | None, named: str | None, user: str | None, choose_channel: bool) -> None:
    """Make a key and print it, once."""
    label = (named or name or "").strip()
    if not label or (name and named and name != named):
        raise click.UsageError("give one name for the key: reelgate keys create NAME")
    if not label.isprintable() or len(label) > 100:
        raise click.UsageError("the name of a key has at most 100 printable characters")
    from proxy.accounts.keys import mint

    # The prefix keeps a user apart from the tenants that keys without one are.
    tenant = f"user_{user}" if user else None
    plain, key, digest = mint(label, tenant=tenant, chooses_channel=choose_channel, now=time.time())
    asyncio.run(_with_store(_store(), lambda store: store.add_key(key, digest)))
    click.echo(f"Key {key.name} ({key.id}) is ready; it is shown this once:", err=True)
    click.echo(plain)


@keys.command("list")
@placed
def list_keys() -> None:
    """List the keys, never their secrets."""
    found: list[Key] = asyncio.run(_with_store(_store(), lambda store: store.keys(), create=False))
    rows = [
        (
            *(key.id, key.name, key.tenant, tick(key.admin or key.chooses_channel)),
            *(moment(key.created_at), moment(key.last_used_at), moment(key.revoked_at)),
        )
        for key in found
    ]
    print_table(("ID", "NAME", "TENANT", "CHOOSES CHANNEL", "CREATED", "LAST USED", "REVOKED"), rows)


@keys.command("revoke")
@placed
@click.argument("name")
def revoke_key(name: str) -> None:
    """End a key, by its NAME or its id."""
    now = int(time.time())
    key: Key | None = asyncio.run(_with_store(_store(), lambda store: store.revoke_key(name, now), create=False))
    if key is None:
        raise Failed(f"there is no key with the name or id {name!r}; see reelgate keys list")
    if key.revoked_at is not None and key.revoked_at < now:
        click.echo(f"Key {key.name} ({key.id}) was revoked before, at {moment(key.revoked_at)}.", err=True)
    else:
        click.echo(f"Key {key.name} ({key.id}) is revoked.", err=True)
    if key.admin:
        click.echo("A key in a server's REELGATE_ADMIN_KEY stays good as long as the server has it.", err=True)


def _store() -> Path:
    """The store that the server uses. A file with mistakes elsewhere does not matter: keys must be ended any time."""
    from proxy import config as configuration

    flag = _data_flag()
    file = config_file()
    if flag is not None or (os.environ.get("REELGATE_DATA") and not file.exists()):
        return configuration.places(None, flag, os.environ).store
    draft = configuration.draft(file, os.environ)
    keys = ("server.database", "REELGATE_DATABASE_URL")
    about = [mistake for mistake in draft.mistakes if mistake.message.startswith(keys)]
    if draft.config is None or about:
        raise ConfigError(about or draft.mistakes)
    places: Places = configuration.places(draft.config, None, os.environ)
    return places.store


async def _with_store(path: Path, use: Callable[[Store], Coroutine[Any, Any, T]], *, create: bool = True) -> T:
    from proxy.store import Store

    store = await Store.open(path, create=create)
    try:
        return await use(store)
    finally:
        await store.close()
