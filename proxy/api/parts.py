"""multipart/form-data -> fields. Texts stay in memory within bounds; files go to disk as they arrive."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from proxy.api.documents import MAX_PICTURE_TEXT
from proxy.api.fieldnames import MAX_PARTS, Tree
from proxy.errors import BodyTooLarge, InvalidRequest
from proxy.media.room import room

MAX_TEXT: Final = 2**20
"""Bytes of one text part, save for a picture's."""
MAX_TEXTS: Final = 2**25
"""Bytes of all text parts together."""
PICTURE_FIELDS: Final = frozenset({"input_reference", "image", "images", "last_frame"})
FLUSH: Final = 2**18
"""Bytes of files that are gathered before a thread writes them."""
MAX_HEADERS: Final = 16
MAX_HEADER: Final = 4096
PLAIN_ENCODINGS: Final = ("", "7bit", "8bit", "binary")

# It warns of every malformed body, which the client is told of anyway.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(slots=True, eq=False)
class FilePart:
    """An uploaded file: on disk at `path`, `size` bytes with the SHA-256 `digest`."""

    path: Path
    filename: str
    media_type: str
    size: int = 0
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)
    _file: BinaryIO | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        return bytes(self._hash.digest())

    def write(self, data: bytes) -> None:
        """Append to the file; blocks."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "wb", buffering=0)
        self._file.write(data)
        self._hash.update(data)

    def close(self) -> None:
        """Close the file, and make it where it is empty; blocks."""
        self.write(b"")
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """Remove the file, unless somebody took it away; blocks."""
        if self._file is not None:
            self._file.close()
        self.path.unlink(missing_ok=True)


class PartReader:
    """Reads one multipart body. Call `discard` in the end, whatever happened."""

    def __init__(self, content_type: str, folder: Path, *, files: Collection[str]) -> None:
        try:
            boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
            if not boundary:
                raise InvalidRequest("The Content-Type of a multipart body must name a boundary.", param="Content-Type")
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER,
            )
        except ValueError as error:
            raise InvalidRequest(f"The multipart boundary cannot be used: {error}.", param="Content-Type") from None
        self._folder = folder
        self._allowed = files
        self._tree = Tree()
        self._files: list[FilePart] = []
        self._writes: list[tuple[FilePart, bytes | None]] = []
        self._writing: asyncio.Future[None] | None = None
        self._unwritten = 0
        self._count = 0
        self._texts = 0
        self._ended = False
        self._headers: dict[str, str] = {}
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._name = ""
        self._file: FilePart | None = None
        self._text: bytearray = bytearray()

    async def read(self, body: AsyncIterator[bytes]) -> dict[str, Any]:
        """The fields of the whole body. Raises `InvalidRequest` and `BodyTooLarge`."""
        async for chunk in body:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise InvalidRequest(f"The multipart body is malformed: {error}.") from None
            if self._unwritten >= FLUSH:
                await self._flush()
        if not self._ended:
            raise InvalidRequest("The multipart body ends before its closing boundary.")
        await self._flush()
        return self._tree.take()

    async def discard(self) -> None:
        """Remove the files that are still where they were written."""
        if self._files:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            # A cancelled request must not leave its files behind.
            await asyncio.shield(asyncio.to_thread(remove, self._files))

    async def _flush(self) -> None:
        if self._writes:
            writes, self._writes, self._unwritten = self._writes, [], 0
            self._writing = asyncio.ensure_future(asyncio.to_thread(_write, writes))
            async with room():
                await asyncio.shield(self._writing)

    # -- what the parser calls while it eats a chunk ---------------------------------------------------------------

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise InvalidRequest(
                f"The form has more than {MAX_PARTS} parts. A file must be one part, with a filename.",
                param=self._name.partition("[")[0][:64] or None,
            )
        self._headers = {}
        self._header = (bytearray(), bytearray())
        self._file = None
        self._text = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        raw_name = options.get(b"name")
        if kind != b"form-data" or not raw_name:
            raise InvalidRequest("Every part of the form needs a Content-Disposition of form-data with a name.")
        self._name = _utf8(raw_name, None)
        param = self._name[:64]
        if self._headers.get("content-transfer-encoding", "").lower() not in PLAIN_ENCODINGS:
            raise InvalidRequest(f"The part '{param}' must be sent without Content-Transfer-Encoding.", param=param)
        media_type = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        if b"filename" in options or media_type.startswith(("image/", "video/")):
            top = self._name.partition("[")[0]
            if top not in self._allowed:
                raise InvalidRequest(f"Invalid value for '{param}': a file is not accepted here.", param=top[:64])
            filename = _utf8(options.get(b"filename", b""), top)
            self._file = FilePart(self._folder / f"part-{secrets.token_hex(16)}", filename, media_type)
            self._files.append(self._file)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._writes.append((self._file, data[start:end]))
            self._file.size += end - start
            self._unwritten += end - start
            return
        self._texts += end - start
        limit = MAX_PICTURE_TEXT if self._name.partition("[")[0] in PICTURE_FIELDS else MAX_TEXT
        if len(self._text) + end - start > limit:
            param = self._name[:64]
            raise InvalidRequest(f"Invalid '{param}': it is too long; at most {limit} bytes are accepted.", param=param)
        if self._texts > MAX_TEXTS:
            raise BodyTooLarge(f"The texts of the form are too long; together at most {MAX_TEXTS} bytes are accepted.")
        self._text += data[start:end]

    def _part_end(self) -> None:
        if self._file is not None:
            self._writes.append((self._file, None))
            # A browser sends an empty file without a name where none was chosen.
            if self._file.size or self._file.filename:
                self._tree.put(self._name, self._file)
        else:
            self._tree.put_text(self._name, _utf8(self._text, self._name[:64]))

    def _end(self) -> None:
        self._ended = True


def _utf8(text: bytes | bytearray, param: str | None) -> str:
    try:
        # The header parser reads bytes as latin-1 and gives them back as they were.
        return text.decode("utf-8")
    except UnicodeDecodeError:
        where = f"Invalid '{param}': it" if param else "A name in the form"
        raise InvalidRequest(f"{where} is not UTF-8.", param=param) from None


def _write(writes: list[tuple[FilePart, bytes | None]]) -> None:
    for part, data in writes:
        if data is None:
            part.close()
        else:
            part.write(data)


def remove(parts: list[FilePart]) -> None:
    """Remove the files that nobody took away; blocks."""
    for part in parts:
        part.remove()
