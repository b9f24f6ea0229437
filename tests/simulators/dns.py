"""A name server on loopback that answers as its owner scripts it, and a resolver that asks it over UDP.

The wire is RFC 1035: enough of it for A, AAAA and CNAME.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

Record = tuple[str, str]
"""The type, one of those below, and what it says: an address or a name."""

TYPES: Final = {"A": 1, "CNAME": 5, "AAAA": 28}
_INTERNET: Final = 1
_HEADER: Final = struct.Struct(">HHHHHH")
_QUESTION: Final = struct.Struct(">HH")
_RECORD: Final = struct.Struct(">HHIH")
_RECURSIVE_QUERY: Final = 0x0100
_ANSWER: Final = 0x8180
_STATUS: Final = 0x000F
_NO_SUCH_NAME: Final = 3
_POINTER: Final = 0xC0


class NameServer(asyncio.DatagramProtocol):
    """Answers the questions for a name with the next of its scripted sets of records, the last one for ever.

    Every record lives for no time at all, so that nothing may be kept. `asked` has each question in order.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._zone: dict[str, list[Sequence[Record]]] = {}
        self._transport: asyncio.DatagramTransport

    def answer(self, name: str, *sets: Sequence[Record]) -> None:
        """Script `name`: each lookup, that is a question for A with one for AAAA after it, takes one of `sets`."""
        self._zone[name] = list(sets)

    def lookups(self, name: str) -> int:
        """How often `name` was looked up."""
        return self.asked.count((name, "A"))

    async def start(self) -> tuple[str, int]:
        """Listen on a random port of loopback; the address."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        host, port = self._transport.get_extra_info("sockname")
        return host, port

    def close(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        number = _HEADER.unpack_from(data)[0]
        name, at = read_name(data, _HEADER.size)
        kind = next(word for word, code in TYPES.items() if code == _QUESTION.unpack_from(data, at)[0])
        self.asked.append((name, kind))
        question = data[_HEADER.size : at + _QUESTION.size]
        records = self._records(name, kind)
        status = _NO_SUCH_NAME if name not in self._zone else 0
        head = _HEADER.pack(number, _ANSWER | status, 1, len(records), 0, 0)
        self._transport.sendto(head + question + b"".join(records), addr)

    def _records(self, name: str, kind: str) -> list[bytes]:
        sets = self._zone.get(name, [()])
        # The question for AAAA comes second.
        records = sets.pop(0) if len(sets) > 1 and kind == "AAAA" else sets[0]
        found = []
        for known, says in records:
            if known in (kind, "CNAME"):
                found.append(_record(name, known, says))
            if known == "CNAME":
                found += self._records(says, kind)
        return found


class WireResolver(AbstractResolver):
    """Asks the name server at `address` for both kinds of addresses, each time anew."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._numbers = itertools.count(1)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [*await self._ask(host, "A"), *await self._ask(host, "AAAA")]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass

    async def _ask(self, host: str, kind: str) -> list[str]:
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        query = _HEADER.pack(number, _RECURSIVE_QUERY, 1, 0, 0, 0) + write_name(host)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)
            await loop.sock_sendto(wire, query + _QUESTION.pack(TYPES[kind], _INTERNET), self._address)
            answer = await asyncio.wait_for(loop.sock_recv(wire, 4096), 5)
        replied, flags, *_ = _HEADER.unpack_from(answer)
        if replied != number or flags & _STATUS == _NO_SUCH_NAME:
            raise OSError(None, "unknown name")
        return read_addresses(answer)


def write_name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.removesuffix(".").split(".")]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """The name at `at`, and where it ends."""
    labels: list[str] = []
    while length := data[at]:
        if length >= _POINTER:
            rest, _ = read_name(data, int.from_bytes(data[at : at + 2], "big") & 0x3FFF)
            return ".".join([*labels, rest]), at + 2
        labels.append(data[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def read_addresses(answer: bytes) -> list[str]:
    """The addresses in an answer, whatever name they are of, as stub resolvers take them after a CNAME."""
    _, _, questions, records, _, _ = _HEADER.unpack_from(answer)
    at = _HEADER.size
    for _ in range(questions):
        at = read_name(answer, at)[1] + _QUESTION.size
    found = []
    for _ in range(records):
        at = read_name(answer, at)[1]
        kind, _, _, length = _RECORD.unpack_from(answer, at)
        at += _RECORD.size
        if kind in (TYPES["A"], TYPES["AAAA"]):
            found.append(str(ip_address(answer[at : at + length])))
        at += length
    return found


def _record(name: str, kind: str, says: str) -> bytes:
    value = write_name(says) if kind == "CNAME" else ip_address(says).packed
    return write_name(name) + _RECORD.pack(TYPES[kind], _INTERNET, 0, len(value)) + value
