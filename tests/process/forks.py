"""`python -m proxy` without its half second of imports: a fork of a process that has imported the product and has done
nothing else.

Each is a process of its own, with its own signals, files and memory, and a child of the tests'. Outside Linux, with
variables for Python itself, and where `REELGATE_NO_FORKS` is set, Python is started anew each time.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]
IMPORTED: Final = ("proxy.cli", "proxy.serve", "argon2", "av", "PIL.ImageDraw", "PIL.ImageOps")
"""What a server imports sooner or later, but for its plugins."""
LONGEST: Final = 2**16
"""Bytes of an order."""
PR_SET_CHILD_SUBREAPER: Final = 36
"""linux/prctl.h: who adopts orphans."""


class Fork:
    """What `asyncio.subprocess.Process` is of another process."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader | None, stderr: asyncio.StreamReader | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._watch = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._watch, self._end)

    def _end(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended.set()

    async def wait(self) -> int:
        """Its exit code, or the number of what killed it, negative."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """What it printed, once it has ended."""

        async def all_of(stream: asyncio.StreamReader | None) -> bytes:
            return b"" if stream is None else await stream.read()

        out, err = await asyncio.gather(all_of(self.stdout), all_of(self.stderr))
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def start(
    *words: str,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int | IO[Any] = asyncio.subprocess.PIPE,
    stderr: int | IO[Any] = asyncio.subprocess.PIPE,
) -> Fork | asyncio.subprocess.Process:
    """Start `python -m proxy` with these words, as `asyncio.create_subprocess_exec` does."""
    python = {name: value for name, value in env.items() if name.startswith("PYTHON")}
    if sys.platform != "linux" or python != {"PYTHONPATH": str(ROOT)} or "REELGATE_NO_FORKS" in os.environ:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", *words), cwd=cwd, env=env, stdout=stdout, stderr=stderr
        )
    out, files, readers = [], [], []
    for where in (stdout, stderr):
        reader = None
        if where == asyncio.subprocess.PIPE:
            end, fd = os.pipe()
            readers.append(fd)
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            await asyncio.get_running_loop().connect_read_pipe(lambda made=protocol: made, os.fdopen(end, "rb", 0))
        elif where == asyncio.subprocess.STDOUT:
            fd = files[0]
        else:
            fd = where if isinstance(where, int) else where.fileno()
        out.append(reader)
        files.append(fd)
    try:
        pid = _fork({"words": words, "cwd": str(cwd), "env": dict(env)}, files)
    finally:
        for fd in readers:
            os.close(fd)
    return Fork(pid, *out)


def _fork(order: dict[str, Any], files: list[int]) -> int:
    """The process id of another child of ours; blocks for some milliseconds."""
    door = _door()
    # What forks it ends at once, so that it is an orphan, which we adopt: only a parent learns how a process ended.
    _adopt(True)
    try:
        socket.send_fds(door, [json.dumps(order).encode()], files)
        return int(door.recv(LONGEST))
    finally:
        _adopt(False)


def _adopt(orphans: bool) -> None:
    if _libc().prctl(PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _door() -> socket.socket:
    """Where the process that has imported the product takes orders; it ends with us."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, __file__, str(its.fileno())],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        pass_fds=[its.fileno()],
    )
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def main(door: socket.socket) -> None:
    """Fork one child per order. In the children it returns as `python -m proxy` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    while True:
        said, files, _, _ = socket.recv_fds(door, LONGEST, 2)
        if not said:
            return
        end, other = os.pipe()
        if (between := os.fork()) == 0:
            if (pid := os.fork()) == 0:
                for fd in (end, other):
                    os.close(fd)
                door.close()
                break
            os.write(other, str(pid).encode())
            os._exit(0)
        for fd in (other, *files):
            os.close(fd)
        os.waitpid(between, 0)
        door.send(os.read(end, LONGEST))
        os.close(end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in enumerate(files, start=1):
        os.dup2(fd, number)
    for fd in set(files):
        os.close(fd)
    order = json.loads(said)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["proxy", *order["words"]]
    sys.path[0] = order["cwd"]
    runpy.run_module("proxy", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
