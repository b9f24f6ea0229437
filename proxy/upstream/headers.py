"""The headers of the calls to a channel's own upstream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict

_BAD_HEADER: Final = re.compile(r"[\x00\r\n]")


def merged(credentials: Mapping[str, str], extra: Mapping[str, str] | None, *, json: bool) -> CIMultiDict[str]:
    """The headers of an API call."""
    sent = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json"})
    sent.update(credentials)
    sent.update(extra or {})
    if not json:
        # Some servers refuse an empty body that is labelled; a form's label gets its boundary from aiohttp.
        sent.popall("Content-Type", None)
    return sent


def misshapen(headers: Mapping[str, str]) -> str | None:
    """The name of the first header that would break the message apart."""
    return next((name for name, value in headers.items() if _BAD_HEADER.search(name + value)), None)
