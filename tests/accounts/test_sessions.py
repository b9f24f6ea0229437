"""Sessions: how long they last, and everything that ends them."""

from __future__ import annotations

import hashlib

import pytest

from proxy.accounts import sessions as account_sessions
from proxy.accounts.sessions import ABSOLUTE, IDLE, MOST_OF_USER, Sessions, key_of
from proxy.accounts.users import Users
from proxy.errors import Unauthorized
from tests.accounts.conftest import NOW
from tests.store.facts import state

SECRET = b"s" * 32
GOOD = "correct horse"


@pytest.fixture
def users(store):
    return Users(store)


@pytest.fixture
def sessions(store, clock):
    return Sessions(store, SECRET, now=clock, clock=clock)


@pytest.fixture
async def bob(users):
    return await users.create("bob", GOOD)


def opened(sessions, user):
    return sessions.open(user, address="192.0.2.1", agent="a browser")


async def test_a_session_is_its_users(sessions, users, bob):
    """A token finds its user and nobody else's; each login has its own, and the user's list tells where from."""
    tokens = [await opened(sessions, bob) for _ in range(3)]
    assert len(set(tokens)) == 3
    user, session = await sessions.find(tokens[0])
    assert (user.id, session.user_id, session.address, session.agent) == (bob.id, bob.id, "192.0.2.1", "a browser")
    assert user.last_login_at == NOW
    assert session.id in {one.id for one in await sessions.of_user(bob.id)}
    key = key_of(user)
    assert (key.id, key.tenant, key.admin) == (bob.id, "user_bob", False)
    assert key_of(await users.set_role(bob.id, "admin")).admin


async def test_nothing_else_is_a_token(sessions, bob, store):
    """Guesses, other lengths, strange characters, the stored digest and the id of a session find nobody; no token is
    in the files."""
    token = await opened(sessions, bob)
    (session,) = await sessions.of_user(bob.id)
    digest = hashlib.sha256(token.encode()).hexdigest()
    guesses = ["", token[:-1], token + "A", token.swapcase(), digest, digest[:43], session.id, "\udcff" * 43, "é" * 43]
    for guess in [*guesses, "x" * 43, "\0" * 43]:
        assert await sessions.find(guess) is None
    await state(store, "flush", "now")
    files = [file.read_bytes() for file in store.path.parent.iterdir()]
    assert any(bytes.fromhex(digest) in data for data in files)
    assert not any(token.encode() in data for data in files)


async def test_a_session_ends_when_it_is_not_used(sessions, bob, clock, store):
    """After 12 hours without use it is over, on the second; each use in between gives it 12 more."""
    token = await opened(sessions, bob)
    for _ in range(3):
        clock.time += IDLE - 1
        assert await sessions.find(token)
        await state(store, "flush", "now")
    clock.time += IDLE - 1
    # Another process saw none of it but what is stored.
    other = Sessions(store, SECRET, now=clock, clock=clock)
    assert await other.find(token)
    clock.time += IDLE
    assert await other.find(token) is None
    assert await sessions.find(token) is None
    assert await sessions.of_user(bob.id) == []


async def test_a_session_ends_however_much_it_is_used(sessions, bob, clock):
    """After 14 days it is over, also where it is in memory."""
    token = await opened(sessions, bob)
    while clock.time < NOW + ABSOLUTE - 3600:
        clock.time += 3600
        assert await sessions.find(token)
    clock.time = NOW + ABSOLUTE - 0.1
    assert await sessions.find(token)
    clock.time = NOW + ABSOLUTE
    assert await sessions.find(token) is None


async def test_pruning_takes_what_is_over_and_nothing_else(sessions, bob, clock, store):
    """Old rows go, live ones stay."""
    for _ in range(3):
        await opened(sessions, bob)
    clock.time += IDLE
    token = await opened(sessions, bob)
    await sessions.prune(clock.time)
    assert await store.read(lambda db: db.execute("SELECT count(*) FROM sessions").fetchone()) == (1,)
    assert await sessions.find(token)


async def test_use_is_noted_once_a_minute(sessions, bob, clock, store, monkeypatch):
    """Many requests of a page are one write a minute."""
    token = await opened(sessions, bob)
    written = []
    later = store.later
    monkeypatch.setattr(store, "later", lambda function: (written.append(clock.time), later(function)))
    for _ in range(1200):
        clock.time += 0.25
        assert await sessions.find(token)
    assert written == [NOW + 60, NOW + 120, NOW + 180, NOW + 240, NOW + 300]


async def test_logging_out_ends_it_at_once(sessions, bob):
    """What was in memory a moment ago is over; other logins of the user go on. Logging out twice is fine."""
    token, other = await opened(sessions, bob), await opened(sessions, bob)
    assert await sessions.find(token)
    await sessions.close(token)
    assert await sessions.find(token) is None
    await sessions.close(token)
    assert await sessions.find(other)


async def test_a_look_that_was_overtaken_is_not_remembered(sessions, bob, store, monkeypatch):
    """What was read just before a logout, and arrives after it, lets nobody in who comes then."""
    token = await opened(sessions, bob)
    read = store.read

    async def slow(function):
        found = await read(function)
        await sessions.close(token)
        return found

    with monkeypatch.context() as overtaken:
        overtaken.setattr(store, "read", slow)
        assert await sessions.find(token)
    assert await sessions.find(token) is None


async def test_logging_out_everywhere(sessions, users, bob):
    """All sessions of a user end, but the one that asked where it wants to stay; nobody else's do."""
    eve = await users.create("eve", GOOD)
    eves = await opened(sessions, eve)
    tokens = [await opened(sessions, bob) for _ in range(3)]
    mine = (await sessions.find(tokens[1]))[1]
    for token in tokens:
        assert await sessions.find(token)
    assert not await sessions.close_one(eve.id, mine.id)
    assert not await sessions.close_one(bob.id, "\udcff")
    await sessions.close_all(bob.id, but=mine.id)
    assert [await sessions.find(token) is None for token in tokens] == [True, False, True]
    assert await sessions.close_one(bob.id, mine.id)
    assert await sessions.find(tokens[1]) is None
    assert await sessions.find(eves)
    await sessions.close_all(eve.id)
    assert await sessions.find(eves) is None


@pytest.mark.parametrize("how", ["password", "disabled", "logged out"])
async def test_what_another_process_ends_is_over_half_a_second_later(sessions, users, bob, clock, store, how):
    """A new password, disabling and logging out end a session here too, for good."""
    token = await opened(sessions, bob)
    assert await sessions.find(token)
    if how == "password":
        await users.set_password(bob.id, "another password")
    elif how == "disabled":
        await users.disable(bob.id)
        await users.enable(bob.id)
    else:
        await Sessions(store, SECRET).close(token)
    clock.time += 0.5
    assert await sessions.find(token) is None
    assert sessions._known == {}


async def test_a_new_password_keeps_the_session_that_set_it(sessions, users, bob, clock):
    """Who changes its own password stays logged in there."""
    mine, other = await opened(sessions, bob), await opened(sessions, bob)
    session = (await sessions.find(mine))[1]
    await users.set_password(bob.id, "another password", keep=session.id)
    clock.time += 0.5
    assert await sessions.find(mine)
    assert await sessions.find(other) is None


async def test_an_ended_session_sets_no_password(sessions, users, bob):
    """Who was logged out while it changed the password, because an admin gave another one, has not taken that back."""
    session = (await sessions.find(await opened(sessions, bob)))[1]
    await users.set_password(bob.id, "the admin's word")
    with pytest.raises(Unauthorized):
        await users.set_password(bob.id, "the thief's word", keep=session.id)
    assert await users.verify(await users.by_id(bob.id), "the admin's word")


async def test_a_login_that_was_overtaken_opens_nothing(sessions, users, bob):
    """Between looking at the password and opening the session, it may be changed, or the user disabled."""
    changed = await Users(users._store, now=lambda: bob.password_at + 1).set_password(bob.id, "another password")
    with pytest.raises(Unauthorized):
        await opened(sessions, bob)
    await users.disable(bob.id)
    with pytest.raises(Unauthorized):
        await opened(sessions, changed)
    assert await sessions.of_user(bob.id) == []


async def test_a_token_of_a_page_is_its_sessions(sessions, bob, store):
    """It differs between sessions and servers, stays for one session, and no near one passes."""
    token, other = await opened(sessions, bob), await opened(sessions, bob)
    said = sessions.csrf(token)
    assert sessions.is_csrf(token, said)
    assert Sessions(store, SECRET).csrf(token) == said
    strangers = [sessions.csrf(other), Sessions(store, b"x" * 32).csrf(token), token, "", None, said[:-1], "é\udcff"]
    assert not any(sessions.is_csrf(token, one) for one in strangers)


async def test_memory_and_rows_are_bounded(sessions, bob, clock, monkeypatch):
    """A script that logs in again and again fills neither: the sessions that were not used for longest end."""
    monkeypatch.setattr(account_sessions, "CACHED", 5)
    tokens = []
    for _ in range(MOST_OF_USER + 2):
        clock.time += 0.001
        tokens.append(await opened(sessions, bob))
        assert await sessions.find(tokens[-1])
    assert len(sessions._known) == 5
    assert len(await sessions.of_user(bob.id)) == MOST_OF_USER
    clock.time += 0.5
    assert [await sessions.find(token) is None for token in tokens[:4]] == [True, True, False, False]
