"""Keys and users as operators and members manage them: who may, what the audit keeps, and how limits are written."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy import money
from proxy.accounts import Accounts, Authenticator, terms
from proxy.accounts.administration import COMMAND_LINE, Administration
from proxy.accounts.sessions import key_of
from proxy.accounts.users import LastAdmin, NoSuchUser
from proxy.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from proxy.records import Key, KeyLimits
from proxy.store import Store, inbox

NOW = 1_800_000_000.0


class Office(NamedTuple):
    store: Store
    accounts: Accounts
    keys: Authenticator

    @property
    def desk(self) -> Administration:
        return self.accounts.administration

    async def member(self, name: str) -> Key:
        """What stands for a new member of that name."""
        return key_of(await self.desk.create_user(name, "a good password", actor=COMMAND_LINE))

    async def audit(self) -> list[tuple[str, str, str]]:
        """Actor, action and subject of each row, oldest first."""
        rows = await self.store.read(lambda db: inbox.audit(db, None, 100))
        return [(row.actor, row.action, row.subject) for row in rows[::-1]]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A store with its keys and users."""
    store = await Store.open(tmp_path / "reelgate.db")
    keys = Authenticator(store, None)
    yield Office(store, Accounts.of(store, b"s" * 32, keys), keys)
    await store.close()


# ---------------------------------------------------------------- who may


async def test_a_member_has_the_keys_of_its_tenant_and_no_others(office: Office) -> None:
    """It makes, changes and ends its own; a foreign one is as unknown as one that is not there, whatever it asks."""
    anna, bob = await office.member("anna"), await office.member("bob")
    _, mine = await office.desk.create_key("phone", actor=anna, limits=KeyLimits(running=2))
    _, foreign = await office.desk.create_key("laptop", actor=bob)
    assert (mine.tenant, mine.admin, foreign.tenant) == ("user_anna", False, "user_bob")
    assert (await office.desk.change_key(mine.id, actor=anna, limits=KeyLimits())).limits == KeyLimits()
    for key_id in (foreign.id, "key_" + "0" * 32):
        for attempt in (
            office.desk.key(key_id, actor=anna),
            office.desk.change_key(key_id, actor=anna, name="mine now"),
            office.desk.revoke_key(key_id, actor=anna),
        ):
            with pytest.raises(NotFound, match="There is no such API key"):
                await attempt
    with pytest.raises(NotFound):
        await office.desk.revoke_key("laptop", actor=anna)
    assert [one.id for one in (await office.desk.keys(actor=anna))[0]] == [mine.id]
    assert await office.desk.keys(actor=anna, tenant="user_bob") == ([], False)
    assert (await office.desk.revoke_key(mine.id, actor=anna)).revoked_at is not None
    assert len((await office.desk.keys(actor=COMMAND_LINE))[0]) == 2


async def test_a_member_does_not_raise_itself(office: Office) -> None:
    """No admin key, none that chooses its channel, none for somebody else, no user; and nothing was written."""
    anna = await office.member("anna")
    await office.member("bob")
    _, mine = await office.desk.create_key("phone", actor=anna)
    before = await office.audit()
    for attempt in (
        office.desk.create_key("x", actor=anna, admin=True),
        office.desk.create_key("x", actor=anna, chooses_channel=True),
        office.desk.create_key("x", actor=anna, user="bob"),
        office.desk.create_key("x", actor=anna, user="nobody"),
        office.desk.change_key(mine.id, actor=anna, chooses_channel=True),
        office.desk.create_user("eve", "a good password", actor=anna, role="admin"),
        office.desk.change_user(anna.id, actor=anna, role="admin"),
        office.desk.log_out(anna.id, actor=anna),
        office.desk.users(actor=anna),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert await office.audit() == before
    assert (await office.desk.create_key("x", actor=anna, user="ANNA"))[1].tenant == "user_anna"


# ---------------------------------------------------------------- what is kept


async def test_each_change_has_its_row_and_no_row_a_secret(office: Office) -> None:
    """What changed nothing has none; neither key nor password stand in the store as they are."""
    plain, key = await office.desk.create_key("phone", actor=COMMAND_LINE)
    await office.desk.change_key(key.id, actor=COMMAND_LINE, name="phone")
    await office.desk.change_key(key.id, actor=COMMAND_LINE, limits=KeyLimits(running=1))
    await office.desk.revoke_key("phone", actor=COMMAND_LINE)
    await office.desk.revoke_key(key.id, actor=COMMAND_LINE)
    user = await office.desk.create_user("anna", "a good password", actor=COMMAND_LINE)
    await office.desk.change_user(user.id, actor=COMMAND_LINE, role="member", disabled=False)
    await office.desk.change_user(user.id, actor=COMMAND_LINE, disabled=True, password="another password")
    await office.desk.log_out(user.id, actor=COMMAND_LINE)
    actions = [(action, subject) for actor, action, subject in await office.audit() if actor == "command line"]
    assert actions == [
        *((f"key_{word}", key.id) for word in ("created", "changed", "revoked")),
        *((f"user_{word}", user.id) for word in ("created", "disabled", "password", "logged_out")),
    ]
    with pytest.raises(InvalidRequest, match="final"):
        await office.desk.change_key(key.id, actor=COMMAND_LINE, limits=KeyLimits())
    await office.store.close()
    files = [file for file in office.store.path.parent.iterdir() if file.is_file()]
    stored = b"".join([await asyncio.to_thread(file.read_bytes) for file in files])
    assert key.id.encode() in stored
    for secret in (plain, "a good password", "another password"):
        assert secret.encode() not in stored


async def test_a_change_of_a_user_is_all_or_nothing(office: Office) -> None:
    """The last admin cannot be demoted, and then keeps its password too; a bad password leaves the role."""
    boss = await office.desk.create_user("boss", "a good password", actor=COMMAND_LINE, role="admin")
    with pytest.raises(LastAdmin):
        await office.desk.change_user(boss.id, actor=COMMAND_LINE, password="another password", role="member")
    assert await office.accounts.users.verify(await office.accounts.users.find("boss"), "a good password")
    anna = await office.desk.create_user("anna", "a good password", actor=COMMAND_LINE)
    with pytest.raises(InvalidRequest):
        await office.desk.change_user(anna.id, actor=COMMAND_LINE, role="admin", password="short")
    assert (await office.desk.user(anna.id, actor=COMMAND_LINE)).role == "member"
    for unknown in ("user_" + "0" * 32, "", "\0", "x" * 10_000):
        with pytest.raises(NoSuchUser):
            await office.desk.user(unknown, actor=COMMAND_LINE)


async def test_what_is_changed_holds_at_once(office: Office) -> None:
    """The next request of a revoked key is refused, that of a changed one has its new limits, and a user who was put
    down acts as no admin any more."""
    plain, key = await office.desk.create_key("phone", actor=COMMAND_LINE)
    header = f"Bearer {plain}"
    assert (await office.keys.authenticate(header)).limits == KeyLimits()
    await office.desk.change_key(key.id, actor=COMMAND_LINE, limits=KeyLimits(models=("a",)))
    assert (await office.keys.authenticate(header)).limits.models == ("a",)
    await office.desk.revoke_key(key.id, actor=COMMAND_LINE)
    with pytest.raises(Unauthorized):
        await office.keys.authenticate(header)
    await office.desk.create_user("boss", "a good password", actor=COMMAND_LINE, role="admin")
    anna = await office.desk.create_user("anna", "a good password", actor=COMMAND_LINE, role="admin")
    sessions = office.accounts.sessions
    token = await sessions.open(anna, address="127.0.0.1", agent="")
    assert await sessions.find(token) is not None
    await office.desk.change_user(anna.id, actor=COMMAND_LINE, role="member")
    found = await sessions.find(token)
    assert found is not None
    assert not key_of(found[0]).admin
    assert await office.desk.log_out(anna.id, actor=COMMAND_LINE) == 1
    assert await sessions.find(token) is None


async def test_a_member_leaves_admin_keys_as_they_are(office: Office) -> None:
    """One that an admin put into a member's tenant is seen there; what it may do and how long is the admins' matter."""
    anna = await office.member("anna")
    _, key = await office.desk.create_key("ops", actor=COMMAND_LINE, user="anna", admin=True)
    assert (await office.desk.key(key.id, actor=anna)).key.admin
    for attempt in (
        office.desk.change_key(key.id, actor=anna, limits=KeyLimits()),
        office.desk.revoke_key(key.id, actor=anna),
    ):
        with pytest.raises(Forbidden, match="admin key"):
            await attempt
    assert (await office.desk.revoke_key(key.id, actor=COMMAND_LINE)).revoked_at is not None


async def test_the_keys_of_a_disabled_user_are_refused_at_once(office: Office) -> None:
    """Also one that was used a moment ago; once the user is enabled they are good again."""
    anna = await office.member("anna")
    plain, _ = await office.desk.create_key("phone", actor=anna)
    header = f"Bearer {plain}"
    assert await office.keys.authenticate(header)
    await office.desk.change_user(anna.id, actor=COMMAND_LINE, disabled=True)
    with pytest.raises(Unauthorized, match="was disabled"):
        await office.keys.authenticate(header)
    await office.desk.change_user(anna.id, actor=COMMAND_LINE, disabled=False)
    assert await office.keys.authenticate(header)


async def test_keys_are_listed_in_pages(office: Office) -> None:
    """Newest first, each once, also those of one second."""
    made = [(await office.desk.create_key(f"key {n}", actor=COMMAND_LINE))[1].id for n in range(5)]
    seen: list[str] = []
    has_more = True
    while has_more:
        after = seen[-1] if seen else None
        page, has_more = await office.desk.keys(actor=COMMAND_LINE, after=after, limit=2)
        seen += [one.id for one in page]
    assert seen == made[::-1]


# ---------------------------------------------------------------- limits


def test_limits_have_one_form() -> None:
    """Networks are networks, nothing stands there twice, and what was left empty is no limit."""
    assert terms.read(now=NOW) == KeyLimits()
    read = terms.read(
        models=" sora-2 , veo-3,sora-2,",
        channels="a\r\nb",
        expires="30d",
        requests_per_minute="60",
        max_running=" 2 ",
        budget="$5.25",
        period="month",
        addresses="10.1.2.3/8, 2001:db8::1,10.0.0.0/8,::ffff:10.0.0.0/104",
        now=NOW,
    )
    assert read == KeyLimits(
        models=("sora-2", "veo-3"),
        channels=("a", "b"),
        expires_at=int(NOW) + 30 * 86_400,
        requests_per_minute=60,
        running=2,
        budget=money.amount("5.25"),
        period="month",
        addresses=("10.0.0.0/8", "2001:db8::1/128"),
    )
    assert terms.expiry("2027-01-31", now=NOW) == terms.expiry("2027-02-01T00:00:00Z", now=NOW)
    assert terms.dollars(0.1) == terms.dollars("0.1") == 100_000_000


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("expires_at", {"expires": "tomorrow"}),
        ("expires_at", {"expires": "2020-01-01"}),
        ("expires_at", {"expires": "999999999999"}),
        ("requests_per_minute", {"requests_per_minute": "-1"}),
        ("requests_per_minute", {"requests_per_minute": "1e3"}),
        ("max_running", {"max_running": "99999999999"}),
        ("budget", {"budget": "-5"}),
        ("budget", {"budget": "NaN"}),
        ("budget", {"budget": "1e6"}),
        ("budget", {"budget": "2000000000"}),
        ("budget", {"budget": "5", "period": "week"}),
        ("allowed_addresses", {"addresses": "10.0.0/8"}),
        ("allowed_addresses", {"addresses": "example.com"}),
        ("allowed_models", {"models": "x" * 300}),
        ("allowed_models", {"models": ",".join(str(n) for n in range(300))}),
        ("allowed_channels", {"channels": "a\tb"}),
    ],
)
def test_what_means_nothing_is_refused(param: str, words: dict[str, Any]) -> None:
    """With the word of the API for it, in a short sentence without control characters."""
    with pytest.raises(InvalidRequest) as told:
        terms.read(**words, now=NOW)
    assert told.value.param == param
    assert told.value.message.isprintable()
    assert len(told.value.message) < 250


def test_a_limit_that_ran_out_may_stay() -> None:
    """A key that expired can still be renamed or given a budget, but not be given another moment gone by."""
    before = KeyLimits(expires_at=int(NOW) - 5)
    assert terms.checked(KeyLimits(expires_at=int(NOW) - 5, budget=1), now=NOW, before=before).budget == 1
    with pytest.raises(InvalidRequest):
        terms.checked(KeyLimits(expires_at=int(NOW) - 4), now=NOW, before=before)


def test_names_that_are_not_there_are_told() -> None:
    """As sentences, because they may come later."""
    limits = KeyLimits(models=("sora-2", "gone"), channels=("x",))
    told = terms.unknown(limits, models=["sora-2"], channels=["a"])
    assert json.dumps(told) == json.dumps(["The model 'gone' is not there now.", "The channel 'x' is not there now."])
