"""The demo channel over time: states and progress, trouble on demand, restarts and kills."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from proxy import RateLimited, UpstreamError, UpstreamGone, UpstreamJob, UpstreamRefused
from proxy.plans import survey
from tests.plugins.demo_bench import (
    Start,
    ask,
    decoded,
    difference,
    ended,
    film,
    guarded,
    module,
    photograph,
    pictured,
    starter,
    stored,
    until,
)

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[None]:
    """Blocking calls in the event loop raise, those of the plugin too."""
    with guarded():
        yield


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts demo channels on one folder."""
    async with starter(tmp_path / "demo") as started:
        yield started


# ---------------------------------------------------------------- states


async def test_progress_is_real(start: Start) -> None:
    """Progress never falls, is seen between its ends while the loop goes on, and ends at 100."""
    channel = await start()
    job = await channel.create(ask(size="480x640", seconds=3))
    seen = [(job.status, job.progress)]
    async with asyncio.timeout(60):
        while job.status != "completed":
            await asyncio.sleep(0)
            job = await channel.fetch(job)
            seen.append((job.status, job.progress))
    progress = [number for _, number in seen]
    assert progress == sorted(progress)
    assert len(set(progress) - {0, 99, 100}) >= 5
    assert progress[-1] == 100
    order = {"queued": 0, "in_progress": 1, "completed": 2}
    assert [order[status] for status, _ in seen] == sorted(order[status] for status, _ in seen)


async def test_renders_are_bounded(start: Start) -> None:
    """With two workers a third film waits, and starts when one of the two is cancelled."""
    channel = await start()
    jobs = [await channel.create(ask("[slow]", f"attempt_{number}", seconds=20)) for number in range(3)]
    first = await until(channel, jobs[0], "in_progress")
    await until(channel, jobs[1], "in_progress")
    third = await channel.fetch(jobs[2])
    assert (third.status, third.progress) == ("queued", 0)
    await channel.cancel(first)
    await until(channel, third, "in_progress")
    last = await channel.create(ask("[slow]", "attempt_4", seconds=20))
    await channel.cancel(last)
    assert (await channel.fetch(last)).status == "failed"


async def test_cancel_and_delete_leave_nothing(start: Start) -> None:
    """After a cancel or a delete no file of the job is left, and its content is gone."""
    channel = await start()
    slow = await until(channel, await channel.create(ask("[slow]", seconds=20)), "in_progress")
    await channel.cancel(slow)
    done = await ended(channel, await channel.create(ask(attempt="attempt_2")))
    await channel.content(done, "thumbnail")
    await channel.delete(done)
    assert await asyncio.to_thread(lambda: list(channel.folder.iterdir())) == []
    assert (await channel.fetch(slow)).status == "failed"
    for variant in ("video", "thumbnail", "spritesheet"):
        with pytest.raises(UpstreamGone):
            await channel.content(done, variant)


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("a cat [fail]", "upstream_failed"),
        ("[FAIL]", "upstream_failed"),
        ("x" * 31_000 + "[moderate]", "moderation_blocked"),
    ],
)
async def test_films_that_fail_as_asked(start: Start, prompt: str, code: str) -> None:
    """[fail] and [moderate] are accepted and end failed, with their code and a sentence, and leave no film."""
    channel = await start()
    job = await channel.create(ask(prompt))
    assert job.status != "failed"
    job = await ended(channel, job)
    assert job.error is not None
    assert (job.status, job.error.code) == ("failed", code)
    assert job.error.message.endswith(".")
    assert not await asyncio.to_thread(lambda: list(channel.folder.glob("*.mp4")) + list(channel.folder.glob("*.part")))


async def test_trouble_is_not_inherited(start: Start) -> None:
    """Trouble is what this prompt asks for, not what its source asked for."""
    channel = await start()
    source = await channel.create(ask("a cat [fail]"))
    remix = await channel.remix(ask("a dog", "attempt_2", kind="remix"), source)
    assert (await ended(channel, remix)).status == "completed"


async def test_throttled_as_asked(start: Start) -> None:
    """[429] is refused before anything is kept, and says when to come back."""
    channel = await start()
    with pytest.raises(RateLimited) as caught:
        await channel.create(ask("[429] a cat"))
    assert (caught.value.retry_after, caught.value.status) == (1, 429)
    assert not await asyncio.to_thread(channel.folder.exists)


async def test_slow_is_slow(start: Start) -> None:
    """[slow] waits, frame by frame, five seconds for each second of film."""
    channel = await start()
    job = await channel.create(ask("[slow]", size="64x64", seconds=4))
    pauses: list[float] = []

    class Clock:
        def pause(self, seconds: float) -> None:
            pauses.append(seconds)

        def tell(self, done: int, of: int) -> None:
            assert len(pauses) == done

    await asyncio.to_thread(channel._work(job.id, job.facts), Clock())
    assert len(pauses) == 96
    assert sum(pauses) == pytest.approx(20)


async def test_render_that_cannot_be_written_fails(start: Start) -> None:
    """A render that the disk refuses ends failed with a sentence that names no path."""
    channel = await start(rendering=1)
    blocker = await channel.create(ask("[slow]", "attempt_0", seconds=20))
    job = await channel.create(ask(images=(pictured(photograph()),)))
    await asyncio.to_thread((channel.folder / f"{job.id}.png").unlink)
    await channel.cancel(blocker)
    job = await ended(channel, job)
    assert job.error is not None
    assert job.error.message == "The demo channel cannot render: No such file or directory."


# ---------------------------------------------------------------- survival


async def test_closing_ends_renders_without_failing_them(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Close stops what renders and what waits; nothing is called failed, and the next channel finishes all."""
    monkeypatch.setattr(module("demo"), "SLOW", 1e6)
    channel = await start(rendering=1)
    jobs = [await channel.create(ask("[slow] kite", f"attempt_{number}")) for number in range(3)]
    renders = [channel._renders.get(job.id) for job in jobs]
    await channel.close()
    async with asyncio.timeout(30):
        await asyncio.wait([asyncio.wrap_future(render.future) for render in renders])
    for job in jobs:
        with pytest.raises(UpstreamError):
            await channel.fetch(job)
    with pytest.raises(UpstreamRefused):
        await channel.create(ask(attempt="late"))
    for attempt in ("attempt_1", "late"):
        with pytest.raises(UpstreamError):
            await channel.recover(ask("[slow] kite", attempt))
    monkeypatch.setattr(module("demo"), "SLOW", 0)
    again = await start()
    for job in jobs:
        assert (await ended(again, await again.fetch(stored(job)))).status == "completed"
    assert not list(await asyncio.to_thread(lambda: list(again.folder.glob("*.part"))))


async def test_starting_leaves_the_renders_of_a_running_channel_alone(start: Start) -> None:
    """A reload starts the new channel before it closes the old one: what that renders meanwhile is whole."""
    channel = await start()
    job = await until(channel, await channel.create(ask(size="320x480", seconds=3)), "in_progress")
    await start()
    assert len(await film(channel, job)) == 72


KILLED = """
import asyncio, sys, msgspec
from pathlib import Path
from tests.plugins.demo_bench import ask, demo, photograph, pictured, until

async def main():
    channel = demo(Path(sys.argv[1]), rendering=1)
    await channel.start()
    jobs = [await channel.create(ask("[slow] a kite", "attempt_1", seconds=20, images=(pictured(photograph()),)))]
    jobs.append(await channel.create(ask("[slow] a kite", "attempt_2", seconds=2)))
    await until(channel, jobs[0], "in_progress")
    print(msgspec.json.encode(jobs).decode(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_killed_process_loses_nothing(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `kill -9` in the middle of a render the next process finishes the stored jobs, and no litter stays."""
    folder = tmp_path / "demo"

    def until_killed() -> list[UpstreamJob]:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        return msgspec.json.decode(line, type=list[UpstreamJob])

    jobs = await asyncio.to_thread(until_killed)
    assert await asyncio.to_thread(lambda: list(folder.glob("*.part")))
    monkeypatch.setattr(module("demo"), "SLOW", 0)
    channel = await start()
    assert not await asyncio.to_thread(lambda: list(folder.glob("*.part")))
    first, second = [await film(channel, await channel.fetch(job)) for job in jobs]
    assert (len(first), len(second)) == (480, 48)
    assert difference(first[0], photograph()) < 6


async def test_finished_films_are_found_after_a_restart(start: Start) -> None:
    """A finished film is completed at once in the next process and not rendered again; its facts are small JSON."""
    channel = await start()
    job = await ended(channel, await channel.create(ask("q" * 32_000)))
    assert len(json.dumps(dict(job.facts))) < 2000
    path = (await channel.content(job, "video")).path
    made = await asyncio.to_thread(lambda: path.stat().st_mtime_ns)
    again = await start()
    assert (await again.fetch(stored(job))).status == "completed"
    assert await asyncio.to_thread(lambda: path.stat().st_mtime_ns) == made


async def test_lost_films_are_rendered_again(start: Start) -> None:
    """The facts alone bring a film back: the same pictures."""
    channel = await start()
    job = await ended(channel, await channel.create(ask()))
    path = (await channel.content(job, "video")).path
    before = await asyncio.to_thread(decoded, path)
    await asyncio.to_thread(shutil.rmtree, channel.folder)
    again = await start()
    after = await film(again, await again.fetch(stored(job)))
    assert max(difference(one, other) for one, other in zip(before, after, strict=True)) < 0.01


def test_missing_pyav_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyAV `reelgate check` and the start name the line of the entry and the command that helps."""
    monkeypatch.setitem(sys.modules, "av", None)
    file = tmp_path / "channels.yaml"
    file.write_text("channels:\n- name: films\n  type: demo\n", "utf-8")
    (mistake,) = survey(file, {}).mistakes
    assert mistake == (
        f"{file}:3: channels[0].type (channel films): the plugin demo needs the module av, which is not installed: run "
        "pip install 'reelgate[media]'"
    )
