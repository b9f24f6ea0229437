"""Backups: what a server needs to go on somewhere else, in one tar file, taken while it runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, Final, NamedTuple

from proxy.accounts.secret import FILE as SECRET_FILE
from proxy.data_folder import WITHIN
from proxy.errors import ReelgateError
from proxy.store.backup import Held, snapshot

STORE: Final = "reelgate.db"
"""The store's name in a backup, and in a data folder."""
SECRET: Final = SECRET_FILE
UPLOADED: Final = ("inputs", "files")
"""Folders of files that are whole from their first moment and never change, but may vanish."""
PLUGINS: Final = "channels"
"""The folder of files that plugins keep, of which nothing is known."""

_SAID: Final = "Reelgate backup"
_WORKSHOP: Final = ".reelgate-backup-"
_ABANDONED: Final = 60.0
"""Seconds after which a workshop that nobody has locked was left by a kill, and is not just being made."""


class BackupFailed(ReelgateError):
    """There is no new backup, and an earlier one in its place is as it was."""


class Backup(NamedTuple):
    """What was written: `size` bytes; what is in the store, whether the data folder's secret is in it, and how many
    files of each folder."""

    size: int
    held: Held
    secret: bool
    files: dict[str, int]


def write(file: Path, *, data: Path, store: Path, replace: bool = False, moving: bool = False) -> Backup:
    """Back up the data folder `data` and the store in the file `store` to `file`, which only its owner can read.

    It is there whole and on the disk, or not at all. With `replace` it may take the place of an earlier backup. When
    `moving`, no server works on the store, or will again: what waits in it is to go on from the backup. Raises
    `BackupFailed` or `StoreError`, each with what to do. Blocks.
    """
    _refuse(file, data, replace)
    try:
        with _workshop(file.absolute().parent) as work:
            tar = work / "backup.tar"
            backup = _fill(tar, work / STORE, data, store, moving)
            _publish(tar, file, replace)
    except FileExistsError as error:
        raise BackupFailed(f"{file} has come into being meanwhile: nothing was written") from error
    except OSError as error:
        # What is made on the way has names that tell nobody anything.
        named = str(error.filename or file)
        where = file if _WORKSHOP in named else named
        raise BackupFailed(
            f"{where}: {error.strerror or error}; no backup was made, and nothing is left of it"
        ) from error
    return backup


def is_backup(file: Path) -> bool:
    """Whether `file` is a backup that `write` made."""
    with suppress(OSError, tarfile.TarError):
        if stat.S_ISREG(file.lstat().st_mode):
            with tarfile.open(file, "r:") as tar:
                return tar.pax_headers.get("comment", "").startswith(_SAID)
    return False


def _refuse(file: Path, data: Path, replace: bool) -> None:
    folder = file.absolute().parent
    if not folder.is_dir():
        raise BackupFailed(f"{file}: there is no folder {file.parent}; make it first")
    for room in WITHIN:
        if folder.resolve().is_relative_to((data / room).resolve()):
            raise BackupFailed(f"{file}: {room}/ of the data folder is the server's own; choose another place")
    if os.path.lexists(file):
        if not replace:
            raise BackupFailed(f"{file} is there already: choose another name, or replace it with --force")
        if not is_backup(file):
            # The store itself may be among what a slip of the fingers names.
            raise BackupFailed(
                f"{file} is no backup that this command made, so it is not replaced: choose another name"
            )


# ---------------------------------------------------------------- where it is made


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder of our own in `folder`: what a kill leaves in it, the next backup to that place removes."""
    _clear(folder)
    work = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=folder))
    lock = os.open(work, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


def _clear(folder: Path) -> None:
    for left in folder.glob(f"{_WORKSHOP}*"):
        with suppress(OSError):
            if left.stat().st_mtime > time.time() - _ABANDONED:
                continue
            # Where others can write, anything may have the name.
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def _publish(tar: Path, file: Path, replace: bool) -> None:
    folder = os.open(file.absolute().parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if replace:
            tar.replace(file)
        else:
            try:
                # Unlike a rename, never over a file that came meanwhile.
                file.hardlink_to(tar)
            except FileExistsError:
                raise
            except OSError:
                # A file system without second names.
                tar.rename(file)
        os.fsync(folder)
    finally:
        os.close(folder)


# ---------------------------------------------------------------- what is in it


def _fill(tar: Path, copy: Path, data: Path, store: Path, moving: bool) -> Backup:
    owner = store.stat() if store.exists() else None
    with os.fdopen(os.open(tar, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b") as stream:
        said = f"{_SAID} of {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        with tarfile.open(
            fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": said}
        ) as archive:
            packing = _Packing(archive, data, copy.parent, owner)
            # A picture may be gone as soon as the video that needed it is on its way. So all of them first, which takes
            # a while; then the moment that the store shows; and at once what came in between.
            for folder in UPLOADED:
                packing.take(folder)
            with snapshot(store) as held:
                if moving and held.in_use():
                    raise BackupFailed(
                        f"a server is at work on {store}: stop it for good before it is moved, or leave out --move"
                    )
                for folder in UPLOADED:
                    packing.take(folder)
                os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                counts = held.copy(copy, moving=moving)
            with copy.open("rb") as database:
                packing.add(database, STORE)
            secret = packing.file(data / SECRET, SECRET)
            packing.take(PLUGINS, settled=False)
        stream.flush()
        os.fsync(stream.fileno())
        _compare(stream, packing.sizes, copy)
        size = stream.seek(0, os.SEEK_END)
    folders = {folder: sum(name.startswith(f"{folder}/") for name in packing.sizes) for folder in (*UPLOADED, PLUGINS)}
    return Backup(size, counts, secret, folders)


def _compare(stream: BinaryIO, sizes: dict[str, int], copy: Path) -> None:
    """`BackupFailed` unless the tar in `stream` reads as what was put into it."""
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            read = {member.name: member.size for member in archive if member.isfile()}
            inner = archive.extractfile(STORE)
            assert inner is not None
            with copy.open("rb") as outer:
                same = _digest(inner) == _digest(outer)
    except (tarfile.TarError, KeyError) as error:
        raise BackupFailed(f"the backup cannot be read back ({error}): try another disk") from error
    if read != sizes or not same:
        raise BackupFailed("the backup does not read back as it was written: try another disk")


def _digest(file: IO[bytes]) -> bytes:
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.digest()


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


class _Packing:
    """A tar in the making: the files of the data folder `data`, as those of the store's `owner` and nobody else's to
    read. `work` is a folder for what is copied first. `sizes` are those of the files that are in it, by their names."""

    def __init__(self, tar: tarfile.TarFile, data: Path, work: Path, owner: os.stat_result | None) -> None:
        self._tar = tar
        self._work = work
        self._data = data
        self._owner = owner
        self._folders: set[str] = set()
        self.sizes: dict[str, int] = {}

    def take(self, folder: str, *, settled: bool = True) -> None:
        """Add the files below `folder` that are not in it yet; those that may change meanwhile are not `settled`."""
        for place, below, names in os.walk(self._data / folder, onerror=_unless_gone):
            below.sort()
            for name in sorted(names):
                # What is still being written has a name with a dot.
                if not (settled and name.startswith(".")):
                    path = Path(place, name)
                    self.file(path, path.relative_to(self._data).as_posix(), settled=settled)

    def file(self, path: Path, name: str, *, settled: bool = True) -> bool:
        """Add the file at `path` as `name`; whether there is one, a regular one."""
        if name in self.sizes:
            return True
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            if path.is_symlink() or not path.is_file():
                return False
            raise
        with os.fdopen(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            if settled:
                self.add(source, name)
            else:
                # A tar says the length first.
                with tempfile.TemporaryFile(dir=self._work) as whole:
                    shutil.copyfileobj(source, whole)
                    whole.flush()
                    whole.seek(0)
                    self.add(whole, name)
        return True

    def add(self, source: BinaryIO, name: str) -> None:
        """Add what `source` holds, from its beginning, as the file `name`, and the folders above it."""
        for parent in reversed(Path(name).parents[:-1]):
            if (folder := parent.as_posix()) not in self._folders:
                self._folders.add(folder)
                self._tar.addfile(self._described(folder, tarfile.DIRTYPE, 0o700))
        facts = os.fstat(source.fileno())
        member = self._described(name, tarfile.REGTYPE, 0o600)
        member.size = facts.st_size
        member.mtime = int(facts.st_mtime)
        self._tar.addfile(member, source)
        self.sizes[name] = member.size

    def _described(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.mtime = kind, mode, int(time.time())
        if self._owner is not None:
            member.uid, member.gid = self._owner.st_uid, self._owner.st_gid
        return member
