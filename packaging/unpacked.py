"""The folder that the single binary has unpacked itself into, and the process that waits for this one.

PyInstaller's bootloader unpacks, starts the file once more as its child, passes signals on, and removes the folder when
the child has ended. What it leaves to us: that the child ends with it, and the folders of runs that were killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

MARK: Final = ".reelgate"
"""The file that is unpacked first, empty, and has a word in it as soon as the program runs."""

NAME: Final = re.compile(r"_MEI([0-9a-f]{8})\w{6}", re.ASCII)
"""How the bootloader names the folder: with its own process id."""

UNPACKING: Final = 600.0
"""Seconds that unpacking can take at the very most, on a starved machine."""

_PDEATHSIG: Final = 1

# Where systems keep the certificates that they trust: Debian and Arch and Alpine, Fedora, openSUSE, the BSDs.
_AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def end_with_parent(folder: Path) -> None:
    """Be killed when the parent is: else a server that nobody sees would hold the port and the store."""
    if sys.platform != "linux":
        return
    bootloader = _bootloader(folder)
    is_child = os.getppid() == bootloader
    # Not what a plugin starts from a thread: with that thread it would end.
    if is_child or sys.argv[1:2] == ["media-worker"]:
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if is_child and os.getppid() != bootloader:
        os.kill(os.getpid(), signal.SIGKILL)


def hold(folder: Path) -> None:
    """Lock the folder for as long as this process lives, against later starts and against systemd's own cleaning."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # A file system without locks.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    (folder / MARK).write_text("running\n", "utf-8")


def keep_program_open() -> None:
    """Modules are read from the program's file when they are first needed, though another may lie there then."""
    import pyimod02_importers

    descriptor = os.open("/proc/self/exe" if sys.platform == "linux" else sys.executable, os.O_RDONLY)
    pyimod02_importers.pyz_archive._filename = f"/dev/fd/{descriptor}"


def remove_stale(folder: Path) -> None:
    """Remove the folders that killed runs have left beside this one."""
    for other in folder.parent.glob("_MEI*"):
        if other != folder:
            with contextlib.suppress(OSError):
                _remove_if_stale(other, _bootloader(folder))


def restore_environment() -> None:
    """What programs that a plugin starts shall find: their own libraries. And what OpenSSL shall find: it looks where
    the machine that this was built on has its certificates."""
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        found = next(filter(os.path.isfile, _AUTHORITIES), None)
        if found is not None:
            os.environ["SSL_CERT_FILE"] = found


def take_interrupts_once() -> None:
    """A Ctrl-C goes to the bootloader too, which passes it on: the second within a second is that one."""
    last = -1.0

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 1 or last < 0:
            last = now
            signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)


# ---------------------------------------------------------------- parts


def _bootloader(folder: Path) -> int:
    """The process that made the folder, as its name says; 0 where the folder has another name."""
    found = NAME.fullmatch(folder.name)
    return int(found[1], 16) if found else 0


def _remove_if_stale(folder: Path, bootloader: int) -> None:
    """Remove `folder` if it is certainly ours and certainly of a run that has ended; all errors are an OSError."""
    maker = _bootloader(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Of this user, and closed to all others: what is in it is what a bootloader has put there.
        facts = os.fstat(descriptor)
        if not maker or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            return
        has_run = os.stat(MARK, dir_fd=descriptor, follow_symlinks=False).st_size > 0
        # One that is still being unpacked has no lock. It may be in another container, where processes have other ids.
        unpacking = maker != bootloader and Path(f"/proc/{maker}").exists()
        if not has_run and (unpacking or time.time() - facts.st_mtime < UNPACKING):
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)
