"""Which addresses are public, which URLs can be fetched, and what an allow_hosts entry means."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.upstream.guard import (
    Allowance,
    UnusableUrl,
    check_url,
    is_public,
    parse_host,
    same_origin,
)
from tests.upstream.hostile_urls import HOSTS


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.216.34",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_addresses(address: str) -> None:
    """Ordinary public hosts pass, also behind a DNS64."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(host.strip("[]") for host in HOSTS if host[0] == "[" and "%" not in host),
        "fe80::1%lo",
        "2606:4700::1%eth0",
        "::ffff:0:127.0.0.1",
        "not an address",
        "",
        "8.8.8.8 ",
        "010.8.8.8",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """Everything that is no public unicast host is refused, however IPv6 wraps it, and so is what is no address."""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
@settings(deadline=None, max_examples=200)
def test_wrapping_gives_no_way_around(address: object) -> None:
    """An IPv4 address inside IPv6 is never public where the bare one is not."""
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") == public
    assert is_public(f"64:ff9b::{address}") == public
    assert not is_public(f"::{address}")
    assert not is_public(f"64:ff9b:1::{address}")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
@settings(deadline=None, max_examples=200)
def test_public_implies_global(address: object) -> None:
    """The guard is never laxer than the standard library."""
    import ipaddress

    parsed = ipaddress.ip_address(str(address))
    if is_public(str(address)) and parsed not in ipaddress.ip_network("64:ff9b::/96"):
        assert parsed.is_global or getattr(parsed, "ipv4_mapped", None) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/a%2Fb/c%20d.mp4?X-Amz-Credential=AK%2F2026%2Fs3&sig=a%2Bb%3D~'()",
        "http://example.com",
        "https://example.com:8443/x?y=%7e#fragment",
        "http://[2606:4700::1111]/x",
    ],
)
def test_signed_addresses_keep_their_bytes(url: str) -> None:
    """An address in legal characters is requested as it was written, percent signs included."""
    assert str(check_url(url)) in (url, url + "/")


def test_unusual_addresses_are_normalised() -> None:
    """Names beyond ASCII are encoded, and what is checked is what is dialled."""
    assert check_url("http://Bücher.example/ä").raw_host == "xn--bcher-kva.example"
    assert check_url("http://EXAMPLE.com/").raw_host == "example.com"
    assert check_url("http://１２７.0.0.1/").raw_host == "127.0.0.1"


@example("http://[]@")
@given(st.text(max_size=80) | st.text(alphabet="htp:/\\@?#[]%.0123456789abc", max_size=80).map("http://".__add__))
@settings(deadline=None, max_examples=300)
def test_check_url_never_breaks(url: str) -> None:
    """Any text is either a URL with a host and a port, or a clean refusal."""
    try:
        checked = check_url(url)
    except UnusableUrl:
        return
    assert checked.scheme in ("http", "https")
    assert checked.raw_host
    assert checked.port
    assert checked.user is None


@pytest.mark.parametrize(
    ("entry", "parsed"),
    [
        ("10.0.0.7", ("10.0.0.7", None)),
        ("10.0.0.7:8188", ("10.0.0.7", 8188)),
        ("CDN.internal", ("cdn.internal", None)),
        ("cdn.internal:8443", ("cdn.internal", 8443)),
        ("cdn.internal:80", ("cdn.internal", 80)),
        ("fd00::7", ("fd00::7", None)),
        ("[fd00:0::7]:8188", ("fd00::7", 8188)),
    ],
)
def test_allow_hosts_entries(entry: str, parsed: tuple[str, int | None]) -> None:
    """A host may be a name, an IPv4 or an IPv6 address, with or without a port."""
    assert parse_host(entry) == parsed


@pytest.mark.parametrize(
    "entry", ["", "http://x", "x/y", "x y", "*.internal", "10.0.0.0/8", "u@x", "x:0", "x:", "x:99999", "a,b", ":80"]
)
def test_wrong_allow_hosts_entries(entry: str) -> None:
    """What is no host is refused with the entry in the message."""
    with pytest.raises(ValueError) as caught:
        Allowance(allow_hosts=[entry])
    assert repr(entry) in str(caught.value)


def test_default_ports_are_the_same_origin() -> None:
    """A port that is written out is the same as the scheme's own."""
    assert same_origin(URL("http://X.example"), URL("http://x.example:80/y"))
    assert not same_origin(URL("http://x.example"), URL("https://x.example"))
    assert Allowance(allow_hosts=["x.example:443"]).permits(URL("https://x.example/"))
    assert not Allowance(allow_hosts=["x.example:443"]).permits(URL("http://x.example/"))
