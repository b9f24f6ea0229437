"""The single binary in a folder of its own, with an environment that holds nothing but where its home is."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = os.environ.get("REELGATE_BINARY")
"""Set by `make binary-test`, which builds it first."""


@pytest.fixture(scope="session")
def binary() -> Path:
    """The single binary; without one that somebody asks to test, the test is skipped."""
    if BINARY is None:
        pytest.skip("the single binary has a target of its own: make binary-test")
    return Path(BINARY).resolve(strict=True)


class Box:
    """A machine for one binary: where it works, its home, and its folder for temporary files."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.program = program
        self.work, self.home, self.tmp = (folder / name for name in ("work", "home", "tmp"))
        for one in (self.work, self.home, self.tmp):
            one.mkdir()
        self.servers: list[Server] = []
        self.variables: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "TMPDIR": str(self.tmp), **self.variables}

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints; on stderr, too, where it fails."""
        done = subprocess.run(
            [self.program, *words], cwd=self.work, env=self.environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + (done.stderr if code else "")

    def serve(self) -> "Server":
        self.servers.append(Server(self))
        return self.servers[-1]

    def unpacked(self) -> set[str]:
        """The folders that binaries have unpacked themselves into."""
        return {path.name for path in self.tmp.iterdir()}


class Server:
    """`reelgate serve` on a free port, in a process group of its own; `log` is the file of its stderr, `answered_after`
    the seconds until its first answer."""

    def __init__(self, box: Box) -> None:
        before = box.unpacked()
        began = time.monotonic()
        self.log = box.home.parent / f"log-{len(box.servers)}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [box.program, "serve", "--port", "0"],
                cwd=box.work,
                env=box.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.said = ""
        # What is printed ends with the line that keeps the film.
        while "plane.mp4" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.log.read_text()
            self.said += line
        self.url = self._find(r"http://\S+/v1")
        urllib.request.urlopen(self.url.removesuffix("/v1") + "/readyz", timeout=100).close()
        self.answered_after = time.monotonic() - began
        self.folder = (box.unpacked() - before).pop()

    def _find(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found is not None, self.said
        return found[0]

    @property
    def key(self) -> str:
        """The admin key, which only the first start prints."""
        return self._find(r"rg_[\w.-]{32,}")

    def child(self) -> int:
        """The process that serves; the one that was started waits for it."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        return self.process.wait(100)


@pytest.fixture
def box(tmp_path: Path, binary: Path) -> Iterator[Box]:
    box = Box(tmp_path, binary)
    yield box
    for server in box.servers:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(100)
        assert server.process.stdout is not None
        server.process.stdout.close()
