"""What the keys of channels.yaml are, read from the classes that hold them, so that no table can say otherwise."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sized
from enum import Enum
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from proxy.channel import Channel


class OptionFact(NamedTuple):
    """One key of the file: its `form` in words, its `default` as it would be written (None: the key is required), and
    `about`, the text under its field, in one line."""

    name: str
    form: str
    default: str | None
    about: str


def options_of(cls: type[Channel]) -> list[OptionFact]:
    """The keys that entries of this type may have beside those that every channel has; the plugin's own first."""
    own = {
        field.encode_name
        for field in msgspec.structs.fields(cls.options_class)
        if field.name in cls.options_class.__annotations__
    }
    return sorted(facts_of(cls.options_class), key=lambda fact: fact.name not in own)


def facts_of(cls: type[msgspec.Struct]) -> list[OptionFact]:
    """The keys that a struct holds, in its own order."""
    texts = _texts(cls)
    hints = get_type_hints(cls, include_extras=True)
    return [
        OptionFact(field.encode_name, _form(hints[field.name]), _default(field), texts.get(field.name, ""))
        for field in msgspec.structs.fields(cls)
    ]


def _texts(options: type) -> dict[str, str]:
    """The text under each field, the class's own before those of the classes that it is made from."""
    found: dict[str, str] = {}
    for one in options.__mro__:
        if one in (msgspec.Struct, object):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            # A class without a file, or of one that is gone: the names and forms are still worth showing.
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(text):
                assert isinstance(text, ast.Expr)
                assert isinstance(text.value, ast.Constant)
                found.setdefault(field.target.id, " ".join(str(text.value.value).split()))
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


_FORMS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "`true`, `false`",
    **dict.fromkeys((tuple, list, set, frozenset), "list"),
}


def _form(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        plain, *marks = get_args(hint)
        # A text beside the bounds is the unit.
        unit = next((mark for mark in marks if isinstance(mark, str)), None)
        bounds = [words for mark in marks if isinstance(mark, msgspec.Meta) if (words := _bounds(mark))]
        return " ".join([unit or _form(plain), *bounds])
    if get_origin(hint) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(hint))
    if get_origin(hint) is Union or isinstance(hint, type(int | str)):
        return " or ".join(dict.fromkeys(_form(one) for one in get_args(hint) if one is not type(None)))
    plain = get_origin(hint) or hint
    if isinstance(plain, type) and issubclass(plain, Enum):
        return ", ".join(f"`{member.value}`" for member in plain)
    return _FORMS.get(plain, "any" if plain is Any else "mapping")


def _bounds(mark: msgspec.Meta) -> str:
    words = {"above": mark.gt, "of at least": mark.ge, "below": mark.lt, "of at most": mark.le}
    return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)


def _default(field: Any) -> str | None:
    if field.required:
        return None
    # What a factory makes may be different each time, or a secret from the environment.
    value = None if field.default is msgspec.NODEFAULT else field.default
    if value is None or (isinstance(value, Sized) and not value):
        return ""
    try:
        plain = msgspec.to_builtins(value)
        return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
    except (TypeError, ValueError):
        return str(value)
