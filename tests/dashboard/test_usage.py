"""`/dashboard/usage`: what was spent, in numbers that agree, and never another's."""

from __future__ import annotations

import csv
import io
import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import msgspec
import pytest

from proxy import money
from proxy.accounts.sessions import key_of
from proxy.dashboard import charts
from proxy.dashboard.pages.usage import safe
from proxy.ids import new_id
from proxy.records import Key, KeyLimits, Video
from proxy.store import ledger, videos
from tests.dashboard.conftest import Desk

HERE = "/dashboard/usage"
DOLLAR = money.NANO
FORMULA = '=HYPERLINK("http://x.example","hi")'


def table(page: str, caption: str) -> dict[str, list[str]]:
    """First cell -> the other cells of the table with this caption."""
    found = re.search(rf'<caption class="unseen">{caption}</caption>.*?<tbody>(.*?)</tbody>', page, re.S)
    assert found is not None, caption
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", found[1], re.S)
    ]
    cells = [[unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in rows]
    return {row[0]: row[1:] for row in cells}


async def ordered(desk: Desk, owner: Key, *, ago: float = 0, dollars: str | None = "1", **fields: Any) -> None:
    """A video that `owner` ordered `ago` seconds before now; without `dollars` nobody knows what it cost."""
    at = int(time.time() - ago)
    price = None if dollars is None else money.amount(dollars)
    failed = fields.pop("failed", False)
    plain = {"model": "sora-2", "upstream_model": "u", "channel": "secret-channel", "prompt": "p", "seconds": 4}
    video = Video(
        id=new_id("video"),
        tenant=owner.tenant,
        key_id=owner.id,
        size="1280x720",
        created_at=at,
        changed_at=at,
        stage="running",
        price=price,
        **{**plain, **fields},
    )
    ended = msgspec.structs.replace(
        video,
        stage="ended",
        status="failed" if failed else "completed",
        completed_at=None if failed else at,
        cost=0 if failed and price is not None else price,
    )

    def write(db: Any) -> None:
        videos.insert(db, video)
        ledger.note(db, None, video)
        ledger.note(db, video, videos.update(db, ended, None))

    await desk.product.core.store.write(write)


async def owner_of(desk: Desk, name: str) -> Key:
    user = await desk.accounts.users.find(name)
    assert user is not None
    return key_of(user)


async def key_for(desk: Desk, name: str | None, called: str, **limits: Any) -> Key:
    otto = await owner_of(desk, "otto")
    administration = desk.accounts.administration
    return (await administration.create_key(called, actor=otto, user=name, limits=KeyLimits(**limits)))[1]


async def csv_of(browser: Any, path: str) -> list[dict[str, str]]:
    answer = await browser.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


async def test_a_newcomer_is_told_what_to_do(desk: Desk) -> None:
    """No empty charts, but the way to a first video; the file has its heads."""
    anna = await desk.logged_in()
    page = (await anna.get(HERE)).text
    assert "Nothing was ordered in these days" in page
    assert 'role="img"' not in page
    assert await csv_of(anna, HERE + "?format=csv") == []


async def test_all_numbers_agree(desk: Desk) -> None:
    """The figures, each table and the file tell the same sums; the charts are described and have no inline style."""
    otto = await desk.logged_in("otto")
    annas, nobodys = await key_for(desk, "anna", "annas"), await key_for(desk, None, "nobodys")
    await ordered(desk, annas, dollars="0.10")
    await ordered(desk, annas, dollars="0.20", model="veo-3", seconds=8, ago=2 * 86_400)
    await ordered(desk, annas, dollars="9", failed=True)
    await ordered(desk, nobodys, dollars="0.000000001", channel="other", ago=86_400)
    await ordered(desk, await owner_of(desk, "anna"), dollars=None)
    await ordered(desk, annas, dollars="77", ago=31 * 86_400)
    page = (await otto.get(HERE)).text
    sums = {
        "Usage by day": 3,
        "Usage by model": 2,
        "Usage by channel": 2,
        "Usage by key": 3,
        "Usage by user": 2,
    }
    for caption, rows in sums.items():
        found = table(page, caption)
        assert len(found) == rows
        assert [sum(int(cells[place]) for cells in found.values()) for place in range(3)] == [5, 1, 20]
        assert sum(money.amount(cells[3].removeprefix("$")) for cells in found.values()) == 300_000_001
    assert re.search(r"<dt>Spent</dt><dd>\$0\.300000001</dd>", page)
    assert table(page, "Usage by user")["anna"] == ["4", "1", "16", "$0.30"]
    assert table(page, "Usage by key")["anna, in the dashboard"] == ["1", "0", "4", "$0.00"]
    rows = await csv_of(otto, HERE + "?format=csv")
    assert sum(money.amount(row["cost_usd"]) for row in rows) == 300_000_001
    assert {(row["user"], row["key"], row["channel"]) for row in rows} == {
        ("anna", "annas", "secret-channel"),
        ("anna", "anna, in the dashboard", "secret-channel"),
        ("nobodys (a key without a user)", "nobodys", "other"),
    }
    only = (await otto.get(f"{HERE}?tenant={nobodys.tenant}&days=7")).text
    assert re.search(r"<dt>Videos</dt><dd>1</dd>", only)
    drawn = re.findall(r'<svg width="100%"[^>]*role="img"[^>]*aria-labelledby="([^"]+)"', page)
    assert len(drawn) == 5
    for names in drawn:
        assert all(f'id="{name}"' in page for name in names.split())
    assert "style=" not in page


async def test_a_member_sees_only_its_own(desk: Desk) -> None:
    """No other's money, no channel, no name of another's key, in no page and no file; another tenant is a 404."""
    anna = await desk.logged_in()
    mine, theirs = await key_for(desk, "anna", "mine"), await key_for(desk, "otto", "theirs", budget=DOLLAR)
    await ordered(desk, mine, dollars="1.25")
    await ordered(desk, theirs, dollars="1000", model="their-model")
    rows = await csv_of(anna, HERE + "?format=csv&tenant=user_anna")
    assert [(row["key"], row["cost_usd"]) for row in rows] == [("mine", "1.25")]
    assert set(rows[0]) == {"day", "model", "key", "videos", "completed", "failed", "seconds", "cost_usd"}
    page = (await anna.get(HERE)).text
    assert table(page, "Usage by model") == {"sora-2": ["1", "0", "4", "$1.25"]}
    for word in ("secret-channel", "their-model", "theirs", "1000", "By channel", "By user", "otto"):
        assert word not in page
    answers = [await anna.get(f"{HERE}?tenant={tenant}") for tenant in ("user_otto", "admin", "nobody", "%00")]
    assert {(answer.status, re.sub(r"<code>[^<]*</code>", "", answer.text)) for answer in answers} == {
        (404, re.sub(r"<code>[^<]*</code>", "", answers[0].text))
    }
    otto = await desk.logged_in("otto")
    for tenant in ("nobody", "%00"):
        assert (await otto.get(f"{HERE}?tenant={tenant}")).status == 404


async def test_names_stay_text_and_no_formula_runs(desk: Desk) -> None:
    """In the chart, the table and the file, whatever a client called its model and a user its key."""
    anna = await desk.logged_in()
    key = await key_for(desk, "anna", "=1+1<script>alert(1)</script>")
    for model in (FORMULA, "  @SUM(A1)", "\t=x", "-2", "plain", "</svg><script>alert(1)</script>"):
        await ordered(desk, key, model=model)
    page = (await anna.get(HERE)).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    rows = await csv_of(anna, HERE + "?format=csv")
    cells = {row["model"] for row in rows} | {row["key"] for row in rows}
    assert f"'{FORMULA}" in cells
    assert "plain" in cells
    assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    assert [safe(text) for text in ("=a", "＝a", "\r=a", "a=", "")] == ["'=a", "'＝a", "'\r=a", "a=", ""]
    assert [safe(text) for text in ("a;=b", "a; +b;@c", "a;b-c")] == ["a;'=b", "a; '+b;'@c", "a;b-c"]


async def test_days_are_chosen(desk: Desk) -> None:
    """By a click or from a first to a last day, both with; what cannot be is told beside its field."""
    anna = await desk.logged_in()
    key, today = await key_for(desk, "anna", "k"), datetime.now(UTC).date()
    for days in (0, 6, 7, 29, 30, 89, 90):
        await ordered(desk, key, ago=days * 86_400)
    for query, videos_ in (
        ("days=7", 2),
        ("", 4),
        ("days=90", 6),
        ("days=x", 4),
        (f"from={today - timedelta(days=90)}&to={today - timedelta(days=30)}", 3),
        (f"from={today}", 1),
    ):
        answer = await anna.get(f"{HERE}?{query}")
        assert answer.status == 200
        assert f"<dt>Videos</dt><dd>{videos_}</dd>" in answer.text, query
    for query, field in (
        ("from=yesterday", "from"),
        ("from=0001-01-01", "from"),
        ("to=9999-12-31", "to"),
        (f"from={today}&to={today - timedelta(days=1)}", "to"),
        (f"from={today - timedelta(days=366)}&to={today}", "to"),
        ("from=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&format=csv", "from"),
    ):
        answer = await anna.get(f"{HERE}?{query}")
        assert answer.status == 422
        assert f'id="error-{field}"' in answer.text
        assert "<script>alert" not in answer.text


async def test_budgets_show_what_is_left(desk: Desk) -> None:
    """Of each live key with one, in its own period."""
    anna = await desk.logged_in()
    daily = await key_for(desk, "anna", "daily", budget=4 * DOLLAR, period="day")
    await key_for(desk, "anna", "nothing", budget=0)
    await key_for(desk, "anna", "free")
    await ordered(desk, daily, dollars="3.5")
    await ordered(desk, daily, dollars="3", ago=86_400)
    budgets = table((await anna.get(HERE)).text, "Budgets of keys")
    assert {name: cells[:3] for name, cells in budgets.items()} == {
        "daily": ["day", "$3.50 of $4.00", "$0.50"],
        "nothing": ["in all", "$0.00 of $0.00", "$0.00"],
    }
    page = (await anna.get(HERE)).text
    assert re.search(r'class="meter tone-warn"[^>]*aria-label="88 % spent".*?width="87\.5%"', page)
    assert 'aria-label="100 % spent"' in page


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 10, 99, 100, 101, 123_456_789, 2**61])
def test_a_chart_is_as_high_as_its_values(most: int) -> None:
    """Its top is a round number at or above the largest value, and nothing leaves it."""
    top = charts.scale(most)
    assert max(most, 2) <= top <= max(4 * most, 2)
    assert top % 2 == 0
    drawn = charts.columns([("a", 0), ("b", most), ("c", most // 3)], str)
    assert [tick.words for tick in drawn.ticks] == [str(top), str(top // 2), "0"]
    for column in drawn.columns:
        assert float(column.y) >= charts.HEAD - 0.1
        assert abs(float(column.y) + float(column.height) - drawn.base) < 0.2
    assert float(drawn.columns[0].height) == 0
    assert most == 0 or float(drawn.columns[1].height) >= 2


def test_the_longest_bars_are_shown_and_the_rest_together() -> None:
    """Nothing is left out of the sum; long names are cut to the room that they have."""
    points = [(f"model {number}", number) for number in range(40)]
    drawn = charts.bars(points, str, "All others")
    assert [bar.value for bar in drawn.bars[:2]] == ["39", "38"]
    assert [bar.label for bar in drawn.bars[-2:]] == ["model 32", "All others"]
    assert (drawn.bars[-1].width, len(drawn.bars)) == ("100%", charts.MOST_BARS + 1)
    assert sum(int(bar.value) for bar in drawn.bars) == sum(range(40))
    assert charts.bars([], str, "").height == 0
    assert charts.short("x" * 34) == "x" * 34
    assert charts.short("x" * 35) == "x" * 34 + "…"
    assert charts.short("字" * 18) == "字" * 17 + "…"
