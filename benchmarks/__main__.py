"""Retrieve and create beside their floors, in one run: CPU per request of the server, in alternation.

usage: python -m benchmarks [--rounds N] [--requests N]

The server under test has one core, the load and the upstream the other. A ratio is the median over the rounds of
(product / floor), each pair measured back to back; the microseconds are the least seen.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from benchmarks.load import cpu_seconds, fire, get, post

KEY = "rg_benchmark-admin-key-0123456789abcdef"
ROOT = Path(__file__).parents[1]
Measure = Callable[[], Awaitable[float]]


@contextlib.asynccontextmanager
async def process(core: int, *arguments: str) -> AsyncIterator[tuple[int, int]]:
    """Run a Python process on one core; gives its pid and the port that it prints."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "REELGATE_ADMIN_KEY": KEY, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core % (os.cpu_count() or 1)}),
    )
    assert running.stdout is not None
    try:
        line = (await running.stdout.readline()).decode()
        found = re.search(r"(?::|^)(\d+)", line)
        if found is None:
            raise RuntimeError(f"{arguments} did not start")
        yield running.pid, int(found[1])
    finally:
        running.terminate()
        with contextlib.suppress(ProcessLookupError):
            await asyncio.wait_for(running.wait(), 40)


async def compare(name: str, floor: Measure, product: Measure, rounds: int) -> None:
    """Measure both in alternation and print one line."""
    await floor()
    await product()
    pairs = [(await floor(), await product()) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in pairs)
    print(
        f"{name:<10} {statistics.median(ratios):5.2f} x its floor   (rounds {ratios[0]:.2f} to {ratios[-1]:.2f};"
        f" floor {min(a for a, _ in pairs):.0f} us, product {min(b for _, b in pairs):.0f} us of CPU per request)",
        flush=True,
    )


def measure(pid: int, port: int, requests: list[bytes]) -> Measure:
    """CPU microseconds per request of a server that gets `requests`."""

    async def run() -> float:
        before = cpu_seconds(pid)
        await fire(port, requests)
        return (cpu_seconds(pid) - before) / len(requests) * 1e6

    return run


async def main(rounds: int, count: int) -> None:
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    floors = str(ROOT / "benchmarks" / "floors.py")
    order = json.dumps({"model": "sora-2", "prompt": "a paper plane", "seconds": "4", "size": "1280x720"}).encode()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, upstream = await stack.enter_async_context(process(1, floors, "upstream"))
        entry = {
            "name": "fast",
            "type": "openai",
            "base_url": f"http://127.0.0.1:{upstream}",
            "api_key": "k",
            "models": ["sora-2"],
            "poll_every": 3600,
        }
        (folder / "channels.yaml").write_text(json.dumps({"channels": [entry]}))
        serve = ["-m", "proxy", "serve", "--config", str(folder / "channels.yaml"), "--data", str(folder / "data")]
        pid, port = await stack.enter_async_context(process(0, *serve, "--port", "0"))
        made = await fire(port, [post("/v1/videos", KEY, order)] * 256)
        ids = [json.loads(body)["id"] for body in made]
        # Rotating ids: one fixed path would sit in yarl's cache.
        looks = [get(f"/v1/videos/{ids[number % len(ids)]}", KEY) for number in range(count)]
        handler = await stack.enter_async_context(process(0, floors, "handler"))
        forwarder = await stack.enter_async_context(process(0, floors, "forwarder", str(upstream)))
        orders = [post("/v1/videos", KEY, order)] * max(count // 4, 64)
        await compare("retrieve", measure(*handler, looks), measure(pid, port, looks), rounds)
        await compare("create", measure(*forwarder, orders), measure(pid, port, orders), rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=4000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.requests))
