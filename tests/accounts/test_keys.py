"""API keys: making, checking, revoking."""

from __future__ import annotations

import random
import re
import secrets
import string

import pytest

from proxy.accounts import Authenticator, digest, ensure_admin, is_weak, mint
from proxy.accounts import keys as account_keys
from proxy.errors import Unauthorized
from proxy.store import AmbiguousKey, Store
from tests.accounts.conftest import Clock
from tests.store.facts import state

NOW = 1_800_000_000


@pytest.fixture
def clock():
    """A clock for the authenticator's memory."""
    return Clock(1000.0)


@pytest.fixture
def authenticator(store, clock):
    """An authenticator without an operator's admin key."""
    return Authenticator(store, None, clock=clock, now=lambda: NOW + clock.time)


async def add(store, name, **fields):
    plain, key, sha256 = mint(name, now=NOW, **fields)
    await store.add_key(key, sha256)
    return plain, key


async def refusal(authenticator, header):
    """The sentence that a header is refused with."""
    with pytest.raises(Unauthorized) as refused:
        await authenticator.authenticate(header)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    return str(refused.value)


def test_a_minted_key_has_its_form():
    """A key is `rg_`, 43 url-safe characters and a checksum; keys differ; the tenant is the key's own unless given."""
    minted = [mint("app", now=NOW + 0.9) for _ in range(200)]
    assert all(re.fullmatch(r"rg_[A-Za-z0-9_-]{49}", plain) for plain, _, _ in minted)
    assert len({plain for plain, _, _ in minted}) == len({key.id for _, key, _ in minted}) == 200
    plain, key, sha256 = minted[0]
    assert (key.name, key.tenant, key.admin, key.created_at) == ("app", key.id, False, NOW)
    assert sha256 == digest(plain)
    assert plain not in repr(key)
    assert mint("x", tenant="user_1", admin=True, now=NOW)[1].tenant == "user_1"


def test_the_checksum_tells_a_mistyped_key():
    """Every single changed character of a key is noticed; a good key and foreign words are not called mistyped."""
    plain, _, _ = mint("app", now=NOW)
    assert not account_keys.is_mistyped(plain)
    assert not account_keys.is_mistyped("sk-foreign")
    for place in range(3, len(plain)):
        wrong = "A" if plain[place] != "A" else "B"
        assert account_keys.is_mistyped(plain[:place] + wrong + plain[place + 1 :])


async def test_a_good_key_is_known(store, authenticator):
    """A key that was just made is good at once, in any spelling of the scheme and with spaces around."""
    assert "not known" in await refusal(authenticator, f"Bearer {mint('early', now=NOW)[0]}")
    plain, key = await add(store, "app")
    for header in (f"Bearer {plain}", f"bearer {plain}", f"  BEARER   {plain}  ", f"Bearer\t{plain}"):
        assert await authenticator.authenticate(header) == key
        assert authenticator.cached(header) == key


@pytest.mark.parametrize("header", [None, "", "   ", "Bearer", "Bearer  ", "Basic dXNlcjpwYXNz", "Bearer:x"])
async def test_a_header_without_a_key_says_how_to_send_one(authenticator, header):
    """A missing header, an empty key and another scheme are told how a key is sent."""
    assert "Bearer" in await refusal(authenticator, header)
    assert authenticator.cached(header) is None


async def test_no_refusal_repeats_the_key(store, authenticator):
    """Whatever is wrong with a header, nothing of it comes back."""
    plain, _ = await add(store, "old")
    await store.revoke_key("old", NOW)
    for secret in (plain, plain[:-1] + ("A" if plain[-1] != "A" else "B"), "sk-canary-1234567890"):
        for header in (secret, f"Bearer {secret}", f"Basic {secret}", f"{secret} x"):
            assert secret not in await refusal(authenticator, header)
    assert "revoked" in await refusal(authenticator, f"Bearer {plain}")


async def test_wrong_keys_never_hit(store, authenticator):
    """2,000 wrong keys, near and far from a real one, in hostile spellings too, are all refused and none is kept."""
    plain, _ = await add(store, "app")
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits + "_-"
    wrong = ["' OR 1=1 --", '"; DROP TABLE keys; --', "%", "\x00", plain[:-1], plain + "A", plain.swapcase(), "\udcff"]
    wrong += ["rg_" + secrets.token_urlsafe(32) for _ in range(1000)]
    for _ in range(1000):
        place = chance.randrange(len(plain))
        other = chance.choice(letters.replace(plain[place], ""))
        wrong.append(plain[:place] + other + plain[place + 1 :])
    for guess in wrong:
        await refusal(authenticator, f"Bearer {guess}")
    assert authenticator._known == {}
    assert await authenticator.authenticate(f"Bearer {plain}")


async def test_a_revoked_key_is_refused_within_the_reread_window(store, authenticator, clock):
    """A key that another process revokes is good from memory for less than 0.5 s, then refused, for good."""
    plain, key = await add(store, "app")
    header = f"Bearer {plain}"
    assert await authenticator.authenticate(header) == key
    other = await Store.open(store.path)
    revoked = await other.revoke_key("app", NOW + 5)
    await other.close()
    assert revoked.revoked_at == NOW + 5
    clock.time += 0.499
    assert authenticator.cached(header) == key
    assert await authenticator.authenticate(header) == key
    clock.time += 0.001
    assert authenticator.cached(header) is None
    assert "revoked" in await refusal(authenticator, header)
    assert authenticator._known == {}


async def test_memory_of_headers_is_bounded(store, authenticator, monkeypatch):
    """One key in countless spellings fills no memory: the oldest spelling leaves, a very long one is not kept."""
    monkeypatch.setattr(account_keys, "CACHED_HEADERS", 3)
    plain, key = await add(store, "app")
    headers = [f"Bearer{' ' * n}{plain}" for n in range(1, 6)]
    for header in headers:
        assert await authenticator.authenticate(header) == key
    assert list(authenticator._known) == headers[2:]
    long = f"Bearer{' ' * 600}{plain}"
    assert await authenticator.authenticate(long) == key
    assert authenticator.cached(long) is None


async def test_last_use_is_noted_once_a_minute(store, authenticator, clock):
    """The first use is noted, then none for a minute, also where the key comes from memory."""

    async def last_used():
        await state(store, "flush", "now")
        return (await store.keys())[0].last_used_at

    plain, _ = await add(store, "app")
    header = f"Bearer {plain}"
    first = NOW + int(clock.time)
    await authenticator.authenticate(header)
    assert await last_used() == first
    clock.time += 59
    await authenticator.authenticate(header)
    clock.time += 0.25
    assert authenticator.cached(header)
    assert await last_used() == first
    clock.time += 0.75
    await authenticator.authenticate(header)
    assert await last_used() == first + 60


async def test_the_operators_admin_key(store, clock):
    """The key from the environment is the admin's, without a record; no other word is."""
    authenticator = Authenticator(store, "pässwörd", clock=clock)
    key = await authenticator.authenticate("Bearer pässwörd")
    assert (key.id, key.name, key.tenant, key.admin) == ("admin", "admin", "admin", True)
    assert authenticator.cached("Bearer pässwörd") == key
    assert "not known" in await refusal(authenticator, "Bearer pässwör")
    assert "not known" in await refusal(Authenticator(store, ""), "Bearer x")
    assert await store.keys() == []
    assert is_weak("fifteen letters")
    assert not is_weak("sixteen letters!")


async def test_the_first_start_makes_an_admin_key_once(store, authenticator):
    """Without one in the environment an admin key is made at the first start only, and not again after its end."""
    assert await ensure_admin(store, "from-the-environment", now=NOW) is None
    assert await store.keys() == []
    plain = await ensure_admin(store, None, now=NOW)
    key = await authenticator.authenticate(f"Bearer {plain}")
    assert (key.id, key.name, key.tenant, key.admin) == ("admin", "admin", "admin", True)
    assert await ensure_admin(store, None, now=NOW) is None
    await store.revoke_key("admin", NOW)
    assert await ensure_admin(store, "", now=NOW) is None


async def test_revoking_by_name_or_id(store):
    """A key is revoked by its name or id; an unknown one is None, a revoked one stays as it was; a shared name is
    refused with the ids to choose from."""
    _, one = await add(store, "app")
    assert await store.revoke_key("nobody", NOW) is None
    assert (await store.revoke_key("app", NOW + 1)).id == one.id
    assert (await store.revoke_key("app", NOW + 9)).revoked_at == NOW + 1
    _, two = await add(store, "app")
    _, three = await add(store, "app")
    with pytest.raises(AmbiguousKey) as refused:
        await store.revoke_key("app", NOW + 2)
    assert set(refused.value.ids) == {two.id, three.id}
    assert two.id in str(refused.value)
    assert (await store.revoke_key(two.id, NOW + 2)).revoked_at == NOW + 2
    assert (await store.revoke_key("app", NOW + 3)).id == three.id
    assert [key.revoked_at for key in await store.keys()] == [NOW + 1, NOW + 2, NOW + 3]


async def test_no_key_is_in_the_files(store, authenticator):
    """Neither the store nor its log holds a key in plain text."""
    plain, _ = await add(store, "app")
    admin = await ensure_admin(store, None, now=NOW)
    await authenticator.authenticate(f"Bearer {plain}")
    await state(store, "flush", "now")
    files = [file.read_bytes() for file in store.path.parent.iterdir()]
    assert len(files) >= 2
    for secret in (plain, admin):
        assert not any(secret.encode() in data or secret[3:-6].encode() in data for data in files)
    assert any(digest(plain) in data for data in files)
