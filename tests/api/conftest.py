"""The surface on a random port, over an engine in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from proxy.api import READY, SERVER_OPTIONS, Api, install
from proxy.config import Server
from proxy.media.input_links import InputLinks
from proxy.media.inputs import Inputs
from tests.api.memory import MemoryEngine, MemoryKeys


@dataclass
class State:
    ready: bool = True


@dataclass
class Surface:
    """A running surface and a client of it."""

    engine: MemoryEngine
    keys: MemoryKeys
    state: State
    app: web.Application
    runner: web.AppRunner
    session: ClientSession
    uploads: Path

    @property
    def port(self) -> int:
        return self.runner.addresses[0][1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def close(self) -> None:
        await self.session.close()
        await self.runner.cleanup()

    async def call(
        self, method: str, path: str, *, key: str | None = "anna-secret", **kwargs: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and lower-case headers of one request; every JSON answer must be labelled so."""
        headers = dict(kwargs.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        async with self.session.request(method, self.url + path, headers=headers, **kwargs) as response:
            body: Any = await response.read()
            if response.content_type == "application/json" and body:
                body = await response.json()
            return response.status, body, {name.lower(): value for name, value in response.headers.items()}


async def launch(
    uploads: Path, settings: Server, *, public_url: str | None = None, handler_cancellation: bool = False
) -> Surface:
    """Start a surface as the product does; close it in the end."""
    engine, keys, state = MemoryEngine(), MemoryKeys(), State()
    app = web.Application()
    app[READY] = state
    api = Api(
        engine=engine,
        authenticator=keys,  # type: ignore[arg-type]
        administration=None,  # type: ignore[arg-type]
        webhooks=None,  # type: ignore[arg-type]
        library=None,  # type: ignore[arg-type]
        inputs=Inputs(uploads, None, links=InputLinks(b"another", None)),  # type: ignore[arg-type]
        settings=settings,
        secret=b"a secret of thirty-two bytes ...",
        uploads=uploads,
        public_url=public_url,
    )
    install(app, api)
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation, **SERVER_OPTIONS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return Surface(engine, keys, state, app, runner, ClientSession(), uploads)


Launch = Callable[..., Awaitable[Surface]]


@pytest.fixture
async def launched(tmp_path: Path) -> AsyncIterator[Launch]:
    """Start surfaces with settings of one's own; they are closed at the end of the test."""
    running: list[Surface] = []

    async def start(settings: Server, **options: Any) -> Surface:
        running.append(await launch(tmp_path / "uploads", settings, **options))
        return running[-1]

    yield start
    for surface in running:
        await surface.close()


@pytest.fixture
async def surface(launched: Launch) -> Surface:
    """A surface with a `max_body` of 2 MiB."""
    return await launched(Server(max_body=2 * 2**20))
