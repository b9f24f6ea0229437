"""YAML text -> a tree whose every node knows its line, with the environment put in.

PyYAML's composer gives the nodes; nothing is constructed from tags, so that a file can only hold texts, numbers, true,
false, null, lists and mappings. What is wrong is collected, never raised: one look at a file finds every mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import yaml

MAX_TEXT: Final = 2**20
"""Characters of a file; a catalogue of a thousand channels has about half of it."""
MAX_NODES: Final = 100_000
"""Nodes after aliases are followed, so that a few lines of nested aliases cannot fill the memory."""
MAX_DEPTH: Final = 40

_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = ("int", "float", "bool")
_TEXTS: Final = ("str", "timestamp", "merge", "value")
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_SIMPLE_KEY: Final = re.compile(r"[\w-]{1,60}")


class Problem(NamedTuple):
    """Something wrong at `line` (from 1; 0: the whole file), in the value that `path` names (`channels[1].weight`)."""

    line: int
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """`text` as written; `value` as YAML understands it: str, int, float, bool or None.

    `borrowed` are the values of environment variables in it; a scalar that has any is never shown in a message.
    `NAME=` and `${NAME:-}` borrow an empty text. A scalar that is not `sound` was complained about already.
    """

    text: str = field(repr=False)
    value: str | int | float | bool | None = field(repr=False)
    line: int = field(default=0, compare=False)
    borrowed: tuple[str, ...] = field(default=(), repr=False)
    sound: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    items: tuple[Node, ...]
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Table:
    entries: dict[str, Node]
    lines: dict[str, int] = field(default_factory=dict, compare=False)
    line: int = field(default=0, compare=False)


Node = Scalar | Listing | Table


def step(path: str, key: str) -> str:
    """The path of `key` inside `path`."""
    if not _SIMPLE_KEY.fullmatch(key):
        return f"{path}[{key[:60]!r}]"
    return f"{path}.{key}" if path else key


def plain(node: Node) -> Any:
    """The tree as built-in Python values."""
    match node:
        case Scalar():
            return node.value
        case Listing():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(value) for key, value in node.entries.items()}


def node_of(value: Any, line: int = 0) -> Node:
    """The tree of built-in Python values, for what did not come from a file."""
    if isinstance(value, Mapping):
        entries = {str(key): node_of(item, line) for key, item in value.items()}
        return Table(entries, dict.fromkeys(entries, line), line)
    if isinstance(value, list | tuple):
        return Listing(tuple(node_of(item, line) for item in value), line)
    return Scalar("" if value is None else str(value), value, line)


def parse(text: str, environ: Mapping[str, str]) -> tuple[Node | None, list[Problem]]:
    """The tree of `text`, None when it has none, and all that is wrong with it."""
    if len(text) > MAX_TEXT:
        return None, [Problem(0, "", f"is longer than {MAX_TEXT:,} characters")]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [Problem(mark.line + 1 if mark else 0, "", f"is not YAML: {_yaml_sentence(error)}")]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return None, [Problem(line, "", f"is not YAML: the character #x{ord(text[error.position]):04x} is not allowed")]
    except RecursionError:
        return None, [Problem(0, "", f"is nested deeper than {MAX_DEPTH} levels")]
    except Exception as error:  # PyYAML lets a ValueError out for some escapes and version numbers
        return None, [Problem(0, "", f"is not YAML: {error}")]
    if root is None:
        return None, []
    planter = _Planter(environ)
    try:
        return planter.node(root, "", 0), planter.problems
    except _TooBig as error:
        return None, [*planter.problems, Problem(root.start_mark.line + 1, "", str(error))]


def _yaml_sentence(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    sentence = ", ".join(parts) or "it cannot be read"
    if "'\\t'" in sentence:
        sentence += "; indent with spaces, not with tabs"
    elif "mapping values are not allowed here" in sentence:
        sentence += "; check the indentation, and put a value with ': ' in it between quotes"
    elif "${" in str(error.problem_mark and error.problem_mark.get_snippet()):
        sentence += '; inside { } and [ ] write "${NAME}" with quotes'
    return sentence


class _TooBig(Exception):
    """The tree grows beyond `MAX_NODES`."""


class _Planter:
    """Turns composed YAML nodes into our own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._environ = environ
        self._count = 0
        self._open: set[int] = set()
        self._resolver = yaml.SafeLoader("")

    def node(self, node: yaml.Node, path: str, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES:
            raise _TooBig(f"has more than {MAX_NODES:,} values once its aliases are followed")
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, line)
        if id(node) in self._open:
            self._wrong(line, path, "contains itself through an alias")
            return Scalar("", None, line, sound=False)
        if depth >= MAX_DEPTH:
            self._wrong(line, path, f"is nested deeper than {MAX_DEPTH} levels")
            return Scalar("", None, line, sound=False)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            self._wrong(line, path, f"has the tag {_short_tag(node.tag)}, which means nothing here; remove it")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._table(node, path, depth, line)
            items = enumerate(node.value)
            return Listing(tuple(self.node(item, f"{path}[{i}]", depth + 1) for i, item in items), line)
        finally:
            self._open.discard(id(node))

    def _table(self, node: yaml.MappingNode, path: str, depth: int, line: int) -> Table:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: list[Table] = []
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                merged += self._merged(value_node, path, depth, key_line)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(key_line, path, "has a list or a mapping as a key; a key is a word")
                continue
            key = self._scalar(key_node, path, key_line).text
            inner = step(path, key)
            value = self.node(value_node, inner, depth + 1)
            if key in entries:
                self._wrong(key_line, inner, f"stands here a second time; the first is on line {lines[key]}")
                continue
            entries[key] = value
            lines[key] = key_line
        for table in merged:
            for key, value in table.entries.items():
                if key not in entries:
                    entries[key] = value
                    lines[key] = table.lines[key]
        return Table(entries, lines, line)

    def _merged(self, node: yaml.Node, path: str, depth: int, line: int) -> list[Table]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        trees = [self.node(source, path, depth + 1) for source in sources]
        if not all(isinstance(tree, Table) for tree in trees):
            self._wrong(line, path, "has a merge key << whose value is no mapping")
        return [tree for tree in trees if isinstance(tree, Table)]

    def _scalar(self, node: yaml.ScalarNode, path: str, line: int) -> Scalar:
        known = len(self.problems)
        text, borrowed = self._substitute(node.value, path, line)
        tag = node.tag
        if text != node.value and tag == f"{_TAG}str":
            tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        value: Any = text
        kind = tag.removeprefix(_TAG)
        if kind == "null":
            value = None
        elif kind in _NUMBERS:
            value = self._number(text, kind, node)
            if value is None:
                self._wrong(line, path, f"is not what its tag !!{kind} says")
        elif kind not in _TEXTS:
            self._wrong(line, path, f"has the tag {_short_tag(tag)}, which means nothing here; remove it")
        return Scalar(text, value, line, borrowed, sound=len(self.problems) == known)

    def _number(self, text: str, kind: str, node: yaml.ScalarNode) -> str | int | float | bool | None:
        # YAML 1.1 reads 16:9 as a number in base 60; here it is a ratio or a time of day, and stays a text.
        if ":" in text:
            return text
        construct = getattr(self._resolver, f"construct_yaml_{kind}")
        try:
            value: int | float | bool = construct(yaml.ScalarNode(node.tag, text, node.start_mark, node.end_mark))
        except (ValueError, KeyError, IndexError):
            # Python takes no int of thousands of digits; where a text is wanted it is one.
            return text if text.lstrip("+-").isdecimal() else None
        return value

    def _substitute(self, text: str, path: str, line: int) -> tuple[str, tuple[str, ...]]:
        if "${" not in text:
            return text, ()
        borrowed: list[str] = []

        def one(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name, default = match[1], match[2]
            if name is None:
                self._wrong(
                    line, path, "has a ${ without a name; write ${NAME} or ${NAME:-default}, or $${ for a plain ${"
                )
                return match[0]
            value = self._environ.get(name)
            # As in a shell, :- stands in for an empty value too.
            if value is None or (value == "" and default is not None):
                if default is None:
                    self._wrong(
                        line, path, f"{name} is not set; set this environment variable or write ${{{name}:-default}}"
                    )
                elif not default:
                    borrowed.append("")
                return default or ""
            if any("\ud800" <= character <= "\udfff" for character in value):
                self._wrong(line, path, f"the environment variable {name} is not UTF-8")
                return ""
            borrowed.append(value)
            return value

        return _REFERENCE.sub(one, text), tuple(borrowed)

    def _wrong(self, line: int, path: str, text: str) -> None:
        self.problems.append(Problem(line, path, text))


def _short_tag(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag[:60]
