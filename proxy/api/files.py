"""The routes of uploaded files, as `client.files` of OpenAI's SDKs has them."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from aiohttp import web

from proxy.api import bodies, queries, render, values
from proxy.api.auth import authenticate
from proxy.api.context import API
from proxy.api.parts import FilePart
from proxy.api.values import invalid_type, shown
from proxy.errors import InvalidRequest, MissingParameter, NotFound
from proxy.ids import ID_PATTERN
from proxy.media import content as media
from proxy.media.library import PURPOSES, Purpose
from proxy.media.sources import NO_ADDRESS
from proxy.models import Source
from proxy.records import StoredFile

MAX_LIMIT: Final = 10_000
"""Files in one page of a list, also where its client does not say (OpenAI's)."""
LIFETIMES: Final = range(3_600, 2_592_000 + 1)
"""Seconds after which a client may let a file expire (OpenAI's)."""
LONGEST_NAME: Final = 255
NAMELESS: Final = "upload"
"""What a file is called whose client gave it no name; the SDKs call it so too."""
FOREIGN_PURPOSES: Final = (
    *("assistants", "assistants_output", "batch", "batch_output", "evals", "fine-tune", "fine-tune-results"),
)
"""What OpenAI has beside ours; lists of them are empty here."""

_LIMIT: Final = re.compile(r"[0-9]{1,5}")
_FOLDERS: Final = re.compile(r".*[/\\]", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's nine keys, nulls and all."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str = "processed"
    status_details: None = None


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /files`."""
    key = await authenticate(request)
    api = request.app[API]
    async with bodies.fields_of(api, request, files=("file",), forms=bodies.MULTIPART_ONLY) as fields:
        for name in fields:
            if name not in ("file", "purpose", "expires_after"):
                raise InvalidRequest(f"Unknown parameter: '{shown(name)}'.", param=shown(name))
        purpose = _purpose(fields)
        lifetime = _lifetime(fields)
        part = _file(fields)
        settings = api.settings
        stored = await api.library.add(
            part.path,
            key,
            filename=_name(part.filename),
            purpose=purpose,
            lifetime=settings.file_ttl if lifetime is None else lifetime,
            most_bytes=settings.files_per_key,
            max_bytes=settings.inputs.max_bytes,
            max_pixels=settings.inputs.max_pixels,
        )
    return render.response(_object(stored))


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /files`."""
    key = await authenticate(request)
    found, has_more = await request.app[API].library.page(
        key.tenant,
        after=_after(request),
        limit=_limit(request),
        newest_first=queries.order(request) == "desc",
        purpose=_wanted_purpose(request),
    )
    return render.response(render.page(found, _object, has_more))


async def retrieve(request: web.Request) -> web.StreamResponse:
    """`GET /files/{id}`."""
    return render.response(_object(await _allowed(request)))


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /files/{id}`."""
    key = await authenticate(request)
    file_id = request.match_info["id"]
    if not await request.app[API].library.remove(file_id, key.tenant):
        raise not_found(file_id)
    return render.response({"id": file_id, "object": "file", "deleted": True})


async def content(request: web.Request) -> web.StreamResponse:
    """`GET|HEAD /files/{id}/content`: always an attachment, for it is anybody's file under our name."""
    stored = await _allowed(request)
    try:
        return await media.send(
            request,
            Source(path=request.app[API].library.path(stored), size=stored.size, media_type=stored.media_type),
            opener=NO_ADDRESS,
            etag=stored.id,
            media_type=stored.media_type,
            filename=stored.filename,
            modified=stored.created_at,
            attachment=True,
        )
    except NotFound as gone:
        # Deleted since we looked.
        raise not_found(stored.id) from gone


def not_found(file_id: str) -> NotFound:
    """The one 404 for every id that is unknown, foreign, expired or malformed."""
    return NotFound(f"File with id '{shown(file_id, 64)}' not found.")


def _object(stored: StoredFile) -> FileObject:
    return FileObject(
        id=stored.id,
        bytes=stored.size,
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        filename=stored.filename,
        purpose=stored.purpose,
    )


# ---------------------------------------------------------------- what was asked


async def _allowed(request: web.Request) -> StoredFile:
    key = await authenticate(request)
    file_id = request.match_info["id"]
    stored = await request.app[API].library.file(file_id, key.tenant)
    if stored is None:
        raise not_found(file_id)
    return stored


def _purpose(fields: bodies.Fields) -> Purpose:
    value = values.required_text(fields, "purpose", 64)
    if value not in PURPOSES:
        raise _no_purpose(value, PURPOSES)
    return value


def _wanted_purpose(request: web.Request) -> str | None:
    value = request.query.get("purpose")
    if value is not None and value not in PURPOSES + FOREIGN_PURPOSES:
        raise _no_purpose(value, PURPOSES + FOREIGN_PURPOSES)
    return value


def _no_purpose(value: str, known: tuple[str, ...]) -> InvalidRequest:
    words = ", ".join(f"'{word}'" for word in known[:-1])
    return InvalidRequest(
        f"Invalid value: '{shown(value)}'. Supported values are: {words} and '{known[-1]}'.", param="purpose"
    )


def _file(fields: bodies.Fields) -> FilePart:
    value = fields.get("file")
    if value is None:
        raise MissingParameter("Missing required parameter: 'file'.", param="file")
    if not isinstance(value, FilePart):
        raise invalid_type("file", "a file", value)
    return value


def _name(given: str) -> str:
    """The name alone, without folders; of a very long one the end, which says what it is."""
    return _CONTROL.sub("_", _FOLDERS.sub("", given))[-LONGEST_NAME:] or NAMELESS


def _lifetime(fields: bodies.Fields) -> int | None:
    """Seconds after its creation when the file is to expire."""
    value: Any = fields.get("expires_after")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_type("expires_after", "an object", value)
    for name in ("anchor", "seconds"):
        if value.get(name) is None:
            raise MissingParameter(
                f"Missing required parameter: 'expires_after.{name}'.", param=f"expires_after.{name}"
            )
    if unknown := value.keys() - {"anchor", "seconds"}:
        param = f"expires_after.{shown(min(unknown))}"
        raise InvalidRequest(f"Unknown parameter: '{param}'.", param=param)
    if value["anchor"] != "created_at":
        raise InvalidRequest(
            f"Invalid value: '{shown(value['anchor'])}'. 'expires_after.anchor' must be 'created_at'.",
            param="expires_after.anchor",
        )
    seconds = value["seconds"]
    if not isinstance(seconds, int):
        raise invalid_type("expires_after.seconds", "an integer", seconds)
    if seconds not in LIFETIMES:
        raise InvalidRequest(
            f"Invalid value: '{shown(seconds)}'. 'expires_after.seconds' must be between {LIFETIMES[0]} and "
            f"{LIFETIMES[-1]}.",
            param="expires_after.seconds",
        )
    return seconds


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(MAX_LIMIT))
    if _LIMIT.fullmatch(text) is None or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(
            f"Invalid value: '{shown(text)}'. 'limit' must be between 1 and {MAX_LIMIT}.", param="limit"
        )
    return int(text)


def _after(request: web.Request) -> str | None:
    text = request.query.get("after")
    if text is not None and ID_PATTERN.fullmatch(text) is None:
        raise InvalidRequest(f"Invalid value: '{shown(text)}'. 'after' must be the id of a file.", param="after")
    return text
