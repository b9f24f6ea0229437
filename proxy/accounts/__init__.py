"""Who may use the product: API keys, users and their sessions."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.accounts.administration import Administration
from proxy.accounts.keys import Authenticator, digest, ensure_admin, is_weak, mint
from proxy.accounts.logins import Logins
from proxy.accounts.sessions import Sessions
from proxy.accounts.users import Users, ensure_admin_user
from proxy.store import Store

__all__ = [
    "Accounts",
    "Administration",
    "Authenticator",
    "Logins",
    "Sessions",
    "Users",
    "digest",
    "ensure_admin",
    "ensure_admin_user",
    "is_weak",
    "mint",
]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users of a store, how they log in, and how they and the keys are managed."""

    users: Users
    sessions: Sessions
    logins: Logins
    administration: Administration

    @classmethod
    def of(cls, store: Store, secret: bytes, authenticator: Authenticator | None = None) -> Accounts:
        """All on one store; `secret` is the server's, `authenticator` what lets keys in here."""
        users, sessions = Users(store), Sessions(store, secret)
        administration = Administration(store, users, sessions, authenticator)
        return cls(users, sessions, Logins(store, secret, users), administration)

    async def prune(self, now: float) -> None:
        """Forget what is over at `now` (unix seconds)."""
        await self.sessions.prune(now)
        await self.logins.prune(now)
