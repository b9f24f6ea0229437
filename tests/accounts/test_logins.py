"""The throttle of logins: guessing becomes slow, and the owner still gets in."""

from __future__ import annotations

import asyncio

import pytest

from proxy.accounts.logins import ACCOUNT, ADDRESS, KNOWN_FOR, PAIR, WINDOW, Logins
from proxy.accounts.users import Users
from proxy.errors import RateLimited
from tests.accounts.conftest import NOW

SECRET = b"s" * 32
GOOD = "correct horse"
HOME, AWAY, EVIL = "192.0.2.1", "198.51.100.9", "203.0.113.66"


@pytest.fixture
async def store(store):
    """A store with the user bob."""
    await Users(store).create("bob", GOOD)
    return store


@pytest.fixture
def logins(store, clock):
    return Logins(store, SECRET, Users(store), now=clock)


async def tries(logins, name, address, number):
    """How many of so many wrong passwords are looked at, and what the last one that was not is told."""
    looked_at, told = 0, None
    for _ in range(number):
        try:
            assert await logins.log_in(name, "wrong password", address=address) is None
            looked_at += 1
        except RateLimited as error:
            told = error
    return looked_at, told


async def botnet(logins, number, name="bob"):
    """Wrong passwords for one name, each from an address of its own."""
    return sum([(await tries(logins, name, f"10.1.{n // 250}.{n % 250}", 1))[0] for n in range(number)])


async def test_the_password_lets_in(logins, store):
    """Name in any case, and spaces around it; not another password, no unknown name, no disabled user."""
    assert (await logins.log_in(" Bob ", GOOD, address=HOME)).name == "bob"
    for name, password in (("bob", GOOD + " "), ("bob", ""), ("nobody", GOOD), ("", GOOD), ("\udcff\0", GOOD)):
        assert await logins.log_in(name, password, address=AWAY) is None
    users = Users(store)
    await users.create("anna", GOOD)
    await users.disable((await users.find("anna")).id)
    assert await logins.log_in("anna", GOOD, address=HOME) is None


@pytest.mark.parametrize("name", ["bob", "nobody"])
async def test_guessing_from_one_address_becomes_slow(logins, clock, name):
    """Five wrong passwords, then one in 30 seconds, whether or not there is such a user; the answer says how long. The
    right password is not looked at either."""
    looked_at, told = await tries(logins, name, EVIL, 20)
    assert looked_at == PAIR[0]
    assert (told.status, told.retry_after) == (429, PAIR[1])
    clock.time += PAIR[1] - 1
    with pytest.raises(RateLimited) as refused:
        await logins.log_in(name, GOOD, address=EVIL)
    assert refused.value.retry_after == 1
    clock.time += 1
    assert (await tries(logins, name, EVIL, 5))[0] == 1
    clock.time += WINDOW
    assert (await tries(logins, name, EVIL, 20))[0] == PAIR[0]


async def test_tries_at_the_same_moment_are_no_way_around(logins):
    """Of a hundred at once, no more are looked at than one after the other; names in other cases are one name."""
    names = ("bob", "BOB", " Bob")
    many = (logins.log_in(names[n % 3], "wrong password", address=EVIL) for n in range(100))
    answers = await asyncio.gather(*many, return_exceptions=True)
    assert answers.count(None) == PAIR[0]


async def test_the_throttle_stands_a_restart(logins, store, clock):
    """Another process on the store goes on counting."""
    await tries(logins, "bob", EVIL, 5)
    again = Logins(store, SECRET, Users(store), now=clock)
    assert (await tries(again, "bob", EVIL, 5))[0] == 0


async def test_nobody_locks_the_owner_out(logins, clock):
    """While a botnet guesses, who logged in from an address before gets in from there at once; elsewhere a try goes
    through now and then, for the owner as for anybody."""
    assert await logins.log_in("bob", GOOD, address=HOME)
    assert await botnet(logins, 80) == ACCOUNT[0]
    assert await logins.log_in("bob", GOOD, address=HOME)
    with pytest.raises(RateLimited) as refused:
        await logins.log_in("bob", GOOD, address=AWAY)
    assert refused.value.retry_after == ACCOUNT[1]
    clock.time += ACCOUNT[1]
    assert await logins.log_in("bob", GOOD, address=AWAY)
    # That login made the address known.
    assert await botnet(logins, 80) <= 1
    assert await logins.log_in("bob", GOOD, address=AWAY)


async def test_a_botnet_gets_few_guesses_an_hour(logins, clock):
    """However many addresses: 50 at first, then one in 10 seconds."""
    looked_at = 0
    for _ in range(60):
        clock.time += 10
        looked_at += await botnet(logins, 3)
    assert looked_at <= ACCOUNT[0] + 60


async def test_one_address_gets_few_guesses_over_all_accounts(logins, clock):
    """One password on many names is slowed too; who is known at that address is not, nor are others elsewhere."""
    assert await logins.log_in("bob", GOOD, address=HOME)
    looked_at = sum([(await tries(logins, f"name{n}", HOME, 1))[0] for n in range(70)])
    assert looked_at == ADDRESS[0]
    assert await logins.log_in("bob", GOOD, address=HOME)
    assert await logins.log_in("bob", GOOD, address=AWAY)
    clock.time += ADDRESS[1]
    assert (await tries(logins, "another", HOME, 2))[0] == 1


async def test_an_account_of_ones_own_buys_no_guesses(logins, store):
    """Logging in as oneself in between does not wash an address clean."""
    await Users(store).create("mallory", GOOD)
    looked_at = 0
    for n in range(70):
        await logins.log_in("mallory", GOOD, address=EVIL)
        looked_at += (await tries(logins, f"name{n}", EVIL, 1))[0]
    assert looked_at == ADDRESS[0]


async def test_a_login_forgets_the_owners_own_mistakes(logins):
    """After four wrong ones and the right one, there are five again, and nothing of it counts for the account."""
    for _ in range(ACCOUNT[0]):
        assert (await tries(logins, "bob", HOME, 4))[0] == 4
        assert await logins.log_in("bob", GOOD, address=HOME)
    assert (await tries(logins, "bob", HOME, 9))[0] == 5


async def test_addresses_of_ipv6_count_by_their_network(logins):
    """Who has one /64 has no more tries than who has one IPv4 address."""
    looked_at = 0
    for n in range(20):
        looked_at += (await tries(logins, "bob", f"2001:db8::{n:x}", 1))[0]
    assert looked_at == PAIR[0]
    assert (await tries(logins, "bob", "2001:db8:0:1::1", 1))[0] == 1


async def test_what_is_kept_names_nobody_and_is_forgotten(logins, store, clock):
    """A password in the wrong field is not in the store; failures go after 15 minutes, known addresses in 30 days."""
    await logins.log_in("bob", GOOD, address=HOME)
    await tries(logins, "my secret password", EVIL, 1)
    kept = await store.read(lambda db: db.execute("SELECT * FROM login_failures").fetchall())
    assert len(kept) == 4
    assert "secret password" not in str(kept)
    assert "bob" not in str(kept)

    async def pruned():
        await logins.prune(clock.time)
        return await store.read(lambda db: db.execute("SELECT count(*) FROM login_failures").fetchone()[0])

    assert await pruned() == 4
    clock.time = NOW + WINDOW
    assert await pruned() == 1
    clock.time = NOW + KNOWN_FOR - 1
    assert await pruned() == 1
    clock.time += 1
    assert await pruned() == 0


async def test_a_clock_that_steps_back_closes_no_door(logins, clock):
    """Failures of a future that was none make nobody wait longer than usual."""
    await tries(logins, "bob", HOME, 5)
    clock.time -= 86_400
    _, told = await tries(logins, "bob", HOME, 1)
    assert told is None or told.retry_after <= PAIR[1]


async def test_who_found_no_room_has_not_failed(logins, monkeypatch):
    """A password that was not looked at, because too many others were, counts for nothing."""
    busy = RateLimited("Too many logins are under way here.", retry_after=5)

    async def turned_away(user, password):
        raise busy

    with monkeypatch.context() as crowd:
        crowd.setattr(logins._users, "verify", turned_away)
        for _ in range(20):
            with pytest.raises(RateLimited) as told:
                await logins.log_in("bob", GOOD, address=HOME)
            assert told.value is busy
    assert (await logins.log_in("bob", GOOD, address=HOME)).name == "bob"
