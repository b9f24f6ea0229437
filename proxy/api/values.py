"""Single values of a request: their forms, and the words for what is wrong with them."""

from __future__ import annotations

import re
from typing import Any, Final

from proxy.api.parts import FilePart
from proxy.errors import InvalidRequest, MissingParameter
from proxy.models import RATIO_PATTERN, SIZE_PATTERN

MAX_PROMPT: Final = 32_000
MAX_MODEL: Final = 256
MAX_SECONDS: Final = 3600
MAX_OBJECT: Final = 2**16
"""Bytes of JSON that an object of the client's own may take."""
MAX_DEPTH: Final = 32

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,3}")
_INT64: Final = 2**63


def shown(value: object, limit: int = 60) -> str:
    """A piece of a client's input, safe and short enough for a message."""
    text = str(value)
    cut = text[:limit] + ("…" if len(text) > limit else "")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)


def invalid_type(param: str, expected: str, value: Any) -> InvalidRequest:
    """The error for a value of the wrong type; `expected` is a phrase such as "a string"."""
    match value:
        case bool():
            got = "a boolean"
        case int():
            got = "an integer"
        case float():
            got = "a number"
        case str():
            got = "a string"
        case list():
            got = "an array"
        case dict():
            got = "an object"
        case FilePart():
            got = "a file"
        case _:
            got = "null"
    return InvalidRequest(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param=param)


def text(fields: dict[str, Any], name: str, maximum: int) -> str | None:
    """A text of 1 to `maximum` characters without NUL, or None where it is not given. Taken out of `fields`."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid_type(name, "a string", value)
    if not value:
        raise InvalidRequest(f"Invalid '{name}': empty string. Expected a string with minimum length 1.", param=name)
    if len(value) > maximum:
        raise InvalidRequest(
            f"Invalid '{name}': string too long. Expected a string with maximum length {maximum}, "
            f"but got a string with length {len(value)} instead.",
            param=name,
        )
    if "\0" in value:
        raise InvalidRequest(f"Invalid '{name}': it contains a NUL character.", param=name)
    return value


def required_text(fields: dict[str, Any], name: str, maximum: int) -> str:
    """The same for a text that must be given."""
    value = text(fields, name, maximum)
    if value is None:
        raise MissingParameter(f"Missing required parameter: '{name}'.", param=name)
    return value


def model(fields: dict[str, Any]) -> str | None:
    """The public name of a model."""
    value = text(fields, "model", MAX_MODEL)
    if value is not None and not value.isprintable():
        raise InvalidRequest(f"Invalid value: '{shown(value)}' is no name of a model.", param="model")
    return value


def seconds(fields: dict[str, Any], name: str = "seconds") -> int | None:
    """Whole seconds, given as an integer or as its text."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise invalid_type(name, "a string or an integer", value)
    if isinstance(value, str) and _SECONDS.fullmatch(value) is None:
        raise InvalidRequest(
            f"Invalid value: '{shown(value)}'. '{name}' must be a whole number of seconds, such as '4'.", param=name
        )
    number = int(value)
    if not 1 <= number <= MAX_SECONDS:
        raise InvalidRequest(
            f"Invalid value: '{shown(value)}'. '{name}' must be between 1 and {MAX_SECONDS}.", param=name
        )
    return number


def size(fields: dict[str, Any]) -> str | None:
    """`WxH` or a ratio word."""
    value = fields.pop("size", None)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid_type("size", "a string", value)
    if SIZE_PATTERN.fullmatch(value) is None and RATIO_PATTERN.fullmatch(value) is None:
        raise InvalidRequest(
            f"Invalid value: '{shown(value)}'. 'size' must be of the form '1280x720' or '16:9'.", param="size"
        )
    return value


def boolean(fields: dict[str, Any], name: str) -> bool | None:
    """True or false."""
    value = fields.pop(name, None)
    if value is not None and not isinstance(value, bool):
        raise invalid_type(name, "a boolean", value)
    return value


def integer(fields: dict[str, Any], name: str) -> int | None:
    """A whole number of 64 bits."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_type(name, "an integer", value)
    if not -_INT64 <= value < _INT64:
        raise InvalidRequest(f"Invalid value for '{name}': the integer is out of range.", param=name)
    return value


def check_tree(param: str, value: Any) -> None:
    """Raise an `InvalidRequest` where a value of the client's own could not be stored and sent on as JSON: a file, an
    integer beyond 64 bits, too deep a nesting."""
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
            elif isinstance(item, FilePart):
                raise invalid_type(param, "a JSON value", item)
            elif isinstance(item, int) and not -_INT64 <= item < _INT64:
                raise InvalidRequest(f"Invalid value for '{param}': an integer in it is out of range.", param=param)
        if not deeper:
            return
        level = deeper
    raise InvalidRequest(f"Invalid value for '{param}': it is nested more than {MAX_DEPTH} levels deep.", param=param)
