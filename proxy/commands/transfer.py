"""Bringing a file from the server: whole or not at all, and from where it broke off."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, Final

from proxy.commands.remote import Refused, Remote, Unanswered
from proxy.commands.terminal import Failed
from proxy.commands.waiting import Meter, pause_of

TRIES: Final = 5
"""How often it is tried again without a byte more."""

_NAME: Final = 200
_CHUNK: Final = 256 * 1024
_WORDS: Final = re.compile(r"[^\w]+")
_LONGEST: Final = 40
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)", re.ASCII)


class Unwritten(Failed):
    """The video is there, but not in the file."""


def check_place(output: Path | None, force: bool) -> None:
    """`Failed` where nothing can be written as `output` (None: into this folder), before anything is paid."""
    folder = output or Path()
    if output is not None and not os.path.isdir(output):
        folder = output.parent
        try:
            output.lstat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise Failed(f"{output}: cannot be written ({error.strerror}); name another file with -o") from error
        else:
            if os.path.exists(output) and not os.path.isfile(output):
                raise Failed(f"{output} is no file, so it is not written over: name another one with -o")
            if not force:
                raise Failed(f"{output} is there already: name another file with -o, or add --force")
    if output == Path("-"):
        raise Failed("-o takes a file or a folder; what goes to stdout is its name")
    if not folder.is_dir():
        raise Failed(f"{folder}: there is no such folder; make it, or name another file with -o")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Failed(f"{folder}: cannot write there; name another file with -o")


def place(output: Path | None, name: str) -> Path:
    """The file that `-o` means: `name` in the folder that it names, or in this one."""
    return (output or Path()) / name if output is None or output.is_dir() else output


def name_of(video_id: str, prompt: str | None, ending: str) -> str:
    """A file name of a video's own, of its prompt and the end of its id."""
    words = _WORDS.sub("-", (prompt or "").lower()).strip("-_")[:_LONGEST].strip("-_")
    return f"{words or 'video'}-{video_id[-6:]}.{ending}"


class Transfer:
    """The bytes at `path` of the server (with `query`), on their way into the file `target`. What has come lies beside
    it, under a name of the content's own, so that the next try goes on from there."""

    def __init__(self, remote: Remote, path: str, target: Path, meter: Meter, **query: str | None) -> None:
        self._remote = remote
        self._path = path
        self._target = target
        self._meter = meter
        self._query = query
        self._etag: str | None = None
        self._total: int | None = None
        self._part: Path | None = None

    def run(self, force: bool) -> None:
        """Raises `Failed` where the file cannot be written, `Refused` and `Unanswered` where the server does not give
        it."""
        tries = begun_anew = 0
        while True:
            before = self._have()
            try:
                if self._fetched():
                    break
                wait = 0.0
                begun_anew += 1
                if begun_anew > TRIES:
                    raise Unwritten(f"{self._target}: what the server sends does not fit together; try again later")
            except Unanswered as error:
                if not error.again or tries >= TRIES:
                    raise
                wait, why = 0.5 * 2**tries, "the server does not answer"
            except Refused as error:
                if error.status not in (429, 500, 502, 503, 504) or tries >= TRIES or _final(error):
                    raise
                wait, why = pause_of(error.headers, 0.5 * 2**tries), "the server is busy"
            except (HTTPException, TimeoutError, ConnectionError) as error:
                if tries >= TRIES:
                    kept = (
                        f"; {self._have()} bytes are kept, and the same command goes on from there"
                        if self._etag
                        else ""
                    )
                    raise Unwritten(
                        f"the download of {self._target} breaks off again and again ({error}){kept}"
                    ) from error
                wait, why = 0.5 * 2**tries, "the connection broke"
            except OSError as error:
                raise Unwritten(f"{self._target}: cannot be written ({error.strerror or error})") from error
            tries = 0 if self._have() > before else tries + 1
            if tries and wait:
                self._meter.pause(wait, "downloading", self._share(), why)
        self._meter.clear()
        self._put(force)

    def _fetched(self) -> bool:
        """One request; whether all is there."""
        offset = self._have() if self._etag else 0
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if offset and self._etag:
            headers |= {"Range": f"bytes={offset}-", "If-Range": self._etag}
        with self._remote.open(self._path, headers, **self._query) as response:
            if response.status == 416:
                # All of it is there, or what is there is none of it.
                if self._total != offset:
                    self._forget()
                    return False
                return True
            if not self._begun(response, offset):
                return False
            assert self._part is not None
            with self._part.open("ab") as file:
                self._hold(file)
                self._copy(response, file)
        if self._total is not None and self._have() != self._total:
            raise ConnectionError(f"{self._have()} of {self._total} bytes came")
        return True

    def _begun(self, response: HTTPResponse, offset: int) -> bool:
        """Whether the bytes of this answer are those that come next."""
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        same = response.headers.get("ETag", self._etag) == self._etag
        if response.status == 206 and offset and same and match is not None and int(match[1]) == offset:
            self._total = int(match[2])
            return True
        if response.status == 206:
            self._forget()
            return False
        known = self._etag
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') else None
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if length.isdecimal() else None
        name = os.fsencode(self._target.name)
        mark = hashlib.sha256(f"{self._path} {self._query} {self._etag} ".encode() + name).hexdigest()[:12]
        part = self._target.with_name(f".{os.fsdecode(name[:_NAME])}.{mark}.part")
        if self._part is not None and self._part != part:
            # What it is the beginning of is not there any more.
            self._part.unlink(missing_ok=True)
        self._part = part
        if self._etag and known is None and 0 < self._have() <= (self._total or 0):
            # An earlier command has brought some of it.
            return False
        self._forget(etag=self._etag)
        return True

    def _forget(self, etag: str | None = None) -> None:
        self._etag = etag
        if self._part is not None and self._part.exists():
            with self._part.open("ab") as file:
                self._hold(file)
                file.truncate(0)

    def _hold(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unwritten(f"another command is downloading {self._target} just now") from None

    def _copy(self, response: HTTPResponse, file: BinaryIO) -> None:
        while chunk := _read(response):
            file.write(chunk)
            self._meter.show("downloading", self._share(file.tell()))
        file.flush()
        os.fsync(file.fileno())

    def _share(self, have: int | None = None) -> float:
        return (self._have() if have is None else have) / self._total if self._total else 0.0

    def _have(self) -> int:
        try:
            return self._part.stat().st_size if self._part is not None else 0
        except FileNotFoundError:
            return 0

    def _put(self, force: bool) -> None:
        """Give it its name, at once and whole."""
        assert self._part is not None
        try:
            if force:
                self._part.replace(self._target)
                return
            try:
                # Unlike a rename it fails where another one has taken the name meanwhile.
                os.link(self._part, self._target)
                self._part.unlink()
            except FileExistsError:
                raise Unwritten(f"{self._target} is there already: name another file, or add --force") from None
            except OSError:
                if self._target.exists():
                    raise
                # A file system without links.
                self._part.replace(self._target)
        except OSError as error:
            raise Unwritten(f"{self._target}: cannot be written ({error.strerror or error})") from error


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except OSError as error:
        # Broken TLS is an `OSError` too, and no trouble of the disk.
        raise ConnectionError(str(error)) from error


def _final(error: Refused) -> bool:
    return error.headers.get("x-should-retry") == "false"
