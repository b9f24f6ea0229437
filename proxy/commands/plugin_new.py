"""`reelgate plugins new`: a plugin, a simulator of its provider and a contract test, which pass as they are.

The files in `templates/` are those of a made-up provider called Nova. They are code, so that what is written is linted,
type-checked and tested like everything else; `nova` in their names and texts becomes the name that was asked for.
"""

from __future__ import annotations

import ast
import keyword
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from proxy.commands.terminal import Failed, config_file, placed

TEMPLATES: Final = Path(__file__).with_name("templates")
PLUGIN: Final = "plugins/nova.py"
PACKAGE: Final = "plugin_tests/__init__.py"
SIMULATOR: Final = "plugin_tests/nova_simulator.py"
CONTRACT: Final = "plugin_tests/test_nova.py"
LONGEST: Final = 24
"""Characters of a name, so that no line of what is written becomes too long."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*", re.ASCII)
_YAML_WORDS: Final = frozenset(("true", "false", "null", "yes", "no", "on", "off"))


@click.command("new")
@placed
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where plugins/ and plugin_tests/ are, or are made; without it, the folder of channels.yaml.",
)
@click.option("--override", is_flag=True, help="NAME is that of a plugin that there is: use the new one in its place.")
@click.argument("name")
def new_plugin(name: str, into: Path | None, override: bool) -> None:
    """Write a plugin called NAME, a simulator of its provider and a contract test; they pass as they are."""
    folder = config_file().parent if into is None else into
    check_name(name, folder, override)
    texts = {folder / _named(place, name): text for place, text in written(name)}
    # Also a link that leads nowhere is there.
    there = [file for file in texts if os.path.lexists(file)]
    if own := [str(file) for file in there if file != folder / PACKAGE]:
        raise Failed(f"{', '.join(own)}: there already, and nothing is written over. Choose another name.")
    for file in write({file: text for file, text in texts.items() if file not in there}):
        click.echo(str(file))
    click.echo(_next_steps(name, folder), err=True)


def write(texts: Mapping[Path, str]) -> list[Path]:
    """Make these files, all of them or none; answers them. Raises a `Failed` where one cannot be written."""
    made: list[Path] = []
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                made.append(file)
                stream.write(text)
        except OSError as error:
            for half in made:
                half.unlink(missing_ok=True)
            raise Failed(f"{file}: cannot be written: {error.strerror or error}. Name a folder with --into.") from None
    return made


def check_name(name: str, folder: Path, override: bool) -> None:
    """Raise a `Failed` for what cannot be the name of a plugin in `folder`/plugins, and for one that is taken."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise Failed(
            f"{name!r} cannot be a plugin's name. It has up to {LONGEST} small letters and digits, a letter first, "
            "with single underscores between words: my_provider."
        )
    words = {name, _class_name(name)}
    if any(map(keyword.iskeyword, words)) or words & _elsewhere() or name.startswith("test_"):
        raise Failed(
            f"{name!r} means something else in Python, pytest or YAML. Choose another name, such as my_{name}."
        )
    if not override and (file := _taken(name, folder / "plugins")):
        raise Failed(
            f"There is a plugin {name!r} already ({file}). Choose another name, or say --override: "
            "yours is used in its place."
        )


def written(name: str) -> Iterator[tuple[str, str]]:
    """The files of a plugin called `name`: the place of each in `templates/`, and its text."""
    for place in (PLUGIN, PACKAGE, SIMULATOR, CONTRACT):
        yield place, _named((TEMPLATES / place).read_text("utf-8"), name)


def _named(text: str, name: str) -> str:
    # No host has an underscore in its name.
    text = text.replace("nova.example", f"{name.replace('_', '-')}.example")
    return text.replace("Nova", _class_name(name)).replace("nova", name)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _elsewhere() -> set[str]:
    """Names that pytest or YAML has a use for, and what the template's code calls by its name: no class may be called
    like that."""
    nodes = list(ast.walk(ast.parse((TEMPLATES / PLUGIN).read_text("utf-8"))))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return {"conftest", *_YAML_WORDS, *imported} | {node.id for node in nodes if isinstance(node, ast.Name)} - {"Nova"}


def _taken(name: str, folder: Path) -> str | None:
    """The file of the plugin that has this name, or is of this type, as people are told of it."""
    from proxy import frozen, loader

    registry = loader.survey([folder] if folder.is_dir() else [], ())
    if (plugin := registry.channels.get(name)) is not None:
        return frozen.shown(plugin.file)
    files = [*(plugin.file for plugin in registry.channels.values()), *(error.file for error in registry.broken)]
    return next((file for file in files if Path(file).stem == name), None)


def _next_steps(name: str, folder: Path) -> str:
    plugin, contract = folder / _named(PLUGIN, name), folder / _named(CONTRACT, name)
    return "\n".join(
        (
            "",
            "It speaks the wire of a made-up provider, and passes:",
            "",
            f"  reelgate plugins test {shlex.quote(str(plugin))}",
            "",
            f"Now read your provider's documentation. Change {folder / _named(SIMULATOR, name)} first, so that it",
            f"answers like the provider, and the states in {contract}; then",
            f"{plugin}, until it passes again. Its entry in channels.yaml:",
            "",
            "channels:",
            f"  - name: {name}",
            f"    type: {name}",
            f"    api_key: ${{{name.upper()}_KEY}}",
            "",
            "Whether both are right, and then one video of the real provider, which says first what it costs:",
            "",
            "  reelgate check",
            f"  reelgate plugins test {shlex.quote(str(plugin))} --live",
        )
    )
