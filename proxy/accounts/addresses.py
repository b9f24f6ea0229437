"""Where a request really comes from, when proxies stand before this server.

`X-Forwarded-For` and `X-Forwarded-Proto` count only where the peer is one of `server.trusted_proxies`: everybody else
can write into them what they like.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNKNOWN: Final = "unknown"
"""The address of a client that has none: it came over a Unix socket."""

_MOST_HOPS: Final = 32
_PORTS: Final = {"http": 80, "https": 443}


def client_address(request: web.BaseRequest, trusted: tuple[str, ...]) -> str:
    """The client's IP address, an IPv4 one always as such, or `unknown`.

    It is the peer's, or behind proxies of the networks `trusted` the last hop of `X-Forwarded-For` that is none of
    them. A hop that is no address ends the search: then it is the last that was one.
    """
    networks = _networks(trusted)
    address = _address(request.remote or "")
    if address is None:
        return UNKNOWN
    if networks and _among(address, networks):
        hops = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ())).split(",")
        for hop in reversed(hops[-_MOST_HOPS:]):
            said = _address(_without_port(hop.strip()))
            if said is None:
                break
            address = said
            if not _among(address, networks):
                break
    return str(address)


def is_https(request: web.BaseRequest, trusted: tuple[str, ...], public_url: str | None) -> bool:
    """Whether the client speaks https: to us, to a trusted proxy that says so, or because `public_url` does."""
    if request.secure or (public_url or "").lower().startswith("https:"):
        return True
    peer = _address(request.remote or "")
    if peer is None or not _among(peer, _networks(trusted)):
        return False
    # Each proxy of a chain may add its own; the first one is the client's.
    return request.headers.get(hdrs.X_FORWARDED_PROTO, "").partition(",")[0].strip().lower() == "https"


def same_origin(request: web.BaseRequest, public_url: str | None) -> bool:
    """Whether a page of ours sent this request, as far as its browser says; where it says nothing, true.

    For changes by cookie, beside a CSRF token. Browsers send `Sec-Fetch-Site` over https and to this machine itself,
    and `Origin` with every POST.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    try:
        # Not the scheme: a proxy that ends TLS need not be a trusted one.
        place = _place(origin)
        # `null`, which a sandboxed frame sends, has no place.
        return place is not None and place in (
            _place(f"{urlsplit(origin).scheme}://{request.host}"),
            _place(public_url or ""),
        )
    except ValueError:
        return False


def _place(url: str) -> tuple[str, int | None] | None:
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return parts.hostname, parts.port or _PORTS.get(parts.scheme)


@functools.lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(one, strict=False) for one in trusted)


def _among(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


@functools.lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    # A zone (fe80::1%eth0) is a matter of this machine.
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _without_port(hop: str) -> str:
    """The address of `10.0.0.7:5000` and `[2001:db8::1]:5000`; anything else as it is."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
