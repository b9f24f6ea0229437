"""The pages of channels and of the audit: numbers, switches, trying, and who did what."""

from __future__ import annotations

import re

import pytest

from proxy.accounts.users import ensure_admin_user
from proxy.dashboard.pages import audit as audit_page
from proxy.errors import AccountRefused, NotFound, UpstreamUnreachable
from proxy.models import JobError, UpstreamJob
from proxy.store.channel_stats import ChannelStats, by_channel
from tests.dashboard.conftest import PASSWORD, Browser, Desk, Open
from tests.dashboard.filming import doubtful, ended, link, order, words

HERE = "/dashboard/channels"
KEY = "provider-key-2b7c19"
TEXT = f"""
channels:
  - {{name: a, type: studio, models: [all], poll_every: 0.02, max_running: 5, api_key: {KEY}}}
  - {{name: b, type: puppet, models: {{sora-2: hidden-upstream, "<i>x</i>": y}}, poll_every: 0.02,
     price: {{per_second: 1}}}}
"""


@pytest.fixture
async def room(open_desk: Open) -> Desk:
    return await open_desk(TEXT)


def card(text: str, number: int) -> str:
    """What the page says of one channel."""
    return words(re.split(r'<section class="card" data-channel', text)[number])


async def test_numbers_are_of_the_last_day(room: Desk) -> None:
    """Running, waiting, success, median and spend, by the states and the ledger; a blocked prompt blames nobody."""
    otto = await room.logged_in("otto")
    channel = room.product.channel("a")
    channel.then("create", *[UpstreamJob(id=f"good-{one}", status="completed") for one in range(2)])
    for prompt in ("one", "two"):
        await ended(room, await order(otto, prompt, model="all", seconds=4, audio=False))
    for number, code in enumerate(("upstream_failed", "moderation_blocked")):
        channel.then("create", UpstreamJob(id=f"bad-{number}", status="failed", error=JobError(code, "no")))
        await ended(room, await order(otto, code, model="all"))
    await doubtful(room, otto, "b", seconds=4)
    text = (await otto.get(HERE)).text
    assert "Running 0 of 5 Waiting 0 Videos 4 Went well 66 % 1 failed Median time" in card(text, 1)
    assert "Spend $1.60" in card(text, 1)
    assert "Running 1 Waiting 0 Videos 1 Went well – Median time – Spend $4.00" in card(text, 2)
    assert "<i>x" not in text
    assert KEY not in text
    models = card(text, 1)
    assert "4, 8 1280×720, 1920×1080, 3840×2160" in models
    assert "remix, edit, extend 0.4 silent: 0.2" in models
    old = await room.product.core.store.read(lambda db: by_channel(db, 2**40))
    assert old == {"b": ChannelStats(running=1)}


async def test_switching_off_and_on(room: Desk) -> None:
    """Switched off, it takes no orders; the page says that it was by hand, and can let it follow the file again."""
    otto, anna = await room.logged_in("otto"), await room.logged_in()
    assert (await anna.get(HERE)).status == 403
    assert (await anna.submit(HERE + "/switch", channel="a", to="off")).status == 403
    for to, badge in (("off", "Off Switched by hand"), ("on", "Ready Switched by hand"), ("file", "Ready studio")):
        answer = await otto.submit(HERE + "/switch", channel="a", to=to)
        assert (answer.status, answer.location) == (303, HERE)
        assert badge in card((await otto.get(HERE)).text, 1)
        live = room.product.core.channels.get("a")
        assert live is not None
        assert live.enabled is (to != "off")
    assert (await otto.submit(HERE + "/switch", channel="nobody", to="off")).status == 404
    assert (await otto.submit(HERE + "/switch", channel="a", to="sideways")).status == 400
    told = words((await otto.get("/dashboard/audit")).text)
    assert told.index("Let a channel follow the file a") < told.index("Switched a channel off a")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([NotFound("no such job"), AccountRefused("who are you?")], "The provider answers and knows our key"),
        ([NotFound("no such job"), NotFound("no such job")], "but says the same without our key"),
        ([AccountRefused(f"bad key {KEY}")], "The provider refuses our key or our account"),
        ([UpstreamUnreachable("no route <b>there</b>")], "The provider could not be reached"),
        ([RuntimeError("oops")], "The plugin of this channel failed; the log says where."),
    ],
)
async def test_trying_it_says_what_came_of_it(room: Desk, answers: list[Exception], told: str) -> None:
    """In words, at the channel that was tried, and without its key; it orders nothing."""
    otto = await room.logged_in("otto")
    channel = room.product.channel("a")
    channel.then("fetch", *answers)
    tried = await otto.submit(HERE + "/test", channel="a")
    assert tried.status == 200
    assert told in card(tried.text, 1)
    assert told not in card(tried.text, 2)
    assert KEY not in tried.text
    assert "<b>there" not in tried.text
    assert channel.asked("create") == []


async def test_a_channel_that_left_the_file_is_told_of(room: Desk) -> None:
    """With how many of its videos are not finished."""
    otto = await room.logged_in("otto")
    await doubtful(room, otto, "b")
    await room.product.reload(TEXT.replace("name: b,", "name: other,"))
    told = words((await otto.get(HERE)).text)
    assert "Not in channels.yaml any more" in told
    assert "b 1 0" in told


async def test_the_audit_is_paged(room: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who, what and to whom by their names, each row once; members have no business there."""
    monkeypatch.setattr(audit_page, "PAGE", 2)
    otto = await room.logged_in("otto")
    for to in ("off", "on", "off"):
        await otto.submit(HERE + "/switch", channel="a", to=to)
    seen = await _walk(otto)
    assert [len(rows) for rows in seen[:-1]] == [2] * (len(seen) - 1)
    rows = [row for page in seen for row in page]
    assert ["Switched a channel off" in row for row in rows[:3]] == [True, False, True]
    assert all("otto" in row for row in rows[:3])
    assert any("Made a user anna" in row for row in rows)
    assert (await (await room.logged_in()).get("/dashboard/audit")).status == 403


async def _walk(browser: Browser) -> list[list[str]]:
    pages: list[list[str]] = []
    address: str | None = "/dashboard/audit"
    while address is not None:
        text = (await browser.get(address)).text
        pages.append([words(row) for row in re.findall(r"<tr>\s*<td.*?</tr>", text, re.DOTALL)])
        address = link(text, "older")
    return pages


async def test_the_audit_says_in_words_who_did_what(room: Desk) -> None:
    """Also who is no user, in the language of the page; what a key may not is not said of it."""
    otto = await room.logged_in("otto")
    await ensure_admin_user(room.accounts.users, PASSWORD)
    fields = {"name": "drive", "budget": "5", "period": "day", "chooses_channel": "yes"}
    assert (await otto.submit("/dashboard/keys/new", **fields)).status == 200
    text = (await otto.get("/dashboard/audit")).text
    key, admin, _, anna = (words(row) for row in re.findall(r"<tr>\s*<td.*?</tr>", text, re.DOTALL))
    assert "otto Made an API key drive" in key
    assert "May choose its channel ✓ Budget $5.00 The budget is for each day, UTC" in key
    assert "Admin key" not in key
    assert "Server start Changed a password admin" in admin
    assert "Command line Made a user anna Name anna Role Member" in anna
    chinese = words((await otto.get("/dashboard/audit?language=zh")).text)
    assert "命令行" in chinese
    assert "可以指定渠道 ✓" in chinese
