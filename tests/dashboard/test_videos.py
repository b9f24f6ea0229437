"""The pages of videos: who sees what (P4, P5), the list with its filters, and what can be done with one video."""

from __future__ import annotations

import asyncio
import html
import re
from datetime import UTC, datetime, timedelta

import pytest

from proxy.dashboard.pages import videos as videos_page
from proxy.errors import Throttled, UpstreamRefused
from proxy.ids import new_id
from proxy.models import UpstreamJob
from proxy.store import listing
from tests.dashboard.conftest import Desk, Open
from tests.dashboard.filming import anonymous, doubtful, ended, link, listed, member, order, words

LIST = "/dashboard/videos"
PRICED = """
channels:
  - {name: a, type: lookup, models: [sora-2, sora-2-pro], poll_every: 0.02, price: {per_second: 0.25}, max_running: 1}
"""
SECRETIVE = """
channels:
  - {name: harbour-west, type: puppet, models: {sora-2: engine-room-9}, poll_every: 0.02, priority: 7,
     price: {per_second: 1}}
  - {name: harbour-east, type: lookup, models: {sora-2: engine-room-8}, poll_every: 0.02, priority: 3,
     price: {per_second: 2}}
"""
SECRETS = ("harbour", "engine-room", "up-5c01", "att_", "priority", "took no order", "still 3 of 9")


@pytest.fixture
async def priced(open_desk: Open) -> Desk:
    return await open_desk(PRICED)


# ---------------------------------------------------------------- who sees what


async def test_another_tenants_video_is_the_page_of_an_unknown_one(desk: Desk) -> None:
    """For a member, whatever is asked of it; an admin sees what happened to it, but acts on it no more than they."""
    anna, ben, otto = await desk.logged_in(), await member(desk, "ben"), await desk.logged_in("otto")
    theirs, nobodys = await order(anna), new_id("video")
    pages = [await ben.get(f"{LIST}/{one}") for one in (theirs, nobodys, "nonsense")]
    assert {page.status for page in pages} == {404}
    assert len({anonymous(page.text, theirs, nobodys, "nonsense") for page in pages}) == 1
    assert len({frozenset(page.headers) for page in pages}) == 1
    for browser in (ben, otto):
        for action in ("again", "delete"):
            answers = [await browser.submit(f"{LIST}/{one}/{action}", force="yes") for one in (theirs, nobodys)]
            assert [answer.status for answer in answers] == [404, 404]
            assert len({anonymous(answer.text, theirs, nobodys) for answer in answers}) == 1
    assert listed((await ben.get(f"{LIST}/rows?ids={theirs}")).text) == []
    assert listed((await ben.get(LIST + "?of=everyone&owner=anna")).text) == []
    assert theirs not in (await ben.get(f"{LIST}?key=anna&channel=a")).text
    assert (await desk.product.core.newest(theirs)).listed
    assert listed((await otto.get(LIST)).text) == listed((await anna.get(LIST)).text) == [theirs]
    assert listed((await otto.get(LIST + "?of=mine")).text) == []


async def test_an_admin_sees_the_facts_of_others_but_plays_only_their_own(open_desk: Open) -> None:
    """The page says so, has no player, and the content is not there for them either."""
    desk = await open_desk(PRICED)
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    video_id = await order(anna)
    await ended(desk, video_id)
    mine, others = await anna.get(f"{LIST}/{video_id}"), await otto.get(f"{LIST}/{video_id}")
    content = f"/v1/videos/{video_id}/content"
    assert (mine.status, others.status) == (200, 200)
    assert f'src="{content}"' in mine.text
    assert f'poster="{content}?variant=thumbnail"' in mine.text
    assert content not in others.text
    assert "Only its owner can play it." in words(others.text)
    assert "/again" not in others.text
    assert "/delete" not in others.text
    assert [(await browser.get(content)).status for browser in (anna, otto)] == [200, 404]


async def test_a_member_never_sees_who_makes_a_video(open_desk: Open) -> None:
    """No channel, upstream id or model, attempt, note or reason, in any state of a video; an admin sees all of them."""
    desk = await open_desk(SECRETIVE)
    anna, otto = await desk.logged_in(), await desk.logged_in("otto")
    west, east = desk.product.channel("harbour-west"), desk.product.channel("harbour-east")

    west.then("create", UpstreamRefused("it took no order"))
    east.then("create", UpstreamJob(id="up-5c01-done", status="completed"))
    done = await order(anna, "done")
    await ended(desk, done)
    west.then("create", UpstreamJob(id="up-5c01-failed", status="failed", error="The lamp up-5c01-failed fell over."))
    failed = await order(anna, "failed")
    await ended(desk, failed)
    unknown = await doubtful(desk, anna, "harbour-west")
    west.then("create", Throttled("still 3 of 9", retry_after=600))
    east.then("create", Throttled("still 3 of 9", retry_after=600))
    waiting = await order(anna, "waiting")
    await ended(desk, waiting, "waiting")

    ids = (done, failed, unknown, waiting)
    pages = [f"{LIST}/{one}" for one in ids] + [LIST, f"{LIST}/rows?ids={','.join(ids)}"]
    for page in pages:
        text = (await anna.get(page)).text
        assert [secret for secret in SECRETS if secret in text] == []
        assert all(secret in text for secret in ("waiting", "failed")) or "/video_" in page
    seen = " ".join([(await otto.get(page)).text for page in pages])
    assert [secret for secret in SECRETS if secret not in seen and secret not in ("att_", "still 3 of 9")] == []
    assert "Waiting for room" in words((await anna.get(f"{LIST}/{waiting}")).text)
    assert "never sent twice" in words((await anna.get(f"{LIST}/{unknown}")).text)
    assert "fell over" in (await anna.get(f"{LIST}/{failed}")).text


async def test_what_was_typed_stays_text(desk: Desk) -> None:
    """A prompt, a search and metadata that look like markup are shown as they are."""
    anna = await desk.logged_in()
    bad = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    video_id = await order(anna, bad, metadata={bad: bad})
    for path in (LIST, f"{LIST}/{video_id}", f"{LIST}?text=%22%3E%3Cscript%3E&model=%22%3E%3Cscript%3E&since=%22%3E"):
        text = (await anna.get(path)).text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert '"><script' not in text


# ---------------------------------------------------------------- the list


async def test_filters_are_the_address(open_desk: Open) -> None:
    """State, model, key, words of the prompt and day, each and together; `%` and `_` are what they are."""
    desk = await open_desk(PRICED.replace("max_running: 1", "max_running: null"))
    anna, ben, otto = await desk.logged_in(), await member(desk, "ben"), await desk.logged_in("otto")
    plain = await desk.product.key("phone", tenant="user_anna")
    fox, share = await order(anna, "A Fox at night"), await order(ben, "100%_sure", model="sora-2-pro")
    by_key = (await desk.product.create(key=plain, prompt="fox, by key"))["id"]
    for one in (fox, share, by_key):
        await ended(desk, one)
    lost = await doubtful(desk, otto, prompt="a fox is lost")
    newest_first = [lost, by_key, share, fox]
    today = (await desk.product.core.newest(lost)).created_at // 86_400 * 86_400
    day = datetime.fromtimestamp(today, UTC).date()
    for query, wanted in {
        "": newest_first,
        "text=FOX": [lost, by_key, fox],
        "text=fox&state=completed": [by_key, fox],
        "text=100%25_": [share],
        "text=_%25": [],
        "model=sora-2-pro": [share],
        "state=unknown": [lost],
        "state=nonsense": newest_first,
        "key=phone": [by_key],
        "key=anna": [fox],
        "owner=anna": [by_key, fox],
        "owner=nobody": [],
        "channel=a&owner=ben": [share],
        "channel=b": [],
        f"since={day}&until={day}": newest_first,
        f"since={day + timedelta(days=1)}": [],
        f"until={day - timedelta(days=1)}": [],
        "since=9999-99-99&until=x": newest_first,
        "after=nonsense&before=video_": newest_first,
    }.items():
        answer = await otto.get(f"{LIST}?{query}")
        assert (answer.status, listed(answer.text)) == (200, wanted), query
    counted = words((await otto.get(LIST + "?text=fox")).text)
    assert "All 3 Queued 0 In progress 0 Outcome unknown 1 Completed 2 Failed 0" in counted
    assert "No video is like that" in (await otto.get(LIST + "?text=zebra")).text
    assert 'value="FOX"' in (await otto.get(LIST + "?text=FOX&state=completed")).text


@pytest.mark.parametrize("stretch", [2, 3, 20_000])
@pytest.mark.parametrize("everyones", [True, False])
async def test_paging_shows_each_video_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, stretch: int, everyones: bool
) -> None:
    """To the end and back to the top, with a filter that most videos do not pass, however short one search is."""
    monkeypatch.setattr(videos_page, "PAGE", 2)
    monkeypatch.setattr(listing, "STRETCH", stretch)
    browser = await desk.logged_in("otto" if everyones else "anna")
    prompts = ["fox", "owl", "owl", "fox", "owl", "owl", "owl", "fox", "fox", "owl", "fox"]
    ids = [await order(browser, prompt) for prompt in prompts]
    wanted = [one for one, prompt in zip(ids, prompts, strict=True) if prompt == "fox"][::-1]

    async def walk(address: str, which: str) -> list[list[str]]:
        found = []
        next_: str | None = address
        while next_ is not None and len(found) < 20:
            text = (await browser.get(next_)).text
            found.append(listed(text))
            onward = re.search(r'href="([^"]*)">Search on<', text)
            last, next_ = (
                next_,
                link(text, which) or (html.unescape(onward[1]) if onward and which == "older" else None),
            )
            walked.append(last)
        return found

    walked: list[str] = []
    there = await walk(LIST + "?text=fox", "older")
    assert [one for page in there for one in page] == wanted
    back = await walk(walked[-1], "newer")
    assert [one for page in reversed(back) for one in page][:2] == wanted[:2]
    assert {one for page in back for one in page} == set(wanted)
    assert listed((await browser.get(LIST)).text) == ids[::-1][:2]


async def test_rows_that_are_not_finished_are_looked_at_again(priced: Desk) -> None:
    """They are marked for the script, which gets them anew; a finished one is marked no more."""
    anna = await priced.logged_in()
    going = asyncio.get_running_loop().create_future()
    priced.product.channel("a").then("fetch", going)
    video_id = await order(anna)
    assert f'data-unfinished="{video_id}"' in (await anna.get(LIST)).text
    assert "data-refresh" in (await anna.get(f"{LIST}/{video_id}")).text
    going.set_result(UpstreamJob(id="x", status="completed"))
    await ended(priced, video_id)
    rows = (await anna.get(f"{LIST}/rows?ids={video_id},nonsense,{new_id('video')}")).text
    assert listed(rows) == [video_id]
    assert "data-unfinished" not in rows
    assert "data-refresh" not in (await anna.get(f"{LIST}/{video_id}")).text


# ---------------------------------------------------------------- one video


async def test_its_cost_is_told_in_words(priced: Desk) -> None:
    """What was reserved, settled for less, and refunded, with the sum."""
    anna = await priced.logged_in()
    channel = priced.product.channel("a")
    channel.then("create", UpstreamJob(id="1", status="completed", delivered=2))
    short = await order(anna, seconds=4)
    await ended(priced, short)
    channel.then("create", UpstreamJob(id="2", status="failed", error="no"))
    failed = await order(anna, "fails", seconds=8)
    await ended(priced, failed)
    told = words((await anna.get(f"{LIST}/{short}")).text)
    assert re.search(
        r"\$0\.50 final Cost Reserved for what was ordered .* \+ \$1\.00 Settled: less was delivered", told
    )
    assert re.search(r"-\$0\.50 Sum \$0\.50", told)
    told = words((await anna.get(f"{LIST}/{failed}")).text)
    assert re.search(
        r"\$0\.00 nothing was charged Cost .* \+ \$2\.00 Refunded: it ended without a result .* -\$2\.00", told
    )
    assert "Its provider could not make it. Try again" in told


async def test_trying_again_orders_the_same_once(priced: Desk) -> None:
    """The form sent twice is one order, the page loaded anew another; a remix starts from the same source."""
    anna = await priced.logged_in()
    channel = priced.product.channel("a")
    first = await order(anna, "a red kite", seconds=8, size="1280x720", seed=7, metadata={"take": 2}, style="noir")
    await ended(priced, first)

    async def once(video_id: str) -> str:
        found = re.search(r'name="once" value="([^"]+)"', (await anna.get(f"{LIST}/{video_id}")).text)
        assert found is not None
        return found[1]

    mark = await once(first)
    answers = [await anna.submit(f"{LIST}/{first}/again", once=mark) for _ in range(2)]
    assert [answer.status for answer in answers] == [303, 303]
    assert answers[0].location == answers[1].location
    second = answers[0].location.removeprefix(LIST + "/")
    await ended(priced, second)
    assert (await anna.submit(f"{LIST}/{first}/again", once=await once(first))).location != answers[0].location
    asked = channel.asked("create")
    assert len(asked) == 3
    for name in ("prompt", "model", "seconds", "size", "seed", "metadata"):
        assert len({repr(getattr(request, name)) for request in asked}) == 1
    assert asked[0].metadata == {"take": 2, "style": "noir"}
    shown = html.unescape((await anna.get(f"{LIST}/{second}")).text)
    for line in ('"seconds": "8"', '"size": "1280x720"', '"seed": 7', '"take": 2', '"style": "noir"'):
        assert line in shown


async def test_what_was_made_from_a_picture_cannot_be_repeated_without_it(priced: Desk) -> None:
    """The page says so instead of ordering another video, and has no button."""
    anna = await priced.logged_in()
    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
        "gg=="
    )
    video_id = await order(anna, input_reference={"image_url": pixel})
    await ended(priced, video_id)
    text = (await anna.get(f"{LIST}/{video_id}")).text
    assert "are not kept after the end" in text
    assert f'href="/dashboard?from={video_id}"' in text
    assert f"{video_id}/again" not in text
    assert (await anna.submit(f"{LIST}/{video_id}/again", once="x")).status == 404
    assert len(priced.product.channel("a").asked("create")) == 1


async def test_a_refusal_of_the_new_order_is_told_on_the_page(priced: Desk) -> None:
    """With the upstream's words, and nothing is lost."""
    anna = await priced.logged_in()
    video_id = await order(anna)
    await ended(priced, video_id)
    await priced.product.reload("channels: [{name: other, type: puppet, models: [sora-9]}]")
    answer = await anna.submit(f"{LIST}/{video_id}/again", once="x")
    assert answer.status == 404
    assert 'role="alert"' in answer.text
    assert "sora-2" in answer.text


async def test_cancelling_and_deleting(open_desk: Open) -> None:
    """A waiting one costs nothing; a provider that can stops; one that cannot goes on unless it is forced."""
    desk = await open_desk(PRICED + "  - {name: b, type: puppet, models: [sora-3], price: {per_second: 1}}\n")
    anna = await desk.logged_in()
    channel = desk.product.channel("a")
    channel.then("fetch", *[asyncio.get_running_loop().create_future() for _ in range(2)])
    running, waiting = await order(anna, "runs"), await order(anna, "waits")
    await ended(desk, waiting, "waiting")
    assert "nothing is charged" in (await anna.get(f"{LIST}/{waiting}")).text
    assert (await anna.submit(f"{LIST}/{waiting}/delete")).location == LIST
    assert (await anna.submit(f"{LIST}/{running}/delete")).location == LIST
    assert len(channel.asked("cancel")) == len(channel.asked("create")) == 1
    assert [(await ended(desk, one, "deleted")).charge for one in (running, waiting)] == [0, 0]

    desk.product.channel("b").then("fetch", asyncio.get_running_loop().create_future())
    stubborn = await order(anna, model="sora-3", seconds=4)
    answer = await anna.submit(f"{LIST}/{stubborn}/delete")
    assert answer.status == 400
    assert "It cannot be stopped" in answer.text
    assert 'name="force"' in answer.text
    assert (await desk.product.core.newest(stubborn)).listed
    assert (await anna.submit(f"{LIST}/{stubborn}/delete", force="yes")).location == LIST
    assert (await ended(desk, stubborn, "deleted")).charge == 4 * 10**9
    assert (await anna.get(f"{LIST}/{stubborn}")).status == 404
