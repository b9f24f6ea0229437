"""The commands that the documents name are those that there are."""

import re

import click

from proxy.cli import main
from tests.docs import pages
from tests.docs.pages import PAGES


def wrong(words: list[str]) -> str | None:
    """What the command line does not know of these words after `reelgate`; placeholders and values are let pass."""
    command: click.Command = main
    known = {option for parameter in main.params for option in parameter.opts} | {"--help"}
    for word in words:
        if option := re.match(r"\[?(--[a-z][a-z-]*)", word):
            if option[1] not in known:
                return f"{command.name} has no {option[1]}"
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            if word not in command.commands:
                return f"{command.name} has no {word}"
            command = command.commands[word]
            known |= {option for parameter in command.params for option in parameter.opts}
    return None


def test_the_commands_in_blocks_that_are_not_run_exist() -> None:
    """Each `reelgate …` of such a block has only commands and options that there are."""
    found = [
        f"{block.page.name}:{line}: {problem}"
        for page in PAGES
        for block in pages.blocks(page)
        if block.remark in ("not run", "run by") and block.language in ("sh", "console")
        for line, words in pages.commands(block, "reelgate")
        if (problem := wrong(words))
    ]
    assert found == []


def test_the_commands_in_sentences_exist() -> None:
    """Each `reelgate …` in a sentence or a table does, too."""
    found = [
        f"{page.name}: `reelgate {said}`: {problem}"
        for page in [*PAGES, pages.CHINESE]
        for said in re.findall(r"`reelgate ([^`]+)`", page.read_text("utf-8"))
        if (problem := wrong(said.replace("\\|", " ").replace("[", " ").split()))
    ]
    assert found == []


def test_a_wrong_command_is_noticed() -> None:
    """A command, an option, or a command of a group that is not there."""
    assert wrong(["serv"])
    assert wrong(["keys", "make", "NAME"])
    assert wrong(["keys", "create", "NAME", "--rmp", "60"])
    assert wrong(["keys", "create", "NAME", "--rpm", "60", "--data", "x"]) is None
