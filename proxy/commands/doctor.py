"""`reelgate doctor`: what is wrong, in one line each, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from proxy.commands import complete
from proxy.commands.plugins import FOLDERS
from proxy.commands.stores import data_flag
from proxy.commands.terminal import Failed, config_file, demo_stands_in, placed
from reelgate import rivals

WITHIN: Final = 20.0
"""Seconds for each channel; all are asked at once."""


@click.command()
@placed
@FOLDERS
@click.argument("channels", nargs=-1, metavar="[CHANNEL]...", shell_complete=complete.channels)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where `serve` is to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=WITHIN,
    show_default=True,
    metavar="SECONDS",
    help="How long each channel has to answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(
    ctx: click.Context,
    folders: tuple[Path, ...],
    channels: tuple[str, ...],
    host: str,
    port: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask every upstream what costs nothing, look at this machine, and say what is wrong and what to do.

    With the names of channels, at those only. It changes nothing, and may run beside a server. It ends with 1 where
    something is wrong; `?` stands before what may be meant so.
    """
    from proxy import config as configuration
    from proxy import doctor as rounds
    from proxy import plans
    from proxy.doctor.findings import Finding

    file = config_file()
    # What a plugin prints is talk.
    with contextlib.redirect_stdout(sys.stderr):
        found = plans.survey(file, os.environ, folders, demo=demo_stands_in())
    if found.config is not None:
        known = [entry.name for entry in found.config.channels]
        for name in channels:
            if name not in known:
                raise Failed(f"there is no channel {name} in {file}; there are: {', '.join(known) or 'none'}")
    with tempfile.TemporaryDirectory(prefix="reelgate-doctor-", ignore_cleanup_errors=True) as scratch:
        look = rounds.Round(
            found=found,
            places=configuration.places(found.config, data_flag(), os.environ),
            environ=os.environ,
            host=host,
            port=port,
            scratch=Path(scratch),
            within=timeout,
            only=channels,
            notes=[Finding("wrong" if rival.overwritten else "?", "packages", str(rival)) for rival in rivals()],
        )
        with contextlib.redirect_stdout(sys.stderr):
            findings = asyncio.run(rounds.examine(look))
    wrong = sum(one.word == "wrong" for one in findings)
    if as_json:
        rows = [
            {"word": one.word, "subject": one.subject, "about": one.about or None, "said": one.said} for one in findings
        ]
        click.echo(json.dumps({"ok": not wrong, "findings": rows}, indent=2))
    else:
        for line in rounds.lines(findings):
            click.echo(line)
        if wrong:
            click.echo(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.", err=True)
    if wrong:
        ctx.exit(1)
