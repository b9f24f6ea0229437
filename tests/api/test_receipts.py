"""What counts as an answer that reached its client: the rule behind POSTs that an SDK sends again (CONTRACT 3)."""

import asyncio
import json
import socket
import struct
from pathlib import Path

import pytest
from aiohttp import ClientSession

from proxy.api import API
from tests.conftest import ADMIN_KEY, Launch, Product

PLUGINS = (Path(__file__).parents[1] / "engine" / "plugins",)
ONE = "channels: [{name: a, type: puppet, models: [sora-2], poll_every: 0.05}]"
BODY = json.dumps({"prompt": "a paper plane"}).encode()


def post(retry: int = 0, close: bool = False) -> bytes:
    head = [
        "POST /v1/videos HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {ADMIN_KEY}",
        "Content-Type: application/json",
        f"x-stainless-retry-count: {retry}",
        f"Content-Length: {len(BODY)}",
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + BODY


async def connected(product: Product) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (product.server.host, product.server.port))
    return sock


async def sent(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def answer(sock: socket.socket) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    data = b""
    while not data.endswith(b"}"):
        more = await loop.sock_recv(sock, 65_536)
        assert more, data
        data += more
    return json.loads(data[data.index(b"{") :])


async def made(product: Product, count: int) -> None:
    """Until so many answers have been written."""
    async with asyncio.timeout(10):
        while len(product.core.store._recent._videos) < count:
            await asyncio.sleep(0.01)


async def again(product: Product) -> str:
    async with ClientSession() as session:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "x-stainless-retry-count": "1"}
        async with session.post(
            f"{product.url}/v1/videos", data=BODY, headers={**headers, "Content-Type": "application/json"}
        ) as response:
            return (await response.json())["id"]


async def ids(product: Product) -> list[str]:
    _, page, _ = await product.call("GET", "/v1/videos?order=asc")
    return [video["id"] for video in page["data"]]


@pytest.mark.parametrize("how", ["unread", "reset"])
async def test_an_answer_that_nobody_read_is_given_again(launch: Launch, how: str) -> None:
    """A client that gives up when its answer is on the way, and sends again, gets the first video: one paid job."""
    product = await launch(ONE, plugins=PLUGINS)
    sock = await connected(product)
    await sent(sock, post())
    await made(product, 1)
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(readable, sock):
            pass
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # What lies unread in a socket that is closed makes the kernel reset the connection.
    sock.close()
    assert [await again(product)] == await ids(product)
    assert len(product.channel("a").asked("create")) == 1


def readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("how", ["kept alive", "closed by the client", "closed by the server"])
async def test_an_answer_that_was_read_is_not_given_again(launch: Launch, how: str) -> None:
    """A client that has its answer means a new video, also where it says at once that it sends again."""
    product = await launch(ONE, plugins=PLUGINS)
    sock = await connected(product)
    await sent(sock, post(close=how == "closed by the server"))
    first = (await answer(sock))["id"]
    if how == "closed by the client":
        sock.close()
    second = await again(product)
    assert first != second
    assert await ids(product) == [first, second]
    sock.close()


async def test_a_second_later_a_living_connection_counts_as_delivered(launch: Launch) -> None:
    """Without anybody asking, what was acknowledged is marked after a while, and no socket is kept beyond that."""
    product = await launch(ONE, plugins=PLUGINS)
    video = await product.create()
    receipts = product.server.app[API].receipts
    assert len(receipts._seen) == 1
    async with asyncio.timeout(10):
        while receipts._seen or not (await product.core.newest(video["id"])).answered:  # type: ignore[union-attr]
            await asyncio.sleep(0.02)


async def test_a_stop_keeps_no_socket(launch: Launch) -> None:
    """The descriptors that were kept are closed when the application ends."""
    product = await launch(ONE, plugins=PLUGINS)
    await product.create()
    receipts = product.server.app[API].receipts
    (seen,) = receipts._seen.values()
    await product.server.close()
    assert seen.socket.fileno() == -1
