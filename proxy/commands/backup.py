"""`reelgate backup`: one file with all that a server needs to go on somewhere else."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from proxy.commands.stores import data_flag, store_file
from proxy.commands.terminal import Failed, placed


@click.command()
@placed
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace an earlier backup of that name.")
@click.option("--move", is_flag=True, help="The server was stopped for good: what waits goes on from FILE.")
def backup(file: Path, force: bool, move: bool) -> None:
    """Write the store, the secret and the files that it needs to FILE, also while the server runs."""
    from proxy import backup as backups
    from proxy import config as configuration

    if str(file) == "-":
        raise Failed("a backup is read again after it is written, which stdout cannot be: name a file")
    data = configuration.places(None, data_flag(), os.environ).data
    store = store_file()
    made = backups.write(file, data=data, store=store, replace=force, moving=move)
    held = made.held
    click.echo(f"{file}: {made.size:,} bytes, checked")
    click.echo(
        f"  {backups.STORE}: {held.videos} videos, {held.unfinished} of them unfinished, {held.keys} keys, "
        f"{held.users} users; schema {held.schema}"
    )
    click.echo(f"  {backups.SECRET}: " + ("yes" if made.secret else "no, there is none in the data folder"))
    for folder, count in made.files.items():
        click.echo(f"  {folder}/: {count} files")
    for line in _advice(file, data, store, made.secret):
        click.echo(line, err=True)


def _advice(file: Path, data: Path, store: Path, secret: bool) -> list[str]:
    from proxy.backup import STORE

    # A relative name with a colon would be a machine to tar, and one with a dash an option.
    where = shlex.quote(str(file.absolute()))
    lines = [
        "It holds secrets and what clients sent: keep it as safe as the server.",
        "Not in it: the archive's films, thumbnails (kept/), channels.yaml, plugins and the environment.",
    ]
    if os.environ.get("REELGATE_SECRET") or not secret:
        lines.append("REELGATE_SECRET, where the server has it, is not in it: the restored one needs the same.")
    if store.absolute() != (data / STORE).absolute():
        lines.append(f"{STORE} in it is your {store}: put it there again.")
    lines.append(
        "To restore it, stop the server, then:  mkdir -m 700 NEW && tar -xpf "
        f"{where} -C NEW && reelgate serve --data NEW   (docs/deploy.md says what that means for money)"
    )
    return lines
