"""A result is fetched from where the channel may fetch it, and its troubles are told apart."""

from __future__ import annotations

import gzip

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from proxy.errors import (
    UpstreamError,
    UpstreamTimeout,
)
from proxy.models import Source
from proxy.upstream import Timeout
from proxy.upstream.http import Http
from tests.upstream.conftest import (
    KEY,
    QUICK,
    Sites,
    Wires,
    answering,
    channel,
    close,
    cut,
    garbage,
    hang,
)


async def test_results_on_private_hosts_need_permission(
    http: Http, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    """A result on a private host needs the channel's own origin or an allow_hosts entry; the log says which."""
    site = await sites(answering(200, text="bytes"))
    port = site.url.rpartition(":")[2]
    path = "/out/secret-path.mp4?sig=zzz"
    for upstream in (channel(http, site.url + "/v1"), channel(http, "http://other.example", allow_hosts=["127.0.0.1"])):
        async with upstream.open(Source(url=site.url + path)) as response:
            assert await response.read() == b"bytes"
    seen = len(site.requests)
    for allow in ((), ("127.0.0.1:1",), ("localhost",)):
        upstream = channel(http, "http://other.example", allow_hosts=allow)
        with pytest.raises(UpstreamError) as caught:
            async with upstream.open(Source(url=site.url + path)):
                pass
        assert "127.0.0.1" not in str(caught.value)
    assert len(site.requests) == seen
    assert "add it to allow_hosts" in caplog.text
    assert "127.0.0.1" in caplog.text
    assert "secret-path" not in caplog.text
    assert port not in caplog.text


async def test_keys_go_to_the_channels_own_origin_only(
    http: Http, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    """A plugin that asks with its key wherever the upstream says does not hand it out, not even to an allowed host."""
    own = await sites(answering(200, text="bytes"))
    strangers = [await sites(answering(status, text="bytes")) for status in (200, 401)]
    upstream = channel(http, own.url + "/v1", allow_hosts=["127.0.0.1", "localhost"])
    headers = {"Authorization": f"Bearer {KEY}", "X-Key": KEY}
    elsewhere = own.url.replace("127.0.0.1", "localhost")
    for url, has_key in ((own.url, True), (strangers[0].url, False), (strangers[1].url, False), (elsewhere, False)):
        async with upstream.open(Source(url=url + "/secret-path.mp4", headers=headers)) as response:
            assert await response.read() == b"bytes"
        site = next(site for site in (own, *strangers) if site.url.rpartition(":")[2] == url.rpartition(":")[2])
        assert (KEY in str(site.requests[-1].headers)) is has_key
    assert [record.levelname for record in caplog.records if "wants a key" in record.message] == ["WARNING"]
    assert KEY not in caplog.text
    assert "secret-path" not in caplog.text


async def test_addresses_that_clients_may_be_sent_to(http: Http) -> None:
    """Handed out is what needs no key and is public by its spelling or the channel's own, with every byte as it was."""
    signed = "https://cdn.example/v%2F.mp4?Credential=AK%2F1&sig=%7e%2C"
    upstream = channel(http, "http://10.0.0.7:8188/v1", allow_hosts=["cdn.internal"])
    for url in (signed, "http://10.0.0.7:8188/out.mp4", "http://cdn.internal/out.mp4"):
        assert str(upstream.handed_out(Source(url=url))) == url
        assert upstream.handed_out(Source(url=url, headers={"Authorization": KEY})) is None
        # Some providers take the key in the query too.
        for key in (KEY, KEY.replace("-", "%2D")):
            assert upstream.handed_out(Source(url=f"{url}{'&' if '?' in url else '?'}key={key}")) is None
    for url in (
        "http://10.0.0.8/x",
        "http://10.0.0.7/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "/x",
        "//x/y",
        "",
    ):
        assert upstream.handed_out(Source(url=url)) is None
    assert upstream.handed_out(Source(data=b"x")) is None


async def test_results_in_trouble(http: Http, wires: Wires) -> None:
    """Until a result's answer begins its troubles are upstream errors; a cut in the middle breaks the reading."""
    for script, kind in ((hang, UpstreamTimeout), (close, UpstreamError), (garbage, UpstreamError)):
        wire = await wires(script)
        with pytest.raises(UpstreamError) as caught:
            async with channel(http, wire.url, timeout=QUICK if script is hang else Timeout()).open(
                Source(url=wire.url + "/x")
            ):
                pass
        assert type(caught.value) is kind
    for url in ("file:///etc/passwd", f"http://127.0.0.1:{unused_port()}/", "http://[/"):
        upstream = channel(http, wire.url, allow_hosts=["127.0.0.1"])
        with pytest.raises(UpstreamError):
            async with upstream.open(Source(url=url)):
                pass
    wire = await wires(cut)
    async with channel(http, wire.url).open(Source(url=wire.url + "/x")) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    with pytest.raises(ValueError, match="url"):
        async with channel(http, wire.url).open(Source(data=b"x")):
            pass


async def test_a_readers_own_error_stays_its_own(http: Http, sites: Sites) -> None:
    """An error of whoever reads a result, such as a client that hangs up, is not taken for the upstream's."""
    site = await sites(answering(200, text="bytes"))
    with pytest.raises(ConnectionResetError, match="our client"):
        async with channel(http, site.url).open(Source(url=site.url)):
            raise ConnectionResetError("our client hung up")


async def test_result_statuses_pass(http: Http, sites: Sites) -> None:
    """Whatever status a result's answer has, its reader sees it, and the bytes as they were sent."""
    packed = gzip.compress(b"bytes")

    async def answer(request: web.Request) -> web.Response:
        status = int(request.query["status"])
        return web.Response(status=status, body=packed, headers={"Content-Encoding": "gzip"})

    site = await sites(answer)
    for status in (200, 206, 403, 404, 416, 500):
        async with channel(http, site.url).open(Source(url=f"{site.url}/?status={status}")) as response:
            assert response.status == status
            assert await response.read() == packed
