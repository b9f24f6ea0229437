"""What must never be reached: listeners on every loopback address, and a record of every address that was dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.upstream.hostile_urls import NAMES

_OWN_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")


class Canary:
    """Listeners at `port`, on IPv4 and IPv6, that count who came; `dialled` has every address that the loop was asked
    to connect a socket to, listener or not."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.dialled: list[tuple[str, int]] = []

    def elsewhere(self, *ports: int) -> list[tuple[str, int]]:
        """What was dialled, but for the test's own servers at `ports`."""
        return [address for address in self.dialled if address[1] not in ports]

    async def _serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@asynccontextmanager
async def canary(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Canary]:
    """The canary, in a world where the corpus's names lead where they say and no name server is asked."""
    bird = Canary()
    servers = [await asyncio.start_server(bird._serve, "0.0.0.0", 0)]
    bird.port = servers[0].sockets[0].getsockname()[1]
    servers.append(await asyncio.start_server(bird._serve, "::1", bird.port))
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def dial(sock: socket.socket, address: Any) -> None:
        bird.dialled.append(address[:2])
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", dial)
    monkeypatch.setattr(socket, "getaddrinfo", _names(socket.getaddrinfo))
    yield bird
    for server in servers:
        server.close()


def _names(system: Any) -> Any:
    """`getaddrinfo` of a machine whose hosts file has its own names and the corpus's; spellings go to the system's."""

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        name = str(host).lower().removesuffix(".")
        leads = ("127.0.0.1", "::1") if name in _OWN_NAMES else NAMES.get(name)
        if leads is None:
            return system(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (lead, port, 0, 0))
            if ":" in lead
            else (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (lead, port))
            for lead in leads
        ]

    return getaddrinfo
