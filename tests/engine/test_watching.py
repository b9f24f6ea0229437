"""Who watches is woken, sees the newest state, misses nothing, and is forgotten when it leaves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.engine import watching as module
from proxy.engine.watching import Watcher, Watching
from proxy.errors import RateLimited
from proxy.records import Video

LONG = 60.0
"""Seconds for which nothing but a wake-up is waited for."""


class Shelf:
    """The newest states; `looks` counts who asked for them."""

    def __init__(self) -> None:
        self.videos: dict[str, Video] = {}
        self.looks: Counter[str] = Counter()
        self.watching = Watching(self.look)

    async def look(self, video_id: str) -> Video | None:
        self.looks[video_id] += 1
        await asyncio.sleep(0)
        return self.videos.get(video_id)

    def put(self, video_id: str = "video_1", *, tenant: str = "anna", tell: bool = True) -> Video:
        """Make the next version of a video."""
        known = self.videos.get(video_id)
        video = (
            replace(known, version=known.version + 1)
            if known is not None
            else Video(
                id=video_id,
                tenant=tenant,
                key_id="key",
                model="m",
                upstream_model="m",
                channel="a",
                prompt="",
                seconds=4,
                size="720x1280",
                created_at=1,
            )
        )
        self.videos[video_id] = video
        if tell:
            self.watching.changed(video)
        return video


async def version(watcher: Watcher) -> int:
    async with asyncio.timeout(10):
        video = await watcher.next(LONG)
    assert video is not None
    return video.version


async def idles(watcher: Watcher) -> bool:
    """Whether nothing wakes the watcher within some turns of the loop."""
    waiting = asyncio.create_task(watcher.next(LONG))
    for _ in range(20):
        await asyncio.sleep(0)
    idle = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return idle


async def test_the_first_look_is_at_once_and_then_nothing_until_a_change() -> None:
    """What changed before the watcher began is in its first look; many changes at once are one wake-up."""
    shelf = Shelf()
    watcher = shelf.watching.watch(shelf.put())
    shelf.put()
    async with watcher:
        assert watcher.video.version == 0
        assert await version(watcher) == 1
        assert await idles(watcher)
        for _ in range(1000):
            shelf.put()
        assert await version(watcher) == 1001
        assert await idles(watcher)
        assert shelf.looks["video_1"] == 2
        shelf.put("video_2")
        assert await idles(watcher)


async def test_a_change_during_a_look_is_not_missed() -> None:
    """A state that was read before a change is followed by the one after it."""
    shelf = Shelf()
    async with shelf.watching.watch(shelf.put()) as watcher:
        await version(watcher)
        shelf.put()
        looking = asyncio.create_task(watcher.next(LONG))
        while shelf.looks["video_1"] < 2:
            await asyncio.sleep(0)
        shelf.put()
        await looking
        assert await version(watcher) == 2


async def test_time_is_a_reason_to_look_too() -> None:
    """Without a change, the state is looked at after the given seconds; a video that is gone is None."""
    shelf = Shelf()
    async with shelf.watching.watch(shelf.put()) as watcher:
        await version(watcher)
        shelf.put(tell=False)
        found = await watcher.next(0.01)
        assert found is not None
        assert found.version == 1
        shelf.videos.clear()
        assert await watcher.next(0.01) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), readers=st.integers(1, 5), changes=st.integers(1, 40))
def test_every_watcher_sees_the_last_state(seed: int, readers: int, changes: int) -> None:
    """However changes and looks meet: each history moves forward and ends with the newest state."""

    async def run() -> None:
        chance = random.Random(seed)
        shelf = Shelf()
        first = shelf.put()

        async def read() -> None:
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            seen = []
            async with shelf.watching.watch(shelf.videos[first.id]) as watcher:
                while not seen or seen[-1] < changes:
                    seen.append(await version(watcher))
                    for _ in range(chance.randrange(4)):
                        await asyncio.sleep(0)
            assert seen == sorted(seen)

        reading = [asyncio.create_task(read()) for _ in range(readers)]
        for _ in range(changes):
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            shelf.put()
        await asyncio.gather(*reading)
        assert len(shelf.watching) == 0

    asyncio.run(run())


async def test_nobody_watching_costs_nothing() -> None:
    """A change of a video that nobody watches looks nowhere; of those who left nothing is kept."""
    shelf = Shelf()
    first = shelf.put()
    assert len(shelf.watching) == 0
    with pytest.raises(ZeroDivisionError):
        async with shelf.watching.watch(first), shelf.watching.watch(shelf.put("video_2")):
            assert len(shelf.watching) == 2
            raise ZeroDivisionError
    shelf.put()
    shelf.watching.changed_elsewhere()
    assert shelf.looks.total() == 0
    assert len(shelf.watching) == 0
    assert shelf.watching._watchers == {}
    assert shelf.watching._tenants == {}
    assert shelf.watching._elsewhere is None


async def test_there_is_a_bound_in_all_and_for_one_tenant() -> None:
    """Beyond it one is refused, with a time to come again, and changes nothing; there is room when one has left."""
    shelf = Shelf()
    shelf.watching.most, shelf.watching.most_of_one = 3, 2
    mine, theirs = shelf.put("video_1", tenant="anna"), shelf.put("video_2", tenant="bert")
    async with shelf.watching.watch(mine), shelf.watching.watch(mine):
        with pytest.raises(RateLimited) as refused:
            await shelf.watching.watch(mine).__aenter__()
        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after <= 60
        async with shelf.watching.watch(theirs):
            with pytest.raises(RateLimited):
                await shelf.watching.watch(theirs).__aenter__()
            assert len(shelf.watching) == 3
        async with shelf.watching.watch(theirs):
            pass
    async with shelf.watching.watch(mine), shelf.watching.watch(mine):
        pass


async def test_another_process_wakes_everybody_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """All who watch look again, once for many writes, and again for the next ones."""
    monkeypatch.setattr(module, "ELSEWHERE", 0.01)
    shelf = Shelf()
    async with (
        shelf.watching.watch(shelf.put("video_1")) as one,
        shelf.watching.watch(shelf.put("video_2")) as two,
    ):
        assert await asyncio.gather(version(one), version(two)) == [0, 0]
        for turn in (1, 2):
            shelf.put("video_1", tell=False)
            shelf.put("video_2", tell=False)
            for _ in range(100):
                shelf.watching.changed_elsewhere()
            assert await asyncio.gather(version(one), version(two)) == [turn, turn]
            assert await idles(one)
        assert shelf.looks == {"video_1": 3, "video_2": 3}


async def test_closing_wakes_everybody_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a change is told; who waits for something else is broken off, without an error; who comes later is
    told too."""
    monkeypatch.setattr(module, "FAREWELL", 0.02)
    shelf = Shelf()
    steps = []

    async def polite() -> None:
        async with shelf.watching.watch(shelf.put()) as watcher:
            while not watcher.closed:
                await version(watcher)
            steps.append("polite")

    async def stuck() -> None:
        async with shelf.watching.watch(shelf.put()):
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("broken off")
        steps.append("went on")

    tasks = [asyncio.create_task(polite()), asyncio.create_task(stuck())]
    while len(shelf.watching) < 2:
        await asyncio.sleep(0)
    shelf.watching.changed_elsewhere()
    shelf.watching.close()
    shelf.watching.close()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
        assert steps == ["polite", "broken off", "went on"]
        steps.clear()
        await asyncio.gather(polite(), stuck())
    assert steps == ["polite", "broken off", "went on"]
    assert len(shelf.watching) == 0


async def test_a_cancellation_is_not_swallowed() -> None:
    """A watcher whose task is cancelled for another reason ends as cancelled."""
    shelf = Shelf()

    async def wait() -> None:
        async with shelf.watching.watch(shelf.put()):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    while not len(shelf.watching):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(shelf.watching) == 0
