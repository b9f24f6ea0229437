"""Tree nodes -> typed values: every wrong value becomes a problem with its line, its path and what would be right."""

from __future__ import annotations

import math
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from proxy.config.tree import Listing, Node, Problem, Scalar, Table, plain, step
from proxy.errors import did_you_mean

LARGEST: Final = 10**15
"""A larger whole number is a slip; it would not fit the store either."""

BAD: Final = object()
"""What a conversion answers where it added a problem."""


class Conversion:
    """Converts nodes by Python types (those that msgspec knows); `problems` collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, line: int, path: str, text: str) -> Any:
        """Add a problem; the answer is `BAD`."""
        self.problems.append(Problem(line, path, text))
        return BAD

    def value(self, node: Node, kind: Any, path: str, line: int) -> Any:
        """Built-in Python values that `msgspec.convert` takes for `kind`, or `BAD`. `line` is the key's."""
        if isinstance(node, Scalar):
            return self._scalar(node, kind, path, line)
        kind = _container(kind, node)
        origin = get_origin(kind) or kind
        if isinstance(node, Listing) and origin in (list, tuple, set, frozenset, Sequence, Collection):
            inner = (*get_args(kind), Any)[0]
            items = [self.value(item, inner, f"{path}[{i}]", item.line) for i, item in enumerate(node.items)]
            return BAD if BAD in items else self._checked(items, kind, path, line, node)
        if isinstance(node, Table) and isinstance(origin, type) and issubclass(origin, msgspec.Struct):
            return self.struct(node, origin, path, line)
        if isinstance(node, Table) and origin in (dict, Mapping):
            inner = (*get_args(kind), Any, Any)[1]
            table = {
                key: self.value(item, inner, step(path, key), node.lines[key]) for key, item in node.entries.items()
            }
            return BAD if BAD in table.values() else self._checked(table, kind, path, line, node)
        return self._checked(plain(node), kind, path, line, node)

    def struct(self, table: Table, cls: type[msgspec.Struct], path: str, line: int) -> Any:
        """The fields of `cls` from `table` as a dict that `msgspec.convert` takes, or `BAD`."""
        known = len(self.problems)
        fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
        result: dict[str, Any] = {}
        for key, node in table.entries.items():
            if key in fields:
                result[key] = self.value(node, fields[key].type, step(path, key), table.lines[key])
            else:
                self.unknown(key, fields, path, table.lines[key])
        for key, field in fields.items():
            if field.required and key not in table.entries:
                self.wrong(line, step(path, key), f"is missing; it must be {_wanted(field.type)}")
        if len(self.problems) > known or BAD in result.values():
            return BAD
        try:
            msgspec.convert(result, cls)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            return self.wrong(line, path, f"cannot be used: {error}")
        return result

    def unknown(self, key: str, known: Collection[str], path: str, line: int) -> None:
        """Add the problem of a key that nobody knows."""
        guess = did_you_mean(key, known)
        self.wrong(line, step(path, key), f"is an unknown key{guess or '; known are ' + ', '.join(sorted(known))}")

    def _scalar(self, node: Scalar, kind: Any, path: str, line: int) -> Any:
        if not node.sound:
            return BAD
        candidates: list[Any] = [node.value]
        if node.value is None:
            # An empty environment variable is an empty text where a text is wanted, and nothing elsewhere.
            candidates += [""] if node.borrowed else []
        elif not isinstance(node.value, str):
            # An unquoted 12345, 16:9 or off is a text where a text is wanted.
            candidates.append(node.text)
        for candidate in candidates:
            try:
                msgspec.convert(candidate, kind)
            except (msgspec.ValidationError, ValueError, OverflowError):
                continue
            if isinstance(candidate, float) and not math.isfinite(candidate):
                break
            if isinstance(candidate, int) and abs(candidate) > LARGEST:
                break
            return candidate
        return self._refused(node, kind, path, line)

    def _checked(self, value: Any, kind: Any, path: str, line: int, node: Node) -> Any:
        try:
            msgspec.convert(value, kind)
        except (msgspec.ValidationError, ValueError, TypeError, OverflowError):
            return self._refused(node, kind, path, line)
        return value

    def _refused(self, node: Node, kind: Any, path: str, line: int) -> Any:
        return self.wrong(line, path, f"must be {_wanted(kind)}, not {shown(node)}{_near_word(node, kind)}")


def shown(node: Node) -> str:
    """What `node` holds, for a message; never a value that came from the environment."""
    match node:
        case Listing():
            return "a list"
        case Table():
            return "a mapping"
        case Scalar(borrowed=borrowed) if borrowed:
            return "what the environment gives"
        case Scalar(value=None):
            return "empty"
        case Scalar(value=bool()):
            return node.text
        case Scalar(value=str()):
            return f"the text {_short(node.text)!r}"
    return f"the number {_short(node.text)}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _container(kind: Any, node: Node) -> Any:
    """The one alternative of a union that takes a list or a mapping, else `kind` itself."""
    kind = _bare(kind)
    if get_origin(kind) in (Union, types.UnionType):
        fitting = [inner for inner in map(_bare, get_args(kind)) if _takes(inner, node)]
        return fitting[0] if len(fitting) == 1 else kind
    return kind


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _takes(kind: Any, node: Node) -> bool:
    origin = get_origin(kind) or kind
    if isinstance(node, Listing):
        return origin in (list, tuple, set, frozenset, Sequence, Collection)
    return origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, msgspec.Struct))


def _near_word(node: Node, kind: Any) -> str:
    words = [word for word in _literals(kind) if isinstance(word, str)]
    return did_you_mean(node.text, words) if isinstance(node, Scalar) and not node.borrowed else ""


def _literals(kind: Any) -> list[Any]:
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [word for inner in get_args(kind) for word in _literals(inner)]


def _wanted(kind: Any) -> str:
    """What a value of `kind` looks like, in words."""
    if words := _literals(kind):
        return "one of " + ", ".join(map(str, words))
    return _words(msgspec.inspect.type_info(kind))


def _words(info: msgspec.inspect.Type) -> str:
    inspect = msgspec.inspect
    match info:
        case inspect.UnionType():
            return " or ".join(_words(one) for one in info.types if not isinstance(one, inspect.NoneType))
        case inspect.EnumType():
            return "one of " + ", ".join(str(member.value) for member in info.cls)
        case inspect.IntType():
            return "a whole number" + _bounds(info)
        case inspect.FloatType():
            return "a number" + _bounds(info)
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "a text" + (f" like {info.pattern}" if info.pattern else "")
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return "a list"
        case inspect.TupleType():
            return f"a list of {len(info.item_types)} values"
        case inspect.DictType() | inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            return "a mapping"
    return f"a {type(info).__name__.removesuffix('Type').lower()}"


def _bounds(info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    bounds = {"above": info.gt, "of at least": info.ge, "below": info.lt, "of at most": info.le}
    said = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    return f" {said}" if said else ""
