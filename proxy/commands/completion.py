"""`reelgate completion SHELL`: the script that makes a shell complete our words."""

from __future__ import annotations

from typing import Final

import click

from proxy.commands.terminal import placed

PROGRAM: Final = "reelgate"
VARIABLE: Final = "_REELGATE_COMPLETE"
"""In which the script says that it asks; click makes it of the program's name."""

WHERE: Final = {
    "bash": "~/.local/share/bash-completion/completions/reelgate",
    "zsh": '"${fpath[1]}/_reelgate"',
    "fish": "~/.config/fish/completions/reelgate.fish",
}


@click.command()
@placed
@click.argument("shell", type=click.Choice(list(WHERE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, channels, models and videos in SHELL."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    script = made(ctx.find_root().command, {}, PROGRAM, VARIABLE)
    # Without click's look at the version of bash, which would run one.
    click.echo((script.source_template % script.source_vars()).strip())
    click.echo(f"\n# To have it in every new shell: {PROGRAM} completion {shell} > {WHERE[shell]}")
