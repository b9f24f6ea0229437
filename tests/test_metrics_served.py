"""`/metrics` over HTTP: who may read it, in which form, and what the life of a video leaves there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from proxy import Source, UpstreamError, UpstreamJob
from proxy.accounts.keys import mint
from proxy.app import WIRING
from tests.conftest import Launch, Product
from tests.test_metrics import Samples, samples

PUPPETS = Path(__file__).parent / "engine" / "plugins"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def scrape(product: Product, **options: Any) -> Samples:
    status, body, headers = await product.call("GET", "/metrics", **options)
    assert (status, headers["content-type"]) == (200, PLAIN), body
    return samples(body.decode())


@pytest.fixture
def puppets(launch: Launch) -> Any:
    """The product with one scripted channel."""

    def start(server: str = "", **options: Any) -> Awaitable[Product]:
        return launch(
            f"server: {{submit_wait: 5{server}}}\n"
            "channels: [{name: up, type: puppet, models: {film: film-1}, api_key: canary-provider-key}]",
            plugins=(PUPPETS,),
            **options,
        )

    return start


async def test_an_admin_key_is_wanted(puppets: Any) -> None:
    """By default /metrics is refused without a key, with a wrong one and with a client's; it is not under /v1."""
    product = await puppets()
    key = await _client_key(product)
    assert (await product.call("GET", "/v1/videos", key=key))[0] == 200
    for wrong, refusal in (
        (None, (401, "invalid_api_key")),
        ("rg_wrong", (401, "invalid_api_key")),
        (key, (403, "permission_denied")),
    ):
        status, body, _ = await product.call("GET", "/metrics", key=wrong)
        assert (status, body["error"]["code"]) == refusal
    assert 'reelgate_requests_total{method="GET",route="/metrics",status="401"}' in await scrape(product)
    assert (await product.call("GET", "/v1/metrics"))[0] == 404
    assert (await product.call("HEAD", "/metrics"))[:2] == (200, b"")


async def _client_key(product: Product) -> str:
    plain, key, sha256 = mint("phone", now=0)
    engine = product.server.app[WIRING].engine
    assert engine is not None
    await engine._core.store.add_key(key, sha256)
    return plain


async def test_open_metrics_are_open(puppets: Any) -> None:
    """With `metrics: open`, everybody may read them, whatever key they send."""
    product = await puppets(", metrics: open")
    for key in (None, "rg_wrong"):
        assert await scrape(product, key=key)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, PLAIN),
        ("*/*", PLAIN),
        ("text/plain; version=abc", PLAIN),
        # What Prometheus 3 sends.
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3", OPEN),
        ('Application/OpenMetrics-Text; version="../x', OPEN),
    ],
)
async def test_the_scraper_chooses_the_form(puppets: Any, accept: str | None, content_type: str) -> None:
    """OpenMetrics for who asks for it, else the plain form; nothing that is asked for breaks it."""
    product = await puppets()
    headers = {} if accept is None else {"Accept": accept}
    status, body, answer = await product.call("GET", "/metrics", headers=headers)
    assert (status, answer["content-type"]) == (200, content_type)
    parse = openmetrics_parser if content_type == OPEN else parser
    assert list(parse.text_string_to_metric_families(body.decode()))


async def test_the_life_of_a_video_is_counted(puppets: Any) -> None:
    """A film ordered, polled, completed and downloaded moves each family that tells of it, by exactly what it did."""
    product = await puppets()
    product.channel("up").then("fetch", UpstreamError("busy"), UpstreamJob(id="x", status="in_progress"))
    video = await product.create(model="film")
    assert (await product.done(video["id"]))["status"] == "completed"
    _, film, _ = await product.call("GET", f"/v1/videos/{video['id']}/content")
    found = await scrape(product)
    assert found['reelgate_submissions_total{channel="up",outcome="taken"}'] == 1
    assert found['reelgate_submission_seconds_count{channel="up"}'] == 1
    assert found['reelgate_polls_total{channel="up",outcome="missed"}'] == 1
    assert found['reelgate_polls_total{channel="up",outcome="answered"}'] == 1
    assert found['reelgate_polls_total{channel="up",outcome="ended"}'] == 1
    assert found['reelgate_poll_lag_seconds_count{channel="up"}'] == 3
    assert found['reelgate_videos_ended_total{channel="up",code="",status="completed"}'] == 1
    assert found['reelgate_time_to_complete_seconds_count{channel="up",model="film"}'] == 1
    assert found['reelgate_relayed_bytes_total{channel="up"}'] == len(film)
    assert found['reelgate_requests_total{method="POST",route="/videos",status="200"}'] == 1
    assert found['reelgate_requests_total{method="GET",route="/videos/{id}/content",status="200"}'] == 1


async def test_what_stands_now_is_told(puppets: Any) -> None:
    """What runs, waits and is unknown is there at each scrape, also where it is nothing; so is what the store wrote."""
    product = await puppets()
    never: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    product.channel("up").then("fetch", never)
    video = await product.create(model="film")
    found = await scrape(product)
    assert found['reelgate_running{channel="up"}'] == 1
    assert found["reelgate_queue_oldest_seconds"] == 0
    assert found["reelgate_unknown_outcomes"] == 0
    assert found['reelgate_breaker_state{channel="up",state="closed"}'] == 1
    assert found["reelgate_store_operations_total"] >= found["reelgate_store_commits_total"] > 0
    never.set_result(UpstreamJob(id="x", status="completed"))
    await product.done(video["id"])
    assert (await scrape(product))['reelgate_running{channel="up"}'] == 0


async def test_routes_are_counted_by_their_template(puppets: Any) -> None:
    """With and without /v1 is one route; unknown URLs and methods are `other`, and a path leaves no trace."""
    product = await puppets()
    for path in ("/v1/videos/video_1", "/videos/video_2", "/v1/canary-path", "/metrics/canary"):
        assert (await product.call("GET", path))[0] == 404
    await product.call("CANARY", "/v1/videos/video_1")
    await product.call("PUT", "/v1/videos")
    found = await scrape(product)
    assert found['reelgate_requests_total{method="GET",route="/videos/{id}",status="404"}'] == 2
    assert found['reelgate_requests_total{method="GET",route="other",status="404"}'] == 2
    assert found['reelgate_requests_total{method="PUT",route="other",status="405"}'] == 1
    assert not any("canary" in name.lower() or "video_" in name for name in found)


async def test_nothing_private_is_told(puppets: Any) -> None:
    """No id, prompt, key, metadata, upstream word or upstream id is in the answer, after all that can happen to a video
    has happened."""
    product = await puppets(", metrics: open")
    channel = product.channel("up")
    said = "canary-sentence from https://canary.example.com/v1 with canary-provider-key"
    failed = UpstreamJob(id="canary-upstream", status="failed", error=said)
    channel.then("create", UpstreamJob(id="canary-upstream", status="queued"), UpstreamError(said), UpstreamError(said))
    channel.then("fetch", UpstreamError(said), failed)
    ids = []
    for number in range(4):
        body = {"prompt": f"canary-prompt {number}", "model": "film", "metadata": {"canary-key": "canary-value"}}
        headers = {"Idempotency-Key": f"canary-{number}"}
        _, video, headers = await product.call("POST", "/v1/videos?canary=1", json=body, headers=headers)
        ids += [video.get("id", "canary"), headers["x-request-id"]]
    await product.done(ids[0])
    channel.then("content", Source(data=b"canary-bytes"))
    await product.call("GET", f"/v1/videos/{ids[0]}/content?canary=1")
    await product.call("POST", f"/v1/videos/{ids[0]}/remix", json={"prompt": "canary-prompt"})
    await product.call("POST", "/v1/videos", json={"prompt": "canary-prompt", "model": "canary-model"})
    _, text, _ = await product.call("GET", "/metrics", key=None)
    attempts = [request.attempt_id for request in channel.asked("create")]
    assert attempts
    assert [word for word in ("canary", *ids, *attempts, "rg_", "film-1") if word in text.decode()] == []
