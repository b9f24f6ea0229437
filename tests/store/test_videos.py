"""Videos, attempts and Idempotency-Keys in the store."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ids import new_id
from proxy.models import JobError, UpstreamJob
from proxy.records import STAGES, Attempt, Character, Order, StoredInput
from proxy.store import StaleVideo, Store, StoreBusy, videos
from proxy.store.recent import Recent
from tests.store.facts import fact, state


async def test_every_field_survives_the_file(store, video_of):
    """What was accepted is read back equal, field by field, from the file and from the cache."""
    job = UpstreamJob(
        id="up-1",
        status="failed",
        progress=40,
        url="https://cdn.example/1.mp4?a=b",
        error=JobError("expired", "gone"),
        expires_at=1_800_000_500.0,
        facts={"region": "eu", "parts": [1, {"deep": None}], "wide": 2**60, "half": 0.5},
        poll_after=2.5,
    )
    order = Order(
        extension_seconds=4,
        images=(StoredInput(file="a.png", media_type="image/png", width=3, height=2, url="https://x.example"),),
        video=StoredInput(file="b.mp4", media_type="video/mp4", filename="mine.mp4"),
        characters=("char_1",),
        audio=False,
        seed=0,
        negative_prompt="rain",
        metadata={"k": [1, "é", None]},
        adjusted="seconds=4",
        reimagine=True,
    )
    full = video_of(
        kind="remix",
        stage="ended",
        status="failed",
        progress=40,
        prompt="nul \x00, quote ' \" ; -- , smile \U0001f600, line\n",
        completed_at=1_800_000_100,
        expires_at=1_800_000_500,
        source_id="video_0",
        error_code="expired",
        error_message="it's gone",
        metadata=b'{"a":1}',
        order=order,
        job=job,
        attempt_id="att_1",
        fingerprint=bytes(range(32)),
        answered=True,
        changed_at=1.25,
        submit_after=2.5,
        holder=7,
        replaces_id="video_1",
        replaced_by_id="video_2",
        price=1_200_000_000,
        cost=900_000_000,
    )
    assert {name for name in full.__struct_fields__ if getattr(full, name) == getattr(video_of(id=full.id), name)} <= {
        "id", "tenant", "key_id", "model", "upstream_model", "channel", "seconds", "size", "created_at", "version",
    }  # fmt: skip
    await store.accept(full)
    assert store.cached(full.id) == full
    assert await store.video(full.id) == full

    bare = video_of()
    await store.accept(bare)
    assert await store.video(bare.id) == bare
    assert await store.video("video_unknown") is None
    assert store.cached("video_unknown") is None


async def test_change_stores_every_field_that_may_change(store, video_of):
    """A change writes all fields but those that are fixed at birth, and `answered`."""
    first = video_of()
    await store.accept(first)
    wanted = msgspec.structs.replace(
        first,
        model="sora-2-pro",
        upstream_model="lumen-2",
        channel="other",
        stage="running",
        status="in_progress",
        progress=7,
        prompt="another",
        seconds=8,
        size="720x1280",
        completed_at=5,
        expires_at=6,
        source_id="video_x",
        error_code="expired",
        error_message="words",
        metadata=b"{}",
        order=Order(seed=3),
        job=UpstreamJob(id="up", facts={"a": 1}),
        attempt_id="att_9",
        changed_at=9.5,
        submit_after=8.5,
        answered=True,
        replaced_by_id="video_y",
        price=5,
        cost=4,
    )
    changed = await store.change(wanted)
    assert changed == msgspec.structs.replace(wanted, version=1, answered=False)
    assert await store.video(first.id) == changed
    assert store.cached(first.id) == changed


async def test_stale_change_is_refused_whole(store, video_of):
    """A change from an older version raises StaleVideo and keeps neither the video nor the attempt of it."""
    first = video_of()
    await store.accept(first)
    second = await store.change(msgspec.structs.replace(first, progress=10))
    late = Attempt(id=new_id("att"), video_id=first.id, channel=first.channel, started_at=1.0)
    with pytest.raises(StaleVideo):
        await store.change(msgspec.structs.replace(first, progress=99), attempt=late)
    with pytest.raises(StaleVideo):
        await store.change(video_of())
    assert await store.video(first.id) == second
    assert await store.attempts(first.id) == []


async def test_concurrent_changes_of_one_version_have_one_winner(store, video_of):
    """Of 50 simultaneous changes made from one version exactly one is stored."""
    first = video_of()
    await store.accept(first)
    outcomes = await asyncio.gather(
        *(store.change(msgspec.structs.replace(first, progress=n)) for n in range(50)), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if not isinstance(outcome, StaleVideo)]
    assert len(winners) == 1
    assert await store.video(first.id) == winners[0]


async def test_mark_answered_survives_changes_and_close(tmp_path, store, video_of):
    """A mark bumps no version, is not undone by a change from an older video, and is on the disk after a close."""
    video, idle = video_of(fingerprint=b"p"), video_of(fingerprint=b"q")
    await store.accept(video)
    await store.accept(idle)
    store.mark_answered(video.id)
    changed = await store.change(msgspec.structs.replace(video, progress=5))
    assert (changed.version, changed.answered) == (1, True)
    assert await store.video(video.id) == changed
    store.mark_answered(idle.id)
    assert store.cached(idle.id).answered
    await store.close()

    again = await Store.open(tmp_path / "reelgate.db")
    assert (await again.video(video.id)).answered
    assert await again.video(idle.id) == msgspec.structs.replace(idle, answered=True)
    await again.close()


async def test_an_idle_writer_flushes_marks_by_itself(store, video_of, monkeypatch):
    """A mark is written although no other commit follows."""
    video = video_of()
    await store.accept(video)
    monkeypatch.setattr("proxy.store.writer.IDLE_FLUSH", 0.0)
    store.mark_answered(video.id)
    while store._writer._task is None:
        await asyncio.sleep(0)
    await store._writer._task
    assert (await store.video(video.id)).answered


async def test_resent_finds_the_newest_unanswered_match(store, video_of):
    """`resent` answers the newest listed, unanswered video of the key and fingerprint that is young enough."""
    same = {"fingerprint": b"p" * 32}
    made = [video_of(**same, created_at=1000 + n) for n in range(4)]
    await store.accept(video_of(**same, key_id="key_b"))
    await store.accept(video_of(fingerprint=b"other"))
    for video in made:
        await store.accept(video)
    assert await store.resent("key_a", b"p" * 32, 1000) == made[3]
    store.mark_answered(made[3].id)
    assert await store.resent("key_a", b"p" * 32, 1000) == made[2]
    await store.change(msgspec.structs.replace(made[2], stage="refused"))
    assert await store.resent("key_a", b"p" * 32, 1000) == made[1]
    assert await store.resent("key_a", b"p" * 32, 1001) == made[1]
    assert await store.resent("key_a", b"p" * 32, 1002) is None
    assert await store.resent("key_c", b"p" * 32, 0) is None


async def test_what_each_stage_counts_as(store, video_of):
    """Unfinished, waiting, listed and pinned hold exactly the stages that the records say."""
    each = {stage: video_of(stage=stage, channel=stage) for stage in STAGES}
    for video in reversed(each.values()):
        await store.accept(video)
    unfinished = ["waiting", "submitting", "unknown", "running"]
    assert await store.unfinished() == [each[stage] for stage in unfinished]
    assert await store.read(videos.waiting) == 1
    listed = [video for video in each.values() if video.listed]
    assert await store.videos("tenant-a", after=None, limit=100, newest_first=False) == listed
    assert await store.pins() == {video.channel: 1 for video in listed}


async def test_tenants_do_not_share_a_list(store, video_of):
    """A tenant's list has its own videos only."""
    mine, theirs = video_of(), video_of(tenant="tenant-b")
    await store.accept(mine)
    await store.accept(theirs)
    assert await store.videos("tenant-a", after=None, limit=9, newest_first=True) == [mine]
    assert await store.videos("tenant-b", after=mine.id, limit=9, newest_first=False) == [theirs]


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 25),
    limit=st.integers(1, 7),
    newest_first=st.booleans(),
    doomed=st.sets(st.integers(0, 24)),
    seed=st.integers(0, 999),
)
def test_pages_show_each_video_once(tmp_path_factory, video_of, count, limit, newest_first, doomed, seed):
    """Walking a list by pages shows every video that stays exactly once, in order, also while others are deleted."""

    chance = random.Random(seed)

    async def walk():
        store = await Store.open(tmp_path_factory.mktemp("pages") / "reelgate.db")
        made = [video_of() for _ in range(count)]
        await asyncio.gather(*(store.accept(video) for video in made))
        going = [made[n] for n in doomed if n < count]
        chance.shuffle(going)
        seen, after = [], None
        while page := await store.videos("tenant-a", after=after, limit=limit, newest_first=newest_first):
            assert len(page) <= limit
            seen += [video.id for video in page]
            assert len(seen) <= count
            after = seen[-1]
            # The cursor itself may go too.
            for _ in range(chance.randint(0, 2)):
                if going:
                    await store.change(msgspec.structs.replace(going.pop(), stage="deleted"))
        await store.close()
        return [video.id for video in made], {made[n].id for n in doomed if n < count}, seen

    order, gone, seen = asyncio.run(walk())
    if newest_first:
        order = order[::-1]
    assert [id_ for id_ in order if id_ in set(seen)] == seen
    assert set(order) - gone <= set(seen)


async def test_two_stores_on_one_file(tmp_path, store, video_of):
    """What one store commits the other reads at once, and a change from the older copy is refused, then works."""
    other = await Store.open(tmp_path / "reelgate.db")
    video = video_of()
    await store.accept(video)
    mine = await other.video(video.id)
    assert mine == video
    theirs = await store.change(msgspec.structs.replace(video, progress=3))
    assert other.cached(video.id) == video
    with pytest.raises(StaleVideo):
        await other.change(msgspec.structs.replace(mine, progress=4))
    assert other.cached(video.id) is None
    assert await other.video(video.id) == theirs
    await other.change(msgspec.structs.replace(theirs, progress=5))
    assert (await store.video(video.id)).progress == 5

    # Writers of two connections interleave: each waits for the other's lock.
    both = [video_of() for _ in range(60)]
    await asyncio.gather(*((store, other)[n % 2].accept(each) for n, each in enumerate(both)))
    assert len(await store.unfinished()) == 61
    await other.close()


async def test_the_cache_is_bounded_and_never_goes_back(store, video_of):
    """The cache keeps the last used within its bounds and refuses an older version than it has."""
    recent = Recent(entries=3, memory=1_000_000)
    four = [video_of() for _ in range(4)]
    for video in four[:3]:
        recent.put(video)
    recent.get(four[0].id)
    recent.put(four[3])
    assert [bool(recent.get(video.id)) for video in four] == [True, False, True, True]
    recent.put(msgspec.structs.replace(four[3], version=2))
    recent.put(four[3])
    assert recent.get(four[3].id).version == 2

    small = Recent(entries=1000, memory=20_000)
    for _ in range(50):
        small.put(video_of(prompt="x" * 5_000))
    assert len(small._videos) == 3
    huge = video_of(prompt="x" * 50_000)
    small.put(huge)
    assert list(small._videos) == [huge.id]


async def test_characters_are_kept(store):
    """A character is read back as it was stored; an unknown id is None."""
    character = Character(id=new_id("char"), tenant="t", channel="lumen", upstream_id="up-7", name="Kit", created_at=5)
    await store.add_character(character)
    assert await store.character(character.id) == character
    assert await store.character("char_none") is None


async def test_settings_are_kept(store):
    """A setting is None until set, then its newest value."""
    assert await fact(store, "installed") is None
    await state(store, "installed", "1")
    await state(store, "installed", "2")
    assert await fact(store, "installed") == "2"


async def test_reads_cannot_write(store):
    """The connection for reads refuses to change anything."""
    with pytest.raises(StoreBusy, match="readonly"):
        await store._reading.run(lambda db: db.execute("DELETE FROM videos"))


async def test_memory_never_shows_less_than_the_file_did(store, video_of, monkeypatch):
    """A change that a list has shown already, because it is in the file a moment before its commit is known here, is
    what a look at the video itself shows too; a list fills no memory."""
    video, other = video_of(stage="running"), video_of()
    await store.accept(video)
    run, known = store._writing.run, asyncio.Event()

    async def told_late(function):
        done = await run(function)
        await known.wait()
        return done

    monkeypatch.setattr(store._writing, "run", told_late)
    changing = asyncio.create_task(store.change(msgspec.structs.replace(video, progress=50)))
    async with asyncio.timeout(20):
        while (await store.videos("tenant-a", after=None, limit=9, newest_first=True))[0].progress == 0:
            pass
    shown = store.cached(video.id)
    known.set()
    assert await changing == shown
    assert shown.progress == 50
    await store.accept(other)
    store._recent.clear()
    assert len(await store.videos("tenant-a", after=None, limit=9, newest_first=True)) == 2
    assert store.cached(video.id) is None
