"""Pictures out of videos. Each is made in a process of its own, because a video may be made to break its decoder.

All take a file on our disk or an open one, whatever its position. They raise an `UnsupportedOperation` where PyAV is
missing, and one where the video cannot be decoded, be it that it is none, that it kills its process or that it takes
more than `stills_child.limit` grants. A cancelled one has killed its process.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys
import tempfile
import threading
from asyncio.subprocess import Process
from contextlib import AbstractContextManager, ExitStack, nullcontext
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from weakref import WeakKeyDictionary

from proxy import frozen
from proxy.errors import NotFound, UnsupportedOperation
from proxy.media.room import room
from proxy.media.stills_child import NO_PYAV, RESULT_BYTES
from proxy.store import StoreBusy

log = logging.getLogger(__name__)

TIMEOUT: Final = 90.0
"""Seconds that a process has; the time that it waits for its turn does not count."""
_AT_ONCE: Final = 2
_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]] = WeakKeyDictionary()

_COMPLAINT: Final = 4096
# What an interpreter needs to find its libraries. No other variable: some hold the keys of the upstreams.
_NAMES: Final = frozenset({"PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"})
# PyInstaller's, without which a single binary would unpack itself once more.
_PREFIXES: Final = ("_PYI_", "_MEI")


async def frame(file: Path | BinaryIO, *, last: bool) -> bytes:
    """The first or the last frame as a PNG, upright, as large as the video."""
    return await _made("last" if last else "first", file, _NO_FRAME)


async def thumbnail(file: Path | BinaryIO) -> bytes:
    """A WebP of the frame that is shown after a tenth of the video; its longer side has at most 720 pixels."""
    return await _made("thumbnail", file, _NO_THUMBNAIL, "variant")


async def spritesheet(file: Path | BinaryIO) -> bytes:
    """A JPEG of up to 20 frames, evenly spread, in rows of five; the longer side of each has at most 192 pixels."""
    return await _made("spritesheet", file, _NO_SPRITESHEET, "variant")


class Look(NamedTuple):
    """Width and height of a video's first frame as it is shown, and its length in seconds."""

    width: int
    height: int
    seconds: float


async def look(file: Path | BinaryIO) -> Look | None:
    """What a video is; None where PyAV is missing."""
    try:
        width, height, seconds = (await _made("look", file, _NO_FRAME)).split()
    except _NoPyAV:
        return None
    return Look(int(width), int(height), float(seconds))


async def require(param: str | None = None) -> None:
    """Raise where PyAV is missing: for a caller that would have to fetch the video first."""
    if not await asyncio.to_thread(_has_pyav):
        raise _NoPyAV(param)


def command() -> list[str]:
    """The program and the arguments that start the process, before the word for its work."""
    if frozen.PROGRAM is not None:
        return [str(frozen.PROGRAM), "media-worker"]
    # By its path: as a module it would import the package first, which takes longer than a small video.
    return [sys.executable, "-P", str(Path(__file__).with_name("stills_child.py"))]


# ---------------------------------------------------------------- parts

_NO_FRAME: Final = "The source video cannot be decoded, so that no frame can be taken of it."
_NO_THUMBNAIL: Final = "The video cannot be decoded, so that no thumbnail of it can be made."
_NO_SPRITESHEET: Final = "The video cannot be decoded, so that no spritesheet of it can be made."


def _has_pyav() -> bool:
    return importlib.util.find_spec("av") is not None


class _NoPyAV(UnsupportedOperation):
    def __init__(self, param: str | None) -> None:
        super().__init__(
            "This needs a frame of the video, and PyAV is not installed here: "
            "the operator can add it with pip install 'reelgate[media]'.",
            param=param,
        )


async def _made(work: str, file: Path | BinaryIO, refusal: str, param: str | None = None) -> bytes:
    await require(param)
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))
    async with turn:
        job = _Job(file)
        try:
            async with room():
                await asyncio.to_thread(job.open)
            code = await job.run(work)
            if code == 0 and (result := await asyncio.to_thread(job.result)):
                return result
            complaint = await asyncio.to_thread(job.complaint)
        finally:
            await asyncio.to_thread(job.close)
    if code == NO_PYAV:
        log.error("PyAV cannot be loaded: %s", complaint)
        raise _NoPyAV(param)
    level = logging.INFO if code == 1 else logging.WARNING
    log.log(level, "a video could not be decoded for its %s: %s: %s", work, _told(code), complaint)
    raise UnsupportedOperation(refusal, param=param)


class _Job:
    """The three files of one process, which has no pipes: nothing that it does can hold us up. All but `run` blocks."""

    def __init__(self, file: Path | BinaryIO) -> None:
        self._file = file
        self._opened = ExitStack()
        # A cancelled task leaves `open` behind in its thread.
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            self._result = self._opened.enter_context(_scratch())
            self._complaint = self._opened.enter_context(_scratch())
            try:
                self._video = self._opened.enter_context(_open(self._file))
            except FileNotFoundError as error:
                raise NotFound("The file of this video is no longer there.") from error

    def close(self) -> None:
        with self._lock:
            self._opened.close()

    async def run(self, work: str) -> int | None:
        """The exit code, less than 0 where a signal ended it; None where it took too long."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command(),
                work,
                stdin=self._video,
                stdout=self._result,
                stderr=self._complaint,
                env=_environment(),
                # A Ctrl-C at the terminal is for the server, which then decides.
                start_new_session=True,
            )
        except OSError as error:
            # No memory, too many processes, or an interpreter that is gone.
            log.error("the process for pictures of videos cannot be started: %s", error)
            raise StoreBusy("No picture of this video can be made now. Please try again.", retry_after=5) from error
        try:
            async with asyncio.timeout(TIMEOUT):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            await _end(process)

    def result(self) -> bytes:
        """What it wrote; nothing where that is too much."""
        handle = self._result.fileno()
        size = os.fstat(handle).st_size
        return os.pread(handle, size, 0) if size <= RESULT_BYTES else b""

    def complaint(self) -> str:
        """The last line of its error output, harmless in a log."""
        handle = self._complaint.fileno()
        start = max(0, os.fstat(handle).st_size - _COMPLAINT)
        lines = os.pread(handle, _COMPLAINT, start).decode(errors="replace").split("\n")
        line = next((line for line in reversed(lines) if line.strip()), "")
        return "".join(letter if letter.isprintable() else "?" for letter in line.strip()[:300])


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}
    return kept | dict(frozen.worker_environment())


def _scratch() -> FileIO:
    return tempfile.TemporaryFile(buffering=0)


def _open(file: Path | BinaryIO) -> AbstractContextManager[BinaryIO | FileIO]:
    return file.open("rb", buffering=0) if isinstance(file, Path) else nullcontext(file)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _told(code: int | None) -> str:
    if code is None:
        return f"it took longer than {TIMEOUT:.0f} seconds"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
