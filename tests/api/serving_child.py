"""A surface in a process of its own, for a test of memory: it tells its port, and serves until its stdin ends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from proxy.config import Server
from tests.api.conftest import launch


async def main(uploads: Path) -> None:
    surface = await launch(uploads, Server())
    surface.engine.read_files = False
    sys.stdout.write(f"{surface.port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await surface.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
