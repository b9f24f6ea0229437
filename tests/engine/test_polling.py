"""Polls, and what a poll may not do to a paid render (P6)."""

from pathlib import Path

import pytest

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
