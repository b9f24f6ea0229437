"""Which addresses are public, which URLs can be fetched, and what an allow_hosts entry means."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.upstream.guard import (
    Allowance,
    ForbiddenAddress,
    UnusableUrl,
    check_host,
    check_public,
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
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_addresses(address: str) -> None:
    """Ordinary public hosts pass, also behind a DNS64."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(host.strip("[]") for host in HOSTS if host[0] == "[" and host != "[64:ff9b::8.8.8.8]"),
        "64:ff9b::10.0.0.1",
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
def test_wrapping_gives_no_way_around(address: IPv4Address) -> None:
    """An IPv4 address inside IPv6 is never public, but for the NAT64 of one that is public by itself."""
    assert is_public(f"64:ff9b::{address}") == is_public(str(address))
    for prefix in ("::ffff:", "::ffff:0:", "::", "64:ff9b:1::", "2001:470:1:1:0:5efe:", "2001:470:1:1:200:5efe:"):
        assert not is_public(f"{prefix}{address}")
    number = int(address)
    assert not is_public(f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1")
    # Teredo hides the client's address by turning its bits over (RFC 4380 4).
    hidden = number ^ 0xFFFFFFFF
    assert not is_public(f"2001:0:102:304::{hidden >> 16:x}:{hidden & 0xFFFF:x}")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
@settings(deadline=None, max_examples=200)
def test_public_implies_global(address: IPv4Address | IPv6Address) -> None:
    """The guard is never laxer than the standard library."""
    if is_public(str(address)) and address not in IPv6Network("64:ff9b::/96"):
        assert address.is_global


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "2606:4700::1111", "example.com", "example.com.", "x-1_y.example", "0xa.io"]
)
def test_hosts_that_may_be_dialled(host: str) -> None:
    """Plain public addresses pass, and so does every name: where it leads is seen when it is dialled."""
    check_host(host)


@pytest.mark.parametrize("host", ["64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "::1%25lo", "127.1", "0X7F.1", "a.localhost."])
def test_hosts_that_are_forbidden(host: str) -> None:
    """What stands for an address that is not public is told by its spelling alone, and so is what wraps one."""
    with pytest.raises(ForbiddenAddress):
        check_host(host)


@pytest.mark.parametrize(
    "host", ["0x08080808", "8.8.2056", "134744072", "010.8.8.8", "8.8.8.8.", "256.0.0.1", "1.2.3.4.5"]
)
def test_odd_spellings_of_public_addresses(host: str) -> None:
    """An odd spelling is refused for what it is, not called private, also where the address would be public."""
    with pytest.raises(UnusableUrl) as caught:
        check_host(host)
    assert not isinstance(caught.value, ForbiddenAddress)


@given(st.ip_addresses(v=4), st.permutations([8, 16, 10]), st.integers(1, 4))
@settings(deadline=None, max_examples=200)
def test_no_spelling_hides_an_address(address: IPv4Address, bases: list[int], parts: int) -> None:
    """In any base and with any number of parts, an address is found; only the plain spelling of a public one passes."""
    numbers = [*address.packed[: parts - 1], int.from_bytes(address.packed[parts - 1 :], "big")]
    written = {8: "0{:o}", 10: "{}", 16: "0x{:X}"}
    host = ".".join(written[base].format(number) for number, base in zip(numbers, bases * 2, strict=False))
    assume(host != str(address))
    with pytest.raises(UnusableUrl) as caught:
        check_host(host)
    assert isinstance(caught.value, ForbiddenAddress) is not is_public(address)


def test_addresses_that_are_handed_on() -> None:
    """An address that others will open is public by its spelling, or permitted, and keeps its bytes."""
    signed = "https://cdn.example/v.mp4?Credential=AK%2F1&sig=%7e%2C"
    assert str(check_public(signed)) == signed
    home = Allowance("http://10.0.0.7:8188")
    assert str(check_public("http://10.0.0.7:8188/v", home)) == "http://10.0.0.7:8188/v"
    for url in ("http://10.0.0.7:8189/v", "https://10.0.0.7:8188/v", "javascript:alert(1)", "http://127.1/"):
        with pytest.raises(UnusableUrl):
            check_public(url, home)


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
