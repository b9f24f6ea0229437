"""Webhooks through the whole product: a client orders a video, and its receiver hears of the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai

from proxy.models import JobError, UpstreamJob
from tests.conftest import ADMIN_KEY, Launch
from tests.webhooks.receiver import Receiver

PUPPET = Path(__file__).parents[1] / "engine" / "plugins"
CHANNELS = """
server: {webhook_hosts: [127.0.0.1]}
channels: [{name: one, type: puppet, models: [m]}]
"""


async def test_a_client_hears_how_its_videos_ended(launch: Launch, receiver: Receiver) -> None:
    """A completed and a failed video each arrive as a signed event of their type, which `unwrap` believes."""
    product = await launch(CHANNELS, plugins=(PUPPET,))
    async with openai.AsyncOpenAI(base_url=f"{product.url}/v1", api_key=ADMIN_KEY, max_retries=0) as client:
        endpoint = await client.webhooks.create(
            name="hook", url=receiver.url, event_types=["video.completed", "video.failed"]
        )
        done = await product.create(model="m")
        await product.until(done["id"], "completed")
        refused = UpstreamJob(id="up-2", status="failed", error=JobError("moderation_blocked", "no"))
        product.channel("one").then("fetch", refused)
        failed = await product.create(model="m")
        await product.until(failed["id"], "failed")
        async with asyncio.timeout(30):
            while len(receiver.heard) < 2:
                await asyncio.sleep(0.005)
        told = {}
        for heard in receiver.heard:
            event = client.webhooks.unwrap(heard.body, heard.headers, secret=endpoint.signing_secret)
            told[event.data.id] = event.type
    assert told == {done["id"]: "video.completed", failed["id"]: "video.failed"}


async def test_the_operator_decides_about_private_hosts(launch: Launch, receiver: Receiver) -> None:
    """Without `server.webhook_hosts` an endpoint on this machine is refused."""
    product = await launch(CHANNELS.replace("webhook_hosts: [127.0.0.1]", ""), plugins=(PUPPET,))
    body = {"name": "hook", "url": receiver.url, "event_types": ["video.completed"]}
    status, answer, _ = await product.call("POST", "/v1/webhook_endpoints", json=body)
    assert (status, answer["error"]["param"]) == (400, "url")
