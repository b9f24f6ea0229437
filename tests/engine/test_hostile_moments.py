"""Hostile plugins, upstreams, clocks and tables of descriptors: each harms at most its own video."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from proxy import Channel
from proxy.engine import polling, recovery, requests, submissions, waiting
from proxy.errors import InvalidRequest, Throttled, UpstreamError, UpstreamTimeout
from proxy.models import UpstreamJob, VideoRequest
from tests.conftest import Launch, Product
from tests.engine.deleting import COMPLETED, PLUGINS, RUNNING, Word, asked_for, delete, word
from tests.engine.doubts import pending, resolve

PAIR = """
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10, max_running: 1, poll_every: 0.01}
  - {name: b, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}
"""
HANGS = """
server: {submit_wait: 0.05, unknown_grace: 0.1}
channels:
  - {name: a, type: lookup, models: [sora-2], max_running: 1, poll_every: 0.01, timeout: {total: 0.02}}
"""
ONE = "channels: [{name: a, type: lookup, models: [sora-2], poll_every: 0.01}]"
UPSTREAM_ID = "task-secretid-1"
HOUR = 3600.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried soon, and a plugin that hangs is soon given up."""
    monkeypatch.setattr(polling, "ERROR_WAIT_MOST", 0.1)
    monkeypatch.setattr(polling, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(waiting, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(submissions, "REQUEUE_FIRST", 0.05)
    monkeypatch.setattr(requests, "SLACK", 0.02)
    monkeypatch.setattr(recovery, "SLACK", 0.02)


# ---------------------------------------------------------------- plugins that hang


async def test_a_create_that_hangs_is_an_unknown_outcome(launch: Launch) -> None:
    """A plugin that never comes back from `create` is given up, its place is free, and nothing is sent again."""
    product = await launch(HANGS, plugins=PLUGINS)
    hangs = word()
    product.channel("a").then("create", hangs)
    video = await product.create(prompt="hangs")
    assert (await product.done(video["id"]))["error"]["code"] == "outcome_unknown"
    assert hangs.cancelled()
    assert asked_for(product, "hangs") == 1
    assert (await product.done((await product.create())["id"]))["status"] == "completed"


async def test_a_create_that_hangs_does_not_keep_a_tripped_channel_shut(launch: Launch) -> None:
    """The probe of a breaker that hangs counts as a failure, and the next one is let through in its time."""
    text = HANGS.replace("poll_every", "breaker: {failures: 1, pause: 0.05}, poll_every")
    product = await launch(text, plugins=PLUGINS)
    product.channel("a").then("create", UpstreamTimeout("slow"), word())
    failing = await product.create()
    probe = await product.create(prompt="hangs")
    for video in (failing, probe):
        assert (await product.done(video["id"]))["error"]["code"] == "outcome_unknown"
    assert (await product.done((await product.create())["id"]))["status"] == "completed"


async def test_a_look_up_that_hangs_does_not_outlast_the_grace(launch: Launch) -> None:
    """Plugins that never come back from `recover` are given up one after the other, and the grace time ends."""
    product = await launch(HANGS, plugins=PLUGINS)
    product.channel("a").then("create", UpstreamTimeout("slow"))
    product.channel("a").then("recover", *[word() for _ in range(1000)])
    video = await product.create()
    assert (await product.done(video["id"]))["error"]["code"] == "outcome_unknown"
    assert (await product.done((await product.create())["id"]))["status"] == "completed"


# ---------------------------------------------------------------- another channel's refusals


async def filled(product: Product, channel: str) -> Word:
    """The channel's only place is taken until the word is given."""
    going = word()
    product.channel(channel).then("fetch", going)
    await product.create(metadata={"channel": channel})
    return going


Refuse = Callable[..., None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Let the plugins of these channels take no prompt that says "no", also those that a reload makes."""

    def begin(*channels: str) -> None:
        def check(channel: Channel, request: VideoRequest) -> None:
            if channel.name in channels and "no" in request.prompt:
                raise InvalidRequest("This channel takes no such prompt.", param="prompt")

        monkeypatch.setattr(Channel, "check", check)

    return begin


async def test_a_long_retry_after_holds_up_no_other_channel(launch: Launch) -> None:
    """A channel that is throttled for an hour holds up neither the video that it refused nor those behind it."""
    product = await launch(PAIR, plugins=PLUGINS)
    going = await filled(product, "b")
    product.channel("a").then("create", Throttled("Busy.", retry_after=HOUR))
    refused, behind = await product.create(prompt="refused"), await product.create(prompt="behind")
    assert [request.prompt for request in product.channel("a").asked("create")] == ["refused"]
    going.set_result(COMPLETED)
    for video in (refused, behind):
        assert (await product.done(video["id"]))["status"] == "completed"
    assert len(product.channel("a").asked("create")) == 1


async def test_a_channel_that_cannot_take_it_is_passed_over(launch: Launch, refuse: Refuse) -> None:
    """While the other one has no room the video waits for it: the client is not told the refusal of one of them."""
    product = await launch(PAIR, plugins=PLUGINS)
    going = await filled(product, "a")
    refuse("b")
    video = await product.create(prompt="no")
    going.set_result(COMPLETED)
    assert (await product.done(video["id"]))["status"] == "completed"
    assert asked_for(product, "no") == 1
    assert product.channel("b").asked("create") == []
    assert product.core.places["b"] == set()


async def test_a_throttled_video_is_not_refused_by_the_next_channel(launch: Launch, refuse: Refuse) -> None:
    """Throttled by one channel and not to the taste of the other, it waits until the first takes it."""
    product = await launch(PAIR, plugins=PLUGINS)
    product.channel("a").then("create", Throttled("Busy.", retry_after=0.1))
    refuse("b")
    video = await product.create(prompt="no")
    assert (await product.done(video["id"]))["status"] == "completed"
    assert asked_for(product, "no") == 2
    assert product.channel("b").asked("create") == []


async def test_a_channel_that_came_later_fails_nothing_that_waits(launch: Launch, refuse: Refuse) -> None:
    """What was accepted for one channel is not failed by the check of another that a reload brought."""
    product = await launch(PAIR.replace("name: b,", "name: b, enabled: false,"), plugins=PLUGINS)
    going = await filled(product, "a")
    video = await product.create(prompt="no")
    refuse("b")
    await product.reload(PAIR)
    other = await product.create(metadata={"channel": "b"})
    assert (await product.done(other["id"]))["status"] == "completed"
    assert (await product.call("GET", f"/v1/videos/{video['id']}"))[1]["status"] == "queued"
    going.set_result(COMPLETED)
    assert (await product.done(video["id"]))["status"] == "completed"


async def test_what_one_channel_cannot_take_holds_up_nothing_behind_it(launch: Launch, refuse: Refuse) -> None:
    """A video that must wait for the one channel that takes it keeps no other of its key from the idle one."""
    product = await launch(PAIR, plugins=PLUGINS)
    words = [await filled(product, name) for name in ("a", "b")]
    waits, behind = await product.create(prompt="no"), await product.create(prompt="yes")
    refuse("b")
    words[1].set_result(COMPLETED)
    assert (await product.done(behind["id"]))["status"] == "completed"
    words[0].set_result(COMPLETED)
    assert (await product.done(waits["id"]))["status"] == "completed"


async def test_a_video_that_no_channel_takes_is_a_bad_request(launch: Launch, refuse: Refuse) -> None:
    """Where every channel refuses, the client is told so at once, and nothing is stored, sent or taken."""
    product = await launch(PAIR, plugins=PLUGINS)
    refuse("a", "b")
    status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "no"})
    assert (status, body["error"]["param"]) == (400, "prompt")
    assert (await product.call("GET", "/v1/videos"))[1]["data"] == []
    assert product.core.places["a"] == product.core.places["b"] == set()


async def test_what_waits_fails_when_no_channel_takes_it(launch: Launch, refuse: Refuse) -> None:
    """A video that waits, and that no channel takes when its turn comes, fails with the refusal, not with a timeout."""
    product = await launch(PAIR, plugins=PLUGINS)
    words = [await filled(product, name) for name in ("a", "b")]
    video = await product.create(prompt="no")
    refuse("a", "b")
    for going in words:
        going.set_result(COMPLETED)
    assert (await product.done(video["id"]))["error"]["message"] == "This channel takes no such prompt."
    assert asked_for(product, "no") == 0
    assert product.core.places["a"] == product.core.places["b"] == set()


# ---------------------------------------------------------------- facts, clocks, logs, descriptors


async def test_a_bad_attribute_ends_no_others_polls(launch: Launch) -> None:
    """A plugin whose pace is no number is polled at some pace, and the other channels as if it were not there."""
    text = PAIR.replace("[sora-2], priority: 10, max_running: 1, poll_every: 0.01", "[veo]")
    product = await launch(text, plugins=PLUGINS)
    product.channel("a").poll_every = "5"
    odd, sound = await product.create(model="veo"), await product.create()
    for video in (sound, odd):
        assert (await product.done(video["id"]))["status"] == "completed"


async def test_a_clock_set_back_lengthens_no_throttling(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Retry-After of a moment stays one although the wall clock is set back by a day meanwhile."""
    product = await launch(ONE, plugins=PLUGINS)
    product.channel("a").then("create", Throttled("Busy.", retry_after=0.1))
    video = await product.create(prompt="x")
    clock = product.core.clock
    monkeypatch.setattr(product.core, "clock", lambda: clock() - 24 * HOUR)
    assert (await product.done(video["id"]))["status"] == "completed"
    assert asked_for(product, "x") == 2


async def test_no_log_line_has_an_upstream_id(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a plugin's error repeats of a job's id, from any of its methods, stays out of the log (P4)."""
    caplog.set_level(logging.INFO)
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    said = f"no such job: {UPSTREAM_ID}"
    job = UpstreamJob(id=UPSTREAM_ID, status="in_progress")
    channel.then("create", job, job)
    channel.then("fetch", RuntimeError(said), UpstreamError(said), UpstreamJob(id=UPSTREAM_ID, status="completed"))
    done = await product.create()
    await product.done(done["id"])

    async def breaks(*_: object) -> Any:
        raise RuntimeError(said)

    with monkeypatch.context() as patch:
        patch.setattr(channel, "content", breaks)
        assert (await product.call("GET", f"/v1/videos/{done['id']}/content"))[0] >= 500
    channel.then("remix", RuntimeError(said), UpstreamError(said))
    for _ in range(2):
        await product.call("POST", f"/v1/videos/{done['id']}/remix", json={"prompt": "again"})
    channel.then("fetch", *[RUNNING] * 10_000)
    runs = await product.create()
    channel.then("cancel", RuntimeError(said), UpstreamError(said))
    for _ in range(2):
        assert (await delete(product, runs["id"]))[0] >= 400
    channel.then("delete", UpstreamError(said))
    assert (await delete(product, done["id"]))[0] == 200
    for line in ("failed to poll", "failed to find the content of", "failed to remix", "failed to cancel"):
        assert line in caplog.text
    assert "was not deleted at channel a" in caplog.text
    assert UPSTREAM_ID not in caplog.text


async def test_no_log_line_has_the_id_that_an_operator_attaches(
    launch: Launch, caplog: pytest.LogCaptureFixture
) -> None:
    """A plugin that breaks over a job which an operator gives it says so without the job's id."""
    product = await launch("server: {unknown_grace: 30}\n" + ONE, plugins=PLUGINS)
    video_id = await pending(product)
    product.channel("a").then("fetch", RuntimeError(f"no such job: {UPSTREAM_ID}"))
    await resolve(product, video_id, "attach", UPSTREAM_ID)
    assert (await product.done(video_id))["status"] == "completed"
    assert "the plugin of channel a failed to" in caplog.text
    assert UPSTREAM_ID not in caplog.text


async def test_no_free_descriptor_leaves_the_answer_whole(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch over an answer's arrival may find no descriptor: the answer is given all the same, and each one."""
    product = await launch(ONE, plugins=PLUGINS)
    asked: list[int] = []

    def none_left(descriptor: int) -> int:
        asked.append(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", none_left)
    made = [await product.create() for _ in range(3)]
    assert len(asked) == 3
    for video in made:
        assert (await product.done(video["id"]))["status"] == "completed"
