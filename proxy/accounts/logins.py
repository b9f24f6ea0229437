"""Logging in, and the throttle of it.

Who guesses is slowed down; nobody is locked out, however much others fail in their name. A try counts by three rules,
and each lets some failures in a quarter of an hour through, then one try now and then:

pair      5 failures of one account from one address, then one try in 30 s
account   50 failures of one account from anywhere, then one try in 10 s
address   50 failures from one address for any accounts, then one try in 10 s

An address from which the account was logged in to in the last 30 days need obey the first rule only: whoever else tries
that account or shares that address does not slow its owner down there. The rules hold for names that nobody has just
the same, so that they tell nothing. Of IPv6, a /64 counts as one address. An account is kept as a keyed digest of its
name, because people write passwords into the wrong field.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from proxy.accounts.users import Users
from proxy.errors import RateLimited
from proxy.records import User
from proxy.store import Store
from proxy.store import logins as rows
from proxy.store.logins import Rule

WINDOW: Final = 900.0
"""Seconds for which a failure counts."""
KNOWN_FOR: Final = 30 * 86_400.0
"""Seconds for which an address is known to an account after a login."""

PAIR: Final = (5, 30.0)
ACCOUNT: Final = (50, 10.0)
ADDRESS: Final = (50, 10.0)
"""The failures that go through, and the seconds between two tries after them."""


class Logins:
    """The only way to log in with a password. `secret` is the server's; `now` gives unix seconds."""

    def __init__(self, store: Store, secret: bytes, users: Users, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._secret = secret
        self._users = users
        self._now = now

    async def log_in(self, name: str, password: str, *, address: str) -> User | None:
        """The user whose name and password these are; None where there is none or it is disabled.

        `address` is the client's, of `client_address`. `RateLimited`, with the seconds to wait, where it tries too
        often, or too many others try now; then the password is not looked at.
        """
        account = self._digest(name.strip().lower())
        place = _place(address)
        pair = f"pair:{account}@{place}"
        admitted = await self._admit(account, place, pair)
        try:
            user = await self._users.find(name.strip())
            right = await self._users.verify(user, password)
        except RateLimited:
            # Too many others are being looked at: so this one was not, and has not failed.
            await self._store.write(partial(rows.withdraw, admitted=admitted))
            raise
        if not right:
            return None
        await self._store.write(partial(rows.succeeded, subject=pair, admitted=admitted, now=self._now()))
        return user

    async def prune(self, now: float) -> None:
        """Forget what counts no more at `now`."""
        await self._store.write(partial(rows.prune, successes=now - KNOWN_FOR, failures=now - WINDOW))

    async def _admit(self, account: str, place: str, pair: str) -> list[int]:
        now = self._now()
        since = now - WINDOW

        def write(db: Any) -> list[int] | float:
            rules = [Rule(pair, PAIR[0], since, PAIR[1])]
            if not rows.known(db, pair, now - KNOWN_FOR):
                rules.append(Rule(f"account:{account}", ACCOUNT[0], since, ACCOUNT[1]))
                rules.append(Rule(f"address:{place}", ADDRESS[0], since, ADDRESS[1]))
            return rows.admit(db, rules, now)

        answer = await self._store.write(write)
        if isinstance(answer, float):
            raise RateLimited("There were too many failed logins. Please try again in a moment.", retry_after=answer)
        return answer

    def _digest(self, name: str) -> str:
        # The first word keeps it apart from what else the secret signs.
        return hmac.new(self._secret, b"login|" + name.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def _place(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        # Whoever has one address of a /64 has all of them.
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)
