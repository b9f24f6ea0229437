"""What every test has: a loop that refuses to be blocked, and the product on a random port."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from blockbuster import BlockBuster, blockbuster_ctx

from proxy import config
from proxy.api import SERVER_OPTIONS
from proxy.app import WIRING, create_app

ADMIN_KEY = "rg_test-admin-key-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    """Blocking calls in the event loop raise."""
    with blockbuster_ctx("proxy") as guard:
        yield guard


@pytest.fixture
async def last_turns() -> AsyncIterator[None]:
    """A few more turns of the loop after everything else of a test has ended.

    A closed transport lets go of its socket one turn later; where the loop ends before that, the garbage collector
    reports the socket in some other test.
    """
    yield
    for _ in range(5):
        await asyncio.sleep(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that is a coroutine has its last turns, and has them last."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "last_turns")


class Product:
    """A running Reelgate, and a client of it that has the admin key."""

    def __init__(self, server: TestServer, session: ClientSession) -> None:
        self.server = server
        self.session = session
        self.url = str(server.make_url("/")).rstrip("/")

    def channel(self, name: str) -> Any:
        """The live plugin instance of a channel."""
        live = self.server.app[WIRING].channels.get(name)
        assert live is not None
        return live.channel

    async def call(
        self, method: str, path: str, *, key: str | None = ADMIN_KEY, **kwargs: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body and lower-case headers of one request."""
        headers = dict(kwargs.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        async with self.session.request(method, self.url + path, headers=headers, **kwargs) as response:
            body = await response.json() if response.content_type == "application/json" else await response.read()
            return response.status, body, {name.lower(): value for name, value in response.headers.items()}

    async def create(self, *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        """Create a video and expect a 200."""
        status, video, _ = await self.call(
            "POST", "/v1/videos", json={"prompt": "a paper plane", **body}, headers=headers or {}
        )
        assert status == 200, video
        return video

    async def until(self, video_id: str, *statuses: str) -> dict[str, Any]:
        """Poll a video until it has one of the statuses."""
        async with asyncio.timeout(60):
            while True:
                status, video, _ = await self.call("GET", f"/v1/videos/{video_id}")
                assert status == 200, video
                if video["status"] in statuses:
                    return video
                await asyncio.sleep(0.01)

    async def done(self, video_id: str) -> dict[str, Any]:
        return await self.until(video_id, "completed", "failed")


Launch = Callable[..., Awaitable[Product]]


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Start the product from the text of a channels.yaml; everything is stopped at the end of the test."""
    running: list[tuple[TestServer, ClientSession]] = []

    async def start(
        text: str, *, plugins: tuple[Path, ...] = (), data: Path | None = None, admin_key: str = ADMIN_KEY
    ) -> Product:
        file = tmp_path / "channels.yaml"
        parsed = await asyncio.to_thread(config.parse, text, file, {})
        app: web.Application = create_app(
            parsed, data=data or tmp_path / "data", plugin_folders=plugins, admin_key=admin_key, secret=b"s" * 32
        )
        server = TestServer(app)
        await server.start_server(**SERVER_OPTIONS)
        session = ClientSession()
        running.append((server, session))
        return Product(server, session)

    yield start
    for server, session in running:
        await session.close()
        await server.close()
