"""What must not end a background task, leak a place or strand a video: full disks, plugins' own mistakes, reloads."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy import config
from proxy.app import WIRING, reload
from proxy.engine import Core, polling, recovery, waiting
from proxy.errors import AccountRefused, Throttled, UpstreamError, UpstreamTimeout
from proxy.models import UpstreamJob
from proxy.records import Video
from proxy.store import StoreBusy
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parent / "plugins",)

ONE = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01}]"
LOOKUP = "server: {unknown_grace: 30}\nchannels: [{name: a, type: lookup, models: [sora-2], poll_every: 0.01}]"
PAIR = """
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10, max_running: 1, poll_every: 0.01}
  - {name: b, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}
"""
NARROW = "channels: [{name: a, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}]"


def core_of(product: Product) -> Core:
    engine = product.server.app[WIRING].engine
    assert engine is not None
    return engine._core


async def reloaded(product: Product, text: str) -> None:
    parsed = await asyncio.to_thread(config.parse, text, Path("channels.yaml"), {})
    await reload(product.server.app, parsed)


async def reaches(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


def refuse_writes(
    product: Product, monkeypatch: pytest.MonkeyPatch, when: Callable[[Video], bool], times: int = 1
) -> list[Video]:
    """Let the store be busy for the next `times` changes that `when` picks."""
    store = core_of(product).store
    change = store.change
    hit: list[Video] = []

    async def busy(video: Video, **kwargs: Any) -> Video:
        if len(hit) < times and when(video):
            hit.append(video)
            raise StoreBusy("the disk is full", retry_after=5)
        return await change(video, **kwargs)

    monkeypatch.setattr(store, "change", busy)
    return hit


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again after a fault is tried soon."""
    monkeypatch.setattr(polling, "ERROR_WAIT_MOST", 0.1)
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(waiting, "LOOK_AGAIN", 0.05)


# ---------------------------------------------------------------- a store that cannot write for a moment


async def test_a_full_disk_does_not_lose_what_a_look_up_found(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider said that it has the job: the video goes on when the disk has room again."""
    product = await launch(LOOKUP, plugins=PLUGINS)
    channel = product.channel("a")
    hit = refuse_writes(product, monkeypatch, lambda video: video.stage == "running")
    channel.then("create", UpstreamTimeout("slow"))
    channel.then("recover", *[UpstreamJob(id="found", status="in_progress")] * 3)
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(hit) == 1


async def test_a_full_disk_does_not_strand_an_unknown_outcome(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the grace time is written later, not never."""
    product = await launch("server: {unknown_grace: 0.1}\n" + ONE, plugins=PLUGINS)
    hit = refuse_writes(product, monkeypatch, lambda video: video.status == "failed")
    product.channel("a").then("create", UpstreamTimeout("slow"))
    video = await product.create()
    assert (await product.done(video["id"]))["error"]["code"] == "outcome_unknown"
    assert len(hit) == 1


async def test_a_full_disk_does_not_strand_a_poll_timeout(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that could not be written is reached again."""
    product = await launch(ONE.replace("poll_every", "poll_timeout: 0.1, poll_every"), plugins=PLUGINS)
    hit = refuse_writes(product, monkeypatch, lambda video: video.status == "failed")
    product.channel("a").then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 1000)
    video = await product.create()
    assert (await product.done(video["id"]))["error"]["code"] == "poll_timeout"
    assert len(hit) == 1


async def test_a_full_disk_costs_no_place(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting video whose attempt could not be recorded was not submitted, keeps no place, and goes later."""
    product = await launch(NARROW, plugins=PLUGINS)
    channel = product.channel("a")
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", going)
    first, second = await product.create(), await product.create()
    hit = refuse_writes(product, monkeypatch, lambda video: video.stage == "submitting", times=2)
    going.set_result(UpstreamJob(id="x", status="completed"))
    for video in (first, second):
        assert (await product.done(video["id"]))["status"] == "completed"
    assert len(hit) == 2
    assert len(channel.asked("create")) == 2


# ---------------------------------------------------------------- plugins' own mistakes


async def test_a_look_up_that_answers_nonsense_is_tried_again(launch: Launch) -> None:
    """What `recover` answers beside a job, ABSENT and None is a plugin's mistake, not the video's end."""
    product = await launch(LOOKUP, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("create", UpstreamTimeout("slow"))
    channel.then("recover", "no job at all", asyncio.CancelledError(), UpstreamJob(id="found", status="in_progress"))
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"


async def test_a_plugins_cancelled_work_is_an_unknown_outcome(launch: Launch) -> None:
    """A CancelledError out of a plugin (its pool was closed) is no shutdown: the video does not stay on its way."""
    product = await launch("server: {unknown_grace: 0.1}\n" + NARROW, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("create", asyncio.CancelledError())
    video = await product.create()
    assert (await product.done(video["id"]))["error"]["code"] == "outcome_unknown"
    assert (await product.done((await product.create())["id"]))["status"] == "completed"


async def test_facts_that_cannot_be_stored_do_not_strand_a_paid_video(launch: Launch) -> None:
    """A job that the store cannot hold goes on by its id alone: it is paid for, whatever else came with it."""
    with pytest.raises(UpstreamError, match="facts"):
        UpstreamJob(id="x", facts={"lock": object()})
    with pytest.raises(UpstreamError, match="expires_at"):
        UpstreamJob(id="x", expires_at=1e30)
    product = await launch("server: {unknown_grace: 0.1}\n" + NARROW, plugins=PLUGINS)
    channel = product.channel("a")
    unstorable = UpstreamJob(id="x", status="in_progress")
    object.__setattr__(unstorable, "facts", {"lock": object()})
    channel.then("create", unstorable)
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    assert channel.asked("fetch")[0].id == "x"
    assert (await product.done((await product.create())["id"]))["status"] == "completed"


async def test_a_check_that_breaks_does_not_block_the_queue(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's bug fails the video that met it; those behind it go on, and no place is lost."""
    product = await launch(NARROW, plugins=PLUGINS)
    channel = product.channel("a")
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", going)
    first, second, third = [await product.create(prompt=word) for word in ("one", "two", "three")]

    def check(request: Any) -> None:
        if request.prompt == "two":
            raise KeyError("a bug")

    monkeypatch.setattr(channel, "check", check)
    going.set_result(UpstreamJob(id="x", status="completed"))
    assert (await product.done(first["id"]))["status"] == "completed"
    assert (await product.done(third["id"]))["status"] == "completed"
    assert (await product.done(second["id"]))["error"]["code"] in ("upstream_error", "upstream_failed")
    assert core_of(product).places["a"] == set()


async def test_a_check_that_breaks_on_the_next_channel_strands_nothing(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug met while moving on to another channel is told; the place there is free again."""
    product = await launch(PAIR, plugins=PLUGINS)

    def check(request: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(product.channel("b"), "check", check)
    product.channel("a").then("create", AccountRefused("No money."))
    status, body, headers = await product.call("POST", "/v1/videos", json={"prompt": "x"})
    assert (status, body["error"]["code"], headers["x-should-retry"]) == (502, "upstream_error", "false")
    assert (await product.call("GET", "/v1/videos"))[1]["data"] == []
    assert core_of(product).places["a"] == core_of(product).places["b"] == set()


# ---------------------------------------------------------------- the queue


async def test_a_deleted_video_leaves_the_queue(launch: Launch) -> None:
    """Deleting what waits makes room for others at once, not when a channel gets free."""
    product = await launch("server: {max_queued: 1}\n" + NARROW, plugins=PLUGINS)
    product.channel("a").then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 10_000)
    await product.create()
    for _ in range(3):
        waits = await product.create()
        assert (await product.call("POST", "/v1/videos", json={"prompt": "x"}))[0] == 429
        assert (await product.call("DELETE", f"/v1/videos/{waits['id']}"))[0] == 200


async def test_a_queued_remix_of_a_deleted_video_says_so(launch: Launch) -> None:
    """The source went while its remix waited: the remix fails at its turn, instead of being sent over and over."""
    product = await launch(NARROW, plugins=PLUGINS)
    channel = product.channel("a")
    source = await product.create()
    await product.done(source["id"])
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", going)
    await product.create()
    status, remix, _ = await product.call("POST", f"/v1/videos/{source['id']}/remix", json={"prompt": "at night"})
    assert (status, remix["status"]) == (200, "queued")
    assert (await product.call("DELETE", f"/v1/videos/{source['id']}"))[0] == 200
    going.set_result(UpstreamJob(id="x", status="completed"))
    failed = await product.done(remix["id"])
    assert "has been deleted" in failed["error"]["message"]
    assert channel.asked("remix") == []


# ---------------------------------------------------------------- reloads


async def test_no_submission_to_a_channel_that_was_switched_off(launch: Launch) -> None:
    """A refused submission does not move on to a channel that a reload has switched off meanwhile."""
    product = await launch(PAIR, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    ordering = asyncio.create_task(product.call("POST", "/v1/videos", json={"prompt": "x"}))
    await reaches(lambda: bool(product.channel("a").asked("create")))
    stale = product.channel("b")
    await reloaded(product, PAIR.replace("name: b,", "name: b, enabled: false,"))
    word.set_exception(AccountRefused("No money."))
    assert (await ordering)[0] == 502
    assert stale.asked("create") == product.channel("b").asked("create") == []


async def test_a_submission_moves_on_to_the_channel_as_it_is_now(launch: Launch) -> None:
    """A channel that a reload rebuilt is used with its new credential, not its old one."""
    product = await launch(PAIR, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    ordering = asyncio.create_task(product.create())
    await reaches(lambda: bool(product.channel("a").asked("create")))
    stale = product.channel("b")
    await reloaded(product, PAIR.replace("name: b,", "name: b, api_key: new-key,"))
    word.set_exception(AccountRefused("No money."))
    video = await ordering
    assert (await product.done(video["id"]))["status"] == "completed"
    assert stale.asked("create") == []
    assert len(product.channel("b").asked("create")) == 1


async def test_fifty_reloads_under_orders(launch: Launch) -> None:
    """Channels rebuilt while orders run: every accepted video ends, once, and no place is left taken."""
    product = await launch(NARROW.replace("max_running: 1", "max_running: 2"), plugins=PLUGINS)
    made = []
    channels = [product.channel("a")]
    for turn in range(50):
        video, _ = await asyncio.gather(
            product.create(prompt=f"{turn}"),
            reloaded(product, NARROW.replace("max_running: 1", f"max_running: 2, api_key: key-{turn}")),
        )
        made.append(video["id"])
        channels.append(product.channel("a"))
    for video_id in made:
        assert (await product.done(video_id))["status"] == "completed"
    prompts = [request.prompt for channel in channels for request in channel.asked("create")]
    assert sorted(prompts) == sorted(str(turn) for turn in range(50))
    assert core_of(product).places["a"] == set()


# ---------------------------------------------------------------- clocks and timeouts


async def test_one_bad_poll_after_a_long_stop_fails_nothing(launch: Launch, tmp_path: Path) -> None:
    """The process was down for longer than poll_timeout: a missed first poll is no verdict on a paid render."""
    text = ONE.replace("poll_every", "poll_timeout: 0.3, poll_every")
    product = await launch(text, plugins=PLUGINS)
    product.channel("a").then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 3)
    video = await product.create()
    await product.session.close()
    await product.server.close()
    await asyncio.sleep(0.4)
    product = await launch(text, plugins=PLUGINS)
    product.channel("a").then("fetch", UpstreamError("HTML"))
    assert (await product.done(video["id"]))["status"] == "completed"


async def test_a_clock_that_steps_back_stops_nothing(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls that are due and videos that wait go on although the wall clock was set back by a day."""
    product = await launch(ONE.replace("0.01", "0.2"), plugins=PLUGINS)
    core = core_of(product)
    runs = await product.create()
    product.channel("a").then("create", Throttled("Busy.", retry_after=0.1))
    waits = await product.create()
    clock = core.clock
    monkeypatch.setattr(core, "clock", lambda: clock() - 86_400)
    core.throttled.clear()
    for video in (runs, waits):
        # Not asked for over HTTP: a watched video would be polled anew.
        async with asyncio.timeout(10):
            while (await core.newest(video["id"])).status != "completed":  # type: ignore[union-attr]
                await asyncio.sleep(0.01)


async def test_a_stop_has_one_grace(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders and submissions that hang share the grace of a stop; they do not get one each."""
    product = await launch("server: {submit_wait: 60}\n" + ONE, plugins=PLUGINS)
    core = core_of(product)
    channel = product.channel("a")
    channel.then("create", asyncio.get_running_loop().create_future())
    ordering = asyncio.create_task(product.call("POST", "/v1/videos", json={"prompt": "x"}))
    await reaches(lambda: bool(channel.asked("create")))
    finish = core.finish_tasks
    given: list[float] = []

    async def recorded(self: Core, prefix: str, seconds: float) -> None:
        given.append(seconds)
        await finish(prefix, seconds)

    monkeypatch.setattr(Core, "finish_tasks", recorded)
    await product.server.app[WIRING].engine.stop(0.5)  # type: ignore[union-attr]
    assert given[0] == 0.5
    assert given[1] < 0.1
    ordering.cancel()
