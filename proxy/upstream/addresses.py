"""The addresses of a channel's own upstream: its base URL, and the paths under it that plugins call."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from yarl import URL

from proxy.errors import UpstreamError
from proxy.upstream.guard import UnusableUrl, check_url, same_origin

_VERSION: Final = re.compile(r"v\d+(?:\.\d+)?(?:(?:alpha|beta)\d*)?")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_BAD_PATH: Final = re.compile(r"[\x00-\x1f\x7f\\#]")


class BadTarget(UpstreamError, ValueError):
    """A path or an address that a plugin must not call: nothing was sent."""


class Base:
    """The provider's origin plus any prefix, or nothing; a `ValueError` when it is malformed or has a query."""

    def __init__(self, base_url: str) -> None:
        self.text: Final = _checked(base_url)
        self._origin = URL(self.text).origin() if self.text else None

    def url(self, path: str) -> str:
        """The address of `path`, as `Upstream.url` tells; a `ValueError` with a sentence where there is none."""
        if _BAD_PATH.search(path):
            raise ValueError("The path of an upstream call has a backslash, a fragment or control characters.")
        if self._origin is None:
            raise ValueError("The channel has no base_url.")
        if _ABSOLUTE.match(path):
            try:
                target = check_url(path)
            except UnusableUrl:
                raise ValueError("The upstream gave an address that is malformed.") from None
            if not same_origin(target, self._origin):
                raise ValueError("The upstream gave an address that is not on its own origin.")
            return path
        bare, mark, query = path.partition("?")
        steps = bare.lstrip("/").split("/")
        if any(part in (".", "..") for step in steps for part in re.split(r"[/\\]", unquote(step))):
            raise ValueError("The path of an upstream call has a '..' in it.")
        return "/".join([self.text, *steps[self._overlap(steps) :]]) + mark + query

    def _overlap(self, steps: list[str]) -> int:
        """How many of the first `steps` of a path the base URL already ends with, up to a version."""
        own = urlsplit(self.text).path.split("/")[1:]
        if not own or not _VERSION.fullmatch(own[-1]):
            return 0
        return next((n for n in range(len(own), 0, -1) if own[-n:] == steps[:n]), 0)


def _checked(base_url: str) -> str:
    if not base_url:
        return ""
    try:
        url = check_url(base_url)
    except UnusableUrl as error:
        raise ValueError(f"base_url cannot be used: {error}") from None
    if url.raw_query_string or url.raw_fragment or "?" in base_url or "#" in base_url:
        raise ValueError("base_url cannot have a query or a fragment; remove what begins with '?' or '#'")
    return base_url.rstrip("/")
