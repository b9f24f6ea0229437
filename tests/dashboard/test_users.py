"""`/dashboard/users`: admins decide who may log in, and never lock themselves out."""

from __future__ import annotations

import re

import pytest

from proxy.records import User
from tests.dashboard.conftest import PASSWORD, Desk

HERE = "/dashboard/users"


async def user_of(desk: Desk, name: str) -> User:
    user = await desk.accounts.users.find(name)
    assert user is not None
    return user


async def admins(desk: Desk) -> None:
    """Let `otto` be the only admin who can log in."""
    await desk.accounts.users.disable((await user_of(desk, "admin")).id)


async def test_a_new_user_gets_a_password_that_is_shown_once(desk: Desk) -> None:
    """It works, and no later page has it; with a password of one's own nothing is shown."""
    otto = await desk.logged_in("otto")
    answer = await otto.submit(HERE + "/new", name="Mia@studio", role="admin")
    assert answer.status == 200
    shown = re.search(r'class="copyable"><code>([^<]+)<', answer.text)
    assert shown is not None
    assert (await desk.browser().log_in("mia@studio", shown[1])).status == 303
    mia = await user_of(desk, "mia@studio")
    assert (mia.name, mia.role) == ("Mia@studio", "admin")
    for path in (HERE, f"{HERE}/{mia.id}"):
        assert shown[1] not in (await otto.get(path)).text
    assert (await otto.submit(HERE + "/new", name="ben", password="a long way in")).status == 303
    assert (await user_of(desk, "ben")).role == "member"
    assert (await desk.browser().log_in("ben", "a long way in")).status == 303


async def test_mistakes_are_told_beside_their_fields(desk: Desk) -> None:
    """The name is kept as it was typed, the password never comes back."""
    otto = await desk.logged_in("otto")
    for name, password, field in (
        ("ANNA", PASSWORD, "name"),
        ("no spaces <b>", PASSWORD, "name"),
        ("", PASSWORD, "name"),
        ("zoe", "short", "password"),
        ("zoe", "x" * 1025, "password"),
    ):
        answer = await otto.submit(HERE + "/new", name=name, password=password, role="admin")
        assert answer.status == 422
        assert f'id="error-{field}"' in answer.text
        assert password not in answer.text
        assert "<b>" not in answer.text
        assert re.search(r'value="admin" checked', answer.text)
    assert {user.name for user in await desk.accounts.users.all()} == {"admin", "anna", "otto"}


async def test_the_last_admin_stays(desk: Desk) -> None:
    """Neither disabled nor demoted, by nobody and not by itself, and told why."""
    await admins(desk)
    otto = await desk.logged_in("otto")
    me = await user_of(desk, "otto")
    for tail, fields in (("role", {"role": "member"}), ("role", {}), ("disable", {"sure": "yes"})):
        answer = await otto.submit(f"{HERE}/{me.id}/{tail}", **fields)
        assert answer.status == 422
        assert "otto is the only admin who can log in." in answer.text
    assert await user_of(desk, "otto") == me
    assert await otto.is_in()
    anna = await user_of(desk, "anna")
    assert (await otto.submit(f"{HERE}/{anna.id}/role", role="admin")).status == 303
    answer = await otto.submit(f"{HERE}/{me.id}/role", role="member")
    assert (answer.status, answer.location) == (303, "/dashboard")
    assert (await otto.get(HERE)).status == 403


async def test_who_is_disabled_is_out_at_once(desk: Desk) -> None:
    """After a question; the list says so, and enabling lets in again."""
    otto, anna = await desk.logged_in("otto"), await desk.logged_in()
    path = f"{HERE}/{(await user_of(desk, 'anna')).id}"
    asked = await otto.submit(path + "/disable")
    assert asked.status == 200
    assert "Disable anna?" in asked.text
    assert await anna.is_in()
    assert (await otto.submit(path + "/disable", sure="yes")).status == 303
    assert not await anna.is_in()
    assert (await desk.browser().log_in("anna")).status == 401
    assert "Disabled" in (await otto.get(HERE)).text
    assert (await otto.submit(path + "/enable")).status == 303
    await desk.logged_in()


async def test_passwords_and_sessions_of_others(desk: Desk) -> None:
    """A new password, given or made, and a logout everywhere each end the sessions there are; one's own stays."""
    otto = await desk.logged_in("otto")
    path = f"{HERE}/{(await user_of(desk, 'anna')).id}"
    anna = await desk.logged_in()
    assert (await otto.submit(path + "/log-out")).status == 303
    assert not await anna.is_in()
    anna = await desk.logged_in()
    assert (await otto.submit(path + "/password", password="another way home")).status == 303
    assert not await anna.is_in()
    assert (await desk.browser().log_in("anna", "another way home")).status == 303
    short = await otto.submit(path + "/password", password="short")
    assert short.status == 422
    assert 'id="error-password"' in short.text
    made = await otto.submit(path + "/password")
    shown = re.search(r'class="copyable"><code>([^<]+)<', made.text)
    assert shown is not None
    assert (await desk.browser().log_in("anna", shown[1])).status == 303
    mine = await otto.submit(f"{HERE}/{(await user_of(desk, 'otto')).id}/password", password="my own new way")
    assert mine.status == 303
    assert await otto.is_in()
    told = {row.action for row in (await desk.product.core.store.read(_audit))}
    assert {"user_password", "user_logged_out"} <= told


def _audit(db):  # type: ignore[no-untyped-def]
    from proxy.store import inbox

    return inbox.audit(db, None, 100)


@pytest.mark.parametrize("tail", ["", "/role", "/disable", "/enable", "/password", "/log-out"])
async def test_members_and_unknown_users_get_nowhere(desk: Desk, tail: str) -> None:
    """A member is refused whatever the id; for an admin an id that is nobody's is one and the same 404."""
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    user = await user_of(desk, "otto")
    unknown = f"user_{'0' * 32}"
    for user_id in (user.id, unknown, "new" if not tail else "%00"):
        if not tail:
            assert (await anna.get(f"{HERE}/{user_id}")).status == 403
        if tail or user_id == "new":
            assert (await anna.submit(f"{HERE}/{user_id}{tail}", name="x", role="member", sure="yes")).status == 403
    for user_id in (unknown, "x", "%00", "%ff"):
        if tail:
            answer = await otto.submit(f"{HERE}/{user_id}{tail}", role="member", sure="yes", password=PASSWORD)
        else:
            answer = await otto.get(f"{HERE}/{user_id}")
        assert answer.status == 404
        assert "There is no such user." in answer.text
    assert (await anna.get(HERE)).status == 403
    assert await user_of(desk, "otto") == user
