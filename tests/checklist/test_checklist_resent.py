"""openai-videos.md §8, 69 to 72: what the official SDKs send again by themselves, and what must keep them from it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.engine.replays import RESEND_WINDOW
from proxy.errors import ApiError, ChannelUnavailable, InsufficientQuota, UpstreamError, UpstreamUnreachable
from proxy.models import UpstreamJob
from proxy.store import StoreBusy
from tests.checklist.desk import PUPPETS, Desk, channel, config, envelope
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.simulators.openai import OpenAISimulator

CLIENTS_GUIDE = Path(__file__).parents[2] / "docs" / "clients.md"
RETRIED = (408, 409, 429, *range(500, 600))
"""Statuses that both SDKs send a POST again for, unless they are told not to (openai-videos.md §2)."""
FAULTS = (
    *("reset_before_reply", "reset_after_taking", "cut_body", "html_502", "html_200", "empty_200", "no_id"),
    "redirect_307",
)
# Not 429, after which the engine itself waits and sends again: tests/engine/test_submitting.py.
STATUSES = (400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 425, 451, 500, 502, 503, 504, 529)


def told_not_to(status: int, headers: dict[str, str]) -> bool:
    """Whether an SDK that got this answer will not send the POST again."""
    return status not in RETRIED or headers.get("x-should-retry") == "false"


async def answers(desk: Desk, path: str = "/v1/videos", **body: Any) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of a POST."""
    return await desk.call("POST", path, json={"prompt": "x", **body})


async def test_069_resent_posts_are_recognised(launch: Launch, sim: OpenAISimulator) -> None:
    """A POST whose answer got lost, sent again as both SDKs mark it, is the first video, in JSON as in a form; the
    window within which it is recognised is in docs/clients.md."""
    entry = channel(sim, timeout={"connect": 5, "first_byte": 1.5, "total": 5})
    desk = Desk(await launch(config(entry, unknown_grace=600)), sim)
    sim.fault("hang", on="create", times=None)
    first = asyncio.create_task(answers(desk, prompt="x", seconds="8"))
    while not sim.calls("create"):
        await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    headers = {"x-stainless-retry-count": "1"}
    status, video, _ = await desk.call("POST", "/v1/videos", data={"prompt": "x", "seconds": "8"}, headers=headers)
    assert (status, await desk.listed()) == (200, [video["id"]])
    # And by the SDK's own hand, which gives up before the answer comes.
    by_sdk = await desk.sdk(lambda client: client.videos.create(prompt="y"), max_retries=2, timeout=1)
    assert await desk.listed() == [by_sdk.id, video["id"]]
    assert sim.paid == len(sim.calls("create")) == 2
    text = await asyncio.to_thread(CLIENTS_GUIDE.read_text, "utf-8")
    paragraph = next(one for one in text.split("\n\n") if "x-stainless-retry-count" in one)
    assert f"within {RESEND_WINDOW / 60:g} minutes" in " ".join(paragraph.split())


async def test_070_what_may_be_sent_again(launch: Launch, sim: OpenAISimulator) -> None:
    """Whatever the upstream does to a create, a remix, an edit and an extension: an answer that makes the SDKs send it
    again is given only where nothing was taken; all others keep them from it."""
    entry = channel(sim, timeout={"connect": 2, "first_byte": 0.5, "total": 2}, breaker=None)
    desk = Desk(await launch(config(entry, submit_wait=5, unknown_grace=600)), sim)
    source = (await desk.completed())["id"]
    video = {"video": {"id": source}}
    asks: dict[str, dict[str, Any]] = {
        "create": {"path": "/v1/videos"},
        "remix": {"path": f"/v1/videos/{source}/remix"},
        "edit": {"path": "/v1/videos/edits", **video},
        "extend": {"path": "/v1/videos/extensions", "seconds": "4", **video},
    }
    seen = set()
    for operation, ask in asks.items():
        for fault in (*FAULTS, *STATUSES):
            if isinstance(fault, int):
                sim.then(sim.error(fault, "Not now."), on=operation)
            else:
                sim.fault(fault, on=operation)
            paid = sim.paid
            status, body, headers = await answers(desk, **ask)
            seen.add(status)
            if status != 200:
                envelope(body, headers)
            assert told_not_to(status, headers) or sim.paid == paid, (operation, fault, status)
            if headers.get("x-reelgate-not-taken") == "true":
                assert sim.paid == paid, (operation, fault, status)
    await sim.stop()
    for ask in asks.values():
        status, _, headers = await answers(desk, **ask)
        # Nobody was there: the one case in which trying again helps and costs nothing.
        assert (status, headers.get("x-should-retry"), headers["x-reelgate-not-taken"]) == (502, None, "true")
    assert seen == {200, 400, 502}


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (InsufficientQuota("The budget is spent."), 1),
        (ChannelUnavailable("The channel is gone."), 1),
        (UpstreamError("It broke."), 1),
        (UpstreamUnreachable("Nobody there."), 3),
    ],
)
async def test_071_permanent_refusals(puppet: Product, error: ApiError, sent: int) -> None:
    """A 429 for a spent quota, and whatever else does not pass by itself, carries x-should-retry: false, so that the
    SDK asks once; what may pass is asked for again."""
    puppet.channel("p").then("create", *[error] * 3)
    async with openai.AsyncOpenAI(base_url=puppet.url + "/v1", api_key=ADMIN_KEY) as client:
        if isinstance(error, UpstreamError) and not isinstance(error, UpstreamUnreachable):
            # Nobody knows what became of it: that is no error to the client.
            assert (await client.videos.create(prompt="x")).status == "queued"
        else:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.videos.create(prompt="x")
            assert caught.value.response.headers.get("x-should-retry") == ("false" if sent == 1 else None)
            assert caught.value.code == error.code
            assert caught.value.status_code == error.status
    assert len(puppet.channel("p").asked("create")) == sent


async def test_071_a_spent_quota_of_the_upstream(desk: Desk) -> None:
    """The upstream's own spent quota is no 429 that passes: the SDK asks once."""
    desk.sim.then(desk.sim.error(429, "You exceeded your quota.", code="insufficient_quota"), on="create", times=None)
    with pytest.raises(openai.InternalServerError) as caught:
        await desk.sdk(lambda client: client.videos.create(prompt="x"), max_retries=2)
    assert (caught.value.status_code, caught.value.response.headers["x-should-retry"]) == (502, "false")
    assert len(desk.sim.calls("create")) == 1


async def test_072_waits_that_both_sdks_honour(
    launch: Launch, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where another try is wanted the wait is 1 to 60 seconds, in both headers: a full queue, a busy store, a server
    that stops, an upstream that wants an hour. A longer one makes openai-node ignore it and openai-python give up."""

    def check(status: int, headers: dict[str, str], wanted: int) -> None:
        assert (status, headers.get("x-should-retry")) == (wanted, None)
        assert 1 <= int(headers["retry-after"]) <= 60
        assert 0 < int(headers["retry-after-ms"]) <= 60_000

    text = "server: {max_queued: 1}\nchannels: [{name: p, type: puppet, models: [sora-2], max_running: 1}]"
    full = await launch(text, plugins=PUPPETS, data=tmp_path / "full")
    full.channel("p").then("fetch", *[UpstreamJob(id="up", status="in_progress")] * 1000)
    for wanted in (200, 200, 429, 429):
        status, _, headers = await full.call("POST", "/v1/videos", json={"prompt": "x"})
        if wanted == 429:
            check(status, headers, 429)
    # An upstream that wants an hour: an order waits here, and what is asked for now is told a wait that is honoured.
    video = await desk.completed()
    hour = {"Retry-After": "3600"}
    desk.sim.then(desk.sim.error(429, "Slow down."), headers=hour, on="create")
    status, order, _ = await answers(desk)
    assert (status, order["status"]) == (200, "queued")
    desk.sim.then(desk.sim.error(429, "Slow down."), headers=hour, on="content")
    status, _, headers = await desk.call("GET", f"/v1/videos/{video['id']}/content")
    check(status, headers, 429)

    async def locked(*args: Any, **options: Any) -> None:
        raise StoreBusy("locked", retry_after=5)

    with monkeypatch.context() as patch:
        patch.setattr(desk.product.core.store, "accept", locked)
        status, _, headers = await answers(desk, model="sora-2-pro")
        check(status, headers, 503)
    desk.product.core.closing = True
    status, _, headers = await answers(desk)
    check(status, headers, 503)
