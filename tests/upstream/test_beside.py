"""A provider's second origin: a service of its own without the channel's key, and a storage that may have it."""

from __future__ import annotations

import pytest

from proxy.errors import AccountRefused, InvalidRequest, UpstreamError
from proxy.models import Source
from proxy.upstream import Upstream
from proxy.upstream.http import Http
from tests.upstream.conftest import KEY, Sites, answering, channel


def keyed(upstream: Upstream) -> Upstream:
    upstream.headers = lambda: {"Authorization": f"Bearer {KEY}"}
    return upstream


async def test_a_service_beside_hears_no_key(http: Http, sites: Sites) -> None:
    """What is sent beside the channel's own origin has neither its key nor its refusals, and a form is urlencoded."""
    own, other = await sites(answering(200, text="{}")), await sites(answering(200, text='{"access_token": "t"}'))
    upstream = keyed(channel(http, own.url))
    upstream.refusal = lambda status, reply: AccountRefused("never")
    beside = upstream.beside(f"{other.url}/token")
    assert beside.redactor is upstream.redactor
    reply = await beside.post(f"{other.url}/token", fields={"grant_type": "a:b", "x": "ü &="}, paid=False)
    assert reply.data == {"access_token": "t"}
    assert own.requests == []
    (heard,) = other.requests
    assert (heard.method, heard.path) == ("POST", "/token")
    assert heard.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert KEY not in str(heard.headers)


async def test_a_service_beside_stays_at_its_origin(http: Http, sites: Sites) -> None:
    """Neither of the two upstreams calls the other's origin."""
    own, other = await sites(answering(200, text="{}")), await sites(answering(200, text="{}"))
    upstream = channel(http, own.url)
    beside = upstream.beside(other.url)
    for one, site in ((upstream, other), (beside, own)):
        with pytest.raises(UpstreamError, match="not on its own origin"):
            await one.post(f"{site.url}/x", json={})
    assert own.requests == other.requests == []


async def test_a_wrong_address_beside_is_refused(http: Http) -> None:
    """A second origin that is no address is an error at once."""
    upstream = channel(http, "https://api.example")
    with pytest.raises(ValueError, match="base_url cannot be used"):
        upstream.beside("ftp://example.com")
    with pytest.raises(InvalidRequest):
        upstream.trust("storage.example")


async def test_a_trusted_origin_hears_the_key(http: Http, sites: Sites) -> None:
    """The key of a result goes to an origin that the plugin trusts, and still to no other; other channels learn nothing
    of it."""
    own, storage, stranger = [await sites(answering(200, text="bytes")) for _ in range(3)]
    upstream = keyed(channel(http, own.url, allow_hosts=["127.0.0.1"]))
    upstream.trust(f"{storage.url}/any/prefix")
    for site, hears in ((own, True), (storage, True), (stranger, False)):
        async with upstream.open(Source(url=f"{site.url}/v.mp4", headers=upstream.headers())) as response:
            assert await response.read() == b"bytes"
        assert (KEY in str(site.requests[-1].headers)) is hears
    again = keyed(channel(http, own.url, allow_hosts=["127.0.0.1"]))
    async with again.open(Source(url=f"{storage.url}/v.mp4", headers=again.headers())):
        assert KEY not in str(storage.requests[-1].headers)


@pytest.mark.parametrize("form", [True, False])
async def test_what_went_with_a_call_is_not_told(http: Http, sites: Sites, form: bool) -> None:
    """A secret of a form or of a call's own header that the other side repeats does not reach a client."""
    secret = "q7-not-known-to-the-configuration"
    site = await sites(answering(400, {"error": {"message": f"the secret {secret} is wrong"}}))
    beside = channel(http, "https://api.example").beside(site.url)
    fields, headers = ({"client_secret": secret}, None) if form else (None, {"X-Secret": secret})
    with pytest.raises(InvalidRequest) as caught:
        await beside.post("/token", fields=fields, headers=headers, paid=False)
    assert str(caught.value) == "The upstream refused the request: the secret [id] is wrong"
