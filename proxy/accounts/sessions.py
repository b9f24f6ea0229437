"""Sessions: the logins of users, kept here so that they can be ended.

A session's token is 256 bits of chance in a cookie; the store keeps only its SHA-256, as with API keys.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from proxy.errors import Unauthorized
from proxy.ids import ID_PATTERN, new_id
from proxy.records import Key, Session, User
from proxy.store import Store
from proxy.store import sessions as rows
from proxy.store import users as user_rows
from proxy.store.sessions import Ends

IDLE: Final = 12 * 3600.0
ABSOLUTE: Final = 14 * 86_400.0
"""Seconds for which a session lasts without being used, and in all."""
REREAD_AFTER: Final = 0.5
"""Seconds for which a session is taken from memory; one that another process ended is refused after so long."""
TOUCH_EVERY: Final = 60.0
"""Seconds between two notes of when a session was last used."""
MOST_OF_USER: Final = 100
"""Sessions of one user; the one that was not used for longest makes room."""
CACHED: Final = 10_000

_TOKEN_LENGTH: Final = 43
_AGENT_LENGTH: Final = 300


def key_of(user: User) -> Key:
    """The key that stands for the user in the engine: videos that are made in the dashboard have its id."""
    return Key(id=user.id, name=user.name, tenant=user.tenant, admin=user.role == "admin", created_at=user.created_at)


class _Known(NamedTuple):
    user: User
    session: Session
    checked_at: float


class Sessions:
    """The sessions of a store. `secret` is the server's; `now` gives unix seconds, `clock` (monotonic) says when a
    session must be read again."""

    def __init__(
        self,
        store: Store,
        secret: bytes,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._secret = secret
        self._now = now
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._touched: dict[bytes, float] = {}
        self._ended = 0

    async def open(self, user: User, *, address: str, agent: str) -> str:
        """Log the user in: the token, which is the cookie's text. `agent` is the browser's `User-Agent`.

        `Unauthorized` where its password was changed, or it was disabled, since `user` was read.
        """
        token = secrets.token_urlsafe(32)
        now = self._now()
        session = Session(
            id=new_id("session"),
            user_id=user.id,
            created_at=now,
            seen_at=now,
            address=address,
            agent=agent[:_AGENT_LENGTH].encode("utf-8", "replace").decode(),
        )

        def write(db: Any) -> None:
            current = user_rows.by_id(db, user.id)
            if current is None or current.disabled_at is not None or current.password_at != user.password_at:
                raise Unauthorized("Your account has changed in the meantime. Please log in again.")
            rows.insert(db, session, _digest(token), MOST_OF_USER)
            user_rows.logged_in(db, user.id, int(now))

        await self._store.write(write)
        return token

    async def find(self, token: str) -> tuple[User, Session] | None:
        """Whose session it is; None where it is unknown, was ended, is over, or its user is disabled."""
        if len(token) != _TOKEN_LENGTH:
            return None
        digest = _digest(token)
        clock = self._clock()
        known = self._known.get(digest)
        if known is None or clock - known.checked_at >= REREAD_AFTER:
            ended = self._ended
            found = await self._store.read(partial(_with_user, digest=digest))
            if found is None:
                self._forget(digest)
                return None
            known = _Known(*found, clock)
            # Not what may have been read before a session ended that is over now.
            if ended == self._ended:
                self._remember(digest, known)
        user, session, _ = known
        now = self._now()
        ends = _ends(now)
        if session.created_at <= ends.created or max(session.seen_at, self._seen(digest)) <= ends.seen:
            self._forget(digest)
            return None
        self._touch(digest, session, now)
        return user, session

    async def close(self, token: str) -> None:
        """Log out; also where the session is over already."""
        digest = _digest(token)
        await self._store.write(partial(rows.delete, digest=digest))
        self._ended += 1
        self._forget(digest)

    async def close_all(self, user_id: str, but: str | None = None) -> None:
        """Log the user out everywhere, but in the session with the id `but`."""
        await self._store.write(partial(rows.delete_all, user_id=user_id, but=but))
        self.forget(user_id)

    async def close_one(self, user_id: str, session_id: str) -> bool:
        """End one session of the user, by its id; whether there was one."""
        if ID_PATTERN.fullmatch(session_id) is None:
            return False
        there = await self._store.write(partial(rows.delete_one, user_id=user_id, session_id=session_id))
        self.forget(user_id)
        return there

    async def of_user(self, user_id: str) -> list[Session]:
        """The sessions of the user that are not over, the last used first."""
        return await self._store.read(partial(rows.of_user, user_id=user_id, ends=_ends(self._now())))

    def csrf(self, token: str) -> str:
        """What a form or a script of a page of this session must send along with each change."""
        # The secret signs links too: the first word keeps the two apart.
        return hmac.new(self._secret, b"csrf|" + token.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def is_csrf(self, token: str, said: str | None) -> bool:
        """Whether `said` is `csrf(token)`."""
        return hmac.compare_digest((said or "").encode("utf-8", "replace"), self.csrf(token).encode())

    async def prune(self, now: float) -> None:
        """Forget the sessions that are over at `now`."""
        await self._store.write(partial(rows.prune, ends=_ends(now)))

    def forget(self, user_id: str) -> None:
        """Read the sessions of the user anew: the user was changed."""
        self._ended += 1
        for digest in [digest for digest, known in self._known.items() if known.user.id == user_id]:
            self._forget(digest)

    def _seen(self, digest: bytes) -> float:
        return self._touched.get(digest, 0.0)

    def _touch(self, digest: bytes, session: Session, now: float) -> None:
        if now - max(session.seen_at, self._seen(digest)) >= TOUCH_EVERY:
            self._touched[digest] = now
            self._store.later(partial(rows.touch, digest=digest, now=now))

    def _remember(self, digest: bytes, known: _Known) -> None:
        if digest not in self._known and len(self._known) >= CACHED:
            self._forget(next(iter(self._known)))
        self._known[digest] = known

    def _forget(self, digest: bytes) -> None:
        self._known.pop(digest, None)
        self._touched.pop(digest, None)


def _ends(now: float) -> Ends:
    return Ends(now - ABSOLUTE, now - IDLE)


def _with_user(db: Any, digest: bytes) -> tuple[User, Session] | None:
    session = rows.find(db, digest)
    user = None if session is None else user_rows.by_id(db, session.user_id)
    if session is None or user is None or user.disabled_at is not None:
        return None
    return user, session


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
