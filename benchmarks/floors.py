"""The floors that the product is measured against, and the upstream behind both. usage: floors.py KIND [UPSTREAM_PORT]

handler    a bare aiohttp handler (`web.Server`) that answers a GET with a video object
forwarder  a bare aiohttp handler that forwards a POST to the upstream on a fresh connection, and stores nothing
upstream   answers every POST with a fresh job, as fast as asyncio lets it
Prints its port.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

VIDEO = {
    "id": "video_0190a1b2c3d4e5f60718293a4b5c6d7e",
    "object": "video",
    "model": "sora-2",
    "status": "queued",
    "progress": 0,
    "created_at": 1760000000,
    "completed_at": None,
    "expires_at": None,
    "prompt": "a paper plane through a bright office",
    "seconds": "4",
    "size": "1280x720",
    "remixed_from_video_id": None,
    "error": None,
    "task_id": "video_0190a1b2c3d4e5f60718293a4b5c6d7e",
}
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def handler() -> int:
    body = json.dumps(VIDEO, separators=(",", ":")).encode()

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return await _listen(web.Server(answer, access_log=None))


async def forwarder(upstream: int) -> int:
    session = ClientSession(connector=TCPConnector(force_close=True, limit=0), cookie_jar=DummyCookieJar())
    url = f"http://127.0.0.1:{upstream}/v1/videos"

    async def answer(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
            return web.Response(body=await response.read(), content_type="application/json")

    return await _listen(web.Server(answer, access_log=None))


async def _listen(server: web.Server[web.BaseRequest]) -> int:
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    return int(runner.addresses[0][1])


class Upstream(asyncio.Protocol):
    numbers = itertools.count()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, mark, body = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not mark or (length and len(body) < int(length[1])) or (b"chunked" in head and b"0\r\n\r\n" not in body):
            return
        self.received = b""
        video = {**VIDEO, "id": f"video_{next(self.numbers):048x}", "created_at": int(time.time())}
        answer = json.dumps(video).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)
        )


async def upstream() -> int:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    return int(server.sockets[0].getsockname()[1])


async def main() -> None:
    kind, *rest = sys.argv[1:]
    port = await {"handler": handler, "forwarder": forwarder, "upstream": upstream}[kind](*map(int, rest))  # type: ignore[operator]
    print(port, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
