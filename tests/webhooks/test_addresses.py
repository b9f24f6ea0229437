"""Where webhooks go: public addresses, and those that the operator allows.

The corpus of hostile addresses goes through this door in `tests/upstream/test_doors.py`.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.errors import InvalidRequest
from proxy.upstream import Http
from proxy.upstream.guard import NOTHING, Allowance
from tests.webhooks.receiver import Clock, Post, Receiver

ALLOWED = Allowance(None, ["hooks.internal"])
REFUSED = "the receiver's address is not public, and the operator does not allow it"


class Rebinding(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@pytest.fixture
async def rebound(tmp_path: Path, clock: Clock):
    """What delivers, where every name is this machine."""
    http = Http(resolver=Rebinding())
    await http.start()
    post = Post(tmp_path / "rebound.db", clock, http)
    post.sender.allowance = NOTHING
    await post.open()
    post.start()
    yield post
    await post.close()
    await http.close()


async def test_a_name_that_leads_inside(rebound: Post, receiver: Receiver) -> None:
    """A public name that resolves to a private address is not called, however often it is tried; a retry that finds
    it allowed is."""
    await rebound.endpoint(f"http://hooks.internal:{receiver.server.port}/hook")
    await rebound.ended()
    await rebound.next()
    (row,) = await rebound.rows()
    assert (receiver.heard, row["tries"], row["last_status"], row["note"]) == ([], 2, None, REFUSED)
    rebound.sender.allowance = ALLOWED
    await rebound.next()
    assert len(receiver.heard) == 1


async def test_a_host_that_is_allowed_no_longer(post: Post, receiver: Receiver) -> None:
    """An endpoint from a time when the operator allowed its host is not called any more."""
    await post.endpoint(receiver)
    post.sender.allowance = NOTHING
    await post.ended()
    (row,) = await post.quiet()
    assert (receiver.heard, row["note"]) == ([], REFUSED)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "10.1.2.3",
        "169.254.169.254",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "a.localhost",
        "127.0.0.1.",
    ],
)
async def test_what_is_plainly_inside(post: Post, host: str) -> None:
    """The usual spellings of addresses inside are refused at once, with the way out."""
    post.sender.allowance = NOTHING
    with pytest.raises(InvalidRequest, match=r"server\.webhook_hosts") as caught:
        await post.endpoint(f"https://{host}/")
    assert caught.value.param == "url"


async def test_the_address_stays_out_of_log_and_notes(
    post: Post, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log nor the note of a delivery has the receiver's address or a secret in it."""
    caplog.set_level(logging.WARNING, "aiohttp.access")
    caplog.set_level(logging.DEBUG, "reelgate")
    endpoint = await post.endpoint(receiver.url + "/t0ken")
    closed = await post.endpoint("http://127.0.0.1:9/t0ken")
    receiver.always(500)
    await post.ended()
    await post.quiet()
    receiver.always(410)
    while not any(row["state"] == "failed" for row in await post.rows()):
        await post.next()
    said = caplog.text + " ".join(row["note"] for row in await post.rows())
    for word in ("t0ken", "127.0.0.1", endpoint.secret[6:], closed.secret[6:], "secret words"):
        assert word not in said
    assert f"webhook endpoint {endpoint.id} is stopped" in said
    assert "could not be connected to" in said
