"""A name server that changes its mind: what was checked is what is dialled, and nobody asks in between."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from proxy.upstream.guard import NOTHING, Allowance, ForbiddenAddress
from proxy.upstream.http import Http
from proxy.webhooks.sending import Sender
from tests.simulators.dns import NameServer, Record, WireResolver

TIMEOUT = aiohttp.ClientTimeout(total=20)
PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:4700::1111"
OTHER = "1.1.1.1"


class Net:
    """An internet of one web server, which stands for every public address.

    `dialled` has each address that the loop was asked to connect to, just before the kernel is. `keeps` says whether
    the server keeps its connections open; `away` is where it sends those who ask for /away. Neither the address `down`
    nor IPv6 can be reached.
    """

    def __init__(self, http: Http, names: NameServer) -> None:
        self.http = http
        self.names = names
        self.dialled: list[str] = []
        self.requests: list[str] = []
        self.keeps = False
        self.away = ""
        self.down = ""
        self.server: BaseTestServer
        self._connect = asyncio.get_running_loop().sock_connect

    @property
    def port(self) -> int:
        return self.server.port or 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.host.partition(":")[0] + request.path)
        response = web.Response(text="public")
        if request.path == "/away":
            response = web.Response(status=302, headers={"Location": self.away})
        if not self.keeps:
            response.force_close()
        return response

    async def connect(self, sock: socket.socket, address: Any) -> None:
        """Note the address, and connect to the one server instead."""
        self.dialled.append(address[0])
        if sock.family is socket.AF_INET6 or address[0] == self.down:
            raise OSError(errno.ENETUNREACH, "no way there")
        await self._connect(sock, ("127.0.0.1", self.port))

    async def get(self, name: str, path: str = "/", allowance: Allowance = NOTHING) -> str:
        url = f"http://{name}:{self.port}{path}"
        async with self.http.fetch(url, timeout=TIMEOUT, allowance=allowance) as response:
            return await response.text()


@pytest.fixture
async def net(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    names = NameServer()
    http = Http(resolver=WireResolver(await names.start()))
    await http.start()
    net = Net(http, names)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", net.answer)
    async with TestServer(app, host="127.0.0.1") as net.server:
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", net.connect)
        yield net
        await http.close()
    names.close()


async def test_what_is_checked_is_what_is_dialled(net: Net) -> None:
    """One lookup for each connection, and the address that reaches the kernel is the one in its answer."""
    net.names.answer("cdn.example", [("A", PUBLIC)], [("A", OTHER)])
    assert [await net.get("cdn.example") for _ in range(3)] == ["public"] * 3
    assert net.dialled == [PUBLIC, OTHER, OTHER]
    assert net.names.asked == [("cdn.example", "A"), ("cdn.example", "AAAA")] * 3


@pytest.mark.parametrize(
    "second",
    [
        [("A", "127.0.0.1")],
        [("A", "169.254.169.254")],
        [("AAAA", "::1")],
        [("AAAA", "::ffff:127.0.0.1")],
        [("AAAA", "::ffff:8.8.8.8")],
        [("AAAA", "64:ff9b::7f00:1")],
        [("A", PUBLIC), ("A", "127.0.0.1")],
        [("A", "127.0.0.1"), ("A", PUBLIC)],
        [("A", PUBLIC), ("AAAA", "::1")],
        [("A", PUBLIC), ("AAAA", "fd00:ec2::254")],
        [("CNAME", "inside.example")],
    ],
    ids=str,
)
async def test_a_name_that_turns_private(net: Net, second: Sequence[Record]) -> None:
    """A name that was public a moment ago is refused once any of its addresses is not, also behind an alias."""
    net.names.answer("inside.example", [("A", "10.0.0.7")])
    net.names.answer("evil.example", [("A", PUBLIC)], second)
    assert await net.get("evil.example") == "public"
    for _ in range(2):
        with pytest.raises(ForbiddenAddress) as caught:
            await net.get("evil.example")
        assert caught.value.host == "evil.example"
        assert not any(says in caught.value.message for _, says in second)
    assert net.dialled == [PUBLIC]
    assert net.names.lookups("evil.example") == 3
    assert len(net.requests) == 1


async def test_an_alias_of_a_public_name(net: Net) -> None:
    """The control: an alias whose end is public is fetched, with a single lookup."""
    net.names.answer("edge.example", [("A", PUBLIC)])
    net.names.answer("cdn.example", [("CNAME", "edge.example")])
    assert await net.get("cdn.example") == "public"
    assert net.dialled == [PUBLIC]
    assert net.names.lookups("cdn.example") == 1


async def test_all_addresses_come_from_one_answer(net: Net) -> None:
    """Where the first address does not answer, the next one of the same lookup is dialled, and nobody asks again."""
    net.names.answer("cdn.example", [("A", OTHER), ("A", PUBLIC), ("AAAA", PUBLIC_6)], [("A", "127.0.0.1")])
    net.down = OTHER
    assert await net.get("cdn.example") == "public"
    assert net.dialled == [OTHER, PUBLIC_6, PUBLIC]
    assert net.names.lookups("cdn.example") == 1


async def test_nat64_reaches_public_hosts_only(net: Net) -> None:
    """An answer behind a NAT64 is dialled where the host inside is public, and refused where it is not."""
    net.names.answer("v4.example", [("AAAA", "64:ff9b::808:808")], [("AAAA", "64:ff9b::a9fe:a9fe")])
    with pytest.raises(aiohttp.ClientConnectorError):
        await net.get("v4.example")
    assert net.dialled == ["64:ff9b::808:808"]
    with pytest.raises(ForbiddenAddress):
        await net.get("v4.example")
    assert net.dialled == ["64:ff9b::808:808"]


async def test_kept_connections_belong_to_their_name(net: Net) -> None:
    """A connection that is kept serves its own name; another name is looked up and checked, be it the same server."""
    net.keeps = True
    net.names.answer("cdn.example", [("A", PUBLIC)], [("A", "127.0.0.1")])
    net.names.answer("evil.example", [("A", "127.0.0.1")])
    assert [await net.get("cdn.example"), await net.get("cdn.example")] == ["public"] * 2
    with pytest.raises(ForbiddenAddress):
        await net.get("evil.example")
    # Still the connection to the public address.
    assert await net.get("cdn.example") == "public"
    assert net.dialled == [PUBLIC]
    assert (net.names.lookups("cdn.example"), net.names.lookups("evil.example")) == (1, 1)


async def test_redirects_are_looked_up_anew(net: Net) -> None:
    """A redirect to the same name is a new connection with a new lookup and a new check."""
    net.names.answer("evil.example", [("A", PUBLIC)], [("A", "127.0.0.1")])
    net.away = "/there"
    with pytest.raises(ForbiddenAddress):
        await net.get("evil.example", "/away")
    assert net.requests == ["evil.example/away"]
    assert net.dialled == [PUBLIC]


async def test_a_stranger_leads_nobody_home(net: Net) -> None:
    """A channel's private host is trusted until a redirect leaves for a stranger's, and never after that."""
    home = Allowance(f"http://home.internal:{net.port}", [f"cdn.internal:{net.port}"])
    net.names.answer("cdn.example", [("A", PUBLIC)])
    net.names.answer("home.internal", [("A", "10.0.0.7")])
    net.names.answer("cdn.internal", [("A", "10.0.0.8")])
    net.away = f"http://cdn.internal:{net.port}/there"
    assert await net.get("home.internal", "/away", home) == "public"
    net.requests.clear()
    for name in ("home.internal", "cdn.internal"):
        net.away = f"http://{name}:{net.port}/there"
        with pytest.raises(ForbiddenAddress):
            await net.get("cdn.example", "/away", home)
    assert net.requests == ["cdn.example/away"] * 2


async def test_webhooks_are_checked_as_they_are_sent(net: Net) -> None:
    """A receiver that turned private between two deliveries is not called the second time."""
    net.names.answer("hooks.example", [("A", PUBLIC)], [("A", "127.0.0.1")])
    sender = Sender(net.http)
    url = f"http://hooks.example:{net.port}/hook"
    answers = [await sender.post(url, b"{}", {}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, None]
    assert "not public" in answers[1].note
    assert (net.dialled, len(net.requests)) == ([PUBLIC], 1)
    assert net.names.lookups("hooks.example") == 2


async def test_a_name_without_addresses(net: Net) -> None:
    """A name that is unknown, or has no address, cannot be connected to: no fault of ours."""
    net.names.answer("empty.example", [])
    for name in ("empty.example", "unknown.example"):
        with pytest.raises(aiohttp.ClientConnectorDNSError):
            await net.get(name)
    assert net.dialled == []
