"""What the admin API, the dashboard and the command line do to keys and users, each with its row in the audit.

Who asks is a `Key`: an API key, or the one that stands for a user (`sessions.key_of`). An admin may do all of it.
Anybody else makes, changes and ends the keys of its own tenant only, foreign ones are unknown to it, and may give them
any limits: a user has none itself, so those of a key bind whoever holds the key, not its owner. Admin keys among them
are left to the admins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from proxy.accounts import terms
from proxy.accounts.keys import Authenticator, mint
from proxy.accounts.limits import since
from proxy.accounts.sessions import Sessions
from proxy.accounts.users import NoSuchUser, Users, check_name
from proxy.errors import Forbidden, InvalidRequest, NotFound
from proxy.records import UNLIMITED, Key, KeyLimits, Period, Role, User
from proxy.store import Store, inbox, ledger
from proxy.store import keys as rows
from proxy.store import sessions as session_rows
from proxy.store import users as user_rows

if TYPE_CHECKING:
    import sqlite3

MAX_NAME: Final = 100
"""Characters of the name of a key."""
COMMAND_LINE: Final = Key(id="command line", name="command line", tenant="", admin=True)
"""Who acts where somebody has the store itself."""

_NOT_THERE: Final = "There is no such API key."


class KeyReport(NamedTuple):
    """A key; the `user` whose tenant it has, None for none; and what it `spent` in the running `period` of its budget,
    or where it has none in this month (see `proxy.money`)."""

    key: Key
    user: User | None
    spent: int
    period: Period

    @property
    def id(self) -> str:
        return self.key.id

    @property
    def left(self) -> int | None:
        """What is left of its budget; None for a key without one."""
        budget = self.key.limits.budget
        return None if budget is None else max(budget - self.spent, 0)

    def state(self, now: float) -> str:
        """`active`, `expired` or `revoked` at `now` (unix seconds)."""
        if self.key.revoked_at is not None:
            return "revoked"
        expires = self.key.limits.expires_at
        return "expired" if expires is not None and now >= expires else "active"


class Administration:
    """The keys and users of a store. `sessions` and `authenticator` are those of this process, which forget at once
    what was changed here; other processes do within half a second. `clock` gives unix seconds."""

    def __init__(
        self,
        store: Store,
        users: Users,
        sessions: Sessions | None = None,
        authenticator: Authenticator | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._users = users
        self._sessions = sessions
        self._authenticator = authenticator
        self._clock = clock

    # ---------------------------------------------------------------- keys

    async def create_key(
        self,
        name: str,
        *,
        actor: Key,
        user: str | None = None,
        limits: KeyLimits = UNLIMITED,
        chooses_channel: bool = False,
        admin: bool = False,
        strict: bool = True,
    ) -> tuple[str, Key]:
        """A new key: itself, to be shown once and never again, and its record.

        It is of the user with the name `user`, who may be missing where not `strict`. Without one it is of a tenant of
        its own, or the actor's where that is no admin. Raises `InvalidRequest`, and `Forbidden` where the actor may
        not.
        """
        named = key_name(name)
        now = self._clock()
        limits = terms.checked(limits, now=now)
        if not actor.admin and (admin or chooses_channel):
            raise Forbidden("Only an admin may make a key that is an admin key, or that chooses its channel.")
        if user is not None and not strict:
            check_name(user)
        plain, key, digest = mint(
            named, tenant=None, admin=admin, chooses_channel=chooses_channel, limits=limits, now=now
        )

        def write(db: sqlite3.Connection) -> Key:
            made = replace(key, tenant=_tenant(db, user, actor, strict=strict) or key.tenant)
            rows.insert(db, made, digest)
            details = {"name": named, "tenant": made.tenant, **_may(made)}
            inbox.note(db, at=now, actor=actor.id, action="key_created", subject=key.id, details=details)
            return made

        return plain, await self._store.write(write)

    async def change_key(
        self,
        key_id: str,
        *,
        actor: Key,
        name: str | None = None,
        limits: KeyLimits | Callable[[KeyLimits], KeyLimits] | None = None,
        chooses_channel: bool | None = None,
    ) -> Key:
        """Change what is given; `limits` may be what makes the new ones of those at hand. Holds for the next request.

        Raises `NotFound`, `InvalidRequest` (also for a revoked key) and `Forbidden`.
        """
        named = None if name is None else key_name(name)
        now = self._clock()

        def write(db: sqlite3.Connection) -> Key:
            before = _find(db, key_id, actor)
            _check_may_change(before, actor)
            if before.revoked_at is not None:
                raise InvalidRequest("This API key was revoked, which is final. Make a new one.")
            wished = limits(before.limits) if callable(limits) else limits
            after = replace(
                before,
                name=before.name if named is None else named,
                chooses_channel=before.chooses_channel if chooses_channel is None else chooses_channel,
                limits=before.limits if wished is None else terms.checked(wished, now=now, before=before.limits),
            )
            if after.chooses_channel and not before.chooses_channel and not actor.admin:
                raise Forbidden("Only an admin may let a key choose its channel.")
            if after != before:
                rows.update(db, after)
                details = {"name": after.name, **_may(after)}
                inbox.note(db, at=now, actor=actor.id, action="key_changed", subject=key_id, details=details)
            return after

        changed = await self._store.write(write)
        self._forget_key(changed.id)
        return changed

    async def revoke_key(self, name_or_id: str, *, actor: Key) -> Key:
        """End a key for good; one that was revoked before stays as it was.

        Raises `NotFound`, and `AmbiguousKey` where an admin names several live keys.
        """
        now = self._clock()

        def write(db: sqlite3.Connection) -> Key:
            found = rows.named(db, name_or_id) if actor.admin else _find(db, name_or_id, actor)
            if found is None:
                raise NotFound(_NOT_THERE)
            _check_may_change(found, actor)
            if found.revoked_at is not None:
                return found
            details = {"name": found.name}
            inbox.note(db, at=now, actor=actor.id, action="key_revoked", subject=found.id, details=details)
            return rows.revoke(db, found.id, int(now)) or found

        key = await self._store.write(write)
        self._forget_key(key.id)
        return key

    async def key(self, key_id: str, *, actor: Key) -> KeyReport:
        """One key, also a revoked one. Raises `NotFound`."""

        def read(db: sqlite3.Connection) -> KeyReport:
            return self._report(db, _find(db, key_id, actor))

        return await self._store.read(read)

    async def keys(
        self, *, actor: Key, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> tuple[list[KeyReport], bool]:
        """The next `limit` keys of a tenant, or for None of all that the actor may see, newest first, behind the id
        `after`, revoked ones too; and whether there are more."""
        if not actor.admin and tenant not in (None, actor.tenant):
            return [], False
        only = tenant if actor.admin else actor.tenant

        def read(db: sqlite3.Connection) -> tuple[list[KeyReport], bool]:
            found = rows.page(db, only, after, limit + 1)
            return [self._report(db, key) for key in found[:limit]], len(found) > limit

        return await self._store.read(read)

    # ---------------------------------------------------------------- users

    async def create_user(self, name: str, password: str, *, actor: Key, role: Role = "member") -> User:
        """A new user. Raises `Forbidden`, `InvalidRequest` and `NameTaken`."""
        _check_admin(actor)
        return await self._users.create(name, password, role, actor=actor.id)

    async def change_user(
        self,
        user_id: str,
        *,
        actor: Key,
        role: Role | None = None,
        disabled: bool | None = None,
        password: str | None = None,
        keep: str | None = None,
    ) -> User:
        """Change what is given, all or nothing. A new password and disabling end the sessions of the user, but a new
        password not the one with the id `keep`. Raises `Forbidden`, `NoSuchUser`, `BadPassword` and `LastAdmin`."""
        _check_admin(actor)
        user = await self._users.change(
            user_id, role=role, disabled=disabled, password=password, keep=keep, actor=actor.id
        )
        if self._sessions is not None:
            self._sessions.forget(user_id)
        if self._authenticator is not None:
            self._authenticator.forget_tenant(user.tenant)
        return user

    async def user(self, user_id: str, *, actor: Key) -> User:
        """One user, also a disabled one. Raises `Forbidden` and `NoSuchUser`."""
        _check_admin(actor)
        user = await self._users.by_id(user_id)
        if user is None:
            raise NoSuchUser("There is no such user.")
        return user

    async def users(self, *, actor: Key) -> list[User]:
        """All users, oldest first, the disabled ones too. Raises `Forbidden`."""
        _check_admin(actor)
        return await self._users.all()

    async def log_out(self, user_id: str, *, actor: Key) -> int:
        """End all sessions of the user; how many there were. Raises `Forbidden` and `NoSuchUser`."""
        _check_admin(actor)
        now = self._clock()

        def write(db: sqlite3.Connection) -> int:
            user = user_rows.by_id(db, user_id)
            if user is None:
                raise NoSuchUser("There is no such user.")
            ended = session_rows.delete_all(db, user_id)
            details = {"name": user.name, "sessions": ended}
            inbox.note(db, at=now, actor=actor.id, action="user_logged_out", subject=user_id, details=details)
            return ended

        ended = await self._store.write(write)
        if self._sessions is not None:
            self._sessions.forget(user_id)
        return ended

    # ---------------------------------------------------------------- the rest

    def _report(self, db: sqlite3.Connection, key: Key) -> KeyReport:
        period: Period = "month" if key.limits.budget is None else key.limits.period
        spent = ledger.spent(db, key.id, since(period, self._clock()))
        return KeyReport(key, user_rows.by_tenant(db, key.tenant), spent, period)

    def _forget_key(self, key_id: str) -> None:
        if self._authenticator is not None:
            self._authenticator.forget(key_id)


def key_name(name: str) -> str:
    """The name that a key will have; `InvalidRequest` where it can have none of that kind."""
    named = name.strip()
    if not named or len(named) > MAX_NAME or not named.isprintable():
        raise InvalidRequest(f"The name of a key must be 1 to {MAX_NAME} printable characters.", param="name")
    return named


def _check_admin(actor: Key) -> None:
    if not actor.admin:
        raise Forbidden("Only an admin may see and change users.")


def _check_may_change(key: Key, actor: Key) -> None:
    # An admin key may stand in a member's tenant, but whoever holds it has more to say than that member.
    if key.admin and not actor.admin:
        raise Forbidden("This is an admin key: only an admin may change or revoke it.")


def _find(db: sqlite3.Connection, key_id: str, actor: Key) -> Key:
    found = rows.by_id(db, key_id)
    # Foreign is unknown.
    if found is None or not (actor.admin or found.tenant == actor.tenant):
        raise NotFound(_NOT_THERE)
    return found


def _tenant(db: sqlite3.Connection, user: str | None, actor: Key, *, strict: bool) -> str | None:
    """The tenant of a new key; None for one of its own."""
    if user is None:
        return None if actor.admin else actor.tenant
    found = user_rows.by_name(db, user)
    if not actor.admin and (found is None or found.tenant != actor.tenant):
        raise Forbidden("Only an admin may make keys for somebody else.")
    if found is not None:
        return found.tenant
    if strict:
        raise InvalidRequest("There is no user of that name: make the user first.", param="user")
    # Not `tenant_of`: a client that is called admin is not given the admin key's videos before somebody made that user.
    return f"user_{user}"


def _may(key: Key) -> Mapping[str, Any]:
    """What the audit keeps of what a key may do."""
    limits: dict[str, Any] = msgspec.to_builtins(key.limits)
    return {"admin": key.admin, "chooses_channel": key.chooses_channel, "limits": limits}
