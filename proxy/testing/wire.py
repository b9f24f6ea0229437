"""What a simulator heard and what it says: `Call` and `Answer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form; `filename` is None for a text part."""

    name: str
    data: bytes = field(repr=False)
    filename: str | None = None
    content_type: str | None = None

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a simulator says. `json`, where it is given, becomes the body.

    `chunked` leaves the Content-Length out; `cut_at` (0 to 1) breaks the connection after that share of the body.
    """

    status: int = 200
    json: Any = None
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False
    cut_at: float | None = None

    @property
    def payload(self) -> bytes:
        return self.body if self.json is None else json.dumps(self.json).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        form = {} if self.json is None else {"Content-Type": "application/json"}
        return {**form, **self.headers}


class Refuse(Exception):
    """Raised by an operation of a simulator to end the call with `answer`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.json}")
        self.answer = answer


@dataclass(slots=True, kw_only=True)
class Call:
    """One request that reached a simulator; header names are lower case.

    `operation` is empty for a path that the provider does not have, `account` None where the credential is wrong;
    `elsewhere` says that it came to the second origin, where results are kept.
    """

    operation: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)
    match: dict[str, str]
    elsewhere: bool = False
    account: str | None = None

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def json(self) -> Any:
        """The body as JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def parts(self) -> list[Part]:
        """The parts of a multipart body, in order; none where it is not multipart."""
        if self.content_type != "multipart/form-data":
            return []
        return parse_parts(self.body, self.headers["content-type"])

    @property
    def form(self) -> dict[str, str | Part]:
        """The parts by name: text as str, files as `Part`; the last of a repeated name."""
        return {part.name: part.text if part.filename is None else part for part in self.parts}

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object or the form, whichever the client sent; empty where it is neither."""
        data = self.json
        return data if isinstance(data, dict) else dict(self.form)


def parse_parts(body: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart `body`; what follows a broken boundary is left out."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    parts: list[Part] = []
    headers: dict[bytes, bytes] = {}
    name, value, data = bytearray(), bytearray(), bytearray()

    def begin() -> None:
        headers.clear()
        data.clear()

    def header_end() -> None:
        headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def end() -> None:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        filename, media_type = options.get(b"filename"), headers.get(b"content-type")
        parts.append(
            Part(
                name=options.get(b"name", b"").decode("utf-8", "replace"),
                data=bytes(data),
                filename=None if filename is None else filename.decode("utf-8", "replace"),
                content_type=None if media_type is None else media_type.decode("latin-1"),
            )
        )

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_field": lambda chunk, start, stop: name.extend(chunk[start:stop]),
            "on_header_value": lambda chunk, start, stop: value.extend(chunk[start:stop]),
            "on_header_end": header_end,
            "on_part_data": lambda chunk, start, stop: data.extend(chunk[start:stop]),
            "on_part_end": end,
        },
    )
    try:
        parser.write(body)
    except MultipartParseError:
        return parts
    return parts
