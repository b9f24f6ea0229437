"""Reelgate behind nginx and behind Caddy, as `deploy/` sets them up."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, FormData, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.deploy.fronts import FRONTS, HOST, Front, here
from tests.process.server import KEY, ServerProcess

PLUGINS = Path(__file__).parent / "plugins"
PASSWORD = "a password of some length"
MIB = 2**20
FILM = 192 * MIB
TEXT = """
server: {trusted_proxies: [127.0.0.1/32]}
channels: [{name: cinema, type: cinema, models: [sora-2]}]
"""


class Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


@dataclass
class Behind:
    """A Reelgate, what is in front of it, and a client from an address of its own."""

    server: ServerProcess
    front: Front
    session: ClientSession
    progress: Path

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.front.port}"

    async def call(self, method: str, path: str, *, key: str = KEY, **kwargs: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}", **kwargs.pop("headers", {})}
        async with self.session.request(method, self.url + path, headers=headers, **kwargs) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.read()

    async def finished(self) -> dict[str, Any]:
        """A video with a film."""
        self.progress.write_text("100")
        status, video = await self.call("POST", "/v1/videos", json={"prompt": "a long film"})
        assert status == 200, video
        async with asyncio.timeout(60):
            while video["status"] != "completed":
                await asyncio.sleep(0.05)
                _, video = await self.call("GET", f"/v1/videos/{video['id']}")
        return dict(video)


@pytest.fixture(params=FRONTS, ids=[front.name for front in FRONTS])
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Behind]:
    if not here(request.param):
        pytest.skip(f"there is no {request.param.name} here")
    progress, film = tmp_path / "progress", tmp_path / "film.mp4"
    progress.write_text("0")
    with film.open("wb") as file:
        for place in range(0, FILM, MIB):
            file.seek(place)
            file.write(place.to_bytes(8, "big"))
        file.truncate(FILM)
    environ = {
        "REELGATE_ADMIN_KEY": KEY,
        "REELGATE_ADMIN_PASSWORD": PASSWORD,
        "CINEMA_PROGRESS": str(progress),
        "CINEMA_FILM": str(film),
    }
    server = ServerProcess(tmp_path, TEXT, environ=environ)
    folder = tmp_path / "front"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        await server.start("--plugins", str(PLUGINS))
        stack.push_async_callback(server.stop)
        front = await asyncio.to_thread(request.param, folder, server.port)
        stack.push_async_callback(asyncio.to_thread, front.close)
        trust = ssl.create_default_context(cafile=str(front.certificate))
        connector = TCPConnector(ssl=trust, resolver=Here(), local_addr=("127.0.0.2", 0))
        session = await stack.enter_async_context(ClientSession(connector=connector, timeout=ClientTimeout(90)))
        yield Behind(server, front, session, progress)


async def test_events_arrive_one_by_one(behind: Behind) -> None:
    """Each state is there before the next one has happened."""
    _, video = await behind.call("POST", "/v1/videos", json={"prompt": "a paper plane"})
    headers = {"Authorization": f"Bearer {KEY}"}
    seen: list[int] = []
    async with behind.session.get(f"{behind.url}/v1/videos/{video['id']}/events", headers=headers) as stream:
        assert stream.status == 200
        assert stream.content_type == "text/event-stream"
        async with asyncio.timeout(60):
            async for line in stream.content:
                if not line.startswith(b"data: "):
                    continue
                data = json.loads(line.removeprefix(b"data: "))
                seen.append((data.get("data") or data)["progress"])
                # The video moves on only now.
                later = [progress for progress in (25, 50, 75, 100) if progress > seen[-1]]
                if not later:
                    break
                behind.progress.write_text(str(later[0]))
    assert set(seen) >= {25, 50, 75, 100}


async def test_a_film_streams_in_flat_memory(behind: Behind) -> None:
    """A range is those bytes; a film goes to a slow reader without the proxy gathering it in memory or on disk, and is
    whole in the end."""
    video = await behind.finished()
    path = f"/v1/videos/{video['id']}/content"
    status, body = await behind.call("GET", path, headers={"Range": f"bytes={5 * MIB}-{5 * MIB + 7}"})
    assert (status, body) == (206, (5 * MIB).to_bytes(8, "big"))
    before, spooled = behind.front.peak(), behind.front.spooled()
    headers = {"Authorization": f"Bearer {KEY}"}
    async with behind.session.get(behind.url + path, headers=headers) as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) == FILM
        got = len(await response.content.readexactly(MIB))
        # Time enough to gather the rest; nothing is read here meanwhile.
        for _ in range(20):
            await asyncio.sleep(0.1)
            assert behind.front.spooled() - spooled < MIB
        assert behind.front.peak() - before < 32 * MIB
        while chunk := await response.content.read(MIB):
            got += len(chunk)
    assert got == FILM
    assert behind.front.peak() - before < 32 * MIB
    assert behind.front.spooled() - spooled < MIB


async def test_large_uploads_pass(behind: Behind) -> None:
    """60 MiB, near the largest body that Reelgate takes, pass without being gathered in memory; more is a 413."""
    before = behind.front.peak()
    for size, expected in ((60 * MIB, 200), (80 * MIB, 413)):
        form = FormData({"purpose": "user_data"})
        form.add_field("file", io.BytesIO(bytes(size)), filename="clip.bin")
        status, body = await behind.call("POST", "/v1/files", data=form)
        assert status == expected, body
        if status == 200:
            assert body["bytes"] == size
    assert behind.front.peak() - before < 40 * MIB


async def test_the_client_is_who_the_proxy_says(behind: Behind) -> None:
    """A key that is good at the client's address alone is good through the proxy, and not at another address that the
    client claims to have."""
    keys = {}
    for address in ("127.0.0.2", "203.0.113.9"):
        body = {"name": address, "allowed_addresses": [f"{address}/32"]}
        status, made = await behind.call("POST", "/admin/api/keys", json=body)
        assert status == 200, made
        keys[address] = made["key"]
    claim = {"X-Forwarded-For": "203.0.113.9"}
    for headers in ({}, claim):
        assert (await behind.call("GET", "/v1/videos", key=keys["127.0.0.2"], headers=headers))[0] == 200
        assert (await behind.call("GET", "/v1/videos", key=keys["203.0.113.9"], headers=headers))[0] in (401, 403)


async def test_a_login_over_https_is_for_https_alone(behind: Behind) -> None:
    """The proxy's word that the client speaks https makes the session's cookie Secure, and the form's origin ours."""
    body = {"username": "admin", "password": PASSWORD}
    async with behind.session.post(
        f"{behind.url}/login", data=body, headers={"Origin": behind.url}, allow_redirects=False
    ) as response:
        assert response.status in (302, 303), await response.text()
        (cookie,) = [morsel for morsel in response.cookies.values() if morsel.value]
    assert cookie["secure"]
    assert cookie["httponly"]


async def test_no_signature_is_logged(behind: Behind) -> None:
    """The signed link of a video works through the proxy, and the access log has its path without its query."""
    video = await behind.finished()
    link = video["video_url"].partition(HOST)[2].partition("/")[2]
    async with behind.session.get(f"{behind.url}/{link}", headers={"Range": "bytes=0-7"}) as response:
        assert response.status == 206
    # A process that is ended may not have written the last line.
    await behind.call("GET", "/healthz")
    async with asyncio.timeout(60):
        while behind.front.name == "nginx" and "/healthz" not in behind.front.log.read_text():
            await asyncio.sleep(0.02)
    await asyncio.to_thread(behind.front.close)
    said = behind.front.log.read_text() if behind.front.log.exists() else ""
    assert "sig=" not in said + (behind.front.folder / "said").read_text()
    assert behind.front.name == "caddy" or f"/v1/videos/{video['id']}/content" in said
