"""Passwords of users: argon2id, in threads, a few at a time."""

from __future__ import annotations

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import InvalidRequest, RateLimited

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 1024
"""Characters of a password."""

TIME_COST: Final = 2
MEMORY_KIB: Final = 19_456
"""What one hash costs: the least that OWASP's cheat sheet on password storage asks of argon2id with one lane."""
AT_ONCE: Final = 2
"""Hashes that are computed at the same time: each takes a core and `MEMORY_KIB`."""
MOST_WAITING: Final = 64
"""Hashes that may wait for their turn; who comes then is told to try again."""

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class BadPassword(InvalidRequest):
    """A new password that is too short or too long; `param` is `password`."""


def check(password: str) -> None:
    """Raise `BadPassword` where nobody should have this password."""
    if len(password) < MIN_LENGTH:
        raise BadPassword(f"A password must have at least {MIN_LENGTH} characters.", param="password")
    if len(password) > MAX_LENGTH:
        raise BadPassword(f"A password must have at most {MAX_LENGTH} characters.", param="password")


def generate() -> str:
    """A password that nobody can guess: 20 letters and digits, none of them easily taken for another."""
    return "".join(secrets.choice("abcdefghijkmnpqrstuvwxyzACDEFGHJKLMNPQRTUVWXY34679") for _ in range(20))


class Passwords:
    """Makes and checks hashes. Both raise `RateLimited` where too many others wait already."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._made: PasswordHasher | None = None

    async def hash(self, password: str) -> str:
        """The argon2id hash of `password`, with its parameters and its salt."""
        return await self._take_turn(lambda: self._hasher().hash(_bytes(password)))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Whether `hashed` was made from `password`. None costs the same time and is False."""
        if len(password) > MAX_LENGTH:
            return False
        same = await self._take_turn(lambda: self._same(hashed or _nobodys(), password))
        return same and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether `hashed` costs something else than a hash that is made now."""
        return self._hasher().check_needs_rehash(hashed)

    def _same(self, hashed: str, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return self._hasher().verify(hashed, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _take_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise RateLimited("Too many logins are under way here. Please try again in a moment.", retry_after=5)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1

    def _hasher(self) -> PasswordHasher:
        if self._made is None:
            # Not sooner: a server that nobody logs in to needs none of it.
            from argon2 import PasswordHasher

            self._made = PasswordHasher(TIME_COST, MEMORY_KIB, 1, _HASH_BYTES, _SALT_BYTES)
        return self._made


def _bytes(password: str) -> bytes:
    # One keyboard sends é as one character, another as two; and what of the environment is no UTF-8 stays as it is.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogateescape")


def _nobodys() -> str:
    """A hash that no password has, for names that nobody has: it costs as much as any other."""
    salt, result = (base64.b64encode(bytes(length)).decode().rstrip("=") for length in (_SALT_BYTES, _HASH_BYTES))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p=1${salt}${result}"
