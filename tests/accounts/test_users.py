"""Users: their names, tenants and passwords, and that one admin always stays."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.accounts import passwords
from proxy.accounts.passwords import BadPassword, Passwords
from proxy.accounts.sessions import Sessions
from proxy.accounts.users import LastAdmin, NameTaken, NoSuchUser, Users, ensure_admin_user
from proxy.errors import InvalidRequest, RateLimited, StartupError
from proxy.store import Store, inbox

NOW = 1_800_000_000.0
GOOD = "correct horse"


@pytest.fixture
async def store(tmp_path):
    """An open, empty store."""
    opened = await Store.open(tmp_path / "reelgate.db")
    yield opened
    await opened.close()


@pytest.fixture
def users(store):
    return Users(store, now=lambda: NOW)


async def test_a_user_is_found_by_its_name_in_any_case(users):
    """One name, however it is written, is one user; its tenant is that of `keys create --user`."""
    bob = await users.create("Bob.B-1@x+y", GOOD)
    assert (bob.role, bob.tenant, bob.created_at, bob.disabled_at) == ("member", "user_Bob.B-1@x+y", NOW, None)
    assert await users.find("bob.b-1@X+Y") == await users.by_id(bob.id) == bob
    with pytest.raises(NameTaken) as refused:
        await users.create("BOB.b-1@x+y", "another password")
    assert (refused.value.status, refused.value.param) == (400, "name")
    assert [user.id for user in await users.all()] == [bob.id]
    # Only this one shares with the admin key.
    assert (await users.create("ADMIN", GOOD)).tenant == "admin"
    assert (await users.create("admin_", GOOD)).tenant == "user_admin_"


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "../x", ".", "-x", "a\n", "a" * 65, "аdmin", "<b>", "é", "a'b"]
)
async def test_names_that_nobody_can_have(users, name):
    """Spaces, slashes, markup, look-alikes of other alphabets and what a command line takes for an option."""
    with pytest.raises(InvalidRequest) as refused:
        await users.create(name, GOOD)
    assert refused.value.param == "name"
    assert await users.all() == []


@pytest.mark.parametrize("password", ["", "7 chars", "x" * 1025])
async def test_passwords_that_nobody_can_have(users, password):
    """Under 8 and over 1024 characters are refused, also for a change."""
    with pytest.raises(BadPassword):
        await users.create("bob", password)
    bob = await users.create("bob", GOOD)
    with pytest.raises(BadPassword):
        await users.set_password(bob.id, password)
    assert await users.verify(bob, GOOD)


async def test_only_the_password_is_the_password(users):
    """Near ones, longer ones, none and the hash itself are wrong; a composed letter is the letter."""
    bob = await users.create("bob", "pässword 1\udcff")
    assert bob.password.startswith("$argon2id$")
    assert bob.password not in repr(bob)
    for wrong in ("", "pässword 1", "Pässword 1\udcff", "pässword 1\udcff ", bob.password, "\0", "x" * 5000):
        assert not await users.verify(bob, wrong)
    assert await users.verify(bob, "pässword 1\udcff")
    # As a Mac types it.
    assert await users.verify(bob, "pa\u0308ssword 1\udcff")
    other = await users.create("other", "pässword 1\udcff")
    assert other.password != bob.password


async def test_an_unknown_user_costs_what_a_known_one_does(users, monkeypatch):
    """For nobody, the same work is done and the answer is no; so it is for a disabled user."""
    bob = await users.create("bob", GOOD)
    worked = []
    real = Passwords._same

    def same(self, hashed, password):
        worked.append(hashed.rsplit("$", 2)[0])
        return real(self, hashed, password)

    monkeypatch.setattr(Passwords, "_same", same)
    assert not await users.verify(None, GOOD)
    assert await users.verify(bob, GOOD)
    assert not await users.verify(await users.disable(bob.id), GOOD)
    assert len(worked) == 3
    # The same kind of hash, with the same parameters.
    assert len(set(worked)) == 1


async def test_few_hashes_at_once_and_not_too_many_behind_them(monkeypatch):
    """Two are computed at a time; who finds 64 before it is told to try again, and those are all served."""
    gate, running, most = threading.Event(), [], []

    def same(self, hashed, password):
        running.append(1)
        most.append(len(running))
        gate.wait(60)
        running.pop()
        return False

    monkeypatch.setattr(Passwords, "_same", same)
    hasher = Passwords()
    tasks = [asyncio.create_task(hasher.verify(None, "x")) for _ in range(70)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers].count(RateLimited) == 6
    assert answers.count(False) == 64
    assert max(most) <= 2
    assert all(isinstance(task.exception(), RateLimited) for task in done)
    assert not await hasher.verify(None, "x")


async def test_a_hash_of_other_parameters_is_made_anew(users, monkeypatch):
    """A password from before the parameters changed is good, and from then on kept as new ones are."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 32)
    bob = await Users(users._store).create("bob", GOOD)
    assert "$m=32," in bob.password
    monkeypatch.undo()
    assert not await users.verify(bob, "wrong password")
    assert (await users.by_id(bob.id)).password == bob.password
    assert await users.verify(bob, GOOD)
    renewed = await users.by_id(bob.id)
    assert f"$m={passwords.MEMORY_KIB}," in renewed.password
    assert renewed.password_at == bob.password_at
    assert await users.verify(renewed, GOOD)


async def test_an_admin_always_stays(users):
    """The only enabled admin is neither disabled nor demoted, also not by two at the same moment."""
    one = await users.create("one", GOOD, "admin")
    gone = await users.create("gone", GOOD, "admin")
    await users.create("member", GOOD)
    await users.disable(gone.id)
    for change in (users.disable(one.id), users.set_role(one.id, "member")):
        with pytest.raises(LastAdmin):
            await change
    assert (await users.set_role(one.id, "admin")).role == "admin"
    # A disabled one may be demoted, for it keeps nobody in.
    await users.set_role(gone.id, "member")
    await users.set_role(gone.id, "admin")
    await users.enable(gone.id)
    answers = await asyncio.gather(users.disable(one.id), users.set_role(gone.id, "member"), return_exceptions=True)
    assert [type(answer) for answer in answers].count(LastAdmin) == 1
    assert len([user for user in await users.all() if user.role == "admin" and user.disabled_at is None]) == 1


async def test_changes_are_in_the_audit_and_never_a_password(users, store):
    """Who changed which user, and how; an unknown one is a 404 and leaves no trace."""
    bob = await users.create("bob", GOOD, actor="user_1")
    await users.set_password(bob.id, "another password", actor="user_1")
    await users.set_role(bob.id, "admin")
    unknown = "user_" + "0" * 32
    for change in (users.enable(unknown), users.disable("\udcff"), users.set_password(unknown, GOOD)):
        with pytest.raises(NoSuchUser) as refused:
            await change
        assert refused.value.status == 404
    assert await users.by_id("\udcff") is None
    rows = await store.read(lambda db: inbox.audit_of(db, bob.id))
    assert [(row.actor, row.action) for row in rows] == [
        ("user_1", "user_created"),
        ("user_1", "user_password"),
        ("command line", "user_role"),
    ]
    assert len(await store.read(lambda db: inbox.audit(db, None, 99))) == 3
    assert not any(word in str(rows) for word in (GOOD, "another password", "argon2"))


# ---------------------------------------------------------------- the user of the first start


async def test_the_first_start_makes_an_admin_once(users):
    """With nothing set, `admin` gets a password of chance, once; also when it was changed or disabled since."""
    password = await ensure_admin_user(users, None)
    admin = await users.find("admin")
    assert (admin.role, admin.tenant) == ("admin", "admin")
    assert await users.verify(admin, password)
    assert len(password) == 20
    assert await ensure_admin_user(users, None) is None
    await users.create("second", GOOD, "admin")
    await users.disable(admin.id)
    assert await ensure_admin_user(users, "") is None


async def test_no_admin_is_made_where_there_is_one(users):
    """An operator who made an admin of another name needs none; one who made members only does."""
    await users.create("member", GOOD)
    anna = await users.create("anna", GOOD, "admin")
    assert await ensure_admin_user(users, None) is None
    assert await users.find("admin") is None
    await users.create("other", GOOD, "admin")
    await users.set_role(anna.id, "member")
    assert await ensure_admin_user(users, None) is None


async def test_two_processes_that_start_first_show_one_password(users, store):
    """Only the password that is shown is the user's."""
    shown = await asyncio.gather(*(ensure_admin_user(Users(store), None) for _ in range(2)))
    assert shown.count(None) == 1
    (password,) = [one for one in shown if one is not None]
    assert await users.verify(await users.find("admin"), password)


async def test_the_environment_decides_about_the_password(users, store):
    """`REELGATE_ADMIN_PASSWORD` makes `admin`, leaves it in peace while it stays the same, and when it changes logs it
    out; what it was before is wrong then."""
    sessions = Sessions(store, b"s" * 32)
    assert await ensure_admin_user(users, "short") is None
    admin = await users.find("admin")
    assert admin.role == "admin"
    token = await sessions.open(admin, address="", agent="")
    assert await ensure_admin_user(users, "short") is None
    assert (await users.find("admin")).password == admin.password
    assert await sessions.find(token) is not None
    assert await ensure_admin_user(users, "another") is None
    admin = await users.find("admin")
    assert not await users.verify(admin, "short")
    assert await users.verify(admin, "another")
    assert await sessions.of_user(admin.id) == []
    # Gone again, it stays as it is.
    assert await ensure_admin_user(users, None) is None
    assert await users.verify(await users.find("admin"), "another")
    with pytest.raises(StartupError, match="REELGATE_ADMIN_PASSWORD"):
        await ensure_admin_user(users, "x" * 1025)
