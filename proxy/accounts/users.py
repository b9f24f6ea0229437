"""Users: who may log in to the dashboard. The keys and videos of a user's tenant are its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from proxy.accounts import passwords
from proxy.accounts.keys import ADMIN
from proxy.accounts.passwords import Passwords
from proxy.errors import InvalidRequest, NotFound, StartupError
from proxy.ids import ID_PATTERN, new_id
from proxy.records import Role, User
from proxy.store import Store, inbox
from proxy.store import users as rows
from proxy.store.users import LastAdmin, NameTaken

__all__ = ["LastAdmin", "NameTaken", "NoSuchUser", "Users", "check_name", "ensure_admin_user", "tenant_of"]

if TYPE_CHECKING:
    import sqlite3

ADMIN_NAME: Final = "admin"
"""The user of the first start and of `REELGATE_ADMIN_PASSWORD`."""
COMMAND_LINE: Final = "command line"
"""Who did it, in the audit, where it was no user and no key."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


class NoSuchUser(NotFound):
    """There is no user of that id."""


def check_name(name: str) -> None:
    """Raise `InvalidRequest` (`param` is `name`) where a user cannot have this name."""
    if _NAME.fullmatch(name) is None:
        rule = "A user's name must be 1 to 64 letters (a to z), digits or . _ - @ + and begin with a letter or a digit."
        raise InvalidRequest(rule, param="name")


def tenant_of(name: str) -> str:
    """The tenant of a user of that name: that of `keys create --user NAME`, and for `admin` the admin key's."""
    return ADMIN.tenant if name.lower() == ADMIN_NAME else f"user_{name}"


class Users:
    """The users of a store. Each change is written into the audit with its `actor` (the id of a user or a key).

    `now` gives unix seconds. What changes the user of an unknown id raises `NoSuchUser`.
    """

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._passwords = Passwords()

    async def create(self, name: str, password: str, role: Role = "member", *, actor: str = COMMAND_LINE) -> User:
        """A new user. `InvalidRequest` where the name or the password cannot be, `NameTaken` where another has it."""
        check_name(name)
        passwords.check(password)
        return await self._create(name, password, role, actor)

    async def find(self, name: str) -> User | None:
        """The user of that name, in whatever case; also a disabled one."""
        # What nobody can be called need not be something that SQLite takes.
        return await self._store.read(partial(rows.by_name, name=name)) if _NAME.fullmatch(name) else None

    async def by_id(self, user_id: str) -> User | None:
        """The user of that id; also a disabled one."""
        return await self._store.read(partial(rows.by_id, user_id=user_id)) if ID_PATTERN.fullmatch(user_id) else None

    async def all(self) -> list[User]:
        """All users, oldest first, the disabled ones too."""
        return await self._store.read(rows.all_users)

    async def set_password(
        self, user_id: str, password: str, *, keep: str | None = None, actor: str = COMMAND_LINE
    ) -> User:
        """Change the password, and log the user out everywhere but in the session with the id `keep`.

        `BadPassword` (an `InvalidRequest`) where it is too short or too long.
        """
        return await self.change(user_id, password=password, keep=keep, actor=actor)

    async def set_role(self, user_id: str, role: Role, *, actor: str = COMMAND_LINE) -> User:
        """Make the user an admin or a member; `LastAdmin` where no enabled admin would be left."""
        return await self.change(user_id, role=role, actor=actor)

    async def disable(self, user_id: str, *, actor: str = COMMAND_LINE) -> User:
        """Log the user out everywhere, and in no more; `LastAdmin` where no enabled admin would be left.

        Its API keys are refused meanwhile, but for admin keys."""
        return await self.change(user_id, disabled=True, actor=actor)

    async def enable(self, user_id: str, *, actor: str = COMMAND_LINE) -> User:
        """Let the user log in again."""
        return await self.change(user_id, disabled=False, actor=actor)

    async def change(
        self,
        user_id: str,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        password: str | None = None,
        keep: str | None = None,
        actor: str = COMMAND_LINE,
    ) -> User:
        """Change what is given, as the methods for one thing do, but all of it or nothing; `Unauthorized` where the
        session `keep` has ended."""
        if password is not None:
            passwords.check(password)
        return await self._change(user_id, role, disabled, password, keep, actor)

    async def verify(self, user: User | None, password: str) -> bool:
        """Whether it is the user's password. None takes the same time and is False; so is a disabled user's.

        Says nothing about how often: that is for `Logins`. `RateLimited` where too many are being verified now.
        """
        if not await self._passwords.verify(None if user is None else user.password, password):
            return False
        if user is None or user.disabled_at is not None:
            return False
        if self._passwords.outdated(user.password):
            fresh = await self._passwords.hash(password)
            await self._store.write(partial(rows.rehash, user_id=user.id, before=user.password, hashed=fresh))
        return True

    async def _create(self, name: str, password: str, role: Role, actor: str | None) -> User:
        hashed = await self._passwords.hash(password)
        now = self._now()
        user = User(
            id=new_id("user"),
            name=name,
            role=role,
            tenant=tenant_of(name),
            password=hashed,
            created_at=int(now),
            password_at=int(now),
        )

        def insert(db: sqlite3.Connection) -> None:
            rows.insert(db, user)
            if actor is not None:
                details = {"name": name, "role": role}
                inbox.note(db, at=now, actor=actor, action="user_created", subject=user.id, details=details)

        await self._store.write(insert)
        return user

    async def _change(
        self,
        user_id: str,
        role: Role | None,
        disabled: bool | None,
        password: str | None,
        keep: str | None,
        actor: str,
    ) -> User:
        hashed = None if password is None else await self._passwords.hash(password)
        now = self._now()

        def write(db: sqlite3.Connection) -> User:
            user = _known(db, user_id)
            steps: list[tuple[str, Mapping[str, Any]]] = []
            if role is not None and role != user.role:
                rows.set_role(db, user_id, role)
                steps.append(("user_role", {"role": role}))
            if disabled is not None and disabled != (user.disabled_at is not None):
                rows.set_disabled(db, user_id, int(now) if disabled else None)
                steps.append(("user_disabled" if disabled else "user_enabled", {}))
            if hashed is not None:
                rows.set_password(db, user_id, hashed, int(now), keep)
                steps.append(("user_password", {}))
            for action, details in steps:
                told = {"name": user.name, **details}
                inbox.note(db, at=now, actor=actor, action=action, subject=user_id, details=told)
            return _known(db, user_id)

        return await self._store.write(write)


def _known(db: sqlite3.Connection, user_id: str) -> User:
    # What is no id of ours need not be something that SQLite takes.
    user = rows.by_id(db, user_id) if ID_PATTERN.fullmatch(user_id) else None
    if user is None:
        raise NoSuchUser("There is no such user.")
    return user


async def ensure_admin_user(users: Users, environ_password: str | None) -> str | None:
    """Make sure that somebody can log in as an admin: a new password of the user `admin`, to be shown once, or None.

    With `environ_password` (`REELGATE_ADMIN_PASSWORD`) the user `admin` has that one: it is made where it is missing,
    and where its password was another one, it is logged out everywhere. Without, it is made with a password of chance
    where there never was an admin. `StartupError` where the environment's cannot be a password.
    """
    if environ_password:
        if len(environ_password) > passwords.MAX_LENGTH:
            raise StartupError(f"REELGATE_ADMIN_PASSWORD has more than {passwords.MAX_LENGTH} characters: shorten it")
        await _follow(users, environ_password)
        return None
    if any(user.role == "admin" or user.name.lower() == ADMIN_NAME for user in await users.all()):
        return None
    password = passwords.generate()
    try:
        # Nobody did it: the audit has what operators do.
        await users._create(ADMIN_NAME, password, "admin", None)
    except NameTaken:
        # Another process on this store was faster, and shows its own.
        return None
    return password


async def _follow(users: Users, password: str) -> None:
    # A short one is the operator's own word, and only warned of.
    actor = "REELGATE_ADMIN_PASSWORD"
    user = await users.find(ADMIN_NAME)
    if user is None:
        try:
            await users._create(ADMIN_NAME, password, "admin", actor)
        except NameTaken:
            user = await users.find(ADMIN_NAME)
    if user is not None and not await users._passwords.verify(user.password, password):
        await users._change(user.id, None, None, password, None, actor)
