"""JSON answers with files in them: long base64 texts are decoded into temporary files while they arrive."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, ParamSpec, TypeVar

import aiohttp
import msgspec

from proxy.reply import Reply
from proxy.spooled import Spooled
from proxy.upstream.answers import LARGEST_BODY, decode
from proxy.upstream.http import TooLarge

LONGEST_TEXT: Final = 64 * 1024
"""Bytes of a string, as it is written in JSON, up to which it is never looked at as base64."""

LARGEST_FILES: Final = 2 * 2**30
"""Bytes of all files of one answer."""

_BATCH: Final = 256 * 1024

# Runs of text outside of strings and of short strings, which are most of any JSON: about 31 kB each at the most.
_PLAIN: Final = re.compile(rb'(?:[^"]*+"[^"\\]{0,1000}+(?:\\.[^"\\]{0,1000}+){0,30}+")*+[^"]*+', re.DOTALL)
# Up to the quotation mark that ends a string, or to a backslash whose partner has not come yet.
_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_OPEN_ESCAPE: Final = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_DATA_URI: Final = re.compile(rb"data:[^,]{0,200};base64,", re.IGNORECASE)
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class Unspoolable(Exception):
    """An answer whose files cannot be had: a sentence for the client, and one for the log."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.message = message
        self.why = why


async def spooled(
    response: aiohttp.ClientResponse, folder: Path | None, *, status: int, headers: Mapping[str, str]
) -> Reply:
    """The `Reply` of `response`, in whose `data` every long base64 text or data URI is a `Spooled` file in `folder`.

    The memory that it takes does not grow with the files. Raises `TooLarge` for more than `LARGEST_FILES` bytes of
    files or `LARGEST_BODY` of all else, and `Unspoolable`; no file is left then.
    """
    run = asyncio.get_running_loop().run_in_executor
    scanner = Scanner(folder)
    batch: list[bytes] = []
    waiting = 0
    fed = False
    try:
        async for chunk in response.content.iter_any():
            batch.append(chunk)
            waiting += len(chunk)
            if waiting >= _BATCH:
                fed = True
                await run(None, scanner.feed, b"".join(batch))
                batch, waiting = [], 0
        body = b"".join(batch)
        if not fed and len(body) <= LONGEST_TEXT:
            return decode(body, status=status, headers=headers)
        fed = True
        await run(None, scanner.feed, body)
        return await run(None, scanner.reply, status, headers)
    finally:
        if fed:
            # A cancelled call leaves a thread behind that still writes: the scanner waits for it, we for the scanner.
            await asyncio.shield(run(None, scanner.close))


class Scanner:
    """Takes the bytes of one JSON document as they come and writes what is base64 to files; blocks.

    What it keeps is the document with a placeholder for each file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._closed = False
        self._kept = bytearray()
        self._carry = b""
        self._inside = False
        self._head: bytearray | None = None
        self._base64: _Base64 | None = None
        self._file: _File | None = None
        self._written = 0
        # Nothing that an upstream could write by itself.
        self._mark = secrets.token_hex(16)
        self._files: dict[str, Spooled] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes, split anywhere."""
        with self._lock:
            if not self._closed:
                self._feed(self._carry + data)

    def reply(self, status: int, headers: Mapping[str, str]) -> Reply:
        """The reply that the whole document makes."""
        with self._lock:
            # A string that never ends is no JSON.
            self._kept += self._carry + bytes(self._head or b"")
            reply = decode(bytes(self._kept), status=status, headers=headers)
            reply.data = _placed(reply.data, self._files)
            return reply

    def close(self) -> None:
        """Remove a file that was not completed, and let go of the others."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.remove()
            self._files.clear()

    def _feed(self, data: bytes) -> None:
        self._carry = b""
        position = 0
        while position < len(data):
            if not self._inside:
                found = _PLAIN.match(data, position)
                assert found is not None
                start, position = position, found.end() + 1
                self._keep(data[start:position])
                if position <= len(data):
                    self._inside, self._head = True, bytearray()
                continue
            end = data.find(b'"', position)
            end = len(data) if end < 0 else end
            if data.find(b"\\", position, end) >= 0:
                found = _STRING.match(data, position)
                assert found is not None
                end = found.end()
            self._string(data[position:end])
            if data[end : end + 1] == b'"':
                self._end_string()
                self._keep(b'"')
                position = end + 1
            else:
                self._carry = data[end:]
                return

    def _string(self, piece: bytes) -> None:
        if self._base64 is not None:
            self._write(_decoded(self._base64.feed, piece))
        elif self._head is None:
            self._keep(piece)
        else:
            self._head += piece
            if len(self._head) > LONGEST_TEXT:
                self._judge(bytes(self._head))

    def _judge(self, text: bytes) -> None:
        """Decide what a long string is by its beginning alone, wherever the pieces were split."""
        self._head = None
        base64 = _Base64()
        head, rest = text[:LONGEST_TEXT], text[LONGEST_TEXT:]
        uri = _DATA_URI.match(head)
        try:
            first = base64.feed(head[uri.end() :] if uri else head)
        except ValueError:
            self._keep(text)
            return
        self._base64 = base64
        self._file = _kept(_File, self._folder)
        self._write(first)
        self._string(rest)

    def _end_string(self) -> None:
        if self._base64 is not None and self._file is not None:
            self._write(_decoded(self._base64.end))
            name = f"{self._mark}-{len(self._files)}"
            self._files[name] = _kept(self._file.done)
            self._keep(name.encode())
            self._base64 = self._file = None
        else:
            self._keep(bytes(self._head or b""))
        self._inside, self._head = False, None

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._written += len(data)
        if self._written > LARGEST_FILES:
            raise TooLarge(LARGEST_FILES)
        _kept(self._file.write, data)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > LARGEST_BODY:
            raise TooLarge(LARGEST_BODY)


class _Base64:
    """Decodes one base64 text out of the raw inside of a JSON string, which comes in pieces; `ValueError` where it is
    none. The alphabet is the standard or the URL-safe one, padding may be missing, lines may be broken."""

    def __init__(self) -> None:
        self._escape = b""
        self._rest = b""
        self._standard = self._safe = False

    def feed(self, raw: bytes) -> bytes:
        text = self._rest + self._unescaped(self._escape + raw)
        # The last group waits for the end, as it alone may have padding.
        cut = max(len(text) - 1, 0) // 4 * 4
        whole, self._rest = text[:cut], text[cut:]
        if b"=" in whole:
            raise ValueError("padding in the middle")
        return binascii.a2b_base64(whole, strict_mode=True)

    def end(self) -> bytes:
        bare = self._rest.rstrip(b"=")
        padding = -len(bare) % 4
        if self._escape or len(self._rest) - len(bare) not in (0, padding):
            raise ValueError("a wrong end")
        return binascii.a2b_base64(bare + b"=" * padding, strict_mode=True)

    def _unescaped(self, raw: bytes) -> bytes:
        self._escape = b""
        if b"\\" in raw:
            if (open_end := _OPEN_ESCAPE.search(raw, max(len(raw) - 5, 0))) is not None:
                raw, self._escape = raw[: open_end.start()], open_end[0]
            text: str = msgspec.json.decode(b'"' + raw + b'"', type=str)
            raw = text.encode("ascii").translate(None, b"\r\n")
        if b"-" in raw or b"_" in raw:
            self._safe = True
            self._standard = self._standard or b"+" in raw or b"/" in raw
            raw = raw.translate(_STANDARD)
        elif b"+" in raw or b"/" in raw:
            self._standard = True
        if self._safe and self._standard:
            raise ValueError("two alphabets")
        return raw


class _File:
    """A temporary file that is being written."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="spool-", dir=folder)
        self._path = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "wb")
        self._size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def done(self) -> Spooled:
        self._file.close()
        return Spooled(self._path, self._size)

    def remove(self) -> None:
        # A disk that had no room before has none now.
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def _decoded(step: Callable[_Arguments, bytes], *arguments: _Arguments.args, **named: _Arguments.kwargs) -> bytes:
    try:
        return step(*arguments, **named)
    except ValueError:
        broken = "The upstream's answer has a long base64 text in it that is broken."
        raise Unspoolable(broken, "a long base64 text in its answer is broken") from None


def _kept(step: Callable[_Arguments, _Answer], *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Answer:
    """`step(...)`, whose trouble with the disk is ours and not the upstream's."""
    try:
        return step(*arguments, **named)
    except OSError as error:
        why = f"its file cannot be written: {error.strerror}"
        raise Unspoolable("This server cannot keep the upstream's answer.", why) from None


def _placed(data: Any, files: Mapping[str, Spooled]) -> Any:
    """`data` with the files in the place of their placeholders."""
    top = [data]
    todo: list[Any] = [top]
    while todo and files:
        node = todo.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, str):
                node[key] = files.get(value, value)
            elif isinstance(value, dict | list):
                todo.append(value)
    return top[0]
