"""The processes of a run: the servers that are killed, and the parties that are not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from aiohttp.test_utils import unused_port

from tests.process import forks
from tests.process.forks import Fork
from tests.soak.upstream import HOST

ROOT = Path(__file__).parents[2]
START_TIME = 60.0
"""Seconds in which a server must be ready; a machine may be busy."""


class Server:
    """`python -m proxy serve` on a port of its own, which stays the same; its output is added to `log`."""

    def __init__(self, name: str, folder: Path, product: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"server-{name}.log"
        self.port = unused_port()
        self.url = f"http://{HOST}:{self.port}/v1"
        self._folder = folder
        self._environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(product), **environ}
        self._process: Fork | asyncio.subprocess.Process | None = None

    async def command(self, *words: str) -> tuple[int, str]:
        """Run a command of the product to its end; answers its exit code and what it printed."""
        process = await forks.start(
            *(*words, "--config", "channels.yaml", "--data", "data"),
            cwd=self._folder,
            env=self._environ,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def launch(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self._process = await forks.start(
                *("serve", "--config", "channels.yaml", "--data", "data", "--port", str(self.port)),
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=log,
            )

    async def ready(self, session: ClientSession) -> None:
        """Wait until it takes requests, or until it is killed. Raises `RuntimeError` where it ended by itself."""
        async with asyncio.timeout(START_TIME):
            while True:
                if self.code == -signal.SIGKILL:
                    return
                if not self.lives:
                    last = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:])
                    raise RuntimeError(f"server {self.name} did not start; its log {self.log} ends:\n{last}")
                try:
                    url = f"http://{HOST}:{self.port}/readyz"
                    async with session.get(url, timeout=ClientTimeout(total=1)) as response:
                        if response.status == 200:
                            return
                except (ClientError, OSError, TimeoutError):
                    pass
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(START_TIME):
            return await self._process.wait()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it lives."""
        return None if self._process is None else self._process.returncode

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.returncode is None


class Party:
    """A module of this package in a process of its own, which says where it is as one line of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._words = (sys.executable, "-m", f"tests.soak.{module}", *arguments)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> dict[str, Any]:
        self._process = await asyncio.create_subprocess_exec(
            *self._words, cwd=ROOT, env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIME):
            line = await self._process.stdout.readline()
        where: dict[str, Any] = json.loads(line)
        return where

    async def __aexit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
