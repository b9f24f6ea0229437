"""Which processes on a store are alive: each holds the lock of a file, which the operating system opens at its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from proxy.errors import StoreError


class WorkerLock:
    """Says that the process with the token `owner` lives: `acquire`, and `release` at the end.

    The files lie in the folder `workers/` beside the store. The calls touch the disk for a moment: not for the event
    loop.
    """

    def __init__(self, store: Path, owner: str) -> None:
        self.path: Final = _file(store, owner)
        self._fd: int | None = None

    def acquire(self) -> None:
        """`StoreError` where the file cannot be written or locked."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise StoreError(
                f"{self.path}: cannot lock the file ({error.strerror}): keep the data folder on a local disk, and "
                "check its owner and permissions"
            ) from error
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let go, and remove the file."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def lives(store: Path, owner: str) -> bool | None:
    """Whether the process with the token `owner` has not ended; None where its file, which would tell, is gone.
    Touches the disk for a moment."""
    try:
        fd = os.open(_file(store, owner), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def remove_dead(store: Path, owner: str) -> None:
    """Remove the file of the process with the token `owner` if that one has ended."""
    if lives(store, owner) is False:
        with contextlib.suppress(OSError):
            _file(store, owner).unlink()


def _file(store: Path, owner: str) -> Path:
    return store.parent / "workers" / f"{owner}.lock"
