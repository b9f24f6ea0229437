"""What a browser sends when a form of ours is submitted."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from proxy.dashboard.languages import text
from proxy.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType

MAX_BODY: Final = 256 * 1024
"""Bytes of a form; files go through `/dashboard/api`."""
MAX_FIELDS: Final = 500
STALL: Final = 30.0
"""Seconds in which all of a form must have come."""

_NO_FORM: Final = text("This address takes a form (application/x-www-form-urlencoded).")
_TOO_LARGE: Final = text("The form is too large: 256 KiB are the most.")
_TOO_SLOW: Final = text("The form did not arrive within 30 seconds. Try again.")
_UNREADABLE: Final = text("The form cannot be read: send it as UTF-8, with at most 500 fields.")


class Form:
    """The fields of a submitted form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def text(self, name: str) -> str:
        """The first value of a field without the blanks around it; empty where there is none."""
        return self.exact(name).strip()

    def exact(self, name: str) -> str:
        """The first value of a field as it was typed, for passwords."""
        return next((value for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field that is not empty, for check boxes and multiple choices."""
        return [value for key, value in self._pairs if key == name and value]

    def ticked(self, name: str) -> bool:
        """Whether a check box is ticked."""
        return bool(self.all(name))


async def read(request: web.Request) -> Form:
    """The form in the body of `request`. Raises an `InvalidRequest` where there is none, or too much, or too slowly."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType(_NO_FORM)
    body = bytearray()
    try:
        async with asyncio.timeout(STALL):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    raise BodyTooLarge(_TOO_LARGE)
    except TimeoutError:
        raise InvalidRequest(_TOO_SLOW) from None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidRequest(_UNREADABLE) from error
    return Form(pairs)
