"""Form field names -> the objects and lists that they spell: `a[b]`, `k[]`, `k[][x]`, `k[][x][y]`.

The official SDKs flatten nested values in this way (openai-python `_qs.py`, openai-node `uploads.ts`), and some
gateways send JSON as the text of a field; both arrive here.
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxy.api import documents
from proxy.errors import InvalidRequest

MAX_PARTS: Final = 256
MAX_NAME: Final = 256
MAX_DEPTH: Final = 8

VERBATIM: Final = frozenset({"prompt", "model", "negative_prompt", "name", "task_id", "video_id"})
"""Fields whose text is the value, whatever it looks like."""
TEXTS: Final = frozenset(
    {"seconds", "size", "duration", "input_reference", "image", "images", "last_frame", "video", "characters"}
)
"""Fields that stay texts, save for JSON objects and lists and for `null`, which is left out."""
LISTS: Final = frozenset({"images", "characters"})
"""Fields that may simply be repeated."""
SINGLE_KEYED: Final = frozenset({"images"})
"""Lists whose objects have one key each, so that every `k[][x]` is an object of its own."""

_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_STEP: Final = re.compile(r"\[([^\[\]]*)\]")
# Longer digit strings are ids more often than numbers, and no JSON number keeps them.
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
# A seed is never an id.
_SEED: Final = re.compile(r"-?[1-9][0-9]{15,18}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")
_WORDS: Final = {"true": True, "false": False, "null": None}


class _Spelt(dict[str, Any]):
    """An object that field names spelt, unlike one that a text holds as JSON."""


class Tree:
    """The fields of a form, put in one by one, then taken."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._rows: dict[str, list[Any]] = {}

    def take(self) -> dict[str, Any]:
        """All fields. Raises `InvalidRequest` where a list of objects can be read in more than one way."""
        for name, rows in self._rows.items():
            # openai-python sends all `k[][x]` before the first `k[][y]`, openai-node element by element. Which `y` is
            # whose can only be told where every element has the same keys.
            if any(not isinstance(row, _Spelt) or _leaves(row) != _leaves(rows[0]) for row in rows):
                raise InvalidRequest(
                    f"The objects in the list '{name[:64]}' have different fields; a form cannot say so, send JSON.",
                    param=name.partition("[")[0][:64],
                )
        return self._fields

    def put_text(self, name: str, text: str) -> None:
        """Put in a text part: texts of extension fields that spell JSON values become those."""
        self.put(name, read_text(name, text))

    def put(self, name: str, value: Any) -> None:
        """Put in a value under the name as it was sent. Raises `InvalidRequest` for a name that spells nothing, or
        that contradicts an earlier one."""
        path = steps(name)
        top = path[0]
        if top in LISTS and len(path) == 1:
            self._extend(name, value)
        elif not self._put(self._fields, path, value, name.partition("[]")[0]):
            raise InvalidRequest(
                f"The field '{name[:64]}' is given twice, or both as a value and as an object.", param=top
            )

    def _extend(self, top: str, value: Any) -> None:
        held = self._fields.setdefault(top, [])
        if not isinstance(held, list):
            raise InvalidRequest(f"The field '{top}' is given both as a list and as an object.", param=top)
        held.extend(value if isinstance(value, list) else [value])

    def _put(self, container: dict[str, Any], path: list[str | None], value: Any, rows_name: str) -> bool:
        """Whether `value` found its place."""
        key, *rest = path
        if key is None:
            return False
        if not rest:
            if key in container:
                return False
            container[key] = value
            return True
        if rest[0] is not None:
            child = container.setdefault(key, _Spelt())
            return isinstance(child, dict) and self._put(child, rest, value, rows_name)
        items = container.setdefault(key, [])
        if not isinstance(items, list):
            return False
        if len(rest) == 1:
            items.append(value)
            return True
        leaf = rest[1:]
        single = rows_name in SINGLE_KEYED and len(leaf) == 1
        if not single:
            self._rows[rows_name] = items
        for row in () if single else items:
            if isinstance(row, _Spelt) and self._put(row, leaf, value, rows_name):
                return True
        row = _Spelt()
        items.append(row)
        return self._put(row, leaf, value, rows_name)


def _leaves(value: Any) -> Any:
    """What was spelt of an object, without its values."""
    return {name: _leaves(inner) for name, inner in value.items()} if isinstance(value, _Spelt) else None


def steps(name: str) -> list[str | None]:
    """The way that a field name describes, `None` for the next element of a list: `k[][x]` is `["k", None, "x"]`."""
    match = _NAME.fullmatch(name) if len(name) <= MAX_NAME else None
    if match is None:
        raise InvalidRequest(f"The field name '{name[:64]}' is not of the form 'a', 'a[b]' or 'a[]'.", param=name[:64])
    path: list[str | None] = [match[1], *(step or None for step in _STEP.findall(match[2]))]
    # In `k[][x][]` nothing tells which element the next value belongs to.
    if len(path) > MAX_DEPTH or path.count(None) > 1 or None in path[:-3]:
        raise InvalidRequest(
            f"The field name '{name[:64]}' is nested too deeply for a form; send JSON.", param=match[1][:64]
        )
    return path


def read_text(name: str, text: str) -> Any:
    """The value that the text of a form field stands for."""
    top = name.partition("[")[0]
    if top in VERBATIM:
        return text
    if text[:1] in ("{", "["):
        try:
            return documents.value(name, text.encode())
        except InvalidRequest:
            if len(text) > documents.SMALL:
                raise
            return text
    if text == "null":
        return None
    if top in TEXTS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) or (name == "seed" and _SEED.fullmatch(text)):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
