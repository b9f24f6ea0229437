"""What the requests of the admin API say, beside what those of clients do too."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from proxy.api import bodies, queries, values
from proxy.api.auth import operator
from proxy.api.context import API
from proxy.api.values import invalid_type, shown
from proxy.errors import InvalidRequest
from proxy.ids import ID_PATTERN

MAX_WORD: Final = 256
"""Characters of a value of the query."""

_JSON_ONLY: Final[tuple[bodies.Form, ...]] = ("json",)


async def fields(request: web.Request, *known: str) -> bodies.Fields:
    """The fields of a JSON body, of which only `known` ones may be; none where there is no body.

    Raises what `operator` does, where the key or the session has ended while the body was on its way: nobody keeps what
    an admin may do by sending slowly.
    """
    if not request.body_exists:
        return {}
    async with bodies.fields_of(request.app[API], request, files=(), forms=_JSON_ONLY) as found:
        for name in found:
            if name not in known:
                raise InvalidRequest(f"Unknown parameter: '{shown(name)}'.", param=shown(name))
        await operator(request)
        return found


def word(request: web.Request, name: str) -> str | None:
    """A value of the query that is compared with something; None where it is not given."""
    text = request.query.get(name)
    if text is None:
        return None
    if not text or len(text) > MAX_WORD or not text.isprintable():
        raise InvalidRequest(
            f"Invalid value: '{shown(text)}'. '{name}' must be 1 to {MAX_WORD} printable characters.", param=name
        )
    return text


def after(request: web.Request, noun: str) -> str | None:
    """The id behind which a list goes on."""
    text = request.query.get("after")
    if text is not None and text != "admin" and ID_PATTERN.fullmatch(text) is None:
        raise InvalidRequest(f"Invalid value: '{shown(text)}'. 'after' must be the id of {noun}.", param="after")
    return text


def limit(request: web.Request) -> int:
    """How many a list may have, at least one."""
    found = queries.limit(request)
    if found == 0:
        raise InvalidRequest(f"Invalid value: '0'. 'limit' must be between 1 and {queries.MAX_LIMIT}.", param="limit")
    return found


def array(found: bodies.Fields, name: str) -> tuple[str, ...] | None:
    """A list of texts, or None for null. Taken out of `found`."""
    value: Any = found.pop(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise invalid_type(name, "an array of strings", value)
    for item in value:
        if not isinstance(item, str):
            raise invalid_type(name, "an array of strings", item)
    return tuple(value)


def number(found: bodies.Fields, name: str) -> int:
    """A whole number, 0 for null. Taken out of `found`."""
    return values.integer(found, name) or 0
