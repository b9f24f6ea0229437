"""What every command shares: its options, errors in one sentence, tables and times."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from proxy.errors import ReelgateError

F = TypeVar("F", bound=Callable[..., Any])


class Failed(click.ClickException):
    """Ends a command: the sentence goes to stderr as it is, the exit code is 1."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file, err=True)


class Group(click.Group):
    """Turns the product's own errors into sentences without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReelgateError as error:
            raise Failed(str(error)) from error


def _remember(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    # The options stand before and after the sub-command; the later one wins.
    if value is not None:
        ctx.meta[f"reelgate.{param.name}"] = value


def placed(command: F) -> F:
    """Give a command or a group the options `--config` and `--data`."""
    config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_remember,
        help="channels.yaml (REELGATE_CONFIG; ./channels.yaml).",
    )
    data = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        expose_value=False,
        callback=_remember,
        help="The data folder (REELGATE_DATA; ./data).",
    )
    return config(data(command))


def config_file() -> Path:
    """The `channels.yaml` that the command was called with."""
    return _named() or Path("channels.yaml")


def demo_stands_in() -> bool:
    """Whether the built-in demo is served where that file is not there: nobody has named one."""
    return _named() is None


def _named() -> Path | None:
    named = click.get_current_context().meta.get("reelgate.config") or os.environ.get("REELGATE_CONFIG")
    return Path(named) if named else None


def tick(yes: bool) -> str:
    """A word for a cell of a table."""
    return "yes" if yes else "-"


def moment(seconds: float | None) -> str:
    """Unix seconds as a date and time of UTC; a dash where there are none."""
    return "-" if not seconds else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


def plain(text: object) -> str:
    """A text of others' making on one line, without what would steer the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, its head first."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    for line in table(head, rows):
        click.echo(line)
