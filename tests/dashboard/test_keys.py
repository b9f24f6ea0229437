"""`/dashboard/keys`: keys are made, limited and ended by those whose they are."""

from __future__ import annotations

import ast
import re
import shlex
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as moment

import pytest

from proxy.accounts.sessions import key_of
from proxy.dashboard import snippets
from proxy.records import Key, KeyLimits
from tests.dashboard.conftest import Browser, Desk

PLAIN = re.compile(r"rg_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}")
HERE = "/dashboard/keys"
HOSTILE = "\"'><script>alert(1)</script>"
_REQUEST_ID = re.compile(r"<code>[^<]*</code>")


async def keys_of(desk: Desk, name: str) -> list[Key]:
    user = await desk.accounts.users.find(name)
    assert user is not None
    return [report.key for report in (await desk.accounts.administration.keys(actor=key_of(user)))[0]]


async def made(desk: Desk, name: str, **options: object) -> Key:
    """A key of that user, made by an admin."""
    otto = await desk.accounts.users.find("otto")
    assert otto is not None
    _, key = await desk.accounts.administration.create_key("made", actor=key_of(otto), user=name, **options)
    return key


async def refused(browser: Browser, method: str, path: str) -> tuple[int, str]:
    """Status and page of a refusal, without the id of the request."""
    if method == "GET":
        answer = await browser.get(path)
    else:
        answer = await browser.submit(path, name="x", sure="yes")
    return answer.status, _REQUEST_ID.sub("", answer.text)


async def test_a_key_is_shown_once_and_works(desk: Desk) -> None:
    """With its limits and programs to copy; afterwards no page has it, and revoking it is asked about first."""
    day = datetime.now(UTC).date() + timedelta(days=40)
    anna = await desk.logged_in()
    assert "No key yet" in (await anna.get(HERE)).text
    answer = await anna.submit(
        HERE + "/new",
        name="nightly",
        models_of="some",
        models="sora-2",
        budget="$12.50",
        period="day",
        running="2",
        requests_per_minute="90",
        addresses="127.0.0.1, ::1\n10.0.0.0/8",
        expires=day.isoformat(),
    )
    assert answer.status == 200
    found = set(PLAIN.findall(answer.text))
    assert len(found) == 1
    plain = found.pop()
    assert answer.headers["Cache-Control"] == "no-store"
    (key,) = await keys_of(desk, "anna")
    assert key.tenant == "user_anna"
    assert key.limits == KeyLimits(
        models=("sora-2",),
        expires_at=int(datetime.combine(day + timedelta(days=1), moment(), UTC).timestamp()),
        requests_per_minute=90,
        running=2,
        budget=12_500_000_000,
        period="day",
        addresses=("127.0.0.1/32", "::1/128", "10.0.0.0/8"),
    )
    assert (await desk.product.call("GET", "/v1/models", key=plain))[0] == 200
    for path in (HERE, f"{HERE}/{key.id}"):
        page = (await anna.get(path)).text
        assert plain not in page
        for words in ("Only sora-2", "2 videos at once", "90 requests a minute", f"Until {day}", "of $12.50 today"):
            assert words in page
    asked = await anna.submit(f"{HERE}/{key.id}/revoke")
    assert asked.status == 200
    assert "Revoke “nightly”?" in asked.text
    assert (await desk.product.call("GET", "/v1/models", key=plain))[0] == 200
    assert (await anna.submit(f"{HERE}/{key.id}/revoke", sure="yes")).status == 303
    assert (await desk.product.call("GET", "/v1/models", key=plain))[0] == 401
    assert "Save" not in (await anna.get(f"{HERE}/{key.id}")).text
    late = await anna.submit(f"{HERE}/{key.id}", name="again")
    assert late.status == 422
    assert (await keys_of(desk, "anna"))[0].name == "nightly"


async def test_mistakes_are_told_beside_their_fields(desk: Desk) -> None:
    """All at once, with everything kept as it was typed; nothing is made or changed."""
    anna = await desk.logged_in()
    key = await made(desk, "anna")
    wrong = {
        "name": HOSTILE + "x" * 90,
        "models_of": "some",
        "models": "no-such-model",
        "budget": "1,5" + HOSTILE,
        "expires": "2001-01-01",
        "requests_per_minute": "-3",
        "running": "many",
        "addresses": "10.0.0.0/8 " + HOSTILE,
    }
    for path in (HERE + "/new", f"{HERE}/{key.id}"):
        answer = await anna.submit(path, **wrong)
        assert answer.status == 422
        fields = ("name", "models", "budget", "expires", "requests_per_minute", "running", "addresses")
        assert {name for name in fields if f'id="error-{name}"' in answer.text} == set(fields)
        assert "<script>alert" not in answer.text
        for typed in ('value="2001-01-01"', 'value="-3"', 'value="many"', 'value="1,5&#34;', "10.0.0.0/8 &#34;"):
            assert typed in answer.text
    assert [one.limits for one in await keys_of(desk, "anna")] == [KeyLimits()]


async def test_what_only_admins_give_is_not_taken_from_others(desk: Desk) -> None:
    """A member's form cannot make an admin key, choose channels or make a key for somebody else; and what an admin
    limited in channels, a member's change leaves, without ever naming them."""
    anna = await desk.logged_in()
    options = {"admin": "yes", "chooses_channel": "yes", "channels_of": "some", "channels": "a", "owner": "otto"}
    assert (await anna.submit(HERE + "/new", name="mine", **options)).status == 200
    (mine,) = await keys_of(desk, "anna")
    assert (mine.admin, mine.chooses_channel, mine.tenant, mine.limits) == (False, False, "user_anna", KeyLimits())
    limits = KeyLimits(channels=("secret-channel",), running=1, expires_at=int(time.time()) + 5000)
    key = await made(desk, "anna", limits=limits, chooses_channel=True)
    page = await anna.get(f"{HERE}/{key.id}")
    day = re.search(r'name="expires"[^>]* value="([^"]+)"', page.text)
    assert day is not None
    assert (await anna.submit(f"{HERE}/{key.id}", name="mine", running="4", expires=day[1], **options)).status == 303
    changed = next(one for one in await keys_of(desk, "anna") if one.id == key.id)
    assert changed == replace(key, name="mine", limits=KeyLimits(**{**_as_dict(limits), "running": 4}))
    for path in (HERE, HERE + "/new", f"{HERE}/{key.id}"):
        assert "secret-channel" not in (await anna.get(path)).text
        assert 'name="channels"' not in (await anna.get(path)).text


def _as_dict(limits: KeyLimits) -> dict[str, object]:
    return {name: getattr(limits, name) for name in KeyLimits.__struct_fields__}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_foreign_keys_are_unknown(desk: Desk, method: str) -> None:
    """Every page and form answers for another's key as for one that never was or cannot be."""
    anna = await desk.logged_in()
    theirs = await made(desk, "otto")
    for tail in ("",) if method == "GET" else ("", "/revoke"):
        unknown = await refused(anna, method, f"{HERE}/key_{'0' * 32}{tail}")
        assert unknown[0] == 404
        for key_id in (theirs.id, "admin", "x", "%00", "%ff", "key_..%2f", "key_" + "0" * 5000):
            assert await refused(anna, method, f"{HERE}/{key_id}{tail}") == unknown
    assert (await anna.get(f"{HERE}?tenant=user_otto")).status == 404
    assert theirs.name not in re.findall(r"<td.*?</td>", (await anna.get(HERE)).text)
    assert [one.revoked_at for one in await keys_of(desk, "otto")] == [None]


async def test_an_admin_manages_everybodys_keys(desk: Desk) -> None:
    """For a user, or for nobody; the list can be narrowed to an owner."""
    otto = await desk.logged_in("otto")
    options = {"channels_of": "some", "channels": "a", "chooses_channel": "yes"}
    assert (await otto.submit(HERE + "/new", name="for-anna", owner="anna", **options)).status == 200
    assert (await otto.submit(HERE + "/new", name="for-nobody", owner="", admin="yes")).status == 200
    nowhere = await otto.submit(HERE + "/new", name="for-ghost", owner="ghost")
    assert nowhere.status == 422
    assert 'id="error-owner"' in nowhere.text
    (annas,) = await keys_of(desk, "anna")
    assert (annas.name, annas.chooses_channel, annas.limits) == ("for-anna", True, KeyLimits(channels=("a",)))
    everybodys = (await otto.get(HERE)).text
    assert "for-anna" in everybodys
    assert "for-nobody" in everybodys
    only = (await otto.get(HERE + "?tenant=user_anna")).text
    assert "for-anna" in only
    assert "for-nobody" not in only
    # The channel leaves the file: the key keeps it, and it can still be unticked.
    await desk.product.reload("channels: [{name: b, type: puppet, models: [sora-2]}]\n")
    page = (await otto.get(f"{HERE}/{annas.id}")).text
    assert re.search(r'name="channels" value="a" checked', page)
    assert re.search(r'name="channels" value="b">', page)
    assert (await otto.submit(f"{HERE}/{annas.id}", name="for-anna", owner="", channels_of="all")).status == 303
    assert (await keys_of(desk, "anna"))[0].limits == KeyLimits()


async def test_long_lists_have_pages(desk: Desk) -> None:
    """Nothing is missing and nothing is twice."""
    anna = await desk.logged_in()
    keys = {(await made(desk, "anna")).id for _ in range(53)}
    first = (await anna.get(HERE)).text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = (await anna.get(older[1])).text
    found = [re.findall(r'<a href="/dashboard/keys/(key_[0-9a-f]{32})">', page) for page in (first, second)]
    assert [len(page) for page in found] == [50, 3]
    assert set(found[0]) | set(found[1]) == keys


def test_programs_hold_what_they_are_given() -> None:
    """Whatever an address, a key or a model is called, it stays inside of its quotes."""
    nasty = "a'b\"c$(touch x)`y`\\ {z}\n#"
    curl, python, node = (program for _, program in snippets.first_video(f"http://{nasty}", "KEY", nasty))
    words = shlex.split(curl.replace("\\\n", " "))
    assert words[:2] == ["curl", f"http://{nasty}/v1/videos"]
    assert len(words) == 8
    calls = [node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.keyword) and node.arg == "model"]
    assert [ast.literal_eval(call.value) for call in calls] == [nasty]
    assert '\\"c$(touch x)`y`\\\\ {z}\\n#"' in node
