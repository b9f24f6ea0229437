"""A running server, as the commands that are its clients ask it: one call at a time, every failure a sentence."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit

from proxy.commands.terminal import plain
from proxy.errors import ReelgateError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT: Final = 120.0
"""Seconds without a byte after which the server is given up."""
_MAKE_ONE: Final = "(`reelgate keys create NAME` on that server makes one)"
_ADMIN: Final = "the admin key (the server's REELGATE_ADMIN_KEY, or the one that its first start printed)"


_BROKEN: Final = (ConnectionResetError, BrokenPipeError, TimeoutError)
"""What may happen when the request has left already."""
_HOPS: Final = 5
_ID: Final = re.compile(r"[\w-]+", re.ASCII)
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))


class Unanswered(ReelgateError):
    """The server could not be asked, or its answer is none of a Reelgate. `lost`: the request may have arrived;
    `again`: it may be worth another try."""

    def __init__(self, message: str, *, lost: bool = False, again: bool = False) -> None:
        super().__init__(message)
        self.lost = lost
        self.again = again


class Refused(ReelgateError):
    """The server answered with an error: `status`, its `code` and its sentence, and the `headers` in lower case."""

    def __init__(self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class Told(NamedTuple):
    """An answer: its JSON, and its headers by lower-case names."""

    data: Any
    headers: Mapping[str, str]


class Remote:
    """The server at `url`, which may end in `/v1`, asked with an API key; `admin`: for what needs the admin key;
    `timeout`: seconds without a byte after which it is given up."""

    def __init__(self, url: str, key: str, *, admin: bool = False, timeout: float = TIMEOUT) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key = key
        self._admin = admin
        self._timeout = timeout
        # A proxy in the environment knows no way to this machine.
        parts = urlsplit(self.url)
        here = _is_here(parts.hostname or "")
        direct = [urllib.request.ProxyHandler({})] if here else []
        proxied = not here and parts.scheme in urllib.request.getproxies()
        proxied = proxied and not urllib.request.proxy_bypass(parts.netloc)
        self._through = f" through {parts.scheme}_proxy" if proxied else ""
        self._opener = urllib.request.build_opener(_NoRedirects, *direct)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, admin: bool = False, timeout: float = TIMEOUT
    ) -> Remote:
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
        return cls(url, key, admin=admin, timeout=timeout)

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON of a GET; parameters that are None are left out. Raises `Unanswered` and `Refused`."""
        return self.ask(path, **query).data

    def ask(self, path: str, **query: str | int | None) -> Told:
        """Like `get`, with the headers of the answer."""
        return self._call("GET", _with(path, query), None, {})

    def video(self, told: Told) -> dict[str, Any]:
        """The video in an answer. Raises `Unanswered` where there is none: something else may be in our place, and its
        words would become file names and commands."""
        match told.data:
            case {"id": str(name), "status": "failed", "progress": _, "error": {"code": _, "message": _}}:
                usable = True
            case {"id": str(name), "status": str(status), "progress": int() | float() as progress}:
                usable = status != "failed" and 0 <= progress <= 100
            case _:
                usable, name = False, ""
        if usable and _ID.fullmatch(name):
            return dict(told.data)
        raise Unanswered(
            f"what answers at {self.url} speaks of no video as a Reelgate does: say where one is in REELGATE_URL",
            lost=True,
        )

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST. Raises `Unanswered` and `Refused`."""
        return self.send(path, json.dumps(body).encode(), {"Content-Type": "application/json"}).data

    def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Told:
        """The answer to a POST of `body`. Raises `Unanswered` and `Refused`."""
        return self._call("POST", path, body, headers)

    @contextmanager
    def open(self, path: str, headers: Mapping[str, str], **query: str | int | None) -> Iterator[HTTPResponse]:
        """A GET whose body the caller reads, whatever 2xx it has; a 416 too. Where the server sends one elsewhere for
        it, the key stays behind. Raises `Unanswered` and `Refused`; what breaks while the body is read is an `OSError`
        or an `HTTPException`."""
        address, sent = self.url + _with(path, query), {**self._headers(), **headers}
        for _ in range(_HOPS):
            response = self._opened("GET", address, None, sent)
            with response:
                if response.status < 300 or response.status == 416:
                    yield response
                    return
                where = response.headers.get("Location")
                if response.status not in _REDIRECTS or not where:
                    self._read(response.status, self._whole(response), _lower(response))
                    raise AssertionError("an error that is none")
                address = urljoin(address, where)
            if urlsplit(address).scheme not in ("http", "https"):
                break
            sent = {"User-Agent": "reelgate", **headers}
        raise Unanswered(f"{self.url} sends us elsewhere for the content, and that leads nowhere")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Accept": "application/json", "User-Agent": "reelgate"}

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Told:
        response = self._opened(method, self.url + path, body, {**self._headers(), **headers})
        with response:
            return Told(self._read(response.status, self._whole(response), _lower(response)), _lower(response))

    def _opened(self, method: str, address: str, body: bytes | None, headers: Mapping[str, str]) -> HTTPResponse:
        try:
            request = urllib.request.Request(address, data=body, headers=dict(headers), method=method)  # noqa: S310
            response: HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except HTTPError as error:
            # An answer like any other.
            return error  # type: ignore[return-value]
        except (OSError, HTTPException, ValueError) as error:
            raise self._unanswered(error) from error
        return response

    def _whole(self, response: HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, HTTPException) as error:
            raise self._unanswered(error) from error

    def _unanswered(self, error: Exception) -> Unanswered:
        # What urllib wraps went wrong before an answer began: a connection that was never made, or one that broke.
        reason = error.reason if isinstance(error, URLError) else error
        told = f"no Reelgate answers at {self.url}{self._through} ({reason}): start it with `reelgate serve`, or say "
        # An address that is none is known before anything is sent; what is not wrapped comes after all was.
        sent = not isinstance(error, (URLError, InvalidURL, ValueError)) or isinstance(reason, _BROKEN)
        again = isinstance(reason, OSError) or sent
        return Unanswered(f"{told}where it is in REELGATE_URL", lost=sent, again=again)

    def _read(self, status: int, text: bytes, headers: Mapping[str, str]) -> Any:
        try:
            answer = json.loads(text)
            if status < 300:
                return answer
            told = answer["error"]
            code, message = told["code"], plain(told["message"])
        except (ValueError, TypeError, KeyError, RecursionError):
            if status in _REDIRECTS and (where := headers.get("location")):
                to = plain(urljoin(self.url, where))
                raise Unanswered(
                    f"{self.url} sends us on to {to} (HTTP {status}), where we do not take the API key: "
                    "put the server's final address into REELGATE_URL"
                ) from None
            # A gateway before it that has nobody behind it for a moment speaks in words of its own.
            raise Unanswered(
                f"what answers at {self.url} (HTTP {status}) is no Reelgate: say where it is in REELGATE_URL",
                lost=not 300 <= status < 500,
                again=status in (502, 503, 504),
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
        raise Refused(status, code, message, headers)


def _with(path: str, query: Mapping[str, str | int | None]) -> str:
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{given}" if given else path


def _lower(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None
