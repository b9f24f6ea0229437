"""`reelgate plugins …`: what is there, what one of them takes and can do, and the kit to write another one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.commands import complete
from proxy.commands.plugin_new import new_plugin
from proxy.commands.plugin_trial import test_plugin
from proxy.commands.terminal import Failed, Group, config_file, demo_stands_in, placed, print_table, tick

if TYPE_CHECKING:
    from proxy.channel import Channel
    from proxy.loader import Registry
    from proxy.models import Model

FOLDERS = click.option(
    "--plugins",
    "folders",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    multiple=True,
    help="A further folder of plugins; may be repeated, the first wins.",
)


@click.group(cls=Group)
@placed
def plugins() -> None:
    """Plugins: what the channels' types can do."""


plugins.add_command(new_plugin)
plugins.add_command(test_plugin)


@plugins.command("list")
@placed
@FOLDERS
def list_plugins(folders: tuple[Path, ...]) -> None:
    """List the plugins that can be used, and those that are broken."""
    from proxy import frozen
    from proxy.channel import OPERATIONS

    registry = _registry(folders)
    rows = []
    for kind, plugin in registry.channels.items():
        can = [tick(plugin.cls.can(one)) for one in OPERATIONS]
        rows.append((kind, _models(list(plugin.cls.models)), *can, frozen.shown(plugin.file)))
    print_table(("TYPE", "MODELS", *(one.upper() for one in OPERATIONS), "FILE"), rows)
    for error in registry.broken:
        click.echo(f"broken: {error}", err=True)


@plugins.command("show")
@placed
@FOLDERS
@click.argument("kind", metavar="TYPE", shell_complete=complete.types)
def show_plugin(folders: tuple[Path, ...], kind: str) -> None:
    """Show what entries of TYPE may say, its models, and what they can do."""
    from proxy import frozen
    from proxy.channel import OPERATIONS
    from proxy.loader.manual import options_of

    registry = _registry(folders)
    plugin = registry.channels.get(kind)
    if plugin is None:
        known = ", ".join(sorted(registry.channels))
        raise Failed(f"There is no plugin of the type {kind!r}. There are: {known}.")
    cls = plugin.cls
    click.echo(f"{kind}  ({frozen.shown(plugin.file)})")
    click.echo(f"address: {address_words(cls)}")
    click.echo(f"can: {', '.join(one for one in OPERATIONS if cls.can(one)) or 'create only'}")
    click.echo("\nOptions of an entry, beside those that every channel has:")
    for fact in options_of(cls):
        default = "required" if fact.default is None else f"default {fact.default}" if fact.default else "optional"
        click.echo(f"  {fact.name}  ({fact.form.replace('`', '')}; {default})")
        if fact.about:
            click.echo(click.wrap_text(fact.about, 100, "      ", "      "))
    if not cls.models:
        click.echo("\nModels: any name is passed on, and only the form of what is asked is checked.")
        return
    click.echo("\nModels:")
    head = ("MODEL", "SECONDS", "IMAGES", "LAST FRAME", "AUDIO", "NATIVE", "USD/S", "SIZES")
    print_table(head, [(name, *_facts(cls, model)) for name, model in cls.models.items()])


def _registry(folders: tuple[Path, ...]) -> Registry:
    from proxy import config as configuration
    from proxy import loader

    draft = configuration.draft(config_file(), os.environ, demo=demo_stands_in())
    beside = draft.config.server.plugins if draft.config is not None else ()
    return loader.survey([*folders, *map(Path, beside)], ())


def _facts(cls: type[Channel], model: Model) -> tuple[str, ...]:
    images = "-" if not model.image else "any" if model.max_images is None else str(model.max_images)
    return (
        seconds_words(model.seconds) or "any",
        images,
        tick(model.last_frame),
        {True: "yes", False: "-", None: "?"}[model.audio],
        native_words(cls, model) or "-",
        price_words(model) or "?",
        # The longest cell stands last.
        " ".join(model.sizes) or "any",
    )


def address_words(cls: type[Channel]) -> str:
    """Where the provider is, for an entry without a `base_url`."""
    from proxy.channel import Channel

    if getattr(cls.address, "__func__", None) is not getattr(Channel.address, "__func__", None):
        return "follows from other options, unless base_url is given"
    return cls.base_url or "none of its own: give base_url, unless an option says otherwise"


def native_words(cls: type[Channel], model: Model) -> str:
    """What a channel of `cls` does itself with `model`: remix, edit and extend, with the seconds of an extension that
    are not those of a new video."""
    named = ("remix", "edit", "extend") if model.native is None else model.native
    longer = f"extend ({seconds_words(model.extend_seconds)} s)" if model.extend_seconds else "extend"
    return ", ".join(longer if one == "extend" else one for one in named if cls.can(one))


def seconds_words(seconds: Sequence[int]) -> str:
    """A list of durations, a range where it is one."""
    if len(seconds) > 2 and list(seconds) == list(range(seconds[0], seconds[-1] + 1)):
        return f"{seconds[0]}-{seconds[-1]}"
    return " ".join(map(str, seconds))


def price_words(model: Model) -> str:
    """The price per second and where it is another; empty where none is known."""
    parts = [] if model.price is None else [f"{model.price:g}"]
    return ", ".join([*parts, *(f"{word} {price:g}" for word, price in model.prices.items())])


def _models(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")
    return shown or "any"
