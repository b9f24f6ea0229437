"""What an operator's word does to deliveries, and what the log tells of them."""

from __future__ import annotations

import logging

import pytest

from proxy.accounts.keys import mint
from proxy.records import Key
from tests.webhooks.receiver import Post, Receiver


async def key_of(post: Post, tenant: str | None = None) -> Key:
    """A new API key in the store."""
    _, key, digest = mint("phone", tenant=tenant, now=post.clock())
    await post.store.add_key(key, digest)
    return key


async def test_a_revoked_key_hears_no_more(post: Post, receiver: Receiver) -> None:
    """Nothing new is written down for a tenant that is a revoked key, and what waits fails without another try."""
    receiver.always(500)
    key = await key_of(post)
    await post.endpoint(receiver, tenant=key.tenant)
    await post.ended(key.tenant)
    await post.ended(key.tenant)
    await post.quiet()
    sent = len(receiver.heard)
    await post.store.revoke_key(key.id, int(post.clock()))
    await post.ended(key.tenant)
    assert len(await post.rows()) == 2
    await post.next()
    rows = await post.rows()
    assert [(row["state"], row["note"]) for row in rows] == [
        ("failed", "the API key that the endpoint belongs to was revoked")
    ] * 2
    assert len(receiver.heard) == sent
    assert post.outcomes == {"retried": 2, "failed": 2}


async def test_the_other_keys_of_a_user_hear_on(post: Post, receiver: Receiver) -> None:
    """The end of one key of a user, or of any other tenant, changes nothing."""
    one = await key_of(post, "user_bob")
    stranger = await key_of(post)
    await post.endpoint(receiver, tenant="user_bob")
    for key in (one, stranger):
        await post.store.revoke_key(key.id, int(post.clock()))
    await post.ended("user_bob")
    assert [row["state"] for row in await post.quiet()] == ["delivered"]


async def test_each_failed_try_is_one_line_in_the_log(
    post: Post, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the endpoint, what happened and when the next try is, and never the address."""
    caplog.set_level(logging.INFO, "reelgate.webhooks")
    receiver.always(500)
    endpoint = await post.endpoint(receiver)
    await post.ended()
    await post.next()
    await post.stop()
    first, second = (record.getMessage() for record in caplog.records if record.name == "reelgate.webhooks")
    assert f"to endpoint {endpoint.id} failed: the receiver answered HTTP 500, next try in 5 s" in first
    assert f"to endpoint {endpoint.id} failed: the receiver answered HTTP 500, next try in " in second
    assert "127.0.0.1" not in caplog.text
    assert "/hook" not in caplog.text
