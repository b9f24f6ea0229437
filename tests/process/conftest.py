"""Server processes for a test, stopped at its end."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.process.server import ServerProcess

Spawn = Callable[..., ServerProcess]


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Spawn]:
    """Make server processes that share the test's folder."""
    made: list[ServerProcess] = []

    def make(text: str, **values: object) -> ServerProcess:
        made.append(ServerProcess(tmp_path, text, **values))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for server in made:
        if server._process is not None and server.process.returncode is None:
            await server.kill()
