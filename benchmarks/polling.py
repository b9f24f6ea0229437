"""The scheduler beside the polls themselves: very many running videos in one process, channels without a network.

usage: python -m benchmarks.polling [--videos N] [--rate POLLS_A_SECOND] [--rounds N] [--seconds S]

The product runs on one core with a real store of running videos, the client on the other. In alternation, in the same
process: the poller at its rate; a bare loop that awaits the same `fetch` as often; neither. CPU is that of the process
in nanoseconds of its threads. A share of a core is (poller - bare) at the rate, the median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.load import LENGTH, cpu_seconds, get
from proxy import config as configuration
from proxy.accounts.keys import ADMIN
from proxy.api import SERVER_OPTIONS
from proxy.app import WIRING, create_app
from proxy.engine.paces import JITTER
from proxy.engine.polling import Poller
from proxy.ids import created_at, new_id
from proxy.models import UpstreamJob
from proxy.records import Video
from proxy.store import Store

KEY = "rg_benchmark-admin-key-0123456789abcdef"
ROOT = Path(__file__).parents[1]
CHANNELS = 10
BARE_STEP = 0.01
"""Seconds between two turns of the bare loop."""
PROBE = 0.002
"""Seconds that the probe of the loop's lag sleeps."""
LOOKS = 200
"""Retrieves a second of the client, one after the other."""

Report = dict[str, float]


# ---------------------------------------------------------------- the process under test


class Stopwatch:
    """A clock for the poller that stands still while it is not the poller's turn."""

    def __init__(self) -> None:
        self._stood = 0.0
        self._stands_since: float | None = None

    def __call__(self) -> float:
        now = time.monotonic() if self._stands_since is None else self._stands_since
        return now - self._stood

    def stop(self) -> None:
        if self._stands_since is None:
            self._stands_since = time.monotonic()

    def go_on(self) -> None:
        if self._stands_since is not None:
            self._stood += time.monotonic() - self._stands_since
            self._stands_since = None


class Server:
    """The product, and a bare loop over the same channels."""

    def __init__(self, app: web.Application, rate: float) -> None:
        wiring = app[WIRING]
        assert wiring.engine is not None
        assert wiring.channels is not None
        self._core = wiring.engine._core
        self._poller: Poller = wiring.engine._poller
        self._channels = [live.channel for live in wiring.channels]
        self._rate = rate
        self._poller._now = self._watch = Stopwatch()
        self._watch.stop()

    async def spread(self) -> None:
        """Have every video due at some moment of one interval, as after a while."""
        interval = len(self._poller) / self._rate
        for video in await self._core.store.unfinished(self._core.leases.held):
            self._poller.forget(video.id)
            self._poller.add(video, after=random.uniform(0, interval))

    async def phase(self, mode: str, seconds: float, probed: bool) -> Report:
        """One mode for some seconds: the polls made, the CPU used and, where it is probed, the lag of the loop."""
        lags: list[float] = []
        probe = asyncio.create_task(_probe(lags)) if probed else None
        fetched, cpu, began = self._fetched(), cpu_seconds(os.getpid()), time.perf_counter()
        if mode == "poller":
            self._watch.go_on()
        if mode == "bare":
            await self._bare(seconds)
        else:
            await asyncio.sleep(seconds)
        self._watch.stop()
        report = {
            "polls": self._fetched() - fetched,
            "cpu": cpu_seconds(os.getpid()) - cpu,
            "seconds": time.perf_counter() - began,
        }
        if probe is not None:
            probe.cancel()
            report |= {"p50": quantile(lags, 0.5), "p99": quantile(lags, 0.99)}
        return report

    async def _bare(self, seconds: float) -> None:
        jobs = [UpstreamJob(id=f"job-{number}", status="in_progress") for number in range(1000)]
        began, made = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            while made < passed * self._rate:
                await self._channels[made % len(self._channels)].fetch(jobs[made % len(jobs)])
                made += 1
            await asyncio.sleep(BARE_STEP)

    def _fetched(self) -> float:
        kind: Any = type(self._channels[0])
        return float(kind.fetched)


async def _probe(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(PROBE)
        lags.append(time.perf_counter() - began - PROBE)


async def serve(folder: Path, rate: float) -> None:
    """Start the product, say so, and do the phases that are asked for on stdin."""
    before = _resident()
    file = folder / "channels.yaml"
    config = configuration.parse(file.read_text(), file, {})
    plugins = (ROOT / "benchmarks" / "plugins",)
    app = create_app(config, data=folder / "data", plugin_folders=plugins, admin_key=KEY, secret=b"b" * 32)
    runner = web.AppRunner(app, **SERVER_OPTIONS)
    began, cpu = time.perf_counter(), time.process_time()
    await runner.setup()
    report = {"start": time.perf_counter() - began, "start_cpu": time.process_time() - cpu}
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = Server(app, rate)
    report |= {"port": runner.addresses[0][1], "resident": _resident() - before, "videos": len(server._poller)}
    print(json.dumps(report), flush=True)
    await server.spread()
    while line := await asyncio.to_thread(sys.stdin.readline):
        mode, seconds, probed = line.split()
        print(json.dumps(await server.phase(mode, float(seconds), probed == "probed")), flush=True)
    await runner.cleanup()


def _resident() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(fields["VmRSS"].split()[0]) * 1024


# ---------------------------------------------------------------- the client


class Process:
    """The process under test as the client has it."""

    def __init__(self, running: asyncio.subprocess.Process, started: Report) -> None:
        self._running = running
        self.started = started

    async def phase(self, mode: str, seconds: float, *, probed: bool = False) -> Report:
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(f"{mode} {seconds} {'probed' if probed else 'plain'}\n".encode())
        report: Report = json.loads(await self._running.stdout.readline())
        return report


@contextlib.asynccontextmanager
async def process(folder: Path, rate: float) -> AsyncIterator[Process]:
    """Run the process under test on the first core."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.polling", "--serve", str(folder), "--rate", str(rate)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),
    )
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        yield Process(running, json.loads(await running.stdout.readline()))
    finally:
        running.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            await asyncio.wait_for(running.wait(), 60)


async def fill(folder: Path, count: int, rate: float) -> list[str]:
    """A folder with channels and `count` running videos on them, each to be polled once in count / rate seconds."""
    interval = max(count / rate / (1 + JITTER / 2), 0.1)
    entry = {"type": "ready", "models": ["sora-2"], "poll_every": interval}
    names = [f"ready-{number}" for number in range(CHANNELS)]
    (folder / "channels.yaml").write_text(json.dumps({"channels": [{"name": name, **entry} for name in names]}))
    store = await Store.open(folder / "data" / "reelgate.db")
    videos = [_video(names[number % CHANNELS]) for number in range(count)]
    for start in range(0, count, 500):
        await asyncio.gather(*(store.accept(video) for video in videos[start : start + 500]))
    await store.close()
    return [video.id for video in videos]


def _video(channel: str) -> Video:
    video_id = new_id("video")
    return Video(
        id=video_id,
        tenant=ADMIN.tenant,
        key_id=ADMIN.id,
        model="sora-2",
        upstream_model="sora-2",
        channel=channel,
        stage="running",
        status="in_progress",
        progress=40,
        prompt="a paper plane through a bright office, at dusk, slow pan",
        seconds=4,
        size="1280x720",
        created_at=created_at(video_id),
        changed_at=time.time(),
        job=UpstreamJob(id=f"video_{random.randbytes(24).hex()}", status="in_progress", progress=40),
        fingerprint=random.randbytes(32),
        answered=True,
    )


async def looks(port: int, paths: list[str], seconds: float) -> list[float]:
    """Retrieve one video after the other, `LOOKS` a second; answers how long each took, in seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        writer.write(get(random.choice(paths), KEY))
        head = await reader.readuntil(b"\r\n\r\n")
        found = LENGTH.search(head)
        assert found is not None, head
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(found[1]))
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(1 / LOOKS)
    writer.close()
    return taken


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def line(name: str, values: list[float], unit: str, scale: float = 1.0) -> None:
    """Print the median of some rounds, and the least and the most."""
    low, middle, high = (scale * value for value in (min(values), statistics.median(values), max(values)))
    print(f"{name:<44} {middle:8.2f} {unit:<10} (rounds {low:.2f} to {high:.2f})", flush=True)


async def main(count: int, rate: float, rounds: int, seconds: float) -> None:
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        await fill(Path(empty), 0, rate)
        ids = await fill(Path(full), count, rate)
        async with process(Path(empty), rate) as without:
            nothing = without.started
        async with process(Path(full), rate) as one:
            started = one.started
            assert started["videos"] == count
            print(
                f"{count} running videos: the start takes {started['start'] - nothing['start']:.2f} s more, "
                f"{(started['start_cpu'] - nothing['start_cpu']) / count * 1e6:.0f} us of CPU and "
                f"{(started['resident'] - nothing['resident']) / count:.0f} bytes of memory for each",
                flush=True,
            )
            # The client asks for a thousand of them: its own polls, over and over.
            paths = [f"/v1/videos/{video_id}" for video_id in ids[:1000]]
            await measure(one, int(started["port"]), paths, rate, rounds, seconds)


async def measure(one: Process, port: int, paths: list[str], rate: float, rounds: int, seconds: float) -> None:
    """Print what `rounds` of phases of some seconds each show, after one that nobody looks at."""
    await one.phase("poller", seconds)
    made: list[float] = []
    costs: dict[str, list[float]] = {"poller": [], "bare": []}
    for _ in range(rounds):
        idle = await one.phase("idle", seconds)
        for mode, cost in costs.items():
            report = await one.phase(mode, seconds)
            cost.append((report["cpu"] - idle["cpu"] / idle["seconds"] * report["seconds"]) / report["polls"])
            if mode == "poller":
                made.append(report["polls"] / report["seconds"])
    line("polls a second", made, "")
    for mode, cost in costs.items():
        line(f"CPU of a poll, {mode}", cost, "us", 1e6)
    shares = [(ours - bare) * rate for ours, bare in zip(costs["poller"], costs["bare"], strict=True)]
    line(f"the scheduler's share at {rate:.0f} a second", shares, "% of a core", 100)
    lags: dict[str, list[Report]] = {"idle": [], "bare": [], "poller": []}
    for _ in range(rounds):
        for mode, reports in lags.items():
            reports.append(await one.phase(mode, seconds, probed=True))
    waits: dict[str, list[Report]] = {"idle": [], "poller": []}
    for _ in range(rounds):
        for mode, reports in waits.items():
            _, taken = await asyncio.gather(one.phase(mode, seconds), looks(port, paths, seconds - 0.2))
            reports.append({"p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99)})
    for what, found in (("lag of the loop", lags), ("a retrieve over HTTP", waits)):
        for mode, reports in found.items():
            for share in ("p50", "p99"):
                line(f"{what}, {mode}, {share}", [report[share] for report in reports], "ms", 1e3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=__doc__)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve, arguments.rate))
    else:
        asyncio.run(main(arguments.videos, arguments.rate, arguments.rounds, arguments.seconds))
