"""docs/architecture.md and docs/operators.md name what is there."""

import ast
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import click

from proxy.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
OPERATORS = (ROOT / "docs" / "operators.md").read_text("utf-8")


def section(page: str, title: str) -> str:
    return re.split(r"^## ", page.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a section's table rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


def test_the_rooms_are_those_of_the_import_rules() -> None:
    """The table of rooms has the layers of pyproject.toml, in their order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (layers,) = [one["layers"] for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    held = [[room.removeprefix("proxy.") for room in layer.split(" | ")] for layer in layers]
    assert [re.findall(r"`(\w+)`", cells[0]) for cells in rows(section(PAGE, "Rooms"))] == held


def test_every_promise_names_its_place_and_its_tests() -> None:
    """P1 to P8 are there, each with files and tests that exist."""
    table = rows(section(PAGE, "The promises"))
    assert [cells[0].split()[0] for cells in table] == [f"P{number}" for number in range(1, 9)]
    for _, kept, attacked in table:
        for file in re.findall(r"`([^`]+)`", kept):
            assert (ROOT / file).is_file(), file
        tests = re.findall(r"`([^`]+)::(\w+)`", attacked)
        assert tests, attacked
        for file, name in tests:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            assert name in {
                node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }


def test_the_places_that_a_newcomer_is_sent_to_exist() -> None:
    """Each path of the page is there."""
    for path in re.findall(r"`((?:proxy|tests|plugins)/[\w./]*)`", PAGE):
        assert (ROOT / path).exists(), path


def test_the_picture_loads_nothing() -> None:
    """The SVG is sound, and has no script, no font and no address of others."""
    text = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()}
    assert tags <= {"svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text"}
    assert re.findall(r"https?://[^\s\"]+|@import|@font-face|url\((?!#)", text) == ["http://www.w3.org/2000/svg"]


def test_the_table_of_commands_is_the_command_line() -> None:
    """docs/operators.md has a row for each command, and no other."""

    def leaves(command: click.Command, name: str) -> list[str]:
        if isinstance(command, click.Group):
            return [leaf for word, one in command.commands.items() for leaf in leaves(one, f"{name} {word}")]
        return [] if command.hidden else [name]

    table = rows(section(OPERATORS, "Commands"))
    named = [re.match(r"`(reelgate(?: [a-z]+)+)", cells[0]) for cells in table]
    assert sorted(found[1] for found in named if found) == sorted(leaves(main, "reelgate"))
