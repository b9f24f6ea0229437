"""Request bodies -> fields: bounded while they arrive, whatever their headers promise."""

from __future__ import annotations

import asyncio
import mmap
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from proxy.api import documents, pictures
from proxy.api.context import Api
from proxy.api.fieldnames import MAX_PARTS, Tree
from proxy.api.parts import FilePart, PartReader, remove
from proxy.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType
from proxy.media.files import nameless, spool
from proxy.media.room import room

Fields = dict[str, Any]
"""What a body says: JSON values, and a `FilePart` where a file was uploaded."""

Form = Literal["json", "multipart", "urlencoded"]

FORMS: Final[tuple[Form, ...]] = ("json", "multipart", "urlencoded")
_TYPES: Final = {
    "json": "application/json",
    "multipart": "multipart/form-data",
    "urlencoded": "application/x-www-form-urlencoded",
}
MULTIPART_ONLY: Final[tuple[Form, ...]] = ("multipart",)
STALL: Final = 60.0
"""Seconds without a byte after which a body is given up."""
MAX_URLENCODED: Final = 2**20
"""Bytes of a URL-encoded body: a prompt of 32,000 letters with every byte escaped has 384,000."""
IN_THREAD: Final = 2**18
"""Bytes from which on a body is parsed in a thread, so that the event loop goes on."""

# One large body at a time takes two to three times its size for half a second. In a thread of its own, because each
# thread keeps some of the memory that it had.
_WORKER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")


def admit(request: web.Request, max_body: int) -> Form:
    """What the headers say of a body, before a byte of it is read.

    Raises `BodyTooLarge` and `UnsupportedMediaType`.
    """
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType(
            "Compressed request bodies are not accepted; send the body without Content-Encoding.",
            param="Content-Encoding",
        )
    length = request.content_length
    if length is not None and length > max_body:
        raise _too_large(max_body)
    media_type = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if media_type in ("", "application/json", "text/json") or media_type.endswith("+json"):
        return "json"
    if media_type == "multipart/form-data":
        return "multipart"
    if media_type == "application/x-www-form-urlencoded":
        return "urlencoded"
    raise UnsupportedMediaType(
        "Unsupported Content-Type; send application/json or multipart/form-data.", param="Content-Type"
    )


@asynccontextmanager
async def fields_of(
    api: Api, request: web.Request, *, files: Collection[str], forms: Sequence[Form] = FORMS
) -> AsyncIterator[Fields]:
    """The fields of the request's body; `files` are the fields that may be uploaded files.

    Uploaded files are on disk inside the `with` block; what is still there at its end is removed.
    """
    form = admit(request, api.settings.max_body)
    if form not in forms:
        raise UnsupportedMediaType(f"This URL takes {_TYPES[forms[0]]} only.", param="Content-Type")
    body = chunks(request, api.settings.max_body)
    spooled = _Spooled(api.uploads)
    try:
        if form == "multipart":
            reader = PartReader(request.headers[hdrs.CONTENT_TYPE], api.uploads, files=files)
            try:
                fields = await reader.read(body)
                if is_large(request):
                    await spooled.put(lambda: fields)
                yield fields
            finally:
                await reader.discard()
        elif form == "urlencoded":
            yield _urlencoded(await _whole(body, MAX_URLENCODED))
        else:
            yield await _json(body, spooled)
    finally:
        await spooled.discard()


class _Spooled:
    """The pictures of one large body that were texts in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: list[FilePart] = []

    async def put(self, read: Callable[[], Fields]) -> Fields:
        """What `read` makes of the body, with its pictures on disk."""
        async with room():
            return await asyncio.get_running_loop().run_in_executor(_WORKER, self._put, read)

    def _put(self, read: Callable[[], Fields]) -> Fields:
        fields = read()
        pictures.to_disk(fields, self._fresh)
        return fields

    def _fresh(self) -> FilePart:
        part = FilePart(self.folder / f"part-{secrets.token_hex(16)}", "", "")
        self._parts.append(part)
        return part

    async def discard(self) -> None:
        """Remove the files that are still there."""
        if self._parts:
            await asyncio.shield(asyncio.to_thread(remove, self._parts))


async def chunks(request: web.Request, max_body: int, *, stall: float = STALL) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `BodyTooLarge` once it is longer than `max_body` bytes, and `InvalidRequest`
    where its framing is broken or nothing came for `stall` seconds."""
    received = 0
    content = request.content
    while True:
        try:
            async with asyncio.timeout(stall):
                chunk = await content.readany()
        except TimeoutError:
            raise InvalidRequest(f"The request body stopped arriving for {stall:g} seconds.") from None
        except web.RequestPayloadError:
            raise InvalidRequest("The request body is not framed as its headers say.") from None
        if not chunk:
            return
        received += len(chunk)
        if received > max_body:
            raise _too_large(max_body)
        yield chunk


def is_large(request: web.Request) -> bool:
    """Whether making something of the body, now that it is read, would hold up the event loop."""
    return request.content.total_bytes > IN_THREAD


async def _json(body: AsyncIterator[bytes], spooled: _Spooled) -> Fields:
    """The fields of a document. A large one is on disk until its turn has come, however many arrive at once."""
    small = bytearray()
    async for chunk in body:
        small += chunk
        if len(small) > IN_THREAD:
            break
    else:
        return documents.fields(small)
    async with room():
        file = await asyncio.to_thread(nameless, spooled.folder)
        try:
            await asyncio.to_thread(file.write, small)
            await spool(lambda: anext(body, b""), file)
            return await spooled.put(lambda: _document(file))
        finally:
            await asyncio.to_thread(file.close)


def _document(file: BinaryIO) -> Fields:
    file.flush()
    return documents.fields(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


async def _whole(body: AsyncIterator[bytes], limit: int) -> bytearray:
    whole = bytearray()
    async for chunk in body:
        if len(whole) + len(chunk) > limit:
            raise _too_large(limit)
        whole += chunk
    return whole


def _urlencoded(body: bytearray) -> Fields:
    if body.lstrip()[:1] == b"{":
        raise InvalidRequest("The body looks like JSON; send it with 'Content-Type: application/json'.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS, strict_parsing=True
        )
    except ValueError:
        if not body:
            return {}
        raise InvalidRequest(
            f"The body is not valid application/x-www-form-urlencoded UTF-8 with at most {MAX_PARTS} fields."
        ) from None
    tree = Tree()
    for name, text in pairs:
        tree.put_text(name, text)
    return tree.take()


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is too large: at most {limit} bytes are accepted here.")
