"""The JSON web token that Kling takes for a pair of keys: HS256, made here, good for half an hour."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Final

LIFE: Final = 1800
"""Seconds that a token is good for."""
EARLY: Final = 5
"""Seconds by which Kling's clock may be behind ours."""
FRESH: Final = 1500
"""Seconds after which the next call gets a new one."""


def token(access_key: str, secret_key: str, now: int) -> str:
    """A token that was made at `now`, in unix seconds. The secret key signs as it is: it is no base64."""
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {"iss": access_key, "exp": now + LIFE, "nbf": now - EARLY}
    signed = f"{_encoded(_json(head))}.{_encoded(_json(claims))}"
    signature = hmac.digest(secret_key.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{_encoded(signature)}"


class Tokens:
    """The token of one pair, the same one until it is no longer fresh."""

    def __init__(self, access_key: str, secret_key: str, *, clock: Callable[[], float] = time.time) -> None:
        self._pair = access_key, secret_key
        self._clock = clock
        self._made = 0
        self._token = ""

    def current(self) -> str:
        now = int(self._clock())
        # A clock that was set back would make it look valid for too long, and Kling find it not valid yet.
        if not self._token or not self._made <= now < self._made + FRESH:
            self._made, self._token = now, token(*self._pair, now)
        return self._token

    def forget(self) -> None:
        """Make a new one for the next call."""
        self._token = ""


def _json(word: Mapping[str, object]) -> bytes:
    return json.dumps(word, separators=(",", ":")).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
