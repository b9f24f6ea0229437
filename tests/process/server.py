"""A Reelgate in a process of its own, as an operator starts it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.process import forks
from tests.process.forks import Fork

ROOT = Path(__file__).parents[2]
KEY = "rg_process-test-admin-key-0123456789"


class ServerProcess:
    """`python -m proxy serve` on a random port; `base_url` ends in /v1."""

    def __init__(self, folder: Path, text: str, *, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.config = folder / "channels.yaml"
        self.text = text
        self.environ = {"REELGATE_ADMIN_KEY": KEY} if environ is None else dict(environ)
        self.base_url = ""
        self.port = 0
        self.output: list[str] = []
        self.log: list[str] = []
        self._process: Fork | asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    @property
    def process(self) -> Fork | asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self, *arguments: str) -> None:
        """Start it and wait until it says where it listens."""
        await asyncio.to_thread(self.config.write_text, self.text, "utf-8")
        self._process = await forks.start(
            "serve",
            "--config",
            str(self.config),
            "--data",
            str(self.folder / "data"),
            "--port",
            str(self.port),
            *arguments,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
        )
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._readers = [
            asyncio.create_task(self._read(self.process.stdout, self.output, ready)),
            asyncio.create_task(self._read(self.process.stderr, self.log, None)),
        ]
        async with asyncio.timeout(60):
            self.base_url = await ready
        self.port = int(self.base_url.rsplit(":", 1)[1].split("/")[0])

    async def _read(
        self, stream: asyncio.StreamReader | None, lines: list[str], ready: asyncio.Future[str] | None
    ) -> None:
        assert stream is not None
        while line := (await stream.readline()).decode():
            lines.append(line.rstrip("\n"))
            if ready is not None and not ready.done() and (found := re.search(r"http://\S+/v1", line)):
                ready.set_result(found[0])
        if ready is not None and not ready.done():
            ready.set_exception(RuntimeError("the server did not start:\n" + "\n".join(self.log)))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(60):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.returncode is None:
            self.send(signal.SIGTERM)
        return await self.ended()
