"""Server-sent events of a video, through the product: what is told, to whom, and after a cut (P5, P6)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest

from proxy.api import events
from proxy.engine import watching
from proxy.errors import InvalidRequest
from proxy.models import JobError, UpstreamJob
from proxy.records import Video
from tests.api.eventsource import (
    ONE,
    PLUGINS,
    Event,
    Parser,
    Stream,
    Upstream,
    check_history,
    current,
    engine_of,
    reaches,
    retrieved,
    unsigned,
    version,
    watch,
)
from tests.conftest import ADMIN_KEY, Launch

# ---------------------------------------------------------------- what is told


def test_the_parser_of_these_tests_is_one() -> None:
    """It reads what the examples of the standard mean, however the bytes are cut."""
    text = (
        "\ufeff: a comment\nretry: 10000\n\ndata: YHOO\ndata: +2\r\ndata:10\r\rid: 1\nevent: add\ndata:  x\n\n"
        "data\n\ndata\ndata\n\nid\ndata:y\nunknown: z\n\nid: 4\ndata: cut off"
    ).encode()
    for size in (1, 2, 3, len(text)):
        parser = Parser()
        found = [event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])]
        assert found == [
            ("message", "YHOO\n+2\n10", ""),
            ("add", " x", "1"),
            ("message", "", "1"),
            ("message", "\n", "1"),
            ("message", "y", ""),
        ]
        assert (parser.comments, parser.retry, parser.last_event_id) == (1, 10000, "")


async def test_each_state_is_told_once_until_the_last(launch: Launch) -> None:
    """Each event is what retrieve answers at that moment; what cannot be seen is no event; the end is clean."""
    product = await launch(ONE, plugins=PLUGINS)
    upstream = Upstream(product)
    video = await product.create(metadata={"note": "two\nlines\r\u2028and more"})
    async with watch(product, video["id"]) as stream:
        seen = [await stream.next()]
        assert seen[0].video == await retrieved(product, video["id"])
        for progress in (10, 55):
            # The first of them is news; the others only make new versions of the row.
            for _ in range(3):
                upstream.says("in_progress", progress)
            seen.append(await stream.next())
            assert seen[-1].video == await retrieved(product, video["id"])
            assert seen[-1].video["progress"] == progress
        upstream.says("completed")
        seen += await stream.rest()
    last = await retrieved(product, video["id"])
    assert unsigned(seen[-1].video) == unsigned(last)
    assert seen[-1].video["video_url"].startswith(f"{product.url}/v1/videos/{video['id']}/content?")
    assert [event.type for event in seen] == ["video.in_progress"] * 3 + ["video.completed"]
    check_history(seen)
    assert stream.parser.retry == events.RHYTHM.retry * 1000
    assert version(seen[-1]) - version(seen[0]) > len(seen)


async def test_a_failure_is_an_event(launch: Launch) -> None:
    """A video that fails ends the stream with its error."""
    product = await launch(ONE, plugins=PLUGINS)
    upstream = Upstream(product)
    video = await product.create()
    async with watch(product, video["id"]) as stream:
        await stream.next()
        upstream.says("failed", error=JobError("moderation_blocked", "No."))
        (failed,) = await stream.rest()
    assert (failed.type, failed.video["error"]) == ("video.failed", {"code": "moderation_blocked", "message": "No."})
    assert failed.video == await retrieved(product, video["id"])


async def test_a_deletion_is_an_event(launch: Launch) -> None:
    """Who watches a video that is deleted is told what the DELETE answers; afterwards it is unknown here too."""
    product = await launch(ONE, plugins=PLUGINS)
    Upstream(product)
    video = await product.create()
    async with watch(product, video["id"]) as stream:
        first = await stream.next()
        status, answer, _ = await product.call("DELETE", f"/v1/videos/{video['id']}?force=true")
        assert status == 200
        (deleted,) = await stream.rest()
    assert (deleted.type, deleted.video) == ("video.deleted", answer)
    check_history([first, deleted])
    assert (await product.call("GET", f"/v1/videos/{video['id']}/events"))[0] == 404


async def test_a_refused_create_is_gone(launch: Launch) -> None:
    """A video that was listed while its upstream thought about it, and that it then refused, is no longer there."""
    product = await launch(ONE, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    creating = asyncio.create_task(product.call("POST", "/v1/videos", json={"prompt": "x"}))
    while not (listed := (await product.call("GET", "/v1/videos"))[1]["data"]):
        await asyncio.sleep(0.01)
    async with watch(product, listed[0]["id"]) as stream:
        assert (await stream.next()).type == "video.queued"
        word.set_exception(InvalidRequest("Too long.", param="seconds"))
        assert [event.type for event in await stream.rest()] == ["video.deleted"]
    assert (await creating)[0] == 400


# ---------------------------------------------------------------- coming back


async def test_coming_back_tells_only_what_changed(launch: Launch) -> None:
    """With the id of the last event: nothing before something visible changes; without it: the state at once."""
    product = await launch(ONE, plugins=PLUGINS)
    upstream = Upstream(product)
    video = await product.create()
    path = f"{product.url}/v1/videos/{video['id']}/events"
    async with watch(product, video["id"]) as stream:
        first = known = await stream.next()
    # A browser keeps the header up to date, but the address stays what it was.
    for progress, header, query in ((20, True, None), (30, False, "newest"), (40, True, "stale")):
        upstream.says("in_progress", known.video["progress"])
        while (await current(product, video["id"])).version == version(known):
            await asyncio.sleep(0.01)
        asked = "" if query is None else f"?last_event_id={(first if query == 'stale' else known).last_event_id}"
        async with Stream(product.session, path + asked, last=known.last_event_id if header else None) as stream:
            upstream.says("in_progress", progress)
            news = await stream.next()
        check_history([known, news], ended=False)
        assert news.video["progress"] == progress
        known = news
    async with watch(product, video["id"]) as stream:
        assert (await stream.next()).data == known.data


async def test_an_older_state_is_not_told(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that finds what was before, because another process is ahead of this one's memory, says nothing."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(look=0.01))
    product = await launch(ONE, plugins=PLUGINS)
    upstream = Upstream(product)
    video = await product.create()
    before = await current(product, video["id"])
    async with watch(product, video["id"]) as stream:
        upstream.says("in_progress", 20)
        while (first := await stream.next()).video["progress"] != 20:
            pass
        engine = engine_of(product)
        look, olds = engine.watching.look, 0

        async def stale(video_id: str) -> Video | None:
            nonlocal olds
            olds += 1
            return before if olds <= 3 else await look(video_id)

        monkeypatch.setattr(engine.watching, "look", stale)
        await reaches(lambda: olds > 3)
        upstream.says("completed")
        rest = await stream.rest()
        check_history([first, *rest])
        assert len(rest) == 1


@pytest.mark.parametrize(
    "strange", ["999999-0123456789ab", "7", "x" * 5000, "1-ABCDEF012345", "１-0123456789ab", "-1-"]
)
async def test_a_strange_id_is_none(launch: Launch, strange: str) -> None:
    """What is no id of ours, or one that this store has not reached, gets the state at once."""
    product = await launch(ONE, plugins=PLUGINS)
    Upstream(product)
    video = await product.create()
    async with watch(product, video["id"], last=strange) as stream:
        assert (await stream.next()).type == "video.in_progress"


@pytest.mark.parametrize("end", ["completed", "failed"])
async def test_a_finished_video_is_told_once(launch: Launch, end: str) -> None:
    """One event and the end; whoever has had it is told by a 204 not to come back, also when the row changes unseen."""
    product = await launch(ONE, plugins=PLUGINS)
    product.channel("a").then("fetch", UpstreamJob(id="up-1", status=end))
    video = await product.done((await product.create())["id"])
    async with watch(product, video["id"]) as stream:
        (event,) = await stream.rest()
    assert (event.type, unsigned(event.video)) == (f"video.{end}", unsigned(video))
    for method in ("GET", "HEAD"):
        # Under another name the link is another one, which is no change of the video.
        path, headers = f"/v1/videos/{video['id']}/events", {"Last-Event-ID": event.last_event_id, "Host": "other"}
        assert (await product.call(method, path, headers=headers))[:2] == (204, b"")
        await product.core.move(video["id"], lambda current: current)
    async with watch(product, video["id"], last="1-0123456789ab") as stream:
        (again,) = await stream.rest()
    assert (again.type, unsigned(again.video)) == (event.type, unsigned(event.video))


async def test_nothing_is_missed_whatever_is_cut(launch: Launch) -> None:
    """Connections that break after any byte: what was seen in all is a history that moves forward to its end."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    product = await launch(ONE, plugins=PLUGINS)
    for _ in range(6):
        # The polls go on by themselves, so that changes and cuts meet anywhere.
        steps = sorted(chance.choices(range(100), k=40))
        end = chance.choice(["completed", "failed"])
        words = [UpstreamJob(id="up-1", status="in_progress", progress=step) for step in steps]
        product.channel("a").then("fetch", *words, UpstreamJob(id="up-1", status=end))
        video = await product.create()
        seen: list[Event] = []
        last, cuts = "", 0
        while True:
            async with watch(product, video["id"], last=last) as stream:
                if stream.response.status == 204:
                    break
                going = True
                left = chance.randrange(1, 3000)
                while going and left > 0:
                    going = await stream.read(min(left, chance.randrange(1, 400)))
                    left -= chance.randrange(1, 400)
                seen += stream.taken()
                last = stream.parser.last_event_id or last
                cuts += going
        check_history(seen)
        assert seen[-1].type == f"video.{end}", f"seed {seed}"
        assert unsigned(seen[-1].video) == unsigned(await retrieved(product, video["id"]))
        assert cuts, f"seed {seed}"


# ---------------------------------------------------------------- whose it is


async def test_someone_elses_is_unknown(launch: Launch) -> None:
    """Foreign, deleted, unknown and impossible ids answer retrieve's 404 to the letter; no key is a 401."""
    product = await launch(ONE, plugins=PLUGINS)
    key = await product.key("other")
    ids = [(await product.create())["id"] for _ in range(2)]
    await product.done(ids[1])
    assert (await product.call("DELETE", f"/v1/videos/{ids[1]}"))[0] == 200
    for video_id, asker in ((ids[0], key), (ids[1], ADMIN_KEY), ("video_unknown", ADMIN_KEY), ("no%20id", ADMIN_KEY)):
        for method in ("GET", "HEAD"):
            path = f"/v1/videos/{video_id}"
            there = await product.call(method, path, key=asker)
            here = await product.call(method, path + "/events", key=asker, headers={"Last-Event-ID": "1-0123456789ab"})
            assert here[:2] == there[:2]
            assert here[0] == 404
            assert {name: here[2][name] for name in here[2] if name not in ("x-request-id", "date")} == {
                name: there[2][name] for name in there[2] if name not in ("x-request-id", "date")
            }
    assert (await product.call("GET", f"/v1/videos/{ids[0]}/events", key=None))[0] == 401
    assert len(engine_of(product).watching) == 0


async def test_a_revoked_key_ends_its_streams(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends, cleanly, and whoever comes back with the key is refused; other keys' streams go on."""
    monkeypatch.setattr(events, "RHYTHM", events.Rhythm(look=0.05))
    product = await launch(ONE, plugins=PLUGINS)
    upstream = Upstream(product)
    plain = await product.key("gone", tenant="admin")
    video = await product.create()
    async with watch(product, video["id"], key=plain) as stream, watch(product, video["id"]) as other:
        await stream.next()
        await other.next()
        await product.core.store.revoke_key("gone", int(time.time()))
        assert await stream.rest() == []
        upstream.says("completed")
        assert (await other.next()).type == "video.completed"
    assert (await product.call("GET", f"/v1/videos/{video['id']}/events", key=plain))[0] == 401


def test_the_page_names_every_event() -> None:
    """docs/events.md has each event's name and our times."""
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
    names = [f"video.{word}" for word in ("queued", "in_progress", "completed", "failed", "deleted")]
    assert [name for name in names if f"`{name}`" not in page] == []
    for words in (f"every {events.RHYTHM.heartbeat:.0f} s", f"{watching.MOST:,} streams", f"{watching.MOST_OF_ONE} of"):
        assert words in page
    for example in page.split("data: ")[1:]:
        assert json.loads(example.split("\n")[0])
