"""Which addresses may be dialled: the guard of everything that arrives in a body or comes from an upstream.

A check of the URL before the request is not enough: names are resolved again, redirects lead elsewhere. So the last
word is spoken where the socket is made, about the address actually dialled.

Two kinds of IPv6 address stand for an IPv4 one. An IPv4-mapped one (::ffff:0:0/96) is refused wherever it appears. One
behind a NAT64 (64:ff9b::/96) is refused where it is written in a URL, but passes as an answer of DNS if the IPv4
address inside is public: a machine with IPv6 only reaches the rest of the web through such answers, and no other way.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from asyncio import get_running_loop
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy.errors import InvalidRequest

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

LONGEST_URL: Final = 8192
_LOOKUPS: Final = 32

# Beyond `is_global`, whose answers differ between the patch releases of Python 3.11 to 3.13 (IANA's special-purpose
# registries, https://www.iana.org/assignments/iana-ipv4-special-registry/).
_NEVER_4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host agent: a public number, answered inside every machine
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
# For IPv6 the other way round: only global unicast is let through, less what tunnels to IPv4 or is no host.
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_NEVER_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
        ),  # Teredo and protocols, documentation, 6to4, documentation
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOW_32: Final = 0xFFFFFFFF
# RFC 5214 6.1: a tunnel to the IPv4 address in the last 32 bits, whatever the prefix. The mask is for the bit "global".
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFDFFFFFF

# The first is one by RFC 6761, the others in the hosts files of most systems.
_OWN_NAMES: Final = frozenset(("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"))

_LEGAL_URL: Final = re.compile(r"[!-\[\]-~]+")  # ASCII without space, controls and backslash
# Python reads more as a number than other parsers do, such as "8_0" and "+80".
_AUTHORITY: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]{0,5})?")
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
_LONGEST_NAME: Final = 253
# No name ends like this, so that it is an IPv4 address or nothing (https://url.spec.whatwg.org/#ends-in-a-number-checker).
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UGLY: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")


class UnusableUrl(InvalidRequest):
    """An address that cannot be fetched from: its form, or where its redirects lead."""


class ForbiddenAddress(UnusableUrl):
    """An address that is not public and not allowed. The message never says what a name resolved to.

    `host` is the host as written in the URL that was refused, for the operator's log.
    """

    def __init__(self, host: str) -> None:
        super().__init__("The URL leads to an address that is not public; this server does not fetch from there.")
        self.host = host


# ---------------------------------------------------------------- the form of a URL


def check_url(url: str) -> URL:
    """`url`, parsed; `UnusableUrl` unless it is an http or https address with a host and without a password.

    The result keeps the percent-encoding as written, since many signed addresses are signed byte by byte.
    """
    if len(url) > LONGEST_URL:
        raise UnusableUrl(f"The URL has {len(url)} characters; at most {LONGEST_URL} are possible.")
    if _UGLY.search(url):
        raise UnusableUrl("The URL has spaces, backslashes or control characters; percent-encode them.")
    try:
        parsed = URL(url)
        port = parsed.port
        authority = urlsplit(url).netloc
        parsed.host  # noqa: B018 - decoded here, because broken Punycode raises
    except (ValueError, IndexError):  # yarl 1.25 indexes an empty host in "http://[]@"
        raise UnusableUrl("The URL is malformed.") from None
    if parsed.scheme not in ("http", "https"):
        raise UnusableUrl("The URL must begin with http:// or https://.")
    if parsed.raw_user is not None or parsed.raw_password is not None or "@" in (parsed.raw_authority or ""):
        raise UnusableUrl("The URL must not have a user name or password in it.")
    if not _possible(parsed.raw_host or "") or not port or not _AUTHORITY.fullmatch(authority):
        raise UnusableUrl("The URL names no possible host or an impossible port.")
    if _LEGAL_URL.fullmatch(url):
        written = URL(url, encoded=True)
        if written.scheme == parsed.scheme and written.raw_authority == parsed.raw_authority:
            return written
    return parsed


def _possible(host: str) -> bool:
    if ":" in host:
        return _is_ipv6(host)
    # Python's resolver raises a UnicodeError for labels that DNS cannot have (RFC 1035 2.3.4), and another reader of
    # the same URL may decode a percent sign or stop at a semicolon.
    name = host.removesuffix(".")
    return len(name) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, name.split(".")))


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- addresses


def is_public(address: str | IPv4Address | IPv6Address) -> bool:
    """Whether `address`, an answer of DNS, is a public unicast host; False also for what is no address."""
    if isinstance(address, str):
        try:
            address = ipaddress.ip_address(address)
        except ValueError:
            return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address not in _NAT64:
            return (
                address in _GLOBAL_6
                and address.is_global
                and not any(address in net for net in _NEVER_6)
                and int(address) >> 32 & _ISATAP_MASK != _ISATAP
            )
        address = IPv4Address(int(address) & _LOW_32)
    return address.is_global and not any(address in net for net in _NEVER_4)


def check_host(host: str) -> None:
    """An `UnusableUrl` where `host`, as a URL has it, can be told without a look-up to be out of bounds.

    It is a `ForbiddenAddress` for this machine's own names and for every address that is not public, also in the old
    spellings that resolvers still read, such as 127.1 or 0x7f000001. A name may still lead anywhere.
    """
    plain = host.lower().removesuffix(".")
    if plain in _OWN_NAMES or plain.endswith(".localhost"):
        raise ForbiddenAddress(host)
    if ":" in plain:
        if not is_public(plain) or IPv6Address(plain) in _NAT64:
            raise ForbiddenAddress(host)
        return
    if not _NUMBER.fullmatch(plain.rpartition(".")[2]):
        return
    try:
        address = IPv4Address(socket.inet_aton(plain))
    except OSError:
        raise UnusableUrl("The URL names an address that does not exist.") from None
    if not is_public(address):
        raise ForbiddenAddress(host)
    if str(address) != host:
        raise UnusableUrl("The URL writes its address in a form that is not accepted; write it as four plain numbers.")


class Allowance:
    """What is trusted although it may be private: a channel's own origin and its `allow_hosts`.

    Matched by the name or address as written in the URL, never by what a name resolves to. `allow_hosts` entries are
    a host with an optional port: "10.0.0.7" (any port), "cdn.internal:8443", "[fd00::7]:8188". A wrong entry is a
    `ValueError` that says what is wrong.
    """

    def __init__(self, base_url: str | URL | None = None, allow_hosts: Iterable[str] = ()) -> None:
        self._origins: tuple[URL, ...] = (URL(base_url).origin(),) if base_url else ()
        self._hosts = frozenset(map(parse_host, allow_hosts))

    def own(self, address: str) -> None:
        """Count the origin of `address` among the channel's own; an `UnusableUrl` where it is malformed."""
        self._origins += (check_url(address).origin(),)

    def owns(self, url: URL) -> bool:
        """Whether `url` is on an origin of the channel's own, where its credentials may go."""
        return any(same_origin(url, origin) for origin in self._origins)

    def permits(self, url: URL) -> bool:
        """Whether `url` is trusted, so that it may be fetched wherever its host is."""
        if self.owns(url):
            return True
        host = _plain(url.raw_host or "")
        return (host, None) in self._hosts or (host, url.port) in self._hosts


def parse_host(entry: str) -> tuple[str, int | None]:
    """Host and port of an `allow_hosts` entry, the host in the form that a parsed URL has; else a `ValueError`."""
    try:
        return _plain(str(IPv6Address(entry))), None
    except ValueError:
        pass
    wrong = f'{entry!r} is no host: write a name or an address with an optional port, such as "cdn.internal:8443"'
    if not entry or _UGLY.search(entry) or set(entry) & set("/?#@*%,"):
        raise ValueError(wrong)
    try:
        url = URL(f"http://{entry}")
        host, port = url.raw_host, url.explicit_port
    except ValueError:
        raise ValueError(wrong) from None
    if not host or port == 0 or entry.endswith(":"):
        raise ValueError(wrong)
    return _plain(host), port


def same_origin(one: URL, other: URL) -> bool:
    """Whether scheme, host and port are the same."""
    return (one.scheme, _plain(one.raw_host or ""), one.port) == (
        other.scheme,
        _plain(other.raw_host or ""),
        other.port,
    )


def _plain(host: str) -> str:
    host = host.lower()
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except ValueError:
            return host
    return host


NOTHING: Final = Allowance()
"""The allowance of addresses that clients give."""


def check_public(url: str, allowance: Allowance = NOTHING) -> URL:
    """`url`, parsed, where nothing speaks against it that can be told without a look-up; else an `UnusableUrl`.

    It is for an address that is kept or handed on; one that is fetched is checked again where it is dialled.
    """
    parsed = check_url(url)
    if not allowance.permits(parsed):
        check_host(parsed.raw_host or "")
    return parsed


# ---------------------------------------------------------------- dialling


class GuardedConnector(aiohttp.TCPConnector):
    """A connector that dials public addresses only, whatever the URL, the resolver or a redirect says.

    Its connections must not be shared with a session that may dial private ones.
    """

    def __init__(self, *, resolver: AbstractResolver | None = None, **options: Any) -> None:
        self._guarded_resolver = _GuardedResolver(resolver or _SystemResolver())
        super().__init__(
            resolver=self._guarded_resolver,
            socket_factory=_public_socket,
            # A cached answer would be checked again, but a fresh one is what the check is about.
            use_dns_cache=False,
            **options,
        )

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        host = req.url.raw_host or ""
        check_host(host)
        try:
            return await super().connect(req, traces, timeout)
        except aiohttp.InvalidURL:
            raise UnusableUrl("The URL writes its address in a form that is not accepted.") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _NotPublic):
                raise ForbiddenAddress(host) from None
            raise

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        # aiohttp closes only a resolver that it made itself.
        await self._guarded_resolver.close()


class _GuardedResolver(AbstractResolver):
    """Refuses a name when any of its addresses is not public, so that the answer does not depend on their order."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answers = await self._resolver.resolve(host, port, family)
        if not all(is_public(answer["host"]) for answer in answers):
            raise ForbiddenAddress(host)
        if not answers:
            # aiohttp takes it for granted that there is one.
            raise OSError(None, "the name has no address")
        return answers

    async def close(self) -> None:
        await self._resolver.close()


class _SystemResolver(AbstractResolver):
    """The system's name resolution, on threads of its own.

    A name whose servers never answer holds its thread for many seconds, and strangers choose the names: on the loop's
    own threads a few of them would stop all work with files.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="reelgate-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        ask = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await get_running_loop().run_in_executor(self._threads, ask)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=flags)
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _NotPublic(OSError):
    """What the dialling code of aiohttp understands; it never leaves the connector."""


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise _NotPublic(errno.EACCES, "not a public address")
    return socket.socket(family, kind, protocol)
