"""The bytes on the wire, as OpenAI's SDK and Standard Webhooks' own library check them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from pathlib import Path

import openai
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.webhooks.receiver import Heard, Post, Receiver

sdk = openai.OpenAI(api_key="none")
DAY = 24 * 3600.0
NODE_FOLDER = Path(__file__).parents[1] / "sdk" / "node"
NODE_SCRIPT = """
import OpenAI from "openai";
const [payload, headers, ...secrets] = JSON.parse(process.argv[1]);
const client = new OpenAI({ apiKey: "none" });
const events = [];
for (const secret of secrets) events.push(await client.webhooks.unwrap(payload, headers, secret));
console.log(JSON.stringify(events));
"""


def believed(heard: Heard, secret: str) -> bool:
    """Whether OpenAI's SDK takes the signature, at whatever time it was made."""
    try:
        sdk.webhooks.verify_signature(heard.body, heard.headers, secret=secret, tolerance=10**9)
    except openai.InvalidWebhookSignatureError:
        return False
    return True


async def test_the_event(post: Post, receiver: Receiver) -> None:
    """The request is a POST of OpenAI's thin event, with its headers, and both libraries believe it."""
    endpoint = await post.endpoint(receiver)
    video = await post.ended()
    await post.quiet()
    (heard,) = receiver.heard
    assert heard.event == {
        "id": heard.event["id"],
        "object": "event",
        "created_at": int(post.clock()),
        "type": "video.completed",
        "data": {"id": video.id},
    }
    assert re.fullmatch(r"evt_[0-9a-f]{32}", heard.event["id"])
    assert re.fullmatch(r"wh_[0-9a-f]{32}", heard.id)
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", heard.headers["webhook-signature"])
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["user-agent"].startswith("Reelgate")
    assert "authorization" not in heard.headers
    told = sdk.webhooks.unwrap(heard.body, heard.headers, secret=endpoint.secret)
    assert (told.type, told.data.id) == ("video.completed", video.id)  # type: ignore[comparison-overlap]
    assert Webhook(endpoint.secret).verify(heard.body, heard.headers) == heard.event


async def test_forgeries(post: Post, receiver: Receiver) -> None:
    """Neither library believes the event with another secret, id, time or body."""
    endpoint = await post.endpoint(receiver)
    other = await post.endpoint(receiver, tenant="bert")
    await post.ended()
    await post.quiet()
    (heard,) = receiver.heard
    later = str(int(heard.headers["webhook-timestamp"]) + 1)
    assert believed(heard, endpoint.secret)
    assert not believed(heard, other.secret)
    assert not believed(heard._replace(body=heard.body.replace(b"completed", b"failed")), endpoint.secret)
    for name, value in (("webhook-id", "wh_0"), ("webhook-timestamp", later)):
        forged = heard._replace(headers={**heard.headers, name: value})
        assert not believed(forged, endpoint.secret)
        with pytest.raises(WebhookVerificationError):
            Webhook(endpoint.secret).verify(forged.body, forged.headers)


async def test_rotation(post: Post, receiver: Receiver) -> None:
    """For a day after a rotation that keeps the old secret both are believed, in either library; then the new one."""
    old = (await post.endpoint(receiver)).secret
    endpoint_id = (await post.endpoints.page("anna", after=None, limit=1, newest_first=True))[0][0].id
    new = (await post.endpoints.rotate("anna", endpoint_id, keep_old=True)).secret
    assert new != old
    await post.ended()
    await post.quiet()
    both = receiver.heard[-1]
    assert re.fullmatch(r"v1,\S{44} v1,\S{44}", both.headers["webhook-signature"])
    for secret in (old, new):
        assert believed(both, secret)
        assert Webhook(secret).verify(both.body, both.headers) == both.event
    began = post.clock.now
    for moment, still in ((began + DAY - 1, True), (began + DAY, False)):
        post.clock.now = moment
        await post.ended()
        await post.quiet()
        assert believed(receiver.heard[-1], new)
        assert believed(receiver.heard[-1], old) is still
        assert len(receiver.heard[-1].headers["webhook-signature"].split(" ")) == 1 + still


async def test_rotation_at_once(post: Post, receiver: Receiver) -> None:
    """After a rotation that does not keep the old secret only the new one is believed, also for what waited."""
    endpoint = await post.endpoint(receiver)
    receiver.always(500)
    await post.ended()
    await post.quiet()
    kept = await post.endpoints.rotate("anna", endpoint.id, keep_old=True)
    new = await post.endpoints.rotate("anna", endpoint.id, keep_old=False)
    await post.next()
    assert [believed(receiver.heard[-1], one.secret) for one in (endpoint, kept, new)] == [False, False, True]


async def test_secrets_do_not_show(post: Post) -> None:
    """A secret is 32 bytes of chance, and is not in the text of the object that has it."""
    endpoint = await post.endpoint("https://example.com/hook")
    rotated = await post.endpoints.rotate("anna", endpoint.id, keep_old=True)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", endpoint.secret)
    for secret in (endpoint.secret, rotated.secret):
        assert secret[6:] not in repr(rotated)


@pytest.mark.skipif("REELGATE_NODE" not in os.environ, reason="make node-test installs the npm package first")
async def test_node(post: Post, receiver: Receiver) -> None:
    """openai-node believes the event too, with the old secret and the new one during a rotation."""
    old = await post.endpoint(receiver)
    new = await post.endpoints.rotate("anna", old.id, keep_old=True)
    await post.ended()
    await post.quiet()
    (heard,) = receiver.heard
    node = shutil.which("node")
    assert node is not None
    asked = json.dumps([heard.body.decode(), heard.headers, old.secret, new.secret])
    process = await asyncio.create_subprocess_exec(
        *(node, "--input-type=module", "--eval", NODE_SCRIPT, asked),
        cwd=NODE_FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    assert json.loads(output) == [heard.event, heard.event]


def test_the_clock_is_the_receivers(clock: object) -> None:
    """The time that these tests begin with is the real one, which the libraries compare with."""
    assert abs(clock() - time.time()) < 60  # type: ignore[operator]
