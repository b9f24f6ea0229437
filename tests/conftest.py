"""What every test has: a loop that refuses to be blocked, and the product on a random port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from blockbuster import BlockBuster

import proxy.app
from proxy import config, logs
from proxy.accounts import passwords
from proxy.accounts.keys import mint
from proxy.api import SERVER_OPTIONS
from proxy.app import WIRING, create_app, reload
from proxy.engine import Core
from tests import loading

proxy.app.load = loading.load

# Every start asks it about the same classes, whose annotations it evaluates anew each time.
msgspec.structs.fields = functools.cache(msgspec.structs.fields)

# The start of nearly every test makes the password of `admin`: what slows a guesser would slow them all.
passwords.MEMORY_KIB = 64

ADMIN_KEY = "rg_test-admin-key-0123456789abcdef"

LONG = ("process", "soak", "contract")
"""The folders of tests that run processes of their own and kill them, or other tests."""


GUARD = BlockBuster("proxy")
"""One for all tests: to make it takes longer than to switch it on."""


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[None]:
    """Blocking calls in the event loop raise."""
    GUARD.activate()
    yield
    GUARD.deactivate()


@pytest.fixture
def started_log() -> Iterator[None]:
    """The log as it was, after a test that starts the server's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("aiohttp.server").removeFilter(logs._no_traceback_for_bad_http)


@pytest.fixture
async def last_turns() -> AsyncIterator[None]:
    """A few more turns of the loop after everything else of a test has ended.

    A closed transport lets go of its socket one turn later; where the loop ends before that, the garbage collector
    reports the socket in some other test.
    """
    yield
    for _ in range(5):
        await asyncio.sleep(0)


def pytest_collection(session: pytest.Session) -> None:
    """Of a fresh checkout, each worker begins with another part of the test files.

    pytest compiles a test file anew, which takes most of the time of a first collection, unless a worker before has
    left its bytecode. All in the same order, each would compile each of them, and at the same time.
    """
    worker: dict[str, Any] = getattr(session.config, "workerinput", {})
    if not worker or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    root = session.config.rootpath
    files = sorted(root.joinpath("tests").rglob("test_*.py"))
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[first:] + files[:first]:
        # What is wrong with it, the collection itself says.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that is a coroutine has its last turns, and has them last. The modules that take longest go first: one
    that begins last would have a worker to itself, while the other has nothing left to do."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "last_turns")
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_collection_finish() -> None:
    """Thousands of tests were collected, and stay: without this, the garbage collector looks through all of them again
    and again, which took a tenth of the suite's time. It need not come often: what a test leaves behind is small."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


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

    @property
    def core(self) -> Core:
        """The engine's inside."""
        engine = self.server.app[WIRING].engine
        assert engine is not None
        return engine._core

    async def key(self, name: str, **fields: Any) -> str:
        """A new API key, with what `mint` takes."""
        plain, key, digest = mint(name, now=time.time(), **fields)
        await self.core.store.add_key(key, digest)
        return plain

    async def reload(self, text: str) -> None:
        """Apply another channels.yaml."""
        parsed = await asyncio.to_thread(config.parse, text, Path("channels.yaml"), {})
        await reload(self.server.app, parsed)

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

    async def create(
        self, *, headers: dict[str, str] | None = None, key: str | None = ADMIN_KEY, **body: Any
    ) -> dict[str, Any]:
        """Create a video and expect a 200."""
        status, video, _ = await self.call(
            "POST", "/v1/videos", json={"prompt": "a paper plane", **body}, headers=headers or {}, key=key
        )
        assert status == 200, video
        return video

    async def until(self, video_id: str, *statuses: str, key: str | None = ADMIN_KEY) -> dict[str, Any]:
        """Poll a video until it has one of the statuses."""
        async with asyncio.timeout(60):
            while True:
                status, video, _ = await self.call("GET", f"/v1/videos/{video_id}", key=key)
                assert status == 200, video
                if video["status"] in statuses:
                    return video
                await asyncio.sleep(0.01)

    async def done(self, video_id: str, *, key: str | None = ADMIN_KEY) -> dict[str, Any]:
        return await self.until(video_id, "completed", "failed", key=key)


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
