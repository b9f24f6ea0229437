"""Polls, and what a poll may not do to a paid render (P6)."""

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.app import WIRING
from proxy.engine import polling
from proxy.errors import AccountRefused, Throttled, UpstreamError, UpstreamGone, UpstreamTimeout
from proxy.models import JobError, UpstreamJob
from tests.conftest import Launch

PLUGINS = (Path(__file__).parent / "plugins",)
ONE = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01}]"


async def test_no_bad_answer_fails_a_paid_render(launch: Launch) -> None:
    """Errors of every kind, and a plugin's own mistake, are only missed polls."""
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    bad = [
        UpstreamError("HTML"),
        UpstreamTimeout("slow"),
        AccountRefused("key gone"),
        Throttled("busy", retry_after=0.01),
        UpstreamGone("404"),
        KeyError("a bug"),
        asyncio.CancelledError(),
        "no job at all",
    ]
    channel.then("fetch", *bad)
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(channel.asked("fetch")) == len(bad) + 1


async def test_a_failed_job_says_why(launch: Launch) -> None:
    """The provider's sentence passes without its ids, addresses and secrets."""
    product = await launch(
        "channels: [{name: a, type: puppet, models: [sora-2], api_key: very-secret-key-1}]", plugins=PLUGINS
    )
    sentence = "Job up-0123456789abcdef at https://up.example/x with very-secret-key-1 broke: too dark."
    product.channel("a").then("create", UpstreamJob(id="up-0123456789abcdef", status="in_progress"))
    product.channel("a").then(
        "fetch", UpstreamJob(id="up-0123456789abcdef", status="failed", error=JobError("moderation_blocked", sentence))
    )
    video = await product.create()
    failed = await product.done(video["id"])
    assert failed["error"]["code"] == "moderation_blocked"
    message = failed["error"]["message"]
    assert "too dark" in message
    assert "up-0123456789abcdef" not in message
    assert "up.example" not in message
    assert "very-secret-key-1" not in message
    status, body, _ = await product.call("GET", f"/v1/videos/{video['id']}/content")
    assert (status, body["error"]["code"]) == (400, "video_failed")


async def test_a_missed_poll_is_logged_without_upstream_ids(launch: Launch, caplog: pytest.LogCaptureFixture) -> None:
    """The first of a row of missed polls stands in the log with the video and the channel, and ever fewer after it."""
    caplog.set_level(logging.INFO, "reelgate.engine")
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("create", UpstreamJob(id="up-0123456789abcdef", status="in_progress"))
    channel.then("fetch", *[UpstreamError("no word on up-0123456789abcdef at https://up.example/x")] * 5)
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    missed = [record.getMessage() for record in caplog.records if " failed: " in record.getMessage()]
    assert [line.split(" failed: ")[0] for line in missed] == [
        f"poll {number} of video {video['id']} on channel a" for number in (1, 2, 4)
    ]
    assert "0123456789abcdef" not in "".join(missed)
    assert "up.example" not in "".join(missed)


async def test_a_deleted_video_is_polled_no_more(launch: Launch) -> None:
    """What its owner forgot while it runs is not asked for again."""
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 10_000)
    first, second = await product.create(), await product.create()
    status, _, _ = await product.call("DELETE", f"/v1/videos/{first['id']}?force=true")
    assert status == 200
    engine = product.server.app[WIRING].engine
    assert engine is not None
    assert len(engine._poller) == 1
    assert engine._poller._clocks.keys() == {second["id"]}


async def test_an_answer_without_news_is_no_write(launch: Launch) -> None:
    """While the upstream says the same, the row of a video stays as it is."""
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="x", status="in_progress", progress=7)] * 30)
    video = await product.create()
    engine = product.server.app[WIRING].engine
    assert engine is not None
    versions = set()
    async with asyncio.timeout(30):
        while len(channel.asked("fetch")) < 30:
            _, seen, _ = await product.call("GET", f"/v1/videos/{video['id']}")
            stored = await engine._core.store.video(video["id"])
            assert stored is not None
            versions.add((stored.version, stored.progress))
            assert seen["status"] == "in_progress"
    assert max(versions) == (2, 7)


async def test_gone_counts_only_when_it_keeps_coming(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """404s for a job end it only after five in a row over the time."""
    monkeypatch.setattr(polling, "GONE_SECONDS", 0.05)
    product = await launch(ONE, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamGone("404")] * 4, UpstreamError("500"), *[UpstreamGone("404")] * 20)
    video = await product.create()
    failed = await product.done(video["id"])
    assert failed["error"]["code"] == "upstream_failed"
    assert len(channel.asked("fetch")) >= 10


async def test_poll_timeout(launch: Launch) -> None:
    """A job that never ends fails after the channel's poll_timeout."""
    product = await launch(
        "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.01, poll_timeout: 0.1}]", plugins=PLUGINS
    )
    product.channel("a").then("fetch", *[UpstreamJob(id="x", status="in_progress", progress=5)] * 10_000)
    video = await product.create()
    failed = await product.done(video["id"])
    assert failed["error"]["code"] == "poll_timeout"


async def test_progress_never_falls(launch: Launch) -> None:
    """Whatever the upstream says, the client sees progress rise and the state move forward."""
    product = await launch(ONE, plugins=PLUGINS)
    told = [("in_progress", 40), ("queued", 10), ("in_progress", 20.5), ("in_progress", 140), ("in_progress", None)]
    product.channel("a").then("fetch", *[UpstreamJob(id="x", status=word, progress=part) for word, part in told])
    video = await product.create()
    seen = [0]
    while True:
        _, video, _ = await product.call("GET", f"/v1/videos/{video['id']}")
        assert isinstance(video["progress"], int)
        assert video["progress"] >= seen[-1]
        assert video["status"] in ("in_progress", "completed")
        seen.append(video["progress"])
        if video["status"] == "completed":
            break
    assert seen[-1] == 100


async def test_a_restart_goes_on(launch: Launch, tmp_path: Path) -> None:
    """Running, waiting and uncertain videos are taken up where the process before left them."""
    text = "server: {unknown_grace: 0.2}\nchannels: [{name: a, type: puppet, models: [sora-2], max_running: 2}]"
    product = await launch(text, plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 10_000)
    running = await product.create()
    channel.then("create", UpstreamTimeout("slow"))
    uncertain = await product.create()
    waiting = await product.create()
    await product.session.close()
    await product.server.close()
    product = await launch(text, plugins=PLUGINS)
    assert (await product.done(running["id"]))["status"] == "completed"
    assert (await product.done(uncertain["id"]))["error"]["code"] == "outcome_unknown"
    assert (await product.done(waiting["id"]))["status"] == "completed"
    assert len(product.channel("a").asked("create")) == 1
