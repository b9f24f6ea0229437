"""A Reelgate behind a Reelgate: plugins/openai.py speaks to the product itself."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from proxy import UpstreamRefused
from proxy.hops import HEADER, MOST
from proxy.records import Attempt
from proxy.testing import SimulatorServer
from tests.conftest import ADMIN_KEY, Launch, Product
from tests.plugins.openai_oracle import KEY, Recorder, opened, picture_file, recording, request
from tests.simulators.openai import OpenAISimulator

INNER_KEY = "rg_inner-admin-key-4b7d1f0a93ce6825"


@dataclass
class Chain:
    """The outer product, the inner one behind it, and the simulator behind that."""

    outer: Product
    inner: Product
    sim: OpenAISimulator

    async def completed(self, **body: Any) -> dict[str, Any]:
        video = await self.outer.create(**body)
        return await self.finished(video)

    async def finished(self, video: dict[str, Any]) -> dict[str, Any]:
        self.sim.finish(self.sim.latest.id)
        done = await self.outer.done(video["id"])
        assert done["status"] == "completed", done
        return done


def channel(base_url: str, key: str, **keys: Any) -> dict[str, Any]:
    entry = {"name": "up", "type": "openai", "base_url": base_url, "api_key": key, "models": ["sora-2"]}
    return {**entry, "poll_every": 0.05, **keys}


def entry(base_url: str, key: str) -> str:
    return json.dumps({"channels": [channel(base_url, key)]})


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as recorder:
        yield recorder


@pytest.fixture
async def chain(launch: Launch, tmp_path: Path) -> AsyncIterator[Chain]:
    async with SimulatorServer(OpenAISimulator(keys={KEY})) as sim:
        sim.automatic = False
        inner = await launch(entry(sim.base_url, KEY), data=tmp_path / "inner", admin_key=INNER_KEY)
        outer = await launch(entry(inner.url, INNER_KEY), data=tmp_path / "outer")
        yield Chain(outer, inner, sim)


async def test_a_video_goes_through_both(chain: Chain) -> None:
    """Created with a picture, polled, downloaded whole and in part, deleted: paid for once, with an id for each hop."""
    video = await chain.outer.create(
        model="sora-2",
        seconds="8",
        size="1280x720",
        input_reference={"image_url": f"data:image/png;base64,{base64.b64encode(picture_file(1280, 720)).decode()}"},
    )
    assert (video["seconds"], video["size"], chain.sim.paid) == ("8", "1280x720", 1)
    done = await chain.finished(video)
    _, listed, _ = await chain.inner.call("GET", "/v1/videos", key=INNER_KEY)
    (within,) = listed["data"]
    assert len({done["id"], within["id"], chain.sim.latest.id}) == 3
    assert done["expires_at"] == within["expires_at"]
    path = f"/v1/videos/{done['id']}"
    for headers, status, data in (
        ({}, 200, chain.sim.video_bytes),
        ({"Range": "bytes=5-9"}, 206, chain.sim.video_bytes[5:10]),
    ):
        assert (await chain.outer.call("GET", f"{path}/content", headers=headers))[:2] == (status, data)
    assert (await chain.outer.call("DELETE", path))[0] == 200
    assert (await chain.inner.call("GET", f"/v1/videos/{within['id']}", key=INNER_KEY))[0] == 404
    assert chain.sim.latest.removed
    assert chain.sim.paid == 1


async def test_follow_ups_go_through_both(chain: Chain) -> None:
    """Remix, edit and extension start from the source's own job two hops away; each is paid for once."""
    source = await chain.completed()
    made = chain.sim.latest.id
    for path, body, kind in (
        (f"/v1/videos/{source['id']}/remix", {}, "remix"),
        ("/v1/videos/edits", {"video": {"id": source["id"]}}, "edit"),
        ("/v1/videos/extensions", {"video": {"id": source["id"]}, "seconds": "8"}, "extend"),
    ):
        status, video, _ = await chain.outer.call("POST", path, json={"prompt": "in winter", **body})
        assert status == 200, video
        assert (chain.sim.latest.kind, chain.sim.latest.facts["prompt"]) == (kind, "in winter")
        if kind == "remix":
            assert chain.sim.latest.facts["remixed_from"] == made
            assert video["remixed_from_video_id"] == source["id"]
        if kind == "extend":
            assert (video["seconds"], chain.sim.latest.facts["seconds"]) == ("12", "12")
    assert chain.sim.paid == 4


async def test_refusals_go_through_both(chain: Chain) -> None:
    """A moderated prompt is the client's 400 at both ends, and nothing is listed at either."""
    chain.sim.then(chain.sim.error(400, "Your request was blocked.", code="moderation_blocked"), on="create")
    status, body, _ = await chain.outer.call("POST", "/v1/videos", json={"prompt": "a paper plane"})
    assert (status, body["error"]["code"]) == (400, "moderation_blocked")
    assert "Your request was blocked." in body["error"]["message"]
    _, listed, _ = await chain.outer.call("GET", "/v1/videos")
    _, within, _ = await chain.inner.call("GET", "/v1/videos", key=INNER_KEY)
    assert listed["data"] == within["data"] == []
    assert chain.sim.paid == 0


async def test_a_certain_refusal_from_within_is_one_outside(chain: Chain) -> None:
    """An inner account without quota is a refusal at once, not an outcome to wait for; nothing is listed at either."""
    chain.sim.then(chain.sim.error(429, "You exceeded your quota.", code="insufficient_quota"), on="create")
    status, body, headers = await chain.outer.call("POST", "/v1/videos", json={"prompt": "a paper plane"})
    assert (status, body["error"]["code"], headers["x-reelgate-not-taken"]) == (502, "upstream_error", "true")
    assert (await chain.outer.call("GET", "/v1/videos"))[1]["data"] == []


async def test_an_unknown_outcome_within_is_queued_at_both(chain: Chain) -> None:
    """What the inner product cannot know the outer one shows as queued, and neither submits again."""
    chain.sim.fault("html_502", on="create")
    waiting = await chain.outer.create()
    assert waiting["status"] == "queued"
    await chain.completed(prompt="another one")
    assert len(chain.sim.calls("create")) == 2
    # The one behind the 502 was taken, as it may well be.
    assert chain.sim.paid == 2


async def test_failures_go_through_both(chain: Chain) -> None:
    """A moderated and a broken job fail outside as they failed inside, in the upstream's sentence."""
    for code, seen, sentence in (
        ("moderation_blocked", "moderation_blocked", "Your request was blocked by our moderation system."),
        ("server_error", "upstream_failed", "The lamp broke."),
    ):
        video = await chain.outer.create()
        chain.sim.fail(chain.sim.latest.id, code=code, message=sentence)
        failed = await chain.outer.done(video["id"])
        assert (failed["status"], failed["error"]) == ("failed", {"code": seen, "message": sentence})


# ---------------------------------------------------------------- circles


async def attempts(product: Product) -> list[Attempt]:
    """Every submission that the product has made."""
    videos = await product.core.store.read(lambda db: [row[0] for row in db.execute("SELECT id FROM videos")])
    return [one for video_id in videos for one in await product.core.store.attempts(video_id)]


async def test_a_channel_that_leads_to_its_own_server(chain: Chain) -> None:
    """An order that comes straight back is refused, for certain and in a sentence that names the cause, and not sent
    again; nothing of it is listed."""
    product = chain.outer
    await product.reload(entry(product.url, ADMIN_KEY))
    clip = FormData({"name": "Mira"})
    clip.add_field("video", chain.sim.video_bytes, filename="clip.mp4", content_type="video/mp4")
    for path, body in (("/v1/videos", {"json": {"prompt": "a kite"}}), ("/v1/videos/characters", {"data": clip})):
        status, answer, headers = await product.call("POST", path, **body)
        assert (status, headers.get("x-reelgate-not-taken")) == (502, "true"), answer
        assert "(loop_detected): a channel leads" in answer["error"]["message"]
    assert [(one.state, one.channel) for one in await attempts(product)] == [("refused", "up")]
    assert (await product.call("GET", "/v1/videos"))[1]["data"] == []


async def test_a_circle_of_two_goes_on_elsewhere(chain: Chain) -> None:
    """Two products that lead to each other refuse the second lap; what another channel can make is made there, once."""
    outer, inner, sim = chain.outer, chain.inner, chain.sim
    first = channel(inner.url, INNER_KEY, priority=1)
    await inner.reload(entry(outer.url, ADMIN_KEY))
    await outer.reload(json.dumps({"channels": [first, channel(sim.base_url, KEY, name="last")]}))
    video = await outer.create()
    assert [(one.state, one.channel) for one in await attempts(outer)] == [("refused", "up"), ("taken", "last")]
    assert [one.state for one in await attempts(inner)] == ["refused"]
    await chain.finished(video)
    assert sim.paid == 1


async def test_what_waited_is_told_from_a_new_order(chain: Chain) -> None:
    """The way of an order is kept with it, so that a circle is found out although each lap waits in a queue."""
    outer, inner = chain.outer, chain.inner
    await inner.reload(entry(outer.url, ADMIN_KEY))
    inner.core.throttle("up", 3600)
    await outer.create()
    assert await attempts(inner) == []
    inner.core.throttled.clear()
    inner.core.freed.set()
    async with asyncio.timeout(60):
        while not (made := await attempts(inner)) or made[0].state == "recorded":
            await asyncio.sleep(0.01)
    assert "loop_detected" in made[0].note
    assert len(await attempts(outer)) == 1


async def test_an_order_passes_so_many_servers(chain: Chain) -> None:
    """Where no server knows its own word, since each began anew, the number of words ends the circle."""
    for words, refused in ((MOST - 1, False), (MOST, True)):
        headers = {HEADER: ", ".join(f"{number:016x}" for number in range(words))}
        status, body, _ = await chain.inner.call(
            "POST", "/v1/videos", json={"prompt": "a kite"}, headers=headers, key=INNER_KEY
        )
        assert (status, (body.get("error") or {}).get("code")) == ((400, "loop_detected") if refused else (200, None))
    assert chain.sim.paid == 1
    assert len(chain.sim.calls("create")[0].headers["x-reelgate-hops"].split(", ")) == MOST


@pytest.mark.parametrize("status", [400, 422, 429])
async def test_a_gateway_between_leaves_the_sentence(recorder: Recorder, tmp_path: Path, status: int) -> None:
    """A circle through a gateway that wraps what it was answered is a certain refusal too, of no client's fault."""
    told = '{"error":{"message":"This order came back (loop_detected): see","code":"loop_detected"}}'
    recorder.say({"code": "fail_to_fetch_task", "message": told, "data": None}, status)
    async with opened(recorder.base_url, tmp_path, dialect="newapi") as up:
        with pytest.raises(UpstreamRefused, match="loop_detected"):
            await up.create(request())
