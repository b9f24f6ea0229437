"""A provider's own SDK in a process of its own: orders in, answers out, a line of JSON each."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[..., Awaitable[dict[str, Any]]]
"""Takes `do` and further words of an order; gives the answer."""


@asynccontextmanager
async def driven(variable: str, sdk: str, script: Path, *arguments: str, **environ: str) -> AsyncIterator[Ask]:
    """`script` as a process, run by the program that `variable` names (`make oracles` sets it); the test is skipped
    where there is none. An answer with the key `broken` fails the test in its words, and so does the script's end."""
    if (program := os.environ.get(variable)) is None:
        pytest.skip(f"{variable} must name a program that has {sdk}: see make oracles")
    process = await asyncio.create_subprocess_exec(
        *(program, str(script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A film may be in a line.
        limit=2**26,
        env={"PATH": os.environ["PATH"], **environ},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def ask(do: str, **order: Any) -> dict[str, Any]:
        stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        await stdin.drain()
        line = await stdout.readline()
        assert line, f"{script.name} has ended; what it said is on stderr"
        said: dict[str, Any] = json.loads(line)
        assert "broken" not in said, said["broken"]
        return said

    yield ask
    stdin.close()
    await process.wait()
