"""One server for one data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final

from proxy.errors import StoreError

LOCK_FILE: Final = "reelgate.lock"


class ServerLock:
    """Says that this process serves the data folder `folder`; a context manager, or `acquire` and `release`.

    The operating system lets go of it when the process ends, however that happens. Commands that only use the store
    (`keys …`, `check`) do not take it. The calls touch the disk for a moment: not for the event loop.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Final = folder / LOCK_FILE
        self._fd: int | None = None

    def acquire(self) -> None:
        """`StoreError` when another process, or another lock in this one, serves the folder."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot write the lock file ({error.strerror}): check owner and permissions of the folder"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise StoreError(
                f"another reelgate serves this data folder ({self.path.parent}, pid {holder or 'unknown'}): "
                "stop it first, or choose another folder with --data"
            ) from error
        except OSError as error:
            os.close(fd)
            raise StoreError(
                f"{self.path}: cannot lock the file ({error.strerror}): keep the data folder on a local disk"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; the file stays, since another process may be about to lock it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> ServerLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
