"""A running server, as the commands that are its clients ask it: one JSON call at a time, every failure a sentence."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from proxy.errors import ReelgateError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT: Final = 120.0
"""Seconds without a byte after which the server is given up."""
_MAKE_ONE: Final = "(`reelgate keys create NAME` on that server makes one)"
_ADMIN: Final = "the admin key (the server's REELGATE_ADMIN_KEY, or the one that its first start printed)"


class Unanswered(ReelgateError):
    """The server could not be asked, or its answer is none of a Reelgate."""


class Refused(ReelgateError):
    """The server answered with an error: `status`, its `code` and its sentence."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Remote:
    """The server at `url`, which may end in `/v1`, asked with an API key; `admin`: for what needs the admin key."""

    def __init__(self, url: str, key: str, *, admin: bool = False) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key = key
        self._admin = admin
        self._opener = urllib.request.build_opener(_NoRedirects)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, admin: bool = False) -> Remote:
        """The server that `REELGATE_URL` and `REELGATE_API_KEY` name. Raises `Unanswered` where they cannot be used."""
        url = environ.get("REELGATE_URL", "").strip() or DEFAULT_URL
        key = environ.get("REELGATE_API_KEY", "").strip()
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise Unanswered(f"REELGATE_URL is {url!r}: it must be an address such as {DEFAULT_URL}")
        if not key:
            wanted = f"{_ADMIN} of {url} into it" if admin else f"an API key of {url} into it {_MAKE_ONE}"
            raise Unanswered(f"REELGATE_API_KEY is not set: put {wanted}")
        if not (key.isascii() and key.isprintable()):
            raise Unanswered("REELGATE_API_KEY has characters that no API key has: copy the key again")
        return cls(url, key, admin=admin)

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON of a GET; parameters that are None are left out. Raises `Unanswered` and `Refused`."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return self._call("GET", f"{path}?{given}" if given else path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST. Raises `Unanswered` and `Refused`."""
        return self._call("POST", path, json.dumps(body).encode())

    def _call(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json", "User-Agent": "reelgate"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)  # noqa: S310
            with self._opener.open(request, timeout=TIMEOUT) as response:
                status, text = response.status, response.read()
        except HTTPError as error:
            with error:
                status, text = error.code, error.read()
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise Unanswered(
                f"no Reelgate answers at {self.url} ({reason}): start it with `reelgate serve`, or say where it is in "
                "REELGATE_URL"
            ) from error
        return self._read(status, text)

    def _read(self, status: int, text: bytes) -> Any:
        try:
            answer = json.loads(text)
            if status < 300:
                return answer
            told = answer["error"]
            code, message = told["code"], str(told["message"])
        except (ValueError, TypeError, KeyError):
            raise Unanswered(
                f"what answers at {self.url} (HTTP {status}) is no Reelgate: say where it is in REELGATE_URL"
            ) from None
        if status == 401:
            wanted = (
                f"{_ADMIN} into REELGATE_API_KEY"
                if self._admin
                else f"one of its own into REELGATE_API_KEY {_MAKE_ONE}"
            )
            message = f"{self.url} refuses the API key: {message}. Put {wanted}"
        elif status == 403:
            message += f" Put {_ADMIN} into REELGATE_API_KEY."
        raise Refused(status, code, message)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None
