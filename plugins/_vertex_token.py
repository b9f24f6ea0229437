"""Access tokens of a Google service account: a signed assertion is exchanged for one, which is kept while it is good.

https://developers.google.com/identity/protocols/oauth2/service-account (the JWT bearer grant of RFC 7523)
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy import AccountRefused, Reply, UpstreamRefused

log = logging.getLogger("reelgate.vertex")

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""Whatever `token_uri` is: Google's own library does the same."""
LIFETIME: Final = 3600
EARLY: Final = 120.0
"""Seconds before its end that a token is renewed."""
FRESH: Final = 60.0
"""Seconds in which a token that is refused is not worth another: the account is what is wrong."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the file of a service account says; see `account`."""

    email: str
    key_id: str
    private_key: str = field(repr=False)
    token_uri: str
    project: str


def account(given: str | dict[str, Any]) -> Account:
    """The account of the file at a path, or of its JSON; a `ValueError` says what is wrong. A path blocks."""
    if isinstance(given, str):
        given = parsed(given if given.lstrip().startswith("{") else _read(Path(given)))
    if given.get("type", "service_account") != "service_account":
        raise ValueError(f"credentials are of the type {given['type']!r}; this channel takes a service account's")
    texts: dict[str, str] = {}
    for name in ("client_email", "private_key", "token_uri", "private_key_id", "project_id"):
        value = given.get(name, "")
        if not isinstance(value, str) or not (value or name in ("private_key_id", "project_id")):
            raise ValueError(f"credentials have no {name}; give the JSON file that Google made for the account's key")
        texts[name] = value
    return Account(
        email=texts["client_email"],
        key_id=texts["private_key_id"],
        private_key=texts["private_key"],
        token_uri=texts["token_uri"],
        project=texts["project_id"],
    )


def parsed(text: str) -> dict[str, Any]:
    """The object that `text` is in JSON; a `ValueError` that repeats nothing of it."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("credentials are no JSON") from None
    if not isinstance(data, dict):
        raise ValueError("credentials are no JSON object")
    return data


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(f"credentials cannot be read from {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"credentials cannot be read from {path}: it is no text") from None


def assertion(of: Account, now: float) -> str:
    """The JWT that `of` signs with RS256; a `ValueError` where its key is none. Blocks."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(of.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private_key of the credentials is no RSA key in PEM")
    header = {"typ": "JWT", "alg": "RS256", **({"kid": of.key_id} if of.key_id else {})}
    issued = int(now)
    claims = {"iss": of.email, "scope": SCOPE, "aud": AUDIENCE, "iat": issued, "exp": issued + LIFETIME}
    signed = f"{_segment(json.dumps(header).encode())}.{_segment(json.dumps(claims).encode())}"
    return f"{signed}.{_segment(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    """The access token of the account of the channel `name`. `load` gives the account (it may read the file anew, and
    blocks); `exchange` posts an assertion to the token endpoint. Who comes while a token is fetched shares it."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Account],
        exchange: Callable[[str], Awaitable[Reply]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current = ""
        """The token that was fetched last; empty before the first, and after it was refused."""
        self._name = name
        self._load = load
        self._exchange = exchange
        self._clock = clock
        self._made = self._good_until = 0.0
        self._fetching: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """A token that is good for a while. Raises an `ApiError` that certainly took no job."""
        if self.current and self._clock() < self._good_until:
            return self.current
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        # Whoever gives up must not take the others' token along.
        return await asyncio.shield(self._fetching)

    def drop(self, token: str) -> bool:
        """The API refused `token`: whether another one may help, which `get` then gives."""
        if token == self.current:
            if self._clock() < self._made + FRESH:
                return False
            self.current = ""
        return True

    async def close(self) -> None:
        """Stop what is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _fetch(self) -> str:
        try:
            signed = await asyncio.to_thread(lambda: assertion(self._load(), time.time()))
        except ValueError as error:
            log.error("channel %s: %s", self._name, error)
            raise AccountRefused(
                "The credentials of this channel cannot be used. Only the operator can change that."
            ) from None
        reply = await self._exchange(signed)
        token, lifetime = reply.get("access_token"), reply.get("expires_in")
        if not isinstance(token, str) or not token or any(not "!" <= letter <= "~" for letter in token):
            raise UpstreamRefused("The upstream's token endpoint answered without an access token.")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime < 2**53:
            lifetime = LIFETIME
        self.current, self._made = token, self._clock()
        self._good_until = self._made + max(lifetime - EARLY, lifetime / 2)
        return token

    def _fetched(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            # Looked at here, for all who waited may have gone.
            task.exception()
