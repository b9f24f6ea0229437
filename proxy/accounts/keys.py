"""API keys: making them, and telling whose a request is.

A key is `rg_`, 43 characters of chance and 6 of a checksum, so that a secret scanner knows one when it sees one. The
store keeps only its SHA-256, which is enough: nobody guesses 256 bits, so there is nothing for a slow hash to slow.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from proxy.errors import Unauthorized
from proxy.ids import new_id
from proxy.records import UNLIMITED, Key, KeyLimits
from proxy.store import Store, keys

PREFIX: Final = "rg_"
ADMIN: Final = Key(id="admin", name="admin", tenant="admin", admin=True)
"""Whose requests are that carry the admin key."""

REREAD_AFTER: Final = 0.5
"""Seconds for which a key is taken from memory; a revoked one is refused after at most so long."""
TOUCH_EVERY: Final = 60
"""Seconds between two notes of when a key was last used."""
CACHED_HEADERS: Final = 10_000
CACHED_LENGTH: Final = 512
"""Characters of an `Authorization` header above which it is not kept in memory."""
WEAK_LENGTH: Final = 16

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM: Final = re.compile(r"rg_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}", re.ASCII)


def mint(
    name: str,
    *,
    tenant: str | None = None,
    admin: bool = False,
    chooses_channel: bool = False,
    limits: KeyLimits = UNLIMITED,
    now: float,
) -> tuple[str, Key, bytes]:
    """A new API key: itself, to be shown once; its record; and its SHA-256 for `Store.add_key`.

    Without `tenant` the key is a tenant of its own. `now` is in unix seconds.
    """
    body = PREFIX + secrets.token_urlsafe(32)
    plain = body + _checksum(body)
    key_id = new_id("key")
    key = Key(
        id=key_id,
        name=name,
        tenant=tenant or key_id,
        admin=admin,
        created_at=int(now),
        chooses_channel=chooses_channel,
        limits=limits,
    )
    return plain, key, digest(plain)


def is_mistyped(plain: str) -> bool:
    """Whether `plain` looks like a key that `mint` made, but its checksum says that a character was changed."""
    return _FORM.fullmatch(plain) is not None and plain[-6:] != _checksum(plain[:-6])


def digest(plain: str) -> bytes:
    """The SHA-256 of a key as a client sent it."""
    # aiohttp hands bytes of a header that are not UTF-8 over as lone surrogates.
    return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).digest()


def is_weak(plain: str) -> bool:
    """Whether an operator's own admin key is short enough to be guessed, so that a warning is due."""
    return len(plain) < WEAK_LENGTH


async def ensure_admin(store: Store, environ_key: str | None, *, now: float) -> str | None:
    """Make sure that there is an admin key: a new one, to be shown once, or None.

    One is made when the environment gives none and the store never had one; a revoked one counts as had.
    """
    if environ_key or any(key.admin for key in await store.keys()):
        return None
    plain, key, sha256 = mint(ADMIN.name, tenant=ADMIN.tenant, admin=True, now=now)
    await store.add_key(Key(ADMIN.id, key.name, key.tenant, key.admin, key.created_at), sha256)
    return plain


class _Known(NamedTuple):
    key: Key
    checked_at: float


class Authenticator:
    """Tells whose a request is by its `Authorization` header.

    `admin_key` is the operator's own (`REELGATE_ADMIN_KEY`), good without a record. `clock` (seconds, monotonic) says
    when a key must be read again; `now` (unix seconds) goes into `last_used_at`.
    """

    def __init__(
        self,
        store: Store,
        admin_key: str | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._admin_digest = digest(admin_key) if admin_key else None
        self._clock = clock
        self._now = now
        self._known: dict[str, _Known] = {}
        self._touched: dict[str, int] = {}

    def cached(self, authorization: str | None) -> Key | None:
        """The key of this header where it was checked a moment ago; None means: ask `authenticate`."""
        if authorization is None:
            return None
        known = self._known.get(authorization)
        if known is None or self._clock() - known.checked_at >= REREAD_AFTER:
            return None
        self._touch(known.key)
        return known.key

    async def authenticate(self, authorization: str | None) -> Key:
        """The live key that the header carries; `Unauthorized` says what is wrong with it and never repeats it."""
        key = self.cached(authorization)
        if key is not None:
            return key
        plain = bearer(authorization)
        checked_at = self._clock()
        try:
            key = await self._find(plain)
        except Unauthorized:
            self._known.pop(authorization or "", None)
            raise
        self._remember(authorization or "", _Known(key, checked_at))
        self._touch(key)
        return key

    def forget(self, key_id: str) -> None:
        """Read the key anew for its next request: it was changed."""
        for header in [header for header, known in self._known.items() if known.key.id == key_id]:
            del self._known[header]

    def forget_tenant(self, tenant: str) -> None:
        """Read the keys of the tenant anew for their next requests: its user was changed."""
        for header in [header for header, known in self._known.items() if known.key.tenant == tenant]:
            del self._known[header]

    async def _find(self, plain: str) -> Key:
        sha256 = digest(plain)
        if self._admin_digest is not None and hmac.compare_digest(sha256, self._admin_digest):
            return ADMIN
        if is_mistyped(plain):
            raise Unauthorized("the API key was mistyped: its last characters do not fit the rest; copy it again")
        key = await self._store.key_by_digest(sha256)
        if key is None:
            raise Unauthorized("the API key is not known here: check it, or ask the operator for a new one")
        if key.revoked_at is not None:
            raise Unauthorized("the API key was revoked: ask the operator for a new one")
        # An operator who locks up the dashboard must not lock up the admin key.
        if not key.admin and await self._store.read(partial(keys.is_disabled, key=key)):
            raise Unauthorized("the user of this API key was disabled: ask the operator")
        return key

    def _remember(self, authorization: str, known: _Known) -> None:
        if len(authorization) > CACHED_LENGTH:
            return
        if authorization not in self._known and len(self._known) >= CACHED_HEADERS:
            del self._known[next(iter(self._known))]
        self._known[authorization] = known

    def _touch(self, key: Key) -> None:
        now = int(self._now())
        if now - self._touched.get(key.id, key.last_used_at or 0) >= TOUCH_EVERY:
            self._touched[key.id] = now
            if key is not ADMIN:
                self._store.touch_key(key.id, now)


def bearer(authorization: str | None) -> str:
    """The key in an `Authorization` header; `Unauthorized` where there is none in it."""
    words = (authorization or "").split(None, 1)
    if not words:
        raise Unauthorized("there is no API key: send the header `Authorization: Bearer YOUR_API_KEY`")
    # What came is not repeated: a client that forgot the scheme sent its key in its place.
    if words[0].lower() != "bearer":
        raise Unauthorized("the Authorization header has another scheme: send `Authorization: Bearer YOUR_API_KEY`")
    if len(words) == 1:
        raise Unauthorized("the Authorization header has no API key after `Bearer`")
    return words[1].rstrip()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
