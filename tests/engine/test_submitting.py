"""Submissions and their outcomes, through the product (P1, P2)."""

import asyncio
from pathlib import Path

import pytest

from proxy.errors import (
    AccountRefused,
    InvalidRequest,
    ModerationBlocked,
    Throttled,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.models import ABSENT, UpstreamJob
from tests.conftest import Launch, Product

PLUGINS = (Path(__file__).parent / "plugins",)

ONE = """
server: {submit_wait: 30, unknown_grace: 0.3}
channels:
  - {name: a, type: puppet, models: [sora-2]}
"""
TWO = """
server: {submit_wait: 30, unknown_grace: 0.3}
channels:
  - {name: a, type: puppet, models: [sora-2], priority: 10}
  - {name: b, type: puppet, models: [sora-2]}
"""


def refused_by_connection() -> UpstreamUnreachable:
    return UpstreamUnreachable("The upstream could not be reached.")


async def test_a_video_from_order_to_bytes(launch: Launch) -> None:
    """The main job: accepted, taken, polled to its end, downloaded."""
    product = await launch(ONE, plugins=PLUGINS)
    video = await product.create()
    assert video["status"] in ("queued", "in_progress")
    video = await product.done(video["id"])
    assert video["status"] == "completed"
    status, body, _ = await product.call("GET", f"/v1/videos/{video['id']}/content")
    assert status == 200
    assert b"ftyp" in body


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (InvalidRequest("Too long.", param="seconds"), 400, "invalid_value", None),
        (ModerationBlocked("No."), 400, "moderation_blocked", None),
        (UpstreamUnreachable("Not there."), 502, "upstream_error", None),
        (AccountRefused("The upstream refuses the account."), 502, "upstream_error", "false"),
    ],
)
async def test_a_refusal_is_told_at_once_and_leaves_nothing(
    launch: Launch, error: Exception, status: int, code: str, retry: str | None
) -> None:
    """A refused create answers with its error, its video is listed nowhere, and its Idempotency-Key is free again."""
    product = await launch(ONE, plugins=PLUGINS)
    product.channel("a").then("create", error)
    headers = {"Idempotency-Key": "k1"}
    got, body, sent = await product.call("POST", "/v1/videos", json={"prompt": "x"}, headers=headers)
    assert (got, body["error"]["code"], sent.get("x-should-retry")) == (status, code, retry)
    assert (await product.call("GET", "/v1/videos"))[1]["data"] == []
    assert (await product.call("POST", "/v1/videos", json={"prompt": "y"}, headers=headers))[0] == 200


@pytest.mark.parametrize(
    "error", [UpstreamError("It broke."), UpstreamTimeout("Too slow."), RuntimeError("a bug in the plugin")]
)
async def test_an_unknown_outcome_is_never_submitted_again(launch: Launch, error: Exception) -> None:
    """The client has its video, nobody submits it again on any channel, and it fails as outcome_unknown."""
    product = await launch(TWO, plugins=PLUGINS)
    product.channel("a").then("create", error)
    video = await product.create()
    assert video["status"] == "queued"
    assert (await product.call("GET", "/v1/videos"))[1]["data"][0]["id"] == video["id"]
    video = await product.done(video["id"])
    assert (video["status"], video["error"]["code"]) == ("failed", "outcome_unknown")
    assert len(product.channel("a").asked("create")) == 1
    assert product.channel("b").asked("create") == []


async def test_a_bug_before_the_order_is_no_unknown_outcome(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin breaks inside `unpaid` was not ordered: the next channel makes the video, and nobody waits."""
    product = await launch(TWO, plugins=PLUGINS)
    broken = product.channel("a")

    async def create(request: object) -> None:
        with broken.upstream.unpaid():
            raise KeyError("a bug in the plugin")

    monkeypatch.setattr(broken, "create", create)
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(product.channel("b").asked("create")) == 1


@pytest.mark.parametrize(
    "error", [refused_by_connection(), AccountRefused("No money."), Throttled("Busy.", retry_after=9)]
)
async def test_a_certain_refusal_moves_on_to_the_next_channel(launch: Launch, error: Exception) -> None:
    """Another channel makes the video, with an attempt of its own, and the video stays pinned to that one."""
    product = await launch(TWO, plugins=PLUGINS)
    product.channel("a").then("create", error)
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    (first,), (second,) = product.channel("a").asked("create"), product.channel("b").asked("create")
    assert first.attempt_id != second.attempt_id
    status, remix, _ = await product.call("POST", f"/v1/videos/{video['id']}/remix", json={"prompt": "at night"})
    assert status == 200
    assert remix["remixed_from_video_id"] == video["id"]
    assert len(product.channel("b").asked("remix")) == 1
    assert product.channel("a").asked("remix") == []


async def test_throttled_stays_queued_and_goes_later(launch: Launch) -> None:
    """A throttling upstream leaves the video durably queued; it is submitted when the upstream said."""
    product = await launch(ONE, plugins=PLUGINS)
    product.channel("a").then("create", Throttled("Busy.", retry_after=0.05))
    video = await product.create()
    assert video["status"] == "queued"
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(product.channel("a").asked("create")) == 2


async def test_a_full_channel_queues(launch: Launch) -> None:
    """No more than `max_running` videos are at an upstream; the rest wait in their order."""
    product = await launch(
        "channels: [{name: a, type: puppet, models: [sora-2], max_running: 1, poll_every: 0.01}]", plugins=PLUGINS
    )
    channel = product.channel("a")
    going: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel.then("fetch", going)
    first, second, third = [await product.create(prompt=word) for word in ("one", "two", "three")]
    assert [request.prompt for request in channel.asked("create")] == ["one"]
    going.set_result(UpstreamJob(id="x", status="completed"))
    for video in (first, second, third):
        assert (await product.done(video["id"]))["status"] == "completed"
    assert [request.prompt for request in channel.asked("create")] == ["one", "two", "three"]


async def full(launch: Launch, server: str) -> Product:
    """A product whose only channel has no room left."""
    text = f"server: {{{server}}}\nchannels: [{{name: a, type: puppet, models: [sora-2], max_running: 1}}]"
    product = await launch(text, plugins=PLUGINS)
    product.channel("a").then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 10_000)
    await product.create()
    return product


async def test_the_queue_has_a_bound(launch: Launch) -> None:
    """More than max_queued are refused with Retry-After, and nothing of them is kept."""
    product = await full(launch, "max_queued: 1")
    await product.create()
    status, body, headers = await product.call("POST", "/v1/videos", json={"prompt": "x"})
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(headers["retry-after"]) <= 60
    assert len((await product.call("GET", "/v1/videos"))[1]["data"]) == 2


async def test_waiting_has_an_end(launch: Launch) -> None:
    """What waits longer than queue_timeout fails, and was not submitted."""
    product = await full(launch, "queue_timeout: 0.2")
    failed = await product.done((await product.create())["id"])
    assert len(product.channel("a").asked("create")) == 1
    assert failed["error"]["code"] == "queue_timeout"


async def test_a_slow_upstream_does_not_hold_the_client(launch: Launch) -> None:
    """After submit_wait the client has its video; a refusal that comes later fails it instead of vanishing."""
    product = await launch(
        "server: {submit_wait: 0.05}\nchannels: [{name: a, type: puppet, models: [sora-2]}]", plugins=PLUGINS
    )
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    product.channel("a").then("create", word)
    video = await product.create()
    assert video["status"] == "queued"
    word.set_exception(ModerationBlocked("The prompt was blocked."))
    failed = await product.done(video["id"])
    assert failed["error"] == {"code": "moderation_blocked", "message": "The prompt was blocked."}


async def test_a_client_that_hangs_up_changes_nothing(launch: Launch) -> None:
    """The submission goes on, and the same POST re-sent by the SDK gets the first video."""
    product = await launch(ONE, plugins=PLUGINS)
    word: asyncio.Future[UpstreamJob] = asyncio.get_running_loop().create_future()
    channel = product.channel("a")
    channel.then("create", word)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await product.create()
    again = asyncio.create_task(product.create(headers={"x-stainless-retry-count": "1"}))
    while len((await product.call("GET", "/v1/videos"))[1]["data"]) != 1:
        await asyncio.sleep(0.01)
    word.set_result(UpstreamJob(id="up-1", status="in_progress"))
    video = await again
    assert (await product.call("GET", "/v1/videos"))[1]["data"][0]["id"] == video["id"]
    assert len(channel.asked("create")) == 1


async def test_a_resend_after_a_full_answer_is_a_new_request(launch: Launch) -> None:
    """What was answered in full is not taken for the first of a repetition."""
    product = await launch(ONE, plugins=PLUGINS)
    first = await product.create()
    second = await product.create(headers={"x-stainless-retry-count": "1"})
    assert first["id"] != second["id"]


async def test_an_idempotency_key(launch: Launch) -> None:
    """Same key and body: the same bytes; other body: refused; many at once: one job."""
    product = await launch(ONE, plugins=PLUGINS)
    headers = {"Idempotency-Key": "one"}
    answers = await asyncio.gather(*(product.create(headers=headers) for _ in range(20)))
    assert len({answer["id"] for answer in answers}) == 1
    assert len(product.channel("a").asked("create")) == 1
    await product.done(answers[0]["id"])
    assert await product.create(headers=headers) == answers[0]
    status, body, _ = await product.call("POST", "/v1/videos", json={"prompt": "other"}, headers=headers)
    assert (status, body["error"]["code"]) == (400, "idempotency_key_reused")


async def recovering(launch: Launch) -> Product:
    return await launch(
        "server: {unknown_grace: 30}\nchannels: [{name: a, type: lookup, models: [sora-2]}]", plugins=PLUGINS
    )


async def test_recover_finds_the_job(launch: Launch) -> None:
    """An unknown outcome that the provider can tell is looked up, not submitted again."""
    product = await recovering(launch)
    channel = product.channel("a")
    channel.then("create", UpstreamTimeout("Too slow."))
    channel.then("recover", UpstreamError("Not now."), UpstreamJob(id="found", status="in_progress"))
    video = await product.create()
    assert (await product.done(video["id"]))["status"] == "completed"
    assert len(channel.asked("create")) == 1
    assert {request.attempt_id for request in channel.asked("recover")} == {channel.asked("create")[0].attempt_id}


async def test_recover_proves_absence(launch: Launch) -> None:
    """What the provider proves not to have fails plainly, and is not submitted by itself."""
    product = await recovering(launch)
    channel = product.channel("a")
    channel.then("create", UpstreamTimeout("Too slow."))
    channel.then("recover", ABSENT)
    video = await product.create()
    failed = await product.done(video["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "upstream_failed")
    assert len(channel.asked("create")) == 1


async def test_deleting(launch: Launch) -> None:
    """A running video is cancelled upstream, a finished one deleted there too; both answer 404 afterwards."""
    product = await launch("channels: [{name: a, type: lookup, models: [sora-2]}]", plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 10_000)
    video = await product.create()
    deleted = {"id": video["id"], "object": "video.deleted", "deleted": True}
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[:2] == (200, deleted)
    assert len(channel.asked("cancel")) == 1
    assert (await product.call("GET", f"/v1/videos/{video['id']}"))[0] == 404
    channel.script["fetch"].clear()
    video = await product.create()
    await product.done(video["id"])
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 200
    assert len(channel.asked("delete")) == 1
    assert (await product.call("DELETE", f"/v1/videos/{video['id']}"))[0] == 404


async def test_deleting_what_cannot_be_cancelled(launch: Launch) -> None:
    """It is refused with its own code; force forgets it here; a waiting one is cancelled before it costs anything."""
    product = await launch("channels: [{name: a, type: puppet, models: [sora-2], max_running: 1}]", plugins=PLUGINS)
    channel = product.channel("a")
    channel.then("fetch", *[UpstreamJob(id="x", status="in_progress")] * 10_000)
    running, waiting = await product.create(), await product.create()
    assert (await product.call("DELETE", f"/v1/videos/{waiting['id']}"))[0] == 200
    status, body, _ = await product.call("DELETE", f"/v1/videos/{running['id']}")
    assert (status, body["error"]["code"]) == (400, "video_not_deletable")
    assert (await product.call("DELETE", f"/v1/videos/{running['id']}?force=true"))[0] == 200
    channel.script["fetch"].clear()
    last = await product.create()
    await product.done(last["id"])
    assert len(channel.asked("create")) == 2
